//! The rows of the crash matrix that need no server: files, SQLite, and reads into two loads that go on from a position.
//!
//! Each scenario makes what was there before, and says what readers see. How cells are killed and judged is the
//! parent's business.

use std::path::Path;

use synqx_model::Result;
use synqx_sdk::Protection;

use super::{Scenario, document, matrix, mode_keys, row_text, run_under, source_of, table_ddl};
use crate::killing::Script;
use crate::setting::{files_below, read, sorted_lines, succeed, write};

/// One file, or a folder of parts, in a mode.
pub(super) struct Files(pub(super) &'static str);

#[async_trait::async_trait]
impl Scenario for Files {
    fn name(&self) -> String {
        format!("files {}", self.0)
    }

    async fn prepare(&self, dir: &Path, _: usize) -> String {
        let keeping = if self.0.ends_with("keeping") {
            ", replace: {keep_previous: true}"
        } else {
            ""
        };
        match self.0.trim_end_matches(" keeping") {
            "file replace" => {
                write(dir, "out/o.csv", "k,v\n-1,old\n");
                document(
                    "{type: local_file, path: ./out}",
                    &format!("asset: o.csv, write: replace{keeping}"),
                )
            }
            mode => {
                let first = document(
                    "{type: local_file, path: ./out}",
                    "asset: parts/, write: append, options: {format: csv}",
                )
                .replace("name: crash", "name: earlier")
                .replace("src.csv", "old.csv");
                write(dir, "in/old.csv", "k,v\n100,old\n");
                succeed(dir, &first).await;
                let mode = mode.trim_start_matches("folder ");
                document(
                    "{type: local_file, path: ./out}",
                    &format!("asset: parts/, write: {mode}{keeping}, options: {{format: csv}}"),
                )
            }
        }
    }

    fn protections(&self) -> &'static [Protection] {
        use Protection::{Barrier, Intent, ManifestLast, OneAct, Quarantine, Rename, RunId, Sweep};
        match self.0.starts_with("file replace") {
            true => &[OneAct, Intent, RunId, Sweep, Barrier, Quarantine, Rename],
            false => &[OneAct, Intent, RunId, Sweep, Barrier, Quarantine, ManifestLast],
        }
    }

    async fn seen(&self, dir: &Path) -> Vec<Vec<String>> {
        let previous = |rows: Vec<String>| rows.into_iter().map(|row| format!("previous {row}"));
        if self.0.starts_with("file replace") {
            let mut kept = Vec::new();
            if dir.join("out/.o.csv.previous").exists() {
                kept = sorted_lines(dir, "out/.o.csv.previous");
            }
            // Two files, which are not replaced in one act: what is kept is there first.
            return vec![sorted_lines(dir, "out/o.csv"), previous(kept).collect()];
        }
        let manifest: serde_json::Value =
            serde_json::from_str(&read(dir, "out/parts/_synqx_manifest.json")).expect("JSON");
        let of = |parts: &serde_json::Value| {
            let mut rows = Vec::new();
            for part in parts.as_array().into_iter().flatten() {
                let name = format!("out/parts/{}", part["name"].as_str().expect("a name"));
                match dir.join(&name).exists() {
                    true => rows.extend(sorted_lines(dir, &name)),
                    false => rows.push("a part that is not there".to_owned()),
                }
            }
            rows
        };
        let mut rows = of(&manifest["parts"]);
        rows.extend(previous(of(&manifest["previous"]["parts"])));
        rows.sort();
        vec![rows]
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        let files = files_below(&dir.join("out"));
        if self.0.starts_with("file replace") {
            return files.into_iter().filter(|f| f.contains("tmp")).collect();
        }
        let manifest = read(dir, "out/parts/_synqx_manifest.json");
        let stray = |f: &String| {
            let name = f.rsplit('/').next().unwrap_or(f);
            f.contains("tmp") || (name.starts_with("part-") && !manifest.contains(name))
        };
        files.into_iter().filter(stray).collect()
    }
}

/// A table of SQLite, in a mode.
pub(super) struct Sqlite(pub(super) &'static str);

#[async_trait::async_trait]
impl Scenario for Sqlite {
    fn name(&self) -> String {
        format!("sqlite {}", self.0)
    }

    async fn prepare(&self, dir: &Path, _: usize) -> String {
        let db = rusqlite::Connection::open(dir.join("t.db")).expect("a database");
        db.execute_batch(table_ddl(self.0)).expect("a table");
        document(
            "{type: sqlite, path: ./t.db}",
            &format!("asset: t, write: {}{}", first_word(self.0), mode_keys(self.0)),
        )
    }

    fn protections(&self) -> &'static [Protection] {
        OF_TABLES
    }

    async fn seen(&self, dir: &Path) -> Vec<Vec<String>> {
        let mut rows = table(&dir.join("t.db"), "t", row_text(self.0));
        rows.extend(table(
            &dir.join("t.db"),
            "t__previous",
            "'previous ' || k || ',' || v",
        ));
        vec![rows]
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        let db = rusqlite::Connection::open(dir.join("t.db")).expect("a database");
        let mut statement =
            db.prepare("select name from sqlite_master where name like '\\_synqx%' escape '\\' and name <> '_synqx_commit' and type = 'table'").expect("a query");
        let names = statement
            .query_map([], |row| row.get::<_, String>(0))
            .expect("rows");
        names.map(|n| n.expect("a name")).collect()
    }
}

