//! Checks of a `validate` node: what each demands of a row and what happens to rows that fail.
//!
//! A row passes a check when the check is true for it; NULL verdicts are decided by `null_passes`, so pass and fail
//! are exact complements. How checks are run is decided in `plan::lower`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operator::is_default;

/// Judges rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Validate {
    /// Upstream node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The checks; a row passes a check when the check is true for it.
    pub checks: Vec<Check>,
    /// What happens to failing rows where a check does not say.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_fail: OnFail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// A name for reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The column judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The columns judged together by `unique`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// What must hold.
    pub check: CheckKind,
    /// `range`, `length`: smallest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Value>,
    /// `range`, `length`: greatest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Value>,
    /// `range`: the bounds themselves fail.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: bool,
    /// `accepted_values`: what is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// `regex`: must match somewhere in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// `condition`: a SQL condition; NULL fails unless `null_passes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether a NULL verdict passes. Default: yes for checks of one column (use `not_null` to refuse NULLs), no for `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_passes: Option<bool>,
    /// `unique`: which rows of a repeated key fail.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reject: UniqueReject,
    /// `unique`: which row of a repeated key comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
    /// What happens to failing rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<OnFail>,
}

/// What a check demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The value is not NULL (NaN is a value).
    NotNull,
    /// `min <= value <= max`.
    Range,
    /// The value is one of a list.
    AcceptedValues,
    /// The text matches a pattern.
    Regex,
    /// The text has between `min` and `max` characters.
    Length,
    /// No other row has the same key (NULLs are never equal).
    Unique,
    /// A SQL condition holds.
    Condition,
}

/// Which rows of a repeated key fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UniqueReject {
    /// All but the first in `order_by`.
    #[default]
    Rest,
    /// All of them.
    All,
}

/// What happens to failing rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// They pass; the run succeeds with warnings.
    Warn,
    /// They leave the stream and are counted.
    Drop,
    /// They leave the stream and are kept in the quarantine.
    Quarantine,
    /// The run fails and nothing becomes visible at any destination.
    #[default]
    Fail,
}

impl OnFail {
    /// The word of the document.
    pub fn as_str(self) -> &'static str {
        match self {
            OnFail::Warn => "warn",
            OnFail::Drop => "drop",
            OnFail::Quarantine => "quarantine",
            OnFail::Fail => "fail",
        }
    }
}
