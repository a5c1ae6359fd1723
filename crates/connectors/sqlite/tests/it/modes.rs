//! What append, replace and upsert leave behind, and what they refuse.
//!
//! Counts of every commit are compared with what is in the table afterwards.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema};
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
        let rows = people(&[(1, "a"), (2, "bb"), (3, "old"), (3, "zz new")]);
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
            ["1|a", "2|bb", "3|zz new"]
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
    for part in ["+ gate bigint", "~ id: target INTEGER, load text", "- gone TEXT"] {
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

#[tokio::test(flavor = "multi_thread")]
async fn strict_refuses_a_load_that_lacks_columns_and_evolve_does_not() {
    let house = House::new();
    house.sql(
        "CREATE TABLE bare (id INTEGER UNIQUE, name TEXT, note TEXT); INSERT INTO bare VALUES (1, 'a', 'kept'); \
         CREATE TABLE filled (n INTEGER PRIMARY KEY, id INTEGER UNIQUE, name TEXT, must TEXT NOT NULL DEFAULT 'd')",
    );
    let to = house.open(Role::Destination);
    let destination = to.destination().expect("one");
    let rows = people(&[(2, "b")]);
    for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert] {
        for policy in [SchemaPolicy::Strict, SchemaPolicy::Evolve, SchemaPolicy::Ignore] {
            let strict = policy == SchemaPolicy::Strict;
            for (asset, column, refused) in [
                ("bare", "note", strict),
                ("filled", "must", strict && mode == WriteMode::Replace),
            ] {
                let mut goal = target(asset, mode, rows.schema());
                (goal.key, goal.policy) = (vec!["id".into()], policy);
                match destination.prepare(&goal, true).await {
                    Err(error) => {
                        assert!(
                            refused && error.code() == Code::E0405,
                            "{asset} {mode:?} {error:?}"
                        );
                        assert!(
                            error
                                .detail()
                                .is_some_and(|d| d.contains(column) && !d.contains("- n "))
                        );
                    }
                    Ok(prepared) => {
                        let told = |n: &String| n.contains(&format!("`{column}` does not arrive"));
                        assert!(
                            !refused && prepared.notes.iter().any(told),
                            "{asset} {mode:?} {prepared:?}"
                        );
                    }
                }
            }
        }
    }
    let mut goal = target("bare", WriteMode::Upsert, rows.schema());
    (goal.key, goal.policy) = (vec!["id".into()], SchemaPolicy::Evolve);
    load(to.as_ref(), &goal, &[people(&[(1, "A"), (2, "b")])])
        .await
        .expect("loads");
    assert_eq!(
        house.rows("SELECT * FROM bare ORDER BY id"),
        ["1|A|kept", "2|b|NULL"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_table_ignores_or_replaces_are_not_counted_as_written() {
    let tables = [
        "CREATE TABLE t (id INTEGER, name TEXT UNIQUE ON CONFLICT IGNORE)",
        "CREATE TABLE t (id INTEGER, name TEXT UNIQUE  on\nConflict REPLACE)",
        "CREATE TABLE t (id INTEGER, name TEXT); \
         CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.name = 'a' BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); \
         CREATE TRIGGER g BEFORE INSERT ON t WHEN NEW.name = 'a' BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE ON CONFLICT REPLACE)",
    ];
    for table in tables {
        for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert] {
            let house = House::new();
            house.sql(table);
            house.sql("INSERT INTO t VALUES (9, 'b')");
            let to = house.open(Role::Destination);
            let rows = people(&[(1, "a"), (2, "b"), (3, "a")]);
            let mut goal = target("t", mode, rows.schema());
            goal.key = vec!["id".into()];
            let error = load(to.as_ref(), &goal, &[rows])
                .await
                .expect_err("not all are kept");
            assert_eq!(error.code(), Code::E0505, "{table} {mode:?} {error:?}");
            assert_eq!(house.rows("SELECT * FROM t"), ["9|b"], "{table} {mode:?}");
        }
    }
    let house = House::new();
    house.sql("CREATE TABLE t (id INTEGER, name TEXT NOT NULL ON CONFLICT REPLACE DEFAULT 'x')");
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("name", Arc::new(StringViewArray::from(vec![None::<&str>]))),
    ]);
    for mode in [WriteMode::Append, WriteMode::Replace] {
        let goal = target("t", mode, rows.schema());
        let error = load(
            house.open(Role::Destination).as_ref(),
            &goal,
            std::slice::from_ref(&rows),
        )
        .await
        .expect_err("a NULL is no x");
        assert_eq!(error.code(), Code::E0307, "{error:?}");
        assert!(house.rows("SELECT * FROM t").is_empty());
    }
    let undeletable = House::new();
    undeletable.sql(
        "CREATE TABLE t (id INTEGER, name TEXT); INSERT INTO t VALUES (9, 'b'); \
         CREATE TRIGGER g BEFORE DELETE ON t BEGIN SELECT RAISE(IGNORE); END",
    );
    let rows = people(&[(1, "a")]);
    let goal = target("t", WriteMode::Replace, rows.schema());
    let error = load(undeletable.open(Role::Destination).as_ref(), &goal, &[rows])
        .await
        .expect_err("old rows stay");
    assert_eq!(error.code(), Code::E0505);
    assert_eq!(undeletable.rows("SELECT * FROM t"), ["9|b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_older_row_does_not_overwrite_a_newer_one() {
    for key in ["INTEGER PRIMARY KEY", "INTEGER"] {
        let house = House::new();
        house.sql(&format!(
            "CREATE TABLE t (id {key}, at DECIMAL_TEXT(9,1), zone TIMESTAMPTZ_TEXT, name TEXT); \
             INSERT INTO t VALUES (1, '10.5', NULL, 'x'), (2, '9.5', NULL, 'x'), (3, NULL, NULL, 'x'), (4, '9.5', NULL, 'x'), \
             (5, '1.0', '2020-01-01 00:00:00Z', 'x'), (6, '1.0', '2020-01-01 00:00:00.500Z', 'x')"
        ));
        let micros = 1_577_836_800_000_000;
        let zone = TimestampMicrosecondArray::from(vec![
            None,
            None,
            None,
            None,
            Some(micros + 250_000),
            Some(micros + 250_000),
            None,
        ]);
        let at = Decimal128Array::from(vec![Some(95), Some(105), Some(1), None, Some(10), Some(10), None]);
        let rows = batch(vec![
            ("id", Arc::new(Int64Array::from_iter_values(1..=7)) as ArrayRef),
            ("at", Arc::new(at.with_precision_and_scale(8, 1).expect("fits"))),
            ("zone", Arc::new(zone.with_timezone("UTC"))),
            ("name", Arc::new(StringViewArray::from(vec!["new"; 7]))),
        ]);
        let mut goal = target("t", WriteMode::Upsert, rows.schema());
        goal.key = vec!["id".into()];
        goal.order_by = vec![OrderBy::parse("at"), OrderBy::parse("zone")];
        let to = house.open(Role::Destination);
        let receipt = load(to.as_ref(), &goal, std::slice::from_ref(&rows))
            .await
            .expect("loads")
            .expect("new");
        let sums = |r: &Receipt| (r.inserted, r.updated, r.unchanged, r.superseded);
        assert_eq!(sums(&receipt), (1, 3, 0, 3), "{key}");
        let stored = house.rows("SELECT id || name FROM t ORDER BY id");
        assert_eq!(
            stored,
            ["1x", "2new", "3new", "4x", "5new", "6x", "7new"],
            "{key}"
        );
        goal.run = synqx_model::RunId::fresh();
        let receipt = load(to.as_ref(), &goal, std::slice::from_ref(&rows))
            .await
            .expect("loads")
            .expect("new");
        assert_eq!(sums(&receipt), (0, 0, 4, 3), "{key}");
        house.sql("UPDATE t SET at = 'soon' WHERE id = 1");
        goal.run = synqx_model::RunId::fresh();
        let error = load(to.as_ref(), &goal, &[rows]).await.expect_err("no decimal");
        assert_eq!(error.code(), Code::E0310, "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_none_is_read_back() {
    let house = House::new();
    let numeric = |field: Field| {
        synqx_sdk::annotation::annotate(
            field,
            synqx_sdk::annotation::LOGICAL,
            synqx_sdk::annotation::LOGICAL_NUMERIC,
        )
    };
    let schema = Schema::new(vec![numeric(Field::new("n", DataType::Utf8View, true))]);
    let values: ArrayRef = Arc::new(StringViewArray::from(vec![
        "NaN",
        "Infinity",
        "-Infinity",
        "1.50",
    ]));
    let rows = RecordBatch::try_new(Arc::new(schema), vec![values]).expect("a batch");
    let goal = target("t", WriteMode::Append, rows.schema());
    load(
        house.open(Role::Destination).as_ref(),
        &goal,
        std::slice::from_ref(&rows),
    )
    .await
    .expect("loads");
    let read = crate::house::read_table(&house, "t").await;
    assert_eq!(read.column(0), rows.column(0));
}
