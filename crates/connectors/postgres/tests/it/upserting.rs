//! Upsert: counts that close, the newest row, refused keys, with and without a unique index.
//!
//! Every case runs against PostgreSQL 15 and 18.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StringViewArray};
use arrow::record_batch::RecordBatch;
use synqx_model::Code;
use synqx_model::spec::{SchemaPolicy, WriteMode};
use synqx_sdk::{OrderBy, Receipt, Role};

use crate::database::{Database, SERVERS, target, write};
use crate::writing::batch;

#[tokio::test(flavor = "multi_thread")]
async fn counts_close_with_and_without_an_index() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        for (asset, ddl) in [("keyed", "id int PRIMARY KEY"), ("loose", "id int"), ("made", "")] {
            if !ddl.is_empty() {
                db.run(&format!("CREATE TABLE {asset} ({ddl}, name text, up text GENERATED ALWAYS AS (upper(name)) STORED)")).await;
            }
            let rows = batch(&[1, 2, 3], &[Some("a"), None, Some("c")]);
            let mut target = target(asset, WriteMode::Upsert, rows.schema());
            target.key = vec!["id".into()];
            let first = write(&*connection, &target, &[rows]).await.expect("writes");
            assert_eq!(
                (first.inserted, first.updated, first.unchanged),
                (3, 0, 0),
                "{asset}"
            );
            let rows = batch(&[1, 2, 3, 4], &[Some("a"), Some("b"), None, Some("d")]);
            let second = write(&*connection, &target, &[rows]).await.expect("writes");
            assert_eq!(
                (second.inserted, second.updated, second.unchanged),
                (1, 2, 1),
                "{asset} on {server}"
            );
            assert_eq!(
                db.text(&format!(
                    "SELECT string_agg(id || coalesce(name, '-'), ',' ORDER BY id) FROM {asset}"
                ))
                .await,
                "1a,2b,3-,4d"
            );
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_row_of_a_key_wins_and_ties_are_refused() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE TABLE t (id int PRIMARY KEY, name text)").await;
    let rows = batch(&[1, 1, 1, 2], &[Some("a"), Some("z"), None, Some("b")]);
    let mut target = target("t", WriteMode::Upsert, rows.schema());
    target.key = vec!["id".into()];
    let error = write(&*connection, &target, std::slice::from_ref(&rows))
        .await
        .expect_err("duplicates");
    assert_eq!(error.code(), Code::E0308);
    target.order_by = vec![OrderBy::parse("name")];
    let receipt = write(&*connection, &target, &[rows]).await.expect("writes");
    assert_eq!((receipt.inserted, receipt.superseded), (2, 2));
    assert_eq!(db.text("SELECT name FROM t WHERE id = 1").await, "z");
    let tied = batch(&[5, 5], &[Some("a"), Some("a")]);
    assert_eq!(
        write(&*connection, &target, &[tied])
            .await
            .expect_err("tied")
            .code(),
        Code::E0308
    );
    target.key = vec!["name".into()];
    target.order_by = vec![];
    let nulls = batch(&[1, 2], &[None, Some("x")]);
    let error = write(&*connection, &target, &[nulls])
        .await
        .expect_err("a NULL key");
    assert_eq!(error.code(), Code::E0309);
    assert_eq!(db.count("t").await, 2);
    db.close().await;
}

fn versions(rows: &[(i32, Option<i32>, Option<&str>)]) -> RecordBatch {
    let (ids, at, rank): (ArrayRef, ArrayRef, ArrayRef) = (
        Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<StringViewArray>()),
    );
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("at", at, true), ("rank", rank, true)])
        .expect("a batch")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_older_row_does_not_overwrite_a_newer_one() {
    for server in SERVERS {
        let db = Database::new(server).await;
        let connection = db.open(Role::Destination);
        for key in ["PRIMARY KEY", ""] {
            db.run(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t (id int {key}, at int, rank text COLLATE \"C\"); \
                 INSERT INTO t VALUES (1, 5, 'm'), (2, 5, 'm'), (3, NULL, 'm'), (4, 5, 'm'), (5, 5, 'm'), (6, 5, NULL)"
            ))
            .await;
            let rows = versions(&[
                (1, Some(4), Some("late")),
                (2, Some(6), Some("new")),
                (3, Some(1), Some("first")),
                (4, None, Some("no time")),
                // Equal in `at`: the smaller rank is the newer one.
                (5, Some(5), Some("z")),
                (6, Some(5), Some("any")),
                (7, Some(1), None),
                (7, Some(2), None),
            ]);
            let mut goal = target("t", WriteMode::Upsert, rows.schema());
            goal.key = vec!["id".into()];
            goal.order_by = vec![OrderBy::parse("at"), OrderBy::parse("rank desc")];
            let receipt = write(&*connection, &goal, std::slice::from_ref(&rows))
                .await
                .expect("upserts");
            let sums = |r: &Receipt| (r.inserted, r.updated, r.unchanged, r.superseded);
            assert_eq!(sums(&receipt), (1, 3, 0, 4), "{key} {receipt:?}");
            let stored = "SELECT string_agg(concat_ws(' ', id, coalesce(at::text, '-'), rank), ',' ORDER BY id) FROM t";
            let expected = "1 5 m,2 6 new,3 1 first,4 5 m,5 5 m,6 5 any,7 2";
            assert_eq!(db.text(stored).await, expected, "{key}");
            let receipt = write(&*connection, &goal, &[rows]).await.expect("upserts");
            assert_eq!(sums(&receipt), (0, 0, 4, 4), "{key} {receipt:?}");
            assert_eq!(db.text(stored).await, expected);
        }
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_the_target_does_not_have_is_refused() {
    let db = Database::new("postgres15").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE TABLE t (id int PRIMARY KEY, at int)").await;
    let rows = versions(&[(1, Some(1), None)]);
    let mut goal = target("t", WriteMode::Upsert, rows.schema());
    (goal.key, goal.order_by) = (vec!["id".into()], vec![OrderBy::parse("rank")]);
    goal.policy = SchemaPolicy::Ignore;
    let error = write(&*connection, &goal, &[rows])
        .await
        .expect_err("no such column");
    assert_eq!(error.code(), Code::E0401, "{error:?}");
    db.close().await;
}
