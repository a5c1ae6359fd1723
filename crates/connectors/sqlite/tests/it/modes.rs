//! What append, replace and upsert leave behind, and what they refuse.
//!
//! Counts of every commit are compared with what is in the table afterwards.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use synqx_model::Code;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_sdk::{OrderBy, PublishPath, Receipt, Role};

use crate::house::{House, batch, load, target};

pub(crate) fn people(rows: &[(i64, &str)]) -> RecordBatch {
    batch(vec![
        (
            "id",
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.0))) as ArrayRef,
        ),
        (
            "name",
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|r| r.1))),
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_and_replaces_with_exact_counts() {
    let house = House::new();
    let to = house.open(Role::Destination);
    let (first, second) = (people(&[(1, "a"), (2, "b")]), people(&[(3, "c")]));
    let append = target("t", WriteMode::Append, first.schema());
    let prepared = to
        .destination()
        .expect("one")
        .prepare(&append, true)
        .await
        .expect("prepares");
    assert_eq!(prepared.path, PublishPath::Fresh);
    assert!(!house.path().exists(), "a dry run makes no file");
    assert_eq!(
        load(to.as_ref(), &append, std::slice::from_ref(&first))
            .await
            .expect("loads")
            .map(|r| r.inserted),
        Some(2)
    );
    let again = target("t", WriteMode::Append, first.schema());
    assert_eq!(
        load(to.as_ref(), &again, std::slice::from_ref(&second))
            .await
            .expect("loads")
            .map(|r| r.inserted),
        Some(1)
    );
    assert_eq!(house.rows("SELECT * FROM t"), ["1|a", "2|b", "3|c"]);
    let replace = target("T", WriteMode::Replace, first.schema());
    let receipt = load(to.as_ref(), &replace, &[second])
        .await
        .expect("loads")
        .expect("new");
    assert_eq!(
        receipt,
        Receipt {
            inserted: 1,
            deleted: 3,
            ..Receipt::default()
        }
    );
    assert_eq!(house.rows("SELECT * FROM t"), ["3|c"]);
    let empty = target("t", WriteMode::Replace, first.schema());
    load(to.as_ref(), &empty, &[])
        .await
        .expect("an empty source is a normal result");
    assert!(house.rows("SELECT * FROM t").is_empty() && house.staging_tables().is_empty());
    assert_eq!(house.rows("PRAGMA journal_mode"), ["wal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_keeps_definition_indexes_and_what_depends_on_the_table() {
    let house = House::new();
    house.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name VARCHAR(9) DEFAULT 'x' CHECK (name <> ''));
         CREATE UNIQUE INDEX t_name ON t (name); INSERT INTO t VALUES (9, 'old')",
    );
    let to = house.open(Role::Destination);
    let rows = people(&[(1, "a")]);
    let mut goal = target("t", WriteMode::Replace, rows.schema());
    goal.replace.keep_previous = true;
    let before = house.rows("SELECT sql FROM sqlite_schema WHERE tbl_name = 't' AND type = 'index'");
    load(to.as_ref(), &goal, std::slice::from_ref(&rows))
        .await
        .expect("loads");
    assert_eq!(house.rows("SELECT * FROM t"), ["1|a"]);
    assert_eq!(house.rows("SELECT * FROM t__previous"), ["9|old"]);
    assert_eq!(
        house.rows("SELECT sql FROM sqlite_schema WHERE tbl_name = 't' AND type = 'index'"),
        before
    );
    assert!(house.rows("SELECT sql FROM sqlite_schema WHERE name = 't'")[0].contains("CHECK (name <> '')"));
    house.sql("CREATE VIEW v AS SELECT count(*) AS n FROM t; CREATE TABLE child (t REFERENCES t (id) ON DELETE CASCADE); INSERT INTO child VALUES (1)");
    let goal = target("t", WriteMode::Replace, rows.schema());
    let prepared = to
        .destination()
        .expect("one")
        .prepare(&goal, true)
        .await
        .expect("prepares");
    assert!(
        prepared.why.contains("depend") && prepared.notes.iter().any(|n| n.contains("view v")),
        "{prepared:?}"
    );
    load(to.as_ref(), &goal, &[people(&[(1, "n"), (2, "m")])])
        .await
        .expect("loads");
    assert_eq!(house.rows("SELECT * FROM v"), ["2"]);
    assert_eq!(house.rows("SELECT * FROM child"), ["1"], "nothing cascades");
    let broken = target("t", WriteMode::Replace, rows.schema());
    let error = load(to.as_ref(), &broken, &[people(&[(2, "m")])])
        .await
        .expect_err("an orphan");
    assert_eq!(error.code(), Code::E0307);
    assert_eq!(house.rows("SELECT * FROM v"), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn upsert_counts_what_it_did_with_and_without_an_index() {
    for definition in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)",
        "CREATE TABLE t (id INTEGER, name TEXT)",
    ] {
        let house = House::new();
        house.sql(&format!("{definition}; INSERT INTO t VALUES (1, 'a'), (2, 'b')"));
        let rows = people(&[(1, "a"), (2, "B"), (3, "old"), (3, "zz new")]);
        let mut goal = target("t", WriteMode::Upsert, rows.schema());
        goal.key = vec!["id".into()];
        let to = house.open(Role::Destination);
        let error = load(to.as_ref(), &goal, std::slice::from_ref(&rows))
            .await
            .expect_err("two rows of one key");
        assert_eq!(error.code(), Code::E0308);
        goal.order_by = vec![OrderBy::parse("name")];
        let receipt = load(to.as_ref(), &goal, &[rows])
            .await
            .expect("loads")
            .expect("new");
        assert_eq!(
            receipt,
            Receipt {
                inserted: 1,
                updated: 1,
                unchanged: 1,
                superseded: 1,
                ..Receipt::default()
            },
            "{definition}"
        );
        assert_eq!(
            house.rows("SELECT * FROM t ORDER BY id"),
            ["1|a", "2|B", "3|zz new"]
        );
        assert!(house.staging_tables().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upsert_refuses_null_keys_and_ties_and_creates_its_target() {
    let house = House::new();
    let to = house.open(Role::Destination);
    let nulls = batch(vec![(
        "id",
        Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef,
    )]);
    let mut goal = target("t", WriteMode::Upsert, nulls.schema());
    goal.key = vec!["id".into()];
    assert_eq!(
        load(to.as_ref(), &goal, &[nulls])
            .await
            .expect_err("NULL key")
            .code(),
        Code::E0309
    );
    let tied = people(&[(1, "same"), (1, "same")]);
    let mut goal = target("t", WriteMode::Upsert, tied.schema());
    (goal.key, goal.order_by) = (vec!["id".into()], vec![OrderBy::parse("name desc")]);
    assert_eq!(
        load(to.as_ref(), &goal, &[tied]).await.expect_err("a tie").code(),
        Code::E0308
    );
    let rows = people(&[(1, "a"), (1, "b"), (2, "c")]);
    let receipt = load(to.as_ref(), &goal, &[rows])
        .await
        .expect("loads")
        .expect("new");
    assert_eq!((receipt.inserted, receipt.superseded), (2, 1));
    assert_eq!(house.rows("SELECT * FROM t"), ["1|a", "2|c"]);
    assert_eq!(house.rows("SELECT pk FROM pragma_table_info('t')"), ["1", "0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_kind_are_only_names() {
    let house = House::new();
    let to = house.open(Role::Destination);
    for name in [
        "select",
        "a.b",
        "🦀 \"quoted\" 'x'",
        "Ünïcode;--",
        "main.\"main.x\"",
    ] {
        let rows = batch(vec![
            ("group by", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("\"q\" 🦀", Arc::new(Int64Array::from(vec![2]))),
        ]);
        for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert] {
            let mut goal = target(name, mode, rows.schema());
            goal.key = vec!["group by".into()];
            load(to.as_ref(), &goal, std::slice::from_ref(&rows))
                .await
                .expect(name);
        }
        let read = crate::house::read_table(&house, name).await;
        assert_eq!(read.column(0), rows.column(0), "{name}");
    }
    let names: Vec<String> = house
        .open(Role::Source)
        .discover(None)
        .await
        .expect("lists")
        .into_iter()
        .map(|a| a.name)
        .collect();
    assert_eq!(
        names,
        ["a.b", "\"main.x\"", "select", "Ünïcode;--", "🦀 \"quoted\" 'x'"],
        "byte by byte"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_policies_say_every_difference() {
    let house = House::new();
    house.sql("CREATE TABLE t (id INTEGER, gone TEXT, must TEXT NOT NULL DEFAULT 'd', twice AS (id * 2))");
    let to = house.open(Role::Destination);
    let rows = batch(vec![
        ("id", Arc::new(StringViewArray::from(vec!["1"])) as ArrayRef),
        ("gate", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let strict = target("t", WriteMode::Append, rows.schema());
    let error = load(to.as_ref(), &strict, std::slice::from_ref(&rows))
        .await
        .expect_err("differs");
    assert_eq!(error.code(), Code::E0405);
    for part in [
        "+ gate bigint",
        "~ id: target INTEGER, load text",
        "- gone TEXT",
        "- must TEXT",
    ] {
        assert!(
            error.detail().is_some_and(|d| d.contains(part)),
            "{part}: {error:?}"
        );
    }
    let rows = batch(vec![
        ("ID", Arc::new(Int64Array::from(vec![7])) as ArrayRef),
        ("gate", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let mut ignore = target("t", WriteMode::Append, rows.schema());
    ignore.policy = SchemaPolicy::Ignore;
    load(to.as_ref(), &ignore, std::slice::from_ref(&rows))
        .await
        .expect("loads");
    assert_eq!(house.rows("SELECT * FROM t"), ["7|NULL|d|14"]);
    house.sql("CREATE TABLE e (id INTEGER)");
    let mut evolve = target("e", WriteMode::Append, rows.schema());
    evolve.policy = SchemaPolicy::Evolve;
    load(to.as_ref(), &evolve, std::slice::from_ref(&rows))
        .await
        .expect("loads");
    let mut swap = target(
        "e",
        WriteMode::Replace,
        batch(vec![
            ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("gate", Arc::new(Int64Array::from(vec![2]))),
            ("more", Arc::new(Int64Array::from(vec![3]))),
        ])
        .schema(),
    );
    swap.policy = SchemaPolicy::Evolve;
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("gate", Arc::new(Int64Array::from(vec![2]))),
        ("more", Arc::new(Int64Array::from(vec![3]))),
    ]);
    load(to.as_ref(), &swap, &[rows]).await.expect("loads");
    assert_eq!(house.rows("SELECT id, gate, more FROM e"), ["1|2|3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_row_names_the_constraint_and_publishes_nothing() {
    let house = House::new();
    house.sql("CREATE TABLE t (id INTEGER, name TEXT CONSTRAINT short CHECK (length(name) < 3))");
    let to = house.open(Role::Destination);
    for mode in [WriteMode::Append, WriteMode::Replace] {
        let rows = people(&[(1, "ok"), (2, "too long")]);
        let goal = target("t", mode, rows.schema());
        let error = load(to.as_ref(), &goal, &[rows]).await.expect_err("a constraint");
        assert_eq!(error.code(), Code::E0307);
        let shown = format!("{error:?}");
        assert!(
            shown.contains("short") && !shown.contains("too long") && !shown.contains("_synqx_"),
            "{shown}"
        );
        assert!(house.rows("SELECT * FROM t").is_empty());
    }
}
