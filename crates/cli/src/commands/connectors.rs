//! `synqx connectors`: what this binary can read and write.
//!
//! Everything shown comes from the connectors' own specifications and configuration types.

use serde_json::Value;
use synqx_model::{Error, Result};
use synqx_sdk::registry::AnyConnector;

use crate::args::ConnectorsArgs;
use crate::render;
use crate::session::{self, Session};

/// Lists connectors, or shows one.
pub(crate) fn connectors(args: &ConnectorsArgs, session: &Session) -> Result<u8> {
    let registry = session::registry();
    let paint = session.terminal.out_paint;
    let text = match (&args.kind, args.json) {
        (Some(kind), true) => pretty(&registry.get(kind)?.config_schema())?,
        (Some(kind), false) => {
            let connector = registry.get(kind)?;
            render::connector::show(&connector.spec(), &connector.config_schema(), paint)
        }
        (None, true) => {
            let all = registry.iter().map(as_json).collect::<Result<Vec<Value>>>()?;
            pretty(&Value::Array(all))?
        }
        (None, false) => {
            let specs: Vec<_> = registry.iter().map(AnyConnector::spec).collect();
            let list = render::connector::list(&specs, paint);
            format!(
                "{list}\n{}\n",
                paint.dim("synqx connectors KIND shows limits and configuration")
            )
        }
    };
    session.terminal.out(&text);
    Ok(0)
}

fn as_json(connector: &dyn AnyConnector) -> Result<Value> {
    let mut value = serde_json::to_value(connector.spec())
        .map_err(|cause| Error::bug("a connector cannot be written as JSON").with_cause(&cause))?;
    value["config"] = connector.config_schema();
    Ok(value)
}

fn pretty(value: &Value) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|cause| Error::bug("a value cannot be written as JSON").with_cause(&cause))?;
    Ok(format!("{text}\n"))
}
