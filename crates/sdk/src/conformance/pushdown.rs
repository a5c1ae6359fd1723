//! Pushed predicates: rows read without one and filtered here are what a source must return with one.
//!
//! One asset per type, full of its awkward values; predicates are made of the values themselves and of neighbours.
//! `Exact` must return the same rows, `Superset` all of them and no invented ones, `No` is never asked. Several
//! predicates are read at a time, and a database's column that is the same as one before, values and native type, is
//! judged once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;

use super::bench::*;
use super::evaluate::evaluate;
use super::report::{Outcome, Report};
use super::rows::{Rows, Value, from_order_bits, same_rows};
use super::samples::{Sample, every_type};
use super::source::seeded;
use crate::annotation;
use crate::connector::{Connection, Role};
use crate::predicate::{Acceptance, Comparison, Literal, Predicate};
use crate::read::Scan;

const OPS: [Comparison; 6] = [
    Comparison::Eq,
    Comparison::NotEq,
    Comparison::Lt,
    Comparison::LtEq,
    Comparison::Gt,
    Comparison::GtEq,
];

/// Predicates read at a time.
const AT_ONCE: usize = 4;

/// A column whose predicates were judged: the type it was made of, what it is, and its rows.
type Judged = (String, Field, Rows);

pub(super) async fn run(bench: &Bench<'_>, report: &mut Report) {
    let mut judged: Vec<Judged> = Vec::new();
    let samples = match every_type() {
        Ok(samples) => samples,
        Err(error) => return report.add("the suite's samples", Outcome::Failed(error.to_string())),
    };
    for sample in &samples {
        let name = format!(
            "predicates over {} give the same rows pushed and not",
            sample.name
        );
        bench.case(report, name, pushes(bench, sample, &mut judged)).await;
    }
    bench
        .case(
            report,
            "predicates over several columns give the same rows",
            pushes_across(bench),
        )
        .await;
    bench
        .case(
            report,
            "a predicate and a limit together lose no row",
            pushes_with_limit(bench),
        )
        .await;
}

/// An asset with every value of a type the system takes.
async fn asset_of(bench: &Bench<'_>, sample: &Sample) -> Result<Option<String>, Problem> {
    if !bench.fixture.seeds(&sample.field) {
        return Ok(None);
    }
    let mut parts: Vec<&dyn Array> = vec![sample.core.as_ref()];
    parts.extend(sample.special.iter().map(|(_, value)| value.as_ref()));
    let every: ArrayRef = concat(&parts)?;
    // All values together, else (where one is refused) the core with each special value that is taken alone.
    if let Ok(asset) = seeded(bench, "pushed", &[sample.batch(&every)?]).await {
        return Ok(Some(asset));
    }
    let mut parts: Vec<&dyn Array> = vec![sample.core.as_ref()];
    for (_, value) in &sample.special {
        if seeded(bench, "alone", &[sample.batch(value)?]).await.is_ok() {
            parts.push(value.as_ref());
        }
    }
    let taken: ArrayRef = concat(&parts)?;
    Ok(seeded(bench, "pushed", &[sample.batch(&taken)?]).await.ok())
}

async fn pushes(bench: &Bench<'_>, sample: &Sample, judged: &mut Vec<Judged>) -> Checked {
    let Some(asset) = asset_of(bench, sample).await? else {
        return not_applicable("the system does not hold the type");
    };
    let connection = bench.connect(Role::Source)?;
    let scan = bench.scan(connection.as_ref(), &asset).await?;
    let (_, all) = bench.read_scan(connection.as_ref(), &scan).await?;
    let all = Rows::raw(&all);
    let field = scan.table.schema.field_with_name("value")?.clone();
    // Only a native type makes two columns one: two files of one schema may hold it in two ways.
    let same = |known: &&Judged| known.1 == field && known.2.counted() == all.counted();
    let native = field.metadata().contains_key(annotation::NATIVE);
    if let Some((name, ..)) = judged.iter().find(same).filter(|_| native) {
        return not_applicable(format!("it is the same column as that of {name}"));
    }
    let predicates = predicates(&all, "value", field.data_type())?;
    let verdict = all_same(bench, connection.as_ref(), &scan, &all, predicates).await?;
    judged.push((sample.name.clone(), field, all));
    Ok(verdict)
}

/// Tries every predicate and tells all that differ, not only the first.
async fn all_same(
    bench: &Bench<'_>,
    connection: &dyn Connection,
    scan: &Scan,
    all: &Rows,
    predicates: Vec<Predicate>,
) -> Checked {
    let (mut asked, mut wrong) = (0, Vec::new());
    let mut read = futures::stream::iter(predicates)
        .map(|predicate| async move { same_pushed(bench, connection, scan, all, &predicate).await })
        .buffered(AT_ONCE);
    while let Some(outcome) = read.next().await {
        match outcome {
            Ok(taken) => asked += usize::from(taken),
            Err(Problem(why)) => wrong.push(why),
        }
    }
    if !wrong.is_empty() {
        let told = wrong
            .iter()
            .take(4)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n");
        return Err(Problem(format!(
            "{} of {} predicates differ\n{told}",
            wrong.len(),
            wrong.len() + asked
        )));
    }
    if asked == 0 {
        not_applicable("the source takes no such predicate")
    } else {
        Ok(Verdict::Passed)
    }
}

