//! The grammar of a secret reference: `secret://<provider>/<path>[#<key>][?<option>=<value>&…]`.
//!
//! Pure text: nothing is looked up, no file or variable is touched, and nothing here knows a value. A text that does
//! not parse is never repeated in its error, because people paste passwords into the wrong field. `%`, `#` and `?`
//! inside a part are written `%25`, `%23` and `%3F`; `render` writes what `parse` reads.

use std::fmt;
use std::str::FromStr;

use synqx_model::nearest::did_you_mean;
use synqx_model::{Code, Error, Result};

/// How every reference begins.
pub const SCHEME: &str = "secret://";

const GRAMMAR: &str = "write `secret://<provider>/<path>[#<key>][?encoding=base64|json|pem]`, such as `secret://env/MART_PASSWORD`";
const OPTIONS: [&str; 4] = ["encoding", "version", "stage", "ttl"];

/// A reference, taken apart. Parts are decoded: `%23` is `#` here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Who is asked: `env`, `file`, `exec`.
    pub provider: String,
    /// What it is asked for; what that means is the provider's business. Never empty.
    pub path: String,
    /// A part of a JSON value: a JSON pointer (RFC 6901) when it begins with `/`, else the name of a top-level field.
    pub key: Option<String>,
    /// How the value is stored.
    pub encoding: Option<Encoding>,
    /// Options that only some providers have.
    pub version: Option<String>,
    /// A staging label, such as `AWSPENDING`.
    pub stage: Option<String>,
    /// Seconds a value may be kept.
    pub ttl: Option<u64>,
}

/// How a value is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Base64, standard or URL alphabet, padded or not; the decoded bytes must be UTF-8 text.
    Base64,
    /// A JSON value: a text stands for its content, anything else for its compact form.
    Json,
    /// A PEM block, maybe on one line with `\n` written out.
    Pem,
}

impl Encoding {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Base64 => "base64",
            Encoding::Json => "json",
            Encoding::Pem => "pem",
        }
    }
}

impl Reference {
    /// Reads a reference. Errors: `E0601`, without the text itself.
    pub fn parse(text: &str) -> Result<Self> {
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| wrong("It does not begin with `secret://`"))?;
        let (rest, options) = split_off(rest, '?');
        let (place, key) = split_off(rest, '#');
        let (provider, path) = place
            .split_once('/')
            .ok_or_else(|| wrong("It names a provider and no path"))?;
        if provider.is_empty() {
            return Err(wrong("It names no provider"));
        }
        if !provider
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        {
            return Err(wrong(
                "Its provider has characters other than letters, digits, `-` and `_`",
            ));
        }
        if path.is_empty() {
            return Err(wrong("It names a provider and no path"));
        }
        let key = key.map(decode).transpose()?;
        if key.as_deref() == Some("") {
            return Err(wrong("It has a `#` and no key after it"));
        }
        let mut reference = Reference {
            provider: provider.to_owned(),
            path: decode(path)?,
            key,
            encoding: None,
            version: None,
            stage: None,
            ttl: None,
        };
        for option in options.into_iter().flat_map(|o| o.split('&')) {
            reference.read_option(option)?;
        }
        Ok(reference)
    }

    fn read_option(&mut self, option: &str) -> Result<()> {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| wrong("An option after `?` is not written `name=value`"))?;
        let value = decode(value)?;
        if value.is_empty() {
            return Err(wrong("An option after `?` has no value"));
        }
        let repeated = match name {
            "encoding" => {
                let encoding = [Encoding::Base64, Encoding::Json, Encoding::Pem];
                let known = encoding.into_iter().find(|e| e.as_str() == value);
                let known = known.ok_or_else(|| {
                    wrong("Its encoding is not known")
                        .with_hint("write `encoding=base64`, `encoding=json` or `encoding=pem`")
                })?;
                self.encoding.replace(known).is_some()
            }
            "version" => self.version.replace(value).is_some(),
            "stage" => self.stage.replace(value).is_some(),
            "ttl" => {
                let seconds = value
                    .parse()
                    .map_err(|_| wrong("Its `ttl` is not a whole number of seconds"))?;
                self.ttl.replace(seconds).is_some()
            }
            _ => {
                let hint = did_you_mean(name, OPTIONS);
                return Err(wrong("It has an unknown option").with_hint(format!("{hint}; {GRAMMAR}")));
            }
        };
        if repeated {
            Err(wrong("It has an option twice"))
        } else {
            Ok(())
        }
    }

    /// The options that are set besides `encoding`, which no provider needs to know about.
    pub fn provider_options(&self) -> Vec<&'static str> {
        let set = [
            ("version", self.version.is_some()),
            ("stage", self.stage.is_some()),
            ("ttl", self.ttl.is_some()),
        ];
        set.into_iter()
            .filter(|(_, set)| *set)
            .map(|(name, _)| name)
            .collect()
    }
}

