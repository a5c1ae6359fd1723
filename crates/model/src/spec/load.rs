//! What a load node says: where to, how rows meet what is there, what happens when schemas differ.
//!
//! The words are the document's. Which destination can do which mode is said by its `Limits`; which options go
//! together is checked by the engine before anything is opened.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::operator::{OrderedMap, is_default, is_true, yes};

/// Writes to an asset of a connection.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The node whose rows are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Connection name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Connector kind, where the connection is implied by an asset id (API form).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// Table, file or folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// An asset registered with the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_id: Option<i64>,
    /// How rows meet what is there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write: WriteMode,
    /// Key columns of `upsert`, `mirror` and `scd2`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Which row of a key is the newest: column names, `desc` allowed; the greatest wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
    /// What happens when the schemas differ.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schema: SchemaPolicy,
    /// Make the target when it does not exist.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub create: bool,
    /// Columns whose type the destination may hold with loss.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_loss: Vec<String>,
    /// The columns whose values name the slices that `delete_insert` replaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partition_by: Vec<String>,
    /// How `replace` publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<ReplaceOptions>,
    /// How `scd2` keeps history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scd2: Option<Box<Scd2Options>>,
    /// How `mirror` deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Box<MirrorOptions>>,
    /// Writers working in parallel; the load decides when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<u32>,
    /// Options of the connector for this asset, such as compression.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
}

/// How `replace` publishes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplaceOptions {
    /// Use TRUNCATE. Faster on a large table others depend on, but readers with an old snapshot see it empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub truncate: bool,
    /// Keep the previous version as `<name>__previous`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_previous: bool,
}

/// How `scd2` keeps history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scd2Options {
    /// The column that says from when a version holds.
    pub valid_from: String,
    /// The column that says until when (exclusive); NULL while it holds.
    pub valid_to: String,
    /// The column that is true for the version that holds now.
    pub is_current: String,
    /// The column of the row that says when it changed; the run's time when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The columns whose change opens a new version; all but key and time when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub track: Vec<String>,
    /// Close the version of a key that does not arrive. Every run must then bring every key.
    #[serde(skip_serializing_if = "is_default")]
    pub close_missing: bool,
    /// Most current versions, in percent, that `close_missing` may close in one load.
    #[serde(skip_serializing_if = "is_half")]
    pub max_close_percent: u8,
}

impl Default for Scd2Options {
    fn default() -> Self {
        Scd2Options {
            valid_from: "valid_from".to_owned(),
            valid_to: "valid_to".to_owned(),
            is_current: "is_current".to_owned(),
            time: None,
            track: Vec::new(),
            close_missing: false,
            max_close_percent: HALF,
        }
    }
}

/// How `mirror` deletes what the source no longer has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorOptions {
    /// Remove the rows, or mark them.
    #[serde(skip_serializing_if = "is_default")]
    pub delete: DeleteHow,
    /// The column that says since when a row is deleted, with `delete: soft`; NULL while it is not.
    pub marker: String,
    /// Most rows, in percent of those the load could delete, that one load may delete.
    #[serde(skip_serializing_if = "is_half")]
    pub max_delete_percent: u8,
    /// Column → value, or list of values: only rows of the target with these are deleted, and only such rows may
    /// arrive.
    #[serde(skip_serializing_if = "OrderedMap::is_empty")]
    pub scope: OrderedMap<Value>,
    /// The target holds nothing but what this load brings, although the rows were filtered on their way.
    #[serde(skip_serializing_if = "is_default")]
    pub whole_target: bool,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        MirrorOptions {
            delete: DeleteHow::Hard,
            marker: "deleted_at".to_owned(),
            max_delete_percent: HALF,
            scope: OrderedMap::default(),
            whole_target: false,
        }
    }
}

/// What happens to a row that the source no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeleteHow {
    /// It is removed.
    #[default]
    Hard,
    /// It is marked.
    Soft,
}

const HALF: u8 = 50;

fn is_half(percent: &u8) -> bool {
    *percent == HALF
}

/// How rows meet what is there.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// Add rows; a retried run adds them once.
    #[default]
    Append,
    /// The target becomes exactly these rows.
    Replace,
    /// By key: new rows are added, known ones changed.
    Upsert,
    /// Replace the slices named by `partition_by`.
    DeleteInsert,
    /// Keep history with valid_from and valid_to.
    Scd2,
    /// Upsert, and delete what the source no longer has.
    Mirror,
}

impl WriteMode {
    /// The word of the document.
    pub fn as_str(self) -> &'static str {
        match self {
            WriteMode::Append => "append",
            WriteMode::Replace => "replace",
            WriteMode::Upsert => "upsert",
            WriteMode::DeleteInsert => "delete_insert",
            WriteMode::Scd2 => "scd2",
            WriteMode::Mirror => "mirror",
        }
    }
}

/// What happens when the schemas differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaPolicy {
    /// Stop with the differences printed.
    #[default]
    Strict,
    /// Add columns and widen types; stop at anything else.
    Evolve,
    /// Load the columns both sides have.
    Ignore,
}
