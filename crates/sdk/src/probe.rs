//! The places where a run changes the world outside, and the seam where a test may kill it there.
//!
//! Every effect a connector or the engine has is one word of `Effect`; code announces `Before` and `After` each.
//! In production the probe is `Quiet`. The crash harness kills the process, or loses the answer, at each cell of
//! (effect × moment) and compares what is there after a restart (docs/concepts/crash-matrix.md). It also takes one
//! protection away at a time and demands that this is seen: nothing but a probe can, and no option makes a probe.

use synqx_model::Result;

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $item:ident $word:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $item),+ }

        impl $name {
            /// Every one of them.
            pub const ALL: &'static [$name] = &[$($name::$item),+];

            /// Its word in tables and test names.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$item => $word),+ }
            }
        }
    };
}

words! {
    /// One kind of change to the world outside.
    Effect {
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
        /// What publishing needs is put in place: parts get their names, the rename of a file is noted.
        Ready "ready",
        /// Rows become visible (transaction commit, rename, manifest).
        Publish "publish",
        /// Position and fence are recorded, where this is not the same act as publishing.
        Record "record",
        /// What publishing left behind is removed.
        Cleanup "cleanup",
        /// The run's intent is closed.
        Done "done",
    }
}

words! {
    /// One of the arrangements that keep rows right when a run dies. A test may remove it, to see that it was needed.
    Protection {
        /// Position and run are recorded in the act that publishes the rows, or noted before it.
        OneAct "one act",
        /// A commit of a run that another one has overtaken is refused.
        Fence "fence",
        /// A restart finds the run that died.
        Intent "intent",
        /// A restart reads the interval that the dead run had decided on.
        Interval "interval",
        /// A load whose destination holds this run's rows is skipped.
        RunId "run id",
        /// Staging that a dead run left is removed before new staging is made.
        Sweep "sweep",
        /// Every load has written and every check has passed before the first load commits.
        Barrier "barrier",
        /// Rejected rows are durable before any load commits.
        Quarantine "quarantine",
        /// Parts have their names before the manifest lists them.
        ManifestLast "manifest last",
        /// A file is written under a hidden name and renamed.
        Rename "rename",
    }
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

    /// Whether a protection is in force. It always is; a probe of the crash matrix removes one to see rows go wrong.
    fn protects(&self, _: Protection) -> bool {
        true
    }
}

/// The probe of production: does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Probe for Quiet {
    fn reach(&self, _: Effect, _: Moment) -> Result<()> {
        Ok(())
    }
}
