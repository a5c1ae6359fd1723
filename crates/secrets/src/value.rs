//! From the bytes a provider returned to the text a field gets: line end trimmed, part chosen, encoding undone.
//!
//! Pure. The types here hold values, so none of them has `Debug`, and no error says anything about a content but
//! what form it lacks.

use serde_json::Value;
use synqx_model::redact::is_secret_key;
use synqx_model::{Code, Error, Redactor, Result};

use crate::reference::{Encoding, Reference};

/// What a provider returned for a path. Deliberately without `Debug`.
pub(crate) struct Raw(pub(crate) Vec<u8>);

/// The value a reference stands for. Everything that was seen on the way is registered with the redactor first.
/// Errors: `E0603` the key is not there, `E0604` the content does not have the form the reference asks for.
pub(crate) fn extract(raw: &Raw, reference: &Reference, redactor: &Redactor) -> Result<String> {
    let text = std::str::from_utf8(&raw.0).map_err(|_| {
        failed(
            reference,
            "The value is not UTF-8 text",
            "store it as base64 and add `?encoding=base64`",
        )
    })?;
    let text = trim_line_end(text);
    redactor.register(text);
    let chosen = match &reference.key {
        None => text.to_owned(),
        Some(key) => {
            let document = parse_json(text, reference)?;
            register_parts(&document, redactor);
            render(choose(&document, key, reference)?)
        }
    };
    redactor.register(&chosen);
    let value = match reference.encoding {
        None => chosen,
        Some(Encoding::Json) => render(&parse_json(&chosen, reference)?),
        Some(Encoding::Pem) => pem(&chosen, reference)?,
        Some(Encoding::Base64) => base64(&chosen, reference)?,
    };
    redactor.register(&value);
    Ok(value)
}

fn failed(reference: &Reference, detail: &str, hint: &str) -> Error {
    Error::new(
        Code::E0604,
        format!(
            "secret provider `{}` failed for `{reference}`",
            reference.provider
        ),
    )
    .with_detail(format!("{detail}."))
    .with_hint(hint)
}

fn trim_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn parse_json(text: &str, reference: &Reference) -> Result<Value> {
    // The parser's own message quotes the text, so it is left out.
    serde_json::from_str(text).map_err(|_| {
        failed(
            reference,
            "The value is not JSON",
            "store JSON, or leave the key and `encoding=json` out",
        )
    })
}

fn choose<'a>(document: &'a Value, key: &str, reference: &Reference) -> Result<&'a Value> {
    let found = if key.starts_with('/') {
        document.pointer(key)
    } else {
        document.get(key)
    };
    match found {
        Some(Value::Null) | None => Err(Error::new(Code::E0603, format!("secret `{reference}` not found"))
            .with_detail("The secret is JSON, and it has no such field, or the field is null.")
            .with_hint("look at the names of its fields, such as with `jq keys`; `#/db/password` is the field `password` inside `db`")),
        Some(value) => Ok(value),
    }
}

