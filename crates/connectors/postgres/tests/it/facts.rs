//! What the catalog may be believed, how many connections a read has, and when it lets go of what it read.
//!
//! Each case is one where the obvious reading of the catalog, or of a cast, is wrong.

use arrow::array::{ArrayRef, AsArray, StringViewArray};
use arrow::record_batch::RecordBatch;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use synqx_model::Code;
use synqx_model::spec::{PartitionBy, PartitionColumn, WriteMode};
use synqx_sdk::{Acceptance, Comparison, Connection, Dataset, Env, Literal, Predicate, Role};

use crate::database::{Database, SERVERS, connect, read_all, scan, target, write};

async fn order_is_pushed(connection: &dyn Connection, column: &str) -> bool {
    let table = connection
        .describe(&Dataset::asset("t"))
        .await
        .expect("describes");
    let source = connection.source().expect("a source");
    let accepts = |op| {
        let literal = Literal::Text("a".into());
        let column = column.to_owned();
        source.accepts(&table, &Predicate::Compare { column, op, literal })
    };
    assert_eq!(accepts(Comparison::Eq), Acceptance::Exact, "{column}");
    accepts(Comparison::Lt) == Acceptance::Exact
}

#[tokio::test(flavor = "multi_thread")]
async fn text_order_is_pushed_only_where_it_is_bytewise() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let name = format!("{}_icu", db.text("SELECT current_database()::text").await);
        let mut locales = vec![
            ("LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'", false),
            ("LOCALE 'C'", true),
        ];
        if server == "postgres18" {
            locales.push((
                "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'",
                true,
            ));
        }
        for (locale, bytewise) in locales {
            db.run(&format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' {locale}"
            ))
            .await;
            let url = format!("{}/{name}", db.url.rsplit_once('/').expect("a url").0);
            let client = connect(&url).await;
            client
                .batch_execute("CREATE TABLE t (plain text, icu text COLLATE \"en-x-icu\", c text COLLATE \"C\"); INSERT INTO t VALUES ('B')")
                .await
                .expect("makes");
            let connection = db.open_with(
                serde_json::json!({"url": url}),
                Env::standalone("db", Role::Source, "/"),
            );
            assert_eq!(
                order_is_pushed(&*connection, "plain").await,
                bytewise,
                "{server} {locale}"
            );
            assert!(!order_is_pushed(&*connection, "icu").await && order_is_pushed(&*connection, "c").await);
            drop(client);
            db.run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_not_null_that_nobody_checked_is_not_believed() {
    for server in SERVERS {
        let db = Database::new(server).await;
        db.run("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE far (a int NOT NULL) SERVER s; \
            CREATE TABLE parts (a int NOT NULL, b int NOT NULL) PARTITION BY LIST (b); CREATE TABLE near PARTITION OF parts FOR VALUES IN (1); \
            CREATE FOREIGN TABLE far_part PARTITION OF parts FOR VALUES IN (2) SERVER s; CREATE TABLE sure (a int NOT NULL)")
            .await;
        let mut cases = vec![("far", true), ("parts", true), ("near", false), ("sure", false)];
        if server == "postgres18" {
            db.run("CREATE TABLE late (a int); INSERT INTO late VALUES (NULL); ALTER TABLE late ADD CONSTRAINT n NOT NULL a NOT VALID")
                .await;
            cases.push(("late", true));
        } else {
            db.run("CREATE TABLE heir_of (a int NOT NULL); CREATE TABLE heir () INHERITS (heir_of); ALTER TABLE heir ALTER a DROP NOT NULL")
                .await;
            cases.push(("heir_of", true));
        }
        let connection = db.open(Role::Source);
        for (asset, nullable) in cases {
            let table = connection.describe(&Dataset::asset(asset)).await.expect(asset);
            assert_eq!(
                table.schema.field(0).is_nullable(),
                nullable,
                "{asset} on {server}"
            );
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_read_as_they_are_printed() {
    for server in SERVERS {
        let db = Database::new(server).await;
        db.run("CREATE DOMAIN host AS inet; CREATE TABLE t (a inet, b cidr, c host, d inet[], e int); \
            INSERT INTO t VALUES ('10.0.0.5', '10.0.0.5', '::1', '{10.0.0.5,10.0.0.0/8}', 1), ('10.0.0.5/8', '10.0.0.0/8', '::1/64', NULL, 2), (NULL, NULL, NULL, NULL, 3)")
            .await;
        let (_, batches) = read_all(&*db.open(Role::Source), "t").await.expect("reads");
        let column = |i: usize| -> Vec<Option<String>> {
            let texts = batches[0].column(i).as_string_view();
            texts.iter().map(|t| t.map(str::to_owned)).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(column(0), [some("10.0.0.5"), some("10.0.0.5/8"), None]);
        assert_eq!(column(1), [some("10.0.0.5/32"), some("10.0.0.0/8"), None]);
        assert_eq!(column(2), [some("::1"), some("::1/64"), None]);
        assert_eq!(column(3), [some("{10.0.0.5,10.0.0.0/8}"), None, None]);
        db.close().await;
    }
}

fn split(column: &str, count: u32) -> PartitionBy {
    PartitionBy::Column(PartitionColumn {
        column: column.into(),
        count,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_over_holds_no_lock() {
    let db = Database::new("postgres15").await;
    db.run("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 100)")
        .await;
    let connection = db.open(Role::Source);
    let source = connection.source().expect("a source");
    for partition in [PartitionBy::None, split("id", 3)] {
        let dataset = Dataset {
            query: Some("select id from t".into()),
            ..Default::default()
        };
        let mut scan = scan(&*connection, dataset).await.expect("describes");
        scan.partition = partition;
        let plan = source.plan(&scan).await.expect("plans");
        let reader = source.open(&scan, &plan).await.expect("opens");
        let (mut streams, mut rows) = (Vec::new(), 0);
        for i in 0..plan.partitions.len() {
            let mut stream = reader.read(i).await.expect("a stream");
            while let Some(batch) = stream.next().await {
                rows += batch.expect("rows").num_rows();
            }
            streams.push(stream);
        }
        assert_eq!(rows, 100);
        // Reader and streams are still there.
        db.run("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT; COMMIT")
            .await;
        drop((reader, streams));
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_has_no_more_connections_than_it_may_have() {
    let db = Database::new("postgres18").await;
    db.run("CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 300)")
        .await;
    let connection = db.open(Role::Source);
    let source = connection.source().expect("a source");
    let mut scan = scan(&*connection, Dataset::asset("t")).await.expect("describes");
    (scan.partition, scan.parallel) = (split("id", 30), 2);
    let plan = source.plan(&scan).await.expect("plans");
    let reader = source.open(&scan, &plan).await.expect("opens");
    let ours = "pg_stat_activity WHERE datname = current_database() AND application_name = 'synqx'";
    let mut streams = Vec::new();
    for i in 0..plan.partitions.len() {
        streams.push(reader.read(i).await.expect("a stream"));
    }
    assert_eq!(streams.len(), 30);
    assert!(
        db.count(ours).await <= 1,
        "the snapshot is held, and nothing is read yet"
    );
    let (mut rows, mut most) = (0, 0);
    let mut all = futures::stream::select_all(streams);
    while let Some(batch) = all.try_next().await.expect("reads") {
        rows += batch.num_rows();
        let active = format!("{ours} AND state <> 'idle'");
        most = most.max(db.count(&active).await);
    }
    assert_eq!(rows, 300);
    assert!((1..=3).contains(&most), "{most} connections");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_about_a_statement_is_shown() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Source);
    db.run("CREATE FUNCTION loud() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 's3cr3t' USING ERRCODE = '42601'; END $$")
        .await;
    let dataset = |query: &str| Dataset {
        query: Some(query.into()),
        ..Default::default()
    };
    for (query, said) in [
        ("selec 1", "syntax error at or near"),
        (
            "select no_such_function()",
            "function no_such_function() does not exist",
        ),
    ] {
        let error = connection.describe(&dataset(query)).await.expect_err("refused");
        assert_eq!(error.code(), Code::E0212);
        assert!(error.detail().is_some_and(|d| d.contains(said)), "{error:?}");
    }
    let scan = scan(&*connection, dataset("select loud() as n"))
        .await
        .expect("describes");
    let error = crate::database::read(&*connection, &scan)
        .await
        .expect_err("raises");
    assert!(error.detail().is_none_or(|d| !d.contains("s3cr3t")), "{error:?}");
    let columns = (0..1700).map(|i| {
        (
            format!("c{i}"),
            Arc::new(StringViewArray::from(vec!["x"])) as ArrayRef,
        )
    });
    let wide = RecordBatch::try_from_iter(columns).expect("a batch");
    let goal = target("wide", WriteMode::Append, wide.schema());
    let error = write(&*db.open(Role::Destination), &goal, &[wide])
        .await
        .expect_err("too wide");
    assert!(
        error.detail().is_some_and(|d| d.contains("1600 columns")),
        "{error:?}"
    );
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn elements_of_arrays_are_not_cut() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        db.run(
            "CREATE TABLE t (a varchar(3)[], b bit(3)[], c char(3)[], d bit varying(3)[], e numeric(5,2)[])",
        )
        .await;
        for (column, fits, too_long) in [
            ("a", "{abc,d}", "{abcd}"),
            ("b", "{101}", "{1010}"),
            ("c", "{abc,\"d  \"}", "{abcd}"),
            ("d", "{101,1}", "{1010}"),
        ] {
            for (text, ok) in [(fits, true), (too_long, false)] {
                let array: ArrayRef = Arc::new(StringViewArray::from(vec![text]));
                let rows = RecordBatch::try_from_iter([(column, array)]).expect("a batch");
                let mut goal = target("t", WriteMode::Append, rows.schema());
                goal.policy = synqx_model::spec::SchemaPolicy::Ignore;
                match write(&*connection, &goal, &[rows]).await {
                    Ok(_) => assert!(ok, "{column} {text}"),
                    Err(error) => assert!(!ok && error.code() == Code::E0307, "{column} {text} {error:?}"),
                }
            }
            let stored = format!("SELECT string_agg({column}::text, ' ') FROM t");
            assert_eq!(db.text(&stored).await, fits);
        }
        let array: ArrayRef = Arc::new(StringViewArray::from(vec!["{1.005}"]));
        let rows = RecordBatch::try_from_iter([("e", array)]).expect("a batch");
        let mut goal = target("t", WriteMode::Append, rows.schema());
        goal.policy = synqx_model::spec::SchemaPolicy::Ignore;
        let error = write(&*connection, &goal, &[rows]).await.expect_err("rounds");
        assert_eq!(error.code(), Code::E0403);
        db.close().await;
    }
}
