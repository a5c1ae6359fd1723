//! `scd2`: versions of a key follow each other in time; a change closes one version and opens the next.
//!
//! What arrives is put in order per key and compared with its predecessor: the one before it in the load, or the current
//! version. Only a difference in a tracked column makes a version. A row that is not later than what is stored changes
//! nothing (docs/concepts/write-modes.md). Two work tables live inside the publishing transaction only.

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Receipt, Target};

use super::plan::WritePlan;
use super::{publish, sql};
use crate::catalog::Column;
use crate::client::Session;
use crate::names::{TableName, quote, quote_all};

/// The names and conditions of one history, quoted.
struct History<'a> {
    plan: &'a WritePlan,
    target: &'a Target,
    staging: &'a TableName,
    /// The target whose key is that of a version, for what is the same as in an upsert.
    versions: Target,
    from: String,
    to: String,
    current: String,
    tracked: Vec<&'a Column>,
    /// Staged rows in order.
    work: TableName,
    /// Those that open a version.
    fresh: TableName,
}

impl<'a> History<'a> {
    fn new(plan: &'a WritePlan, target: &'a Target, staging: &'a TableName) -> Self {
        let tracked = target.tracked();
        History {
            plan,
            target,
            staging,
            versions: Target {
                key: target.version_key(),
                ..target.clone()
            },
            from: quote(&target.scd2.valid_from),
            to: quote(&target.scd2.valid_to),
            current: quote(&target.scd2.is_current),
            tracked: plan
                .arrived()
                .map(|c| &c.column)
                .filter(|c| tracked.contains(&c.name))
                .collect(),
            work: staging.sibling(format!("{}_work", staging.name)),
            fresh: staging.sibling(format!("{}_open", staging.name)),
        }
    }

    /// The time of a staged row.
    fn at(&self) -> String {
        match &self.target.scd2.time {
            Some(time) => format!("s.{}", quote(time)),
            None => format!("'{}'::pg_catalog.timestamptz", self.target.run_time()),
        }
    }

    fn key(&self) -> String {
        quote_all(self.target.key.iter().map(String::as_str))
    }

    fn same_key(&self, left: &str, right: &str) -> String {
        sql::same_key(self.target, left, right)
    }

    fn differs(&self, left: &str, right: &str) -> String {
        sql::any_differs(&self.tracked, left, right)
    }

