//! An error as a person sees it: number, node, message, then detail, hint and where to read more.
//!
//! Several errors found together are all shown. `synqx explain` is offered once per code, below its first
//! error.

use synqx_model::code::Blame;
use synqx_model::{Code, Error};

use super::paint::Paint;

/// The error and all that were found with it, ending in a line break.
pub(crate) fn render(error: &Error, verbose: bool, paint: Paint) -> String {
    let mut out = String::new();
    let count = error.iter().count();
    for (i, one) in error.iter().enumerate() {
        out.push_str(&render_one(one, verbose, paint));
        let last_of_code = !error.iter().skip(i + 1).any(|later| later.code() == one.code());
        if last_of_code {
            out.push_str(&format!(
                "  {}\n",
                paint.dim(&format!("synqx explain {}", one.code()))
            ));
        }
    }
    if count > 1 {
        out.push_str(&format!("{}\n", paint.bold(&format!("{count} errors"))));
    }
    out
}

fn render_one(error: &Error, verbose: bool, paint: Paint) -> String {
    let mut out = format!("{} {}", paint.bad("error"), paint.bold(error.code().as_str()));
    if let Some(node) = error.node() {
        out.push_str(&format!(" [{}]", paint.name(node)));
    }
    out.push_str(&format!(" {}\n", error.message()));
    for (word, text) in [("detail", error.detail()), ("hint", error.hint())] {
        if let Some(text) = text {
            out.push_str(&labelled(word, text, paint));
        }
    }
    if let Some(cause) = error.cause().filter(|_| verbose || is_only_reason(error)) {
        out.push_str(&labelled("cause", cause, paint));
    }
    out
}

/// What the system said is what a person needs when nothing else says why. Never where it could quote a row.
fn is_only_reason(error: &Error) -> bool {
    let of_the_system = error.code().blame() == Blame::External
        || matches!(error.code(), Code::E0114 | Code::E0211 | Code::E0313);
    of_the_system && error.detail().is_none()
}

/// `  hint: text`, further lines indented below the first.
fn labelled(word: &str, text: &str, paint: Paint) -> String {
    let mut lines = text.lines();
    let mut out = format!(
        "  {} {}\n",
        paint.warn(&format!("{word}:")),
        lines.next().unwrap_or_default()
    );
    for line in lines {
        out.push_str(&format!("  {}  {line}\n", " ".repeat(word.len())));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_every_error_and_each_page_once() {
        let first = Error::new(Code::E0102, "unknown key `a`")
            .with_hint("did you mean `b`?")
            .at_node("n");
        let second = Error::new(Code::E0102, "unknown key `c`").with_detail("Two.\nLines.");
        let text = render(&Error::all([first, second]).expect("two"), false, Paint::off());
        assert_eq!(
            text,
            "error E0102 [n] unknown key `a`\n  hint: did you mean `b`?\nerror E0102 unknown key `c`\n  detail: Two.\n          Lines.\n  synqx explain E0102\n2 errors\n"
        );
    }

    #[test]
    fn shows_the_cause_when_asked() {
        let error = Error::new(Code::E0113, "no").with_cause(&std::io::Error::other("the disk said so"));
        assert!(!render(&error, false, Paint::off()).contains("disk"));
        assert!(render(&error, true, Paint::off()).contains("  cause: the disk said so\n"));
    }
}
