//! Text in the encoding a file is written in.
//!
//! A character that the encoding does not have is refused, never replaced. UTF-16 begins with a byte order mark, as
//! everybody who reads it expects. Decoding is in `content`.

use std::borrow::Cow;

use encoding_rs::{EncoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Encodes rows.
pub(crate) struct Encoder {
    encoding: &'static Encoding,
    begun: bool,
}

impl Encoder {
    /// For an encoding.
    pub(crate) fn new(encoding: &'static Encoding) -> Self {
        Encoder {
            encoding,
            begun: false,
        }
    }

    /// Whether text has to be encoded at all.
    pub(crate) fn changes(&self) -> bool {
        self.encoding != UTF_8
    }

    /// The encoding's name.
    pub(crate) fn name(&self) -> &'static str {
        self.encoding.name()
    }

    /// The bytes of a text; none when the encoding does not have one of its characters.
    pub(crate) fn encode<'t>(&mut self, text: &'t str) -> Option<Cow<'t, [u8]>> {
        let mark = if std::mem::replace(&mut self.begun, true) {
            ""
        } else {
            "\u{feff}"
        };
        let wide = |bytes: fn(u16) -> [u8; 2]| -> Cow<'t, [u8]> {
            mark.encode_utf16()
                .chain(text.encode_utf16())
                .flat_map(bytes)
                .collect()
        };
        if self.encoding == UTF_8 {
            return Some(Cow::Borrowed(text.as_bytes()));
        }
        if self.encoding == UTF_16LE {
            return Some(wide(u16::to_le_bytes));
        }
        if self.encoding == UTF_16BE {
            return Some(wide(u16::to_be_bytes));
        }
        let mut encoder = self.encoding.new_encoder();
        let room = encoder.max_buffer_length_from_utf8_without_replacement(text.len())?;
        let mut bytes = Vec::with_capacity(room);
        let (result, _) = encoder.encode_from_utf8_to_vec_without_replacement(text, &mut bytes, true);
        (result == EncoderResult::InputEmpty).then_some(Cow::Owned(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_encoding_lacks_is_not_replaced() {
        let mut latin = Encoder::new(encoding_rs::WINDOWS_1252);
        assert_eq!(latin.encode("é€").as_deref(), Some(&[0xe9, 0x80][..]));
        assert_eq!(latin.encode("ł"), None);
        let mut wide = Encoder::new(UTF_16LE);
        assert_eq!(wide.encode("a").as_deref(), Some(&[0xff, 0xfe, b'a', 0][..]));
        assert_eq!(wide.encode("b").as_deref(), Some(&[b'b', 0][..]));
    }
}
