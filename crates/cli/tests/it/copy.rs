//! `synqx cp`: places, modes, and what it refuses.
//!
//! Files and SQLite need no server. How URLs are taken apart is tested beside `locate`.

use crate::{example, output, stderr, stdout};

#[test]
fn copies_between_files_and_a_database_and_back() {
    let folder = example();
    let at = folder.path();
    for (source, target) in [
        ("input/orders.csv", "orders.parquet"),
        ("orders.parquet", "sqlite:shop.db/orders"),
        ("sqlite:shop.db/orders", "back.csv"),
    ] {
        let copied = output(at, &["cp", source, target]);
        assert!(copied.status.success(), "{source}: {}", stderr(&copied));
        assert!(
            stderr(&copied).contains(&format!("{source} → {target} ✓ succeeded")),
            "{}",
            stderr(&copied)
        );
    }
    let shown = stdout(&output(at, &["preview", "back.csv", "--rows", "2"]));
    assert!(shown.contains("2 rows of about 6, 4 columns"), "{shown}");
}

#[test]
fn a_table_that_exists_needs_a_mode() {
    let folder = example();
    let at = folder.path();
    let line = ["cp", "input/orders.csv", "sqlite:shop.db/orders"];
    assert!(output(at, &line).status.success());
    let refused = output(at, &line);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        stderr(&refused).contains("`--mode append`"),
        "{}",
        stderr(&refused)
    );
    for (mode, rows) in [(["--mode", "append"], 12), (["--mode", "replace"], 6)] {
        let copied = output(at, &[&line[..], &mode[..]].concat());
        assert!(copied.status.success(), "{mode:?}: {}", stderr(&copied));
        let shown = stdout(&output(at, &["preview", "sqlite:shop.db/orders"]));
        assert!(shown.contains(&format!("\n{rows} rows")), "{shown}");
    }
    let upsert = output(at, &[&line[..], &["--mode", "upsert"][..]].concat());
    assert_eq!(upsert.status.code(), Some(2));
    assert!(stderr(&upsert).contains("--key order_id"));
}

#[test]
fn a_missing_source_names_what_is_there() {
    let folder = example();
    let missing = output(folder.path(), &["cp", "input/odrers.csv", "x.parquet"]);
    assert_eq!(missing.status.code(), Some(4));
    assert!(
        stderr(&missing).contains("did you mean `orders.csv`?"),
        "{}",
        stderr(&missing)
    );
    assert!(!folder.path().join("x.parquet").exists());
}
