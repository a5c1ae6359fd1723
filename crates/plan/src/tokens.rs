//! Tokens: another value of the same form for each value, the same for equal values, never one for two different ones.
//!
//! The letters and digits of a value are permuted by a keyed Feistel network (eight rounds of HMAC-SHA-256, halves
//! added digit by digit, as in the format-preserving ciphers of NIST SP 800-38G, though none of them). Each round can
//! be undone, so the whole is one to one among values of one form; keys and joins survive. It is no anonymity: form
//! and length stay, and of a short value there are few.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use synqx_model::{Code, Error, Result};

/// Fewest bytes of a salt.
const LEAST: usize = 16;

const ROUNDS: u8 = 8;

/// The key of a mask. It is never printed.
#[derive(Clone)]
pub struct Salt(Arc<str>);

impl Salt {
    /// A salt of 16 bytes at least. Errors: `E0103`.
    pub fn new(text: &str) -> Result<Self> {
        if text.len() < LEAST {
            return Err(
                Error::new(Code::E0103, format!("the salt has fewer than {LEAST} bytes"))
                    .with_detail("A short key can be found by trying.")
                    .with_hint("store a longer one, such as the output of `openssl rand -hex 32`"),
            );
        }
        Ok(Salt(text.into()))
    }

    pub(crate) fn keyed(&self) -> Result<Keyed> {
        let mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes());
        mac.map(Keyed).map_err(|_| Error::bug("a salt is no key of HMAC"))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

impl PartialEq for Salt {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Salt {}

impl Hash for Salt {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// HMAC-SHA-256 under a salt.
pub(crate) struct Keyed(Hmac<Sha256>);

/// One letter or digit: which of how many of its kind.
struct Symbol {
    index: u32,
    kind: Kind,
}

/// Letters and digits that stand for each other.
#[derive(Clone)]
enum Kind {
    /// Consecutive characters from here.
    Run(char, u32),
    /// The letters and digits of a block of 128 characters beyond ASCII.
    Block(Vec<char>),
}

impl Kind {
    fn size(&self) -> u32 {
        match self {
            Kind::Run(_, size) => *size,
            Kind::Block(members) => u32::try_from(members.len()).unwrap_or(1),
        }
    }