    fn arrived(&self) -> Vec<&'a str> {
        self.plan.arrived().map(|c| c.column.name.as_str()).collect()
    }

    fn chosen(&self) -> String {
        sql::winners(self.plan, self.staging, &self.versions)
    }

    /// Staged rows with their time, whether something stored is as late, and their place among those that are not.
    fn make_work(&self) -> String {
        let columns: Vec<String> = self.arrived().iter().map(|c| format!("s.{}", quote(c))).collect();
        format!(
            "CREATE UNLOGGED TABLE {} AS SELECT r.*, row_number() OVER (PARTITION BY {key}, \"_synqx_late\" ORDER BY \"_synqx_at\") AS \"_synqx_nth\" \
             FROM (SELECT {}, {at} AS \"_synqx_at\", coalesce(b.\"_synqx_from\" >= {at} OR b.\"_synqx_to\" > {at}, false) AS \"_synqx_late\" \
             FROM {} AS s LEFT JOIN (SELECT {key}, max({}) AS \"_synqx_from\", max({}) AS \"_synqx_to\" FROM {} GROUP BY {key}) AS b ON {}) AS r",
            self.work.sql(),
            columns.join(", "),
            self.chosen(),
            self.from,
            self.to,
            self.plan.only(),
            self.same_key("b", "s"),
            key = self.key(),
            at = self.at(),
        )
    }

    /// The rows that open a version: the first of a key, and each that differs from the one before it.
    fn make_fresh(&self) -> String {
        format!(
            "CREATE UNLOGGED TABLE {} AS SELECT s.* FROM {work} AS s \
             LEFT JOIN {work} AS p ON {} AND NOT p.\"_synqx_late\" AND p.\"_synqx_nth\" = s.\"_synqx_nth\" - 1 \
             LEFT JOIN {} AS c ON s.\"_synqx_nth\" = 1 AND {} AND c.{current} \
             WHERE NOT s.\"_synqx_late\" AND CASE WHEN p.\"_synqx_nth\" IS NOT NULL THEN {} WHEN c.{current} IS NULL THEN true ELSE {} END",
            self.fresh.sql(),
            self.same_key("p", "s"),
            self.plan.only(),
            self.same_key("c", "s"),
            self.differs("p", "s"),
            self.differs("c", "s"),
            work = self.work.sql(),
            current = self.current,
        )
    }

    /// Late rows that say what is stored for their time.
    fn count_known(&self) -> String {
        format!(
            "SELECT count(*) FROM {} AS s WHERE s.\"_synqx_late\" AND EXISTS (SELECT FROM {} AS t WHERE {} \
             AND t.{from} <= s.\"_synqx_at\" AND (t.{to} IS NULL OR t.{to} > s.\"_synqx_at\") AND NOT ({}))",
            self.work.sql(),
            self.plan.only(),
            self.same_key("t", "s"),
            self.differs("t", "s"),
            from = self.from,
            to = self.to,
        )
    }

    /// Late rows that say something else than the stored version of the same time.
    fn count_clashes(&self) -> String {
        format!(
            "SELECT count(*) FROM {} AS s JOIN {} AS t ON {} AND t.{} = s.\"_synqx_at\" WHERE s.\"_synqx_late\" AND ({})",
            self.work.sql(),
            self.plan.only(),
            self.same_key("t", "s"),
            self.from,
            self.differs("t", "s"),
        )
    }

    fn count_broken(&self) -> String {
        format!(
            "SELECT count(*) FROM (SELECT FROM {} WHERE {} GROUP BY {} HAVING count(*) > 1) AS d",
            self.plan.only(),
            self.current,
            self.key()
        )
    }

    /// Ends the current versions of keys that get a new one.
    fn close(&self) -> String {
        format!(
            "UPDATE {} AS t SET {} = f.\"_synqx_at\", {current} = false FROM (SELECT {key}, min(\"_synqx_at\") AS \"_synqx_at\" FROM {} GROUP BY {key}) AS f \
             WHERE {} AND t.{current}",
            self.plan.only(),
            self.to,
            self.fresh.sql(),
            self.same_key("t", "f"),
            key = self.key(),
            current = self.current,
        )
    }

    /// Each new version holds until the next one of its key.
    fn open(&self) -> String {
        let columns = quote_all(self.arrived());
        format!(
            "INSERT INTO {} ({columns}, {}, {}, {}){} SELECT {columns}, \"_synqx_at\", lead(\"_synqx_at\") OVER w, lead(\"_synqx_at\") OVER w IS NULL \
             FROM {} WINDOW w AS (PARTITION BY {} ORDER BY \"_synqx_at\")",
            self.plan.table.sql(),
            self.from,
            self.to,
            self.current,
            sql::overriding(self.plan),
            self.fresh.sql(),
            self.key()
        )
    }

    /// Current versions whose key does not arrive.
    fn missing(&self) -> String {
        format!(
            "t.{} AND NOT EXISTS (SELECT FROM {} AS s WHERE {})",
            self.current,
            sql::staged(self.plan, self.staging),
            self.same_key("t", "s")
        )
    }

    fn close_missing(&self) -> String {
        format!(
            "UPDATE {} AS t SET {} = {}, {} = false WHERE {}",
            self.plan.only(),
            self.to,
            self.at(),
            self.current,
            self.missing()
        )
    }
}

/// What publishing will run, in order.
pub(super) fn statements(plan: &WritePlan, target: &Target, staging: &TableName) -> Vec<String> {
    let history = History::new(plan, target, staging);
    let mut statements = vec![history.make_work(), history.make_fresh()];
    if target.scd2.close_missing {
        statements.push(history.close_missing());
    }
    statements.extend([history.close(), history.open()]);
    statements
}

