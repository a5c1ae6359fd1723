//! From a path to the text inside it: a stamp of what was opened, decompression by content, decoding to UTF-8.
//!
//! A file is read up to the length it had when it was opened and compared with its stamp at the end, so a file that
//! grows or changes meanwhile is an error and never half of two versions. Formats are parsed elsewhere.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};
use serde::{Deserialize, Serialize};
use synqx_model::{Code, Error, Result};

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) len: u64,
    /// Last change, nanoseconds since 1970.
    pub(crate) modified: i64,
    /// The file's number on its volume; 0 where there is none.
    pub(crate) inode: u64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .and_then(|span| i64::try_from(span.as_nanos()).ok());
        Stamp {
            len: metadata.len(),
            modified: modified.unwrap_or(0),
            inode: inode(metadata),
        }
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &Metadata) -> u64 {
    0
}

/// The error for a source file that cannot be opened or listed.
pub(crate) fn cannot_read(label: &str, cause: &io::Error) -> Error {
    let error = match cause.kind() {
        io::ErrorKind::NotFound => Error::new(Code::E0204, format!("there is no file `{label}`"))
            .with_hint("check the name; `synqx discover` lists the files of a connection"),
        io::ErrorKind::PermissionDenied => {
            Error::new(Code::E0211, format!("no permission to read `{label}`"))
                .with_hint("give this user the right to read it")
        }
        _ => {
            Error::new(Code::E0211, format!("cannot read `{label}`")).with_hint("check the disk and the path")
        }
    };
    error.with_cause(cause)
}

/// The error for a file that is not what it was.
pub(crate) fn changed(label: &str) -> Error {
    Error::new(Code::E0209, format!("`{label}` changed while it was read"))
        .with_detail("Its length, its time of change or its identity differ from when it was opened.")
        .with_hint("run again when nobody writes to it, or have it written under another name and renamed")
}

/// An opened file with the stamp it had.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The path.
    pub(crate) path: PathBuf,
    /// What messages call it.
    pub(crate) label: String,
    /// The file.
    pub(crate) file: File,
    /// Its state when it was opened.
    pub(crate) stamp: Stamp,
}

impl Opened {
    /// Opens a file. Errors: `E0204`, `E0211`.
    pub(crate) fn new(path: &Path, label: &str) -> Result<Self> {
        let file = File::open(path).map_err(|cause| cannot_read(label, &cause))?;
        let metadata = file.metadata().map_err(|cause| cannot_read(label, &cause))?;
        if metadata.is_dir() {
            return Err(
                Error::new(Code::E0211, format!("`{label}` is a folder, not a file"))
                    .with_hint("name a file in it, or the folder itself as the asset"),
            );
        }
        Ok(Opened {
            path: path.to_owned(),
            label: label.to_owned(),
            file,
            stamp: Stamp::of(&metadata),
        })
    }

    /// Whether the file is still in the state it was opened in. Errors: `E0209`.
    pub(crate) fn verify(&self) -> Result<()> {
        verify(&self.path, &self.label, &self.file, self.stamp)
    }
}

fn verify(path: &Path, label: &str, file: &File, stamp: Stamp) -> Result<()> {
    let held = file.metadata().map(|m| Stamp::of(&m));
    if held.map_err(|cause| cannot_read(label, &cause))? != stamp {
        return Err(changed(label));
    }
    // A file that was replaced by a rename or removed is still whole behind our handle.
    match std::fs::metadata(path).map(|m| Stamp::of(&m)) {
        Ok(now) if now.inode == stamp.inode && now != stamp => Err(changed(label)),
        _ => Ok(()),
    }
}

/// How the bytes of a file are packed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

fn packing(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::Plain,
    }
}

/// The first bytes of a file.
#[derive(Debug)]
pub(crate) struct Head {
    /// Unpacked; fewer than eight only where the file ends.
    pub(crate) plain: Vec<u8>,
    /// Whether the file is packed.
    pub(crate) packed: bool,
}

