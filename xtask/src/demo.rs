//! `cargo x demo`: the main job on shipped data, for someone who has just cloned the repository.
//!
//! It needs no server and nothing but the toolchain: it builds the binary, runs one example in a fresh copy and
//! shows what came out. It is not a test: `examples.rs` compares every example with its expected output.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::failure::{Explain, Result};
use crate::{cli_binary, process, workspace};

/// The example that is shown, relative to the root.
const EXAMPLE: &str = "examples/flights";
/// The data it reads as `../data`, relative to the root.
const DATA: &str = "examples/data";
/// Where the copies live. The folder ignores itself, so git never sees it.
const FOLDER: &str = ".demo";
/// Where the example's copy is run.
const COPY: &str = ".demo/flights";
/// The pipeline, relative to the copy.
const PIPELINE: &str = "pipeline.yaml";
/// What is shown afterwards, relative to the copy.
const SHOWN: &str = "output";

pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let copy = root.join(COPY);
    println!("1. building synqx (dev profile; the first time takes some minutes)");
    let binary = cli_binary::build(&root)?;
    println!("2. copying {EXAMPLE} to {COPY}");
    workspace::copy_fresh(&root.join(EXAMPLE), &copy)?;
    workspace::copy_fresh(&root.join(DATA), &root.join(FOLDER).join("data"))?;
    fs::write(root.join(FOLDER).join(".gitignore"), "*\n")
        .explain(|| format!("cannot write {FOLDER}/.gitignore"))?;
    println!("3. synqx run {PIPELINE}");
    process::run(Command::new(&binary).current_dir(&copy).args(["run", PIPELINE]))?;
    let mut written: Vec<_> = fs::read_dir(copy.join(SHOWN))
        .explain(|| format!("the run wrote no {COPY}/{SHOWN}"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        // Hidden files are the record and the lock beside an output.
        .filter(|path| path.is_file() && !is_hidden(path))
        .collect();
    written.sort();
    let mut step = 3;
    for path in written {
        let Some(name) = path.file_name() else { continue };
        let shown = format!("{SHOWN}/{}", name.to_string_lossy());
        step += 1;
        println!("{step}. synqx preview {shown}");
        process::run(Command::new(&binary).current_dir(&copy).args(["preview", &shown]))?;
    }
    println!("Done. The pipeline is {COPY}/{PIPELINE}: change it and run it again.");
    Ok(())
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
