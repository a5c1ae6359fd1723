//! COPY … (FORMAT binary) → Arrow: the rows of a piece are looked over first, then each column is taken by itself.
//!
//! Rows may span chunks and chunks may hold many rows; every length is checked, so bytes that are not a copy are
//! `E0210`, never a panic. A value the Arrow type cannot hold is `E0208` with the column named, never changed.
//! Format: the server's documentation of COPY, "Binary Format"; the types' own `*_send` functions.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder,
    FixedSizeBinaryBuilder, Float32Builder, Float64Builder, Int16Builder, Int32Builder, Int64Builder,
    IntervalMonthDayNanoBuilder, ListArray, NullBufferBuilder, StringViewBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder, UInt32Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, IntervalMonthDayNano, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use synqx_model::{Code, Error, Result};

use crate::mapping::Kind;
use crate::numeric::{Trouble, Whole, Wire};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags and length of the extension.
const HEADER: usize = 19;
/// The number of fields of the row that is none: the end.
pub(crate) const TRAILER: i16 = -1;
/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// Why a value cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The bytes are not of the type.
    Malformed,
    /// The Arrow type cannot hold the value.
    Unfit(&'static str),
}

type Taken = Result<(), Refusal>;

/// How long the header of a copy is; none when its bytes are not all there yet. Errors: `E0210`.
pub(crate) fn header(bytes: &[u8], place: &str) -> Result<Option<usize>> {
    let Some(head) = bytes.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let extension = u32::from_be_bytes([head[15], head[16], head[17], head[18]]) as usize;
    if !head.starts_with(SIGNATURE) || extension > 1 << 16 {
        return Err(malformed(place));
    }
    Ok(Some(HEADER + extension).filter(|length| *length <= bytes.len()))
}

