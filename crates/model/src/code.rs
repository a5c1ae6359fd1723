//! Every error SynqX can report has one number here, and nothing else decides what a number means.
//!
//! Blame, retry class and process exit code are functions of the number, each one exhaustive match, so a new row
//! cannot be forgotten anywhere. `docs/errors/<code>.md` explains each to the person who met it (tidy checks).

use std::fmt;

macro_rules! codes {
    ($($code:ident $name:literal),+ $(,)?) => {
        /// A numbered error. The first two digits are the area: `01` configuration, `02` source, `03` destination,
        /// `04` schema and types, `05` checkpoint, `06` secrets, `07` runs and agents, `08` SQL and plan,
        /// `10` checks, `99` a bug in SynqX.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each variant is documented by its title and its page in docs/errors")]
        pub enum Code { $($code),+ }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$code),+];

            /// `"E0204"`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$code => stringify!($code)),+ }
            }

            /// A few words that name the situation, used as the title of the code's page.
            pub fn title(self) -> &'static str {
                match self { $(Code::$code => $name),+ }
            }
        }
    };
}

codes! {
    E0101 "the document cannot be read",
    E0102 "unknown key",
    E0103 "wrong or missing value",
    E0104 "the graph has a cycle",
    E0105 "unknown input",
    E0106 "missing input",
    E0107 "unreachable node",
    E0108 "duplicate node",
    E0109 "unknown connection",
    E0110 "unknown connector",
    E0111 "not available in this release",
    E0112 "an extract takes no input",
    E0113 "document not found",
    E0114 "wrong option on the command line",
    E0115 "connection cannot play this part",
    E0116 "bad name",
    E0117 "output cannot be written",
    E0201 "source not reachable",
    E0202 "source refused the login",
    E0203 "source refused permission",
    E0204 "source asset not found",
    E0205 "connection to the source lost",
    E0206 "ragged row",
    E0207 "invalid text encoding",
    E0208 "value does not fit the column type",
    E0209 "file changed while it was read",
    E0210 "damaged or unreadable file",
    E0211 "source file cannot be read",
    E0212 "source refused the query",
    E0213 "no trusted TLS connection to the source",
    E0214 "source version not supported",
    E0215 "source changed after planning",
    E0301 "destination not reachable",
    E0302 "destination refused the login",
    E0303 "destination refused permission",
    E0304 "target does not exist",
    E0305 "connection to the destination lost",
    E0306 "destination is full",
    E0307 "destination rejected a row",
    E0308 "several rows for one key",
    E0309 "NULL in a key",
    E0310 "write mode not possible here",
    E0311 "target changed after planning",
    E0312 "destination lock not granted",
    E0313 "destination file cannot be written",
    E0314 "no trusted TLS connection to the destination",
    E0315 "destination version not supported",
    E0316 "destination refused a statement",
    E0317 "the answer to a commit was lost",
    E0318 "a load would delete too much",
    E0401 "unknown column",
    E0402 "types do not match",
    E0403 "column cannot be held without loss",
    E0404 "value cannot be converted",
    E0405 "schema differs from the target",
    E0406 "duplicate column",
    E0407 "type not supported",
    E0408 "key column missing",
    E0409 "no columns",
    E0410 "several rows for one key of a lookup",
    E0501 "another run took over",
    E0502 "the source of a stored position changed",
    E0503 "run state cannot be read or written",
    E0504 "fence is older than the destination's",
    E0505 "rows are not accounted for",
    E0506 "an interrupted run of another version is unfinished",
    E0507 "the stored position moved while planning",
    E0601 "secret reference does not parse",
    E0602 "unknown secret provider",
    E0603 "secret not found",
    E0604 "secret provider failed",
    E0701 "run cancelled",
    E0702 "step took longer than its timeout",
    E0801 "SQL does not parse",
    E0802 "SQL cannot be planned",
    E0803 "SQL failed while running",
    E0804 "memory budget too small",
    E0805 "one row is larger than a quarter of the budget",
    E0806 "spill to disk failed",
    E1001 "a check failed the run",
    E1002 "quarantine cannot be written",
    E9901 "bug in SynqX",
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The pipeline, its configuration or its data.
    User,
    /// A system outside: network, server, disk.
    External,
    /// SynqX itself.
    Bug,
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same attempt may succeed later: back off and try again.
    Backoff,
    /// Only after somebody changed something.
    AfterFix,
    /// Never for this run.
    Never,
}

