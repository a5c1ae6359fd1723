//! Puts back the rows that the last `replace` with `keep_previous` replaced: under the fence, once, in one transaction.
//!
//! The table stays and its rows change, whatever way the replace took, so that keys, views and triggers are those of now.
//! The record of the stream says afterwards that this rollback was its last run and that nothing has been read.

use rusqlite::TransactionBehavior;
use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::{Effect, FenceClaim, Moment, Probe, Receipt, Target};

use super::ledger::{self, Failure, Record};
use super::publish::{check_orphans_of, count, orphans_of};
use crate::catalog;
use crate::client::{File, quote, quote_all};

/// Swaps the previous rows back. Errors: `E0304`, `E0307`, `E0405`, `E0505`, `E0317`.
pub(super) fn rollback(file: &File, target: &Target, probe: &dyn Probe) -> Result<Receipt> {
    let name = catalog::table_name(&target.asset);
    let explain = |failure: Failure| match failure {
        Failure::Coded(error) => error,
        Failure::Sqlite(error) => file.statement_error(&error, "roll back", &name),
    };
    if !file.exists() {
        return Err(none(&name));
    }
    let mut connection = file.open_to_write()?;
    let switch = "PRAGMA foreign_keys = OFF; PRAGMA synchronous = FULL";
    connection.execute_batch(switch).map_err(|e| explain(e.into()))?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(|e| explain(e.into()))?;
    let work = || -> Result<Receipt, Failure> {
        let (table, previous) = (
            catalog::table(&transaction, &name)?,
            catalog::table(&transaction, &format!("{name}__previous"))?,
        );
        let (Some(table), Some(previous)) = (table, previous) else {
            return Err(none(&name).into());
        };
        let written = |c: &&catalog::Column| !c.generated;
        let columns: Vec<&str> = previous
            .columns
            .iter()
            .filter(written)
            .map(|c| c.name.as_str())
            .collect();
        if let Some(lacking) = columns.iter().find(|c| table.column(c).is_none()) {
            return Err(lacks(&name, lacking).into());
        }
        let columns: Vec<&str> = columns
            .into_iter()
            .filter(|c| table.column(c).is_some_and(|own| !own.generated))
            .collect();
        probe.reach(Effect::Fence, Moment::Before)?;
        let (fence, _) = ledger::raise(&transaction, &target.stream, FenceClaim::Next)?;
        let record = Record {
            stream: target.stream.clone(),
            fence,
            run: target.run,
            position: Position::default(),
            spec_hash: target.spec_hash.clone(),
        };
        ledger::record(&transaction, &record)?;
        probe.reach(Effect::Fence, Moment::After)?;
        let (own, kept) = (
            format!("main.{}", quote(&table.name)),
            format!("main.{}", quote(&previous.name)),
        );
        let before = orphans_of(&transaction, &table.name)?;
        let waiting = count(&transaction, &format!("SELECT count(*) FROM {kept}"))?;
        let deleted = transaction.execute(&format!("DELETE FROM {own}"), [])? as u64;
        let columns = quote_all(columns.iter().copied());
        let insert = format!("INSERT OR ABORT INTO {own} ({columns}) SELECT {columns} FROM {kept}");
        let inserted = transaction.execute(&insert, [])? as u64;
        let there = count(&transaction, &format!("SELECT count(*) FROM {own}"))?;
        if inserted != waiting || there != waiting {
            return Err(unaccounted(&name, waiting, inserted, there).into());
        }
        transaction.execute(&format!("DROP TABLE {kept}"), [])?;
        check_orphans_of(&transaction, &table.name, before)?;
        Ok(Receipt {
            inserted,
            deleted,
            ..Receipt::default()
        })
    };
    let receipt = work().map_err(explain)?;
    probe.reach(Effect::Publish, Moment::Before)?;
    transaction.commit().map_err(|e| explain(e.into()))?;
    probe.reach(Effect::Publish, Moment::After)?;
    Ok(receipt)
}

fn none(name: &str) -> Error {
    Error::new(Code::E0304, format!("table `{name}` has no previous version"))
        .with_detail(format!("There is no table `{name}__previous`."))
        .with_hint("only a load with `replace: {keep_previous: true}` keeps one, and it can be put back once")
}

fn lacks(name: &str, column: &str) -> Error {
    Error::new(
        Code::E0405,
        format!("the previous version of table `{name}` has a column that the table lacks"),
    )
    .with_detail(format!("It is `{column}`. Nothing was changed."))
    .with_hint("add the column to the table, then roll back again")
}

fn unaccounted(name: &str, waiting: u64, inserted: u64, there: u64) -> Error {
    Error::new(Code::E0505, format!("rows for `{name}` are not accounted for"))
        .with_detail(format!(
            "There were {waiting} rows to be put back, SQLite inserted {inserted}, and {there} are there. Nothing was changed."
        ))
        .with_hint(format!("look at `.schema {name}` in sqlite3 for triggers and ON CONFLICT clauses"))
}
