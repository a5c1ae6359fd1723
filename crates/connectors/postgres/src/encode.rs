//! Arrow → COPY … FROM STDIN (FORMAT binary).
//!
//! A column is first brought to the one Arrow type its wire form is written from (checked: a value out of range is
//! `E0404` with the column named, never wrapped); then blocks of rows are laid out column by column (`block`), without
//! an allocation per value.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int64Array, IntervalMonthDayNanoArray, ListArray,
    StringViewArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use synqx_model::{Code, Error, Result};
use synqx_sdk::RawChunk;

use crate::block::Block;
use crate::decode::{EPOCH_DAYS, EPOCH_MICROS};
use crate::fit::Wire;
use crate::numeric;

/// Bytes handed to the driver at once, about. Larger pieces cost fresh pages each time.
const CHUNK: usize = 56 << 10;
/// The most rows of a block: what is noted per row should stay near the processor.
const BLOCK_ROWS: usize = 1024;
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// One column to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Its place in the incoming batches.
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) wire: Wire,
}

/// A column in the type its wire form is written from.
pub(crate) enum Col {
    Bool(BooleanArray),
    Int(Int64Array, u8),
    Float4(Float32Array),
    Float8(Float64Array),
    Decimal128(Decimal128Array, i8),
    Decimal256(Decimal256Array, i8),
    NumericText(StringViewArray),
    Text(StringViewArray),
    Jsonb(StringViewArray),
    Bytes(BinaryViewArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    Timestamp(TimestampMicrosecondArray),
    Interval(IntervalMonthDayNanoArray),
    Uuid(FixedSizeBinaryArray),
    List(ListArray, Box<Col>, u32),
    Null,
}

/// Why a value cannot be written.
pub(crate) enum Trouble {
    Range,
    Nul,
    Number,
    Finer,
    TooLong,
}

/// Writes batches.
#[derive(Debug)]
pub(crate) struct Encoder {
    lanes: Vec<Lane>,
    /// What goes before the next rows: the copy's header, once.
    buffer: Vec<u8>,
    block: Block,
    /// As many rows as fill a chunk, by the last block.
    block_rows: usize,
    place: String,
    /// Bytes so far.
    pub(crate) bytes: u64,
    /// Rows encoded.
    pub(crate) rows: u64,
}

impl Encoder {
    pub(crate) fn new(lanes: Vec<Lane>, place: String) -> Self {
        Encoder {
            lanes,
            buffer: HEADER.to_vec(),
            block: Block::default(),
            block_rows: 1,
            place,
            bytes: 0,
            rows: 0,
        }
    }

    /// The batch's columns, ready to be written row by row. Errors: `E0404`.
    pub(crate) fn open(&self, batch: &RecordBatch) -> Result<Rows> {
        let mut columns = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            let array = batch
                .columns()
                .get(lane.index)
                .ok_or_else(|| Error::bug("a batch has too few columns"))?;
            columns.push(column(array, &lane.wire).map_err(|trouble| self.trouble(lane, &trouble))?);
        }
        Ok(Rows {
            columns,
            at: 0,
            end: batch.num_rows(),
        })
    }

    /// The next rows, about as many bytes as the driver takes at once; `None` when the batch is done.
    pub(crate) fn fill(&mut self, rows: &mut Rows) -> Result<Option<Bytes>> {
        if rows.at == rows.end {
            return Ok(None);
        }
        let block = rows.at..rows.end.min(rows.at + self.block_rows);
        let mut out = std::mem::take(&mut self.buffer);
        let begun = out.len();
        if let Err((index, trouble)) = self.block.write(&rows.columns, block.clone(), &mut out) {
            return Err(match self.lanes.get(index) {
                Some(lane) => self.trouble(lane, &trouble),
                None => Error::bug("a block has more columns than lanes"),
            });
        }
        let per_row = ((out.len() - begun) / block.len()).max(1);
        self.block_rows = (CHUNK / per_row).clamp(1, BLOCK_ROWS);
        self.rows += block.len() as u64;
        self.bytes += out.len() as u64;
        rows.at = block.end;
        Ok(Some(Bytes::from(out)))
    }

