//! Operators that change the shape of rows or hide their values: window, pivot, unpivot, flatten, mask, lookup.
//!
//! The same rules as in `operator`: texts stay texts, unknown keys are refused, what a key means for data is
//! decided by `plan::lower`. A separate file only because the other one is long.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operator::{CastError, Extract, Operator, OrderedMap, is_default, is_true, null_is_a_word, yes};
use super::{Node, PipelineSpec};

/// Computes columns over the neighbours of each row; no row is added or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Columns or expressions whose equal values make one partition; everything is one when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<String>,
    /// The order within a partition: column names or expressions, `desc`, `nulls first` allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
    /// The frame of every column that names none, such as `rows between 6 preceding and current row`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<String>,
    /// New name → one function call without OVER, such as `row_number()` or `sum(amount)`.
    pub columns: OrderedMap<WindowColumn>,
}

/// One column of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum WindowColumn {
    /// The function.
    Function(String),
    /// The function with a frame of its own.
    Framed(FramedFunction),
}

/// A function with a frame of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FramedFunction {
    /// One function call without OVER.
    pub function: String,
    /// The frame: `rows | range | groups between … and …`.
    pub frame: String,
}

/// Turns rows into columns: one row per group, one column per value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pivot {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The columns that stay; one row per combination.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// The column whose values become columns.
    pub column: String,
    /// The values that become columns, `null` allowed: a list, or new name → value.
    pub values: PivotValues,
    /// One aggregate, computed for each group and value, such as `sum(amount)`.
    pub cell: String,
    /// Put before the names that a list of values gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What happens to a row whose value is none of `values`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unknown: Unknown,
}

/// The values that become columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PivotValues {
    /// Values, each the name of its column.
    List(Vec<Value>),
    /// New name → value.
    Named(OrderedMap<Value>),
}

/// What happens to a row whose value is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// The run fails.
    #[default]
    Fail,
    /// The row is quarantined.
    Quarantine,
    /// The row counts for no cell; its group stays.
    Ignore,
}

/// Turns columns into rows: one row per input row and column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unpivot {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The columns that become rows; all others are repeated.
    pub columns: Vec<String>,
    /// The new column with the old column's name.
    #[serde(default = "called_name")]
    pub name: String,
    /// The new column with the old column's value.
    #[serde(default = "called_value")]
    pub value: String,
    /// Make rows of NULLs too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub include_nulls: bool,
}

fn called_name() -> String {
    "name".to_owned()
}

fn called_value() -> String {
    "value".to_owned()
}

/// Takes nested values apart: JSON text, then one list, then structs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flatten {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// JSON text to columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<FlattenJson>,
    /// A list column: one row per element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explode: Option<String>,
    /// Keep rows whose list is empty or NULL, with a NULL element.
    #[serde(default, skip_serializing_if = "is_default")]
    pub outer: bool,
    /// A new column with the place of the element, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<String>,
    /// Struct column → what is put before the names of its fields.
    #[serde(default, skip_serializing_if = "OrderedMap::is_empty")]
    pub unpack: OrderedMap<String>,
}

/// JSON text to columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlattenJson {
    /// The column with the text.
    pub column: String,
    /// New name → type, or path and type.
    pub fields: OrderedMap<JsonField>,
    /// Keep the text's column.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub keep: bool,
    /// What happens to text that is not JSON and to a value that does not convert.
    #[serde(
        default,
        skip_serializing_if = "is_default",
        deserialize_with = "null_is_a_word"
    )]
    pub on_error: CastError,
}

/// Where a column's value is in the JSON, and its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum JsonField {
    /// The type; the path is the column's name.
    Type(String),
    /// Path and type.
    At(JsonPlace),
}

/// Path and type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JsonPlace {
    /// Such as `address.city` or `items[0]."a.b"`.
    pub path: String,
    /// A type, `json`, `text[]` or `json[]`.
    pub r#type: String,
}

/// Replaces values so that they can no longer be read. NULL stays NULL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The key of `hash` and `tokenize`: a `secret://` reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Column → how.
    #[serde(deserialize_with = "null_is_a_method")]
    pub columns: OrderedMap<MaskHow>,
}

