//! The commit protocol: fences, lost answers, a failure at every effect, folders and their manifest.
//!
//! A failing probe stands for a crash: the next attempt with the same run must end with the undisturbed result.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use serde_json::json;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_model::{Code, Error, Position, Result};
use synqx_sdk::probe::{Effect, Moment, Quiet};
use synqx_sdk::{FenceClaim, Probe};

use crate::bench::{Bench, batch, none, shown};

fn rows(range: std::ops::Range<i64>) -> RecordBatch {
    batch(vec![
        ("n", Arc::new(Int64Array::from_iter_values(range.clone()))),
        (
            "t",
            Arc::new(StringViewArray::from_iter_values(
                range.map(|i| format!("row {i}")),
            )),
        ),
    ])
}

/// Fails once at one place.
#[derive(Debug)]
struct Fails {
    effect: Effect,
    moment: Moment,
    reached: AtomicUsize,
}

impl Probe for Fails {
    fn reach(&self, effect: Effect, moment: Moment) -> Result<()> {
        if (effect, moment) == (self.effect, self.moment) && self.reached.fetch_add(1, Ordering::SeqCst) == 0
        {
            return Err(Error::new(Code::E0305, "the process is gone").with_hint("restart it"));
        }
        Ok(())
    }
}

fn no_staging(bench: &Bench, folder: &str) {
    let left: Vec<_> = bench
        .names(folder)
        .into_iter()
        .filter(|name| name.ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

async fn fails_and_restarts(asset: &str, mode: WriteMode, effect: Effect, moment: Moment) -> bool {
    let mut bench = Bench::new();
    let folder = if asset.ends_with('/') { asset } else { "." };
    bench
        .write(asset, mode, none(), &rows(0..10))
        .await
        .expect("the first load");
    let probe = Arc::new(Fails {
        effect,
        moment,
        reached: AtomicUsize::new(0),
    });
    bench.probe = probe.clone();
    let target = bench.target(asset, mode, &rows(10..15));
    let first = bench.load(&target, &rows(10..15)).await;
    if probe.reached.load(Ordering::SeqCst) == 0 {
        return false;
    }
    let error = first.expect_err("the probe's failure must surface");
    let after_publishing = matches!(
        (effect, moment),
        (Effect::Publish, Moment::After) | (Effect::Record | Effect::Cleanup, _)
    );
    if after_publishing {
        assert_eq!(error.code(), Code::E0317, "{effect:?} {moment:?}");
    }
    bench.probe = Arc::new(Quiet);
    if !after_publishing {
        let seen = bench.read(asset, none()).await.expect("the old rows");
        assert_eq!(
            seen.num_rows(),
            10,
            "{effect:?} {moment:?}: nothing is visible before the commit"
        );
    }
    bench.load(&target, &rows(10..15)).await.expect("the restart");
    let expected = if mode == WriteMode::Append {
        rows(0..15)
    } else {
        rows(10..15)
    };
    let seen = bench.read(asset, none()).await.expect("reads");
    assert_eq!(shown(&seen, "n"), shown(&expected, "n"), "{effect:?} {moment:?}");
    no_staging(&bench, folder);
    if folder == asset {
        let parts = bench
            .names(folder)
            .into_iter()
            .filter(|n| n.starts_with("part-"))
            .count();
        assert_eq!(
            parts,
            if mode == WriteMode::Append { 2 } else { 1 },
            "{effect:?} {moment:?}"
        );
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_every_effect_is_repaired_by_the_restart() {
    for (asset, mode) in [
        ("t.csv", WriteMode::Replace),
        ("t.parquet", WriteMode::Replace),
        ("out/", WriteMode::Append),
        ("out/", WriteMode::Replace),
    ] {
        let mut cells = 0;
        for effect in Effect::ALL {
            for moment in [Moment::Before, Moment::After] {
                cells += usize::from(fails_and_restarts(asset, mode, *effect, moment).await);
            }
        }
        assert!(cells >= 12, "{asset}: only {cells} cells were reached");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_lost_the_fence_publishes_nothing() {
    for asset in ["t.csv", "out/"] {
        let bench = Bench::new();
        let connection = bench.connection(synqx_sdk::Role::Destination);
        let destination = connection.destination().expect("a destination");
        let old = bench.target(asset, WriteMode::Replace, &rows(0..3));
        let prepared = destination.prepare(&old, false).await.expect("prepares");
        let mut first = destination
            .begin(&old, &prepared, FenceClaim::Next)
            .await
            .expect("begins");
        let mut writer = first.writer().await.expect("a lane");
        writer.write(rows(0..3)).await.expect("writes");
        writer.finish().await.expect("finishes");
        let new = bench.target(asset, WriteMode::Replace, &rows(5..6));
        bench.load(&new, &rows(5..6)).await.expect("the newer run");
        let error = first.commit(&Position::default()).await.expect_err("fenced out");
        assert_eq!(error.code(), Code::E0501);
        assert_eq!(
            shown(&bench.read(asset, none()).await.expect("reads"), "n"),
            ["5"]
        );
        let refused = destination
            .begin(&new, &prepared, FenceClaim::Exact(1))
            .await
            .err()
            .expect("an old fence");
        assert_eq!(refused.code(), Code::E0504);
        let held = destination
            .begin(&new, &prepared, FenceClaim::Exact(7))
            .await
            .expect("a newer fence");
        assert_eq!(held.fence(), 7);
        assert_eq!(held.committed().map(|c| c.run), Some(new.run));
        no_staging(&bench, if asset == "out/" { asset } else { "." });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_several_streams_share_a_folder() {
    let bench = Bench::new();
    bench.file("out/before.parquet", "");
    std::fs::remove_file(bench.dir.path().join("out/before.parquet")).expect("removes");
    bench
        .write("out/", WriteMode::Append, none(), &rows(0..2))
        .await
        .expect("appends");
    let mut other = bench.target("out/", WriteMode::Append, &rows(2..4));
    other.stream.node = "another".into();
    other.lanes = Some(2);
    bench.load(&other, &rows(2..4)).await.expect("appends");
    let seen = bench.read("out/", none()).await.expect("reads");
    let mut numbers = shown(&seen, "n");
    numbers.sort();
    assert_eq!(numbers, ["0", "1", "2", "3"]);
    bench.file("out/stray.parquet", "not listed, so not read");
    assert_eq!(bench.read("out/", none()).await.expect("reads").num_rows(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_there_are_adopted_and_never_removed() {
    let bench = Bench::new();
    bench.file("out/old.csv", "n,t\n1,x\n");
    let error = bench
        .write(
            "out/",
            WriteMode::Replace,
            json!({ "format": "csv" }),
            &rows(5..6),
        )
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Code::E0310);
    bench
        .write("out/", WriteMode::Append, json!({ "format": "csv" }), &rows(5..6))
        .await
        .expect("appends");
    assert_eq!(
        shown(&bench.read("out/", none()).await.expect("reads"), "n"),
        ["1", "5"]
    );
    assert_eq!(bench.text("out/old.csv"), "n,t\n1,x\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_format_are_never_hidden_by_a_first_manifest() {
    let bench = Bench::new();
    bench.file("out/x.csv", "n,t\n1,x\n");
    for mode in [WriteMode::Append, WriteMode::Replace] {
        let error = bench
            .write("out/", mode, none(), &rows(5..6))
            .await
            .expect_err("refused");
        assert_eq!(error.code(), Code::E0310);
        assert!(error.detail().is_some_and(|d| d.contains("`x.csv`")), "{error:?}");
        assert_eq!(bench.names("out"), ["x.csv"], "nothing is made");
    }
    bench.file("out/note.txt", "no data");
    std::fs::remove_file(bench.dir.path().join("out/x.csv")).expect("removes");
    bench
        .write("out/", WriteMode::Append, none(), &rows(5..6))
        .await
        .expect("appends");
    bench.file("out/y.csv", "n,t\n1,x\n");
    for mode in [WriteMode::Append, WriteMode::Replace] {
        bench
            .write("out/", mode, none(), &rows(6..7))
            .await
            .expect("the manifest is there already");
    }
    assert_eq!(bench.read("out/", none()).await.expect("reads").num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_common_column_are_refused() {
    let bench = Bench::new();
    bench
        .write("out/", WriteMode::Append, none(), &rows(0..1))
        .await
        .expect("appends");
    let other = batch(vec![("z", Arc::new(Int64Array::from(vec![7])))]);
    let mut target = bench.target("out/", WriteMode::Append, &other);
    target.policy = SchemaPolicy::Ignore;
    let error = bench.load(&target, &other).await.expect_err("refused");
    assert_eq!(error.code(), Code::E0405);
    assert!(
        error.detail().is_some_and(|d| d.contains("no column in common")),
        "{error:?}"
    );
    assert_eq!(bench.read("out/", none()).await.expect("reads").num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_columns_are_listed_added_or_left_out() {
    let bench = Bench::new();
    bench
        .write("out/", WriteMode::Append, none(), &rows(0..1))
        .await
        .expect("appends");
    let other = batch(vec![
        ("n", Arc::new(Int64Array::from(vec![7]))),
        ("more", Arc::new(Int64Array::from(vec![8]))),
    ]);
    let mut target = bench.target("out/", WriteMode::Append, &other);
    let error = bench.load(&target, &other).await.expect_err("differs");
    assert_eq!(error.code(), Code::E0405);
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains("`t`") && d.contains("`more`")),
        "{error:?}"
    );
    target.policy = SchemaPolicy::Ignore;
    bench.load(&target, &other).await.expect("ignores");
    let seen = bench.read("out/", none()).await.expect("reads");
    assert_eq!(
        (shown(&seen, "t"), seen.num_columns()),
        (vec!["row 0".to_owned(), "∅".to_owned()], 2)
    );
    let mut target = bench.target("out/", WriteMode::Append, &other);
    target.policy = SchemaPolicy::Evolve;
    bench.load(&target, &other).await.expect("evolves");
    let mut more = shown(&bench.read("out/", none()).await.expect("reads"), "more");
    more.sort();
    assert_eq!(more, ["8", "∅", "∅"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_modes_and_kinds_are_refused_with_a_hint() {
    let bench = Bench::new();
    let code = |result: Result<_>| {
        let error: Error = Result::<synqx_sdk::Receipt>::expect_err(result, "refused");
        assert!(error.hint().is_some(), "{error:?}");
        error.code()
    };
    assert_eq!(
        code(bench.write("t.csv", WriteMode::Append, none(), &rows(0..1)).await),
        Code::E0310
    );
    assert_eq!(
        code(bench.write("out/", WriteMode::Upsert, none(), &rows(0..1)).await),
        Code::E0310
    );
    bench.file("out", "a file");
    assert_eq!(
        code(bench.write("out/", WriteMode::Append, none(), &rows(0..1)).await),
        Code::E0311
    );
    let mut target = bench.target("new.csv", WriteMode::Replace, &rows(0..1));
    target.create = false;
    assert_eq!(code(bench.load(&target, &rows(0..1)).await), Code::E0304);
    for asset in ["new.csv", "parts/"] {
        let mut target = bench.target(asset, WriteMode::Replace, &rows(0..1));
        target.replace.truncate = true;
        assert_eq!(
            code(bench.load(&target, &rows(0..1)).await),
            Code::E0310,
            "{asset}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_load_leaves_nothing_and_a_dry_run_changes_nothing() {
    let bench = Bench::new();
    let connection = bench.connection(synqx_sdk::Role::Destination);
    let destination = connection.destination().expect("a destination");
    let target = bench.target("deep/out/", WriteMode::Append, &rows(0..3));
    let dry = destination.prepare(&target, true).await.expect("prepares");
    assert!(!dry.actions.is_empty() && bench.names(".").is_empty());
    let prepared = destination.prepare(&target, false).await.expect("prepares");
    let mut load = destination
        .begin(&target, &prepared, FenceClaim::Next)
        .await
        .expect("begins");
    let mut writer = load.writer().await.expect("a lane");
    writer.write(rows(0..3)).await.expect("writes");
    drop(writer);
    load.abort().await.expect("aborts");
    no_staging(&bench, "deep/out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replace_with_no_rows_keeps_the_columns() {
    let bench = Bench::new();
    for asset in ["t.csv", "t.parquet", "out/"] {
        bench
            .write(asset, WriteMode::Replace, none(), &rows(0..0))
            .await
            .expect("writes");
        let seen = bench.read(asset, none()).await.expect("reads");
        assert_eq!((seen.num_rows(), seen.num_columns()), (0, 2), "{asset}");
    }
}

/// What a restart of the run finds on record, and the rows that are there.
async fn found(bench: &Bench, target: &synqx_sdk::Target) -> (bool, Vec<String>) {
    let connection = bench.connection(synqx_sdk::Role::Destination);
    let destination = connection.destination().expect("a destination");
    let known = destination
        .committed(&target.asset, &target.stream)
        .await
        .expect("looks");
    let prepared = destination.prepare(target, false).await.expect("prepares");
    let load = destination
        .begin(target, &prepared, FenceClaim::Next)
        .await
        .expect("begins");
    assert_eq!(load.committed(), known.as_ref());
    let again = destination
        .committed(&target.asset, &target.stream)
        .await
        .expect("looks");
    assert_eq!(again, known, "what was recognised stays on record");
    let done = load.committed().is_some_and(|c| c.run == target.run);
    let seen = bench.read(&target.asset, none()).await.expect("reads");
    (done, shown(&seen, "n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_renamed_but_not_recorded_is_recognised() {
    for (effect, moment, published) in [
        (Effect::Publish, Moment::Before, false),
        (Effect::Publish, Moment::After, true),
        (Effect::Record, Moment::Before, true),
        (Effect::Record, Moment::After, true),
    ] {
        let mut bench = Bench::new();
        bench.file("t.csv", "n,t\n1,row 1\n");
        let target = bench.target("t.csv", WriteMode::Replace, &rows(2..3));
        bench.probe = Arc::new(Fails {
            effect,
            moment,
            reached: AtomicUsize::new(0),
        });
        bench
            .load(&target, &rows(2..3))
            .await
            .expect_err("the process is gone");
        bench.probe = Arc::new(Quiet);
        let rows = vec![if published { "2" } else { "1" }.to_owned()];
        assert_eq!(
            found(&bench, &target).await,
            (published, rows),
            "{effect:?} {moment:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_was_noted_and_did_not_happen_is_no_commit() {
    let mut bench = Bench::new();
    bench.file("t.csv", "n,t\n1,row 1\n");
    let target = bench.target("t.csv", WriteMode::Replace, &rows(2..3));
    bench.probe = Arc::new(Fails {
        effect: Effect::Publish,
        moment: Moment::After,
        reached: AtomicUsize::new(0),
    });
    bench
        .load(&target, &rows(2..3))
        .await
        .expect_err("the process is gone");
    bench.probe = Arc::new(Quiet);
    assert!(bench.text(".t.csv.synqx.json").contains("pending"));
    // The same text in another file, as if the rename had never been reached.
    bench.file("old.csv", bench.text("t.csv"));
    std::fs::rename(bench.dir.path().join("old.csv"), bench.dir.path().join("t.csv")).expect("renames");
    assert_eq!(found(&bench, &target).await, (false, vec!["2".to_owned()]));
    bench.load(&target, &rows(3..4)).await.expect("the restart");
    assert_eq!(found(&bench, &target).await, (true, vec!["3".to_owned()]));
    assert!(!bench.text(".t.csv.synqx.json").contains("pending"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_file_keeps_its_mode_and_a_link_stays_a_link() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let bench = Bench::new();
    let path = |name: &str| bench.dir.path().join(name);
    bench.file("real/data.csv", "n,t\n1,x\n");
    std::fs::set_permissions(path("real/data.csv"), PermissionsExt::from_mode(0o640)).expect("sets");
    symlink("real/data.csv", path("t.csv")).expect("links");
    symlink("t.csv", path("u.csv")).expect("links");
    symlink("real/new.csv", path("v.csv")).expect("links");
    for (name, real) in [("t.csv", "data.csv"), ("u.csv", "data.csv"), ("v.csv", "new.csv")] {
        bench
            .write(name, WriteMode::Replace, none(), &rows(5..6))
            .await
            .expect("writes");
        assert!(
            std::fs::symlink_metadata(path(name)).expect("there").is_symlink(),
            "{name}"
        );
        assert_eq!(bench.text(&format!("real/{real}")), "n,t\n5,row 5\n");
    }
    let mode = std::fs::metadata(path("real/data.csv"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    no_staging(&bench, "real");
}