/// The error for a text that is no reference. `detail` is a sentence without its full stop.
pub(crate) fn wrong(detail: &str) -> Error {
    Error::new(Code::E0601, "a secret reference does not parse")
        .with_detail(format!("{detail}."))
        .with_hint(GRAMMAR)
}

fn split_off(text: &str, mark: char) -> (&str, Option<&str>) {
    text.split_once(mark)
        .map_or((text, None), |(head, tail)| (head, Some(tail)))
}

fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let value = match tail {
            [high, low, ..] => hex_digit(*high)
                .zip(hex_digit(*low))
                .map(|(high, low)| high << 4 | low),
            _ => None,
        };
        bytes.push(
            value.ok_or_else(|| {
                wrong("A `%` is not followed by two hexadecimal digits; write `%25` for `%`")
            })?,
        );
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong("Its `%` escapes are not UTF-8"))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn encode(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if matches!(c, '%' | '#' | '?' | '&') || c.is_ascii_control() || c == ' ' {
            write!(f, "%{:02X}", c as u32)?;
        } else {
            write!(f, "{c}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/", self.provider)?;
        encode(f, &self.path)?;
        if let Some(key) = &self.key {
            f.write_str("#")?;
            encode(f, key)?;
        }
        let ttl = self.ttl.map(|seconds| seconds.to_string());
        let options = [
            ("encoding", self.encoding.map(Encoding::as_str)),
            ("version", self.version.as_deref()),
            ("stage", self.stage.as_deref()),
            ("ttl", ttl.as_deref()),
        ];
        let mut mark = '?';
        for (name, value) in options {
            if let Some(value) = value {
                write!(f, "{mark}{name}=")?;
                encode(f, value)?;
                mark = '&';
            }
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Reference::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_what_it_renders(
            provider in "[a-zA-Z0-9_-]{1,12}",
            path in "\\PC{1,30}",
            key in of("\\PC{1,20}"),
            version in of("\\PC{1,8}"),
            stage in of("[%#?&= /a-z]{1,8}"),
            ttl in of(any::<u64>()),
            encoding in of(prop_oneof![Just(Encoding::Base64), Just(Encoding::Json), Just(Encoding::Pem)]),
        ) {
            let reference = Reference { provider, path, key, encoding, version, stage, ttl };
            prop_assert_eq!(Reference::parse(&reference.to_string()), Ok(reference));
        }

        #[test]
        fn never_panics_and_never_repeats_what_does_not_parse(text in "\\PC{0,60}") {
            let canary = format!("{text}canary-7f3a");
            if let Err(error) = Reference::parse(&canary) {
                prop_assert_eq!(error.code(), Code::E0601);
                let shown = format!("{error:?}");
                prop_assert!(!shown.contains("canary-7f3a"));
            }
        }
    }

    #[test]
    fn takes_the_examples_of_the_documentation_apart() {
        let read = |text: &str| Reference::parse(text).expect(text);
        let file = read("secret://file/run/secrets/orders.json#/password");
        assert_eq!(
            (file.provider.as_str(), file.path.as_str(), file.key.as_deref()),
            ("file", "run/secrets/orders.json", Some("/password"))
        );
        let vault = read("secret://vault-prod/kv/data/apps/orders#password?version=7");
        assert_eq!(
            (vault.key.as_deref(), vault.version.as_deref()),
            (Some("password"), Some("7"))
        );
        assert_eq!(read("secret://env/A%23B").path, "A#B");
        assert_eq!(read("secret://env/K?encoding=pem").encoding, Some(Encoding::Pem));
    }

    #[test]
    fn refuses_what_does_not_follow_the_grammar_and_shows_it() {
        for text in [
            "secret://env",
            "secret://env/",
            "secret:///x",
            "secret://e v/x",
            "secret://env/x#",
            "secret://env/x?",
            "secret://env/x?encoding=rot13",
            "secret://env/x?colour=red",
            "secret://env/%zz",
            "secret://env/%f",
            "secret://env/x?ttl=soon",
            "secret://env/x?ttl=1&ttl=2",
            "env/x",
            "secret://env/x?encoding=",
        ] {
            let error = Reference::parse(text).expect_err(text);
            assert_eq!(error.code(), Code::E0601, "{text}");
            assert!(error.hint().is_some(), "{text}");
        }
        let hint = Reference::parse("secret://env")
            .expect_err("no path")
            .hint()
            .map(str::to_owned);
        assert!(hint.is_some_and(|h| h.contains("secret://<provider>/<path>")));
    }
}