fn register_parts(value: &Value, redactor: &Redactor) {
    match value {
        Value::Object(map) => {
            for (key, item) in map {
                match item {
                    Value::String(text) if is_secret_key(key) => redactor.register(text),
                    _ => register_parts(item, redactor),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| register_parts(item, redactor)),
        _ => {}
    }
}

fn render(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn pem(text: &str, reference: &Reference) -> Result<String> {
    let lines = text.replace("\\r", "").replace("\\n", "\n");
    let lines = lines.trim();
    if !lines.starts_with("-----BEGIN ") || !lines.ends_with("-----") {
        let hint = "store the whole block, from `-----BEGIN …` to `-----END …-----`";
        return Err(failed(reference, "The value is not a PEM block", hint));
    }
    Ok(format!("{lines}\n"))
}

fn base64(text: &str, reference: &Reference) -> Result<String> {
    let wrong = || {
        failed(
            reference,
            "The value is not base64 of UTF-8 text",
            "leave `encoding=base64` out if the value is plain",
        )
    };
    let symbols: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let padding = symbols.iter().rev().take_while(|b| **b == b'=').count();
    let symbols = &symbols[..symbols.len() - padding];
    if padding > 2 || symbols.len() % 4 == 1 || (padding > 0 && !(symbols.len() + padding).is_multiple_of(4))
    {
        return Err(wrong());
    }
    let mut bytes = Vec::with_capacity(symbols.len() / 4 * 3 + 2);
    for group in symbols.chunks(4) {
        let mut word = 0u32;
        for symbol in group {
            word = word << 6 | u32::from(sextet(*symbol).ok_or_else(wrong)?);
        }
        let word = (word << (6 * (4 - group.len()))).to_be_bytes();
        bytes.extend_from_slice(&word[1..group.len()]);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn sextet(symbol: u8) -> Option<u8> {
    Some(match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(content: &str, reference: &str) -> Result<String> {
        let reference = Reference::parse(reference).expect("a reference");
        extract(
            &Raw(content.as_bytes().to_vec()),
            &reference,
            &Redactor::default(),
        )
    }

    #[test]
    fn trims_one_line_end_and_nothing_else() {
        assert_eq!(value(" a \r\n", "secret://env/X").as_deref(), Ok(" a "));
        assert_eq!(value("a\n\n", "secret://env/X").as_deref(), Ok("a\n"));
        assert_eq!(value("", "secret://env/X").as_deref(), Ok(""));
    }

    #[test]
    fn chooses_parts_of_json() {
        let json = r#"{"user":"etl","port":5432,"db":{"pass/word":"s3cret"},"none":null}"#;
        assert_eq!(value(json, "secret://env/X#user").as_deref(), Ok("etl"));
        assert_eq!(value(json, "secret://env/X#/port").as_deref(), Ok("5432"));
        assert_eq!(
            value(json, "secret://env/X#/db/pass~1word").as_deref(),
            Ok("s3cret")
        );
        assert_eq!(
            value(json, "secret://env/X#nobody").map_err(|e| e.code()),
            Err(Code::E0603)
        );
        assert_eq!(
            value(json, "secret://env/X#none").map_err(|e| e.code()),
            Err(Code::E0603)
        );
        assert_eq!(
            value("plain", "secret://env/X#user").map_err(|e| e.code()),
            Err(Code::E0604)
        );
    }

    #[test]
    fn undoes_encodings() {
        for (encoded, plain) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zg", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9v\nYmFy", "foobar"),
            ("w7_Dvw==", "ÿÿ"),
        ] {
            assert_eq!(
                value(encoded, "secret://env/X?encoding=base64").as_deref(),
                Ok(plain)
            );
        }
        for wrong in ["Z", "Zg=", "Z===", "Zm9v!", "//79"] {
            assert_eq!(
                value(wrong, "secret://env/X?encoding=base64").map_err(|e| e.code()),
                Err(Code::E0604),
                "{wrong}"
            );
        }
        assert_eq!(
            value("\"a\\u0062\"", "secret://env/X?encoding=json").as_deref(),
            Ok("ab")
        );
        let pem = "-----BEGIN KEY-----\\nAAAA\\n-----END KEY-----";
        assert_eq!(
            value(pem, "secret://env/X?encoding=pem").as_deref(),
            Ok("-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n")
        );
        assert!(value("AAAA", "secret://env/X?encoding=pem").is_err());
    }

    #[test]
    fn registers_what_it_saw_before_it_fails() {
        let redactor = Redactor::default();
        let reference = Reference::parse("secret://env/X#nothere").expect("a reference");
        let raw = Raw(br#"{"password":"canary-91c2","note":"x"}"#.to_vec());
        assert!(extract(&raw, &reference, &redactor).is_err());
        assert!(!redactor.clean("leak canary-91c2").contains("canary"));
    }
}