/// The bytes of a copy are not what the server's documentation says.
pub(crate) fn malformed(place: &str) -> Error {
    Error::new(
        Code::E0210,
        format!("the copy of {place} is not in PostgreSQL's binary format"),
    )
    .with_hint("check for a proxy between SynqX and the server that changes what it relays")
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Refusal> {
    bytes.try_into().map_err(|_| Refusal::Malformed)
}

fn refuse(trouble: Trouble) -> Refusal {
    match trouble {
        Trouble::Malformed => Refusal::Malformed,
        Trouble::NotFinite => Refusal::Unfit("NaN or an infinity"),
        Trouble::TooLarge => Refusal::Unfit("a number with more digits than its type declares"),
    }
}

/// Builds one column.
#[derive(Debug)]
enum Builder {
    Bool(BooleanBuilder),
    Int2(Int16Builder),
    Int4(Int32Builder),
    Int8(Int64Builder),
    Oid(UInt32Builder),
    Float4(Float32Builder),
    Float8(Float64Builder),
    Decimal128(Decimal128Builder, u8, i8),
    Decimal256(Decimal256Builder, u8, i8),
    NumericText(StringViewBuilder, String),
    Text(StringViewBuilder),
    Jsonb(StringViewBuilder),
    Bytes(BinaryViewBuilder),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Interval(IntervalMonthDayNanoBuilder),
    Uuid(FixedSizeBinaryBuilder),
    List(Box<List>),
}

/// Builds a list column.
#[derive(Debug)]
struct List {
    item: Arc<Field>,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
    child: Builder,
}

impl Builder {
    /// A builder with room for so many rows.
    fn new(kind: &Kind, rows: usize) -> Builder {
        match kind {
            Kind::Bool => Builder::Bool(BooleanBuilder::with_capacity(rows)),
            Kind::Int2 => Builder::Int2(Int16Builder::with_capacity(rows)),
            Kind::Int4 => Builder::Int4(Int32Builder::with_capacity(rows)),
            Kind::Int8 => Builder::Int8(Int64Builder::with_capacity(rows)),
            Kind::Oid => Builder::Oid(UInt32Builder::with_capacity(rows)),
            Kind::Float4 => Builder::Float4(Float32Builder::with_capacity(rows)),
            Kind::Float8 => Builder::Float8(Float64Builder::with_capacity(rows)),
            Kind::Numeric(_) | Kind::Money => match kind.arrow() {
                DataType::Decimal128(p, s) => Builder::Decimal128(
                    Decimal128Builder::with_capacity(rows).with_data_type(DataType::Decimal128(p, s)),
                    p,
                    s,
                ),
                DataType::Decimal256(p, s) => Builder::Decimal256(
                    Decimal256Builder::with_capacity(rows).with_data_type(DataType::Decimal256(p, s)),
                    p,
                    s,
                ),
                _ => Builder::NumericText(StringViewBuilder::with_capacity(rows), String::new()),
            },
            Kind::Text
            | Kind::Bpchar
            | Kind::Json
            | Kind::Enum
            | Kind::Inet
            | Kind::TimeTz(_)
            | Kind::Other => Builder::Text(StringViewBuilder::with_capacity(rows)),
            Kind::Jsonb => Builder::Jsonb(StringViewBuilder::with_capacity(rows)),
            Kind::Bytea => Builder::Bytes(BinaryViewBuilder::with_capacity(rows)),
            Kind::Date => Builder::Date(Date32Builder::with_capacity(rows)),
            Kind::Time(_) => Builder::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            Kind::Timestamp(_) => Builder::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows)),
            Kind::TimestampTz(_) => {
                Builder::Timestamp(TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"))
            }
            Kind::Interval(_) => Builder::Interval(IntervalMonthDayNanoBuilder::with_capacity(rows)),
            Kind::Uuid => Builder::Uuid(FixedSizeBinaryBuilder::with_capacity(rows, 16)),
            Kind::Array(element, _) => Builder::List(Box::new(List {
                item: Arc::new(element.mark(Field::new("item", element.arrow(), true))),
                offsets: vec![0],
                nulls: NullBufferBuilder::new(rows),
                child: Builder::new(element, rows),
            })),
        }
    }

    /// Takes values in order; none is NULL.
    fn take<'a>(&mut self, values: impl Iterator<Item = Option<&'a [u8]>>) -> Taken {
        /// One loop per type: what a value is must not be asked again for every value.
        macro_rules! each {
            ($builder:expr, $value:expr) => {{
                let value = $value;
                for bytes in values {
                    match bytes {
                        Some(bytes) => $builder.append_value(value(bytes)?),
                        None => $builder.append_null(),
                    }
                }
            }};
        }
        match self {
            Builder::Bool(b) => each!(b, |v| fixed::<1>(v).map(|[byte]| byte != 0)),
            Builder::Int2(b) => each!(b, |v| fixed(v).map(i16::from_be_bytes)),
            Builder::Int4(b) => each!(b, |v| fixed(v).map(i32::from_be_bytes)),
            Builder::Int8(b) => each!(b, |v| fixed(v).map(i64::from_be_bytes)),
            Builder::Oid(b) => each!(b, |v| fixed(v).map(u32::from_be_bytes)),
            Builder::Float4(b) => each!(b, |v| fixed(v).map(f32::from_be_bytes)),
            Builder::Float8(b) => each!(b, |v| fixed(v).map(f64::from_be_bytes)),
            Builder::Decimal128(b, p, s) => each!(b, |v| decimal(v, *p, *s)),
            Builder::Decimal256(b, p, s) => each!(b, |v| decimal(v, *p, *s)),
            Builder::NumericText(b, room) => {
                for bytes in values {
                    let Some(bytes) = bytes else {
                        b.append_null();
                        continue;
                    };
                    Wire::parse(bytes).and_then(|w| w.text(room)).map_err(refuse)?;
                    b.append_value(&*room);
                }
            }
            Builder::Text(b) => each!(b, text),
            Builder::Jsonb(b) => each!(b, jsonb),
            Builder::Bytes(b) => each!(b, Ok::<&[u8], Refusal>),
            Builder::Date(b) => each!(b, date),
            Builder::Time(b) => each!(b, time),
            Builder::Timestamp(b) => each!(b, timestamp),
            Builder::Interval(b) => each!(b, interval),
            Builder::Uuid(b) => {
                for bytes in values {
                    match bytes {
                        Some(bytes) => b
                            .append_value(fixed::<16>(bytes)?)
                            .map_err(|_| Refusal::Malformed)?,
                        None => b.append_null(),
                    }
                }
            }
            Builder::List(list) => {
                for bytes in values {
                    list.take(bytes)?;
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Builder::Bool(b) => Arc::new(b.finish()),
            Builder::Int2(b) => Arc::new(b.finish()),
            Builder::Int4(b) => Arc::new(b.finish()),
            Builder::Int8(b) => Arc::new(b.finish()),
            Builder::Oid(b) => Arc::new(b.finish()),
            Builder::Float4(b) => Arc::new(b.finish()),
            Builder::Float8(b) => Arc::new(b.finish()),
            Builder::Decimal128(b, ..) => Arc::new(b.finish()),
            Builder::Decimal256(b, ..) => Arc::new(b.finish()),
            Builder::NumericText(b, _) | Builder::Text(b) | Builder::Jsonb(b) => Arc::new(b.finish()),
            Builder::Bytes(b) => Arc::new(b.finish()),
            Builder::Date(b) => Arc::new(b.finish()),
            Builder::Time(b) => Arc::new(b.finish()),
            Builder::Timestamp(b) => Arc::new(b.finish()),
            Builder::Interval(b) => Arc::new(b.finish()),
            Builder::Uuid(b) => Arc::new(b.finish()),
            Builder::List(list) => {
                let offsets = OffsetBuffer::new(std::mem::replace(&mut list.offsets, vec![0]).into());
                let values = list.child.finish()?;
                let array = ListArray::try_new(Arc::clone(&list.item), offsets, values, list.nulls.finish());
                Arc::new(array.map_err(|e| Error::bug(format!("a list was built wrongly: {e}")))?)
            }
        })
    }
}

