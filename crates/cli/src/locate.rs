//! From a path or URL on the command line to a connection and an asset.
//!
//! `orders.parquet` is a file, `postgres://…/shop/public.orders` a table, `sqlite:shop.db/orders` one of a
//! file. A password never stays in the connection: it becomes a reference that only this process can resolve,
//! so it reaches neither the document's hash nor a record. Which files exist is not asked, except to tell a
//! folder from a file.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use synqx_model::nearest::did_you_mean;
use synqx_model::redact::mask_urls;
use synqx_model::spec::ConnectionSpec;
use synqx_model::{Code, Error, Result};

/// A system, and maybe something in it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    /// How to reach it.
    pub(crate) connection: ConnectionSpec,
    /// Table, file or folder; empty when the place is a whole system.
    pub(crate) asset: String,
    /// The place as given, without a password.
    pub(crate) label: String,
    /// Secrets taken out of the URL: reference → value.
    pub(crate) secrets: BTreeMap<String, String>,
}

/// Whether a place names an asset or a whole system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A table, file or folder.
    Asset,
    /// A database or folder, to look into.
    System,
}

/// Finds a place. `part` (`source`, `target`) tells two places of one command apart. Errors: `E0114`.
pub(crate) fn find(text: &str, wanted: Wanted, part: &str) -> Result<Place> {
    match text.split_once(':') {
        _ if text == "-" => Err(wrong("standard input and output cannot be copied", "name a file")),
        _ if text.is_empty() => Err(wrong("a place is empty", "name a path or a URL")),
        Some(("postgres" | "postgresql", rest)) => postgres(text, rest, wanted, part),
        Some(("sqlite", rest)) => sqlite(text, rest, wanted),
        Some(("file", rest)) => file(rest.strip_prefix("//").unwrap_or(rest), wanted),
        Some((scheme, rest)) if rest.starts_with("//") => {
            let known = ["postgres", "postgresql", "sqlite", "file"];
            Err(wrong(
                format!("there is no connector for `{scheme}:` URLs"),
                did_you_mean(scheme, known),
            ))
        }
        _ => file(text, wanted),
    }
}

fn wrong(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(Code::E0114, message).with_hint(hint)
}

fn connection(kind: &str, config: impl IntoIterator<Item = (&'static str, String)>) -> ConnectionSpec {
    let config: Map<String, Value> = config
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    ConnectionSpec {
        kind: kind.to_owned(),
        config,
    }
}

/// The connection is the folder before the first part with a wildcard, or the one that holds the file.
fn file(text: &str, wanted: Wanted) -> Result<Place> {
    let is_pattern = |part: &str| part.contains(['*', '?', '[', '{']) && !Path::new(text).exists();
    let trimmed = text.trim_end_matches('/');
    let place = |folder: &str, asset: String| {
        let folder = match folder {
            "" if text.starts_with('/') => "/",
            "" => ".",
            folder => folder,
        };
        let connection = connection("local_file", [("path", folder.to_owned())]);
        Place {
            connection,
            asset,
            label: text.to_owned(),
            secrets: BTreeMap::new(),
        }
    };
    if wanted == Wanted::System && !trimmed.split('/').any(is_pattern) {
        return Ok(place(
            if trimmed.is_empty() { text } else { trimmed },
            String::new(),
        ));
    }
    let parts: Vec<&str> = trimmed.split('/').collect();
    let first = parts
        .iter()
        .position(|part| is_pattern(part))
        .unwrap_or(parts.len() - 1);
    let (folder, asset) = (parts[..first].join("/"), parts[first..].join("/"));
    if asset.is_empty() || asset == "." || asset == ".." {
        return Ok(place(trimmed, String::from(".")));
    }
    let is_folder = text.ends_with('/') || Path::new(text).is_dir();
    Ok(place(
        &folder,
        if is_folder { format!("{asset}/") } else { asset },
    ))
}

/// `sqlite:shop.db/orders`, `sqlite:///data/shop.db?asset=orders`.
fn sqlite(text: &str, rest: &str, wanted: Wanted) -> Result<Place> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (asset, others) = take_asset(query);
    if let Some(other) = others.first() {
        return Err(wrong(
            format!("`{other}` is not known in a sqlite URL"),
            "only `?asset=TABLE` is",
        ));
    }
    let (path, asset) = match (asset, wanted) {
        (Some(asset), _) => (path, asset),
        (None, Wanted::System) => (path, String::new()),
        (None, Wanted::Asset) => match path.rsplit_once('/') {
            Some((file, table)) if !table.is_empty() && !file.is_empty() && !Path::new(path).is_file() => {
                (file, percent_decode(table))
            }
            _ => {
                return Err(wrong(
                    format!("`{text}` names no table"),
                    "write sqlite:shop.db/orders",
                ));
            }
        },
    };
    if path.is_empty() {
        return Err(wrong(
            format!("`{text}` names no database file"),
            "write sqlite:shop.db/orders",
        ));
    }
    let connection = connection("sqlite", [("path", percent_decode(path))]);
    Ok(Place {
        connection,
        asset,
        label: text.to_owned(),
        secrets: BTreeMap::new(),
    })
}

