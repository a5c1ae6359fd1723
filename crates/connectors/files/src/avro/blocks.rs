//! Takes an Avro file apart: its header, and its blocks, unpacked within the budget.
//!
//! Each block is made a small file of its own that is not packed, which the decoder reads from memory: so a block that
//! unpacks to anything is stopped here, and a decoded batch is never larger than its block. Layout:
//! "Object Container Files" of the Avro specification.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Budget, Reservation};

use crate::content::{Opened, cannot_read};

/// Bytes of a header.
const HEADER: u64 = 16 << 20;
/// Entries of a header.
const ENTRIES: u64 = 10_000;

/// How blocks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

/// The error for bytes that are no Avro file.
pub(crate) fn damaged(label: &str, why: &str) -> Error {
    Error::new(Code::E0210, format!("`{label}` is damaged or cut short"))
        .with_detail(format!("As an Avro file: {why}."))
        .with_hint("fetch the file again; compare its size with the original")
}

/// A file being taken apart.
pub(crate) struct Blocks<'a> {
    file: BufReader<&'a File>,
    label: &'a str,
    length: u64,
    at: u64,
    codec: Codec,
    /// The header of a file that is not packed.
    pub(crate) header: Vec<u8>,
    sync: [u8; 16],
    /// Blocks read.
    number: u64,
}

/// A block, made a file of its own.
pub(crate) struct Group {
    /// A file that is not packed.
    pub(crate) bytes: Vec<u8>,
    /// Its rows.
    pub(crate) rows: u64,
    /// Memory of the bytes.
    #[expect(dead_code, reason = "held while the block is decoded")]
    held: Reservation,
}

impl<'a> Blocks<'a> {
    /// Reads the header. Errors: `E0210`, `E0211`.
    pub(crate) fn open(opened: &'a Opened) -> Result<Self> {
        let mut blocks = Blocks {
            file: BufReader::with_capacity(64 << 10, &opened.file),
            label: &opened.label,
            length: opened.stamp.len,
            at: 0,
            codec: Codec::Null,
            header: Vec::new(),
            sync: [0; 16],
            number: 0,
        };
        blocks
            .file
            .seek(SeekFrom::Start(0))
            .map_err(|cause| cannot_read(&opened.label, &cause))?;
        if blocks.take(4)? != b"Obj\x01" {
            return Err(damaged(&opened.label, "it does not begin with a header"));
        }
        blocks.read_header()?;
        Ok(blocks)
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>> {
        if length > self.length.saturating_sub(self.at) {
            return Err(damaged(self.label, "it ends too early"));
        }
        let mut bytes = vec![0; length as usize];
        self.at += length;
        self.file
            .read_exact(&mut bytes)
            .map_err(|cause| cannot_read(self.label, &cause))?;
        Ok(bytes)
    }

    fn long(&mut self) -> Result<i64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(damaged(self.label, "a number has too many bytes"))
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let length = u64::try_from(self.long()?)
            .ok()
            .filter(|length| *length <= HEADER);
        let length = length.ok_or_else(|| damaged(self.label, "its header is too large"))?;
        self.take(length)
    }

    fn read_header(&mut self) -> Result<()> {
        let mut schema = None;
        let mut entries = 0u64;
        loop {
            let count = self.long()?;
            if count == 0 {
                break;
            }
            if count < 0 {
                self.long()?;
            }
            entries = entries.saturating_add(count.unsigned_abs());
            if entries > ENTRIES {
                return Err(damaged(self.label, "its header is too large"));
            }
            for _ in 0..count.unsigned_abs() {
                let (key, value) = (self.bytes()?, self.bytes()?);
                match key.as_slice() {
                    b"avro.schema" => schema = Some(value),
                    b"avro.codec" => self.codec = codec(&value, self.label)?,
                    _ => {}
                }
                if self.at > HEADER {
                    return Err(damaged(self.label, "its header is too large"));
                }
            }
        }
        let schema = schema.ok_or_else(|| damaged(self.label, "its header has no schema"))?;
        let sync = self.take(16)?;
        self.sync.copy_from_slice(&sync);
        let mut header = b"Obj\x01".to_vec();
        put_long(1, &mut header);
        for part in [b"avro.schema".as_slice(), &schema] {
            put_long(part.len() as i64, &mut header);
            header.extend_from_slice(part);
        }
        put_long(0, &mut header);
        header.extend_from_slice(&self.sync);
        self.header = header;
        Ok(())
    }