fn decimal<T: Whole>(bytes: &[u8], precision: u8, scale: i8) -> Result<T, Refusal> {
    Wire::parse(bytes)
        .and_then(|wire| wire.decimal(precision, scale))
        .map_err(refuse)
}

fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|_| Refusal::Malformed)
}

fn jsonb(bytes: &[u8]) -> Result<&str, Refusal> {
    match bytes.split_first() {
        Some((1, bytes)) => text(bytes),
        _ => Err(Refusal::Malformed),
    }
}

fn date(bytes: &[u8]) -> Result<i32, Refusal> {
    let days = i32::from_be_bytes(fixed(bytes)?);
    if days == i32::MAX || days == i32::MIN {
        return Err(Refusal::Unfit("an infinite date"));
    }
    days.checked_add(EPOCH_DAYS).ok_or(Refusal::Malformed)
}

fn time(bytes: &[u8]) -> Result<i64, Refusal> {
    match i64::from_be_bytes(fixed(bytes)?) {
        86_400_000_000 => Err(Refusal::Unfit("the time 24:00:00")),
        micros @ 0..86_400_000_000 => Ok(micros),
        _ => Err(Refusal::Malformed),
    }
}

fn timestamp(bytes: &[u8]) -> Result<i64, Refusal> {
    let micros = i64::from_be_bytes(fixed(bytes)?);
    if micros == i64::MAX || micros == i64::MIN {
        return Err(Refusal::Unfit("an infinite timestamp"));
    }
    micros
        .checked_add(EPOCH_MICROS)
        .ok_or(Refusal::Unfit("a timestamp after the year 294246"))
}

fn interval(bytes: &[u8]) -> Result<IntervalMonthDayNano, Refusal> {
    let all: [u8; 16] = fixed(bytes)?;
    let micros = i64::from_be_bytes(fixed(&all[..8])?);
    let (days, months) = (
        i32::from_be_bytes(fixed(&all[8..12])?),
        i32::from_be_bytes(fixed(&all[12..])?),
    );
    let infinite =
        |days, months, micros, end32: i32, end64: i64| days == end32 && months == end32 && micros == end64;
    if infinite(days, months, micros, i32::MAX, i64::MAX)
        || infinite(days, months, micros, i32::MIN, i64::MIN)
    {
        return Err(Refusal::Unfit("an infinite interval"));
    }
    let nanos = micros
        .checked_mul(1000)
        .ok_or(Refusal::Unfit("an interval of more than 292 years of hours"))?;
    Ok(IntervalMonthDayNano::new(months, days, nanos))
}