/// What can be taken away from a load into a table.
pub(super) const OF_TABLES: &[Protection] = &[
    Protection::OneAct,
    Protection::Intent,
    Protection::RunId,
    Protection::Sweep,
    Protection::Barrier,
    Protection::Quarantine,
];

pub(super) fn first_word(mode: &str) -> &str {
    mode.split(' ').next().unwrap_or(mode)
}

/// The rows of a table as text, sorted; none when it is not there.
pub(super) fn table(file: &Path, name: &str, text: &str) -> Vec<String> {
    let db = rusqlite::Connection::open(file).expect("a database");
    let exists = format!("select count(*) from sqlite_schema where name = '{name}'");
    let tables: i64 = db.query_row(&exists, [], |row| row.get(0)).expect("a count");
    if tables == 0 {
        return Vec::new();
    }
    let mut statement = db
        .prepare(&format!("select {text} from {name}"))
        .expect("a query");
    let rows = statement
        .query_map([], |row| row.get::<_, String>(0))
        .expect("rows");
    let mut rows: Vec<String> = rows.map(|row| row.expect("a row")).collect();
    rows.sort();
    rows
}

/// A read that goes on from a position, into two databases: the second load of the document, and what both have.
fn into_two(extract: &str) -> String {
    let yaml = document("{type: sqlite, path: ./t.db}", "asset: t, write: append")
        .replace("asset: src.csv}", extract)
        .replace("nodes:", "  other: {type: sqlite, path: ./u.db}\nnodes:");
    format!("{yaml}  second: {{load: {{input: v, to: other, asset: t, write: append}}}}\n")
}

fn two_databases(dir: &Path) -> Vec<Vec<String>> {
    let of = |file| table(&dir.join(file), "t", "k || ',' || v");
    ["t.db", "u.db"].map(of).to_vec()
}

const OF_INTERVALS: &[Protection] = &[
    Protection::OneAct,
    Protection::Intent,
    Protection::RunId,
    Protection::Interval,
    Protection::Sweep,
    Protection::Barrier,
    Protection::Quarantine,
];

/// An incremental read into two databases that had half of the rows before. Tables have no key, so a row that comes
/// twice is seen. The source grows before a restart, which must not read what the dead run had not meant to; a further
/// run at the end sees whether the positions of both loads go on from the same place.
pub(super) struct Incremental;

#[async_trait::async_trait]
impl Scenario for Incremental {
    fn name(&self) -> String {
        "incremental, two loads".to_owned()
    }

    fn protections(&self) -> &'static [Protection] {
        OF_INTERVALS
    }

    async fn prepare(&self, dir: &Path, size: usize) -> String {
        let yaml = into_two("asset: src.csv, sync: incremental, cursor: k}");
        source_of(dir, size / 2);
        succeed(dir, &yaml).await;
        source_of(dir, size);
        yaml
    }

    async fn seen(&self, dir: &Path) -> Vec<Vec<String>> {
        two_databases(dir)
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        Sqlite("append").leftovers(dir).await
    }

    fn meanwhile(&self, dir: &Path, size: usize) {
        source_of(dir, size + 25);
    }

    async fn later(&self, dir: &Path, size: usize) -> Result<()> {
        source_of(dir, size + 50);
        run_under(dir, &Script::default().into()).await
    }
}

/// New files into two databases that had the first file before. The file killed over is `src.csv`; others follow.
pub(super) struct NewFiles;

#[async_trait::async_trait]
impl Scenario for NewFiles {
    fn name(&self) -> String {
        "new files, two loads".to_owned()
    }

    fn protections(&self) -> &'static [Protection] {
        OF_INTERVALS
    }

    async fn prepare(&self, dir: &Path, size: usize) -> String {
        let yaml = into_two("asset: \"*.csv\", sync: incremental}");
        std::fs::remove_file(dir.join("in/src.csv")).expect("a file");
        write(dir, "in/z.csv", "k,v\n100001,first\n");
        succeed(dir, &yaml).await;
        source_of(dir, size);
        yaml
    }

    async fn seen(&self, dir: &Path) -> Vec<Vec<String>> {
        two_databases(dir)
    }

    async fn leftovers(&self, dir: &Path) -> Vec<String> {
        Sqlite("append").leftovers(dir).await
    }

    fn meanwhile(&self, dir: &Path, _: usize) {
        // A file that is written again is another file.
        if !dir.join("in/b.csv").exists() {
            write(dir, "in/b.csv", "k,v\n100003,meanwhile\n");
        }
    }

    async fn later(&self, dir: &Path, size: usize) -> Result<()> {
        self.meanwhile(dir, size);
        write(dir, "in/a.csv", "k,v\n100002,late\n");
        run_under(dir, &Script::default().into()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_new_files_have_no_hole() {
    matrix(&NewFiles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn incremental_runs_have_no_hole() {
    matrix(&Incremental).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_no_hole() {
    for mode in FILE_MODES {
        matrix(&Files(mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_has_no_hole() {
    for mode in ["append", "replace", "replace keeping", "upsert"] {
        matrix(&Sqlite(mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_has_no_hole_in_modes_that_delete_or_keep_history() {
    for mode in ["delete_insert", "mirror", "scd2"] {
        matrix(&Sqlite(mode)).await;
    }
}

/// What can be done to files.
pub(super) const FILE_MODES: [&str; 5] = [
    "file replace",
    "file replace keeping",
    "folder append",
    "folder replace",
    "folder replace keeping",
];
