//! Drives a connector step by step the way the engine does, and looks at the result with connections of its own.
//!
//! A case is an async function that returns a [`Verdict`], or a [`Problem`] in words. Every error a case meets is kept,
//! so that the last case can search all of them for secrets. Cases run one after another, each with names of its own.

use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use synqx_model::position::Cursor;
use synqx_model::spec::{PartitionBy, ReplaceOptions, SchemaPolicy, WriteMode};
use synqx_model::{Code, Error, Position, RunId, SourcePosition, StreamKey};

use super::report::{Outcome, Report};
use super::rows::{Rows, same_rows};
use super::{Fixture, Opening};
use crate::budget::Budget;
use crate::connector::{Connection, Role};
use crate::limits::Limits;
use crate::probe::{Probe, Quiet};
use crate::read::{ReadPlan, Scan};
use crate::write::{Destination, FenceClaim, Load, Preparation, Receipt, Target, Writer};

/// A case that takes longer is reported as one that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a case ended, unless a promise was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The promise was kept.
    Passed,
    /// Refused with a code, as the contract allows.
    Refused(Code, String),
    /// The connector does not make this promise.
    NotApplicable(String),
}

/// A broken promise, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(pub String);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Problem(format!("{error:?}"))
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Problem(text)
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Problem(text.to_owned())
    }
}

impl From<arrow::error::ArrowError> for Problem {
    fn from(error: arrow::error::ArrowError) -> Self {
        Problem(format!("the suite's own batch is wrong: {error}"))
    }
}

/// What a case returns.
pub type Checked = Result<Verdict, Problem>;

/// `Err` with the text unless the condition holds.
pub fn ensure(condition: bool, otherwise: impl Into<String>) -> Result<(), Problem> {
    if condition {
        Ok(())
    } else {
        Err(Problem(otherwise.into()))
    }
}

/// A "not applicable" with its reason.
pub fn not_applicable(reason: impl Into<String>) -> Checked {
    Ok(Verdict::NotApplicable(reason.into()))
}

/// Runs cases one after another: `"sentence" => case(bench)`.
macro_rules! cases {
    ($bench:expr, $report:expr, { $($name:literal => $case:expr),+ $(,)? }) => {
        $($bench.case($report, $name, $case).await;)+
    };
}
pub(super) use cases;

/// A system under test and what its cases have heard so far.
pub struct Bench<'a> {
    /// The system.
    pub fixture: &'a dyn Fixture,
    heard: Mutex<Vec<String>>,
    /// Left behind by earlier cases: told once, by the case that left it.
    left: Mutex<Vec<String>>,
    serial: AtomicU64,
}

impl Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bench({})", self.fixture.system())
    }
}

impl<'a> Bench<'a> {
    /// A bench for a system.
    pub fn new(fixture: &'a dyn Fixture) -> Self {
        Bench {
            fixture,
            heard: Mutex::default(),
            left: Mutex::default(),
            serial: AtomicU64::new(0),
        }
    }

    /// Runs one case and notes how it ended.
    pub async fn case(
        &self,
        report: &mut Report,
        name: impl Into<String>,
        run: impl Future<Output = Checked>,
    ) {
        match self.fixture.leftovers().await {
            Ok(left) => *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left,
            Err(why) => return report.add(name, Outcome::Failed(why)),
        }
        let outcome = match tokio::time::timeout(PATIENCE, Box::pin(run)).await {
            Ok(Ok(Verdict::Passed)) => Outcome::Passed,
            Ok(Ok(Verdict::Refused(code, why))) => Outcome::Refused(code, why),
            Ok(Ok(Verdict::NotApplicable(why))) => Outcome::NotApplicable(why),
            Ok(Err(Problem(why))) => Outcome::Failed(why),
            Err(_) => Outcome::Failed(format!("it did not end within {} seconds", PATIENCE.as_secs())),
        };
        report.add(name, outcome);
    }