    /// Counts rows that are sent as they are; what must be sent before them, where there is something.
    pub(crate) fn pass(&mut self, chunk: &RawChunk) -> Option<Bytes> {
        self.rows += chunk.rows;
        self.bytes += chunk.bytes.len() as u64;
        (!self.buffer.is_empty()).then(|| self.take())
    }

    /// What is left, with the trailer.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.buffer.extend_from_slice(&(-1i16).to_be_bytes());
        self.take()
    }

    fn take(&mut self) -> Bytes {
        self.bytes += self.buffer.len() as u64;
        Bytes::from(std::mem::take(&mut self.buffer))
    }

    fn trouble(&self, lane: &Lane, trouble: &Trouble) -> Error {
        let (name, place) = (&lane.name, &self.place);
        match trouble {
            Trouble::Range => Error::new(
                Code::E0404,
                format!("a value of column `{name}` is out of range for {place}"),
            )
            .with_hint("make the target's column wider, or filter such rows out"),
            Trouble::Number => Error::new(
                Code::E0404,
                format!("a text of column `{name}` is no number, for {place}"),
            )
            .with_hint("clean the column in the pipeline before it is loaded"),
            Trouble::Finer => Error::new(
                Code::E0404,
                format!("a value of column `{name}` is finer than microseconds, for {place}"),
            )
            .with_hint("round the column in the pipeline before it is loaded"),
            Trouble::TooLong => Error::new(
                Code::E0404,
                format!("a value of column `{name}` is longer than 1 GiB, for {place}"),
            )
            .with_hint("PostgreSQL holds no such value: leave the column out"),
            Trouble::Nul => Error::new(
                Code::E0316,
                format!("a text of column `{name}` contains the NUL character, for {place}"),
            )
            .with_detail("PostgreSQL holds every character of a text but that one.")
            .with_hint(format!(
                "remove it in the pipeline, such as with a `map` step: replace({name}, chr(0), '')"
            )),
        }
    }
}

/// A batch being written.
pub(crate) struct Rows {
    columns: Vec<Col>,
    at: usize,
    end: usize,
}

fn strict(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Trouble> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    cast_with_options(
        array,
        to,
        &CastOptions {
            safe: false,
            ..Default::default()
        },
    )
    .map_err(|_| Trouble::Range)
}

fn column(array: &ArrayRef, wire: &Wire) -> Result<Col, Trouble> {
    use DataType as D;
    if let D::Dictionary(_, value) = array.data_type() {
        return column(&strict(array, value)?, wire);
    }
    if *array.data_type() == D::Null {
        return Ok(Col::Null);
    }
    Ok(match wire {
        Wire::Null => Col::Null,
        Wire::Bool => Col::Bool(array.as_boolean().clone()),
        Wire::Int2 => Col::Int(whole(array)?, 2),
        Wire::Int4 => Col::Int(whole(array)?, 4),
        Wire::Int8 => Col::Int(whole(array)?, 8),
        Wire::Oid => Col::Int(whole(array)?, 0),
        Wire::Float4 => Col::Float4(strict(array, &D::Float32)?.as_primitive().clone()),
        Wire::Float8 => Col::Float8(strict(array, &D::Float64)?.as_primitive().clone()),
        Wire::Numeric => numbers(array)?,
        Wire::Text => Col::Text(strict(array, &D::Utf8View)?.as_string_view().clone()),
        Wire::Jsonb => Col::Jsonb(strict(array, &D::Utf8View)?.as_string_view().clone()),
        Wire::Bytes => {
            let array = if matches!(array.data_type(), D::FixedSizeBinary(_)) {
                strict(array, &D::Binary)?
            } else {
                Arc::clone(array)
            };
            Col::Bytes(strict(&array, &D::BinaryView)?.as_binary_view().clone())
        }
        Wire::Date => Col::Date(strict(array, &D::Date32)?.as_primitive().clone()),
        Wire::Time => Col::Time(
            strict(array, &D::Time64(TimeUnit::Microsecond))?
                .as_primitive()
                .clone(),
        ),
        Wire::Timestamp => {
            let zone = match array.data_type() {
                D::Timestamp(_, zone) => zone.clone(),
                _ => None,
            };
            Col::Timestamp(
                strict(array, &D::Timestamp(TimeUnit::Microsecond, zone))?
                    .as_primitive()
                    .clone(),
            )
        }
        Wire::Interval => Col::Interval(
            strict(array, &D::Interval(IntervalUnit::MonthDayNano))?
                .as_primitive()
                .clone(),
        ),
        Wire::Uuid => Col::Uuid(array.as_fixed_size_binary().clone()),
        Wire::List(inner, oid) => lists(array, inner, *oid)?,
    })
}

