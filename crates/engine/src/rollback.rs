//! `synqx rollback`: puts back what the last `replace` with `keep_previous` of a load replaced.
//!
//! Nothing is read and no row passes the engine: the destination swaps the rows under the stream's fence. An
//! interrupted run of the document is left as it is: it reads everything again, because the position is forgotten.

use synqx_model::spec::{Operator, WriteMode};
use synqx_model::{Code, Error, PipelineSpec, Result, RunId};
use synqx_sdk::{Budget, Receipt, Role};

use crate::open::{connection, load_target};
use crate::prepare::target;
use crate::{Engine, RunOptions};

/// What a rollback did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBack {
    /// The load.
    pub node: String,
    /// Where it writes: connection and asset.
    pub target: String,
    /// Rows that are there again, and rows that went.
    pub receipt: Receipt,
}

impl Engine {
    /// Puts back what the last `replace` with `keep_previous` of a load replaced; of the only such load when none is
    /// named. Errors: `E0103`, `E0114`, `E0304`, `E03xx`.
    pub async fn rollback(
        &self,
        spec: &PipelineSpec,
        load: Option<&str>,
        options: &RunOptions,
    ) -> Result<RolledBack> {
        Box::pin(rollback(self, spec, load, options))
            .await
            .map_err(|error| self.clean(error))
    }
}

/// Rolls one load back. Errors: `E0103`, `E0105`, `E0304`, `E03xx`.
async fn rollback(
    engine: &Engine,
    spec: &PipelineSpec,
    load: Option<&str>,
    options: &RunOptions,
) -> Result<RolledBack> {
    let kept = |node: &&synqx_model::spec::Node| match &node.operator {
        Operator::Load(load) => {
            let keeps = load.replace.as_ref().is_some_and(|replace| replace.keep_previous);
            load.write == WriteMode::Replace && keeps
        }
        _ => false,
    };
    let candidates: Vec<_> = spec.nodes.iter().filter(kept).collect();
    let names = || {
        candidates
            .iter()
            .map(|node| node.id.clone())
            .collect::<Vec<_>>()
            .join("`, `")
    };
    let node = match (load, candidates.as_slice()) {
        (_, []) => {
            return Err(
                Error::new(Code::E0103, "no load of the document keeps what it replaces").with_hint(
                    "`replace: {keep_previous: true}` keeps the previous rows from the next run on",
                ),
            );
        }
        (None, [one]) => *one,
        (None, _) => {
            return Err(Error::new(Code::E0114, "several loads keep what they replace")
                .with_detail(format!("They are `{}`.", names()))
                .with_hint("say which one: `--load NODE`"));
        }
        (Some(wanted), _) => *candidates.iter().find(|node| node.id == wanted).ok_or_else(|| {
            Error::new(
                Code::E0114,
                format!("`{wanted}` is no load that keeps what it replaces"),
            )
            .with_hint(format!("name one of `{}`", names()))
        })?,
    };
    let Operator::Load(load) = &node.operator else {
        return Err(Error::bug("a load that is none"));
    };
    let work = async {
        let (name, _) = load_target(load, &node.id)?;
        let budget = Budget::new(options.memory);
        let connection = connection(engine, spec, name, Role::Destination, options, &budget).await?;
        let Some(destination) = connection.destination() else {
            return Err(
                Error::new(Code::E0115, format!("connection `{name}` cannot be written"))
                    .with_hint("load into another connection"),
            );
        };
        let target = target(spec, &node.id, load, RunId::fresh());
        Ok(RolledBack {
            node: node.id.clone(),
            target: format!("{name}.{}", target.asset),
            receipt: destination.rollback(&target).await?,
        })
    };
    work.await.map_err(|error: Error| error.at_node(&node.id))
}