impl List {
    /// Dimensions, a flag for NULLs, the element's oid; per dimension its length and lower bound; the elements.
    fn take(&mut self, bytes: Option<&[u8]>) -> Taken {
        let last = self.offsets.last().copied().unwrap_or(0);
        let Some(mut rest) = bytes else {
            self.offsets.push(last);
            self.nulls.append_null();
            return Ok(());
        };
        let mut word = || -> Result<i32, Refusal> {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or(Refusal::Malformed)?;
            rest = tail;
            Ok(i32::from_be_bytes(*head))
        };
        let (dimensions, _, _) = (word()?, word()?, word()?);
        let length = match dimensions {
            0 => 0,
            1 => {
                let (length, lower) = (word()?, word()?);
                if lower != 1 {
                    return Err(Refusal::Unfit("an array that does not begin at 1"));
                }
                length
            }
            2..=6 => return Err(Refusal::Unfit("an array of several dimensions")),
            _ => return Err(Refusal::Malformed),
        };
        let mut elements = Elements {
            rest,
            left: usize::try_from(length).map_err(|_| Refusal::Malformed)?,
        };
        self.child.take(&mut elements)?;
        if elements.left > 0 || !elements.rest.is_empty() {
            return Err(Refusal::Malformed);
        }
        self.offsets
            .push(last.checked_add(length).ok_or(Refusal::Malformed)?);
        self.nulls.append_non_null();
        Ok(())
    }
}

/// The elements of an array; stops early, with some left, where the bytes are not what they should be.
struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let (head, tail) = self.rest.split_first_chunk::<4>()?;
        let value = match i32::from_be_bytes(*head) {
            -1 => {
                self.rest = tail;
                None
            }
            length => {
                let (value, tail) = tail.split_at_checked(usize::try_from(length).ok()?)?;
                self.rest = tail;
                Some(value)
            }
        };
        self.left -= 1;
        Some(value)
    }
}

/// Where a value of a row is in its piece; a negative length is NULL.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    length: i32,
}

impl Span {
    fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        (self.length >= 0).then(|| &bytes[self.start..self.start + self.length as usize])
    }
}

/// Turns the chunks of one copy into batches.
#[derive(Debug)]
pub(crate) struct Decoder {
    schema: SchemaRef,
    kinds: Vec<Kind>,
    builders: Vec<Builder>,
    /// The values of the piece at hand, row by row.
    spans: Vec<Span>,
    target: usize,
    row_limit: u64,
    /// What is left of the last chunk.
    partial: Vec<u8>,
    begun: bool,
    ended: bool,
    rows: usize,
    bytes: usize,
    /// What messages call the source.
    place: String,
}

impl Decoder {
    /// A decoder for columns of these kinds. `target` is a batch's size in bytes.
    pub(crate) fn new(
        schema: SchemaRef,
        kinds: &[Kind],
        target: usize,
        row_limit: u64,
        place: String,
    ) -> Self {
        let builders = kinds.iter().map(|kind| Builder::new(kind, 0)).collect();
        Decoder {
            schema,
            kinds: kinds.to_vec(),
            builders,
            spans: Vec::new(),
            target,
            row_limit,
            partial: Vec::new(),
            begun: false,
            ended: false,
            rows: 0,
            bytes: 0,
            place,
        }
    }

