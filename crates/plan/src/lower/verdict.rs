//! What a check of rows demands, as one boolean expression over the row.
//!
//! Values of the document become literals of the column's own type, exactly or not at all, so that a comparison never
//! happens in a type nobody meant. Whether NULL passes is not part of the expression: the check operator decides it
//! on bit masks. Floats: NaN is in no range, and the two zeros are one.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{Array, ArrayRef, StringViewArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::Column;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, cast, lit};
use datafusion::scalar::ScalarValue;
use serde_json::Value;
use synqx_model::nearest::did_you_mean;
use synqx_model::spec::{CastTo, Check, CheckKind};
use synqx_model::{Code, Error, Result};
use synqx_sdk::type_names::{is_text, parse_type, render_type};

use super::cast::forgiving;
use super::columns::{literal, pattern};
use super::validate::{helper, lacks};
use super::{Lowering, expression, quoted};
use crate::exact::exactly;
use crate::formats::FORMATS;
use crate::gauge::Number;
use crate::text_tests::TextTest;
use crate::time_text::TimeFormat;
use crate::trouble::{Phase, inward};
use crate::uses::disguised;

/// One check on its way to an expression.
pub(super) struct Verdict<'a> {
    pub(super) lowering: &'a Lowering<'a>,
    /// The rows, with the helpers of `unique`, `increasing` and `decreasing`.
    pub(super) input: &'a LogicalPlan,
    pub(super) check: &'a Check,
    /// Its place in the document, for errors.
    pub(super) place: String,
    /// Its number, for the names of its helpers.
    pub(super) index: usize,
}

