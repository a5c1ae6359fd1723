//! Upsert: counts that close, the newest row, refused keys, with and without a unique index.
//!
//! Every case runs against PostgreSQL 15 and 18.

use synqx_model::Code;
use synqx_model::spec::WriteMode;
use synqx_sdk::{OrderBy, Role};

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
