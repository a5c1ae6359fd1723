//! Relations that are not plain tables, and names that are not plain words: a rule for each, as the docs say it.
//!
//! Parents and leaves of partitions, inheritance, views, foreign tables, policies, unlogged and temporary tables.

use synqx_model::Code;
use synqx_model::spec::WriteMode;
use synqx_sdk::{Dataset, Role};

use crate::database::{Database, SERVERS, read_all, rows, target, write};

async fn count(db: &Database, asset: &str) -> usize {
    let (_, batches) = read_all(&*db.open(Role::Source), asset)
        .await
        .unwrap_or_else(|e| panic!("{asset}: {e:?}"));
    rows(&batches)
}

async fn notes(db: &Database, asset: &str) -> String {
    let table = db
        .open(Role::Source)
        .describe(&Dataset::asset(asset))
        .await
        .expect("described");
    table.notes.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_is_all_its_rows_and_a_leaf_its_own() {
    for server in SERVERS {
        let db = Database::new(server).await;
        db.run(
            "CREATE TABLE p (id int NOT NULL, x text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); \
             CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20) PARTITION BY LIST (x); CREATE TABLE p2a PARTITION OF p2 DEFAULT; \
             INSERT INTO p SELECT i, 'x' FROM generate_series(0, 14) i; \
             CREATE TABLE base (id int); CREATE TABLE child (y int) INHERITS (base); INSERT INTO base VALUES (1); INSERT INTO child VALUES (2, 3)",
        )
        .await;
        for (asset, expected) in [
            ("p", 15),
            ("p1", 10),
            ("p2", 5),
            ("p2a", 5),
            ("base", 2),
            ("child", 1),
        ] {
            assert_eq!(count(&db, asset).await, expected, "{asset} on {server}");
        }
        assert!(notes(&db, "base").await.contains("inherit from it are read too"));
        assert!(notes(&db, "p").await.is_empty());
        // A copy of a partitioned table is a plain table with its key.
        let (schema, batches) = read_all(&*db.open(Role::Source), "p").await.expect("reads");
        let mut copy = target("c", WriteMode::Append, schema);
        copy.source_key = vec!["id".into()];
        write(&*db.open(Role::Destination), &copy, &batches)
            .await
            .expect("writes");
        assert_eq!(
            db.text("SELECT relkind::text || relhasindex::text FROM pg_class WHERE oid = 'c'::regclass")
                .await,
            "rtrue"
        );
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_and_foreign_tables_are_read_and_nothing_about_null_is_taken_from_them() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let local = db
            .url
            .rsplit_once(':')
            .and_then(|(_, rest)| rest.split_once('/'))
            .expect("a url");
        db.run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, x text NOT NULL); INSERT INTO t VALUES (1, 'a'), (2, 'b'); CREATE VIEW v AS SELECT * FROM t; \
             CREATE MATERIALIZED VIEW m AS SELECT * FROM t; CREATE MATERIALIZED VIEW unfilled AS SELECT * FROM t WITH NO DATA; \
             CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{}', dbname '{}'); \
             CREATE USER MAPPING FOR postgres SERVER s OPTIONS (user 'postgres'); CREATE FOREIGN TABLE f (id int, x text NOT NULL) SERVER s OPTIONS (table_name 't')",
            local.0, local.1
        ))
        .await;
        for asset in ["v", "m", "f"] {
            let (schema, batches) = read_all(&*db.open(Role::Source), asset).await.expect("reads");
            assert_eq!(rows(&batches), 2, "{asset} on {server}");
            assert!(schema.field_with_name("x").expect("x").is_nullable(), "{asset}");
        }
        // What has no rows yet is an error of the source, not an empty table.
        let error = read_all(&*db.open(Role::Source), "unfilled")
            .await
            .expect_err("unfilled");
        assert!(
            error.to_string().contains("unfilled") || error.detail().is_some_and(|d| d.contains("unfilled")),
            "{error:?}"
        );
        for asset in ["v", "m", "f"] {
            let (schema, batches) = read_all(&*db.open(Role::Source), "t").await.expect("reads");
            let refused = write(
                &*db.open(Role::Destination),
                &target(asset, WriteMode::Append, schema),
                &batches,
            )
            .await;
            assert_eq!(refused.expect_err("no table").code(), Code::E0310, "{asset}");
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_hides_rows_and_the_plan_says_so() {
    let db = Database::new("postgres18").await;
    let role = format!("reader_{}", std::process::id());
    db.run(&format!(
        "CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2), (3); ALTER TABLE t ENABLE ROW LEVEL SECURITY; \
         CREATE POLICY visible ON t USING (id > 1); CREATE ROLE {role} LOGIN PASSWORD 'only-here-1'; GRANT SELECT ON t TO {role}"
    ))
    .await;
    assert_eq!(count(&db, "t").await, 3);
    assert!(notes(&db, "t").await.is_empty());
    let url = db.url.replace("postgres@", &format!("{role}:only-here-1@"));
    let env = synqx_sdk::Env::standalone("db", Role::Source, "/");
    let restricted = db.open_with(serde_json::json!({"url": url}), env);
    let table = restricted
        .describe(&Dataset::asset("t"))
        .await
        .expect("described");
    assert!(
        table.notes.join("\n").contains("row-level security holds"),
        "{:?}",
        table.notes
    );
    let (_, batches) = read_all(&*restricted, "t").await.expect("reads");
    assert_eq!(rows(&batches), 2);
    drop(restricted);
    db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlogged_table_is_read_and_its_copy_is_logged_and_temporary_tables_are_not_seen() {
    let db = Database::new("postgres15").await;
    db.run(
        "CREATE UNLOGGED TABLE u (id int); INSERT INTO u VALUES (1); CREATE TEMPORARY TABLE hidden (id int)",
    )
    .await;
    let (schema, batches) = read_all(&*db.open(Role::Source), "u").await.expect("reads");
    write(
        &*db.open(Role::Destination),
        &target("c", WriteMode::Append, schema),
        &batches,
    )
    .await
    .expect("writes");
    assert_eq!(
        db.text("SELECT relpersistence::text FROM pg_class WHERE oid = 'c'::regclass")
            .await,
        "p"
    );
    let error = read_all(&*db.open(Role::Source), "hidden")
        .await
        .expect_err("hidden");
    assert_eq!(error.code(), Code::E0204);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_arrive_as_they_are_or_are_refused() {
    let db = Database::new("postgres15").await;
    let longest = "é".repeat(31) + "x";
    let names = [
        "Id",
        "id",
        "ID",
        " a ",
        "a.b",
        "sélect",
        "order",
        "it\"s",
        "🚀",
        "1",
        "%s",
        longest.as_str(),
    ];
    let quoted: Vec<String> = names
        .iter()
        .map(|n| format!("\"{}\" int", n.replace('"', "\"\"")))
        .collect();
    db.run(&format!("CREATE SCHEMA \"My.Schema \"; CREATE TABLE \"My.Schema \".\"T \"\"x\" ({}); INSERT INTO \"My.Schema \".\"T \"\"x\" VALUES (1,2,3,4,5,6,7,8,9,10,11,12)", quoted.join(", "))).await;
    let asset = "\"My.Schema \".\"T \"\"x\"";
    let (schema, batches) = read_all(&*db.open(Role::Source), asset).await.expect("reads");
    let found: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(found, names);
    let copy = "\"My.Schema \".\"C.\"";
    write(
        &*db.open(Role::Destination),
        &target(copy, WriteMode::Append, schema),
        &batches,
    )
    .await
    .expect("writes");
    let differs = format!("(SELECT * FROM {asset} EXCEPT SELECT * FROM {copy}) x");
    assert_eq!((db.count(copy).await, db.count(&differs).await), (1, 0));
    let column = |name: &str| {
        use arrow::datatypes::{DataType, Field, Schema};
        let field = Field::new(name, DataType::Int32, true);
        target(
            "long",
            WriteMode::Append,
            std::sync::Arc::new(Schema::new(vec![field])),
        )
    };
    let destination = db.open(Role::Destination);
    let refused = destination
        .destination()
        .expect("a destination")
        .prepare(&column(&(longest + "y")), true)
        .await;
    assert_eq!(refused.expect_err("too long").code(), Code::E0116);
    db.close().await;
}