/// Brings the history up to what arrived. Errors: `E0308`, `E0309`, `E0310`, `E0318`, `E0505`.
pub(super) async fn publish(
    plan: &WritePlan,
    target: &Target,
    session: &Session,
    staging: &TableName,
    written: u64,
) -> Result<Receipt> {
    let history = History::new(plan, target, staging);
    let label = plan.table.label();
    let doing = format!("bring the history in table `{label}` up to date");
    session.run(&format!("ANALYZE {}", staging.sql()), &doing).await?;
    publish::hold(plan, target, session, &doing).await?;
    publish::check_keys(plan, &history.versions, session, staging, &doing).await?;
    let broken = session.count(&history.count_broken(), &doing).await?;
    if broken > 0 {
        return Err(Error::new(
            Code::E0308,
            format!("{broken} keys of table `{label}` have more than one current version"),
        )
        .with_detail("This load would not know which one to close. Nothing was published.")
        .with_hint(format!(
            "leave `{}` true for one row of each key",
            target.scd2.is_current
        )));
    }
    session.run(&history.make_work(), &doing).await?;
    session.run(&history.make_fresh(), &doing).await?;
    let (work, fresh) = (history.work.sql(), history.fresh.sql());
    let told = doing.as_str();
    let count = |what: String| async move { session.count(&what, told).await };
    let chosen = count(format!("SELECT count(*) FROM {work}")).await?;
    let late = count(format!("SELECT count(*) FROM {work} WHERE \"_synqx_late\"")).await?;
    let opened = count(format!("SELECT count(*) FROM {fresh}")).await?;
    let (mut known, mut clashes) = (0, 0);
    if late > 0 {
        known = count(history.count_known()).await?;
        clashes = match target.scd2.time {
            Some(_) => count(history.count_clashes()).await?,
            None => late - known,
        };
    }
    if clashes > 0 {
        return Err(clash(target, &label, clashes));
    }
    let deleted = if target.scd2.close_missing {
        close_missing(&history, session, &doing).await?
    } else {
        0
    };
    session.execute(&history.close(), &[], &doing).await?;
    let inserted = session.execute(&history.open(), &[], &doing).await?;
    publish::accounted(plan, "versions to be inserted", opened, inserted)?;
    if plan.guarded {
        let broken = session.count(&history.count_broken(), &doing).await?;
        publish::accounted(plan, "keys with more than one current version", 0, broken)?;
    }
    session
        .run(&format!("DROP TABLE {work}, {fresh}"), &doing)
        .await?;
    Ok(Receipt {
        inserted,
        unchanged: chosen - late - opened + known,
        superseded: written - chosen + late - known,
        deleted,
        ..Receipt::default()
    })
}

/// Closes the versions whose key did not arrive, if they are not too many. Errors: `E0308`, `E0318`, `E0505`.
async fn close_missing(history: &History<'_>, session: &Session, doing: &str) -> Result<u64> {
    let (only, missing) = (history.plan.only(), history.missing());
    let stored = format!("SELECT count(*) FROM {only} AS t WHERE t.{}", history.current);
    let stored = session.count(&stored, doing).await?;
    let doomed = format!("SELECT count(*) FROM {only} AS t WHERE {missing}");
    let doomed = session.count(&doomed, doing).await?;
    history.target.check_share(doomed, stored)?;
    let later = format!(
        "SELECT count(*) FROM {only} AS t WHERE {missing} AND t.{} >= {}",
        history.from,
        history.at()
    );
    let later = session.count(&later, doing).await?;
    if later > 0 {
        return Err(clash(history.target, &history.plan.table.label(), later));
    }
    let closed = session.execute(&history.close_missing(), &[], doing).await?;
    publish::accounted(history.plan, "versions to be closed", doomed, closed)?;
    Ok(closed)
}

fn clash(target: &Target, label: &str, clashes: u64) -> Error {
    let keys = target.key.join("`, `");
    match &target.scd2.time {
        Some(time) => Error::new(
            Code::E0308,
            format!("{clashes} rows for the history in table `{label}` have the time of a stored version and other values"),
        )
        .with_detail(format!("Key `{keys}`, time `{time}`: one moment cannot have two versions. Nothing was published."))
        .with_hint("give changed rows a later time, or choose another column as `scd2.time`"),
        None => Error::new(
            Code::E0308,
            format!("{clashes} keys of the history in table `{label}` have a stored version that is later than this run"),
        )
        .with_detail(format!("The run began at {}. Nothing was published.", target.run_time()))
        .with_hint("run again; if it stays, the clock of this machine or of the one that loaded before is wrong"),
    }
}
