//! DataFusion's memory pool on top of the run's one budget.
//!
//! Operators have five eighths of the budget; readers and writers have the rest. Every byte an operator holds is also
//! taken from the budget, so its peak is the run's peak. The operators' part is divided by what a refusal means:
//! who spills when refused (sorters, aggregations) and who would fail (the merges of those sorters) have equal and
//! guaranteed shares, so no sorter starves another; a repartition buffers little; all others (hash joins, unsorted
//! sides) take what is left, and hold at least a quarter. See `docs/concepts/memory.md`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::common::DataFusionError;
use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, human_readable_size,
};
use synqx_sdk::Budget;

/// Bytes of the budget that operators may use.
pub(crate) fn operator_bytes(budget: &Budget) -> usize {
    (budget.limit() / 8 * 5) as usize
}

/// What a consumer does when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Writes what it holds to disk and asks again.
    Spills,
    /// Merges the sorted runs of one sorter; fails below two runs, so its share is guaranteed.
    Merges,
    /// Passes rows between streams, and to disk when refused.
    Passes,
    /// Fails.
    Holds,
}

impl Kind {
    fn of(consumer: &MemoryConsumer) -> Kind {
        if consumer.name().starts_with("ExternalSorterMerge") {
            Kind::Merges
        } else if !consumer.can_spill() {
            Kind::Holds
        } else if consumer.name().starts_with("RepartitionExec") {
            Kind::Passes
        } else {
            Kind::Spills
        }
    }
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<usize, usize>,
    spilling: usize,
    merging: usize,
    passing: usize,
    /// Bytes of consumers that would fail.
    kept: usize,
    total: usize,
}

impl State {
    fn count(&mut self, kind: Kind) -> Option<&mut usize> {
        match kind {
            Kind::Spills => Some(&mut self.spilling),
            Kind::Merges => Some(&mut self.merging),
            Kind::Passes => Some(&mut self.passing),
            Kind::Holds => None,
        }
    }
}

/// The pool.
#[derive(Debug)]
pub(crate) struct BudgetPool {
    limit: usize,
    budget: Budget,
    state: Mutex<State>,
}

impl BudgetPool {
    pub(crate) fn new(budget: Budget) -> Self {
        BudgetPool {
            limit: operator_bytes(&budget),
            budget,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that may be held for good: a quarter, and whatever nobody else uses.
    fn keepable(&self) -> usize {
        self.limit / 4
    }

    /// The most one consumer of a kind may hold.
    fn share(&self, state: &State, kind: Kind) -> usize {
        let divisible = self.limit.saturating_sub(state.kept.max(self.keepable()));
        match kind {
            // A merge holds the sorter's batches, their sort keys and what it puts out: three times the sorter's share.
            Kind::Spills if state.merging == 0 => divisible / state.spilling.max(1),
            Kind::Spills => divisible / 4 / state.spilling.max(1),
            Kind::Merges => divisible / 4 * 3 / state.merging.max(1),
            Kind::Passes => self.limit / 16 / state.passing.max(1),
            Kind::Holds => (self.keepable() + held_by_nobody(self.limit, state)).saturating_sub(state.kept),
        }
    }

    /// Bytes a batch should have at most, so that a sorter holds several.
    pub(crate) fn batch_share(&self) -> usize {
        let state = self.state();
        self.share(&state, Kind::Spills) / 12
    }

    fn refusal(
        &self,
        reservation: &MemoryReservation,
        asked: usize,
        share: usize,
        held: usize,
    ) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "{} holds {} and needs {} more; its part of the operators' {} is {}",
            reservation.consumer().name(),
            human_readable_size(held),
            human_readable_size(asked),
            human_readable_size(self.limit),
            human_readable_size(share),
        ))
    }

    fn account(&self, state: &mut State, reservation: &MemoryReservation, additional: usize) {
        let consumer = reservation.consumer();
        *state.held.entry(consumer.id()).or_default() += additional;
        state.total += additional;
        if Kind::of(consumer) == Kind::Holds {
            state.kept += additional;
        }
        self.budget.take(additional as u64);
    }
}

fn held_by_nobody(limit: usize, state: &State) -> usize {
    limit.saturating_sub(state.total)
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "budget({} of {})",
            human_readable_size(self.state().total),
            human_readable_size(self.limit)
        )
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &str {
        "budget"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if let Some(count) = self.state().count(Kind::of(consumer)) {
            *count += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        state.held.remove(&consumer.id());
        if let Some(count) = state.count(Kind::of(consumer)) {
            *count = count.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.account(&mut self.state(), reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut state = self.state();
        let consumer = reservation.consumer();
        if let Some(held) = state.held.get_mut(&consumer.id()) {
            *held = held.saturating_sub(shrink);
        }
        state.total = state.total.saturating_sub(shrink);
        if Kind::of(consumer) == Kind::Holds {
            state.kept = state.kept.saturating_sub(shrink);
        }
        self.budget.give(shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state();
        let consumer = reservation.consumer();
        let kind = Kind::of(consumer);
        let held = state.held.get(&consumer.id()).copied().unwrap_or(0);
        let share = self.share(&state, kind);
        let free = held_by_nobody(self.limit, &state);
        let within = match kind {
            Kind::Holds => additional <= share,
            // A merge in memory that is refused fails; one of spilled runs would take all there is.
            Kind::Merges => held + additional <= share.max((share / 3 * 4).min(held + free)),
            _ => held + additional <= share,
        };
        // One thing larger than a share, alone, is let through while there is room: a very wide row must still move.
        let alone = held == 0 && additional <= free;
        if !within && !alone {
            return Err(self.refusal(reservation, additional, share, held));
        }
        self.account(&mut state, reservation, additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state().total
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}
