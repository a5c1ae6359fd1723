//! What a write mode asks of a load besides its rows: columns it names, columns it adds, how much it may delete.
//!
//! The same for every destination, so that a mode means one thing everywhere: a connector asks here and renders the
//! rest in its own SQL. Nothing is written here, and nothing is known of a target that exists.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use serde_json::Value;
use synqx_model::nearest::did_you_mean;
use synqx_model::spec::{DeleteHow, WriteMode};
use synqx_model::{Code, Error, Result};

use crate::annotation;
use crate::text::render_timestamp;
use crate::type_names::render_type;
use crate::write::Target;

/// One condition of a mirror's scope: the column has one of these texts, or is NULL where that is among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeColumn {
    /// Column.
    pub column: String,
    /// Values as texts, to be read as the column's type.
    pub values: Vec<ScopeValue>,
    /// NULL is among the values.
    pub null: bool,
}

/// A value of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeValue {
    /// True or false.
    Bool(bool),
    /// Anything else, as text.
    Text(String),
}

impl Target {
    /// Rows of this mode meet stored rows by key.
    pub fn has_key(&self) -> bool {
        matches!(self.mode, WriteMode::Upsert | WriteMode::Mirror | WriteMode::Scd2)
    }

    /// The column that marks rows as deleted, where this load marks.
    pub fn marker(&self) -> Option<&str> {
        let soft = self.mode == WriteMode::Mirror && self.mirror.delete == DeleteHow::Soft;
        soft.then_some(self.mirror.marker.as_str())
    }

    /// The run's time as text, UTC to the millisecond: the same after a restart.
    pub fn run_time(&self) -> String {
        render_timestamp(self.run.started_ms() * 1000, true)
    }

    /// What tells the versions of an `scd2` load apart: the key, and the column of the time where there is one.
    pub fn version_key(&self) -> Vec<String> {
        self.key.iter().chain(&self.scd2.time).cloned().collect()
    }

    /// The columns whose change opens a new version.
    pub fn tracked(&self) -> Vec<String> {
        if !self.scd2.track.is_empty() {
            return self.scd2.track.clone();
        }
        let names = self.schema.fields().iter().map(|field| field.name());
        names
            .filter(|name| !self.key.contains(name) && self.scd2.time.as_ref() != Some(name))
            .filter(|name| !self.own_columns_named().any(|own| own == name.as_str()))
            .cloned()
            .collect()
    }

    /// Columns that the mode adds to those that arrive: the marker of a mirror, the three of a history.
    pub fn own_columns(&self) -> Vec<Field> {
        let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        if let Some(marker) = self.marker() {
            return vec![Field::new(marker, instant(), true)];
        }
        if self.mode != WriteMode::Scd2 {
            return Vec::new();
        }
        let time = self.scd2.time.as_ref();
        let like = time.and_then(|time| self.schema.field_with_name(time).ok());
        let of = |name: &str, nullable: bool| match like {
            Some(field) => {
                let mut metadata = field.metadata().clone();
                metadata.remove(annotation::COMMENT);
                Field::new(name, field.data_type().clone(), nullable).with_metadata(metadata)
            }
            None => Field::new(name, instant(), nullable),
        };
        vec![
            of(&self.scd2.valid_from, false),
            of(&self.scd2.valid_to, true),
            Field::new(&self.scd2.is_current, DataType::Boolean, false),
        ]
    }

    /// The names of the columns that the mode adds.
    pub fn own_columns_named(&self) -> impl Iterator<Item = &str> {
        let history = [&self.scd2.valid_from, &self.scd2.valid_to, &self.scd2.is_current];
        let history = history.into_iter().map(String::as_str);
        history
            .filter(|_| self.mode == WriteMode::Scd2)
            .chain(self.marker())
    }

    /// The target as it will be: what arrives, and then what the mode adds.
    pub fn with_own_columns(&self) -> Target {
        let own = self.own_columns();
        if own.is_empty() {
            return self.clone();
        }
        let fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        let fields = fields.into_iter().chain(own.into_iter().map(Arc::new));
        Target {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            ..self.clone()
        }
    }

    /// The conditions of a mirror's scope; none means the whole target. Errors: `E0103`.
    pub fn scope(&self) -> Result<Vec<ScopeColumn>> {
        if self.mode != WriteMode::Mirror {
            return Ok(Vec::new());
        }
        self.mirror
            .scope
            .iter()
            .map(|(column, value)| scope_column(column, value))
            .collect()
    }

