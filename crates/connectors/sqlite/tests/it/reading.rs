//! Describing and reading: keys, declared and undeclared types, pushed conditions, snapshots, damage.
//!
//! Databases are written with plain SQL, not with the connector under test.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use futures::StreamExt;
use serde_json::json;
use synqx_model::spec::PartitionBy;
use synqx_model::{ByteSize, Code};
use synqx_sdk::{Acceptance, Budget, Comparison, Connector, Dataset, Env, Literal, Predicate, Role, Scan};
use synqx_sqlite::{Config, SqliteConnector};

use crate::house::{House, read, scan};

fn options(asset: &str, options: serde_json::Value) -> Dataset {
    Dataset {
        options: options.as_object().expect("a map").clone(),
        ..Dataset::asset(asset)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn describes_tables_views_and_queries() {
    let house = House::new();
    house.sql(
        "CREATE TABLE t (a INTEGER, b TEXT, c VARCHAR(3) UNIQUE, g AS (a + 1) STORED, x, PRIMARY KEY (b, a)) WITHOUT ROWID;
         INSERT INTO t (a, b, c, x) VALUES (1, 'b', 'c', 2.5);
         CREATE VIEW v AS SELECT a, count(*) AS n FROM t GROUP BY a; CREATE TABLE r (i INTEGER PRIMARY KEY); INSERT INTO r VALUES (41)",
    );
    let source = house.open(Role::Source);
    let table = source
        .describe(&Dataset::asset("main.T"))
        .await
        .expect("described");
    assert_eq!(
        (table.primary_key, table.unique),
        (vec!["b".to_owned(), "a".into()], vec![vec!["c".to_owned()]])
    );
    assert_eq!(
        table.schema.field_with_name("x").expect("x").data_type(),
        &DataType::Float64
    );
    assert!(table.notes[0].contains("x"));
    assert_eq!(
        source
            .describe(&Dataset::asset("r"))
            .await
            .expect("described")
            .rows,
        Some(41)
    );
    let query = Dataset {
        query: Some("SELECT a, count(*) AS n, 'x' AS t FROM t GROUP BY 1; ".into()),
        ..Dataset::default()
    };
    for dataset in [Dataset::asset("v"), query] {
        let rows = scan(source.as_ref(), dataset, Vec::new()).await.expect("reads");
        assert_eq!(rows.column(1).as_primitive::<Int64Type>().value(0), 1);
    }
    let rows = scan(source.as_ref(), Dataset::asset("t"), Vec::new())
        .await
        .expect("reads");
    assert_eq!(
        rows.column_by_name("g")
            .expect("g")
            .as_primitive::<Int64Type>()
            .value(0),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_contradicts_its_column_is_named_without_being_shown() {
    let house = House::new();
    house.sql("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, price NUMERIC(8,2)); INSERT INTO t VALUES (5, 1, 1), (9, 'canary', 2)");
    let source = house.open(Role::Source);
    let error = scan(source.as_ref(), Dataset::asset("t"), Vec::new())
        .await
        .expect_err("text");
    let shown = format!("{error:?}");
    assert_eq!(error.code(), Code::E0208);
    assert!(
        shown.contains("rowid 9")
            && shown.contains("`n`")
            && shown.contains("`t`")
            && !shown.contains("canary"),
        "{shown}"
    );
    let rows = scan(
        source.as_ref(),
        options("t", json!({"columns": {"n": "text"}})),
        Vec::new(),
    )
    .await
    .expect("reads");
    assert_eq!(rows.column(1).as_string_view().value(1), "canary");
    house.sql("UPDATE t SET n = 1, price = 1.5");
    let error = scan(source.as_ref(), Dataset::asset("t"), Vec::new())
        .await
        .expect_err("a float");
    assert_eq!(error.code(), Code::E0208);
    assert!(error.hint().is_some_and(|hint| hint.contains("price: double")));
    let rows = scan(
        source.as_ref(),
        options("t", json!({"columns": {"price": "double"}})),
        Vec::new(),
    )
    .await
    .expect("reads");
    assert_eq!(rows.schema().field(2).data_type(), &DataType::Float64);
}

#[tokio::test(flavor = "multi_thread")]
async fn pushed_conditions_give_the_rows_of_conditions_not_pushed() {
    let house = House::new();
    house.sql(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, other TEXT COLLATE NOCASE, n INTEGER);
         WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 60)
         INSERT INTO t SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN 'a' WHEN 2 THEN 'A' ELSE 'ab' || i END, 'x', i FROM c;
         CREATE TABLE s (n INT, name TEXT) STRICT; INSERT INTO s SELECT id, name FROM t",
    );
    let source = house.open(Role::Source);
    let compare = |column: &str, op, literal| Predicate::Compare {
        column: column.into(),
        op,
        literal,
    };
    let text = |t: &str| Literal::Text(t.into());
    let cases = [
        (
            compare("id", Comparison::Lt, Literal::Int(10)),
            Acceptance::Exact,
            9,
        ),
        (compare("name", Comparison::Eq, text("a")), Acceptance::Exact, 15),
        (
            compare("name", Comparison::NotEq, text("a")),
            Acceptance::Exact,
            30,
        ),
        (compare("name", Comparison::Gt, text("a")), Acceptance::Exact, 15),
        (compare("other", Comparison::Eq, text("X")), Acceptance::No, 60),
        (compare("n", Comparison::Eq, Literal::Int(1)), Acceptance::No, 60),
        (
            compare("id", Comparison::Eq, Literal::Int(i128::MAX)),
            Acceptance::No,
            60,
        ),
        (
            Predicate::IsNull {
                column: "name".into(),
                negated: false,
            },
            Acceptance::Exact,
            15,
        ),
        (
            Predicate::In {
                column: "name".into(),
                literals: vec![text("a"), text("A")],
                negated: true,
            },
            Acceptance::Exact,
            15,
        ),
        (
            Predicate::Like {
                column: "name".into(),
                pattern: "a%".into(),
                negated: false,
            },
            Acceptance::No,
            60,
        ),
        (
            Predicate::Like {
                column: "name".into(),
                pattern: "a%".into(),
                negated: true,
            },
            Acceptance::No,
            60,
        ),
        (
            Predicate::Not(Box::new(compare("name", Comparison::Eq, text("a")))),
            Acceptance::Exact,
            30,
        ),
        (
            Predicate::Or(vec![
                compare("id", Comparison::Eq, Literal::Int(4)),
                compare("name", Comparison::Eq, text("o'b?1")),
            ]),
            Acceptance::Exact,
            1,
        ),
        // Deeper than SQLite lets an expression be.
        (
            Predicate::Or(
                (1..=2_000)
                    .map(|n| compare("id", Comparison::Eq, Literal::Int(n)))
                    .collect(),
            ),
            Acceptance::No,
            60,
        ),
    ];
    let table = source.describe(&Dataset::asset("t")).await.expect("described");
    for (predicate, acceptance, rows) in cases {
        assert_eq!(
            source.source().expect("one").accepts(&table, &predicate),
            acceptance,
            "{predicate}"
        );
        let got = scan(source.as_ref(), Dataset::asset("t"), vec![predicate.clone()])
            .await
            .expect("reads");
        assert_eq!(got.num_rows(), rows, "{predicate}");
    }
    let strict = source.describe(&Dataset::asset("s")).await.expect("described");
    assert_eq!(
        source
            .source()
            .expect("one")
            .accepts(&strict, &compare("n", Comparison::GtEq, Literal::Int(1))),
        Acceptance::Exact
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn projection_and_limit_are_pushed_and_a_snapshot_holds() {
    let house = House::new();
    house.sql("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    let connection = house.open(Role::Source);
    let table = connection
        .describe(&Dataset::asset("t"))
        .await
        .expect("described");
    let mut wanted = Scan {
        dataset: Dataset::asset("t"),
        table,
        columns: vec!["b".into()],
        predicates: Vec::new(),
        limit: None,
        partition: PartitionBy::Auto,
        parallel: 4,
    };
    let source = connection.source().expect("one");
    let plan = source.plan(&wanted).await.expect("plans");
    let reader = source.open(&wanted, &plan).await.expect("opens");
    house.sql("INSERT INTO t VALUES (3, 'z')");
    let batches: Vec<_> = reader.read(0).await.expect("reads").collect().await;
    let rows: usize = batches
        .iter()
        .map(|b| b.as_ref().expect("a batch").num_rows())
        .sum();
    assert_eq!(
        (plan.partitions.len(), rows),
        (1, 2),
        "the row came after the snapshot"
    );
    wanted.limit = Some(1);
    let got: RecordBatch = read(connection.as_ref(), &wanted).await.expect("reads");
    assert_eq!((got.num_rows(), got.num_columns()), (1, 1));
    wanted.columns.clear();
    wanted.limit = None;
    assert_eq!(
        read(connection.as_ref(), &wanted)
            .await
            .expect("reads")
            .num_rows(),
        3,
        "rows are counted without columns"
    );
    let plan = source.plan(&wanted).await.expect("plans");
    house.sql("DROP TABLE t");
    assert_eq!(
        source.open(&wanted, &plan).await.err().map(|e| e.code()),
        Some(Code::E0215)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_ends_the_statement() {
    let house = House::new();
    house.sql("CREATE TABLE t (a INTEGER)");
    let endless = "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c) SELECT i FROM c";
    let connection = house.open(Role::Source);
    let dataset = Dataset {
        query: Some(endless.into()),
        ..Dataset::default()
    };
    let table = connection.describe(&dataset).await.expect("described");
    let wanted = Scan {
        dataset,
        table,
        columns: vec!["i".into()],
        predicates: Vec::new(),
        limit: None,
        partition: PartitionBy::Auto,
        parallel: 1,
    };
    let source = connection.source().expect("one");
    let plan = source.plan(&wanted).await.expect("plans");
    let mut stream = source
        .open(&wanted, &plan)
        .await
        .expect("opens")
        .read(0)
        .await
        .expect("reads");
    assert!(stream.next().await.expect("a batch").expect("rows").num_rows() > 0);
    drop(stream);
    // The runtime waits for its blocking threads when it ends: a statement that went on would hang this test.
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_larger_than_a_quarter_of_the_budget_is_named() {
    let house = House::new();
    house.sql("CREATE TABLE t (a INTEGER, big BLOB); INSERT INTO t VALUES (1, zeroblob(6000000))");
    let mut env = Env::standalone("mart", Role::Source, house.dir());
    env.budget = Budget::new(ByteSize::mib(16));
    let config: Config = serde_json::from_value(json!({"path": "mart.db"})).expect("a config");
    let connection = SqliteConnector.open(config, env).expect("opens");
    let error = scan(connection.as_ref(), Dataset::asset("t"), Vec::new())
        .await
        .expect_err("too large");
    assert_eq!(error.code(), Code::E0805, "{error:?}");
    assert!(error.message().contains("`big`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_reserved_while_it_is_made() {
    let house = House::new();
    house.sql(
        "CREATE TABLE t (a INTEGER, b TEXT); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
         INSERT INTO t SELECT i, 'a text of some length' FROM n",
    );
    let mut env = Env::standalone("mart", Role::Source, house.dir());
    env.budget = Budget::new(ByteSize::mib(64));
    let budget = env.budget.clone();
    budget.take(budget.limit() - (256 << 10));
    let config: Config = serde_json::from_value(json!({"path": "mart.db"})).expect("a config");
    let connection = SqliteConnector.open(config, env).expect("opens");
    let error = scan(connection.as_ref(), Dataset::asset("t"), Vec::new())
        .await
        .expect_err("no room");
    assert_eq!(error.code(), Code::E0804, "{error:?}");
    assert!(error.message().contains("a batch of"), "{error:?}");
    assert_eq!(budget.used(), budget.limit() - (256 << 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_databases_are_named() {
    let house = House::new();
    let missing = house
        .open(Role::Source)
        .describe(&Dataset::asset("t"))
        .await
        .expect_err("missing");
    assert_eq!(missing.code(), Code::E0211);
    assert!(!house.path().exists(), "a source never makes a file");
    std::fs::write(house.path(), vec![b'x'; 5000]).expect("a file");
    let garbage = house
        .open(Role::Source)
        .describe(&Dataset::asset("t"))
        .await
        .expect_err("garbage");
    assert_eq!(garbage.code(), Code::E0210);
    let findings = house.open(Role::Destination).check().await.expect("checks");
    assert!(findings.iter().any(|f| !f.ok && f.hint.is_some()), "{findings:?}");
    std::fs::remove_file(house.path()).expect("removed");
    house.sql("CREATE TABLE flights (a INTEGER)");
    let near = house
        .open(Role::Source)
        .describe(&Dataset::asset("flihgts"))
        .await
        .expect_err("misspelt");
    assert!(
        near.code() == Code::E0204 && near.hint().is_some_and(|h| h.contains("`flights`")),
        "{near:?}"
    );
    let link = house.dir().join("link.db");
    std::os::unix::fs::symlink(house.path(), &link).expect("a link");
    let env = Env::standalone("other", Role::Destination, house.dir());
    let other = SqliteConnector
        .open(
            serde_json::from_value(json!({"path": "link.db"})).expect("a config"),
            env,
        )
        .expect("opens");
    assert_eq!(
        other.domain().await.expect("a domain"),
        house.open(Role::Source).domain().await.expect("a domain")
    );
    assert!(Arc::strong_count(&other) == 1);
}
