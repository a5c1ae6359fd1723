//! Relaying binary COPY: rows leave one server and enter another as the bytes they are.
//!
//! Only columns whose bytes mean the same everywhere are relayed: built-in types, enums and extension types that are
//! text. Composites, domains and arrays of a database's own types carry that database's numbers of types; `regclass`
//! and its like are numbers of objects. The target's types must be the source's, to the letter.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures::{StreamExt, TryStreamExt};
use synqx_model::{Error, Result};
use synqx_sdk::{RawChunk, RawForm, RawReader, RawStream, Target};

use crate::catalog::Column;
use crate::decode::{TRAILER, header, malformed};
use crate::encode::Lane;
use crate::fit::Wire;
use crate::mapping::Kind;
use crate::read::{CopyFlow, Shared};
use crate::write::Written;

/// The form's name.
pub(crate) const FORMAT: &str = "postgresql binary copy";

/// Whether a column's bytes mean the same in every database.
pub(crate) fn is_portable(column: &Column) -> bool {
    let native = column.native.trim_end_matches("[]");
    // The server has no binary form of an aclitem, and takes none back of an empty tsquery or vector.
    let one_way = matches!(native, "aclitem" | "tsquery" | "int2vector" | "oidvector");
    let built_in = !native.contains('.') && !native.starts_with("reg") && !one_way;
    column.plain && (built_in || matches!(column.kind, Kind::Enum | Kind::Text))
}

/// The target's columns as rows of a form are written into them, or why they cannot be.
pub(crate) fn columns(
    target: &Target,
    form: &RawForm,
    version: u32,
    layout: &[Column],
) -> std::result::Result<Vec<Written>, String> {
    if form.format != FORMAT {
        return Err(format!("the source's form is {}", form.format));
    }
    let (theirs, ours) = (form.version / 10_000, version / 10_000);
    if theirs > ours {
        return Err(format!("the source is PostgreSQL {theirs} and the target {ours}"));
    }
    let mut written = Vec::new();
    for (index, (field, native)) in target.schema.fields().iter().zip(&form.types).enumerate() {
        let name = field.name();
        let column = layout.iter().find(|c| c.name == *name);
        let Some(column) = column.filter(|c| !c.generated) else {
            return Err(format!("column `{name}` is not written"));
        };
        if column.native != *native || !is_portable(column) {
            let ours = &column.native;
            return Err(format!(
                "column `{name}` is {ours} here and {native} in the source"
            ));
        }
        written.push(Written {
            lane: Lane {
                index,
                name: name.clone(),
                wire: Wire::Null,
            },
            column: column.clone(),
            staging: None,
        });
    }
    Ok(written)
}

/// An open raw read.
pub(crate) struct CopyReader(pub(crate) Arc<Shared>);

#[async_trait]
impl RawReader for CopyReader {
    async fn read(&self, partition: usize) -> Result<RawStream> {
        if partition >= self.0.parts() {
            return Err(Error::bug("there is no such partition"));
        }
        let opened = CopyFlow::open(Arc::clone(&self.0), partition);
        let place = self.0.place().to_owned();
        let chunks = move |copy: CopyFlow| {
            let flow = RawFlow {
                copy,
                rows: Rows::of(place.clone()),
            };
            futures::stream::try_unfold(flow, |mut flow| async move {
                Ok(flow.next().await?.map(|chunk| (chunk, flow)))
            })
        };
        Ok(Box::pin(
            futures::stream::once(opened).map_ok(chunks).try_flatten().boxed(),
        ))
    }
}

struct RawFlow {
    copy: CopyFlow,
    rows: Rows,
}

impl RawFlow {
    async fn next(&mut self) -> Result<Option<RawChunk>> {
        while let Some(message) = self.copy.next().await? {
            let chunk = self.rows.take(message)?;
            if chunk.rows > 0 {
                return Ok(Some(chunk));
            }
        }
        self.rows.end()?;
        Ok(None)
    }
}

