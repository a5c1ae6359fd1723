//! The checkpoint protocol of one attempt, as a pure step function.
//!
//! State and an observation give a new state and what to do next; nothing here touches the world. What it promises
//! (and property tests hold it to): no load commits before every load has written and every check has passed; loads
//! commit in the order of the graph, each at most once; a lost answer is decided by asking the destination before
//! anything else commits; whatever has begun and not committed is aborted when the attempt ends.

use synqx_model::Error;

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Observed {
    /// A load has begun; `committed` says whether the destination already holds this run's rows.
    Began { load: usize, committed: bool },
    /// Every fragment has run and every lane is durable.
    Written,
    /// Rejected rows are durable; `failed` is the verdict of the `fail` checks.
    Sealed { failed: Option<Error> },
    /// A load has published.
    Committed { load: usize },
    /// A load may or may not have published.
    AnswerLost { load: usize, error: Error },
    /// The intent is closed.
    Closed,
    /// Something went wrong, or the user stopped the run.
    Failed { error: Error },
    /// A begun load is undone.
    Aborted { load: usize },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    /// Begin a load (again).
    Begin { load: usize },
    /// Run the fragments.
    Execute,
    /// Make rejected rows durable and judge the checks.
    Seal,
    /// Publish a load.
    Commit { load: usize },
    /// Undo a load.
    Abort { load: usize },
    /// Close the intent: nothing is left for a restart to do.
    Close,
    /// The attempt is over.
    End(Ending),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    /// Every load has published.
    Succeeded,
    /// It failed; `published` loads have published nevertheless and keep the intent open.
    Failed { error: Error, published: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadState {
    Waiting,
    Begun,
    /// Published in this attempt or an earlier one.
    Published,
    /// Its commit's answer was lost; it has been asked again.
    Asked,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Beginning,
    Executing,
    Sealing,
    Committing,
    Closing,
    Unwinding,
    Ended,
}

/// The state of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Protocol {
    loads: Vec<LoadState>,
    phase: Phase,
    /// Everything is written and judged before the first commit; only the crash matrix lets this go.
    barrier: bool,
    judged: bool,
    failure: Option<Error>,
}

impl Protocol {
    /// An attempt with so many loads, and the first thing to do.
    pub(crate) fn start(loads: usize, barrier: bool) -> (Self, Command) {
        let protocol = Protocol {
            loads: vec![LoadState::Waiting; loads],
            phase: Phase::Beginning,
            barrier,
            judged: false,
            failure: None,
        };
        let first = if loads == 0 {
            Command::Execute
        } else {
            Command::Begin { load: 0 }
        };
        (protocol, first)
    }

    /// The next thing to do after an observation.
    pub(crate) fn step(&mut self, observed: Observed) -> Command {
        match observed {
            Observed::Failed { error } => self.unwind(error),
            Observed::Aborted { load } => {
                self.loads[load] = LoadState::Gone;
                self.next_abort()
            }
            Observed::Began { load, committed } => self.began(load, committed),
            Observed::Written if self.barrier => self.judge(),
            Observed::Sealed { failed: Some(error) } => self.unwind(error),
            Observed::Written | Observed::Sealed { failed: None } => {
                self.phase = Phase::Committing;
                self.next_commit()
            }
            Observed::Committed { load } => {
                self.loads[load] = LoadState::Published;
                self.next_commit()
            }
            Observed::AnswerLost { load, error } => {
                self.loads[load] = LoadState::Asked;
                self.failure = Some(error);
                Command::Begin { load }
            }
            Observed::Closed => {
                self.phase = Phase::Ended;
                Command::End(Ending::Succeeded)
            }
        }
    }

    fn began(&mut self, load: usize, committed: bool) -> Command {
        let asked = self.loads[load] == LoadState::Asked;
        self.loads[load] = if committed {
            LoadState::Published
        } else {
            LoadState::Begun
        };
        match (asked, committed) {
            (true, true) => {
                self.failure = None;
                self.next_commit()
            }
            (true, false) => {
                let error = self
                    .failure
                    .take()
                    .unwrap_or_else(|| Error::bug("a load was asked without a lost answer"));
                self.unwind(error)
            }
            (false, _) => match self.loads.iter().position(|state| *state == LoadState::Waiting) {
                Some(load) => Command::Begin { load },
                None if self.loads.iter().all(|state| *state == LoadState::Published) => self.close(),
                None => {
                    self.phase = Phase::Executing;
                    Command::Execute
                }
            },
        }
    }

    fn judge(&mut self) -> Command {
        (self.phase, self.judged) = (Phase::Sealing, true);
        Command::Seal
    }

    fn next_commit(&mut self) -> Command {
        match self.loads.iter().position(|state| *state == LoadState::Begun) {
            Some(load) => Command::Commit { load },
            None if !self.judged => self.judge(),
            None => self.close(),
        }
    }

    fn close(&mut self) -> Command {
        self.phase = Phase::Closing;
        Command::Close
    }

    fn unwind(&mut self, error: Error) -> Command {
        if self.phase != Phase::Unwinding {
            self.phase = Phase::Unwinding;
            self.failure = Some(error);
        }
        self.next_abort()
    }

    fn next_abort(&mut self) -> Command {
        if let Some(load) = self.loads.iter().position(|state| *state == LoadState::Begun) {
            return Command::Abort { load };
        }
        self.phase = Phase::Ended;
        let published = self
            .loads
            .iter()
            .filter(|state| **state == LoadState::Published)
            .count();
        let error = self
            .failure
            .take()
            .unwrap_or_else(|| Error::bug("an attempt failed without a reason"));
        Command::End(Ending::Failed { error, published })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use synqx_model::Code;

    use super::*;

    /// A world that answers commands by a script of choices; it knows what is really published.
    struct World {
        published: Vec<bool>,
        begun: Vec<bool>,
        written: bool,
        sealed: bool,
        commits: Vec<usize>,
    }

    /// 0–5: fine; 6: a fault; 7: a commit that publishes and loses its answer; 8: one that loses both.
    fn answer(world: &mut World, command: &Command, choice: u8) -> Observed {
        let fault = || Observed::Failed {
            error: Error::new(Code::E0305, "fault"),
        };
        match command {
            Command::Begin { load } if choice == 6 => {
                world.begun[*load] = false;
                fault()
            }
            Command::Begin { load } => {
                world.begun[*load] = true;
                Observed::Began {
                    load: *load,
                    committed: world.published[*load],
                }
            }
            Command::Execute if choice == 6 => fault(),
            Command::Execute => {
                world.written = true;
                Observed::Written
            }
            Command::Seal if choice == 6 => Observed::Sealed {
                failed: Some(Error::new(Code::E1001, "check")),
            },
            Command::Seal => {
                world.sealed = true;
                Observed::Sealed { failed: None }
            }
            Command::Commit { load } => {
                assert!(
                    world.written && world.sealed,
                    "a commit before everything was written and judged"
                );
                assert!(!world.published[*load], "a second commit of one load");
                assert!(world.begun[*load], "a commit of a load that has not begun");
                assert!(
                    world.commits.iter().all(|before| before < load),
                    "commits out of order"
                );
                world.begun[*load] = false;
                match choice {
                    6 => fault(),
                    7 | 8 => {
                        if choice == 7 {
                            world.published[*load] = true;
                            world.commits.push(*load);
                        }
                        Observed::AnswerLost {
                            load: *load,
                            error: Error::new(Code::E0317, "lost"),
                        }
                    }
                    _ => {
                        world.published[*load] = true;
                        world.commits.push(*load);
                        Observed::Committed { load: *load }
                    }
                }
            }
            Command::Abort { load } => {
                assert!(!world.published[*load], "an abort of a published load");
                world.begun[*load] = false;
                Observed::Aborted { load: *load }
            }
            Command::Close => Observed::Closed,
            Command::End(_) => unreachable!("nothing is answered after the end"),
        }
    }

    proptest! {
        #[test]
        fn every_history_keeps_the_promises(
            earlier in proptest::collection::vec(any::<bool>(), 1..5),
            choices in proptest::collection::vec(0u8..9, 60),
        ) {
            let n = earlier.len();
            let mut world = World { published: earlier, begun: vec![false; n], written: false, sealed: false, commits: vec![] };
            let (mut protocol, mut command) = Protocol::start(n, true);
            let mut choices = choices.into_iter();
            let ending = loop {
                if let Command::End(ending) = command {
                    break ending;
                }
                let observed = answer(&mut world, &command, choices.next().unwrap_or(0));
                command = protocol.step(observed);
            };
            match ending {
                Ending::Succeeded => prop_assert!(world.published.iter().all(|p| *p)),
                Ending::Failed { published, .. } => {
                    // A load whose commit failed outright is not known to be published.
                    prop_assert!(published <= world.published.iter().filter(|p| **p).count());
                }
            }
        }
    }

    #[test]
    fn a_lost_answer_that_did_publish_is_a_commit() {
        let (mut p, _) = Protocol::start(1, true);
        p.step(Observed::Began {
            load: 0,
            committed: false,
        });
        p.step(Observed::Written);
        assert_eq!(
            p.step(Observed::Sealed { failed: None }),
            Command::Commit { load: 0 }
        );
        let lost = Observed::AnswerLost {
            load: 0,
            error: Error::new(Code::E0317, "lost"),
        };
        assert_eq!(p.step(lost), Command::Begin { load: 0 });
        assert_eq!(
            p.step(Observed::Began {
                load: 0,
                committed: true
            }),
            Command::Close
        );
    }

    #[test]
    fn a_failed_check_publishes_nothing() {
        let (mut p, _) = Protocol::start(2, true);
        p.step(Observed::Began {
            load: 0,
            committed: false,
        });
        p.step(Observed::Began {
            load: 1,
            committed: false,
        });
        p.step(Observed::Written);
        let failed = Observed::Sealed {
            failed: Some(Error::new(Code::E1001, "check")),
        };
        assert_eq!(p.step(failed), Command::Abort { load: 0 });
        assert_eq!(p.step(Observed::Aborted { load: 0 }), Command::Abort { load: 1 });
    }
}