/// How a value is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaskHow {
    /// HMAC-SHA-256 of the value's text under the salt, as 64 hexadecimal digits.
    Hash,
    /// `***`.
    Redact,
    /// Another value of the same form, the same for equal values, never the same for different ones.
    Tokenize,
    /// NULL.
    Null,
    /// Some characters at the ends stay, all others become `*`.
    Partial(PartialMask),
}

/// How many characters stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartialMask {
    /// At the beginning.
    #[serde(default)]
    pub first: u32,
    /// At the end.
    #[serde(default)]
    pub last: u32,
}

/// YAML reads `column: null` as no value; here it is the word.
fn null_is_a_method<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<OrderedMap<MaskHow>, D::Error> {
    let columns = OrderedMap::<Option<MaskHow>>::deserialize(deserializer)?.0;
    let columns = columns
        .into_iter()
        .map(|(name, how)| (name, how.unwrap_or(MaskHow::Null)));
    Ok(OrderedMap(columns.collect()))
}

/// Adds columns of a reference to each row, found by key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// The node whose rows get the columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The node to look in, unless `from` and `asset` name what to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The connection of the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its table or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// Options of the connector for this asset.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
    /// Key columns both sides have, or the input's column → the reference's.
    pub on: LookupOn,
    /// The reference's columns to add, or new name → column; every column besides the key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<LookupColumns>,
    /// Put before the names of columns that are not renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What happens to a row whose key is not in the reference, or is NULL.
    #[serde(
        default,
        skip_serializing_if = "is_default",
        deserialize_with = "missing_is_null"
    )]
    pub on_missing: Missing,
    /// Several rows of one key in the reference: the first by `order_by`; without it they fail the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
    /// The order of `pick`: column names or expressions of the reference.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
}

/// The key of a lookup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LookupOn {
    /// Columns of the same name on both sides.
    Columns(Vec<String>),
    /// The input's column → the reference's.
    Pairs(OrderedMap<String>),
}

impl LookupOn {
    /// Pairs of the input's and the reference's column.
    pub fn pairs(&self) -> Vec<(String, String)> {
        match self {
            LookupOn::Columns(names) => names.iter().map(|n| (n.clone(), n.clone())).collect(),
            LookupOn::Pairs(pairs) => pairs.0.clone(),
        }
    }
}

/// The columns a lookup adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LookupColumns {
    /// The reference's columns.
    List(Vec<String>),
    /// New name → the reference's column.
    Named(OrderedMap<String>),
}

/// What happens to a row whose key is not in the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The added columns are NULL.
    #[default]
    Null,
    /// The run fails.
    Fail,
    /// The row is quarantined.
    Quarantine,
    /// The row goes.
    Drop,
}

fn missing_is_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Missing, D::Error> {
    Ok(Option::<Missing>::deserialize(deserializer)?.unwrap_or_default())
}

/// Which of several rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The first in order.
    First,
}

impl PipelineSpec {
    /// The document as it runs: the asset a lookup names is read by an extract of its own, `<lookup>_reference`.
    pub fn expanded(&self) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        for node in &self.nodes {
            let mut node = node.clone();
            if let Operator::Lookup(lookup) = &mut node.operator
                && lookup.reference.is_none()
                && lookup.from.is_some()
            {
                let mut id = format!("{}_reference", node.id);
                while self.node(&id).is_some() {
                    id.push('_');
                }
                let extract = Extract {
                    from: lookup.from.take(),
                    asset: lookup.asset.take(),
                    options: std::mem::take(&mut lookup.options),
                    ..Extract::default()
                };
                nodes.push(Node {
                    id: id.clone(),
                    name: None,
                    operator: Operator::Extract(extract),
                    retry: node.retry.clone(),
                    timeout: None,
                });
                lookup.reference = Some(id);
            }
            nodes.push(node);
        }
        PipelineSpec {
            nodes,
            ..self.clone()
        }
    }
}
