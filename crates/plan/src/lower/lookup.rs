//! The `lookup` operator: columns of a reference added to each row by key, as a join that cannot multiply rows.
//!
//! The reference is reduced to one row per key (or the run fails where it has several), so a row finds one row or
//! none. It runs as joins of the house do: hashed when known to be small, else sorted and spilled.

use std::collections::BTreeMap;

use datafusion::arrow::array::{AsArray, BooleanArray};
use datafusion::arrow::datatypes::{DataType, UInt64Type};
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use synqx_model::spec::{Lookup, LookupColumns, Missing, OnFail};
use synqx_model::{Code, Error, Result};

use super::widen::shared_type;
use super::{Lowering, names, order_item, quoted, require};
use crate::check::Judged;
use crate::meter::Rule;
use crate::trouble::{duplicate, outward};
use crate::uses::disguised;

/// The columns of our own: the place of a row among those of its key, and whether a row was found.
const PLACE: &str = "__synqx_place";
const FOUND: &str = "__synqx_found";

impl Lowering<'_> {
    pub(super) async fn lookup(&mut self, spec: &Lookup) -> Result<LogicalPlan> {
        let (left, right) = (names(&self.inputs[0].1), names(&self.inputs[1].1));
        let pairs = spec.on.pairs();
        if pairs.is_empty() {
            return Err(Error::new(Code::E0103, "the lookup names no key")
                .with_hint("write `on: [column]` or `on: {column: column_of_the_reference}`"));
        }
        let missing = pairs
            .iter()
            .flat_map(|(mine, theirs)| [require(&left, mine).err(), require(&right, theirs).err()]);
        if let Some(error) = Error::all(missing.flatten()) {
            return Err(error);
        }
        self.lookup_types(&pairs)?;
        let added = added(spec, &left, &right, &pairs)?;
        let reference = self.one_per_key(spec, &pairs, &added).await?;
        let equal: Vec<String> = pairs
            .iter()
            .map(|(mine, theirs)| format!("\"left\".{} = \"right\".{}", quoted(mine), quoted(&key(theirs))))
            .collect();
        let how = if spec.on_missing == Missing::Drop {
            "inner"
        } else {
            "left"
        };
        let mut items: Vec<String> = left
            .iter()
            .map(|name| format!("\"left\".{}", quoted(name)))
            .chain(added.iter().map(|(new, _)| format!("\"right\".{}", quoted(new))))
            .collect();
        let action = match spec.on_missing {
            Missing::Fail => Some(OnFail::Fail),
            Missing::Quarantine => Some(OnFail::Quarantine),
            Missing::Null | Missing::Drop => None,
        };
        if action.is_some() {
            items.push(format!("\"right\".{FOUND}"));
        }
        let relations = BTreeMap::from([
            ("left".to_owned(), self.inputs[0].1.clone()),
            ("right".to_owned(), reference),
        ]);
        let joined = format!(
            "select {} from \"left\" {how} join \"right\" on {}",
            items.join(", "),
            equal.join(" and ")
        );
        let joined = self.query(&joined, relations).await?;
        let Some(action) = action else {
            return Ok(joined);
        };
        self.inputs = vec![(self.inputs[0].0.clone(), joined)];
        let verdict = self.typed(&format!("{FOUND} is not null"))?;
        let words = format!("{} is in the reference", listed(&pairs));
        let column = pairs.first().map_or("", |(left, _)| left.as_str());
        let rule = Rule::of(column, "in_reference", words, action);
        let rule = Judged::row(rule, verdict, false);
        let checked = self.check_node(self.input().clone(), vec![rule])?;
        let columns = left.iter().chain(added.iter().map(|(new, _)| new));
        let columns: Vec<String> = columns.map(|name| quoted(name)).collect();
        let relations = BTreeMap::from([("checked".to_owned(), checked)]);
        self.query(&format!("select {} from checked", columns.join(", ")), relations)
            .await
    }

    /// Keys of both sides must have a type that holds the values of both. Errors: `E0402`.
    fn lookup_types(&self, pairs: &[(String, String)]) -> Result<()> {
        let data_type = |side: usize, name: &str| {
            let field = self.inputs[side].1.schema().field_with_unqualified_name(name);
            field.map(|field| field.data_type().clone()).ok()
        };
        let faults = pairs.iter().filter_map(|(mine, theirs)| {
            shared_type(mine, &data_type(0, mine)?, &data_type(1, theirs)?, "lookup").err()
        });
        Error::all(faults).map_or(Ok(()), Err)
    }

    /// The reference with one row for each key that is not NULL; several are an error unless one is picked.
    async fn one_per_key(
        &self,
        spec: &Lookup,
        pairs: &[(String, String)],
        added: &[(String, String)],
    ) -> Result<LogicalPlan> {
        let reference = &self.inputs[1].1;
        let keys: Vec<String> = pairs.iter().map(|(_, theirs)| quoted(theirs)).collect();
        let order: Vec<String> = match (spec.pick, spec.order_by.as_slice()) {
            (Some(_), []) => {
                return Err(
                    Error::new(Code::E0103, "`pick: first` says nothing without an order")
                        .with_detail("Rows have no order of their own: streams run side by side.")
                        .with_hint("add `order_by: [column]`"),
                );
            }
            (None, [_, ..]) => {
                return Err(
                    Error::new(Code::E0103, "`order_by` of a lookup belongs to `pick`")
                        .with_hint("add `pick: first`, or leave `order_by` out"),
                );
            }
            (Some(_), items) => items
                .iter()
                .map(|text| order_item(text).map(|item| item.to_sql()))
                .collect::<Result<_>>()?,
            (None, []) => {
                let disguised = disguised(reference);
                let any = |name: &String| match disguised.contains(name) {
                    true => format!("cast({} as text)", quoted(name)),
                    false => quoted(name),
                };
                pairs.iter().map(|(_, theirs)| any(theirs)).collect()
            }
        };
        let known: Vec<String> = keys.iter().map(|name| format!("{name} is not null")).collect();
        let mut items: Vec<String> = added
            .iter()
            .map(|(new, column)| format!("{} as {}", quoted(column), quoted(new)))
            .collect();
        items.extend(
            pairs
                .iter()
                .map(|(_, theirs)| format!("{} as {}", quoted(theirs), quoted(&key(theirs)))),
        );
        items.push(format!("1 as {FOUND}"));
        let ranked = format!(
            "select *, row_number() over (partition by {} order by {}) as {PLACE} from input where {}",
            keys.join(", "),
            order.join(", "),
            known.join(" and ")
        );
        let relations = BTreeMap::from([("input".to_owned(), reference.clone())]);
        let ranked = self.query(&ranked, relations).await?;
        let one = match spec.pick {
            Some(_) => format!("{PLACE} = 1"),
            None => {
                self.context.register_udf(only_one());
                format!("synqx_only_one({PLACE})")
            }
        };
        let relations = BTreeMap::from([("ranked".to_owned(), ranked)]);
        self.query(
            &format!("select {} from ranked where {one}", items.join(", ")),
            relations,
        )
        .await
    }
}

