//! Checks of a `validate` node: what each demands, what happens to rows that fail, and when a share of them is too much.
//!
//! Three things are separate: the action (`on_fail`) decides about a row, the thresholds (`warn_above`, `fail_above`)
//! decide about the run, and the severity only says how much a finding matters. A row passes a check when the check is
//! true for it; NULL verdicts are decided by `null_passes`, so pass and fail are exact complements. How checks are run
//! is decided in `plan::lower`; what may be written beside each word is the table `CheckKind::keys`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operator::is_default;
use crate::size::Span;
use crate::{Code, Error, Result};

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
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The rule's id in reports and in the quarantine; made from the column and the check when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The column judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The columns judged together by `unique`, `sum_equals`, `required_if`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// What must hold.
    pub check: CheckKind,
    /// Smallest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Value>,
    /// Greatest allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Value>,
    /// Which of the bounds fail themselves: `true` (both), `min`, `max`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exclusive: Exclusive,
    /// `accepted_values`, `rejected_values`, `missing`: the values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<Value>,
    /// `regex`, `not_regex`, `missing`: a regular expression; `like`: a LIKE pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// `format`: `email`, `iban`, …; `date_format`: strftime letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// `type`, `castable`, `date_format`: a type as in `cast`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// `fits_decimal`: digits in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<u8>,
    /// `fits_decimal`: digits behind the point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<u8>,
    /// `not_empty_string`: text of white space alone is empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub trim: bool,
    /// `compare`: `<`, `<=`, `=`, `<>`, `>=`, `>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// `compare`, `sum_equals`: the column on the right side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    /// `sum_equals`: the number on the right side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// `sum_equals`: how far apart both sides may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<Value>,
    /// `condition`: a SQL condition; NULL fails unless `null_passes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// `required_if`: a SQL condition; where it is true the columns must not be NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// `not_before`, `freshness`: longest time before the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Whether a NULL verdict passes. Default: yes for checks of columns (use `not_null` to refuse NULLs), no for `condition`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub null_passes: Option<bool>,
    /// `unique`: which rows of a repeated key fail.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reject: UniqueReject,
    /// `unique`: which row of a repeated key comes first; `increasing`, `decreasing`: the order of the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
    /// `increasing`, `decreasing`: a value equal to the one before fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strict: bool,
    /// Checks of the whole table: the result when there are no rows, or no values. Default: `fail` for `freshness`, else `pass`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_empty: Option<OnEmpty>,
    /// What happens to failing rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_fail: Option<OnFail>,
    /// More failing rows than this are a warning: `100` rows, or `0.1%` of the rows judged. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_above: Option<Threshold>,
    /// More failing rows than this fail the run, and nothing becomes visible at any destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_above: Option<Threshold>,
    /// How much a finding matters to people; decides nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
}

/// What a check demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The value is not NULL (NaN is a value).
    #[default]
    NotNull,
    /// The value is not NULL, none of `values`, and does not match `pattern`.
    Missing,
    /// The text is not empty; with `trim` not white space alone.
    NotEmptyString,
    /// `min <= value <= max`.
    Range,
    /// The number is above zero.
    Positive,
    /// The number is zero or above.
    NonNegative,
    /// The value is one of a list.
    AcceptedValues,
    /// The value is none of a list.
    RejectedValues,
    /// The text matches a pattern.
    Regex,
    /// The text does not match a pattern.
    NotRegex,
    /// The text is LIKE a pattern.
    Like,
    /// The text has between `min` and `max` characters.
    Length,
    /// The text is an email address, an IBAN, …
    Format,
    /// The text is a date or timestamp by a format.
    DateFormat,
    /// The text is JSON.
    Json,
    /// The column has this type; judged before the run.
    Type,
    /// The value converts to a type without loss.
    Castable,
    /// The number fits `decimal(precision, scale)` without loss.
    FitsDecimal,
    /// The time is not after the start of the run.
    NotInFuture,
    /// The time is not before `min`, or not older than `max_age` at the start of the run.
    NotBefore,
    /// Two columns compare.
    Compare,
    /// Columns add up.
    SumEquals,
    /// Where a condition is true, columns are not NULL.
    RequiredIf,
    /// No other row has the same key (NULLs are never equal).
    Unique,
    /// In an order, no value is less than the one before.
    Increasing,
    /// In an order, no value is greater than the one before.
    Decreasing,
    /// A SQL condition holds.
    Condition,
    /// The table has between `min` and `max` rows.
    RowCount,
    /// The share of NULLs is between `min` and `max` (0 to 1).
    NullRatio,
    /// The newest time is at most `max_age` before the start of the run.
    Freshness,
    /// The mean is between `min` and `max`.
    Mean,
    /// The smallest value is between `min` and `max`.
    Minimum,
    /// The greatest value is between `min` and `max`.
    Maximum,
    /// The sum is between `min` and `max`.
    Sum,
}

