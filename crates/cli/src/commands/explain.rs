//! `synqx explain`: the page of an error code, or the list of all codes.
//!
//! The pages are docs/errors, compiled in; this finds the right one and shows it on a terminal.

use synqx_model::nearest::nearest;
use synqx_model::{Code, Error, Result, explain::page};

use crate::args::ExplainArgs;
use crate::render;
use crate::render::table::Table;
use crate::session::Session;

/// Explains a code.
pub(crate) fn explain(args: &ExplainArgs, session: &Session) -> Result<u8> {
    let paint = session.terminal.out_paint;
    let text = match &args.code {
        Some(text) => {
            let code = Code::parse(text).ok_or_else(|| unknown(text))?;
            render::markdown::render(page(code), paint)
        }
        None => {
            let mut table = Table::new(&["CODE", "SITUATION", ">EXIT"]);
            for code in Code::ALL {
                table.row([
                    paint.name(code.as_str()),
                    code.title().to_owned(),
                    code.exit().to_string(),
                ]);
            }
            table.render(paint)
        }
    };
    session.terminal.out(&text);
    Ok(0)
}

/// Words are looked up in the titles, numbers among the codes.
fn unknown(text: &str) -> Error {
    let error = Error::new(Code::E0114, format!("there is no error code `{text}`"));
    let word = text.trim().to_lowercase();
    let number = nearest(text.trim(), Code::ALL.iter().map(|code| code.as_str()));
    let titled = Code::ALL
        .iter()
        .find(|code| word.len() > 2 && code.title().to_lowercase().contains(&word));
    match (number, titled) {
        (Some(code), _) => error.with_hint(format!("did you mean `{code}`? `synqx explain` lists all")),
        (None, Some(code)) => error.with_hint(format!(
            "`{code}` is \"{}\"; `synqx explain` lists all",
            code.title()
        )),
        (None, None) => error.with_hint("`synqx explain` lists all codes"),
    }
}