    /// The rows and bytes of the next block; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, u64)>> {
        if self.at == self.length {
            return Ok(None);
        }
        self.number += 1;
        let (rows, bytes) = (self.long()?, self.long()?);
        let negative = |_| damaged(self.label, "a block has a negative length");
        let rows = u64::try_from(rows).map_err(negative)?;
        let bytes = u64::try_from(bytes).map_err(negative)?;
        if bytes.saturating_add(16) > self.length.saturating_sub(self.at) {
            return Err(damaged(self.label, "it ends inside a block"));
        }
        Ok(Some((rows, bytes)))
    }

    fn check_sync(&mut self) -> Result<()> {
        if self.take(16)? != self.sync {
            let why = format!("the mark behind block {} is wrong", self.number);
            return Err(damaged(self.label, &why));
        }
        Ok(())
    }

    /// Rows of the file, by its blocks; they are not unpacked. Errors: `E0210`, `E0211`.
    pub(crate) fn rows(&mut self) -> Result<u64> {
        let mut sum = 0u64;
        while let Some((rows, bytes)) = self.next()? {
            self.at += bytes;
            self.file
                .seek_relative(i64::try_from(bytes).unwrap_or(i64::MAX))
                .map_err(|cause| cannot_read(self.label, &cause))?;
            self.check_sync()?;
            sum = sum.saturating_add(rows);
        }
        Ok(sum)
    }

    /// The next block that has rows. Errors: `E0210`, `E0804`, `E0805`.
    pub(crate) fn group(&mut self, budget: &Budget) -> Result<Option<Group>> {
        let who = format!("a block of `{}`", self.label);
        let limit = budget.row_limit().min(1 << 30);
        while let Some((rows, bytes)) = self.next()? {
            if bytes > limit {
                return Err(self.too_large(limit));
            }
            let mut held = budget.reserve(&who, bytes)?;
            let packed = self.take(bytes)?;
            self.check_sync()?;
            let plain = self.unpack(packed, limit)?;
            if rows == 0 {
                continue;
            }
            // Every row has at least one byte: the schema was looked at.
            if rows > plain.len() as u64 {
                return Err(damaged(self.label, "a block has more rows than bytes"));
            }
            held.resize(&who, (self.header.len() + plain.len()) as u64 + 64)?;
            let mut group = Group {
                bytes: self.header.clone(),
                rows,
                held,
            };
            put_long(i64::try_from(rows).unwrap_or(i64::MAX), &mut group.bytes);
            put_long(plain.len() as i64, &mut group.bytes);
            group.bytes.extend_from_slice(&plain);
            group.bytes.extend_from_slice(&self.sync);
            return Ok(Some(group));
        }
        Ok(None)
    }

    fn too_large(&self, limit: u64) -> Error {
        Error::new(
            Code::E0805,
            format!(
                "block {} of `{}` is larger than a quarter of the memory budget",
                self.number, self.label
            ),
        )
        .with_detail(format!(
            "A block is read as a whole; blocks of up to {limit} bytes are."
        ))
        .with_hint("run with a larger `--memory`, or write the file with smaller blocks")
    }

    fn unpack(&self, packed: Vec<u8>, limit: u64) -> Result<Vec<u8>> {
        let broken = || damaged(self.label, &format!("block {} cannot be unpacked", self.number));
        let all = |source: &mut dyn Read| -> Result<Vec<u8>> {
            let mut plain = Vec::new();
            source
                .take(limit + 1)
                .read_to_end(&mut plain)
                .map_err(|_| broken())?;
            if plain.len() as u64 > limit {
                return Err(self.too_large(limit));
            }
            Ok(plain)
        };
        match self.codec {
            Codec::Null => Ok(packed),
            Codec::Deflate => all(&mut flate2::read::DeflateDecoder::new(packed.as_slice())),
            Codec::Zstandard => {
                all(&mut zstd::stream::read::Decoder::new(packed.as_slice()).map_err(|_| broken())?)
            }
            Codec::Snappy => {
                let (data, sum) = packed.split_last_chunk::<4>().ok_or_else(broken)?;
                let length = snap::raw::decompress_len(data).map_err(|_| broken())?;
                if length as u64 > limit {
                    return Err(self.too_large(limit));
                }
                let plain = snap::raw::Decoder::new()
                    .decompress_vec(data)
                    .map_err(|_| broken())?;
                let mut crc = flate2::Crc::new();
                crc.update(&plain);
                match crc.sum() == u32::from_be_bytes(*sum) {
                    true => Ok(plain),
                    false => Err(broken()),
                }
            }
        }
    }
}

fn codec(name: &[u8], label: &str) -> Result<Codec> {
    Ok(match name {
        b"null" | b"" => Codec::Null,
        b"deflate" => Codec::Deflate,
        b"snappy" => Codec::Snappy,
        b"zstandard" => Codec::Zstandard,
        b"bzip2" | b"xz" => {
            return Err(Error::new(
                Code::E0210,
                format!("the blocks of `{label}` are packed with bzip2 or xz"),
            )
            .with_hint("write it again with the codec deflate, snappy or zstandard"));
        }
        _ => return Err(damaged(label, "its blocks are packed in an unknown way")),
    })
}

fn put_long(value: i64, into: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        into.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}
