//! Counters of a run: what each step emitted, what each check found. Shared, atomic, and read while the run works.
//!
//! A step is *complete* when every partition of its stream was read to the end; one that was dropped early (a
//! limit, the shorter side of a join) is a partial read, and its sums are recorded without being judged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use synqx_model::manifest::{CheckRecord, Level};
use synqx_model::spec::{OnEmpty, OnFail, Severity, Threshold};

use crate::gauge::{Gauge, Reading};

/// Counters of one step.
#[derive(Debug, Default)]
pub struct StepMeter {
    rows: AtomicU64,
    bytes: AtomicU64,
    opened: AtomicU64,
    finished: AtomicU64,
    quarantined: AtomicU64,
    dropped: AtomicU64,
    judged: AtomicU64,
    passed: AtomicU64,
    source_filtered: AtomicBool,
    expected: AtomicU64,
    span: Mutex<Option<(Instant, Instant)>>,
    /// Edges on which this step reads kept rows.
    edges: Mutex<Vec<Arc<StepMeter>>>,
}

impl StepMeter {
    /// Counts a batch that left the step.
    pub fn emit(&self, rows: u64, bytes: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.touch();
    }

    fn touch(&self) {
        if let Ok(mut span) = self.span.lock() {
            let now = Instant::now();
            *span = Some((span.map_or(now, |(first, _)| first), now));
        }
    }

    /// A partition of the step's stream was opened.
    pub fn open(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.touch();
    }

    /// A partition was read to its end.
    pub fn finish(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
        self.touch();
    }

    /// A check of this step judged rows and let some pass. Counted inside the check, where no filter can sink to.
    pub fn judge(&self, judged: u64, passed: u64) {
        self.judged.fetch_add(judged, Ordering::Relaxed);
        self.passed.fetch_add(passed, Ordering::Relaxed);
    }

    /// Rows judged and rows that passed, for steps with a check.
    pub fn judged(&self) -> Option<(u64, u64)> {
        let judged = self.judged.load(Ordering::Relaxed);
        (judged > 0).then(|| (judged, self.passed.load(Ordering::Relaxed)))
    }

