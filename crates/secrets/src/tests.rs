//! The resolver as a whole: what it finds, what it refuses, and that no value leaves through anything it prints.
//!
//! A canary value is looked for in every text that comes out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use synqx_model::{Code, Redactor};
use synqx_sdk::Resolve;

use super::{Secrets, parse_commands};

const CANARY: &str = "canary-5d0f-ünïcode \"quoted\"";

fn secrets(redactor: &Redactor, dir: &std::path::Path) -> Secrets {
    let variables = [
        ("MART_PASSWORD", CANARY.to_owned()),
        ("MART", json!({"user": "etl", "password": CANARY}).to_string()),
    ];
    Secrets::new(redactor.clone(), dir)
        .with_variables(BTreeMap::from(
            variables.map(|(name, value)| (name.to_owned(), value)),
        ))
        .with_command("echo", ["printf", "%s\n", "{}"])
        .with_command(
            "fail",
            [
                "sh",
                "-c",
                "echo canary-on-stderr >&2; echo canary-on-stdout; exit 3",
            ],
        )
        .with_command("count", ["sh", "-c", "echo x >> count; wc -l < count"])
        .with_command("hang", ["sh", "-c", "read forever < /dev/zero"])
        .with_command("missing", ["/nonexistent/program"])
}

async fn code_of(secrets: &Secrets, reference: &str) -> Code {
    let error = secrets.resolve(reference).await.expect_err(reference);
    assert!(error.hint().is_some(), "{reference} has no hint");
    assert!(
        !format!("{error:?}").contains("canary"),
        "{reference} shows a value"
    );
    error.code()
}

#[tokio::test]
async fn resolves_variables_files_and_commands() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(
        dir.path().join("x.json"),
        json!({"db": {"password": CANARY}}).to_string(),
    )
    .expect("a file");
    let secrets = secrets(&Redactor::default(), dir.path());
    let absolute = format!("secret://file{}/x.json#/db/password", dir.path().display());
    for reference in [
        "secret://env/MART_PASSWORD",
        "secret://env/MART#password",
        "secret://env/MART#/password",
        "secret://file/./x.json#/db/password",
        absolute.as_str(),
    ] {
        assert_eq!(
            secrets.resolve(reference).await.as_deref(),
            Ok(CANARY),
            "{reference}"
        );
    }
    let said = secrets
        .resolve("secret://exec/echo/a b; $(touch broken) `x`")
        .await;
    assert_eq!(
        said.as_deref(),
        Ok("a b; $(touch broken) `x`"),
        "no shell ever sees the argument"
    );
    assert!(!dir.path().join("broken").exists());
}

#[tokio::test]
async fn asks_once_per_run_for_all_fields_of_a_secret() {
    let dir = tempfile::tempdir().expect("a folder");
    let secrets = secrets(&Redactor::default(), dir.path());
    let config = json!({"a": "secret://exec/count", "b": ["secret://exec/count"], "c": {"d": "secret://exec/count?encoding=json"}, "e": 1});
    let resolved = secrets
        .resolve_config(config.as_object().expect("a map"))
        .await
        .expect("resolves");
    assert_eq!(
        json!(resolved),
        json!({"a": "1", "b": ["1"], "c": {"d": "1"}, "e": 1})
    );
}

#[tokio::test]
async fn names_what_is_wrong_with_a_hint_and_without_a_value() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(dir.path().join("folder")).expect("a folder");
    std::fs::write(dir.path().join("bad.json"), "{\"password\": canary").expect("a file");
    let secrets = secrets(&Redactor::default(), dir.path()).with_timeout(Duration::from_millis(200));
    for (reference, code) in [
        ("secret://env", Code::E0601),
        ("secret://env/MART?version=7", Code::E0601),
        ("secret://file/x?stage=next", Code::E0601),
        ("secret://env/MART?ttl=5", Code::E0601),
        ("secret://envv/MART", Code::E0602),
        ("secret://vault-prod/kv#password", Code::E0602),
        ("secret://env/NOBODY", Code::E0603),
        ("secret://env/MART#nobody", Code::E0603),
        ("secret://file/./nobody", Code::E0603),
        ("secret://exec/nobody", Code::E0603),
        ("secret://file/./folder", Code::E0604),
        ("secret://file/./bad.json#password", Code::E0604),
        ("secret://env/MART_PASSWORD#key", Code::E0604),
        ("secret://exec/fail", Code::E0604),
        ("secret://exec/hang", Code::E0604),
        ("secret://exec/missing", Code::E0604),
        ("secret://exec/echo", Code::E0601),
        ("secret://exec/echo/--help", Code::E0601),
        ("secret://exec/fail/argument", Code::E0601),
    ] {
        assert_eq!(code_of(&secrets, reference).await, code, "{reference}");
    }
    let near = secrets.resolve("secret://envv/X").await.expect_err("unknown");
    assert!(near.hint().is_some_and(|hint| hint.contains("`env`")));
    let near = secrets
        .resolve("secret://env/MART_PASWORD")
        .await
        .expect_err("unknown");
    assert!(near.hint().is_some_and(|hint| hint.contains("`MART_PASSWORD`")));
}

#[tokio::test]
async fn a_canary_never_leaves_through_what_is_printed() {
    let dir = tempfile::tempdir().expect("a folder");
    let redactor = Redactor::default();
    let secrets = secrets(&redactor, dir.path());
    let user = secrets.resolve("secret://env/MART#user").await.expect("resolves");
    assert_eq!(user, "etl");
    let printed = redactor.clean(&format!(
        "{secrets:?} {} and {CANARY}",
        json!({"password": CANARY})
    ));
    assert!(
        !printed.contains("canary"),
        "the password of the same secret is hidden too: {printed}"
    );
    assert!(!format!("{secrets:?}").contains("canary"));
}

#[test]
fn reads_the_commands_of_the_process() {
    assert_eq!(
        parse_commands(r#"{"pass": ["pass", "show", "{}"]}"#).map(|c| c.len()),
        Ok(1)
    );
    assert_eq!(
        parse_commands(r#"{"pass": "pass show"}"#).map_err(|e| e.code()),
        Err(Code::E0604)
    );
}