impl CheckKind {
    /// The word of the document.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckKind::NotNull => "not_null",
            CheckKind::Missing => "missing",
            CheckKind::NotEmptyString => "not_empty_string",
            CheckKind::Range => "range",
            CheckKind::Positive => "positive",
            CheckKind::NonNegative => "non_negative",
            CheckKind::AcceptedValues => "accepted_values",
            CheckKind::RejectedValues => "rejected_values",
            CheckKind::Regex => "regex",
            CheckKind::NotRegex => "not_regex",
            CheckKind::Like => "like",
            CheckKind::Length => "length",
            CheckKind::Format => "format",
            CheckKind::DateFormat => "date_format",
            CheckKind::Json => "json",
            CheckKind::Type => "type",
            CheckKind::Castable => "castable",
            CheckKind::FitsDecimal => "fits_decimal",
            CheckKind::NotInFuture => "not_in_future",
            CheckKind::NotBefore => "not_before",
            CheckKind::Compare => "compare",
            CheckKind::SumEquals => "sum_equals",
            CheckKind::RequiredIf => "required_if",
            CheckKind::Unique => "unique",
            CheckKind::Increasing => "increasing",
            CheckKind::Decreasing => "decreasing",
            CheckKind::Condition => "condition",
            CheckKind::RowCount => "row_count",
            CheckKind::NullRatio => "null_ratio",
            CheckKind::Freshness => "freshness",
            CheckKind::Mean => "mean",
            CheckKind::Minimum => "minimum",
            CheckKind::Maximum => "maximum",
            CheckKind::Sum => "sum",
        }
    }

    /// Keys that mean something for this check, besides those of every check ([`Check::misplaced`]).
    fn keys(self) -> &'static [&'static str] {
        match self {
            CheckKind::NotNull => &["column"],
            CheckKind::Missing => &["column", "values", "pattern"],
            CheckKind::NotEmptyString => &["column", "trim", "null_passes"],
            CheckKind::Range => &["column", "min", "max", "exclusive", "null_passes"],
            CheckKind::Length => &["column", "min", "max", "null_passes"],
            CheckKind::AcceptedValues | CheckKind::RejectedValues => &["column", "values", "null_passes"],
            CheckKind::Regex | CheckKind::NotRegex | CheckKind::Like => &["column", "pattern", "null_passes"],
            CheckKind::Format => &["column", "format", "null_passes"],
            CheckKind::DateFormat => &["column", "format", "type", "null_passes"],
            CheckKind::Positive | CheckKind::NonNegative | CheckKind::Json | CheckKind::NotInFuture => {
                &["column", "null_passes"]
            }
            CheckKind::Type => &["column", "type"],
            CheckKind::Castable => &["column", "type", "null_passes"],
            CheckKind::FitsDecimal => &["column", "precision", "scale", "null_passes"],
            CheckKind::NotBefore => &["column", "min", "max_age", "null_passes"],
            CheckKind::Compare => &["column", "operator", "other", "null_passes"],
            CheckKind::SumEquals => &["columns", "other", "value", "tolerance", "null_passes"],
            CheckKind::RequiredIf => &["column", "columns", "when"],
            CheckKind::Unique => &["column", "columns", "reject", "order_by"],
            CheckKind::Increasing | CheckKind::Decreasing => &["column", "order_by", "strict", "null_passes"],
            CheckKind::Condition => &["condition", "null_passes"],
            CheckKind::RowCount => &["min", "max", "on_empty"],
            CheckKind::NullRatio => &["column", "min", "max", "exclusive", "on_empty"],
            CheckKind::Freshness => &["column", "max_age", "on_empty"],
            CheckKind::Mean | CheckKind::Minimum | CheckKind::Maximum | CheckKind::Sum => {
                &["column", "min", "max", "exclusive", "on_empty"]
            }
        }
    }

    /// Whether the whole table gets one verdict instead of each row.
    pub fn is_of_table(self) -> bool {
        matches!(
            self,
            CheckKind::RowCount
                | CheckKind::NullRatio
                | CheckKind::Freshness
                | CheckKind::Mean
                | CheckKind::Minimum
                | CheckKind::Maximum
                | CheckKind::Sum
        )
    }

    /// Whether the verdict about a row depends on other rows.
    pub fn looks_at_other_rows(self) -> bool {
        matches!(
            self,
            CheckKind::Unique | CheckKind::Increasing | CheckKind::Decreasing
        )
    }

    /// The assertion over columns, such as `dep_delay.range`.
    fn id(self, columns: &[&str]) -> String {
        match columns {
            [] => self.as_str().to_owned(),
            columns => format!("{}.{}", columns.join("+"), self.as_str()),
        }
    }
}

