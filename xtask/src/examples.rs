//! Runs every folder under `examples/` and compares what it wrote with the folder's `expected/`, byte for byte.
//!
//! Examples are what newcomers copy, so each one is proved on every change. A folder holds `pipeline.yaml`,
//! `expected/`, and, when it needs a database, `setup.sql`, which is run into a fresh PostgreSQL 15 database
//! whose URL the pipeline reads as `EXAMPLE_PG_URL`. A pair `expected/q.sql` and `expected/q.csv` is a query on
//! that database and its answer. A `verify.yaml` runs after `pipeline.yaml` and turns what a query cannot see into
//! files that can be compared. Every example reads the shared `examples/data/` as `../data`. It is not a test harness for the engine: those live in the crates.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Explain, Failure, Result};
use crate::services::Server;
use crate::{cli_binary, process, services, workspace};

const FOLDER: &str = "examples";

/// Runs them all, prints a line for each, and fails when one differs.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root()?;
    let names = names(&root.join(FOLDER))?;
    if names.is_empty() {
        println!("no {FOLDER}/*/pipeline.yaml");
        return Ok(());
    }
    let binary = cli_binary::build(&root)?;
    let data = workspace::target(&root).join("example-runs").join("data");
    workspace::copy_fresh(&root.join(FOLDER).join("data"), &data)?;
    let mut wrong = 0;
    for name in &names {
        let differences = run_one(&root, &binary, name)?;
        println!("{} {name}", if differences.is_empty() { "ok  " } else { "FAIL" });
        for difference in &differences {
            println!("     {difference}");
        }
        wrong += usize::from(!differences.is_empty());
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{wrong} of {} examples differ from their expected/",
        names.len()
    )))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).explain(|| format!("cannot list {FOLDER}"))? {
        let path = entry.explain(|| format!("cannot list {FOLDER}"))?.path();
        if let (true, Some(name)) = (path.join("pipeline.yaml").is_file(), path.file_name()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What differs, in words; empty when the example is right.
fn run_one(root: &Path, binary: &Path, name: &str) -> Result<Vec<String>> {
    let source = root.join(FOLDER).join(name);
    let copy = workspace::target(root).join("example-runs").join(name);
    workspace::copy_fresh(&source, &copy)?;
    let expected = expected_files(&source.join("expected"))?;
    if expected.is_empty() {
        return Ok(vec![
            "expected/ is missing or empty: nothing would be proved".to_owned(),
        ]);
    }
    let needs_database = source.join("setup.sql").is_file() || expected.iter().any(|file| is_query(file));
    let database = if needs_database {
        Some(fresh_database(name, &source)?)
    } else {
        None
    };

    for document in ["pipeline.yaml", "verify.yaml"]
        .iter()
        .filter(|d| copy.join(d).is_file())
    {
        let mut command = Command::new(binary);
        command
            .current_dir(&copy)
            .args(["run", document])
            .env("NO_COLOR", "1");
        if let Some(url) = &database {
            command.env("EXAMPLE_PG_URL", url);
        }
        if let Err(failure) = process::capture(&mut command) {
            return Ok(vec![failure.to_string().replace('\n', "\n     ")]);
        }
    }
    let mut differences = Vec::new();
    for file in &expected {
        differences.extend(compare_one(&source, &copy, file, database.as_deref())?);
    }
    Ok(differences)
}

/// One file under `expected/`: a query's answer, or the bytes of the file with the same path in the copy.
fn compare_one(source: &Path, copy: &Path, file: &Path, database: Option<&str>) -> Result<Option<String>> {
    let expected_path = source.join("expected").join(file);
    let query = expected_path.with_extension("sql");
    if is_query(file) {
        let answer = expected_path.with_extension("csv");
        return Ok((!answer.is_file()).then(|| format!("expected/{} has no .csv beside it", file.display())));
    }
    let wanted = fs::read(&expected_path).explain(|| format!("cannot read {}", expected_path.display()))?;
    let asked = file.extension().is_some_and(|extension| extension == "csv") && query.is_file();
    let found = match (asked, database) {
        (true, Some(url)) => {
            let mut psql = services::psql(url)?;
            process::capture(psql.args(["--csv", "-f"]).arg(&query))?.into_bytes()
        }
        _ => match fs::read(copy.join(file)) {
            Ok(bytes) => bytes,
            Err(_) => return Ok(Some(format!("{}: was not written", file.display()))),
        },
    };
    Ok(difference(&wanted, &found).map(|what| format!("{}: {what}", file.display())))
}

fn is_query(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "sql")
}

fn fresh_database(name: &str, source: &Path) -> Result<String> {
    let admin = services::url(Server::Postgres15)?;
    let database: String = format!("example_{name}")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    for statement in [
        format!("drop database if exists {database} with (force)"),
        format!("create database {database}"),
    ] {
        process::capture(services::psql(&admin)?.args(["-c", &statement]))?;
    }
    let server = admin
        .rsplit_once('/')
        .map_or(admin.as_str(), |(server, _)| server);
    let url = format!("{server}/{database}");
    let setup = source.join("setup.sql");
    if setup.is_file() {
        process::capture(services::psql(&url)?.current_dir(source).arg("-f").arg(&setup))?;
    }
    Ok(url)
}

/// Every file below a folder, relative to it and sorted.
fn expected_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&inner)) else {
            continue;
        };
        for entry in entries {
            let entry = entry.explain(|| format!("cannot list {}", folder.display()))?;
            let path = inner.join(entry.file_name());
            if entry.path().is_dir() {
                open.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The first line that differs, or the kind of difference when the bytes are no text.
fn difference(wanted: &[u8], found: &[u8]) -> Option<String> {
    if wanted == found {
        return None;
    }
    let sizes = format!("{} bytes expected, {} found", wanted.len(), found.len());
    let (Ok(wanted), Ok(found)) = (std::str::from_utf8(wanted), std::str::from_utf8(found)) else {
        return Some(format!("{sizes} (not text)"));
    };
    let (mut left, mut right) = (wanted.split('\n'), found.split('\n'));
    let mut line = 1;
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Some(sizes),
            (a, b) if a == b => line += 1,
            (a, b) => {
                let (a, b) = (a.unwrap_or("(end of file)"), b.unwrap_or("(end of file)"));
                return Some(format!(
                    "{sizes}; line {line}\n       expected {a:?}\n       found    {b:?}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_first_line_that_differs() {
        assert_eq!(difference(b"a\nb\n", b"a\nb\n"), None);
        let text = difference(b"a\nb\n", b"a\nc\n").unwrap();
        assert!(
            text.contains("line 2") && text.contains("\"b\"") && text.contains("\"c\""),
            "{text}"
        );
        assert!(
            difference(b"a\n", b"a\nb\n")
                .unwrap()
                .contains("2 bytes expected, 4 found")
        );
        assert!(difference(b"a\n", b"a\r\n").unwrap().contains("line 1"));
        assert!(difference(&[0xff], &[0xfe]).unwrap().contains("not text"));
    }

    #[test]
    fn a_query_without_an_answer_is_a_difference() {
        let folder = std::env::temp_dir().join(format!("synqx-xtask-examples-{}", std::process::id()));
        fs::create_dir_all(folder.join("expected/output")).unwrap();
        fs::write(folder.join("expected/q.sql"), "select 1").unwrap();
        fs::write(folder.join("expected/output/a.csv"), "a\n1\n").unwrap();
        let files = expected_files(&folder.join("expected")).unwrap();
        assert_eq!(files, [PathBuf::from("output/a.csv"), PathBuf::from("q.sql")]);
        let missing = compare_one(&folder, &folder, Path::new("q.sql"), None).unwrap();
        assert!(missing.unwrap().contains("has no .csv"));
        let missing = compare_one(&folder, &folder, Path::new("output/a.csv"), None).unwrap();
        assert!(missing.unwrap().contains("was not written"));
        fs::remove_dir_all(folder).unwrap();
    }

    /// Stands for the binary: `sh run pipeline.yaml` runs the example's own file `run` as a script.
    const SHELL: &str = "/bin/sh";

    fn checkout(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("synqx-xtask-{name}-{}", std::process::id()));
        let folder = root.join(FOLDER).join(name);
        for (file, text) in files {
            fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            fs::write(folder.join(file), text).unwrap();
        }
        root
    }

    #[test]
    fn an_example_is_run_in_a_copy_and_compared() {
        let script = "set -e; test \"$1\" = pipeline.yaml; mkdir output; cp input/a output/b";
        let files = [
            ("pipeline.yaml", "a"),
            ("run", script),
            ("input/a", "1\n"),
            ("expected/output/b", "1\n"),
        ];
        let root = checkout("copied", &files);
        let example = root.join(FOLDER).join("copied");
        let run = || run_one(&root, Path::new(SHELL), "copied").unwrap();
        assert_eq!(names(&root.join(FOLDER)).unwrap(), ["copied"]);
        assert_eq!(run(), [""; 0]);
        assert!(
            !example.join("output").exists(),
            "the example itself was written to"
        );
        fs::write(example.join("input/a"), "2\n").unwrap();
        assert!(run()[0].starts_with("output/b: 2 bytes expected, 2 found"));
        fs::write(example.join("run"), "echo 'error E0101' >&2; exit 2").unwrap();
        assert!(run()[0].contains("error E0101"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn an_example_with_a_database_gets_a_fresh_one_and_is_asked() {
        let files = [
            ("pipeline.yaml", "a"),
            (
                "run",
                "psql -X -q \"$EXAMPLE_PG_URL\" -c 'insert into t values (7)'",
            ),
            ("setup.sql", "create table t (a int); insert into t values (1);\n"),
            ("expected/q.sql", "select a, a + 1 as b from t order by a\n"),
            ("expected/q.csv", "a,b\n1,2\n7,8\n"),
        ];
        let name = format!("asked_{}", std::process::id());
        let root = checkout(&name, &files);
        let run = || run_one(&root, Path::new(SHELL), &name).unwrap();
        // Twice: the second run must not see what the first one wrote.
        assert_eq!(run(), [""; 0]);
        assert_eq!(run(), [""; 0]);
        fs::write(root.join(FOLDER).join(&name).join("run"), "exit 0").unwrap();
        assert!(run()[0].contains("line 3"));
        let mut psql = services::psql(&services::url(Server::Postgres15).unwrap()).unwrap();
        process::capture(psql.args(["-c", &format!("drop database example_{name}")])).unwrap();
        fs::remove_dir_all(root).unwrap();
    }
}
