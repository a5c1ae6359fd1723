//! Modes that delete, mark or close on real tables: inheritance, foreign keys, sequences, going back, schema policies.
//!
//! What the modes mean is in the shared conformance suite; here is what only PostgreSQL has.

use synqx_model::Code;
use synqx_model::spec::{DeleteHow, SchemaPolicy, WriteMode};
use synqx_sdk::{Role, Target};

use crate::database::{Database, SERVERS, target, write};
use crate::writing::batch;

const MODES: [WriteMode; 5] = [
    WriteMode::Replace,
    WriteMode::Upsert,
    WriteMode::DeleteInsert,
    WriteMode::Mirror,
    WriteMode::Scd2,
];

/// A load of ids and names in a mode, which may delete everything.
fn load(asset: &str, mode: WriteMode, rows: &arrow::record_batch::RecordBatch) -> Target {
    let mut target = target(asset, mode, rows.schema());
    if target.has_key() {
        target.key = vec!["id".into()];
    }
    if mode == WriteMode::DeleteInsert {
        target.partition_by = vec!["id".into()];
    }
    target.mirror.max_delete_percent = 100;
    target
}

const ALL: &str = "SELECT string_agg(tableoid::regclass || ':' || id || ':' || name, ' ' ORDER BY tableoid::regclass::text, id, name) FROM ";

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_inherit_keep_their_rows_in_every_mode() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        for mode in MODES {
            let history = if mode == WriteMode::Scd2 {
                ", valid_from timestamptz default '2020-01-01', valid_to timestamptz, is_current boolean default true"
            } else {
                ""
            };
            db.run(&format!(
                "DROP TABLE IF EXISTS parent CASCADE; CREATE TABLE parent (id int, name text{history}); CREATE TABLE child () INHERITS (parent); \
                 INSERT INTO parent (id, name) VALUES (1, 'old'); INSERT INTO child (id, name) VALUES (1, 'kept'), (7, 'kept')"
            ))
            .await;
            let rows = batch(&[1, 2], &[Some("new"), Some("new")]);
            let load = load("parent", mode, &rows);
            write(&*connection, &load, &[rows]).await.expect("writes");
            let child = db.text(&format!("{ALL} child")).await;
            assert_eq!(
                child,
                "child:1:kept child:7:kept",
                "{} on {server}",
                mode.as_str()
            );
            let own = if mode == WriteMode::Scd2 {
                "parent:1:new parent:1:old parent:2:new"
            } else {
                "parent:1:new parent:2:new"
            };
            assert_eq!(
                db.text(&format!("{ALL} ONLY parent")).await,
                own,
                "{}",
                mode.as_str()
            );
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_belong_to_their_table_in_every_mode() {
    let db = Database::new("postgres18").await;
    let connection = db.open(Role::Destination);
    for mode in MODES {
        let history = if mode == WriteMode::Scd2 {
            ", valid_from timestamptz default '2020-01-01', valid_to timestamptz, is_current boolean default true"
        } else {
            ""
        };
        db.run(&format!(
            "DROP TABLE IF EXISTS p CASCADE; CREATE TABLE p (id int, name text{history}) PARTITION BY RANGE (id); \
             CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (5); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (5) TO (100); \
             INSERT INTO p (id, name) VALUES (1, 'old'), (7, 'old')"
        ))
        .await;
        let rows = batch(&[1, 9], &[Some("new"), Some("new")]);
        let load = load("p", mode, &rows);
        write(&*connection, &load, &[rows]).await.expect("writes");
        let wanted = match mode {
            WriteMode::Replace | WriteMode::Mirror => "p1:1:new p2:9:new",
            WriteMode::Scd2 => "p1:1:new p1:1:old p2:7:old p2:9:new",
            _ => "p1:1:new p2:7:old p2:9:new",
        };
        assert_eq!(db.text(&format!("{ALL} p")).await, wanted, "{}", mode.as_str());
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_that_would_reach_other_tables_are_refused() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); \
         CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE); INSERT INTO child VALUES (2)",
    )
    .await;
    let rows = batch(&[1], &[Some("a")]);
    let destination = connection.destination().expect("a destination");
    for mode in [WriteMode::Replace, WriteMode::DeleteInsert, WriteMode::Mirror] {
        let refused = destination.prepare(&load("t", mode, &rows), true).await;
        let error = refused.expect_err("refused");
        assert_eq!(error.code(), Code::E0310, "{}", mode.as_str());
        assert!(error.detail().is_some_and(|d| d.contains("CASCADE")), "{error:?}");
    }
    let mut soft = load("t", WriteMode::Mirror, &rows);
    soft.mirror.delete = DeleteHow::Soft;
    soft.policy = SchemaPolicy::Evolve;
    let receipt = write(&*connection, &soft, &[rows]).await.expect("marks");
    assert_eq!((receipt.unchanged, receipt.deleted), (1, 1));
    assert_eq!(db.count("child").await, 1);
    assert_eq!(db.count("t WHERE deleted_at IS NOT NULL").await, 1);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deferred_foreign_key_sees_the_rows_that_came_back() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a'), (2, 'b'); \
         CREATE TABLE child (t int REFERENCES t DEFERRABLE); INSERT INTO child VALUES (2)",
    )
    .await;
    let rows = batch(&[1, 2], &[Some("A"), Some("B")]);
    let receipt = write(&*connection, &load("t", WriteMode::DeleteInsert, &rows), &[rows])
        .await
        .expect("writes");
    assert_eq!((receipt.inserted, receipt.deleted), (2, 2));
    let gone = batch(&[1], &[Some("A")]);
    let refused = write(&*connection, &load("t", WriteMode::Mirror, &gone), &[gone]).await;
    assert_eq!(refused.expect_err("refused").code(), Code::E0307);
    assert_eq!(db.text("SELECT string_agg(name, '') FROM t").await, "AB");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences_go_on_where_the_loaded_values_end() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        for kind in [
            "serial",
            "int GENERATED BY DEFAULT AS IDENTITY",
            "int GENERATED ALWAYS AS IDENTITY",
        ] {
            for mode in [
                WriteMode::Append,
                WriteMode::Replace,
                WriteMode::Upsert,
                WriteMode::DeleteInsert,
                WriteMode::Mirror,
            ] {
                db.run(&format!(
                    "DROP TABLE IF EXISTS s; CREATE TABLE s (id {kind}, name text); ALTER TABLE s ADD PRIMARY KEY (id)"
                ))
                .await;
                let rows = batch(&[3, 41], &[Some("a"), Some("b")]);
                let wanted = load("s", mode, &rows);
                write(&*connection, &wanted, &[rows]).await.expect("writes");
                db.run("INSERT INTO s (name) VALUES ('next')").await;
                let next = db.text("SELECT id::text FROM s WHERE name = 'next'").await;
                assert_eq!(next, "42", "{kind}, {} on {server}", mode.as_str());
                // Never back.
                let small = batch(&[1], &[Some("small")]);
                let wanted = load("s", WriteMode::Replace, &small);
                write(&*connection, &wanted, &[small]).await.expect("writes");
                db.run("INSERT INTO s (name) VALUES ('after')").await;
                assert_eq!(db.text("SELECT id::text FROM s WHERE name = 'after'").await, "43");
            }
        }
        db.run("DROP TABLE s; CREATE TABLE s (id serial, name text)")
            .await;
        let rows = batch(&[41], &[Some("a")]);
        let mut off = load("s", WriteMode::Append, &rows);
        off.options.insert("advance_sequences".into(), false.into());
        write(&*connection, &off, &[rows]).await.expect("writes");
        db.run("INSERT INTO s (name) VALUES ('next')").await;
        assert_eq!(db.text("SELECT id::text FROM s WHERE name = 'next'").await, "1");
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_option_of_a_load_is_refused() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    let rows = batch(&[1], &[Some("a")]);
    let destination = connection.destination().expect("a destination");
    for (key, value, code) in [
        ("advance_sequence", serde_json::json!(true), Code::E0102),
        ("advance_sequences", serde_json::json!("no"), Code::E0103),
    ] {
        let mut wrong = load("t", WriteMode::Append, &rows);
        wrong.options.insert(key.into(), value);
        let refused = destination.prepare(&wrong, true).await;
        assert_eq!(refused.expect_err("refused").code(), code);
    }
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replace_by_swap_warns_of_nothing_and_goes_back_with_everything_that_depends_on_it() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        let destination = connection.destination().expect("a destination");
        db.run(
            "CREATE TABLE t (id int PRIMARY KEY, name text); COMMENT ON TABLE t IS 'said'; INSERT INTO t VALUES (1, 'old'); \
             CREATE INDEX by_name ON t (name); GRANT SELECT ON t TO PUBLIC",
        )
        .await;
        let rows = batch(&[2, 3], &[Some("new"), Some("new")]);
        let mut replace = load("t", WriteMode::Replace, &rows);
        replace.replace.keep_previous = true;
        let receipt = write(&*connection, &replace, &[rows]).await.expect("writes");
        assert_eq!(receipt.notes, Vec::<String>::new());
        db.run("CREATE VIEW v AS SELECT count(*) AS n FROM t").await;
        let receipt = destination.rollback(&replace).await.expect("goes back");
        assert_eq!((receipt.inserted, receipt.deleted), (1, 2));
        assert_eq!(db.text(&format!("{ALL} t")).await, "t:1:old");
        assert_eq!(db.text("SELECT n::text FROM v").await, "1");
        let kept = "SELECT obj_description('t'::regclass) || has_table_privilege('public', 't', 'SELECT')::text \
                    || (SELECT count(*) FROM pg_indexes WHERE tablename = 't')";
        assert_eq!(db.text(kept).await, "saidtrue2");
        let again = destination.rollback(&replace).await.expect_err("once");
        assert_eq!(again.code(), Code::E0304);
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_no_history_is_not_made_one() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a')")
        .await;
    let rows = batch(&[1], &[Some("b")]);
    for policy in [SchemaPolicy::Strict, SchemaPolicy::Evolve, SchemaPolicy::Ignore] {
        let mut history = load("t", WriteMode::Scd2, &rows);
        history.policy = policy;
        let refused = write(&*connection, &history, std::slice::from_ref(&rows)).await;
        assert_eq!(refused.expect_err("refused").code(), Code::E0310);
    }
    assert_eq!(db.text(&format!("{ALL} t")).await, "t:1:a");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_the_server_cannot_read_is_refused_before_a_row_moves() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let rows = batch(&[1], &[Some("b")]);
    let mut wrong = load("t", WriteMode::Mirror, &rows);
    wrong.mirror.scope.0 = vec![("id".into(), serde_json::json!("many"))];
    let destination = connection.destination().expect("a destination");
    let refused = destination.prepare(&wrong, true).await.expect_err("refused");
    assert_eq!(refused.code(), Code::E0103);
    assert!(!format!("{refused:?}").contains("many"), "no value in a message");
    db.close().await;
}
