//! Reading: names, predicates, limits, partitions, queries, and what may change under a plan.
//!
//! Every case counts rows the server counted too.

use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use synqx_model::Code;
use synqx_model::spec::{PartitionBy, PartitionColumn};
use synqx_sdk::{Acceptance, Comparison, Dataset, Literal, Predicate, Role};

use crate::database::{Database, SERVERS, read, read_all, read_where, rows, scan};

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_names() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let long = "n".repeat(63);
        db.run(&format!("CREATE SCHEMA \"My.Schema\"; CREATE TABLE \"My.Schema\".\"we\"\"ird.🚀\" (\"select\" int, \"a\"\"b\" text, \"{long}\" int); \
            INSERT INTO \"My.Schema\".\"we\"\"ird.🚀\" VALUES (1, 'x', 2)")).await;
        let connection = db.open(Role::Source);
        let assets = connection.discover(Some("*ird*")).await.expect("discovers");
        assert_eq!(assets.len(), 1);
        let (schema, batches) = read_all(&*connection, &assets[0].name).await.expect("reads");
        assert_eq!((rows(&batches), schema.field(2).name()), (1, &long));
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_predicate_gives_the_rows_of_one_that_is_not() {
    let db = Database::new("postgres15").await;
    db.run("CREATE TABLE t (id int, name text, day date, price numeric(8,2), at timestamptz, ok bool); \
        INSERT INTO t SELECT i, nullif('n' || i % 10, 'n3'), date '2020-01-01' + i, i / 4.0, timestamptz '2020-01-01Z' + i * interval '1 hour', i % 2 = 0 \
        FROM generate_series(1, 1000) i").await;
    let connection = db.open(Role::Source);
    let compare = |column: &str, op, literal| Predicate::Compare {
        column: column.into(),
        op,
        literal,
    };
    for (predicate, sql) in [
        (compare("id", Comparison::Gt, Literal::Int(900)), "id > 900"),
        (
            compare("name", Comparison::NotEq, Literal::Text("n1".into())),
            "name <> 'n1'",
        ),
        (
            Predicate::Like {
                column: "name".into(),
                pattern: "n_".into(),
                negated: true,
            },
            "name NOT LIKE 'n_'",
        ),
        (
            Predicate::IsNull {
                column: "name".into(),
                negated: false,
            },
            "name IS NULL",
        ),
        (
            compare("price", Comparison::LtEq, Literal::Decimal(1025, 2)),
            "price <= 10.25",
        ),
        (
            compare("day", Comparison::Lt, Literal::Date(18_300)),
            "day < date '1970-01-01' + 18300",
        ),
        (
            Predicate::Not(Box::new(compare("ok", Comparison::Eq, Literal::Bool(true)))),
            "NOT ok",
        ),
        (
            Predicate::In {
                column: "name".into(),
                literals: vec![Literal::Text("n1".into()), Literal::Text("it's".into())],
                negated: false,
            },
            "name IN ('n1')",
        ),
    ] {
        let table = connection
            .describe(&Dataset::asset("t"))
            .await
            .expect("describes");
        assert_eq!(
            connection.source().expect("a source").accepts(&table, &predicate),
            Acceptance::Exact,
            "{predicate}"
        );
        let batches = read_where(&*connection, "t", vec![predicate])
            .await
            .expect("reads");
        assert_eq!(
            rows(&batches) as i64,
            db.count(&format!("t WHERE {sql}")).await,
            "{sql}"
        );
    }
    let mut limited = scan(&*connection, Dataset::asset("t")).await.expect("describes");
    limited.limit = Some(7);
    limited.columns = vec!["ok".into(), "id".into()];
    let batches = read(&*connection, &limited).await.expect("reads");
    assert_eq!(
        (rows(&batches), batches[0].schema().field(0).name().as_str()),
        (7, "ok")
    );
    limited.columns = vec![];
    assert_eq!(rows(&read(&*connection, &limited).await.expect("reads")), 7);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_cover_every_row_once() {
    for server in SERVERS {
        let db = Database::new(server).await;
        db.run("CREATE TABLE t (id int, pad text); ALTER TABLE t ALTER COLUMN pad SET STORAGE PLAIN; \
            INSERT INTO t SELECT nullif(i, 77), repeat('x', 1500) FROM generate_series(1, 50000) i; ANALYZE t").await;
        let connection = db.open(Role::Source);
        for partition in [
            PartitionBy::Auto,
            PartitionBy::None,
            PartitionBy::Column(PartitionColumn {
                column: "id".into(),
                count: 7,
            }),
        ] {
            let mut scan = scan(&*connection, Dataset::asset("t")).await.expect("describes");
            scan.columns = vec!["id".into()];
            scan.partition = partition.clone();
            let plan = connection
                .source()
                .expect("a source")
                .plan(&scan)
                .await
                .expect("plans");
            assert_eq!(
                plan.partitions.len() > 1,
                partition != PartitionBy::None,
                "{:?}",
                plan.partitions
            );
            let batches = read(&*connection, &scan).await.expect("reads");
            let mut seen: Vec<Option<i32>> = batches
                .iter()
                .flat_map(|b| b.column(0).as_primitive::<Int32Type>().iter().collect::<Vec<_>>())
                .collect();
            seen.sort_unstable();
            let mut expected: Vec<Option<i32>> = (1..=50_000).map(|i| (i != 77).then_some(i)).collect();
            expected.sort_unstable();
            assert!(seen == expected, "{partition:?}: {} rows", seen.len());
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_is_described_and_read() {
    let db = Database::new("postgres18").await;
    db.run("CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (n numeric(9,2), m mood); INSERT INTO t VALUES (1.5, 'a')").await;
    let connection = db.open(Role::Source);
    let dataset = |query: &str| Dataset {
        query: Some(query.into()),
        ..Default::default()
    };
    let scan = scan(
        &*connection,
        dataset("select n, m, 1 as one from t -- all of it\n;"),
    )
    .await
    .expect("describes");
    assert_eq!(rows(&read(&*connection, &scan).await.expect("reads")), 1);
    assert_eq!(
        scan.table.schema.field(0).data_type(),
        &arrow::datatypes::DataType::Decimal128(9, 2)
    );
    assert_eq!(
        synqx_sdk::annotation::native(scan.table.schema.field(1), "postgresql"),
        Some("public.mood")
    );
    for (query, code) in [
        ("select 1 a, 2 a", Code::E0406),
        ("selec 1", Code::E0212),
        ("select * from absent", Code::E0204),
        ("delete from t returning n", Code::E0212),
    ] {
        assert_eq!(
            connection
                .describe(&dataset(query))
                .await
                .expect_err("refused")
                .code(),
            code,
            "{query}"
        );
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_after_planning_is_refused() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Source);
    let source = connection.source().expect("a source");
    for change in [
        "ALTER TABLE t ALTER COLUMN id TYPE bigint",
        "ALTER TABLE t DROP COLUMN id",
        "DROP TABLE t",
    ] {
        db.run("DROP TABLE IF EXISTS t; CREATE TABLE t (id int, x int)")
            .await;
        let scan = scan(&*connection, Dataset::asset("t")).await.expect("describes");
        let plan = source.plan(&scan).await.expect("plans");
        db.run(change).await;
        assert_eq!(
            source.open(&scan, &plan).await.err().map(|e| e.code()),
            Some(Code::E0215),
            "{change}"
        );
    }
    let error = connection
        .describe(&Dataset::asset("Flights"))
        .await
        .expect_err("absent");
    assert_eq!(error.code(), Code::E0204);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_stream_stops_the_query_on_the_server() {
    use futures::StreamExt;
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Source);
    let dataset = Dataset {
        query: Some("select i, repeat('x', 1000) from generate_series(1, 100000000) i".into()),
        ..Default::default()
    };
    let mut scan = scan(&*connection, dataset).await.expect("describes");
    scan.partition = PartitionBy::None;
    let source = connection.source().expect("a source");
    let plan = source.plan(&scan).await.expect("plans");
    let reader = source.open(&scan, &plan).await.expect("opens");
    let mut stream = reader.read(0).await.expect("reads");
    stream.next().await.expect("a batch").expect("rows");
    drop((stream, reader));
    let left = "pg_stat_activity WHERE datname = current_database() AND application_name = 'synqx'";
    let patience = std::time::Instant::now();
    while db.count(left).await > 0 {
        assert!(patience.elapsed().as_secs() < 20, "the query still runs");
        tokio::task::yield_now().await;
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_beyond_the_budget_names_its_column() {
    let db = Database::new("postgres15").await;
    db.run("CREATE TABLE t (id int, small text, huge text); INSERT INTO t VALUES (1, 'x', 'y'), (2, 'x', repeat('y', 20000000))").await;
    let mut env = synqx_sdk::Env::standalone("db", Role::Source, "/");
    env.budget = synqx_sdk::Budget::new(synqx_model::ByteSize::mib(64));
    let connection = db.open_with(serde_json::json!({"url": db.url}), env);
    let error = read_all(&*connection, "t").await.expect_err("too large");
    assert_eq!(error.code(), Code::E0805, "{error:?}");
    assert!(error.message().contains("`huge`"), "{error:?}");
    db.close().await;
}