/// `postgres://user:password@host:5432/database/schema.table?sslmode=require`.
fn postgres(text: &str, rest: &str, wanted: Wanted, part: &str) -> Result<Place> {
    let shape = "write postgres://user@host:5432/database/schema.table";
    let shown = mask_urls(text);
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| wrong(format!("`{shown}` is not a PostgreSQL URL"), shape))?;
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = before.split_once('/').unwrap_or((before, ""));
    let (asset, others) = take_asset(query);
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let (database, asset) = match (asset, segments.as_slice(), wanted) {
        (Some(asset), [], _) => (None, asset),
        (Some(asset), [database], _) => (Some(percent_decode(database)), asset),
        (None, [database], Wanted::System) => (Some(percent_decode(database)), String::new()),
        (None, [], Wanted::System) => (None, String::new()),
        (None, [asset], Wanted::Asset) => (None, percent_decode(asset)),
        (None, [database, asset], _) => (Some(percent_decode(database)), percent_decode(asset)),
        (None, [], Wanted::Asset) => return Err(wrong(format!("`{shown}` names no table"), shape)),
        _ => {
            return Err(wrong(
                format!("`{shown}` has too many parts after the host"),
                shape,
            ));
        }
    };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = match user.split_once(':') {
        Some((user, password)) => (user, Some(percent_decode(password))),
        None => (user, None),
    };
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut secrets = BTreeMap::new();
    let mut config = Map::new();
    let host = if host.is_empty() { "localhost" } else { host };
    let query = if others.is_empty() {
        String::new()
    } else {
        format!("?{}", others.join("&"))
    };
    config.insert("url".to_owned(), format!("postgres://{host}{query}").into());
    let user = if user.is_empty() {
        variable("PGUSER")
    } else {
        Some(percent_decode(user))
    };
    for (key, value) in [
        ("database", database.or_else(|| variable("PGDATABASE"))),
        ("user", user),
    ] {
        if let Some(value) = value {
            config.insert(key.to_owned(), value.into());
        }
    }
    if let Some(password) = password.or_else(|| variable("PGPASSWORD")) {
        let reference = format!("secret://url/{part}");
        config.insert("password".to_owned(), reference.clone().into());
        secrets.insert(reference, password);
    }
    let connection = ConnectionSpec {
        kind: "postgresql".to_owned(),
        config,
    };
    Ok(Place {
        connection,
        asset,
        label: shown,
        secrets,
    })
}

/// Takes `asset=…` out of a query.
fn take_asset(query: &str) -> (Option<String>, Vec<&str>) {
    let mut asset = None;
    let mut others = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("asset", value)) if !value.is_empty() => asset = Some(percent_decode(value)),
            _ => others.push(pair),
        }
    }
    (asset, others)
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(text: &str) -> (String, String, String) {
        let place = find(text, Wanted::Asset, "source").expect("a place");
        let config = Value::Object(place.connection.config).to_string();
        (place.connection.kind, config, place.asset)
    }

    fn triple(kind: &str, config: &str, asset: &str) -> (String, String, String) {
        (kind.to_owned(), config.to_owned(), asset.to_owned())
    }

    #[test]
    fn files_are_a_folder_and_a_name() {
        assert_eq!(
            asset("orders.csv"),
            triple("local_file", r#"{"path":"."}"#, "orders.csv")
        );
        assert_eq!(
            asset("./in/orders.csv"),
            triple("local_file", r#"{"path":"./in"}"#, "orders.csv")
        );
        assert_eq!(
            asset("/orders.csv"),
            triple("local_file", r#"{"path":"/"}"#, "orders.csv")
        );
        assert_eq!(
            asset("in/*/a?.csv"),
            triple("local_file", r#"{"path":"in"}"#, "*/a?.csv")
        );
        assert_eq!(
            asset("out/parts/"),
            triple("local_file", r#"{"path":"out"}"#, "parts/")
        );
        assert_eq!(
            asset("file:///tmp/x.csv"),
            triple("local_file", r#"{"path":"/tmp"}"#, "x.csv")
        );
    }

    #[test]
    fn the_last_segment_of_a_postgres_url_is_the_table() {
        let config = r#"{"url":"postgres://db:5433?sslmode=require","database":"shop","user":"etl"}"#;
        assert_eq!(
            asset("postgres://etl@db:5433/shop/public.orders?sslmode=require"),
            triple("postgresql", config, "public.orders")
        );
        assert_eq!(
            asset("postgres://etl@db:5433/shop?asset=public.orders&sslmode=require").1,
            config
        );
        assert_eq!(asset("postgresql://etl@db/public.orders").2, "public.orders");
    }

    #[test]
    fn a_password_becomes_a_reference() {
        let place = find("postgres://etl:s3%40cret!@db/shop/t", Wanted::Asset, "target").expect("a place");
        let text = format!("{:?} {} {}", place.connection, place.label, place.asset);
        assert!(!text.contains("s3"), "{text}");
        assert_eq!(place.connection.config["password"], "secret://url/target");
        assert_eq!(place.secrets["secret://url/target"], "s3@cret!");
    }

    #[test]
    fn sqlite_is_a_file_and_a_table() {
        assert_eq!(
            asset("sqlite:shop.db/orders"),
            triple("sqlite", r#"{"path":"shop.db"}"#, "orders")
        );
        assert_eq!(
            asset("sqlite:///data/a.db?asset=t"),
            triple("sqlite", r#"{"path":"/data/a.db"}"#, "t")
        );
    }

    #[test]
    fn what_names_nothing_is_refused_with_a_hint() {
        for text in [
            "-",
            "",
            "postgres://db",
            "postgres:db",
            "postgres://h/a/b/c",
            "sqlite:shop.db",
            "s3://b/k",
        ] {
            let error = find(text, Wanted::Asset, "source").expect_err(text);
            assert_eq!(error.code(), Code::E0114, "{text}");
            assert!(error.hint().is_some(), "{text}");
        }
    }
}
