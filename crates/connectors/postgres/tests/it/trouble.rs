//! What goes wrong is told with the right code, the object's name and an action, and without a value or a secret.
//!
//! Each case is a real refusal of a real server, never a simulated one.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::record_batch::RecordBatch;
use serde_json::json;
use synqx_model::Code;
use synqx_model::spec::WriteMode;
use synqx_sdk::{Dataset, Env, Role};

use crate::database::{Database, target, write};
use crate::writing::batch;

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_names_the_object() {
    let db = Database::new("postgres15").await;
    let role = format!("poor_{}", db.text("SELECT current_database()::text").await);
    db.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'correct-horse'; CREATE TABLE secret (id int, name text); CREATE SCHEMA closed; CREATE TABLE closed.t (id int)")).await;
    let url = db.url.replace("postgres@", &format!("{role}:correct-horse@"));
    let open = |role| db.open_with(json!({"url": url}), Env::standalone("db", role, "/"));
    let source = open(Role::Source);
    let error = crate::database::read_all(&*source, "secret")
        .await
        .expect_err("denied");
    assert_eq!(error.code(), Code::E0203, "{error:?}");
    assert!(error.message().contains("secret") && error.hint().is_some());
    assert_eq!(
        source
            .describe(&Dataset::asset("closed.t"))
            .await
            .expect_err("denied")
            .code(),
        Code::E0203
    );
    let rows = batch(&[1], &[None]);
    let error = write(
        &*open(Role::Destination),
        &target("closed.new", WriteMode::Append, rows.schema()),
        &[rows],
    )
    .await
    .expect_err("denied");
    assert_eq!(error.code(), Code::E0303);
    let findings = open(Role::Destination).check().await.expect("checks");
    assert!(
        findings
            .iter()
            .any(|f| f.name == "rights" && !f.ok && f.hint.is_some()),
        "{findings:?}"
    );
    let wrong = db.open_with(
        json!({"url": url.replace("correct-horse", "wrong-battery")}),
        Env::standalone("db", Role::Destination, "/"),
    );
    let error = wrong.domain().await.expect_err("a wrong password");
    assert_eq!(error.code(), Code::E0302, "{error:?}");
    assert!(
        error.hint().is_some_and(|h| h.contains("password"))
            && !error.to_json().to_string().contains("battery")
    );
    let none = db.open_with(
        json!({"url": url.replace(":correct-horse", "")}),
        Env::standalone("db", Role::Source, "/"),
    );
    assert_eq!(none.domain().await.expect_err("no password").code(), Code::E0202);
    db.run(&format!("DROP ROLE {role}")).await;
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_server_and_an_absent_database_are_findings() {
    let db = Database::new("postgres15").await;
    let nowhere = db.open_with(
        json!({"host": "127.0.0.1", "port": 1, "user": "x"}),
        Env::standalone("db", Role::Source, "/"),
    );
    assert_eq!(
        nowhere
            .describe(&Dataset::asset("t"))
            .await
            .expect_err("nobody there")
            .code(),
        Code::E0201
    );
    assert!(
        nowhere
            .check()
            .await
            .expect("checks")
            .iter()
            .any(|f| f.name == "reachable" && !f.ok)
    );
    let absent = db.open_with(
        json!({"url": format!("{}_absent", db.url)}),
        Env::standalone("db", Role::Destination, "/"),
    );
    let error = absent.domain().await.expect_err("no such database");
    assert_eq!(error.code(), Code::E0302);
    assert!(error.hint().is_some_and(|h| h.contains("database")));
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_row_names_the_constraint_and_never_the_value() {
    let db = Database::new("postgres18").await;
    let connection = db.open(Role::Destination);
    db.run("CREATE TABLE t (id int CONSTRAINT small CHECK (id < 10), name varchar(3) UNIQUE)")
        .await;
    for (rows, word) in [
        (batch(&[77], &[None]), "small"),
        (batch(&[1, 2], &[Some("hid"), Some("hid")]), "t_name_key"),
        (batch(&[1], &[Some("hidden")]), "`name`"),
    ] {
        let error = write(
            &*connection,
            &target("t", WriteMode::Append, rows.schema()),
            &[rows],
        )
        .await
        .expect_err("rejected");
        assert_eq!(error.code(), Code::E0307, "{error:?}");
        let text = error.to_json().to_string();
        assert!(
            text.contains(word) && !text.contains("hid") && !text.contains("77"),
            "{text}"
        );
    }
    let nul: ArrayRef = Arc::new(StringViewArray::from(vec!["a\0b"]));
    let rows = RecordBatch::try_from_iter([("name", nul)]).expect("a batch");
    let mut goal = target("t", WriteMode::Append, rows.schema());
    goal.policy = synqx_model::spec::SchemaPolicy::Ignore;
    let error = write(&*connection, &goal, &[rows]).await.expect_err("NUL");
    assert_eq!(
        (error.code(), error.message().contains("`name`")),
        (Code::E0316, true)
    );
    assert_eq!(db.count("t").await, 0);
    db.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_what_was_asked_for() {
    let db = Database::new("postgres15").await;
    for (mode, code) in [
        ("disable", None),
        ("prefer", None),
        ("require", None),
        ("verify_full", Some(Code::E0213)),
    ] {
        let connection = db.open_with(
            json!({"url": db.url, "tls": {"mode": mode}}),
            Env::standalone("db", Role::Source, "/"),
        );
        assert_eq!(connection.domain().await.err().map(|e| e.code()), code, "{mode}");
        let expected = if mode == "disable" {
            "not encrypted"
        } else {
            "encrypted"
        };
        let findings = connection.check().await.expect("checks");
        let tls = findings.iter().find(|f| f.name == "TLS").expect("a finding");
        assert!(code.is_some() || tls.detail == expected, "{mode}: {findings:?}");
    }
    db.close().await;
}