impl Verdict<'_> {
    /// The verdict. Errors: `E0103`, `E0401`, `E0402`, `E08xx`.
    pub(super) fn expr(&self) -> Result<Expr> {
        let check = self.check;
        match check.check {
            CheckKind::Condition => {
                let text = check
                    .condition
                    .as_deref()
                    .ok_or_else(|| lacks(&self.place, "condition"))?;
                self.sql(&format!("({})", expression(text)?))
            }
            CheckKind::RequiredIf => self.required_if(),
            CheckKind::Compare => self.compare(),
            CheckKind::SumEquals => self.sum_equals(),
            CheckKind::Unique | CheckKind::Increasing | CheckKind::Decreasing => {
                self.sql(&self.beside_others()?)
            }
            _ => {
                let (column, data_type) = self.column(self.column_name()?)?;
                self.of_column(column, &data_type)
            }
        }
    }

    /// A check of one column.
    fn of_column(&self, column: Expr, data_type: &DataType) -> Result<Expr> {
        let check = self.check;
        Ok(match check.check {
            CheckKind::NotNull => column.is_not_null(),
            CheckKind::Missing => self.not_missing(column, data_type)?,
            CheckKind::Range => self.range(column, data_type)?,
            CheckKind::Positive => self.above_zero(column, data_type, Operator::Gt)?,
            CheckKind::NonNegative => self.above_zero(column, data_type, Operator::GtEq)?,
            CheckKind::AcceptedValues => self.in_values(column, data_type, false)?,
            CheckKind::RejectedValues => self.in_values(column, data_type, true)?,
            CheckKind::Castable => self.converts(column, data_type, self.target_type()?),
            CheckKind::FitsDecimal => {
                let digits = check.precision.ok_or_else(|| lacks(&self.place, "precision"))?;
                let name = format!("decimal({digits},{})", check.scale.unwrap_or(0));
                self.converts(column, data_type, parse_type(&name)?)
            }
            CheckKind::Type => self.is_type(data_type)?,
            CheckKind::NotInFuture => {
                let now = self.moment(data_type, Duration::ZERO)?;
                binary(column, Operator::LtEq, now)
            }
            CheckKind::NotBefore => self.not_before(column, data_type)?,
            CheckKind::Like => {
                self.text(data_type)?;
                let text = check
                    .pattern
                    .as_deref()
                    .ok_or_else(|| lacks(&self.place, "pattern"))?;
                let like = Like::new(
                    false,
                    Box::new(cast(column, DataType::Utf8View)),
                    Box::new(lit(text)),
                    None,
                    false,
                );
                Expr::Like(like)
            }
            CheckKind::NotRegex => Expr::Not(Box::new(self.text_test(data_type)?.over(column))),
            _ => self.text_test(data_type)?.over(column),
        })
    }

    /// What is demanded of a text.
    fn text_test(&self, data_type: &DataType) -> Result<TextTest> {
        let check = self.check;
        self.text(data_type)?;
        let format = || {
            check
                .format
                .as_deref()
                .ok_or_else(|| lacks(&self.place, "format"))
        };
        Ok(match check.check {
            CheckKind::Regex | CheckKind::NotRegex => TextTest::Matches(pattern(
                check
                    .pattern
                    .as_deref()
                    .ok_or_else(|| lacks(&self.place, "pattern"))?,
            )?),
            CheckKind::NotEmptyString => TextTest::NotEmpty(check.trim),
            CheckKind::Json => TextTest::Json,
            CheckKind::Length => {
                if check.min.is_none() && check.max.is_none() {
                    return Err(lacks(&self.place, "min"));
                }
                let bound = |value: &Option<Value>, none| match value {
                    None => Ok(none),
                    Some(value) => value.as_u64().ok_or_else(|| {
                        Error::new(
                            Code::E0103,
                            format!("{}: a length is a whole number of characters", self.place),
                        )
                        .with_hint("write `min` and `max` as numbers such as 3")
                    }),
                };
                TextTest::Characters(bound(&check.min, 0)?, bound(&check.max, u64::MAX)?)
            }
            CheckKind::Format => {
                let word = format()?;
                let known = FORMATS.iter().find(|(name, _)| *name == word);
                TextTest::Is(known.map(|(_, format)| *format).ok_or_else(|| {
                    Error::new(Code::E0103, format!("{}: unknown format `{word}`", self.place))
                        .with_hint(did_you_mean(word, FORMATS.iter().map(|(name, _)| *name)))
                })?)
            }
            CheckKind::DateFormat => {
                let target = match &check.r#type {
                    None if format()?.contains(['H', 'I', 'T', 'R', 's']) && format()?.contains('z') => {
                        "timestamptz"
                    }
                    None if TimeFormat::new(format()?, &DataType::Date32).is_err() => "timestamp",
                    None => "date",
                    Some(name) => name,
                };
                let target = parse_type(target)?;
                if !matches!(target, DataType::Date32 | DataType::Timestamp(..)) {
                    return Err(Error::new(
                        Code::E0103,
                        format!(
                            "{}: a time format cannot be read as {}",
                            self.place,
                            render_type(&target)
                        ),
                    )
                    .with_hint("`type` is `date`, `timestamp` or `timestamptz` here"));
                }
                let format = TimeFormat::new(format()?, &target);
                TextTest::Time(
                    format.map_err(|(message, hint)| Error::new(Code::E0103, message).with_hint(hint))?,
                )
            }
            _ => return Err(Error::bug("a check was lowered as a text test")),
        })
    }

    fn not_missing(&self, column: Expr, data_type: &DataType) -> Result<Expr> {
        let mut verdict = column.clone().is_not_null();
        if !self.check.values.is_empty() {
            verdict = verdict.and(self.in_values(column.clone(), data_type, true)?);
        }
        if let Some(text) = &self.check.pattern {
            self.text(data_type)?;
            verdict = verdict.and(Expr::Not(Box::new(
                TextTest::Matches(pattern(text)?).over(column),
            )));
        }
        Ok(verdict)
    }

    fn range(&self, column: Expr, data_type: &DataType) -> Result<Expr> {
        let check = self.check;
        let (low, high) = (
            if check.exclusive.min() {
                Operator::Gt
            } else {
                Operator::GtEq
            },
            if check.exclusive.max() {
                Operator::Lt
            } else {
                Operator::LtEq
            },
        );
        let min = check
            .min
            .as_ref()
            .map(|value| self.bound(value, data_type, low))
            .transpose()?;
        let max = check
            .max
            .as_ref()
            .map(|value| self.bound(value, data_type, high))
            .transpose()?;
        let above = min.map(|min| binary(column.clone(), low, min));
        let below = max.map(|max| binary(column.clone(), high, max));
        match (above, below) {
            (Some(above), Some(below)) => Ok(above.and(below)),
            (Some(above), None) => Ok(not_nan(above, column, data_type)),
            (None, Some(below)) => Ok(below),
            (None, None) => Err(lacks(&self.place, "min")),
        }
    }

    fn above_zero(&self, column: Expr, data_type: &DataType, op: Operator) -> Result<Expr> {
        if !data_type.is_numeric() {
            return Err(self.wrong_type(data_type, "a number"));
        }
        let above = binary(column.clone(), op, self.bound(&Value::from(0), data_type, op)?);
        Ok(not_nan(above, column, data_type))
    }

    fn in_values(&self, column: Expr, data_type: &DataType, negated: bool) -> Result<Expr> {
        if self.check.values.is_empty() {
            return Err(lacks(&self.place, "values"));
        }
        let mut list = Vec::new();
        for value in &self.check.values {
            let value = self.typed(value, data_type)?;
            if data_type.is_floating() && value.to_string() == "0" {
                list.push(lit(value
                    .arithmetic_negate()
                    .map_err(|e| inward(e, Phase::Planning))?));
            }
            list.push(lit(value));
        }
        Ok(Expr::InList(InList::new(Box::new(column), list, negated)))
    }

    fn target_type(&self) -> Result<DataType> {
        parse_type(
            self.check
                .r#type
                .as_deref()
                .ok_or_else(|| lacks(&self.place, "type"))?,
        )
    }

    /// As `cast` with `on_error: quarantine` judges it. NULL where the value is NULL.
    fn converts(&self, column: Expr, from: &DataType, to: DataType) -> Expr {
        let converted = forgiving(column.clone(), from, &CastTo::Type(String::new()), &to);
        let null = lit(ScalarValue::Boolean(None));
        let known = binary(column.clone().is_not_null(), Operator::Or, null);
        known.and(column.is_null().or(converted.is_not_null()))
    }

    fn is_type(&self, data_type: &DataType) -> Result<Expr> {
        let (is, wanted) = (render_type(data_type), render_type(&self.target_type()?));
        if is == wanted {
            return Ok(lit(true));
        }
        let name = self.column_name()?;
        Err(Error::new(
            Code::E0402,
            format!("column `{name}` is {is}, and the check demands {wanted}"),
        )
        .with_detail("Every value of a column has one type, so this is judged before the run.")
        .with_hint("cast it before the check, or change `type`"))
    }

    fn not_before(&self, column: Expr, data_type: &DataType) -> Result<Expr> {
        let bound = match (&self.check.min, self.check.max_age) {
            (Some(min), None) => lit(self.typed(min, data_type)?),
            (None, Some(age)) => self.moment(data_type, age.0)?,
            _ => {
                return Err(Error::new(
                    Code::E0103,
                    format!("{}: `not_before` needs either `min` or `max_age`", self.place),
                )
                .with_hint("write `min: 2000-01-01`, or `max_age: 30d`"));
            }
        };
        self.moment(data_type, Duration::ZERO)?;
        Ok(binary(column, Operator::GtEq, bound))
    }

    /// So long before the start of the run, in the type of a column. A time without zone counts as UTC.
    fn moment(&self, data_type: &DataType, before: Duration) -> Result<Expr> {
        let before = i64::try_from(before.as_millis()).unwrap_or(i64::MAX);
        let at = self.lowering.started_ms.saturating_sub(before);
        let value = match data_type {
            DataType::Date32 => ScalarValue::Date32(i32::try_from(at.div_euclid(86_400_000)).ok()),
            DataType::Timestamp(unit, zone) => {
                let scaled = match unit {
                    TimeUnit::Second => at.div_euclid(1_000),
                    TimeUnit::Millisecond => at,
                    TimeUnit::Microsecond => at.saturating_mul(1_000),
                    TimeUnit::Nanosecond => at.saturating_mul(1_000_000),
                };
                match unit {
                    TimeUnit::Second => ScalarValue::TimestampSecond(Some(scaled), zone.clone()),
                    TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(scaled), zone.clone()),
                    TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(scaled), zone.clone()),
                    TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(scaled), zone.clone()),
                }
            }
            other => return Err(self.wrong_type(other, "a date or timestamp")),
        };
        Ok(lit(value))
    }

    fn compare(&self) -> Result<Expr> {
        let (left, right) = (self.column_name()?, self.other()?);
        let (left_column, left_type) = self.column(left)?;
        let (right_column, right_type) = self.column(right)?;
        if is_text(&left_type) != is_text(&right_type) || left_type.is_numeric() != right_type.is_numeric() {
            let (is, other) = (render_type(&left_type), render_type(&right_type));
            return Err(Error::new(
                Code::E0402,
                format!("column `{left}` is {is} and `{right}` is {other}"),
            )
            .with_hint("cast one of them before the check"));
        }
        let text = self
            .check
            .operator
            .as_deref()
            .ok_or_else(|| lacks(&self.place, "operator"))?;
        let op = match text {
            "<" => Operator::Lt,
            "<=" => Operator::LtEq,
            "=" => Operator::Eq,
            "<>" | "!=" => Operator::NotEq,
            ">=" => Operator::GtEq,
            ">" => Operator::Gt,
            _ => {
                return Err(
                    Error::new(Code::E0103, format!("{}: `{text}` does not compare", self.place))
                        .with_hint("`operator` is one of `<`, `<=`, `=`, `<>`, `>=`, `>`"),
                );
            }
        };
        Ok(binary(left_column, op, right_column))
    }

    fn other(&self) -> Result<&str> {
        self.check
            .other
            .as_deref()
            .ok_or_else(|| lacks(&self.place, "other"))
    }

    fn sum_equals(&self) -> Result<Expr> {
        let check = self.check;
        if check.columns.is_empty() {
            return Err(lacks(&self.place, "columns"));
        }
        let mut names: Vec<&str> = check.columns.iter().map(String::as_str).collect();
        names.extend(check.other.as_deref());
        let mut floats = false;
        for name in &names {
            let (_, data_type) = self.column(name)?;
            if !data_type.is_numeric() {
                return Err(self.wrong_type(&data_type, "a number"));
            }
            floats |= data_type.is_floating();
        }
        let number = |value: &Value| -> Result<String> {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let number = Number::parse(&text).ok_or_else(|| self.no_number())?;
            if floats {
                return Ok(format!("cast('{text}' as double precision)"));
            }
            Ok(format!("cast('{text}' as decimal(38,{}))", number.scale()))
        };
        let term = |name: &str| {
            let column = quoted(name);
            match self.column(name) {
                Ok((_, data_type)) if data_type.is_integer() && !floats => {
                    format!("cast({column} as decimal(20,0))")
                }
                _ => column,
            }
        };
        let sum: Vec<String> = check.columns.iter().map(|name| term(name)).collect();
        let right = match (&check.other, &check.value) {
            (Some(other), None) => term(other),
            (None, Some(value)) => number(value)?,
            _ => {
                return Err(Error::new(
                    Code::E0103,
                    format!("{}: `sum_equals` needs either `other` or `value`", self.place),
                )
                .with_hint("write `other: total`, or `value: 100`"));
            }
        };
        let tolerance = number(check.tolerance.as_ref().unwrap_or(&Value::from(0)))?;
        self.sql(&format!("abs(({}) - ({right})) <= {tolerance}", sum.join(" + ")))
    }

    fn required_if(&self) -> Result<Expr> {
        let when = expression(
            self.check
                .when
                .as_deref()
                .ok_or_else(|| lacks(&self.place, "when"))?,
        )?;
        let columns = self.check.named();
        if columns.is_empty() {
            return Err(lacks(&self.place, "column"));
        }
        if let Some(error) = Error::all(
            columns
                .iter()
                .filter_map(|name| self.lowering.require(name).err()),
        ) {
            return Err(error);
        }
        let there: Vec<String> = columns
            .iter()
            .map(|name| format!("{} is not null", quoted(name)))
            .collect();
        self.sql(&format!(
            "(not coalesce(({when}), false)) or ({})",
            there.join(" and ")
        ))
    }

    /// Verdicts about a row among others, over the helpers that `validate` adds.
    fn beside_others(&self) -> Result<String> {
        let check = self.check;
        if check.check == CheckKind::Unique {
            let any_null: Vec<String> = check
                .named()
                .iter()
                .map(|k| format!("{} is null", quoted(k)))
                .collect();
            let (row, next) = (helper("row", self.index), helper("next", self.index));
            let alone = match check.reject {
                synqx_model::spec::UniqueReject::Rest => format!("{row} = 1"),
                synqx_model::spec::UniqueReject::All => format!("({row} = 1 and {next} is null)"),
            };
            return Ok(format!("({} or {alone})", any_null.join(" or ")));
        }
        let (column, before) = (quoted(self.column_name()?), helper("before", self.index));
        let op = match (check.check == CheckKind::Increasing, check.strict) {
            (true, true) => ">",
            (true, false) => ">=",
            (false, true) => "<",
            (false, false) => "<=",
        };
        Ok(format!("({before} is null or {column} {op} {before})"))
    }

    fn sql(&self, text: &str) -> Result<Expr> {
        let state = self.lowering.context.state();
        state
            .create_logical_expr(text, self.input.schema())
            .map_err(|e| inward(e, Phase::Planning))
    }

    fn column_name(&self) -> Result<&str> {
        self.check
            .column
            .as_deref()
            .ok_or_else(|| lacks(&self.place, "column"))
    }

    /// A column and its type. Errors: `E0401`.
    pub(super) fn column(&self, name: &str) -> Result<(Expr, DataType)> {
        self.lowering.require(name)?;
        let found = self.input.schema().qualified_field_with_unqualified_name(name);
        let (qualifier, field) = found.map_err(|e| inward(e, Phase::Planning))?;
        let data_type = field.data_type().clone();
        Ok((Expr::Column(Column::new(qualifier.cloned(), name)), data_type))
    }

    fn text(&self, data_type: &DataType) -> Result<()> {
        if is_text(data_type) {
            return Ok(());
        }
        Err(self.wrong_type(data_type, "text"))
    }

    /// A column that a check cannot judge.
    pub(super) fn wrong_type(&self, data_type: &DataType, wanted: &str) -> Error {
        let name = self.check.named().join("`, `");
        Error::new(
            Code::E0402,
            format!("column `{name}` is not {wanted} but {}", render_type(data_type)),
        )
        .with_detail(format!(
            "The check `{}` judges {wanted}.",
            self.check.check.as_str()
        ))
        .with_hint("cast the column before the check, or use a `condition` with a cast")
    }

    fn is_disguised(&self) -> bool {
        let disguised = disguised(self.input);
        self.check
            .named()
            .iter()
            .any(|name| disguised.iter().any(|known| known == name))
    }

    fn no_number(&self) -> Error {
        Error::new(
            Code::E0103,
            format!("{}: a bound is not a number of at most 38 digits", self.place),
        )
        .with_hint("write a number such as 10 or 0.5")
    }

    /// A bound as a literal. Zero bounds of floats take in, or leave out, both zeros.
    fn bound(&self, value: &Value, data_type: &DataType, op: Operator) -> Result<Expr> {
        let typed = match self.typed(value, data_type) {
            Ok(typed) => typed,
            // A whole number has neighbours outside its type and between its steps.
            Err(_) if data_type.is_integer() || data_type.is_decimal() => self.decimal(value)?,
            Err(error) => return Err(error),
        };
        let low_zero = matches!(op, Operator::GtEq | Operator::Lt);
        Ok(lit(match typed {
            ScalarValue::Float64(Some(0.0)) => ScalarValue::Float64(Some(if low_zero { -0.0 } else { 0.0 })),
            ScalarValue::Float32(Some(0.0)) => ScalarValue::Float32(Some(if low_zero { -0.0 } else { 0.0 })),
            other => other,
        }))
    }

    fn decimal(&self, value: &Value) -> Result<ScalarValue> {
        let number = value
            .as_number()
            .and_then(|number| Number::parse(&number.to_string()));
        let number = number.ok_or_else(|| self.no_number())?;
        let scale = i8::try_from(number.scale()).map_err(|_| self.no_number())?;
        Ok(ScalarValue::Decimal128(Some(number.digits()), 38, scale))
    }

    /// A value of the document as a literal of a column's type, exactly. Errors: `E0402`.
    fn typed(&self, value: &Value, data_type: &DataType) -> Result<ScalarValue> {
        let name = self.check.named().join("`, `");
        literal(value, &name)?;
        let (spelling, text) = match value {
            Value::String(text) => ("text", text.clone()),
            Value::Bool(word) => ("a boolean", word.to_string()),
            other => ("a number", other.to_string()),
        };
        let fits = match value {
            Value::String(_) => *data_type != DataType::Boolean,
            Value::Bool(_) => *data_type == DataType::Boolean,
            // Of text that is really a number, `check_uses` says more.
            _ => data_type.is_numeric() || self.is_disguised(),
        };
        let known = is_text(data_type)
            || data_type.is_numeric()
            || matches!(
                data_type,
                DataType::Boolean
                    | DataType::Date32
                    | DataType::Timestamp(..)
                    | DataType::Time32(_)
                    | DataType::Time64(_)
            );
        if !known {
            return Err(self.wrong_type(data_type, "a number, text, time or boolean"));
        }
        let misfit = |why: String| {
            Error::new(
                Code::E0402,
                format!(
                    "{}: a value of the check does not fit column `{name}`",
                    self.place
                ),
            )
            .with_detail(format!("The column is {}, {why}.", render_type(data_type)))
            .with_hint("write values as the column has them; text goes into quotes")
        };
        if !fits {
            return Err(misfit(format!("the value is written as {spelling}")));
        }
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![text.as_str()]));
        let converted = exactly(&texts, data_type).map_err(|e| inward(e, Phase::Planning))?;
        if converted.is_null(0) {
            return Err(misfit(
                "and the value does not convert to that without loss".to_owned(),
            ));
        }
        ScalarValue::try_from_array(&converted, 0).map_err(|e| inward(e, Phase::Planning))
    }
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// NaN sorts above every number; it is above no bound.
fn not_nan(above: Expr, column: Expr, data_type: &DataType) -> Expr {
    let greatest = match data_type {
        DataType::Float64 => lit(f64::INFINITY),
        DataType::Float32 => lit(f32::INFINITY),
        _ => return above,
    };
    above.and(binary(column, Operator::LtEq, greatest))
}
