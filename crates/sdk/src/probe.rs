//! The places where a run changes the world outside, and the seam where a test may kill it there.
//!
//! Every effect a connector or the engine has is one word of `Effect`; code announces `Before` and `After` each.
//! In production the probe is `Quiet`. The crash harness kills the process, or loses the answer, at each cell of
//! (effect × moment) and compares what is there after a restart (docs/concepts/crash-matrix.md).

use synqx_model::Result;

macro_rules! effects {
    ($($(#[$doc:meta])* $effect:ident $name:literal),+ $(,)?) => {
        /// One kind of change to the world outside.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Effect { $($(#[$doc])* $effect),+ }

        impl Effect {
            /// Every effect.
            pub const ALL: &'static [Effect] = &[$(Effect::$effect),+];

            /// The effect's word in tables and test names.
            pub fn as_str(self) -> &'static str {
                match self { $(Effect::$effect => $name),+ }
            }
        }
    };
}

effects! {
    /// The run's intent is recorded beside the pipeline.
    Intent "intent",
    /// The intent notes what the incremental extracts read.
    Interval "interval",
    /// The fence of a stream is raised at the destination.
    Fence "fence",
    /// Leftover staging of earlier runs is removed.
    Sweep "sweep",
    /// Staging is made: a table, a temporary file.
    Stage "stage",
    /// A batch of rows is written, to staging or inside an open transaction.
    Write "write",
    /// A lane's rows are made durable.
    Seal "seal",
    /// Rejected rows are made durable.
    Quarantine "quarantine",
    /// The run's intent notes that publishing begins.
    Mark "mark",
    /// Rows become visible (transaction commit, rename, manifest).
    Publish "publish",
    /// Position and fence are recorded, where this is not the same act as publishing.
    Record "record",
    /// What publishing left behind is removed.
    Cleanup "cleanup",
    /// The run's intent is closed.
    Done "done",
}

/// When, relative to the effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Moment {
    /// Just before.
    Before,
    /// Just after, before anybody learns of it.
    After,
}

/// Told of every effect. An error from `After` is an answer that was lost on the way.
pub trait Probe: Send + Sync + std::fmt::Debug {
    /// Called by whoever has the effect.
    fn reach(&self, effect: Effect, moment: Moment) -> Result<()>;
}

/// The probe of production: does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Probe for Quiet {
    fn reach(&self, _: Effect, _: Moment) -> Result<()> {
        Ok(())
    }
}
