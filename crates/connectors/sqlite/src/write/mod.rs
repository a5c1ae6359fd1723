//! The writing part: decide (`shape`), fence and record (`ledger`), stage and load (`load`), publish (`publish`),
//! tell which row of a key is newer (`newest`). `slices`, `mirror` and `history` publish those modes, `rollback` puts a
//! replaced version back.
//!
//! Rows go into a staging table of the same file in short transactions, so the file's one write lock is free between
//! batches and a newer run can take the fence. One transaction then publishes rows, position and fence together.

mod history;
mod ledger;
mod load;
mod mirror;
mod newest;
mod publish;
mod rollback;
mod shape;
mod slices;

use async_trait::async_trait;
use synqx_model::{Result, StreamKey};
use synqx_sdk::{Committed, Destination, FenceClaim, Limits, Load, Preparation, Receipt, Target};

use crate::Sqlite;
use crate::catalog;

use ledger::Failure;
pub(crate) use shape::limits;

#[async_trait]
impl Destination for Sqlite {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn committed(&self, _: &str, stream: &StreamKey) -> Result<Option<Committed>> {
        let stream = stream.clone();
        self.file
            .run(move |file| {
                if !file.exists() {
                    return Ok(None);
                }
                let connection = file.open_to_inspect()?;
                ledger::committed(&connection, &stream).map_err(|failure| match failure {
                    Failure::Sqlite(error) => file.error(&error, "read the last commit in"),
                    Failure::Coded(error) => error,
                })
            })
            .await
    }

    async fn prepare(&self, target: &Target, _dry: bool) -> Result<Preparation> {
        let target = target.clone();
        self.file
            .run(move |file| {
                if !file.exists() {
                    file.check_folder()?;
                    return Ok(shape::plan_shape(None, &target, Vec::new())?.preparation("absent".to_owned()));
                }
                let connection = file.open_to_inspect()?;
                let name = catalog::table_name(&target.asset);
                let look = || {
                    let table = catalog::table(&connection, &name)?;
                    Ok((
                        table,
                        catalog::dependents(&connection, &name)?,
                        catalog::fingerprint(&connection, &name)?,
                    ))
                };
                let (table, dependents, fingerprint) =
                    look().map_err(|e| file.error(&e, "read the catalog of"))?;
                Ok(shape::plan_shape(table, &target, dependents)?.preparation(fingerprint))
            })
            .await
    }

    async fn begin(
        &self,
        target: &Target,
        prepared: &Preparation,
        claim: FenceClaim,
    ) -> Result<Box<dyn Load>> {
        Ok(Box::new(
            Box::pin(load::begin(&self.file, &self.env, target, prepared, claim)).await?,
        ))
    }

    async fn rollback(&self, target: &Target) -> Result<Receipt> {
        let (target, probe) = (target.clone(), std::sync::Arc::clone(&self.env.probe));
        self.file
            .run(move |file| rollback::rollback(file, &target, probe.as_ref()))
            .await
    }
}
