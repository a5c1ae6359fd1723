//! Writing: `prepare` looks and decides, `begin` takes the fence, lanes copy, `commit` publishes once.
//!
//! `plan` decides columns and path, `design` new tables, `ties` what other objects allow, `sql` renders statements, `actions` prints them,
//! `load` is the life of one load, `publish` what a commit does on each path, `swap` the replacement of a table by
//! rename, `slices`, `mirror` and `history` what publishes those modes, `rollback` puts a replaced version back,
//! `sequences` lets serial columns go on where the rows end. Rows, position and fence are one transaction.

mod actions;
mod design;
mod history;
mod load;
mod mirror;
mod plan;
mod publish;
mod rollback;
mod sequences;
mod slices;
mod sql;
mod swap;
mod ties;

pub(crate) use plan::Written;

use async_trait::async_trait;
use synqx_model::spec::SchemaPolicy;
use synqx_model::{Code, Error, Result, StreamKey};
use synqx_sdk::{
    Action, Committed, Delivery, Destination, FenceClaim, Limits, Load, Preparation, Receipt, Target,
};

use crate::client::{Scope, Session};
use crate::connection::Database;
use crate::names::{TableName, advisory};

#[async_trait]
impl Destination for Database {
    fn limits(&self) -> &Limits {
        self.limits_record()
    }

    async fn committed(&self, asset: &str, stream: &StreamKey) -> Result<Option<Committed>> {
        let link = self.link();
        let session = Session::connect(link, Scope::Catalog).await?;
        let table = TableName::parse(asset, &link.settings.schema)?;
        load::committed(&session, &table, stream).await
    }

    async fn prepare(&self, target: &Target, dry: bool) -> Result<Preparation> {
        let link = self.link();
        let session = Session::connect(link, Scope::Catalog).await?;
        let mut plan = Box::pin(plan::plan(&session, link, target)).await?;
        let mut actions: Vec<Action> = Vec::new();
        let record = sql::create_record(&plan.table);
        actions.push(Action {
            text: record,
            when: "prepare",
        });
        actions.extend(plan.made.types.iter().chain(&plan.alters).map(|text| Action {
            text: text.clone(),
            when: "prepare",
        }));
        actions.extend(actions::later_actions(&plan, target));
        if !dry {
            ensure_record(&session, &plan.table).await?;
            if !plan.made.types.is_empty() {
                let doing = format!("make the types of table `{}`", plan.table.label());
                let make = format!("BEGIN; {}; COMMIT", plan.made.types.join("; "));
                session.run(&make, &doing).await?;
            }
            if !plan.alters.is_empty() {
                let doing = format!("change the columns of table `{}`", plan.table.label());
                session
                    .run(&format!("BEGIN; {}; COMMIT", plan.alters.join("; ")), &doing)
                    .await?;
                plan = Box::pin(plan::plan(&session, link, target)).await?;
                if !plan.alters.is_empty() && target.policy == SchemaPolicy::Evolve {
                    return Err(Error::bug("the target's columns were changed and still differ"));
                }
            }
        }
        Ok(Preparation {
            path: plan.path,
            why: plan.why.clone(),
            lanes: plan.lanes,
            raw: plan.raw,
            delivery: Delivery::ExactlyOnce,
            actions,
            columns: plan.held.clone(),
            notes: plan.notes.clone(),
            fingerprint: plan.fingerprint.clone(),
        })
    }

    async fn begin(
        &self,
        target: &Target,
        prepared: &Preparation,
        claim: FenceClaim,
    ) -> Result<Box<dyn Load>> {
        let link = self.link();
        let session = Session::connect(link, Scope::Catalog).await?;
        let plan = Box::pin(plan::plan(&session, link, target)).await?;
        let changed = plan.fingerprint != prepared.fingerprint || !plan.alters.is_empty();
        let (label, _) = (plan.table.label(), session.enter(link, Scope::Data).await?);
        let load = Box::pin(load::TableLoad::begin(link, session, plan, target, claim)).await?;
        // After a lost answer the table has changed because this run's own commit changed it.
        let own = load
            .committed()
            .is_some_and(|committed| committed.run == target.run);
        if changed && !own {
            Box::new(load).abort().await?;
            let what = format!("table `{label}` is no longer as it was when the run was prepared");
            return Err(Error::new(Code::E0311, what).with_hint("run again: the plan is made anew"));
        }
        Ok(Box::new(load))
    }

    async fn rollback(&self, target: &Target) -> Result<Receipt> {
        Box::pin(rollback::rollback(self.link(), target)).await
    }
}

/// Makes the record table unless it is there. Two runs at once make one: an advisory lock orders them.
pub(crate) async fn ensure_record(session: &Session, table: &TableName) -> Result<()> {
    let record = sql::record_table(table);
    let doing = format!("make the table `{}` that holds positions", record.label());
    let exists = session
        .query(
            "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
            &[(&record.schema, tokio_postgres::types::Type::TEXT), (&record.name, tokio_postgres::types::Type::TEXT)],
            &doing,
        )
        .await?;
    if !exists.is_empty() {
        return Ok(());
    }
    let lock = advisory(&record.sql());
    let make = format!(
        "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock({lock}); {}; COMMIT",
        sql::create_record(table)
    );
    session.run(&make, &doing).await
}
