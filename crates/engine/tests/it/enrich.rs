//! Masks and lookups: no value shows that was hidden, no row is added that was only looked up.
//!
//! Hashes are compared with what `openssl` computes; files of a run are searched for values in the clear.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use synqx_model::{Code, Error, Result};
use synqx_sdk::Resolve;

use crate::reshape::{document, node, refusal, refused, written};
use crate::setting::{engine, engine_with, files_below, options, sorted_lines, spec, succeed, write};

#[derive(Debug)]
struct OneSalt(&'static str);

#[async_trait]
impl Resolve for OneSalt {
    async fn resolve(&self, reference: &str) -> Result<String> {
        match reference {
            "secret://env/SALT" => Ok(self.0.to_owned()),
            _ => Err(Error::new(Code::E0603, "there is no such secret").with_hint("set it")),
        }
    }
}

const PEOPLE: &str = "id,mail,phone,born,note\n1,ann@example.org,+44 7700 900123,1990-05-06,hello\n2,,+44 7700 900456,,\n3,ann@example.org,12,2001-01-01,x\n";

async fn masked(dir: &Path, yaml: &str) -> Vec<String> {
    let engine = engine_with(Arc::new(OneSalt("0123456789abcdef")));
    let outcome = engine.run(&spec(yaml), &options(dir)).await;
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    outcome.manifest.verify().expect("sums close");
    sorted_lines(dir, "o.csv")
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_hide_values_and_nulls_stay_null() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", PEOPLE);
    let yaml = node(
        "mask: {input: p, salt: 'secret://env/SALT', columns: {mail: hash, phone: {partial: {first: 3, last: 2}}, born: redact, note: null}}",
    );
    // printf %s ann@example.org | openssl dgst -sha256 -hmac 0123456789abcdef
    let hash = "b2eadfbaaca8f7b30b76563378bedc2fe183e5b392a7710ab8166987238c66ef";
    assert_eq!(
        masked(dir.path(), &yaml).await,
        [
            format!("1,{hash},+44**********23,***,"),
            "2,,+44**********56,,".to_owned(),
            format!("3,{hash},**,***,"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_join_as_the_values_did() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", PEOPLE);
    write(
        dir.path(),
        "r.csv",
        "id,mail\n7,ann@example.org\n8,bob@example.org\n",
    );
    let mask = |input: &str| {
        format!(
            "mask: {{input: {input}, salt: 'secret://env/SALT', columns: {{id: tokenize, mail: tokenize}}}}"
        )
    };
    let yaml = document(&format!(
        "  m: {{{}}}\n  k: {{{}}}\n  r: {{extract: {{from: d, asset: r.csv}}}}\n  n: {{sql: \"select count(*) as n, min(length(m.mail)) as l, min(m.id) >= 0 and max(m.id) < 10 as d, bool_or(m.mail = 'ann@example.org') as clear from m join k on m.mail = k.mail\"}}",
        mask("p"),
        mask("r"),
    ));
    assert_eq!(masked(dir.path(), &yaml).await, ["2,15,true,false"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_value_is_clear_in_no_file_downstream() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", PEOPLE);
    let yaml = document(
        "  m: {mask: {input: p, salt: 'secret://env/SALT', columns: {mail: tokenize, phone: redact, note: hash}}}\n  v: {validate: {input: m, checks: [{column: id, check: range, max: 1, on_fail: quarantine}]}}\n  n: {cast: {input: v, columns: {note: text}}}",
    );
    masked(dir.path(), &yaml).await;
    let mut looked = 0;
    for file in files_below(dir.path()).into_iter().filter(|f| f != "p.csv") {
        let bytes = std::fs::read(dir.path().join(&file)).expect("a file");
        for clear in ["ann@example.org", "7700 900", "hello", "0123456789abcdef"] {
            let found = bytes.windows(clear.len()).any(|part| part == clear.as_bytes());
            assert!(!found, "`{clear}` is in {file}");
        }
        looked += 1;
    }
    assert!(looked >= 3, "result, quarantine and record");
    let failing = document(
        "  m: {mask: {input: p, salt: 'secret://env/SALT', columns: {mail: tokenize}}}\n  n: {cast: {input: m, columns: {mail: bigint}}}",
    );
    let engine = engine_with(Arc::new(OneSalt("0123456789abcdef")));
    let error = engine
        .run(&spec(&failing), &options(dir.path()))
        .await
        .error
        .expect("no number");
    assert!(!format!("{error:?}").contains("ann@"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_that_would_not_hide_are_refused_and_a_plan_needs_no_salt() {
    for (text, code, named) in [
        ("mask: {input: p, columns: {mial: redact}}", Code::E0401, "mial"),
        ("mask: {input: p, columns: {mail: hash}}", Code::E0103, "salt"),
        (
            "mask: {input: p, salt: plainly-written, columns: {mail: hash}}",
            Code::E0103,
            "salt",
        ),
        (
            "mask: {input: p, columns: {id: {partial: {last: 1}}}}",
            Code::E0402,
            "id",
        ),
        ("mask: {input: p, columns: {}}", Code::E0409, ""),
    ] {
        let error = refusal(PEOPLE, text).await;
        assert_eq!(error.code(), code, "{text}: {error:?}");
        assert!(error.message().contains(named), "{text}: {error:?}");
        assert!(!format!("{error:?}").contains("plainly-written"), "{error:?}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", PEOPLE);
    let yaml = node("mask: {input: p, salt: 'secret://env/OTHER', columns: {mail: hash}}");
    let engine = engine_with(Arc::new(OneSalt("too short")));
    let plan = engine
        .plan(&spec(&yaml), &options(dir.path()))
        .await
        .expect("a plan");
    assert!(
        plan.notes.iter().any(|note| note.contains("salt of `n`")),
        "{:?}",
        plan.notes
    );
    let error = engine
        .run(&spec(&yaml), &options(dir.path()))
        .await
        .error
        .expect("no salt");
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0603, Some("n")),
        "{error:?}"
    );
    let short = yaml.replace("OTHER", "SALT");
    let error = engine
        .run(&spec(&short), &options(dir.path()))
        .await
        .error
        .expect("short");
    assert_eq!(error.code(), Code::E0103, "{error:?}");
}

const ORDERS: &str = "id,code,n\n1,IT,5\n2,NO,6\n3,XX,7\n4,,8\n";
const COUNTRIES: &str = "code,name,rank\nIT,Italy,2\nNO,Norway,1\n,Nowhere,0\nDE,Germany,3\n";

async fn looked_up(reference: &str, keys: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", ORDERS);
    write(dir.path(), "r.csv", reference);
    written(
        dir.path(),
        &node(&format!("lookup: {{input: p, reference: r, on: [code]{keys}}}")),
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_adds_columns_by_key_and_no_rows() {
    assert_eq!(
        looked_up(COUNTRIES, "").await,
        [
            "id,code,n,name,rank",
            "1,IT,5,Italy,2",
            "2,NO,6,Norway,1",
            "3,XX,7,,",
            "4,,8,,"
        ]
    );
    assert_eq!(
        looked_up(COUNTRIES, ", columns: [name], prefix: c_, on_missing: drop").await,
        ["id,code,n,c_name", "1,IT,5,Italy", "2,NO,6,Norway"]
    );
    assert_eq!(
        looked_up(COUNTRIES, ", columns: {country: name, same: code}").await[..2],
        ["id,code,n,country,same", "1,IT,5,Italy,IT"]
    );
    let empty = looked_up("code,name\n", "").await;
    assert_eq!(empty.len(), 5, "{empty:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_rows_of_a_key_stop_the_run_unless_one_is_picked() {
    let twice = format!("{COUNTRIES}IT,Italia,1\n");
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", ORDERS);
    write(dir.path(), "r.csv", &twice);
    let yaml = node("lookup: {input: p, reference: r, on: [code]}");
    let error = refused(dir.path(), &yaml).await;
    assert_eq!(
        (error.code(), error.node()),
        (Code::E0410, Some("n")),
        "{error:?}"
    );
    let picked = looked_up(&twice, ", columns: [name], pick: first, order_by: [rank]").await;
    assert_eq!(picked[1], "1,IT,5,Italia");
    let picked = looked_up(&twice, ", columns: [name], pick: first, order_by: [rank desc]").await;
    assert_eq!(picked[1], "1,IT,5,Italy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_fails_or_is_set_aside() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", ORDERS);
    write(dir.path(), "r.csv", COUNTRIES);
    let missing = |how: &str| {
        node(&format!(
            "lookup: {{input: p, reference: r, on: [code], columns: [name], on_missing: {how}}}"
        ))
    };
    let error = refused(dir.path(), &missing("fail")).await;
    assert_eq!(error.code(), Code::E1001, "{error:?}");
    let outcome = succeed(dir.path(), &missing("quarantine")).await;
    assert_eq!(
        sorted_lines(dir.path(), "o.csv"),
        ["1,IT,5,Italy", "2,NO,6,Norway"]
    );
    let step = outcome
        .manifest
        .steps
        .iter()
        .find(|s| s.node == "n")
        .expect("the step");
    assert_eq!(
        (step.rows_in[0].received, step.rows_out, step.quarantined),
        (4, 2, 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_reads_an_asset_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", ORDERS);
    write(dir.path(), "r.csv", "k;name\nIT;Italy\n");
    let yaml = node(
        "lookup: {input: p, from: d, asset: r.csv, options: {delimiter: ';'}, on: {code: k}, on_missing: drop}",
    );
    assert_eq!(
        written(dir.path(), &yaml).await,
        ["id,code,n,name", "1,IT,5,Italy"]
    );
    let plan = engine()
        .plan(&spec(&yaml), &options(dir.path()))
        .await
        .expect("a plan");
    assert!(plan.steps.iter().any(|step| step.node == "n_reference"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), "p.csv", ORDERS);
    write(dir.path(), "r.csv", COUNTRIES);
    for (keys, code, named) in [
        ("on: [cod]", Code::E0401, "cod"),
        ("on: {code: nmae}", Code::E0401, "nmae"),
        ("on: [code], columns: [nam]", Code::E0401, "nam"),
        ("on: [code], columns: {id: name}", Code::E0406, "id"),
        ("on: {n: name}", Code::E0402, "n"),
        ("on: []", Code::E0103, "key"),
        ("on: [code], pick: first", Code::E0103, "pick"),
        ("on: [code], order_by: [name]", Code::E0103, "order_by"),
    ] {
        let yaml = node(&format!("lookup: {{input: p, reference: r, {keys}}}"));
        let error = refused(dir.path(), &yaml).await;
        assert_eq!(
            (error.code(), error.node()),
            (code, Some("n")),
            "{keys}: {error:?}"
        );
        assert!(error.message().contains(named), "{keys}: {error:?}");
    }
}