    /// Columns that the mode names and that do not arrive, and columns it adds that do. Errors, all at once: `E0103`,
    /// `E0401`, `E0402`, `E0406`, `E0408`.
    pub fn check_mode(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        let word = self.mode.as_str();
        if matches!(self.mode, WriteMode::Mirror | WriteMode::Scd2) && self.key.is_empty() {
            let error = Error::new(Code::E0408, format!("`write: {word}` needs a key"));
            errors.push(error.with_hint("set `key: [column, …]`"));
        }
        if self.mode == WriteMode::DeleteInsert && self.partition_by.is_empty() {
            errors.push(
                Error::new(Code::E0103, "`write: delete_insert` needs `partition_by`")
                    .with_hint("name the columns whose values make a slice: `partition_by: [day]`"),
            );
        }
        let partition: &[String] = match self.mode {
            WriteMode::DeleteInsert => &self.partition_by,
            _ => &[],
        };
        let (time, track): (&[String], &[String]) = match self.mode {
            WriteMode::Scd2 => (self.scd2.time.as_slice(), &self.scd2.track),
            _ => (&[], &[]),
        };
        let scope = self.scope().unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        let named = partition.iter().map(|name| (name, "partition_by"));
        let named = named.chain(time.iter().map(|name| (name, "scd2.time")));
        let named = named.chain(track.iter().map(|name| (name, "scd2.track")));
        let named = named.chain(scope.iter().map(|one| (&one.column, "mirror.scope")));
        for (name, key) in named {
            if self.schema.field_with_name(name).is_err() {
                let what = format!("the column `{name}` of `{key}` does not arrive");
                let names = self.schema.fields().iter().map(|f| f.name().as_str());
                errors.push(Error::new(Code::E0401, what).with_hint(did_you_mean(name, names)));
            }
        }
        errors.extend(self.wrong_time());
        for field in self.own_columns() {
            if self.schema.field_with_name(field.name()).is_ok() {
                let what = format!(
                    "the column `{}` arrives, and `write: {word}` writes it itself",
                    field.name()
                );
                errors.push(Error::new(Code::E0406, what).with_hint(
                    "rename it before the load, or give the mode's column another name in its options",
                ));
            }
        }
        errors
    }

    fn wrong_time(&self) -> Option<Error> {
        let time = self.scd2.time.as_ref().filter(|_| self.mode == WriteMode::Scd2)?;
        if self.scd2.close_missing {
            return Some(
                Error::new(
                    Code::E0103,
                    "`scd2.close_missing` and `scd2.time` do not go together",
                )
                .with_detail("A key that does not arrive has no time of its own.")
                .with_hint("leave `time` out: versions then begin and end at the run's time"),
            );
        }
        let field = self.schema.field_with_name(time).ok()?;
        let orders = field.data_type().is_signed_integer()
            || matches!(
                field.data_type(),
                DataType::UInt8
                    | DataType::UInt16
                    | DataType::UInt32
                    | DataType::Date32
                    | DataType::Timestamp(..)
            );
        if orders {
            return None;
        }
        let is = render_type(field.data_type());
        Some(
            Error::new(
                Code::E0402,
                format!("the column `{time}` of `scd2.time` is {is}, which is no time"),
            )
            .with_hint("cast it to a timestamp, a date or a whole number before the load"),
        )
    }

    /// Refuses a load that would delete, mark or close more of `stored` rows than the document allows. Errors: `E0318`.
    pub fn check_share(&self, doomed: u64, stored: u64) -> Result<()> {
        let (most, key) = match self.mode {
            WriteMode::Scd2 => (self.scd2.max_close_percent, "scd2: {max_close_percent"),
            _ => (self.mirror.max_delete_percent, "mirror: {max_delete_percent"),
        };
        if u128::from(doomed) * 100 <= u128::from(stored) * u128::from(most) {
            return Ok(());
        }
        let share = u128::from(doomed) * 100 / u128::from(stored.max(1));
        let verb = if self.mode == WriteMode::Scd2 {
            "close"
        } else {
            "delete"
        };
        Err(Error::new(
            Code::E0318,
            format!(
                "the load would {verb} {doomed} of {stored} rows of `{}` ({share} %)",
                self.asset
            ),
        )
        .with_detail(format!(
            "At most {most} % may go in one load. Their keys did not arrive. Nothing was changed."
        ))
        .with_hint(format!(
            "look whether the source is complete; if it is, set `{key}: {}}}`",
            (share + 1).min(100)
        )))
    }
}

fn scope_column(column: &str, value: &Value) -> Result<ScopeColumn> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    let wrong = || {
        Error::new(
            Code::E0103,
            format!("`mirror.scope.{column}` is no value and no list of values"),
        )
        .with_hint("write `column: value` or `column: [value, value]`")
    };
    let mut found = ScopeColumn {
        column: column.to_owned(),
        values: Vec::new(),
        null: false,
    };
    for value in list {
        match value {
            Value::Null => found.null = true,
            Value::Bool(is) => found.values.push(ScopeValue::Bool(*is)),
            Value::Number(number) => found.values.push(ScopeValue::Text(number.to_string())),
            Value::String(text) => found.values.push(ScopeValue::Text(text.clone())),
            Value::Array(_) | Value::Object(_) => return Err(wrong()),
        }
    }
    if found.values.is_empty() && !found.null {
        return Err(wrong());
    }
    Ok(found)
}
