//! What a node can be: one type per operator, each with the keys a document may write.
//!
//! Expressions are SQL text and stay text here; `plan` types them. Every struct refuses unknown keys. Adding an
//! operator: a variant in `Operator`, its struct here, its lowering in `plan::lower`, a page row in docs/reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::checks::Validate;
use super::load::Load;
use super::reshape::{Flatten, Lookup, Mask, Pivot, Unpivot, Window};
use crate::size::Span;

/// One operator with its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// Reads an asset or a query.
    Extract(Extract),
    /// Writes to an asset.
    Load(Load),
    /// Keeps the rows for which a condition is true.
    Filter(Filter),
    /// Computes columns.
    Map(MapColumns),
    /// Changes column types.
    Cast(Cast),
    /// Renames columns.
    Rename(Rename),
    /// Removes columns.
    Drop(DropColumns),
    /// Replaces NULLs.
    FillNulls(FillNulls),
    /// Replaces text by a pattern.
    RegexReplace(RegexReplace),
    /// Keeps one row per key.
    Deduplicate(Deduplicate),
    /// Orders rows.
    Sort(Sort),
    /// Groups rows.
    Aggregate(Aggregate),
    /// Computes columns over neighbouring rows.
    Window(Window),
    /// Turns rows into columns.
    Pivot(Pivot),
    /// Turns columns into rows.
    Unpivot(Unpivot),
    /// Takes lists, structs and JSON text apart.
    Flatten(Flatten),
    /// Hides values.
    Mask(Mask),
    /// Joins two inputs.
    Join(Join),
    /// Adds columns of a reference by key.
    Lookup(Lookup),
    /// Puts inputs one after another.
    Union(Union),
    /// Any SELECT over the inputs it names.
    Sql(Sql),
    /// Judges rows.
    Validate(Validate),
    /// Routes rows to branches.
    Switch(Switch),
}

/// Operators of the design that a later issue brings; naming one is `E0111`, never a silent pass-through.
pub const LATER_OPERATORS: [&str; 4] = ["dbt", "spark", "script", "sub_pipeline"];

/// Reads an asset or a query of a connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// Connection name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Connector kind, where the connection is implied by an asset id (API form).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// Table, file, glob or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// An asset registered with the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<i64>,
    /// A query in the source's own SQL, instead of an asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Read everything, what is new, or changes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sync: Sync,
    /// The column an incremental read goes by: a number, date or timestamp that only grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How far before the last value an incremental read of a date or timestamp begins, for rows that come late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback: Option<Span>,
    /// How the read is split.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partition: PartitionBy,
    /// Options of the connector for this asset, such as a CSV dialect or column types.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// What an extract reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// Everything, every time.
    #[default]
    Full,
    /// What is new by a cursor column.
    Incremental,
    /// The change log.
    Cdc,
}

/// How a read is split into parallel partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PartitionBy {
    /// The connector decides.
    #[default]
    Auto,
    /// One stream.
    None,
    /// Ranges of a column.
    #[serde(untagged)]
    Column(PartitionColumn),
}

/// Ranges of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartitionColumn {
    /// The column whose ranges split the read.
    pub column: String,
    /// How many ranges.
    pub count: u32,
}

/// Keeps the rows for which a condition is true.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// SQL condition; rows for which it is false or NULL go.
    #[serde(rename = "where")]
    pub condition: String,
}

/// Computes columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MapColumns {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// New name → SQL expression over the input's columns.
    pub columns: OrderedMap<String>,
    /// Keep the input's other columns too.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub keep: bool,
}

/// Changes column types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cast {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Column → type, or type with a format.
    pub columns: OrderedMap<CastTo>,
    /// What happens to a value that does not convert.
    #[serde(
        default,
        skip_serializing_if = "is_default",
        deserialize_with = "null_is_a_word"
    )]
    pub on_error: CastError,
}

/// A target type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CastTo {
    /// `bigint`, `decimal(10,2)`, `timestamp`, …
    Type(String),
    /// A type and the format its text has.
    Formatted(CastFormat),
}

impl CastTo {
    /// The type's text.
    pub fn type_name(&self) -> &str {
        match self {
            CastTo::Type(name) => name,
            CastTo::Formatted(format) => &format.r#type,
        }
    }
}

/// A type and the format its text has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CastFormat {
    /// `date`, `timestamp`.
    pub r#type: String,
    /// strftime-style, such as `%d/%m/%Y`.
    pub format: String,
}