impl Code {
    /// Finds a code by its text, in any case, with or without the leading `E`.
    pub fn parse(text: &str) -> Option<Code> {
        let wanted = text.trim().trim_start_matches(['E', 'e']);
        Code::ALL
            .iter()
            .copied()
            .find(|code| &code.as_str()[1..] == wanted)
    }

    /// Who has to act on this error.
    pub fn blame(self) -> Blame {
        use Code::*;
        match self {
            E0101 | E0102 | E0103 | E0104 | E0105 | E0106 | E0107 | E0108 | E0109 | E0110 | E0111 | E0112
            | E0113 | E0114 | E0115 | E0116 => Blame::User,
            E0202 | E0203 | E0204 | E0206 | E0207 | E0208 | E0209 | E0210 | E0211 | E0212 | E0213 | E0214
            | E0215 => Blame::User,
            E0302 | E0303 | E0304 | E0307 | E0308 | E0309 | E0310 | E0311 | E0313 | E0314 | E0315 | E0316
            | E0318 => Blame::User,
            E0401 | E0402 | E0403 | E0404 | E0405 | E0406 | E0407 | E0408 | E0409 | E0410 => Blame::User,
            E0501 | E0502 | E0504 | E0506 | E0507 | E0601 | E0602 | E0603 | E0701 | E0801 | E0802 | E0803
            | E0804 | E0805 | E1001 => Blame::User,
            E0201 | E0205 | E0301 | E0305 | E0306 | E0312 | E0317 | E0117 | E0503 | E0604 | E0702 | E0806
            | E1002 => Blame::External,
            E0505 | E9901 => Blame::Bug,
        }
    }

    /// Whether the same attempt can be repeated.
    pub fn retry(self) -> Retry {
        use Code::*;
        match self {
            E0201 | E0205 | E0301 | E0305 | E0312 | E0317 | E0507 | E0604 | E0702 => Retry::Backoff,
            E0501 | E0504 | E0505 | E0701 | E9901 => Retry::Never,
            E0101 | E0102 | E0103 | E0104 | E0105 | E0106 | E0107 | E0108 | E0109 | E0110 | E0111 | E0112
            | E0113 | E0114 | E0115 | E0116 | E0117 | E0202 | E0203 | E0204 | E0206 | E0207 | E0208
            | E0209 | E0210 | E0211 | E0212 | E0213 | E0214 | E0215 | E0302 | E0303 | E0304 | E0306
            | E0307 | E0308 | E0309 | E0310 | E0311 | E0313 | E0314 | E0315 | E0316 | E0318 | E0401
            | E0402 | E0403 | E0404 | E0405 | E0406 | E0407 | E0408 | E0409 | E0410 | E0502 | E0503
            | E0506 | E0601 | E0602 | E0603 | E0801 | E0802 | E0803 | E0804 | E0805 | E0806 | E1001
            | E1002 => Retry::AfterFix,
        }
    }

    /// The exit code of the process: 2 configuration, 3 schema, 4 source, 5 destination, 6 state, 7 cancelled,
    /// 8 checks, 1 a bug.
    pub fn exit(self) -> u8 {
        use Code::*;
        match self {
            E0101 | E0102 | E0103 | E0104 | E0105 | E0106 | E0107 | E0108 | E0109 | E0110 | E0111 | E0112
            | E0113 | E0114 | E0115 | E0116 | E0117 => 2,
            E0601 | E0602 | E0603 | E0604 | E0801 | E0802 | E0804 | E0805 | E0806 => 2,
            E0401 | E0402 | E0403 | E0404 | E0405 | E0406 | E0407 | E0408 | E0409 | E0410 => 3,
            E0201 | E0202 | E0203 | E0204 | E0205 | E0206 | E0207 | E0208 | E0209 | E0210 | E0211 | E0212
            | E0213 | E0214 | E0215 | E0803 => 4,
            E0301 | E0302 | E0303 | E0304 | E0305 | E0306 | E0307 | E0308 | E0309 | E0310 | E0311 | E0312
            | E0313 | E0314 | E0315 | E0316 | E0317 | E0318 => 5,
            E0501 | E0502 | E0503 | E0504 | E0506 | E0507 => 6,
            E0701 | E0702 => 7,
            E1001 | E1002 => 8,
            E0505 | E9901 => 1,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Code::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown code {text}")))
    }
}
