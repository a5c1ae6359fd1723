//! `synqx doctor`: is this machine, and is each connection, fit for a run?
//!
//! Changes nothing but for a file that is made and removed at once, the only way to know that a folder can be
//! written.

use std::path::Path;

use synqx_engine::RunOptions;
use synqx_model::size::human_bytes;
use synqx_model::{ByteSize, Code, Error, Result};
use synqx_sdk::Finding;

use super::check::connections;
use crate::args::DoctorArgs;
use crate::render::check::render_all;
use crate::session::{self, Session};
use crate::{document, machine};

/// Files that a run of some connections and spill files may have open.
const ENOUGH_FILES: u64 = 1024;
/// Spilling less than this much is not worth starting.
const ENOUGH_SPACE: u64 = 1 << 30;

/// Looks at the machine and, with a document, at its connections.
pub(crate) async fn doctor(args: &DoctorArgs, session: &Session) -> Result<u8> {
    let document = args
        .file
        .as_deref()
        .map(|file| document::load(Some(file)))
        .transpose()?;
    let base = document
        .as_ref()
        .map_or(Path::new("."), |document| &document.base_dir);
    let options = session::options(base, &args.resources)?;
    let paint = session.terminal.out_paint;
    let findings = this_machine(&options);
    let mut code = if findings.iter().all(|f| f.ok) {
        0
    } else {
        Code::E0503.exit()
    };
    session
        .terminal
        .out(&render_all("this machine", &findings, paint));
    if let Some(document) = &document {
        let engine = session.engine(&session::absolute(base))?;
        for checked in connections(&engine, &document.spec, &options).await {
            session.terminal.out(&format!(
                "\n{}",
                render_all(&checked.title, &checked.findings, paint)
            ));
            if checked.findings.iter().any(|finding| !finding.ok) {
                code = if code == 0 {
                    checked.code.exit()
                } else {
                    code.min(checked.code.exit())
                };
            }
        }
    }
    Ok(code)
}

fn this_machine(options: &RunOptions) -> Vec<Finding> {
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![
        Finding::good(
            "synqx",
            format!("{}, {system}, {cores} cores", env!("CARGO_PKG_VERSION")),
        ),
        memory(options.memory),
        folder(
            "temporary folder",
            &std::env::temp_dir(),
            "set TMPDIR to a folder with space that can be written",
        ),
        folder(
            "state folder",
            &options.state_dir,
            "name a folder that can be written: `--state DIR`",
        ),
        open_files(),
    ]
}

fn memory(budget: ByteSize) -> Finding {
    match machine::memory() {
        Some(total) if budget.0 > total / 4 * 3 => {
            let error = Error::new(
                Code::E0804,
                format!(
                    "the budget of {budget} is more than three quarters of {}",
                    human_bytes(total)
                ),
            );
            let half = ByteSize((total / 2) >> 20 << 20);
            Finding::bad(
                "memory",
                &error.with_hint(format!("run with less: `--memory {half}`")),
            )
        }
        Some(total) => Finding::good("memory", format!("budget {budget} of {}", human_bytes(total))),
        None => Finding::good(
            "memory",
            format!("budget {budget}; this system does not say what there is"),
        ),
    }
}

fn folder(name: &str, path: &Path, hint: &str) -> Finding {
    let existing = machine::existing_ancestor(path);
    let shown = path.display();
    if let Err(cause) = machine::try_write(existing) {
        let error = Error::new(Code::E0503, format!("`{shown}` cannot be written")).with_hint(hint);
        return Finding::bad(name, &error.with_cause(&cause));
    }
    let made = if existing == path {
        ""
    } else {
        ", made by the first run"
    };
    match machine::free_space(existing) {
        Some(free) if free < ENOUGH_SPACE => {
            let error = Error::new(
                Code::E0806,
                format!("`{shown}` has only {} free", human_bytes(free)),
            );
            Finding::bad(name, &error.with_hint(hint))
        }
        Some(free) => Finding::good(name, format!("{shown}, {} free{made}", human_bytes(free))),
        None => Finding::good(name, format!("{shown}{made}")),
    }
}

fn open_files() -> Finding {
    match machine::open_files() {
        Some(files) if files < ENOUGH_FILES => {
            let error = Error::new(Code::E0503, format!("only {files} files may be open at once"));
            Finding::bad(
                "open files",
                &error.with_hint(format!("raise the limit: `ulimit -n {}`", ENOUGH_FILES * 4)),
            )
        }
        Some(files) => Finding::good("open files", format!("up to {files}")),
        None => Finding::good("open files", "this system does not say how many may be open"),
    }
}