fn numbers(array: &ArrayRef) -> Result<Col, Trouble> {
    use DataType as D;
    Ok(match array.data_type() {
        D::Utf8 | D::LargeUtf8 | D::Utf8View => {
            Col::NumericText(strict(array, &D::Utf8View)?.as_string_view().clone())
        }
        D::Decimal128(_, s) => Col::Decimal128(array.as_primitive().clone(), *s),
        D::Decimal32(_, s) | D::Decimal64(_, s) => {
            Col::Decimal128(strict(array, &D::Decimal128(38, *s))?.as_primitive().clone(), *s)
        }
        D::Decimal256(_, s) => Col::Decimal256(array.as_primitive().clone(), *s),
        _ => Col::Decimal128(strict(array, &D::Decimal128(20, 0))?.as_primitive().clone(), 0),
    })
}

fn lists(array: &ArrayRef, inner: &Wire, oid: u32) -> Result<Col, Trouble> {
    use DataType as D;
    let list = match array.data_type() {
        D::List(_) => array.as_list::<i32>().clone(),
        D::LargeList(item) | D::FixedSizeList(item, _) => {
            let item = Field::new("item", item.data_type().clone(), true);
            strict(array, &D::List(Arc::new(item)))?.as_list::<i32>().clone()
        }
        _ => return Err(Trouble::Range),
    };
    let child = column(list.values(), inner)?;
    Ok(Col::List(list, Box::new(child), oid))
}

fn whole(array: &ArrayRef) -> Result<Int64Array, Trouble> {
    Ok(strict(array, &DataType::Int64)?.as_primitive().clone())
}

fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), Trouble>) -> Result<(), Trouble> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out)?;
    let bytes = i32::try_from(out.len() - start - 4).map_err(|_| Trouble::TooLong)?;
    out[start..start + 4].copy_from_slice(&bytes.to_be_bytes());
    Ok(())
}

/// Length and value in one piece: a second append would be a second look at the room left.
fn sized<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    const { assert!(N <= 8) }
    let mut room = [0u8; 12];
    room[..4].copy_from_slice(&(N as i32).to_be_bytes());
    room[4..4 + N].copy_from_slice(&bytes);
    out.extend_from_slice(&room[..4 + N]);
}

/// Appends length, version and value of a text.
fn text(out: &mut Vec<u8>, value: &str, version: Option<u8>) -> Result<(), Trouble> {
    if value.as_bytes().contains(&0) {
        return Err(Trouble::Nul);
    }
    out.extend_from_slice(&length(value.len() + usize::from(version.is_some()))?);
    out.extend(version);
    out.extend_from_slice(value.as_bytes());
    Ok(())
}

fn integer(out: &mut Vec<u8>, value: i64, width: u8) -> Result<(), Trouble> {
    match width {
        2 => sized(out, int2(value)?),
        4 => sized(out, int4(value)?),
        8 => sized(out, value.to_be_bytes()),
        _ => sized(out, oid(value)?),
    }
    Ok(())
}

