//! Relaying binary COPY: rows leave one server and enter another as the bytes they are.
//!
//! Only columns whose bytes mean the same everywhere are relayed: built-in types, enums and extension types that are
//! text. Composites, domains and arrays of a database's own types carry that database's numbers of types; `regclass`
//! and its like are numbers of objects. The target's types must be the source's, to the letter.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
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
/// Bytes of rows handed on at once, with room for the row that fills them.
const CHUNK: usize = 56 << 10;
const ROOM: usize = 64 << 10;

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
            self.rows.take(message)?;
            if self.rows.bytes.len() >= CHUNK {
                return Ok(Some(self.rows.chunk()));
            }
        }
        self.rows.end()
    }
}

/// Collects rows from the messages of a copy: the server sends one row a message.
struct Rows {
    bytes: BytesMut,
    count: u64,
    begun: bool,
    ended: bool,
    /// What messages call the source.
    place: String,
}

impl Rows {
    fn of(place: String) -> Self {
        Rows {
            bytes: BytesMut::new(),
            count: 0,
            begun: false,
            ended: false,
            place,
        }
    }

    /// Errors: `E0210`.
    fn take(&mut self, mut message: Bytes) -> Result<()> {
        if self.ended {
            return Err(malformed(&self.place));
        }
        if !self.begun {
            let length = header(&message, &self.place)?;
            message.advance(length.ok_or_else(|| malformed(&self.place))?);
            self.begun = true;
        }
        if message[..] == TRAILER.to_be_bytes() {
            self.ended = true;
        } else if !message.is_empty() {
            self.bytes.extend_from_slice(&message);
            self.count += 1;
        }
        Ok(())
    }

    fn chunk(&mut self) -> RawChunk {
        let next = BytesMut::with_capacity(ROOM);
        RawChunk {
            bytes: std::mem::replace(&mut self.bytes, next).freeze(),
            rows: std::mem::take(&mut self.count),
        }
    }

    fn end(&mut self) -> Result<Option<RawChunk>> {
        if !self.ended {
            return Err(malformed(&self.place));
        }
        Ok((self.count > 0).then(|| self.chunk()))
    }
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
        let mut rows = nothing();
        rows.take(first(&[0, 1, 0, 0, 0, 1, 7])).expect("a first row");
        rows.take(Bytes::from_static(&[0, 1, 0xff, 0xff, 0xff, 0xff]))
            .expect("a row");
        rows.take(Bytes::from_static(&[0xff, 0xff])).expect("the end");
        let chunk = rows.end().expect("is whole").expect("has rows");
        assert_eq!(chunk.rows, 2);
        assert_eq!(
            chunk.bytes[..],
            [0, 1, 0, 0, 0, 1, 7, 0, 1, 0xff, 0xff, 0xff, 0xff]
        );
        let mut none = nothing();
        none.take(first(&[0xff, 0xff])).expect("an empty copy");
        assert!(none.end().expect("is whole").is_none());
    }

    #[test]
    fn a_copy_that_breaks_off_is_not_the_end() {
        let mut rows = nothing();
        rows.take(first(&[0, 0])).expect("a row");
        assert_eq!(rows.end().expect_err("breaks off").code(), Code::E0210);
        assert!(
            nothing()
                .take(Bytes::from_static(b"something else entirely"))
                .is_err()
        );
    }
}