/// What happens to a value that does not convert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CastError {
    /// The run fails.
    #[default]
    Fail,
    /// The value becomes NULL.
    Null,
    /// The row is quarantined.
    Quarantine,
}

/// YAML reads `on_error: null` as no value; here it is the word.
pub(super) fn null_is_a_word<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<CastError, D::Error> {
    Ok(Option::<CastError>::deserialize(deserializer)?.unwrap_or(CastError::Null))
}

/// Renames columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Old name → new name.
    pub columns: OrderedMap<String>,
}

/// Removes columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropColumns {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Names.
    pub columns: Vec<String>,
}

/// Replaces NULLs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FillNulls {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Column → value.
    #[serde(default, skip_serializing_if = "OrderedMap::is_empty")]
    pub columns: OrderedMap<Value>,
    /// One value for every column of `subset` (or every column it fits).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// A value computed over the whole input for every column of `subset`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<FillStrategy>,
    /// The columns `value` or `strategy` applies to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subset: Vec<String>,
}

/// A value computed over the whole input, never per batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FillStrategy {
    /// The mean of the non-NULL values.
    Mean,
    /// The smallest value.
    Min,
    /// The greatest value.
    Max,
    /// Zero.
    Zero,
}

/// Replaces text by a pattern.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegexReplace {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Text columns; every text column when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subset: Vec<String>,
    /// A regular expression (Rust `regex` syntax, linear time).
    pub pattern: String,
    /// What each match becomes; `\1` is the first group.
    pub replacement: String,
}

/// Keeps one row per key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deduplicate {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Key columns; every column when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Which row comes first: column names, `desc` allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
    /// Which row stays.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep: Keep,
}

/// Which row of a group stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The first in order.
    #[default]
    First,
    /// The last in order.
    Last,
}

/// Orders rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sort {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Column names or expressions; `desc`, `nulls first` allowed.
    pub by: Vec<String>,
}

/// Groups rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Columns or expressions; one group for everything when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_by: Vec<String>,
    /// New name → aggregate expression, such as `avg(dep_delay)`.
    pub columns: OrderedMap<String>,
}

/// Joins two inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Left input.
    pub left: String,
    /// Right input.
    pub right: String,
    /// Column names both sides have, or a condition over `left.` and `right.`.
    pub on: JoinOn,
    /// Which rows stay.
    #[serde(default, skip_serializing_if = "is_default")]
    pub how: JoinHow,
}

/// What joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum JoinOn {
    /// Columns of the same name on both sides; they appear once in the result.
    Columns(Vec<String>),
    /// A SQL condition, the sides named `left` and `right`.
    Condition(String),
}

/// Which rows of a join stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JoinHow {
    /// Pairs.
    #[default]
    Inner,
    /// Pairs, and left rows without one.
    Left,
    /// Pairs, and right rows without one.
    Right,
    /// Pairs, and both sides' rows without one.
    Full,
    /// Left rows that have a pair.
    Semi,
    /// Left rows that have none.
    Anti,
}

/// Puts inputs one after another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Union {
    /// Two or more inputs.
    pub inputs: Vec<String>,
    /// How columns are matched.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by: UnionBy,
    /// Keep one of equal rows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub distinct: bool,
}

/// How a union matches columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnionBy {
    /// By name; a column an input lacks is NULL there.
    #[default]
    Name,
    /// By position; counts must agree.
    Position,
}

/// Any SELECT over the inputs it names.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub struct Sql(
    /// The text.
    pub String,
);

impl Serialize for Sql {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Sql {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Sql)
    }
}

/// Routes rows to branches; downstream nodes read `<node>.<branch>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The first case whose condition is true takes the row.
    pub cases: Vec<Case>,
    /// The branch for rows no case takes; without it they are filtered out.
    #[serde(default, rename = "else", skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
}

/// One case of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// SQL condition.
    pub when: String,
    /// Branch name.
    pub to: String,
}

/// A map that keeps the order of the document.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderedMap<T>(pub Vec<(String, T)>);

impl<T> OrderedMap<T> {
    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }
}

impl<T> Default for OrderedMap<T> {
    fn default() -> Self {
        OrderedMap(Vec::new())
    }
}

impl<T: Serialize> Serialize for OrderedMap<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(k, v)| (k, v)))
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for OrderedMap<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::<String, Value>::deserialize(deserializer)?;
        map.into_iter()
            .map(|(key, value)| {
                let value =
                    T::deserialize(value).map_err(|e| serde::de::Error::custom(format!("`{key}`: {e}")))?;
                Ok((key, value))
            })
            .collect::<Result<_, D::Error>>()
            .map(OrderedMap)
    }
}

