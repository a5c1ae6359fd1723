//! Typed identifiers. A run's id is a UUIDv7 shown as `run_…`; a stream's key names what a position belongs to.
//!
//! The stream key never contains the run or the version: positions and fences outlive both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Code, Error};

/// One execution of one pipeline version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(uuid::Uuid);

impl RunId {
    /// A fresh, time-ordered id.
    pub fn fresh() -> Self {
        RunId(uuid::Uuid::now_v7())
    }

    /// When the run was started, milliseconds since 1970 UTC. A restart that finishes a run has the run's time.
    pub fn started_ms(&self) -> i64 {
        let at = self.0.get_timestamp().map(|at| at.to_unix());
        at.map_or(0, |(seconds, nanos)| {
            i64::try_from(seconds).unwrap_or(0) * 1000 + i64::from(nanos / 1_000_000)
        })
    }

    /// Eight characters that tell runs of one machine apart in file and table names (the random tail of the id).
    pub fn short(&self) -> String {
        let hex = self.0.simple().to_string();
        hex[hex.len() - 8..].to_owned()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run_{}", self.0.simple())
    }
}

impl FromStr for RunId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        text.strip_prefix("run_")
            .and_then(|hex| uuid::Uuid::try_parse(hex).ok())
            .map(RunId)
            .ok_or_else(|| {
                Error::new(Code::E0114, format!("`{text}` is not a run id"))
                    .with_hint("run ids look like run_0199…")
            })
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(|e: Error| serde::de::Error::custom(e.message()))
    }
}

/// What a position and a fence belong to: (pipeline key, load node, target asset).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamKey {
    /// The document's `id`, else its `name`.
    pub pipeline: String,
    /// The load node.
    pub node: String,
    /// The target asset as written in the document.
    pub asset: String,
}

impl fmt::Display for StreamKey {
    /// `pipeline/node/asset` with `/` and `%` of the parts escaped, so that two keys never print alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |part: &str| part.replace('%', "%25").replace('/', "%2F");
        write!(
            f,
            "{}/{}/{}",
            escape(&self.pipeline),
            escape(&self.node),
            escape(&self.asset)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_read_what_they_print() {
        let id = RunId::fresh();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("run_x".parse::<RunId>().is_err());
    }

    #[test]
    fn stream_keys_never_print_alike() {
        let key = |p: &str, n: &str| {
            StreamKey {
                pipeline: p.into(),
                node: n.into(),
                asset: "t".into(),
            }
            .to_string()
        };
        assert_ne!(key("a/b", "c"), key("a", "b/c"));
        assert_ne!(key("a%2Fb", "c"), key("a/b", "c"));
    }
}
