//! Puts back the rows that the last `replace` with `keep_previous` replaced: under the fence, once, in one transaction.
//!
//! The table stays and its rows change, whatever path the replace took, so that keys, grants, views and comments are those
//! of now. The record of the stream says afterwards that this rollback was its last run and that nothing has been read.

use std::sync::Arc;

use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::{Effect, FenceClaim, Moment, Receipt, Target};
use tokio_postgres::types::Type;

use super::{load, publish, sql, ties};
use crate::catalog::{self, Relation};
use crate::client::{Link, Scope, Session};
use crate::names::{TableName, quote_all, suffixed};

/// The name a replaced table is kept under.
pub(crate) fn previous_of(table: &TableName) -> TableName {
    table.sibling(suffixed(&table.name, "__previous"))
}

/// Swaps the previous rows back. Errors: `E0304`, `E0310`, `E0405`, `E0501`, `E0307`, `E0317`.
pub(super) async fn rollback(link: &Arc<Link>, target: &Target) -> Result<Receipt> {
    let session = Session::connect(link, Scope::Catalog).await?;
    let table = TableName::parse(&target.asset, &link.settings.schema)?;
    let doing = format!("roll table `{}` back", table.label());
    let Some(relation) = catalog::fetch_relation(&session, &table).await? else {
        return Err(catalog::not_found(&session, &table).await);
    };
    let previous = previous_of(&table);
    if catalog::fetch_relation(&session, &previous).await?.is_none() {
        return Err(none(&table));
    }
    super::ensure_record(&session, &table).await?;
    session.enter(link, Scope::Data).await?;
    let probe = &link.env.probe;
    probe.reach(Effect::Fence, Moment::Before)?;
    let (fence, _) = load::take_fence(&session, &table, target, FenceClaim::Next).await?;
    probe.reach(Effect::Fence, Moment::After)?;
    session.run("BEGIN", &doing).await?;
    let receipt = put_back(&session, &table, &relation, target, fence, &doing).await;
    let receipt = match receipt {
        Ok(receipt) => receipt,
        Err(error) => {
            session.run("ROLLBACK", &doing).await?;
            return Err(error);
        }
    };
    publish::make_visible(&session, probe.as_ref(), &doing).await?;
    Ok(receipt)
}

fn none(table: &TableName) -> Error {
    Error::new(
        Code::E0304,
        format!("table `{}` has no previous version", table.label()),
    )
    .with_detail(format!("There is no table `{}`.", previous_of(table).label()))
    .with_hint("only a load with `replace: {keep_previous: true}` keeps one, and it can be put back once")
}

/// Records the rollback under the fence, with nothing read. Errors: `E0501`.
async fn record(
    session: &Session,
    table: &TableName,
    target: &Target,
    fence: u64,
    doing: &str,
) -> Result<()> {
    let (stream, run) = (target.stream.to_string(), target.run.to_string());
    let fence = i64::try_from(fence).map_err(|_| Error::bug("a fence is larger than a bigint"))?;
    let hit = session
        .execute(
            &sql::update_record(table),
            &[
                (&stream, Type::TEXT),
                (&fence, Type::INT8),
                (&run, Type::TEXT),
                (&Position::default().to_text(), Type::TEXT),
                (&target.spec_hash, Type::TEXT),
            ],
            doing,
        )
        .await?;
    if hit != 1 {
        return Err(publish::taken_over(&stream));
    }
    Ok(())
}

async fn put_back(
    session: &Session,
    table: &TableName,
    relation: &Relation,
    target: &Target,
    fence: u64,
    doing: &str,
) -> Result<Receipt> {
    let previous = previous_of(table);
    record(session, table, target, fence, doing).await?;
    let lock = format!(
        "LOCK TABLE {}, {} IN SHARE ROW EXCLUSIVE MODE",
        table.sql(),
        previous.sql()
    );
    session.run(&lock, doing).await?;
    ties::check_references(
        target,
        &table.label(),
        &ties::references(session, relation).await?,
    )?;
    session.run("SET CONSTRAINTS ALL DEFERRED", doing).await?;
    let Some(kept) = catalog::fetch_relation(session, &previous).await? else {
        return Err(none(table));
    };
    let lacking: Vec<&str> = kept
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .filter(|name| relation.column(name).is_none())
        .collect();
    if !lacking.is_empty() {
        return Err(Error::new(
            Code::E0405,
            format!(
                "the previous version of table `{}` has columns that the table lacks",
                table.label()
            ),
        )
        .with_detail(format!(
            "They are `{}`. Nothing was changed.",
            lacking.join("`, `")
        ))
        .with_hint("add the columns to the table, then roll back again"));
    }
    let partitioned = relation.kind == "p";
    let only = format!("{}{}", if partitioned { "" } else { "ONLY " }, table.sql());
    let count = |what: String| async move { session.count(&what, doing).await };
    let waiting = count(format!("SELECT count(*) FROM {}", previous.sql())).await?;
    let deleted = session.execute(&format!("DELETE FROM {only}"), &[], doing).await;
    let deleted = deleted.map_err(publish::still_referred_to)?;
    let written = |name: &str| relation.column(name).is_some_and(|column| !column.generated);
    let columns = quote_all(
        kept.columns
            .iter()
            .map(|c| c.name.as_str())
            .filter(|name| written(name)),
    );
    let always = relation.columns.iter().any(|column| column.identity == "a");
    let overriding = if always { " OVERRIDING SYSTEM VALUE" } else { "" };
    let insert = format!(
        "INSERT INTO {} ({columns}){overriding} SELECT {columns} FROM {}",
        table.sql(),
        previous.sql()
    );
    let inserted = session.execute(&insert, &[], doing).await?;
    let there = count(format!("SELECT count(*) FROM {only}")).await?;
    if inserted != waiting || there != waiting {
        return Err(publish::kept_out(
            &table.label(),
            format!(
                "There were {waiting} rows to be put back, the server inserted {inserted}, and {there} are there"
            ),
        ));
    }
    let checked = session.run("SET CONSTRAINTS ALL IMMEDIATE", doing).await;
    checked.map_err(publish::still_referred_to)?;
    session
        .run(&format!("DROP TABLE {}", previous.sql()), doing)
        .await?;
    Ok(Receipt {
        inserted,
        deleted,
        ..Receipt::default()
    })
}