/// The length of a value as it stands before it.
pub(crate) fn length(bytes: usize) -> Result<[u8; 4], Trouble> {
    let bytes = i32::try_from(bytes).map_err(|_| Trouble::TooLong)?;
    Ok(bytes.to_be_bytes())
}

pub(crate) fn int2(value: i64) -> Result<[u8; 2], Trouble> {
    Ok(i16::try_from(value).map_err(|_| Trouble::Range)?.to_be_bytes())
}

pub(crate) fn int4(value: i64) -> Result<[u8; 4], Trouble> {
    Ok(i32::try_from(value).map_err(|_| Trouble::Range)?.to_be_bytes())
}

pub(crate) fn oid(value: i64) -> Result<[u8; 4], Trouble> {
    Ok(u32::try_from(value).map_err(|_| Trouble::Range)?.to_be_bytes())
}

pub(crate) fn date(days: i32) -> Result<[u8; 4], Trouble> {
    let days = days.checked_sub(EPOCH_DAYS).ok_or(Trouble::Range)?;
    Ok(days.to_be_bytes())
}

pub(crate) fn timestamp(micros: i64) -> Result<[u8; 8], Trouble> {
    let micros = micros.checked_sub(EPOCH_MICROS).ok_or(Trouble::Range)?;
    Ok(micros.to_be_bytes())
}

impl Col {
    fn is_null(&self, row: usize) -> bool {
        match self {
            Col::Null => true,
            _ => self.nulls().is_some_and(|nulls| nulls.is_null(row)),
        }
    }

    /// Which values are NULL; none when there are none, and none of a column that is nothing else.
    pub(crate) fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Col::Bool(a) => a.nulls(),
            Col::Int(a, _) => a.nulls(),
            Col::Float4(a) => a.nulls(),
            Col::Float8(a) => a.nulls(),
            Col::Decimal128(a, _) => a.nulls(),
            Col::Decimal256(a, _) => a.nulls(),
            Col::NumericText(a) | Col::Text(a) | Col::Jsonb(a) => a.nulls(),
            Col::Bytes(a) => a.nulls(),
            Col::Date(a) => a.nulls(),
            Col::Time(a) => a.nulls(),
            Col::Timestamp(a) => a.nulls(),
            Col::Interval(a) => a.nulls(),
            Col::Uuid(a) => a.nulls(),
            Col::List(a, ..) => a.nulls(),
            Col::Null => None,
        }
    }

    /// Appends length and value.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Trouble> {
        if self.is_null(row) {
            out.extend_from_slice(&(-1i32).to_be_bytes());
            return Ok(());
        }
        match self {
            Col::Bool(a) => sized(out, [u8::from(a.value(row))]),
            Col::Int(a, width) => integer(out, a.value(row), *width)?,
            Col::Float4(a) => sized(out, a.value(row).to_be_bytes()),
            Col::Float8(a) => sized(out, a.value(row).to_be_bytes()),
            Col::Decimal128(a, scale) => {
                let value = a.value(row);
                if !numeric::write_short(out, value, *scale) {
                    framed(out, |out| {
                        numeric::write_i128(out, value, *scale);
                        Ok(())
                    })?;
                }
            }
            Col::Decimal256(a, scale) => framed(out, |out| {
                numeric::write_i256(out, a.value(row), *scale);
                Ok(())
            })?,
            Col::NumericText(a) => framed(out, |out| {
                numeric::write_text(out, a.value(row)).ok_or(Trouble::Number)
            })?,
            Col::Text(a) => text(out, a.value(row), None)?,
            Col::Jsonb(a) => text(out, a.value(row), Some(1))?,
            Col::Bytes(a) => {
                let value = a.value(row);
                out.extend_from_slice(&length(value.len())?);
                out.extend_from_slice(value);
            }
            Col::Date(a) => sized(out, date(a.value(row))?),
            Col::Time(a) => sized(out, a.value(row).to_be_bytes()),
            Col::Timestamp(a) => sized(out, timestamp(a.value(row))?),
            Col::Interval(a) => {
                let value = a.value(row);
                if value.nanoseconds % 1000 != 0 {
                    return Err(Trouble::Finer);
                }
                out.extend_from_slice(&16i32.to_be_bytes());
                out.extend_from_slice(&(value.nanoseconds / 1000).to_be_bytes());
                out.extend_from_slice(&value.days.to_be_bytes());
                out.extend_from_slice(&value.months.to_be_bytes());
            }
            Col::Uuid(a) => {
                out.extend_from_slice(&16i32.to_be_bytes());
                out.extend_from_slice(a.value(row));
            }
            Col::List(a, child, oid) => framed(out, |out| list(out, a, child, *oid, row))?,
            Col::Null => {}
        }
        Ok(())
    }
}