    /// Keeps a text for the search for secrets.
    pub fn hear(&self, text: impl Into<String>) {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.into());
    }

    /// Keeps an error with all of its texts.
    pub fn hear_error(&self, error: &Error) {
        self.hear(format!("{error:?} {}", error.to_json()));
    }

    /// The last case: nothing that was said contains a secret.
    pub fn no_secrets(&self, report: &mut Report) {
        let secrets = self.fixture.secrets();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        heard.push(report.to_markdown());
        let told = secrets
            .iter()
            .filter(|secret| heard.iter().any(|text| text.contains(secret.as_str())))
            .count();
        let outcome = match (secrets.is_empty(), told) {
            (true, _) => Outcome::NotApplicable("the system has no secrets".into()),
            (false, 0) => Outcome::Passed,
            (false, n) => Outcome::Failed(format!(
                "{n} of {} secrets were told in an error or a finding",
                secrets.len()
            )),
        };
        report.add("no secret in any error or finding", outcome);
    }

    /// Opens a connection with the default budget and no probe.
    pub fn connect(&self, role: Role) -> Result<Arc<dyn Connection>, Problem> {
        self.connect_with(role, Budget::new(Budget::DEFAULT), Arc::new(Quiet))
    }

    /// Opens a connection.
    pub fn connect_with(
        &self,
        role: Role,
        budget: Budget,
        probe: Arc<dyn Probe>,
    ) -> Result<Arc<dyn Connection>, Problem> {
        Ok(self.fixture.open(&Opening {
            role,
            budget,
            probe,
            wrong_login: false,
        })?)
    }

    /// A name nobody has used.
    pub fn name(&self, stem: &str) -> String {
        format!("{stem}_{}", self.serial.fetch_add(1, Ordering::Relaxed))
    }

    /// A document's name of an asset nobody has used.
    pub fn fresh(&self, stem: &str) -> Result<String, Problem> {
        let name = self.name(stem);
        self.fixture
            .asset(&name)
            .ok_or_else(|| Problem(format!("the fixture cannot name a plain asset ({name})")))
    }

    /// What the destination promises.
    pub fn limits(&self) -> Result<Limits, Problem> {
        Ok(writing(self.connect(Role::Destination)?.as_ref())?
            .limits()
            .clone())
    }

    /// A target of a stream of its own: created when absent, strict, one lane of the destination's choice.
    pub fn target(&self, asset: &str, schema: SchemaRef, mode: WriteMode) -> Target {
        Target {
            asset: asset.to_owned(),
            mode,
            schema,
            key: if mode == WriteMode::Upsert {
                vec!["id".into()]
            } else {
                Vec::new()
            },
            order_by: Vec::new(),
            partition_by: Vec::new(),
            scd2: Default::default(),
            mirror: Default::default(),
            source_key: Vec::new(),
            source_unique: Vec::new(),
            policy: SchemaPolicy::Strict,
            create: true,
            allow_loss: Vec::new(),
            replace: ReplaceOptions::default(),
            lanes: None,
            raw: None,
            options: self.fixture.load_options(),
            stream: StreamKey {
                pipeline: "conformance".into(),
                node: "out".into(),
                asset: asset.to_owned(),
            },
            run: RunId::fresh(),
            spec_hash: "0123456789abcdef".into(),
        }
    }

    /// A whole load: prepare, begin, write, finish, commit.
    pub async fn load(
        &self,
        to: &dyn Connection,
        target: &Target,
        batches: &[RecordBatch],
    ) -> Result<Receipt, Error> {
        self.try_load(to, target, batches)
            .await
            .inspect_err(|error| self.hear_error(error))
    }

    async fn try_load(
        &self,
        to: &dyn Connection,
        target: &Target,
        batches: &[RecordBatch],
    ) -> Result<Receipt, Error> {
        let (mut load, prepared) = start(to, target, FenceClaim::Next).await?;
        // As the engine does: a load that cannot be finished is undone, and the first error is the one that counts.
        if let Err(error) = fill(load.as_mut(), &prepared, batches).await {
            return load.abort().await.and(Err(error));
        }
        load.commit(&position("done")).await
    }

    /// Makes an asset with these rows, by whatever mode the destination has.
    pub async fn given(&self, stem: &str, batches: &[RecordBatch]) -> Result<String, Problem> {
        let asset = self.fresh(stem)?;
        let connection = self.connect(Role::Destination)?;
        let mode = plain_mode(writing(connection.as_ref())?.limits())?;
        let schema = batches.first().ok_or("no batch to make an asset of")?.schema();
        self.load(connection.as_ref(), &self.target(&asset, schema, mode), batches)
            .await?;
        Ok(asset)
    }

    /// The rows of an asset, read by a connection of their own; `None` when it does not exist.
    pub async fn rows(&self, asset: &str) -> Result<Option<Rows>, Problem> {
        Ok(self.batches(asset).await?.map(|batches| Rows::of(&batches)))
    }

    /// The batches of an asset, read by a connection of their own; `None` when it does not exist.
    pub async fn batches(&self, asset: &str) -> Result<Option<Vec<RecordBatch>>, Problem> {
        let connection = self.connect(Role::Source)?;
        match connection.describe(&self.fixture.dataset(asset)).await {
            Ok(_) => {}
            // A folder that a cancelled load made has no rows and no columns either.
            Err(error) if [Code::E0204, Code::E0409].contains(&error.code()) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        Ok(Some(self.read(connection.as_ref(), asset, |_| {}).await?.1))
    }

    /// Reads an asset through the connector's source, the scan changed by `change`.
    pub async fn read(
        &self,
        from: &dyn Connection,
        asset: &str,
        change: impl FnOnce(&mut Scan) + Send,
    ) -> Result<(ReadPlan, Vec<RecordBatch>), Problem> {
        let mut scan = self.scan(from, asset).await?;
        change(&mut scan);
        self.read_scan(from, &scan).await
    }

    /// Reads a scan to its end.
    pub async fn read_scan(
        &self,
        from: &dyn Connection,
        scan: &Scan,
    ) -> Result<(ReadPlan, Vec<RecordBatch>), Problem> {
        let source = from.source().ok_or("the connection has no source")?;
        let plan = source.plan(scan).await?;
        let reader = source.open(scan, &plan).await?;
        let mut batches = Vec::new();
        for partition in 0..plan.partitions.len() {
            let mut stream = reader.read(partition).await?;
            while let Some(batch) = stream.next().await {
                batches.push(batch?);
            }
        }
        Ok((plan, batches))
    }

    /// A scan of all columns in one stream.
    pub async fn scan(&self, from: &dyn Connection, asset: &str) -> Result<Scan, Error> {
        let dataset = self.fixture.dataset(asset);
        let table = from.describe(&dataset).await?;
        let columns = table
            .schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect();
        let (partition, parallel) = (PartitionBy::None, 1);
        Ok(Scan {
            dataset,
            table,
            columns,
            predicates: Vec::new(),
            limit: None,
            partition,
            parallel,
        })
    }

    /// The asset holds exactly these rows.
    pub async fn expect(&self, asset: &str, expected: &[RecordBatch]) -> Result<(), Problem> {
        let found = self
            .rows(asset)
            .await?
            .ok_or_else(|| Problem(format!("{asset} does not exist")))?;
        Ok(same_rows(&Rows::of(expected), &found, &["id"])?)
    }

    /// No staging is left anywhere.
    pub async fn no_leftovers(&self) -> Result<(), Problem> {
        let mut left = self.fixture.leftovers().await?;
        let known = self.left.lock().unwrap_or_else(PoisonError::into_inner).clone();
        left.retain(|name| !known.contains(name));
        ensure(left.is_empty(), format!("left behind: {}", left.join(", ")))
    }

    /// The outcome was refused with one of these codes; user errors have a hint.
    pub fn refused<T>(
        &self,
        what: &str,
        outcome: Result<T, Error>,
        codes: &[Code],
    ) -> Result<Error, Problem> {
        let Err(error) = outcome else {
            return Err(Problem(format!("{what} was accepted, expected {codes:?}")));
        };
        self.hear_error(&error);
        ensure(
            error.iter().any(|e| codes.contains(&e.code())),
            format!("{what}: expected {codes:?}, got {error:?}"),
        )?;
        let mute = error
            .iter()
            .find(|e| e.blame() == synqx_model::Blame::User && e.hint().is_none());
        ensure(
            mute.is_none(),
            format!("{what}: an error of the user has no hint: {error:?}"),
        )?;
        Ok(error)
    }
}