/// Finds the rows in the messages of a copy. A message holds whole rows: the server sends one row a message, and the
/// connection joins messages but cuts none.
struct Rows {
    begun: bool,
    ended: bool,
    /// What messages call the source.
    place: String,
}

impl Rows {
    fn of(place: String) -> Self {
        Rows {
            begun: false,
            ended: false,
            place,
        }
    }

    /// The rows of a message, without the copy's header and trailer. Errors: `E0210`.
    fn take(&mut self, mut message: Bytes) -> Result<RawChunk> {
        if !self.begun {
            let length = header(&message, &self.place)?;
            message.advance(length.ok_or_else(|| malformed(&self.place))?);
            self.begun = true;
        }
        let (mut at, mut end, mut rows) = (0, 0, 0);
        while at < message.len() {
            match row(&message[at..]) {
                Some(length) if !self.ended && length > 0 => {
                    (at, rows) = (at + length, rows + 1);
                    end = at;
                }
                Some(0) if !self.ended => {
                    self.ended = true;
                    at += TRAILER.to_be_bytes().len();
                }
                _ => return Err(malformed(&self.place)),
            }
        }
        message.truncate(end);
        Ok(RawChunk { bytes: message, rows })
    }

    fn end(&self) -> Result<()> {
        if self.ended {
            Ok(())
        } else {
            Err(malformed(&self.place))
        }
    }
}

/// How long the row is that these bytes begin with: nothing for the trailer, none when it is not whole.
fn row(bytes: &[u8]) -> Option<usize> {
    let count = i16::from_be_bytes(*bytes.first_chunk()?);
    if count == TRAILER {
        return Some(0);
    }
    let mut at = 2;
    for _ in 0..u16::try_from(count).ok()? {
        at += 4 + match i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?) {
            -1 => 0,
            length => usize::try_from(length).ok()?,
        };
    }
    (at <= bytes.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use synqx_model::Code;

    use super::*;

    fn nothing() -> Rows {
        Rows::of("table `t`".to_owned())
    }

    fn first(row: &[u8]) -> Bytes {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        bytes.extend(row);
        bytes.into()
    }

    #[test]
    fn header_and_trailer_are_no_rows() {
        let row = [0, 1, 0, 0, 0, 1, 7];
        let null = [0, 1, 0xff, 0xff, 0xff, 0xff];
        let mut rows = nothing();
        let one = rows.take(first(&row)).expect("a first row");
        assert_eq!((one.rows, &one.bytes[..]), (1, &row[..]));
        let joined = [&row[..], &null, &[0xff, 0xff]].concat();
        let two = rows.take(joined.into()).expect("two rows and the end");
        assert_eq!((two.rows, &two.bytes[..]), (2, &[&row[..], &null].concat()[..]));
        rows.end().expect("is whole");
        let mut none = nothing();
        assert_eq!(none.take(first(&[0xff, 0xff])).expect("an empty copy").rows, 0);
        none.end().expect("is whole");
    }

    #[test]
    fn a_copy_that_breaks_off_or_goes_on_is_damaged() {
        let mut rows = nothing();
        rows.take(first(&[0, 0])).expect("a row of no columns");
        assert_eq!(rows.end().expect_err("breaks off").code(), Code::E0210);
        let damaged: [&[u8]; 5] = [
            b"something else entirely",
            &[0, 1, 0, 0, 0, 2, 7],
            &[0, 2, 0, 0, 0, 0],
            &[0xff, 0xff, 0, 0],
            &[0xff, 0xfe],
        ];
        for bytes in damaged {
            assert_eq!(
                nothing().take(first(bytes)).expect_err("is damaged").code(),
                Code::E0210
            );
        }
        let mut over = nothing();
        over.take(first(&[0xff, 0xff])).expect("the end");
        assert!(over.take(Bytes::from_static(&[0, 0])).is_err());
        assert!(
            nothing()
                .take(Bytes::from_static(b"something else entirely"))
                .is_err()
        );
    }
}
