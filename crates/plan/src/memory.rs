//! DataFusion's memory pool on top of the run's one budget.
//!
//! Operators may use most of the budget, shared fairly among those that can spill; readers and writers have the
//! rest. Every byte an operator holds is also taken from the budget, so its peak is the run's peak.

use std::fmt;

use datafusion::error::Result;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use synqx_sdk::Budget;

/// The pool.
#[derive(Debug)]
pub(crate) struct BudgetPool {
    fair: FairSpillPool,
    budget: Budget,
}

impl BudgetPool {
    /// Operators get five eighths of the budget.
    pub(crate) fn new(budget: Budget) -> Self {
        BudgetPool {
            fair: FairSpillPool::new(operator_bytes(&budget)),
            budget,
        }
    }
}

/// Bytes of the budget that operators may use.
pub(crate) fn operator_bytes(budget: &Budget) -> usize {
    (budget.limit() / 8 * 5) as usize
}

impl fmt::Display for BudgetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fair)
    }
}

impl MemoryPool for BudgetPool {
    fn name(&self) -> &str {
        "budget"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.fair.grow(reservation, additional);
        self.budget.take(additional as u64);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
        self.budget.give(shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.fair.try_grow(reservation, additional)?;
        self.budget.take(additional as u64);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.fair.memory_limit()
    }
}