/// The writing part of a connection.
pub fn writing(connection: &dyn Connection) -> Result<&dyn Destination, Problem> {
    connection
        .destination()
        .ok_or_else(|| Problem("the connection has no destination".into()))
}

fn missing_part() -> Error {
    Error::new(Code::E0115, "the connection under test has no destination")
        .with_hint("run the source suite only")
}

/// Prepares and begins.
pub async fn start(
    to: &dyn Connection,
    target: &Target,
    claim: FenceClaim,
) -> Result<(Box<dyn Load>, Preparation), Error> {
    let destination = to.destination().ok_or_else(missing_part)?;
    let prepared = destination.prepare(target, false).await?;
    let load = destination.begin(target, &prepared, claim).await?;
    Ok((load, prepared))
}

/// Opens the lanes and writes the batches round robin, without finishing.
pub async fn write_only(
    load: &mut dyn Load,
    prepared: &Preparation,
    batches: &[RecordBatch],
) -> Result<Vec<Box<dyn Writer>>, Error> {
    let mut lanes = Vec::new();
    for _ in 0..prepared.lanes.max(1) {
        lanes.push(load.writer().await?);
    }
    let count = lanes.len();
    for (i, batch) in batches.iter().enumerate() {
        if let Some(lane) = lanes.get_mut(i % count) {
            lane.write(batch.clone()).await?;
        }
    }
    Ok(lanes)
}

