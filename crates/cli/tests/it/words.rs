//! Help, explanations and errors: the words are part of the product.
//!
//! Nothing here moves a row. Streams and exit codes of runs are in `run`.

use synqx_model::{Code, explain::page};

use crate::{example, output, stderr, stdout, synqx};

const VERBS: [&str; 11] = [
    "run",
    "plan",
    "check",
    "cp",
    "init",
    "discover",
    "preview",
    "connectors",
    "explain",
    "doctor",
    "completions",
];

#[test]
fn every_verb_has_help_with_examples() {
    let folder = tempfile::tempdir().expect("a folder");
    let top = stdout(&output(folder.path(), &["--help"]));
    for verb in VERBS {
        assert!(
            top.contains(&format!("\n  {verb} ")),
            "--help lacks {verb}:\n{top}"
        );
        let help = output(folder.path(), &[verb, "--help"]);
        assert!(help.status.success());
        let text = stdout(&help);
        assert!(
            text.contains("Examples:") && text.contains(&format!("synqx {verb}")),
            "{verb}:\n{text}"
        );
    }
    assert!(!top.contains("internal"), "{top}");
}

#[test]
fn explains_every_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = stdout(&output(folder.path(), &["explain"]));
    for code in Code::ALL {
        assert!(
            list.contains(code.as_str()) && list.contains(code.title()),
            "{code}"
        );
        let explained = output(folder.path(), &["explain", code.as_str()]);
        assert!(explained.status.success());
        let text = stdout(&explained);
        assert!(text.starts_with(&format!("{code}: {}", code.title())), "{text}");
        assert!(page(*code).len() / 2 < text.len(), "{code} lost its text");
    }
    let lower = stdout(&output(folder.path(), &["explain", "0204"]));
    assert!(lower.starts_with("E0204"));
}

#[test]
fn an_unknown_code_gets_the_nearest() {
    let folder = tempfile::tempdir().expect("a folder");
    let unknown = output(folder.path(), &["explain", "E02O4"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        stderr(&unknown).contains("did you mean `E0204`?"),
        "{}",
        stderr(&unknown)
    );
}

#[test]
fn a_missing_document_gets_the_nearest_name() {
    let folder = example();
    let missing = output(folder.path(), &["run", "pipline.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert_eq!(
        stderr(&missing),
        "error E0113 document `pipline.yaml` not found\n  hint: did you mean `pipeline.yaml`?\n  synqx explain E0113\n"
    );
}

#[test]
fn a_bad_document_shows_all_its_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "name: x\nnodez: 1\nnodes:\n  a: { extrct: { from: b } }\n  c: { filter: { input: a } }\n";
    std::fs::write(folder.path().join("bad.yaml"), text).expect("written");
    let refused = output(folder.path(), &["check", "bad.yaml"]);
    assert_eq!(refused.status.code(), Some(2));
    let words = stderr(&refused);
    for part in [
        "unknown key `nodez`",
        "`extract`",
        "lacks the key `where`",
        "3 errors",
        "synqx explain E0102",
    ] {
        assert!(words.contains(part), "lacks {part}:\n{words}");
    }
}

#[test]
fn wrong_options_are_errors_of_the_house() {
    let folder = example();
    for (arguments, wanted) in [
        (vec!["run", "--memroy", "1GiB"], "did you mean `--memory`?"),
        (vec!["rnu"], "did you mean `run`?"),
        (
            vec!["run", "--memory", "96megs"],
            "cannot read `96megs` as a size",
        ),
        (vec!["cp", "a.csv"], "`<DST>` is missing"),
        (
            vec!["cp", "a.csv", "b.csv", "--mode", "xyz"],
            "use one of `append`",
        ),
        (vec!["run", "--json", "--quiet"], "exclude each other"),
    ] {
        let refused = output(folder.path(), &arguments);
        let words = stderr(&refused);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(
            words.starts_with("error E0114 ") && words.contains(wanted),
            "{arguments:?}:\n{words}"
        );
    }
}

#[test]
fn colours_are_for_terminals_or_when_asked_for() {
    let folder = example();
    let plain = output(folder.path(), &["run", "nope.yaml"]);
    assert!(!stderr(&plain).contains('\x1b'));
    let painted = output(folder.path(), &["run", "nope.yaml", "--color", "always"]);
    assert!(stderr(&painted).contains('\x1b'));
    let refused = synqx(folder.path(), &["run", "nope.yaml"])
        .env("NO_COLOR", "1")
        .output()
        .expect("runs");
    assert!(!stderr(&refused).contains('\x1b'));
}

#[test]
fn init_never_overwrites() {
    let folder = example();
    let before = std::fs::read(folder.path().join("pipeline.yaml")).expect("there");
    let again = output(folder.path(), &["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(
        std::fs::read(folder.path().join("pipeline.yaml")).expect("there"),
        before
    );
}

#[test]
fn connectors_show_their_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = stdout(&output(folder.path(), &["connectors"]));
    for kind in ["local_file", "postgresql", "sqlite"] {
        assert!(list.contains(kind), "{list}");
        let json = stdout(&output(folder.path(), &["connectors", kind, "--json"]));
        let schema: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let shown = stdout(&output(folder.path(), &["connectors", kind]));
        for key in schema["properties"].as_object().expect("keys").keys() {
            assert!(
                shown.contains(&format!("  {key} ")),
                "{kind} lacks {key}:\n{shown}"
            );
        }
    }
    let unknown = output(folder.path(), &["connectors", "postgres"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("`postgresql`"));
}

#[test]
fn the_generated_reference_is_current() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference");
    let folder = tempfile::tempdir().expect("a folder");
    let checked = output(folder.path(), &["internal", "gen", "--out", docs, "--check"]);
    assert!(checked.status.success(), "{}", stderr(&checked));
    let empty = output(folder.path(), &["internal", "gen", "--out", ".", "--check"]);
    assert!(
        !empty.status.success() && stderr(&empty).contains("cli.md"),
        "{}",
        stderr(&empty)
    );
}
