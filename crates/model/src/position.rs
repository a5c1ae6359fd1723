//! A position: how far each extract of a stream has been read, as committed together with the rows.
//!
//! A full read has a position too (who was read, nothing more), so that a destination can tell "this run is done".
//! Cursor values are typed text; a cursor is compared by the source, never here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How far one extract has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// Which system and asset was read; a change stops the run with a choice.
    pub source: String,
    /// The cursor column of an incremental read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

/// The last value of a cursor column that has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Column name.
    pub column: String,
    /// Arrow type of the value, as text.
    pub data_type: String,
    /// The value as text in that type's canonical form.
    pub value: String,
}

/// Extract node → how far it has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub BTreeMap<String, SourcePosition>);

impl Position {
    /// The stored form: canonical JSON (keys sorted).
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Reads the stored form.
    pub fn from_text(text: &str) -> crate::Result<Self> {
        serde_json::from_str(text).map(Position).map_err(|cause| {
            crate::Error::new(crate::Code::E0503, "cannot read a stored position")
                .with_cause(&cause)
                .with_hint(
                    "the position was not written by this version of SynqX; use the version that wrote it",
                )
        })
    }
}