/// Opens the lanes, writes the batches round robin and finishes; the rows the lanes say they wrote must be all.
pub async fn fill(
    load: &mut dyn Load,
    prepared: &Preparation,
    batches: &[RecordBatch],
) -> Result<u64, Error> {
    let mut written = 0;
    for lane in write_only(load, prepared, batches).await? {
        written += lane.finish().await?.rows;
    }
    let given: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if written != given as u64 {
        return Err(Error::new(
            Code::E0505,
            format!("{given} rows were written, the lanes say {written}"),
        ));
    }
    Ok(written)
}

/// The simplest mode a destination has.
pub fn plain_mode(limits: &Limits) -> Result<WriteMode, Problem> {
    let known = [WriteMode::Append, WriteMode::Replace]
        .into_iter()
        .find(|mode| limits.modes.contains(mode));
    known.ok_or_else(|| Problem("the destination has neither append nor replace".into()))
}

/// A position with awkward texts, told apart by `value`.
pub fn position(value: &str) -> Position {
    let cursor = Cursor {
        column: "up\\dated \"at\"".into(),
        data_type: "Utf8View".into(),
        value: value.into(),
    };
    let source = SourcePosition {
        source: "sys'tem/ünï {} %s $1".into(),
        cursor: Some(cursor),
    };
    Position([("extract".to_owned(), source)].into())
}

/// The schema of [`notes`]: `id bigint not null, note text`.
pub fn notes_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("note", DataType::Utf8View, true),
    ]))
}

/// Rows of `id` and `note`.
pub fn notes(rows: &[(i64, Option<&str>)]) -> Result<RecordBatch, Problem> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id)));
    let texts: ArrayRef = Arc::new(rows.iter().map(|(_, note)| *note).collect::<StringViewArray>());
    Ok(RecordBatch::try_new(notes_schema(), vec![ids, texts])?)
}

/// `count` rows of `id` and `note`, from `first` on; every seventh note is NULL.
pub fn many_notes(first: i64, count: i64, word: &str) -> Result<RecordBatch, Problem> {
    let text = |id: i64| (id % 7 != 0).then(|| format!("{word} {id}"));
    let owned: Vec<_> = (first..first + count).map(|id| (id, text(id))).collect();
    notes(
        &owned
            .iter()
            .map(|(id, note)| (*id, note.as_deref()))
            .collect::<Vec<_>>(),
    )
}