/// Looks at the first bytes of a file. Errors: `E0204`, `E0210`, `E0211`.
pub(crate) fn head_of(path: &Path, label: &str) -> Result<Head> {
    const LENGTH: usize = 8;
    let opened = Opened::new(path, label)?;
    let mut file = io::BufReader::with_capacity(16 << 10, &opened.file);
    let raw = read_head(&mut file, LENGTH).map_err(|cause| cannot_read(label, &cause))?;
    let packing = packing(&raw);
    if packing == Packing::Plain {
        return Ok(Head {
            plain: raw,
            packed: false,
        });
    }
    let plain = unpacked(packing, io::Cursor::new(raw).chain(file))
        .and_then(|mut bytes| read_head(&mut bytes, LENGTH));
    Ok(Head {
        plain: plain.map_err(|cause| damaged(label, &cause))?,
        packed: true,
    })
}

/// The last four bytes of a file. Errors: `E0204`, `E0211`.
pub(crate) fn tail_of(path: &Path, label: &str) -> Result<[u8; 4]> {
    let opened = Opened::new(path, label)?;
    let mut tail = [0; 4];
    let mut file = &opened.file;
    io::Seek::seek(&mut file, io::SeekFrom::End(-4))
        .and_then(|_| file.read_exact(&mut tail))
        .map_err(|cause| cannot_read(label, &cause))?;
    Ok(tail)
}

/// The first bytes of an opened file, unpacked and not decoded. Errors: `E0210`, `E0211`.
pub(crate) fn head_text(opened: &Opened, length: usize) -> Result<Vec<u8>> {
    let label = &opened.label;
    let mut file = File::open(&opened.path).map_err(|cause| cannot_read(label, &cause))?;
    let raw = read_head(&mut file, 8).map_err(|cause| cannot_read(label, &cause))?;
    let packing = packing(&raw);
    unpacked(packing, io::Cursor::new(raw).chain(file))
        .and_then(|mut bytes| read_head(&mut bytes, length))
        .map_err(|cause| damaged(label, &cause))
}

/// The bytes behind a packing.
fn unpacked<'a>(packing: Packing, bytes: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match packing {
        Packing::Plain => Box::new(bytes),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(
            64 << 10,
            bytes,
        ))),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(bytes)?),
    })
}

/// Runs a decoder that is not ours over bytes that nobody vouches for: should it panic, the file is at fault.
pub(crate) fn contained<T>(label: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Error::new(
            Code::E0210,
            format!("`{label}` is damaged: its decoder gave up on it"),
        )
        .with_hint("fetch the file again; compare its size with the original"))
    })
}

/// The text of a file as UTF-8 bytes, unpacked and decoded. Bytes of a UTF-8 file are not checked here.
pub(crate) struct Text {
    source: Box<dyn Read + Send>,
    check: File,
    path: PathBuf,
    label: String,
    stamp: Stamp,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({})", self.label)
    }
}

impl Text {
    /// Opens a file as text. Errors: `E0204`, `E0210`, `E0211`.
    pub(crate) fn open(path: &Path, label: &str, encoding: &'static Encoding) -> Result<Self> {
        Self::new(Opened::new(path, label)?, encoding)
    }

    /// The text of an opened file. Errors: `E0210`, `E0211`.
    pub(crate) fn new(opened: Opened, encoding: &'static Encoding) -> Result<Self> {
        let Opened {
            path,
            label,
            file,
            stamp,
        } = opened;
        let check = file.try_clone().map_err(|cause| cannot_read(&label, &cause))?;
        let mut file = file.take(stamp.len);
        let head = read_head(&mut file, 4).map_err(|cause| cannot_read(&label, &cause))?;
        let packing = packing(&head);
        let bytes = io::Cursor::new(head).chain(file);
        let mut unpacked = unpacked(packing, bytes).map_err(|cause| damaged(&label, &cause))?;
        let head = read_head(&mut unpacked, 3).map_err(|cause| damaged(&label, &cause))?;
        let (encoding, mark) = Encoding::for_bom(&head).unwrap_or((encoding, 0));
        let rest = io::Cursor::new(head[mark..].to_vec()).chain(unpacked);
        let source: Box<dyn Read + Send> = if encoding == UTF_8 {
            Box::new(rest)
        } else {
            Box::new(Decoded::new(Box::new(rest), encoding, mark))
        };
        Ok(Text {
            source,
            check,
            path,
            label,
            stamp,
        })
    }