fn list(out: &mut Vec<u8>, array: &ListArray, child: &Col, oid: u32, row: usize) -> Result<(), Trouble> {
    let (from, to) = (
        array.value_offsets()[row] as usize,
        array.value_offsets()[row + 1] as usize,
    );
    let holes = (from..to).any(|i| child.is_null(i));
    out.extend_from_slice(&i32::from(to > from).to_be_bytes());
    out.extend_from_slice(&i32::from(holes).to_be_bytes());
    out.extend_from_slice(&oid.to_be_bytes());
    if to > from {
        out.extend_from_slice(&((to - from) as i32).to_be_bytes());
        out.extend_from_slice(&1i32.to_be_bytes());
    }
    (from..to).try_for_each(|i| child.write(i, out))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, UInt64Array};
    use arrow::datatypes::Schema;

    use super::*;
    use crate::decode::Decoder;
    use crate::mapping::Kind;

    fn encode(array: ArrayRef, wire: Wire) -> Result<Vec<u8>> {
        let batch = RecordBatch::try_from_iter([("c", array)]).expect("a batch");
        let mut encoder = Encoder::new(
            vec![Lane {
                index: 0,
                name: "c".into(),
                wire,
            }],
            "table `t`".into(),
        );
        let mut rows = encoder.open(&batch)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = encoder.fill(&mut rows)? {
            bytes.extend_from_slice(&chunk);
        }
        bytes.extend_from_slice(&encoder.finish());
        Ok(bytes)
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let array: ArrayRef = Arc::new(Int64Array::from_iter(
            (0..200_000).map(|i| (i % 7 > 0).then_some(i)),
        ));
        let bytes = encode(Arc::clone(&array), Wire::Int8).expect("writes");
        let schema = Arc::new(Schema::new(vec![Field::new("c", DataType::Int64, true)]));
        let mut decoder = Decoder::new(schema, &[Kind::Int8], 1 << 30, 1 << 20, "t".into());
        bytes
            .chunks(1000)
            .for_each(|chunk| decoder.feed(chunk).expect("takes"));
        assert_eq!(decoder.end().expect("ends").expect("rows").column(0), &array);
    }

    #[test]
    fn refuses_with_the_column_what_does_not_fit() {
        let code = |outcome: Result<Vec<u8>>| {
            outcome
                .err()
                .map(|e| (e.code(), e.message().contains("`c`"), e.hint().is_some()))
        };
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        assert_eq!(
            code(encode(Arc::clone(&large), Wire::Int8)),
            Some((Code::E0404, true, true))
        );
        assert_eq!(
            code(encode(Arc::new(Int64Array::from(vec![40_000])), Wire::Int2)),
            Some((Code::E0404, true, true))
        );
        let nul: ArrayRef = Arc::new(StringViewArray::from(vec!["a\0b"]));
        assert_eq!(code(encode(nul, Wire::Text)), Some((Code::E0316, true, true)));
        assert!(encode(large, Wire::Numeric).is_ok());
    }
}
