//! Append and replace: paths, what survives, the fence, the lost answer.
//!
//! What readers see is asked of the server on another connection.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, StringViewArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::record_batch::RecordBatch;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_model::{Code, Position};
use synqx_sdk::{Effect, Env, FenceClaim, Moment, Probe, PublishPath, Role};

use crate::database::{Database, SERVERS, begin, target, write};

pub(crate) fn batch(ids: &[i32], names: &[Option<&str>]) -> RecordBatch {
    let (ids, names): (ArrayRef, ArrayRef) = (
        Arc::new(Int32Array::from(ids.to_vec())),
        Arc::new(StringViewArray::from(names.to_vec())),
    );
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("name", names, true)]).expect("a batch")
}

#[tokio::test(flavor = "multi_thread")]
async fn append_adds_rows_once_on_every_path() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        let rows = batch(&[1, 2, 3], &[Some("a"), None, Some("c")]);
        for (asset, lanes, exists, path) in [
            ("fresh", None, false, PublishPath::Fresh),
            ("direct", None, true, PublishPath::Direct),
            ("staged", Some(3), true, PublishPath::Staged),
        ] {
            if exists {
                db.run(&format!(
                    "CREATE TABLE {asset} (name text, id int PRIMARY KEY, extra int DEFAULT 7)"
                ))
                .await;
            }
            let mut target = target(asset, WriteMode::Append, rows.schema());
            target.lanes = lanes;
            let prepared = connection
                .destination()
                .expect("one")
                .prepare(&target, true)
                .await
                .expect("prepares");
            assert_eq!(prepared.path, path, "{}", prepared.why);
            let receipt = write(&*connection, &target, std::slice::from_ref(&rows))
                .await
                .expect("writes");
            assert_eq!(receipt.inserted, 3);
            assert_eq!(
                db.text(&format!(
                    "SELECT string_agg(id || coalesce(name, '-'), ',' ORDER BY id) FROM {asset}"
                ))
                .await,
                "1a,2-,3c"
            );
            let load = begin(&*connection, &target).await.expect("begins");
            assert_eq!(load.committed().map(|c| c.run), Some(target.run));
            load.abort().await.expect("aborts");
        }
        assert_eq!(
            db.count(
                "pg_class WHERE relkind = 'r' AND relname LIKE '\\_synqx\\_%' AND relname <> '_synqx_commit'"
            )
            .await,
            0
        );
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_prepare_changes_nothing_and_prints_what_would_be_done() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    let before = db.count("pg_class").await;
    let target = target("t", WriteMode::Append, batch(&[], &[]).schema());
    let prepared = connection
        .destination()
        .expect("one")
        .prepare(&target, true)
        .await
        .expect("prepares");
    assert!(
        prepared
            .actions
            .iter()
            .any(|a| a.text.contains("CREATE TABLE") && a.text.contains("\"id\" integer NOT NULL"))
    );
    assert_eq!(db.count("pg_class").await, before);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_keeps_what_belongs_to_the_table() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        let role = format!("r_{}", db.text("SELECT current_database()::text").await);
        db.run(&format!("CREATE ROLE {role}; CREATE TABLE t (id int PRIMARY KEY, gone int, name text, n int GENERATED ALWAYS AS IDENTITY, s serial); \
            ALTER TABLE t DROP COLUMN gone; CREATE INDEX by_name ON t (name) WHERE id > 0; CREATE INDEX odd ON t (lower(name)); \
            COMMENT ON TABLE t IS 'it''s'; COMMENT ON COLUMN t.name IS 'c'; GRANT SELECT ON t TO {role}; \
            INSERT INTO t (id, name) SELECT i, 'old' FROM generate_series(1, 5) i")).await;
        let about = "SELECT (SELECT string_agg(indexrelid::regclass || ' ' || pg_get_indexdef(indexrelid), E'\\n' ORDER BY indexrelid::regclass::text) FROM pg_index WHERE indrelid = 't'::regclass) \
            || relacl::text || obj_description(oid) || col_description(oid, (SELECT attnum FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = 'name')) \
            || pg_get_serial_sequence('t', 's') || pg_get_serial_sequence('t', 'n') || relpersistence::text FROM pg_class WHERE oid = 't'::regclass";
        let before = db.text(about).await;
        let rows = batch(&[10, 20], &[Some("new"), None]);
        let mut swapped = target("t", WriteMode::Replace, rows.schema());
        swapped.policy = SchemaPolicy::Ignore;
        swapped.replace.keep_previous = true;
        let prepared = connection
            .destination()
            .expect("one")
            .prepare(&swapped, true)
            .await
            .expect("prepares");
        assert_eq!(prepared.path, PublishPath::Fresh, "{}", prepared.why);
        for _ in 0..2 {
            write(&*connection, &swapped, std::slice::from_ref(&rows))
                .await
                .expect("writes");
        }
        assert_eq!(db.text(about).await, before);
        assert_eq!(
            db.text("SELECT string_agg(id::text, ',' ORDER BY id) FROM t")
                .await,
            "10,20"
        );
        assert_eq!(db.count("t__previous").await, 2);
        db.run("INSERT INTO t (id) VALUES (30)").await;
        assert!(
            db.text("SELECT n::text FROM t WHERE id = 30")
                .await
                .parse::<i32>()
                .expect("a number")
                > 5
        );
        // With a view on it the table stays, and so does the view.
        db.run("CREATE VIEW v AS SELECT id FROM t").await;
        let mut staged = target("t", WriteMode::Replace, rows.schema());
        staged.policy = SchemaPolicy::Ignore;
        let prepared = connection
            .destination()
            .expect("one")
            .prepare(&staged, true)
            .await
            .expect("prepares");
        assert_eq!(prepared.path, PublishPath::Staged);
        assert!(prepared.why.contains("views"), "{}", prepared.why);
        let receipt = write(&*connection, &staged, std::slice::from_ref(&rows))
            .await
            .expect("writes");
        assert_eq!((receipt.inserted, receipt.deleted), (2, 3));
        assert_eq!((db.text(about).await, db.count("v").await), (before, 2));
        db.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_fence_publishes_nothing() {
    let db = Database::new("postgres18").await;
    let connection = db.open(Role::Destination);
    let destination = connection.destination().expect("one");
    for (asset, lanes) in [("direct", 1), ("staged", 2)] {
        db.run(&format!("CREATE TABLE {asset} (id int, name text)")).await;
        let rows = batch(&[1], &[None]);
        let mut target = target(asset, WriteMode::Append, rows.schema());
        target.lanes = Some(lanes);
        let prepared = destination.prepare(&target, false).await.expect("prepares");
        let mut old = destination
            .begin(&target, &prepared, FenceClaim::Exact(7))
            .await
            .expect("begins");
        let mut lane = old.writer().await.expect("a lane");
        lane.write(rows).await.expect("writes");
        lane.finish().await.expect("finishes");
        assert_eq!(
            destination
                .begin(&target, &prepared, FenceClaim::Exact(6))
                .await
                .err()
                .map(|e| e.code()),
            Some(Code::E0504)
        );
        let new = destination
            .begin(&target, &prepared, FenceClaim::Next)
            .await
            .expect("takes over");
        assert_eq!(new.fence(), 8);
        assert!(new.committed().is_none());
        let error = old.commit(&Position::default()).await.expect_err("too late");
        assert_eq!(error.code(), Code::E0501);
        assert_eq!(db.count(asset).await, 0);
        new.abort().await.expect("aborts");
    }
    db.close().await;
}

