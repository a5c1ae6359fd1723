//! Turns counters into progress events, a few times per second, while a run works.
//!
//! Counters are read, never reset; a step that has not moved is not mentioned again. Dropping the ticker stops it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use synqx_model::event::EventKind;
use synqx_plan::Meters;

use crate::Events;

const EVERY: Duration = Duration::from_millis(200);

/// Emits progress until dropped.
#[derive(Debug)]
pub(crate) struct Ticker(tokio::task::JoinHandle<()>);

impl Ticker {
    /// Watches these steps.
    pub(crate) fn start(meters: Meters, steps: Vec<String>, events: Arc<dyn Events>) -> Self {
        let started = Instant::now();
        Ticker(tokio::spawn(async move {
            let mut last: BTreeMap<String, u64> = BTreeMap::new();
            let mut interval = tokio::time::interval(EVERY);
            loop {
                interval.tick().await;
                report(&meters, &steps, events.as_ref(), started, &mut last);
            }
        }))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Emits the counters of every step that has moved since `last`.
pub(crate) fn report(
    meters: &Meters,
    steps: &[String],
    events: &dyn Events,
    started: Instant,
    last: &mut BTreeMap<String, u64>,
) {
    for step in steps {
        let Some(meter) = meters.step(step) else { continue };
        let rows = meter.rows();
        if rows == 0 || last.insert(step.clone(), rows) == Some(rows) {
            continue;
        }
        let seconds = meter
            .elapsed()
            .max(Duration::from_millis(1))
            .as_secs_f64()
            .max(0.05)
            .min(started.elapsed().as_secs_f64().max(0.05));
        events.emit(EventKind::Progress {
            step: step.clone(),
            rows,
            bytes: meter.bytes(),
            rows_per_s: (rows as f64 / seconds) as u64,
            expected_rows: meter.expected(),
        });
    }
}
