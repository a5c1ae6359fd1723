//! The messages of an Arrow file or stream, one after another, each measured before it is read.
//!
//! A file is a stream between two magic words with a footer behind it, so both are read from the front. Lengths are
//! claims: they are held against what is left of the file, and unpacked sizes against the budget. Layout: the section
//! "Serialization and Interprocess Communication" of the Arrow columnar format.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use arrow::buffer::{Buffer, MutableBuffer};
use arrow::ipc::{Message, MessageHeader, RecordBatch as Layout, root_as_message};
use synqx_model::{Code, Error, Result};

use crate::content::{Opened, cannot_read};

/// Bytes of the metadata of a message.
const METADATA: u64 = 64 << 20;

/// A message without its body.
pub(crate) struct Found {
    metadata: Vec<u8>,
    /// Where its body begins.
    pub(crate) begin: u64,
    /// Bytes of its body.
    pub(crate) body: u64,
}

impl Found {
    /// Its metadata. Errors: `E0210`.
    pub(crate) fn message(&self, label: &str) -> Result<Message<'_>> {
        root_as_message(&self.metadata).map_err(|_| damaged(label, "a message is not what it says"))
    }
}

/// The error for bytes that are no messages.
pub(crate) fn damaged(label: &str, why: &str) -> Error {
    Error::new(Code::E0210, format!("`{label}` is damaged or cut short"))
        .with_detail(format!("As an Arrow file: {why}."))
        .with_hint("fetch the file again; compare its size with the original")
}

/// The messages of a file.
pub(crate) struct Messages<'a> {
    file: BufReader<&'a File>,
    label: &'a str,
    length: u64,
    at: u64,
}

impl<'a> Messages<'a> {
    /// At the first message. Errors: `E0210`, `E0211`.
    pub(crate) fn open(opened: &'a Opened) -> Result<Self> {
        let label = opened.label.as_str();
        let mut messages = Messages {
            file: BufReader::new(&opened.file),
            label,
            length: opened.stamp.len,
            at: 0,
        };
        let mut magic = [0; 6];
        if messages.length < 12 {
            return Err(damaged(label, "it is too short"));
        }
        messages.seek(0)?;
        messages.exact(&mut magic)?;
        if &magic != b"ARROW1" {
            messages.seek(0)?;
            return Ok(messages);
        }
        messages.seek(messages.length - 6)?;
        messages.exact(&mut magic)?;
        if &magic != b"ARROW1" {
            return Err(damaged(label, "its end is missing"));
        }
        // The magic word is padded, by some to a whole line of the cache.
        let mut begin = 8;
        messages.seek(begin)?;
        let mut word = [0; 4];
        while begin < 8 + 128 {
            messages.exact(&mut word)?;
            if word != [0; 4] {
                break;
            }
            begin += 4;
        }
        messages.seek(begin)?;
        Ok(messages)
    }

    /// Goes to a byte.
    pub(crate) fn seek(&mut self, at: u64) -> Result<()> {
        self.at = at;
        let moved = self.file.seek(SeekFrom::Start(at));
        moved.map(drop).map_err(|cause| cannot_read(self.label, &cause))
    }

    fn exact(&mut self, into: &mut [u8]) -> Result<()> {
        if into.len() as u64 > self.length.saturating_sub(self.at) {
            return Err(damaged(self.label, "it ends inside a message"));
        }
        self.at += into.len() as u64;
        self.file
            .read_exact(into)
            .map_err(|cause| cannot_read(self.label, &cause))
    }

    /// The next message; `None` at the mark of the end. Errors: `E0210`, `E0211`.
    pub(crate) fn next(&mut self) -> Result<Option<Found>> {
        let mut word = [0; 4];
        self.exact(&mut word)?;
        if word == [0xff; 4] {
            self.exact(&mut word)?;
        }
        let length = i64::from(i32::from_le_bytes(word));
        if length == 0 {
            return Ok(None);
        }
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if length > METADATA.min(self.length.saturating_sub(self.at)) {
            return Err(damaged(self.label, "it ends inside a message"));
        }
        let mut metadata = vec![0; length as usize];
        self.exact(&mut metadata)?;
        let mut found = Found {
            metadata,
            begin: self.at,
            body: 0,
        };
        let body = found.message(self.label)?.bodyLength();
        found.body = u64::try_from(body).unwrap_or(u64::MAX);
        if found.body > self.length.saturating_sub(self.at) {
            return Err(damaged(self.label, "it ends inside a message"));
        }
        Ok(Some(found))
    }

    /// Leaves out the body of a message.
    pub(crate) fn skip(&mut self, found: &Found) -> Result<()> {
        self.seek(found.begin + found.body)
    }

    /// Reads the body of a message, which has been reserved.
    pub(crate) fn body(&mut self, found: &Found) -> Result<Buffer> {
        let mut body = MutableBuffer::from_len_zeroed(found.body as usize);
        self.exact(&mut body)?;
        Ok(body.into())
    }
}

/// Rows and columns of a message that holds any; `None` for a schema. Errors: `E0210`.
pub(crate) fn layout<'m>(message: &Message<'m>, label: &str) -> Result<Option<Layout<'m>>> {
    let missing = || damaged(label, "a message has no content");
    match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch().ok_or_else(missing).map(Some),
        MessageHeader::DictionaryBatch => {
            let dictionary = message.header_as_dictionary_batch().ok_or_else(missing)?;
            dictionary.data().ok_or_else(missing).map(Some)
        }
        _ => Ok(None),
    }
}

/// Bytes that a body takes when it is unpacked, by what its buffers claim. Errors: `E0210`.
pub(crate) fn unpacked(layout: &Layout<'_>, body: &[u8], label: &str) -> Result<u64> {
    let mut sum = 0u64;
    let Some(buffers) = layout.buffers() else {
        return Ok(0);
    };
    for buffer in buffers {
        let span = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(start, length)| body.get(start..start.checked_add(length)?));
        let bytes = span.ok_or_else(|| damaged(label, "a buffer is outside of its message"))?;
        let claimed = match (layout.compression().is_some(), bytes.first_chunk::<8>()) {
            (true, Some(prefix)) => match i64::from_le_bytes(*prefix) {
                -1 => bytes.len() as u64,
                claimed => {
                    u64::try_from(claimed).map_err(|_| damaged(label, "a buffer claims a negative size"))?
                }
            },
            (true, None) if !bytes.is_empty() => {
                return Err(damaged(label, "a packed buffer has no size"));
            }
            // Buffers that are not aligned are copied.
            _ => bytes.len() as u64,
        };
        sum = sum.saturating_add(claimed);
    }
    Ok(sum)
}