/// The reference's key under a name of ours: the input may have a column of that name.
fn key(name: &str) -> String {
    format!("__synqx_key_{name}")
}

fn listed(pairs: &[(String, String)]) -> String {
    let names: Vec<&str> = pairs.iter().map(|(mine, _)| mine.as_str()).collect();
    names.join(", ")
}

/// New names and the reference's columns. Errors: `E0401`, `E0406`.
fn added(
    spec: &Lookup,
    left: &[String],
    right: &[String],
    pairs: &[(String, String)],
) -> Result<Vec<(String, String)>> {
    let prefix = spec.prefix.as_deref().unwrap_or_default();
    let prefixed = |name: &String| (format!("{prefix}{name}"), name.clone());
    let added: Vec<(String, String)> = match &spec.columns {
        Some(LookupColumns::Named(named)) => named.0.clone(),
        Some(LookupColumns::List(list)) => list.iter().map(prefixed).collect(),
        None => {
            let is_key = |name: &&String| pairs.iter().any(|(_, theirs)| theirs == *name);
            right.iter().filter(|name| !is_key(name)).map(prefixed).collect()
        }
    };
    let mut errors: Vec<Error> = Vec::new();
    for (index, (new, column)) in added.iter().enumerate() {
        errors.extend(require(right, column).err());
        if left.contains(new) || added[..index].iter().any(|(other, _)| other == new) {
            errors.push(
                duplicate(new).with_hint("write `prefix: ref_`, or rename it: `columns: {new_name: column}`"),
            );
        }
    }
    Error::all(errors).map_or(Ok(added), Err)
}

/// True for the first row of a key; a second one is an error.
fn only_one() -> ScalarUDF {
    ScalarUDF::new_from_impl(OnlyOne {
        signature: Signature::exact(vec![DataType::UInt64], Volatility::Volatile),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyOne {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyOne {
    fn name(&self) -> &str {
        "synqx_only_one"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        let places = args.args[0].to_array(args.number_rows)?;
        let places = places.as_primitive::<UInt64Type>();
        if places.iter().flatten().any(|place| place > 1) {
            return Err(outward(
                Error::new(
                    Code::E0410,
                    "the reference of a lookup has several rows for one key",
                )
                .with_detail("Each row could get only one of them, and nothing says which.")
                .with_hint("add `pick: first` with `order_by`, or deduplicate the reference"),
            ));
        }
        Ok(ColumnarValue::Array(std::sync::Arc::new(BooleanArray::from(
            vec![true; places.len()],
        ))))
    }
}