    /// Takes a chunk; afterwards [`Decoder::full`] may be true. Errors: `E0208`, `E0210`, `E0805`.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        if self.partial.is_empty() {
            let used = self.rows_in(chunk)?;
            if used < chunk.len() {
                self.keep(&chunk[used..])?;
            }
        } else {
            self.keep(chunk)?;
            let joined = std::mem::take(&mut self.partial);
            let used = self.rows_in(&joined)?;
            self.partial = joined;
            self.partial.drain(..used);
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<()> {
        self.partial.extend_from_slice(bytes);
        if self.partial.len() as u64 > self.row_limit.saturating_add(1 << 20) {
            return Err(self.malformed());
        }
        Ok(())
    }

    /// Whether a batch is ready to be taken.
    pub(crate) fn full(&self) -> bool {
        self.bytes >= self.target
    }

    /// The rows so far; `None` when there are none.
    pub(crate) fn batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let columns = self
            .builders
            .iter_mut()
            .map(Builder::finish)
            .collect::<Result<Vec<_>>>()?;
        // The next batch is about as long: growing by doubling would copy every value once more.
        let room = self.rows + (self.rows >> 6);
        self.builders = self.kinds.iter().map(|kind| Builder::new(kind, room)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(Some)
            .map_err(|e| Error::bug(format!("a batch was built wrongly: {e}")))
    }

    /// The copy is over. Errors: `E0210` when it was cut short.
    pub(crate) fn end(&mut self) -> Result<Option<RecordBatch>> {
        if !self.ended || !self.partial.is_empty() {
            return Err(self.malformed());
        }
        self.batch()
    }

    /// Decodes every whole row and tells how many bytes they were.
    fn rows_in(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        if !self.begun {
            let Some(length) = header(bytes, &self.place)? else {
                return Ok(0);
            };
            at = length;
            self.begun = true;
        }
        let begin = at;
        let (mut rows, mut end) = (0, at);
        self.spans.clear();
        while at < bytes.len() {
            if self.ended {
                return Err(self.malformed());
            }
            match self.row(bytes, at)? {
                Some(used) if self.ended => at = used,
                Some(used) => (at, end, rows) = (used, used, rows + 1),
                None => break,
            }
        }
        self.columns(bytes, rows)?;
        self.rows += rows;
        self.bytes += end - begin;
        Ok(at)
    }

    /// Looks a row over and notes its values; where it ends, if it is whole.
    fn row(&mut self, bytes: &[u8], mut at: usize) -> Result<Option<usize>> {
        let Some(count) = bytes[at..].first_chunk::<2>() else {
            return Ok(None);
        };
        at += 2;
        let count = i16::from_be_bytes(*count);
        if count == TRAILER {
            self.ended = true;
            return Ok(Some(at));
        }
        if usize::try_from(count).ok() != Some(self.builders.len()) {
            return Err(self.malformed());
        }
        let whole = self.spans.len();
        for _ in 0..count {
            let Some(head) = bytes.get(at..).and_then(|b| b.first_chunk::<4>()) else {
                self.spans.truncate(whole);
                return Ok(None);
            };
            let length = i32::from_be_bytes(*head);
            if length < -1 {
                return Err(self.malformed());
            }
            let start = at + 4;
            self.spans.push(Span { start, length });
            at = start + length.max(0) as usize;
        }
        if at > bytes.len() {
            self.spans.truncate(whole);
            return Ok(None);
        }
        Ok(Some(at))
    }

    /// Takes the values that were noted, column by column.
    fn columns(&mut self, bytes: &[u8], rows: usize) -> Result<()> {
        let width = self.builders.len();
        for (i, builder) in self.builders.iter_mut().enumerate() {
            let column = self.spans.chunks_exact(width).map(|row| row[i].of(bytes));
            if let Err(refusal) = builder.take(column) {
                return Err(self.refused(i, refusal));
            }
        }
        debug_assert_eq!(self.spans.len(), rows * width);
        Ok(())
    }

    fn refused(&self, column: usize, refusal: Refusal) -> Error {
        let name = self.schema.field(column).name();
        match refusal {
            Refusal::Malformed => self
                .malformed()
                .with_detail(format!("The value is in column `{name}`.")),
            Refusal::Unfit(what) => Error::new(
                Code::E0208,
                format!("column `{name}` of {} holds {what}", self.place),
            )
            .with_detail("No Arrow type of this column holds it, and SynqX does not change values.")
            .with_hint(format!(
                "read the column as PostgreSQL's exact text: set `options: {{special_values: [{name}]}}` on the extract"
            )),
        }
    }

    fn malformed(&self) -> Error {
        malformed(&self.place)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, Schema};
    use proptest::prelude::*;

    use super::*;

    fn copy() -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0; 8]);
        for i in 0..100i32 {
            bytes.extend(2i16.to_be_bytes());
            bytes.extend(4i32.to_be_bytes());
            bytes.extend(i.to_be_bytes());
            if i % 3 == 0 {
                bytes.extend((-1i32).to_be_bytes());
            } else {
                bytes.extend(5i32.to_be_bytes());
                bytes.extend(b"hello");
            }
        }
        bytes.extend((-1i16).to_be_bytes());
        bytes
    }

    fn decoder() -> Decoder {
        let kinds = [Kind::Int4, Kind::Text];
        let fields: Vec<_> = kinds
            .iter()
            .zip(["n", "t"])
            .map(|(k, n)| Field::new(n, k.arrow(), true))
            .collect();
        Decoder::new(
            Arc::new(Schema::new(fields)),
            &kinds,
            1 << 20,
            1 << 20,
            "table `t`".into(),
        )
    }

    #[test]
    fn rows_may_span_chunks() {
        for size in [1, 2, 3, 5, 19, 64, 10_000] {
            let mut decoder = decoder();
            for chunk in copy().chunks(size) {
                decoder.feed(chunk).expect("takes");
            }
            let batch = decoder.end().expect("ends").expect("rows");
            assert_eq!((batch.num_rows(), batch.column(1).null_count()), (100, 34));
            assert_eq!(batch.column(0).as_primitive::<Int32Type>().value(99), 99);
        }
    }

    #[test]
    fn a_copy_that_stops_early_or_goes_on_is_damaged() {
        let bytes = copy();
        let mut cut = decoder();
        cut.feed(&bytes[..bytes.len() - 2]).expect("takes");
        assert_eq!(cut.end().expect_err("cut").code(), Code::E0210);
        let mut long = decoder();
        assert_eq!(
            long.feed(&[bytes, vec![1]].concat()).expect_err("long").code(),
            Code::E0210
        );
    }

    #[test]
    fn what_arrow_cannot_hold_names_the_column() {
        let field = |name: &str, kind: &Kind| Field::new(name, kind.arrow(), true);
        for (kind, value) in [
            (Kind::Date, i32::MAX.to_be_bytes().to_vec()),
            (Kind::Time(6), 86_400_000_000i64.to_be_bytes().to_vec()),
            (Kind::Timestamp(6), i64::MAX.to_be_bytes().to_vec()),
            (
                Kind::Timestamp(6),
                9_223_371_331_199_999_999i64.to_be_bytes().to_vec(),
            ),
        ] {
            let schema = Arc::new(Schema::new(vec![field("when", &kind)]));
            let mut decoder = Decoder::new(
                schema,
                std::slice::from_ref(&kind),
                1 << 20,
                1 << 20,
                "table `t`".into(),
            );
            let mut bytes = SIGNATURE.to_vec();
            bytes.extend([0; 8]);
            bytes.extend(1i16.to_be_bytes());
            bytes.extend((value.len() as i32).to_be_bytes());
            bytes.extend(value);
            let error = decoder.feed(&bytes).expect_err("refused");
            assert_eq!(error.code(), Code::E0208);
            assert!(error.message().contains("`when`") && error.hint().is_some());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stop(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..8) {
            let kinds = [
                Kind::Numeric(None), Kind::Numeric(Some((10, 2))), Kind::Interval(true), Kind::Uuid, Kind::Jsonb,
                Kind::Array(Box::new(Kind::Text), 25), Kind::Array(Box::new(Kind::Int4), 23), Kind::Bool,
            ];
            let kind = &kinds[kind];
            let schema = Arc::new(Schema::new(vec![Field::new("c", kind.arrow(), true)]));
            let mut decoder = Decoder::new(schema, std::slice::from_ref(kind), 1 << 20, 1 << 20, "t".into());
            let mut copy = SIGNATURE.to_vec();
            copy.extend([0; 8]);
            copy.extend(1i16.to_be_bytes());
            copy.extend((bytes.len() as i32).to_be_bytes());
            copy.extend(&bytes);
            copy.extend(&bytes);
            let _ = decoder.feed(&copy);
            let _ = decoder.end();
        }
    }
}