/// Reads with a predicate if the source takes it, and compares; whether it took it.
async fn same_pushed(
    bench: &Bench<'_>,
    connection: &dyn Connection,
    scan: &Scan,
    all: &Rows,
    predicate: &Predicate,
) -> Result<bool, Problem> {
    let source = connection.source().ok_or("the connection has no source")?;
    let acceptance = source.accepts(&scan.table, predicate);
    if acceptance == Acceptance::No {
        return Ok(false);
    }
    let told = |why: &str| Problem(format!("{predicate} ({acceptance:?}): {why}"));
    let mut pushed = scan.clone();
    pushed.predicates = vec![predicate.clone()];
    let read = bench.read_scan(connection, &pushed).await;
    let (_, found) = read.map_err(|Problem(why)| told(&why))?;
    let found = Rows::raw(&found);
    let mut expected = Rows {
        columns: all.columns.clone(),
        rows: Vec::new(),
    };
    for row in &all.rows {
        if evaluate(predicate, all, row).map_err(|why| told(&why))? == Some(true) {
            expected.rows.push(row.clone());
        }
    }
    if acceptance == Acceptance::Exact {
        same_rows(&expected, &found, &["id"]).map_err(|why| told(&why))?;
        return Ok(true);
    }
    let (there, returned) = (all.counted(), found.counted());
    for (row, count) in expected.counted() {
        let kept = returned.get(row).is_some_and(|n| *n >= count);
        ensure(
            kept,
            told(&format!(
                "a row that passes is missing: id={}",
                row.first().unwrap_or(&Value::Null)
            ))
            .0,
        )?;
    }
    for (row, count) in returned {
        ensure(
            there.get(row).is_some_and(|n| *n >= count),
            told("a row was invented or doubled").0,
        )?;
    }
    Ok(true)
}

/// Every form of predicate over a column, made of its values.
fn predicates(all: &Rows, column: &str, data_type: &DataType) -> Result<Vec<Predicate>, Problem> {
    let at = all.columns.iter().position(|name| name == column);
    let at = at.ok_or_else(|| format!("there is no column {column}"))?;
    let column = || column.to_owned();
    let mut literals: Vec<Literal> = Vec::new();
    for literal in all
        .rows
        .iter()
        .filter_map(|row| row.get(at))
        .flat_map(|value| literals_of(value, data_type))
    {
        if !literals.contains(&literal) {
            literals.push(literal);
        }
    }
    let mut made = Vec::new();
    for negated in [false, true] {
        made.push(Predicate::IsNull {
            column: column(),
            negated,
        });
    }
    for literal in &literals {
        for op in OPS {
            let plain = Predicate::Compare {
                column: column(),
                op,
                literal: literal.clone(),
            };
            if matches!(op, Comparison::Eq | Comparison::Lt) {
                made.push(Predicate::Not(Box::new(plain.clone())));
            }
            made.push(plain);
        }
    }
    for negated in [false, true] {
        for chosen in [
            &literals[..],
            literals.get(..1).unwrap_or_default(),
            literals.get(1..3).unwrap_or_default(),
        ] {
            if !chosen.is_empty() {
                made.push(Predicate::In {
                    column: column(),
                    literals: chosen.to_vec(),
                    negated,
                });
            }
        }
        if crate::type_names::is_text(data_type) {
            for pattern in PATTERNS {
                made.push(Predicate::Like {
                    column: column(),
                    pattern: pattern.into(),
                    negated,
                });
            }
        }
    }
    Ok(made)
}

const PATTERNS: [&str; 16] = [
    "%", "_%", "", "plain", "p%", "%n", "%la%", "_lain", "PLAIN", r"%\\%", r"%\%%", r"%\_%", "%\n%", "ü%",
    "%😀%", "%'%",
];

/// Constants of a column's type: the value, and for numbers and times its neighbours.
fn literals_of(value: &Value, data_type: &DataType) -> Vec<Literal> {
    match (value, data_type) {
        (Value::Bool(b), _) => vec![Literal::Bool(*b)],
        (
            Value::Number(n),
            DataType::Decimal128(_, scale) | DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale),
        ) => {
            let wanted = usize::try_from(*scale).unwrap_or(0);
            let (whole, part) = n.split_once('.').unwrap_or((n, ""));
            format!("{whole}{part:0<wanted$}")
                .parse()
                .map(|v| vec![Literal::Decimal(v, (*scale).max(0))])
                .unwrap_or_default()
        }
        (Value::Number(n), DataType::Decimal256(..)) => n
            .parse()
            .map(|v| vec![Literal::Decimal(v, 0)])
            .unwrap_or_default(),
        (Value::Number(n), _) => {
            let around = |n: i128| vec![Literal::Int(n), Literal::Int(n.saturating_add(1))];
            n.parse().map(around).unwrap_or_default()
        }
        (Value::Float(bits), _) => vec![Literal::Float(from_order_bits(*bits))],
        (Value::Text(text), _) => vec![Literal::Text(text.clone()), Literal::Text(text.to_uppercase())],
        (Value::Bytes(bytes), _) => vec![Literal::Bytes(bytes.clone())],
        (Value::Date(days), _) => i32::try_from(*days)
            .map(|d| vec![Literal::Date(d)])
            .unwrap_or_default(),
        (Value::Timestamp(nanos), DataType::Timestamp(..)) => micros(*nanos, Literal::Timestamp),
        (Value::Instant(nanos), _) => micros(*nanos, Literal::Instant),
        _ => Vec::new(),
    }
}

