//! What SQLite can and cannot promise as a destination, as the plain record the rest of the house reads.
//!
//! One file, one lock: one writer and one load at a time. Everything else is decided per load, in `shape`.

use synqx_model::spec::WriteMode;
use synqx_sdk::{Delivery, FenceKind, Limits};

/// What SQLite can and cannot promise.
pub(crate) fn limits() -> Limits {
    Limits {
        identifier_bytes: None,
        case_insensitive: true,
        columns: Some(2000),
        transactional_ddl: true,
        modes: vec![
            WriteMode::Append,
            WriteMode::Replace,
            WriteMode::Upsert,
            WriteMode::DeleteInsert,
            WriteMode::Scd2,
            WriteMode::Mirror,
        ],
        parallel_writers: 1,
        concurrent_loads: 1,
        timestamp_digits: 9,
        decimal_digits: Some(76),
        nul_in_text: true,
        fence: FenceKind::Transaction,
        delivery: Delivery::ExactlyOnce,
    }
}