    fn member(&self, index: u32) -> Option<char> {
        match self {
            Kind::Run(first, _) => char::from_u32(u32::from(*first) + index),
            Kind::Block(members) => members.get(index as usize).copied(),
        }
    }
}

fn symbol(c: char) -> Option<Symbol> {
    let run = |first: char, size: u32| Symbol {
        index: u32::from(c) - u32::from(first),
        kind: Kind::Run(first, size),
    };
    match c {
        '0'..='9' => Some(run('0', 10)),
        'a'..='z' => Some(run('a', 26)),
        'A'..='Z' => Some(run('A', 26)),
        _ if c.is_ascii() || !c.is_alphanumeric() => None,
        _ => {
            let start = u32::from(c) & !0x7f;
            let block = (start..start + 128).filter_map(char::from_u32);
            let members: Vec<char> = block.filter(|c| c.is_alphanumeric()).collect();
            let index = members.iter().position(|member| *member == c)?;
            Some(Symbol {
                index: u32::try_from(index).ok()?,
                kind: Kind::Block(members),
            })
        }
    }
}

impl Keyed {
    /// 64 hexadecimal digits.
    pub(crate) fn hash(&self, bytes: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(bytes);
        let tag = mac.finalize().into_bytes();
        tag.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A text with every letter and digit replaced by one of its kind; everything else stays.
    pub(crate) fn text(&self, value: &str) -> String {
        let mut shape = String::from("text");
        let mut kinds = Vec::new();
        let mut digits = Vec::new();
        let mut places = Vec::new();
        for c in value.chars() {
            match symbol(c) {
                Some(symbol) => {
                    shape.push('\u{1}');
                    shape.extend(symbol.kind.member(0));
                    digits.push(symbol.index);
                    kinds.push(symbol.kind);
                    places.push(None);
                }
                None => {
                    shape.push('\u{2}');
                    shape.push(c);
                    places.push(Some(c));
                }
            }
        }
        let sizes: Vec<u32> = kinds.iter().map(Kind::size).collect();
        self.permute(&mut digits, &sizes, shape.as_bytes());
        let mut fresh = kinds.iter().zip(&digits).map(|(kind, index)| kind.member(*index));
        let tokens = places
            .into_iter()
            .map(|literal| literal.or_else(|| fresh.next().flatten()));
        tokens.flatten().collect()
    }

    /// A whole number with as many digits, the same sign, and at most `most` from zero.
    pub(crate) fn whole(&self, value: i128, most: u128) -> i128 {
        let mut magnitude = value.unsigned_abs();
        let text = magnitude.to_string();
        let mut sizes = vec![10; text.len()];
        let mut least = 0;
        // The first digit is not zero, but for zero itself.
        if text.len() > 1 || value < 0 {
            sizes[0] = 9;
            least = 1;
        }
        let shape = format!("whole{}{}", if value < 0 { '-' } else { '+' }, text.len());
        loop {
            let text = magnitude.to_string();
            let mut digits: Vec<u32> = text.bytes().map(|byte| u32::from(byte - b'0')).collect();
            digits[0] -= least;
            self.permute(&mut digits, &sizes, shape.as_bytes());
            digits[0] += least;
            magnitude = digits.iter().fold(0, |sum, digit| sum * 10 + u128::from(*digit));
            // Walking on keeps it one to one: the value itself is on the cycle, so it ends.
            if magnitude <= most {
                break;
            }
        }
        let token = i128::try_from(magnitude).unwrap_or(i128::MAX);
        if value < 0 { -token } else { token }
    }

    /// Each half is moved by what the other says, in turns.
    fn permute(&self, digits: &mut [u32], sizes: &[u32], shape: &[u8]) {
        let middle = digits.len() / 2;
        for round in 0..ROUNDS {
            let (left, right) = digits.split_at_mut(middle);
            let (left_sizes, right_sizes) = sizes.split_at(middle);
            if round % 2 == 0 {
                self.add(right, right_sizes, left, round, shape);
            } else {
                self.add(left, left_sizes, right, round, shape);
            }
        }
    }

    fn add(&self, moved: &mut [u32], sizes: &[u32], by: &[u32], round: u8, shape: &[u8]) {
        let mut keyed = self.0.clone();
        keyed.update(b"synqx token");
        keyed.update(&[round]);
        keyed.update(&(shape.len() as u64).to_be_bytes());
        keyed.update(shape);
        for digit in by {
            keyed.update(&digit.to_be_bytes());
        }
        // Four symbols from each tag of 32 bytes.
        for (block, (moved, sizes)) in (0u64..).zip(moved.chunks_mut(4).zip(sizes.chunks(4))) {
            let mut mac = keyed.clone();
            mac.update(&block.to_be_bytes());
            let tag = mac.finalize().into_bytes();
            for ((digit, size), bytes) in moved.iter_mut().zip(sizes).zip(tag.chunks_exact(8)) {
                let mut word = [0; 8];
                word.copy_from_slice(bytes);
                let shift = u64::from_be_bytes(word) % u64::from((*size).max(1));
                *digit = ((u64::from(*digit) + shift) % u64::from((*size).max(1))) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn keyed(salt: &str) -> Keyed {
        Salt::new(salt).and_then(|salt| salt.keyed()).expect("a key")
    }

    #[test]
    fn a_hash_is_the_hmac_that_everybody_computes() {
        // printf %s ann@example.org | openssl dgst -sha256 -hmac 0123456789abcdef
        assert_eq!(
            keyed("0123456789abcdef").hash(b"ann@example.org"),
            "b2eadfbaaca8f7b30b76563378bedc2fe183e5b392a7710ab8166987238c66ef"
        );
    }

    #[test]
    fn tokens_of_one_form_are_a_permutation() {
        let keyed = keyed("0123456789abcdef");
        for form in [
            |i: u32| format!("{i:03}"),
            |i: u32| format!("A{}-{}", i / 10, i % 10),
            |i: u32| format!("{}x{:02}", char::from_u32(0x430 + i % 10).unwrap_or('x'), i / 10),
        ] {
            let values: BTreeSet<String> = (0..1000).map(form).collect();
            let tokens: BTreeSet<String> = values.iter().map(|value| keyed.text(value)).collect();
            assert_eq!(tokens.len(), values.len());
            assert!(tokens.iter().any(|token| !values.contains(token)) || tokens == values);
        }
        let digits: BTreeSet<String> = (0..1000).map(|i| keyed.text(&format!("{i:03}"))).collect();
        let all: BTreeSet<String> = (0..1000).map(|i| format!("{i:03}")).collect();
        assert_eq!(digits, all, "every form is taken once");
    }

    #[test]
    fn whole_numbers_keep_sign_digits_and_type() {
        let keyed = keyed("0123456789abcdef");
        let most = i8::MAX as u128;
        let tokens: BTreeSet<i128> = (0..=127).map(|i| keyed.whole(i, most)).collect();
        assert_eq!(tokens, (0..=127).collect::<BTreeSet<i128>>());
        let tokens: BTreeSet<i128> = (-128..0).map(|i| keyed.whole(i, most + 1)).collect();
        assert_eq!(tokens, (-128..0).collect::<BTreeSet<i128>>());
        for value in [i64::MAX, i64::MIN, 1_000_000_007] {
            let value = i128::from(value);
            let token = keyed.whole(value, if value < 0 { 1 << 63 } else { (1 << 63) - 1 });
            assert_eq!(token.to_string().len(), value.to_string().len());
            assert!(i64::try_from(token).is_ok() && token != value);
        }
    }

    #[test]
    fn the_form_stays_and_the_salt_decides() {
        let (one, other) = (keyed("0123456789abcdef"), keyed("fedcba9876543210"));
        let token = one.text("Ann.Lee-42@Ex.org, Ж9");
        let form: String = token
            .chars()
            .map(|c| match c {
                '0'..='9' => '9',
                'a'..='z' => 'a',
                'A'..='Z' => 'A',
                c if c.is_alphanumeric() => '?',
                c => c,
            })
            .collect();
        assert_eq!(form, "Aaa.Aaa-99@Aa.aaa, ?9");
        assert_eq!(token, one.text("Ann.Lee-42@Ex.org, Ж9"));
        assert_ne!(token, other.text("Ann.Lee-42@Ex.org, Ж9"));
        assert_eq!(one.text(""), "");
        assert_eq!(one.text("--"), "--");
    }

    #[test]
    fn a_salt_is_never_printed_and_never_short() {
        let salt = Salt::new("correct horse battery").expect("long enough");
        assert_eq!(format!("{salt:?}"), "Salt");
        assert_eq!(Salt::new("short").expect_err("refused").code(), Code::E0103);
    }
}
