//! One byte budget per run, shared by readers, plan operators and writers.
//!
//! Memory is reserved before it is filled. A reservation that does not fit is `E0804` with the name of who asked
//! and what to do, never a killed process. The budget counts what is accounted; resident memory is a little more.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use synqx_model::{ByteSize, Code, Error, Result};

/// The budget. Clones share it.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    limit: u64,
    used: AtomicU64,
    peak: AtomicU64,
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({} of {})", self.used(), self.limit())
    }
}

impl Budget {
    /// The budget of a run that does not say.
    pub const DEFAULT: ByteSize = ByteSize::mib(512);

    /// A budget of `limit` bytes.
    pub fn new(limit: ByteSize) -> Self {
        Budget(Arc::new(Inner {
            limit: limit.0,
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }))
    }

    /// Bytes in all.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes reserved now.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Most bytes reserved at once.
    pub fn peak(&self) -> u64 {
        self.0.peak.load(Ordering::Relaxed)
    }

    /// The largest row this budget moves: a quarter of it.
    pub fn row_limit(&self) -> u64 {
        self.0.limit / 4
    }

    /// Bytes one batch aims for: 8 MiB, less when the budget is small.
    pub fn batch_target(&self) -> usize {
        (self.0.limit / 48).clamp(256 << 10, 8 << 20) as usize
    }

    /// Takes bytes if they fit.
    pub fn try_take(&self, bytes: u64) -> bool {
        let taken = self
            .0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.0.limit)
            });
        if let Ok(before) = taken {
            self.0.peak.fetch_max(before + bytes, Ordering::Relaxed);
        }
        taken.is_ok()
    }

    /// Takes bytes without asking, for memory that exists already.
    pub fn take(&self, bytes: u64) {
        let before = self.0.used.fetch_add(bytes, Ordering::AcqRel);
        self.0.peak.fetch_max(before + bytes, Ordering::Relaxed);
    }

    /// Gives bytes back.
    pub fn give(&self, bytes: u64) {
        let _ = self
            .0
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                Some(used.saturating_sub(bytes))
            });
    }

    /// Reserves bytes until the guard drops. Errors: `E0804`.
    pub fn reserve(&self, who: &str, bytes: u64) -> Result<Reservation> {
        if self.try_take(bytes) {
            return Ok(Reservation {
                budget: self.clone(),
                bytes,
            });
        }
        Err(self.exhausted(who, bytes))
    }

    /// The error for `who` asking for `bytes` that do not fit.
    pub fn exhausted(&self, who: &str, bytes: u64) -> Error {
        use synqx_model::size::human_bytes;
        Error::new(
            Code::E0804,
            format!(
                "the memory budget of {} does not hold {who}",
                ByteSize(self.limit())
            ),
        )
        .with_detail(format!(
            "It asked for {} more; {} are in use.",
            human_bytes(bytes),
            human_bytes(self.used())
        ))
        .with_hint(format!(
            "run with `--memory {}`",
            ByteSize((self.limit() * 2).next_multiple_of(1 << 20))
        ))
    }

    /// The error for a row that is larger than [`Budget::row_limit`].
    pub fn row_too_large(&self, column: &str, place: &str, bytes: u64) -> Error {
        use synqx_model::size::human_bytes;
        let needed = ByteSize((bytes * 4).next_multiple_of(1 << 30));
        Error::new(
            Code::E0805,
            format!("a value of column `{column}` is larger than a quarter of the memory budget ({place})"),
        )
        .with_detail(format!(
            "It has at least {}; the budget of {} moves rows of up to {}.",
            human_bytes(bytes),
            ByteSize(self.limit()),
            human_bytes(self.row_limit())
        ))
        .with_hint(format!("run with `--memory {needed}`, or leave the column out"))
    }
}

/// Bytes held until dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: u64,
}

impl Reservation {
    /// Changes the amount. Errors: `E0804` when it grows beyond the budget.
    pub fn resize(&mut self, who: &str, bytes: u64) -> Result<()> {
        if bytes > self.bytes {
            let more = bytes - self.bytes;
            if !self.budget.try_take(more) {
                return Err(self.budget.exhausted(who, more));
            }
        } else {
            self.budget.give(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_does_not_fit_and_takes_back_what_is_dropped() {
        let budget = Budget::new(ByteSize(100));
        let held = budget.reserve("a", 60).expect("fits");
        assert_eq!(budget.reserve("b", 41).expect_err("too much").code(), Code::E0804);
        drop(held);
        assert_eq!((budget.used(), budget.peak()), (0, 60));
        assert!(budget.reserve("b", 100).is_ok());
    }
}
