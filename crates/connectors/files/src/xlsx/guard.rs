//! Measures a workbook before it is opened: what must be whole in memory, and whether it fits the budget.
//!
//! A workbook is a zip archive; a small one can unpack to anything. The shared texts are kept in memory while the
//! sheet is read and are reserved; everything else is read in pieces, whose largest must fit. Nothing is parsed here.

use std::fs::File;
use std::io::{BufReader, Read};

use synqx_model::{Code, Error, Result};
use synqx_sdk::{Budget, Reservation};
use zip::ZipArchive;

use crate::content::{Opened, cannot_read, damaged};

/// Parts of a workbook.
const PARTS: usize = 10_000;
/// Times a packed part can grow at most.
const GROWTH: u64 = 1_032;
/// Bytes of parts that describe the workbook: styles, relations, the list of sheets.
const REST: u64 = 64 << 20;
/// Bytes that a shared text takes besides its characters.
const PER_TEXT: u64 = 48;

/// What a part holds.
struct Measured {
    bytes: u64,
    /// Most bytes between two tags.
    gap: u64,
    /// Tags.
    tags: u64,
    /// The first bytes.
    head: Vec<u8>,
}

/// Measures the parts and reserves what opening takes. Errors: `E0210`, `E0804`, `E0805`.
pub(crate) fn reserve(opened: &Opened, budget: &Budget) -> Result<Reservation> {
    let label = &opened.label;
    let file = File::open(&opened.path).map_err(|cause| cannot_read(label, &cause))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|cause| damaged(label, &cause))?;
    if archive.len() > PARTS {
        return Err(too_large(label, "it has too many parts"));
    }
    let limit = budget.row_limit().min(1 << 30);
    let (mut rest, mut texts) = (0u64, 0u64);
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).map_err(|cause| damaged(label, &cause))?;
        let name = part
            .name()
            .map_err(|cause| damaged(label, &cause))?
            .to_ascii_lowercase();
        if !name.ends_with(".xml") && !name.ends_with(".rels") {
            continue;
        }
        let sheet = name.contains("worksheets/sheet");
        if sheet && part.compressed_size().saturating_mul(GROWTH) <= limit {
            continue;
        }
        let shared = name.ends_with("sharedstrings.xml");
        let most = match (shared, sheet) {
            (true, _) => budget.limit(),
            (false, true) => u64::MAX,
            (false, false) => REST.min(limit),
        };
        let measured = measure(&mut part, most, limit).map_err(|cause| damaged(label, &cause))?;
        if measured.bytes > most && !shared {
            return Err(too_large(label, "its styles and relations are too large"));
        }
        if measured.gap > limit {
            return Err(Error::new(
                Code::E0805,
                format!("a cell of `{label}` is larger than a quarter of the memory budget"),
            )
            .with_detail(format!("More than {limit} bytes stand between two tags."))
            .with_hint("run with a larger `--memory`"));
        }
        if shared {
            texts = measured.bytes + measured.tags / 2 * PER_TEXT;
            promised(label, &measured)?;
        } else if !sheet {
            rest += measured.bytes;
        }
    }
    if rest > REST {
        return Err(too_large(label, "its styles and relations are too large"));
    }
    budget.reserve(&format!("the shared texts of `{label}`"), texts + rest)
}

fn too_large(label: &str, why: &str) -> Error {
    Error::new(
        Code::E0210,
        format!("`{label}` is no workbook that can be read: {why}"),
    )
    .with_hint("save it again with Excel or LibreOffice, or as CSV")
}

/// Reads a part to its end, or until it is too large.
fn measure(part: &mut impl Read, most: u64, gap: u64) -> std::io::Result<Measured> {
    let mut found = Measured {
        bytes: 0,
        gap: 0,
        tags: 0,
        head: Vec::new(),
    };
    let (mut bytes, mut since) = (vec![0; 64 << 10], 0u64);
    loop {
        let length = part.read(&mut bytes)?;
        if length == 0 {
            return Ok(found);
        }
        let chunk = &bytes[..length];
        if found.head.len() < 4_096 {
            found.head.extend_from_slice(chunk);
        }
        let mut from = 0;
        for at in memchr::memchr_iter(b'<', chunk) {
            found.gap = found.gap.max(since + (at - from) as u64);
            (since, from) = (0, at);
            found.tags += 1;
        }
        since += (length - from) as u64;
        found.gap = found.gap.max(since);
        found.bytes += length as u64;
        if found.bytes > most || found.gap > gap {
            return Ok(found);
        }
    }
}

/// The list of texts says how many there are, and room is made for as many: no more than can be in the part.
fn promised(label: &str, texts: &Measured) -> Result<()> {
    let head = String::from_utf8_lossy(&texts.head);
    let promised = head
        .split("uniqueCount")
        .skip(1)
        .filter_map(|rest| {
            let digits: String = rest
                .trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '=' | '"' | '\''))
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            digits.parse::<u64>().ok()
        })
        .max();
    match promised {
        Some(count) if count > texts.tags => Err(Error::new(
            Code::E0210,
            format!("`{label}` is damaged: it promises more texts than it holds"),
        )
        .with_hint("save it again with Excel or LibreOffice, or as CSV")),
        _ => Ok(()),
    }
}