impl Check {
    /// The columns it names, the judged ones first.
    pub fn named(&self) -> Vec<&str> {
        let mut named: Vec<&str> = self.column.iter().map(String::as_str).collect();
        named.extend(self.columns.iter().map(String::as_str));
        named
    }

    /// Its id: its name, else its columns and what it demands.
    pub fn id(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.check.id(&self.named()))
    }

    /// What happens to failing rows, where the node says `node`.
    pub fn action(&self, node: OnFail) -> OnFail {
        self.on_fail.unwrap_or(node)
    }

    /// Whether its result is wrong unless it judges every row.
    pub fn must_judge_all(&self, node: OnFail) -> bool {
        let action = self.action(node);
        matches!(action, OnFail::Fail | OnFail::Quarantine)
            || self.fail_above.is_some()
            || self.check.is_of_table()
    }

    /// Refuses keys that would mean nothing and thresholds that contradict the action. Errors: `E0103`.
    pub fn misplaced(&self, place: &str, node: OnFail) -> Result<()> {
        let every = ["name", "check", "on_fail", "severity"];
        let rows = ["warn_above", "fail_above"];
        let known = self.check.keys();
        let set = serde_json::to_value(self).unwrap_or_default();
        let word = self.check.as_str();
        let stray = set.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let mut stray = stray.filter(|key| {
            !(every.contains(key) || known.contains(key) || (rows.contains(key) && !self.check.is_of_table()))
        });
        if let Some(key) = stray.next() {
            return Err(Error::new(
                Code::E0103,
                format!("{place}: `{key}` means nothing for the check `{word}`"),
            )
            .with_hint(format!(
                "leave it out; `{word}` takes {}",
                known
                    .iter()
                    .chain(&every[2..])
                    .map(|k| format!("`{k}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )));
        }
        let action = self.action(node);
        if self.check.is_of_table() && matches!(action, OnFail::Drop | OnFail::Quarantine) {
            return Err(Error::new(
                Code::E0103,
                format!(
                    "{place}: `{word}` judges the whole table and cannot `{}` rows",
                    action.as_str()
                ),
            )
            .with_hint("write `on_fail: observe`, `warn` or `fail` beside this check"));
        }
        if action == OnFail::Fail && (self.fail_above.is_some() || self.warn_above.is_some()) {
            return Err(Error::new(
                Code::E0103,
                format!("{place}: a threshold and `on_fail: fail` contradict each other"),
            )
            .with_detail("With `on_fail: fail` the first failing row fails the run.")
            .with_hint("say what happens to failing rows up to the threshold: `on_fail: quarantine`, `drop`, `warn` or `observe`"));
        }
        Ok(())
    }
}

/// Which bounds fail themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exclusive {
    /// None: both bounds pass.
    #[default]
    Neither,
    /// Both.
    Both,
    /// The smallest.
    Min,
    /// The greatest.
    Max,
}

impl Exclusive {
    /// Whether `min` fails.
    pub fn min(self) -> bool {
        matches!(self, Exclusive::Both | Exclusive::Min)
    }

    /// Whether `max` fails.
    pub fn max(self) -> bool {
        matches!(self, Exclusive::Both | Exclusive::Max)
    }
}

impl Serialize for Exclusive {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Exclusive::Neither => serializer.serialize_bool(false),
            Exclusive::Both => serializer.serialize_bool(true),
            Exclusive::Min => serializer.serialize_str("min"),
            Exclusive::Max => serializer.serialize_str("max"),
        }
    }
}

impl<'de> Deserialize<'de> for Exclusive {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(true) => Ok(Exclusive::Both),
            Value::Bool(false) => Ok(Exclusive::Neither),
            Value::String(word) if word == "min" => Ok(Exclusive::Min),
            Value::String(word) if word == "max" => Ok(Exclusive::Max),
            _ => Err(serde::de::Error::custom(
                "`exclusive` is `true`, `false`, `min` or `max`",
            )),
        }
    }
}

impl JsonSchema for Exclusive {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Exclusive".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "enum": [true, false, "min", "max"] })
    }
}

/// So many rows, or a share of the rows judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// Rows.
    Rows(u64),
    /// Percent, 0 to 100.
    Percent(f64),
}