    /// Rows that left the stream for the quarantine.
    pub fn quarantine(&self, rows: u64) {
        self.quarantined.fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows a check dropped.
    pub fn drop_rows(&self, rows: u64) {
        self.dropped.fetch_add(rows, Ordering::Relaxed);
    }

    /// The source took over a filter of this step.
    pub fn mark_source_filtered(&self) {
        self.source_filtered.store(true, Ordering::Relaxed);
    }

    /// How many rows are expected, for an ETA.
    pub fn expect(&self, rows: u64) {
        self.expected.store(rows, Ordering::Relaxed);
    }

    /// Rows emitted so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Bytes emitted so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Rows quarantined so far.
    pub fn quarantined(&self) -> u64 {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Rows dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether the source took over a filter.
    pub fn source_filtered(&self) -> bool {
        self.source_filtered.load(Ordering::Relaxed)
    }

    /// Rows expected, if known.
    pub fn expected(&self) -> Option<u64> {
        Some(self.expected.load(Ordering::Relaxed)).filter(|rows| *rows > 0)
    }

    /// This step reads kept rows on an edge.
    pub(crate) fn read_on(&self, edge: &Arc<StepMeter>) {
        if let Ok(mut edges) = self.edges.lock() {
            edges.push(Arc::clone(edge));
        }
    }

    /// Whether the step ran, every partition was read to its end, and so was every kept input.
    pub fn complete(&self) -> bool {
        let whole = |edges: &Vec<Arc<StepMeter>>| edges.iter().all(|edge| edge.ended());
        self.ended() && self.edges.lock().is_ok_and(|edges| whole(&edges))
    }

    fn ended(&self) -> bool {
        let opened = self.opened.load(Ordering::Relaxed);
        opened > 0 && opened == self.finished.load(Ordering::Relaxed)
    }

    /// Whether the step ran at all.
    pub fn started(&self) -> bool {
        self.opened.load(Ordering::Relaxed) > 0
    }

    /// How long the step has been at work, while it is.
    pub fn working(&self) -> Option<Duration> {
        if self.ended() {
            return None;
        }
        let span = self.span.lock().ok()?;
        span.map(|(first, _)| first.elapsed())
    }

    /// Time between first and last batch.
    pub fn elapsed(&self) -> Duration {
        self.span
            .lock()
            .ok()
            .and_then(|s| *s)
            .map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

/// What is known of a check before any row is judged.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Its id, unique in its node.
    pub id: String,
    /// What is demanded, in the word of the document.
    pub assertion: &'static str,
    /// The columns judged.
    pub columns: Vec<String>,
    /// The check in words.
    pub words: String,
    /// What happens to failing rows.
    pub action: OnFail,
    /// More failing rows are a warning.
    pub warn_above: Option<Threshold>,
    /// More failing rows fail the run.
    pub fail_above: Option<Threshold>,
    /// How much a finding matters.
    pub severity: Option<Severity>,
}

impl Rule {
    /// A rule about one column that an operator makes itself, without thresholds.
    pub(crate) fn of(column: &str, assertion: &'static str, words: String, action: OnFail) -> Self {
        Rule {
            id: format!("{column}.{assertion}"),
            assertion,
            columns: vec![column.to_owned()],
            words,
            action,
            warn_above: None,
            fail_above: None,
            severity: None,
        }
    }
}

/// Counter of one check.
#[derive(Debug)]
pub struct CheckMeter {
    /// The node.
    pub node: String,
    /// What is demanded.
    pub rule: Rule,
    judged: AtomicU64,
    failed: AtomicU64,
    gauge: Option<Gauge>,
}

impl CheckMeter {
    /// A counter at zero.
    pub(crate) fn new(node: &str, rule: Rule, gauge: Option<Gauge>) -> Self {
        CheckMeter {
            node: node.to_owned(),
            rule,
            judged: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            gauge,
        }
    }

    /// What measures the whole table, for checks of it.
    pub(crate) fn gauge(&self) -> Option<&Gauge> {
        self.gauge.as_ref()
    }

    /// Whether it judges the whole table instead of each row.
    pub fn is_of_table(&self) -> bool {
        self.gauge.is_some()
    }

    /// Counts judged and failing rows.
    pub(crate) fn count(&self, judged: u64, failed: u64) {
        self.judged.fetch_add(judged, Ordering::Relaxed);
        if failed > 0 {
            self.failed.fetch_add(failed, Ordering::Relaxed);
        }
    }

    /// Rows that failed so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How the check went, once every row was judged.
    pub fn record(&self) -> CheckRecord {
        let (judged, failed) = (self.judged.load(Ordering::Relaxed), self.failed());
        let reading = self.gauge.as_ref().map(Gauge::reading);
        let (success, measured) = match reading {
            None => (failed == 0, None),
            Some(Reading::Holds(value)) => (true, Some(value)),
            Some(Reading::Violated(value)) => (false, Some(value)),
            Some(Reading::Empty(result)) => (result == OnEmpty::Pass, None),
        };
        CheckRecord {
            check: self.rule.words.clone(),
            action: self.rule.action.as_str().to_owned(),
            failed_rows: failed,
            rule: self.rule.id.clone(),
            assertion: self.rule.assertion.to_owned(),
            columns: self.rule.columns.clone(),
            success,
            level: match reading {
                Some(Reading::Empty(OnEmpty::Warn)) => Level::Warn,
                Some(_) => self.level_of_table(success),
                None => self.level(judged, failed),
            },
            judged_rows: judged,
            ratio: if judged == 0 {
                0.0
            } else {
                failed as f64 / judged as f64
            },
            severity: self.rule.severity,
            warn_above: self.rule.warn_above,
            fail_above: self.rule.fail_above,
            measured: measured.filter(|value| value.is_finite()),
        }
    }

    /// What a table check measured, where that is no value of a row.
    pub fn measured_count(&self) -> Option<f64> {
        self.record()
            .measured
            .filter(|_| self.gauge.as_ref().is_some_and(Gauge::is_count))
    }

    fn level_of_table(&self, success: bool) -> Level {
        match self.rule.action {
            _ if success => Level::Ok,
            OnFail::Observe => Level::Ok,
            OnFail::Fail => Level::Fail,
            OnFail::Warn | OnFail::Drop | OnFail::Quarantine => Level::Warn,
        }
    }

    fn level(&self, judged: u64, failed: u64) -> Level {
        let exceeded = |threshold: Option<Threshold>| threshold.map(|t| t.is_exceeded(failed, judged));
        let fails = self.rule.action == OnFail::Fail && failed > 0;
        if fails || exceeded(self.rule.fail_above) == Some(true) {
            return Level::Fail;
        }
        let any = failed > 0 && self.rule.action != OnFail::Observe;
        if exceeded(self.rule.warn_above).unwrap_or(any) {
            Level::Warn
        } else {
            Level::Ok
        }
    }
}

/// Every counter of a run.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    steps: BTreeMap<String, Arc<StepMeter>>,
    checks: Vec<Arc<CheckMeter>>,
}

impl Meters {
    /// The meter of a node, made when it is new.
    pub fn step_mut(&mut self, node: &str) -> Arc<StepMeter> {
        Arc::clone(self.steps.entry(node.to_owned()).or_default())
    }

    /// Takes out the meter of an edge that nothing is going to pass: nothing there says nothing about its rows.
    pub(crate) fn forget(&mut self, meter: &Arc<StepMeter>) {
        self.steps.retain(|_, known| !Arc::ptr_eq(known, meter));
    }

    /// The meter of a node.
    pub fn step(&self, node: &str) -> Option<&Arc<StepMeter>> {
        self.steps.get(node)
    }

    /// Adds a check.
    pub fn add_check(&mut self, check: CheckMeter) -> Arc<CheckMeter> {
        let check = Arc::new(check);
        self.checks.push(Arc::clone(&check));
        check
    }

    /// Every check, in the order of the document.
    pub fn checks(&self) -> &[Arc<CheckMeter>] {
        &self.checks
    }
}