#[derive(Debug)]
struct LosesAnswer;

impl Probe for LosesAnswer {
    fn reach(&self, effect: Effect, moment: Moment) -> synqx_model::Result<()> {
        match (effect, moment) {
            (Effect::Publish, Moment::After) => Err(synqx_model::Error::bug("the answer is lost")),
            _ => Ok(()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_known_to_the_next_begin() {
    let db = Database::new("postgres15").await;
    let rows = batch(&[1, 2], &[None, None]);
    let target = target("t", WriteMode::Append, rows.schema());
    let mut env = Env::standalone("db", Role::Destination, "/");
    env.probe = Arc::new(LosesAnswer);
    let lossy = db.open_with(serde_json::json!({"url": db.url}), env);
    let error = write(&*lossy, &target, &[rows]).await.expect_err("lost");
    assert_eq!(error.code(), Code::E0317);
    let load = begin(&*db.open(Role::Destination), &target)
        .await
        .expect("begins");
    assert_eq!(load.committed().map(|c| c.run), Some(target.run));
    assert_eq!(db.count("t").await, 2);
    drop(load);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_are_told_all_at_once_or_evolved() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    let destination = connection.destination().expect("one");
    db.run("CREATE TABLE t (id int, must text NOT NULL)").await;
    let (id, note, when): (ArrayRef, ArrayRef, ArrayRef) = (
        Arc::new(Int64Array::from(vec![1 << 40])),
        Arc::new(StringViewArray::from(vec!["n"])),
        Arc::new(TimestampNanosecondArray::from(vec![1])),
    );
    let rows = RecordBatch::try_from_iter([("id", Arc::clone(&id)), ("note", note)]).expect("a batch");
    let mut target = target("t", WriteMode::Append, rows.schema());
    let error = destination.prepare(&target, true).await.expect_err("differs");
    assert_eq!(error.code(), Code::E0405);
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains("`note`") && d.contains("`must`")),
        "{error:?}"
    );
    db.run("ALTER TABLE t DROP COLUMN must").await;
    target.policy = SchemaPolicy::Evolve;
    write(&*connection, &target, &[rows]).await.expect("evolves");
    assert_eq!(db.text("SELECT id || note FROM t").await, "1099511627776n");
    let fine = RecordBatch::try_from_iter([("when", when)]).expect("a batch");
    let mut nanos = crate::database::target("fine", WriteMode::Append, fine.schema());
    assert_eq!(
        destination.prepare(&nanos, true).await.expect_err("lossy").code(),
        Code::E0403
    );
    nanos.allow_loss = vec!["when".into()];
    write(&*connection, &nanos, &[fine]).await.expect("consented");
    let wide = RecordBatch::try_from_iter([("u", Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef)])
        .expect("a batch");
    write(
        &*connection,
        &crate::database::target("wide", WriteMode::Append, wide.schema()),
        &[wide],
    )
    .await
    .expect("writes");
    assert_eq!(db.text("SELECT u::text FROM wide").await, u64::MAX.to_string());
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_narrower_than_what_arrives_is_told_before_the_run() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    let destination = connection.destination().expect("one");
    db.run("CREATE TABLE t (id int, note varchar(3))").await;
    let (id, note): (ArrayRef, ArrayRef) = (
        Arc::new(Int64Array::from(vec![1])),
        Arc::new(StringViewArray::from(vec!["n"])),
    );
    let rows = RecordBatch::try_from_iter([("id", id), ("note", note)]).expect("a batch");
    for mode in [WriteMode::Append, WriteMode::Replace, WriteMode::Upsert] {
        for policy in [SchemaPolicy::Strict, SchemaPolicy::Ignore] {
            let mut target = target("t", mode, rows.schema());
            target.policy = policy;
            target.key = vec!["id".into()];
            // Consent is to losing digits, not rows.
            target.allow_loss = vec!["id".into()];
            let error = destination.prepare(&target, true).await.expect_err("narrower");
            assert_eq!(error.code(), Code::E0405, "{error:?}");
            let told = error
                .detail()
                .is_some_and(|d| d.contains("`id` is integer in the target and bigint here"));
            assert!(
                told && error.hint().is_some_and(|h| h.contains("cast")),
                "{error:?}"
            );
        }
    }
    let mut target = target("t", WriteMode::Append, rows.schema());
    target.policy = SchemaPolicy::Evolve;
    let prepared = destination.prepare(&target, true).await.expect("widens");
    assert!(
        prepared
            .notes
            .iter()
            .any(|n| n.contains("`note`") && n.contains("more than 3 characters")),
        "{:?}",
        prepared.notes
    );
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_load_leaves_nothing_after_the_next_begin() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    let rows = batch(&[1], &[None]);
    let target = target("t", WriteMode::Append, rows.schema());
    let mut load = begin(&*connection, &target).await.expect("begins");
    let mut lane = load.writer().await.expect("a lane");
    lane.write(rows.clone()).await.expect("writes");
    drop((lane, load));
    write(&*connection, &target, &[rows]).await.expect("writes");
    assert_eq!(db.count("t").await, 1);
    assert_eq!(
        db.count(
            "pg_class WHERE relkind = 'r' AND relname LIKE '\\_synqx\\_%' AND relname <> '_synqx_commit'"
        )
        .await,
        0
    );
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_changed_since_prepare_is_refused() {
    let db = Database::new("postgres18").await;
    db.run("CREATE TABLE t (id int, name text)").await;
    let connection = db.open(Role::Destination);
    let destination = connection.destination().expect("one");
    let target = target("t", WriteMode::Append, batch(&[], &[]).schema());
    let prepared = destination.prepare(&target, false).await.expect("prepares");
    db.run("ALTER TABLE t ALTER COLUMN id TYPE bigint").await;
    assert_eq!(
        destination
            .begin(&target, &prepared, FenceClaim::Next)
            .await
            .err()
            .map(|e| e.code()),
        Some(Code::E0311)
    );
    db.close().await;
}