impl Threshold {
    /// Reads `100` or `0.1%`.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.strip_suffix('%') {
            None => text.parse().ok().map(Threshold::Rows),
            Some(number) => {
                let percent: f64 = number.trim_end().parse().ok()?;
                (0.0..=100.0)
                    .contains(&percent)
                    .then_some(Threshold::Percent(percent))
            }
        }
    }

    /// Whether so many of the rows judged are more than this.
    pub fn is_exceeded(self, failed: u64, judged: u64) -> bool {
        match self {
            Threshold::Rows(rows) => failed > rows,
            Threshold::Percent(percent) => failed as f64 * 100.0 > percent * judged as f64,
        }
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Threshold::Rows(rows) => write!(f, "{rows}"),
            Threshold::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Threshold {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Threshold::Rows(rows) => serializer.serialize_u64(*rows),
            Threshold::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Threshold::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("a threshold is a number of rows, such as 100, or a share, such as 0.1%")
        })
    }
}

impl JsonSchema for Threshold {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Threshold".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0 },
            { "type": "string", "pattern": "^[0-9.]+ *%?$", "examples": ["0.1%", "2%"] }
        ] })
    }
}

/// How much a finding matters to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Something is wrong.
    Error,
    /// Somebody must act now.
    Critical,
}

/// The result of a check of the whole table that has nothing to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnEmpty {
    /// It holds.
    Pass,
    /// A warning.
    Warn,
    /// It does not hold, and `on_fail` says what follows.
    Fail,
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
    /// They pass and are counted; the run succeeds.
    Observe,
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
            OnFail::Observe => "observe",
            OnFail::Warn => "warn",
            OnFail::Drop => "drop",
            OnFail::Quarantine => "quarantine",
            OnFail::Fail => "fail",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Check {
        serde_yaml_ng::from_str(text).expect("a check")
    }

    #[test]
    fn thresholds_read_what_they_print() {
        for text in ["0", "100", "0.1%", "2%", "100%"] {
            assert_eq!(
                Threshold::parse(text).map(|t| t.to_string()).as_deref(),
                Some(text)
            );
        }
        assert!(
            ["-1", "101%", "1.5", "many", "%"]
                .iter()
                .all(|t| Threshold::parse(t).is_none())
        );
    }

    #[test]
    fn a_threshold_is_exceeded_by_more_than_itself() {
        assert!(!Threshold::Rows(2).is_exceeded(2, 10) && Threshold::Rows(2).is_exceeded(3, 10));
        assert!(!Threshold::Percent(20.0).is_exceeded(2, 10) && Threshold::Percent(20.0).is_exceeded(3, 10));
        assert!(!Threshold::Percent(0.0).is_exceeded(0, 0));
    }

    #[test]
    fn a_key_that_means_nothing_is_refused() {
        let refused = |text: &str| {
            check(text)
                .misplaced("checks[0]", OnFail::Quarantine)
                .expect_err("refused")
        };
        assert!(
            refused("{column: a, check: not_null, max: 3}")
                .message()
                .contains("`max`")
        );
        assert!(
            refused("{check: row_count, min: 1}")
                .message()
                .contains("cannot `quarantine`")
        );
        assert!(
            refused("{column: a, check: not_null, on_fail: fail, fail_above: 2%}")
                .message()
                .contains("contradict")
        );
        assert!(
            refused("{check: row_count, min: 1, on_fail: warn, warn_above: 3}")
                .message()
                .contains("`warn_above`")
        );
        assert!(
            check("{column: a, check: not_null, fail_above: 2%, severity: critical}")
                .misplaced("c", OnFail::Drop)
                .is_ok()
        );
    }

    #[test]
    fn a_rule_has_an_id_made_of_what_it_judges() {
        assert_eq!(check("{column: a, check: range, min: 1}").id(), "a.range");
        assert_eq!(check("{columns: [a, b], check: unique}").id(), "a+b.unique");
        assert_eq!(check("{check: row_count, min: 1}").id(), "row_count");
        assert_eq!(check("{check: row_count, min: 1, name: enough}").id(), "enough");
    }

    #[test]
    fn bounds_may_be_excluded_one_by_one() {
        let both = |word: &str| {
            let exclusive =
                check(&format!("{{column: a, check: range, min: 1, exclusive: {word}}}")).exclusive;
            (exclusive.min(), exclusive.max())
        };
        assert_eq!(
            [both("true"), both("min"), both("max"), both("false")],
            [(true, true), (true, false), (false, true), (false, false)]
        );
    }
}
