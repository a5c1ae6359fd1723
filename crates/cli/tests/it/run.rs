//! Running a document: what is written, what is said on which stream, how it ends.
//!
//! The document is the one `synqx init` writes, so these tests also keep that example true.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use synqx_model::event::{Event, EventKind};

use crate::{example, output, stderr, stdout, synqx};

#[test]
fn the_example_runs_from_start_to_end() {
    let folder = example();
    let ran = output(folder.path(), &["run"]);
    let words = stderr(&ran);
    assert_eq!(ran.status.code(), Some(0), "{words}");
    assert_eq!(stdout(&ran), "");
    let written =
        std::fs::read_to_string(folder.path().join("output/orders_by_country.csv")).expect("written");
    assert_eq!(written.lines().count(), 3, "{written}");
    for part in [
        "succeeded with warnings",
        "quarantined: .synqx/quarantine/",
        "record: .synqx/run.json",
        "1 row",
    ] {
        assert!(words.contains(part), "lacks {part}:\n{words}");
    }
    let shown = stdout(&output(
        folder.path(),
        &["preview", "output/orders_by_country.csv"],
    ));
    assert!(shown.starts_with("country  orders"), "{shown}");
}

#[test]
fn events_are_json_lines_and_nothing_else() {
    let folder = example();
    let ran = output(folder.path(), &["run", "--json"]);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert_eq!(stderr(&ran), "");
    let events: Vec<Event> = stdout(&ran)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    assert!(events.iter().zip(1..).all(|(event, seq)| event.seq == seq));
    let record = std::fs::read_to_string(folder.path().join(".synqx/run.json")).expect("run.json");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert!(
        events.iter().all(|event| record["run"] == event.run.to_string()),
        "events name another run"
    );
    assert!(matches!(
        events.first().map(|e| &e.kind),
        Some(EventKind::RunStarted { .. })
    ));
    assert!(matches!(
        events.last().map(|e| &e.kind),
        Some(EventKind::RunFinished { error: None, .. })
    ));
}

#[test]
fn quiet_says_nothing_but_errors() {
    let folder = example();
    let ran = output(folder.path(), &["run", "--quiet"]);
    assert_eq!((stdout(&ran), stderr(&ran)), (String::new(), String::new()));
    std::fs::remove_file(folder.path().join("input/orders.csv")).expect("removed");
    let failed = output(folder.path(), &["run", "--quiet"]);
    assert_eq!(failed.status.code(), Some(4));
    assert!(
        stderr(&failed).starts_with("error E0204 [orders]"),
        "{}",
        stderr(&failed)
    );
}

#[test]
fn plan_changes_nothing() {
    let folder = example();
    let planned = output(folder.path(), &["plan"]);
    let words = stdout(&planned);
    assert!(planned.status.success(), "{}", stderr(&planned));
    for part in [
        "Layers",
        "columns    2 of 3",
        "guarantee  exactly once",
        "at commit",
        "nothing was changed",
    ] {
        assert!(words.contains(part), "lacks {part}:\n{words}");
    }
    assert!(!folder.path().join("output").exists());
    assert!(!folder.path().join(".synqx").exists());
    let json = stdout(&output(folder.path(), &["plan", "--json"]));
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(report["loads"][0]["node"], "out");
}

#[test]
fn exit_codes_say_where_to_look() {
    for (from, to, code) in [
        ("valid:", "valid: {}\n  valid2:", 2),
        ("o.amount", "o.amuont", 3),
        ("orders.csv }", "odrers.csv }", 4),
        ("on_fail: quarantine", "on_fail: fail", 8),
    ] {
        let folder = example();
        change(folder.path(), from, to);
        let ran = output(folder.path(), &["run"]);
        assert_eq!(ran.status.code(), Some(code), "{to}:\n{}", stderr(&ran));
        assert!(!folder.path().join("output/orders_by_country.csv").exists());
    }
}

#[test]
fn check_finds_problems_of_document_and_connections_at_once() {
    let folder = example();
    assert_eq!(output(folder.path(), &["check"]).status.code(), Some(0));
    change(folder.path(), "path: ./input", "path: ./inptu");
    let refused = output(folder.path(), &["check"]);
    assert_eq!(refused.status.code(), Some(4), "{}", stderr(&refused));
    assert!(stdout(&refused).contains("✗ path"), "{}", stdout(&refused));
    assert!(stderr(&refused).contains("[orders]") && stderr(&refused).contains("[customers]"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_cleanly_with_its_own_exit_code() {
    let folder = example();
    let rows: String = (0..400_000)
        .map(|i| format!("{i},10,1.00,2026-01-03T09:15:00\n"))
        .collect();
    let orders = format!("order_id,customer_id,amount,ordered_at\n{rows}");
    std::fs::write(folder.path().join("input/orders.csv"), orders).expect("written");
    let mut child = synqx(folder.path(), &["run"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let first = lines.next().expect("a line").expect("text");
    assert!(first.contains("5 steps"), "{first}");
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(killed.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = child.wait().expect("ends");
    assert_eq!(status.code(), Some(7), "{}", rest.join("\n"));
    assert!(
        rest.iter().any(|line| line.starts_with("stopping cleanly")),
        "{}",
        rest.join("\n")
    );
    assert!(
        rest.iter().any(|line| line.starts_with("error E0701")),
        "{}",
        rest.join("\n")
    );
    assert!(!folder.path().join("output/orders_by_country.csv").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = example();
    let mut explain = synqx(folder.path(), &["explain"]);
    let mut child = explain
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    let mut words = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut words)
        .expect("text");
    assert!(child.wait().expect("ends").success());
    assert_eq!(words, "");
}

/// Whoever watched is gone, the rows still have to arrive.
#[test]
fn a_run_nobody_watches_any_more_still_moves_its_rows() {
    for arguments in [&["run", "--json"][..], &["run"][..]] {
        let folder = example();
        let mut run = synqx(folder.path(), arguments);
        let mut child = run
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().expect("ends").code(), Some(0), "{arguments:?}");
        let written = folder.path().join("output/orders_by_country.csv");
        assert!(written.exists(), "{arguments:?} ended well and wrote nothing");
    }
}

#[test]
fn an_output_that_is_lost_on_a_full_disk_is_told_and_the_rows_arrive() {
    let folder = example();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a full device");
    let ran = synqx(folder.path(), &["run", "--json"])
        .stdout(full)
        .output()
        .expect("starts");
    assert_eq!(ran.status.code(), Some(2));
    assert!(stderr(&ran).contains("E0117"), "{}", stderr(&ran));
    assert!(folder.path().join("output/orders_by_country.csv").exists());
}

fn change(folder: &Path, from: &str, to: &str) {
    let path = folder.join("pipeline.yaml");
    let text = std::fs::read_to_string(&path).expect("there");
    assert!(text.contains(from), "the example has no {from}");
    std::fs::write(path, text.replace(from, to)).expect("written");
}