fn micros(nanos: i128, literal: fn(i64) -> Literal) -> Vec<Literal> {
    i64::try_from(nanos.div_euclid(1_000))
        .map(|us| vec![literal(us), literal(us.saturating_add(1))])
        .unwrap_or_default()
}

/// Rows over several row groups, pages and partitions: `id`, a clustered number with NULLs, a text.
fn clustered() -> Result<Vec<RecordBatch>, Problem> {
    (0..4)
        .map(|part| many_notes(part * 5_000, 5_000, if part % 2 == 0 { "even" } else { "odd" }))
        .collect()
}

fn compare(column: &str, op: Comparison, literal: Literal) -> Predicate {
    Predicate::Compare {
        column: column.into(),
        op,
        literal,
    }
}

fn across() -> Vec<Predicate> {
    let id = |op, n| compare("id", op, Literal::Int(n));
    let note = |op, text: &str| compare("note", op, Literal::Text(text.into()));
    let no_note = || Predicate::IsNull {
        column: "note".into(),
        negated: false,
    };
    vec![
        Predicate::And(vec![id(Comparison::GtEq, 4_990), id(Comparison::Lt, 5_010)]),
        Predicate::Or(vec![id(Comparison::Lt, 3), id(Comparison::Gt, 19_990), no_note()]),
        Predicate::Not(Box::new(Predicate::Or(vec![
            id(Comparison::Gt, 7),
            note(Comparison::Eq, "even 5"),
        ]))),
        Predicate::Not(Box::new(Predicate::And(vec![
            id(Comparison::Gt, 7),
            note(Comparison::NotEq, "even 15"),
        ]))),
        Predicate::And(vec![
            no_note(),
            Predicate::Not(Box::new(id(Comparison::NotEq, 14))),
        ]),
        Predicate::And(vec![]),
        Predicate::Or(vec![
            note(Comparison::Lt, "even 1"),
            Predicate::And(vec![no_note(), id(Comparison::Eq, 0)]),
        ]),
        id(Comparison::Eq, i128::from(i64::MAX) + 1),
        id(Comparison::Lt, i128::from(i64::MAX) + 1),
        id(Comparison::Gt, i128::from(i64::MIN) - 1),
    ]
}

async fn pushes_across(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "across", &clustered()?).await?;
    let connection = bench.connect(Role::Source)?;
    let scan = bench.scan(connection.as_ref(), &asset).await?;
    let (_, all) = bench.read_scan(connection.as_ref(), &scan).await?;
    all_same(bench, connection.as_ref(), &scan, &Rows::raw(&all), across()).await
}

async fn pushes_with_limit(bench: &Bench<'_>) -> Checked {
    let asset = seeded(bench, "limited", &clustered()?).await?;
    let connection = bench.connect(Role::Source)?;
    let table = connection.describe(&bench.fixture.dataset(&asset)).await?;
    let source = connection.source().ok_or("the connection has no source")?;
    let (_, all) = bench.read(connection.as_ref(), &asset, |_| {}).await?;
    let all = Arc::new(Rows::raw(&all));
    let mut asked = 0;
    for predicate in across() {
        if source.accepts(&table, &predicate) == Acceptance::No {
            continue;
        }
        asked += 1;
        let passing = |rows: &Rows| -> Result<usize, Problem> {
            let truths = rows.rows.iter().map(|row| evaluate(&predicate, &all, row));
            Ok(truths
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .filter(|truth| *truth == Some(true))
                .count())
        };
        for limit in [1, 10, 100_000] {
            let (_, found) = bench
                .read(connection.as_ref(), &asset, |scan| {
                    scan.predicates = vec![predicate.clone()];
                    scan.limit = Some(limit);
                    scan.parallel = 4;
                })
                .await?;
            let (wanted, found) = (passing(&all)?.min(limit as usize), passing(&Rows::raw(&found))?);
            ensure(
                found >= wanted,
                format!("{predicate} limit {limit}: {found} rows that pass, {wanted} are there"),
            )?;
        }
    }
    if asked == 0 {
        not_applicable("the source takes no predicate")
    } else {
        Ok(Verdict::Passed)
    }
}