impl<T: JsonSchema> JsonSchema for OrderedMap<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "object", "additionalProperties": value })
    }
}

pub(super) fn yes() -> bool {
    true
}

pub(super) fn is_true(value: &bool) -> bool {
    *value
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Operator {
    /// The operator's word in the document.
    pub fn word(&self) -> &'static str {
        match self {
            Operator::Extract(_) => "extract",
            Operator::Load(_) => "load",
            Operator::Filter(_) => "filter",
            Operator::Map(_) => "map",
            Operator::Cast(_) => "cast",
            Operator::Rename(_) => "rename",
            Operator::Drop(_) => "drop",
            Operator::FillNulls(_) => "fill_nulls",
            Operator::RegexReplace(_) => "regex_replace",
            Operator::Deduplicate(_) => "deduplicate",
            Operator::Sort(_) => "sort",
            Operator::Aggregate(_) => "aggregate",
            Operator::Window(_) => "window",
            Operator::Pivot(_) => "pivot",
            Operator::Unpivot(_) => "unpivot",
            Operator::Flatten(_) => "flatten",
            Operator::Mask(_) => "mask",
            Operator::Join(_) => "join",
            Operator::Lookup(_) => "lookup",
            Operator::Union(_) => "union",
            Operator::Sql(_) => "sql",
            Operator::Validate(_) => "validate",
            Operator::Switch(_) => "switch",
        }
    }

    /// Every operator word this release runs, in the order of the docs.
    pub const WORDS: [&'static str; 23] = [
        "extract",
        "load",
        "filter",
        "map",
        "cast",
        "rename",
        "drop",
        "fill_nulls",
        "regex_replace",
        "deduplicate",
        "sort",
        "aggregate",
        "window",
        "pivot",
        "unpivot",
        "flatten",
        "mask",
        "join",
        "lookup",
        "union",
        "sql",
        "validate",
        "switch",
    ];

    /// The single `input` key, where the operator has one.
    pub fn input_mut(&mut self) -> Option<&mut Option<String>> {
        match self {
            Operator::Load(x) => Some(&mut x.input),
            Operator::Filter(x) => Some(&mut x.input),
            Operator::Map(x) => Some(&mut x.input),
            Operator::Cast(x) => Some(&mut x.input),
            Operator::Rename(x) => Some(&mut x.input),
            Operator::Drop(x) => Some(&mut x.input),
            Operator::FillNulls(x) => Some(&mut x.input),
            Operator::RegexReplace(x) => Some(&mut x.input),
            Operator::Deduplicate(x) => Some(&mut x.input),
            Operator::Sort(x) => Some(&mut x.input),
            Operator::Aggregate(x) => Some(&mut x.input),
            Operator::Window(x) => Some(&mut x.input),
            Operator::Pivot(x) => Some(&mut x.input),
            Operator::Unpivot(x) => Some(&mut x.input),
            Operator::Flatten(x) => Some(&mut x.input),
            Operator::Mask(x) => Some(&mut x.input),
            Operator::Lookup(x) => Some(&mut x.input),
            Operator::Validate(x) => Some(&mut x.input),
            Operator::Switch(x) => Some(&mut x.input),
            Operator::Extract(_) | Operator::Join(_) | Operator::Union(_) | Operator::Sql(_) => None,
        }
    }

    /// The single `input`, where the operator has one and it is set.
    pub fn input(&self) -> Option<&str> {
        let input = match self {
            Operator::Load(x) => &x.input,
            Operator::Filter(x) => &x.input,
            Operator::Map(x) => &x.input,
            Operator::Cast(x) => &x.input,
            Operator::Rename(x) => &x.input,
            Operator::Drop(x) => &x.input,
            Operator::FillNulls(x) => &x.input,
            Operator::RegexReplace(x) => &x.input,
            Operator::Deduplicate(x) => &x.input,
            Operator::Sort(x) => &x.input,
            Operator::Aggregate(x) => &x.input,
            Operator::Window(x) => &x.input,
            Operator::Pivot(x) => &x.input,
            Operator::Unpivot(x) => &x.input,
            Operator::Flatten(x) => &x.input,
            Operator::Mask(x) => &x.input,
            Operator::Lookup(x) => &x.input,
            Operator::Validate(x) => &x.input,
            Operator::Switch(x) => &x.input,
            Operator::Extract(_) | Operator::Join(_) | Operator::Union(_) | Operator::Sql(_) => return None,
        };
        input.as_deref()
    }
}