    /// What messages call the file.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Reads some bytes; 0 at the end. Errors: `E0207` for bytes that are not of the encoding, `E0210`.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize> {
        loop {
            match self.source.read(into) {
                Ok(n) => return Ok(n),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.explain(&cause)),
            }
        }
    }

    fn explain(&self, cause: &io::Error) -> Error {
        if let Some(malformed) = cause
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Malformed>())
        {
            return Error::new(
                Code::E0207,
                format!(
                    "`{}` is not {} from byte {} on",
                    self.label, malformed.encoding, malformed.offset
                ),
            )
            .with_detail(format!(
                "The bytes are in line {}; offsets count from the beginning of the unpacked file.",
                malformed.line
            ))
            .with_hint("name the right one with `options: { encoding: windows-1252 }`");
        }
        // A file that is being rewritten looks damaged; what happened to it is the better answer.
        if let Err(error) = self.verify() {
            return error;
        }
        damaged(&self.label, cause)
    }

    /// Whether the file is still in the state it was opened in. Errors: `E0209`.
    pub(crate) fn verify(&self) -> Result<()> {
        verify(&self.path, &self.label, &self.check, self.stamp)
    }
}

fn read_head(source: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(bytes);
    source.by_ref().take(bytes as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The error for bytes that cannot be unpacked or parsed.
pub(crate) fn damaged(label: &str, cause: &dyn std::error::Error) -> Error {
    Error::new(Code::E0210, format!("`{label}` is damaged or cut short"))
        .with_hint("fetch the file again; compare its size with the original")
        .with_cause(cause)
}

/// Bytes that are not text of the encoding.
#[derive(Debug)]
struct Malformed {
    encoding: &'static str,
    offset: u64,
    line: u64,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not {} from byte {} on", self.encoding, self.offset)
    }
}

impl std::error::Error for Malformed {}

/// Decodes any encoding to UTF-8 on the way.
struct Decoded {
    source: Box<dyn Read + Send>,
    decoder: Decoder,
    encoded: Vec<u8>,
    start: usize,
    end: usize,
    offset: u64,
    line: u64,
    finished: bool,
    ready: Vec<u8>,
    taken: usize,
}

impl Decoded {
    fn new(source: Box<dyn Read + Send>, encoding: &'static Encoding, mark: usize) -> Self {
        Decoded {
            source,
            decoder: encoding.new_decoder_without_bom_handling(),
            encoded: vec![0; 32 << 10],
            start: 0,
            end: 0,
            offset: mark as u64,
            line: 1,
            finished: false,
            ready: Vec::new(),
            taken: 0,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        if self.start == self.end && !self.finished {
            self.start = 0;
            self.end = self.source.read(&mut self.encoded)?;
            self.finished = self.end == 0;
        }
        let mut decoded = vec![0; 96 << 10];
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(
            &self.encoded[self.start..self.end],
            &mut decoded,
            self.finished,
        );
        decoded.truncate(written);
        self.line += memchr::memchr_iter(b'\n', &decoded).count() as u64;
        self.start += read;
        self.offset += read as u64;
        self.ready = decoded;
        self.taken = 0;
        match result {
            DecoderResult::Malformed(bad, after) => {
                let back = u64::from(bad) + u64::from(after);
                let encoding = self.decoder.encoding().name();
                let malformed = Malformed {
                    encoding,
                    offset: self.offset.saturating_sub(back),
                    line: self.line,
                };
                Err(io::Error::new(io::ErrorKind::InvalidData, malformed))
            }
            DecoderResult::InputEmpty | DecoderResult::OutputFull => Ok(()),
        }
    }
}

impl Read for Decoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.ready.len() {
            if self.finished && self.start == self.end {
                return Ok(0);
            }
            self.refill()?;
        }
        let n = into.len().min(self.ready.len() - self.taken);
        into[..n].copy_from_slice(&self.ready[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}
