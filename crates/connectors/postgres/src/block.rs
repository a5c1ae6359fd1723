//! Lays a block of rows out column by column.
//!
//! Rows of a binary copy are written value after value, columns are stored one by one: going row by row asks of every
//! value again what it is. Here each column first says how long its values are, which gives every row its place, and
//! then puts its values there, in a loop of its own type. Values whose length is only known once they are written
//! (numbers, lists) are written aside first. What a value looks like is `encode`'s business.

use std::ops::Range;

use arrow::array::{Array, BooleanArray};
use arrow::buffer::NullBuffer;

use crate::encode::{Col, Trouble, date, int2, int4, length, oid, timestamp};

/// A NULL's length.
const NULL: [u8; 4] = (-1i32).to_be_bytes();
/// The number of columns, before a row.
const COUNT: usize = 2;
/// The length, before a value.
const LENGTH: usize = 4;

/// What is noted of a block while it is laid out; kept between blocks for its memory.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// Where the next value of each row goes.
    at: Vec<usize>,
    /// Values written aside, of all columns that need it, and where each ends.
    aside: Vec<u8>,
    ends: Vec<usize>,
}

impl Block {
    /// Appends rows of these columns. The error names the column by its place.
    pub(crate) fn write(
        &mut self,
        columns: &[Col],
        rows: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), (usize, Trouble)> {
        self.aside.clear();
        self.ends.clear();
        self.at.clear();
        self.at.resize(rows.len(), COUNT);
        for (i, column) in columns.iter().enumerate() {
            self.measure(column, rows.clone())
                .map_err(|trouble| (i, trouble))?;
        }
        let begin = out.len();
        let mut end = begin;
        for at in &mut self.at {
            let size = *at;
            *at = end;
            end += size;
        }
        out.resize(end, 0);
        let count = (columns.len() as i16).to_be_bytes();
        for at in &mut self.at {
            put(out, at, &count);
        }
        let mut aside = Aside {
            bytes: &self.aside,
            ends: &self.ends,
            from: 0,
        };
        for (i, column) in columns.iter().enumerate() {
            let mut places = Places {
                nulls: column.nulls(),
                first: rows.start,
                at: &mut self.at,
                out: out.as_mut_slice(),
            };
            places.write(column, &mut aside).map_err(|trouble| (i, trouble))?;
        }
        Ok(())
    }

    /// Adds the sizes of a column's values to their rows'.
    fn measure(&mut self, column: &Col, rows: Range<usize>) -> Result<(), Trouble> {
        let sizes = self.at.iter_mut().zip(rows);
        match column {
            Col::Null => sizes.for_each(|(size, _)| *size += LENGTH),
            Col::Text(a) => add(sizes, a.nulls(), |row| a.views()[row] as u32 as usize),
            Col::Jsonb(a) => add(sizes, a.nulls(), |row| 1 + a.views()[row] as u32 as usize),
            Col::Bytes(a) => add(sizes, a.nulls(), |row| a.views()[row] as u32 as usize),
            Col::Bool(a) => add(sizes, a.nulls(), |_| 1),
            Col::Int(a, 2) => add(sizes, a.nulls(), |_| 2),
            Col::Int(a, 8) => add(sizes, a.nulls(), |_| 8),
            Col::Int(a, _) => add(sizes, a.nulls(), |_| 4),
            Col::Float4(a) => add(sizes, a.nulls(), |_| 4),
            Col::Float8(a) => add(sizes, a.nulls(), |_| 8),
            Col::Date(a) => add(sizes, a.nulls(), |_| 4),
            Col::Time(a) => add(sizes, a.nulls(), |_| 8),
            Col::Timestamp(a) => add(sizes, a.nulls(), |_| 8),
            Col::Uuid(a) => add(sizes, a.nulls(), |_| 16),
            Col::Decimal128(..)
            | Col::Decimal256(..)
            | Col::NumericText(_)
            | Col::Interval(_)
            | Col::List(..) => {
                for (size, row) in sizes {
                    let from = self.aside.len();
                    column.write(row, &mut self.aside)?;
                    self.ends.push(self.aside.len());
                    *size += self.aside.len() - from;
                }
            }
        }
        Ok(())
    }
}

/// Adds what values need: their length's room, and themselves unless they are NULL.
fn add<'a>(
    sizes: impl Iterator<Item = (&'a mut usize, usize)>,
    nulls: Option<&NullBuffer>,
    bytes: impl Fn(usize) -> usize,
) {
    match nulls {
        None => sizes.for_each(|(size, row)| *size += LENGTH + bytes(row)),
        Some(nulls) => sizes.for_each(|(size, row)| {
            *size += LENGTH + if nulls.is_null(row) { 0 } else { bytes(row) };
        }),
    }
}

/// Puts bytes at a place, which moves behind them.
fn put(out: &mut [u8], at: &mut usize, bytes: &[u8]) {
    out[*at..*at + bytes.len()].copy_from_slice(bytes);
    *at += bytes.len();
}

/// Values that were written aside, in the order they were.
struct Aside<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
    from: usize,
}

impl<'a> Aside<'a> {
    fn next(&mut self) -> &'a [u8] {
        let Some((end, ends)) = self.ends.split_first() else {
            return &[];
        };
        let value = &self.bytes[self.from..*end];
        (self.from, self.ends) = (*end, ends);
        value
    }
}

/// Where the values of one column go.
struct Places<'a> {
    nulls: Option<&'a NullBuffer>,
    /// The first row of the block.
    first: usize,
    at: &'a mut [usize],
    out: &'a mut [u8],
}

impl Places<'_> {
    fn write(&mut self, column: &Col, aside: &mut Aside<'_>) -> Result<(), Trouble> {
        match column {
            Col::Null => self.at.iter_mut().for_each(|at| put(self.out, at, &NULL)),
            Col::Text(a) => self.texts(|row| a.value(row), None)?,
            Col::Jsonb(a) => self.texts(|row| a.value(row), Some(1))?,
            Col::Bytes(a) => self.each(|out, at, row| {
                let value = a.value(row);
                put(out, at, &length(value.len())?);
                put(out, at, value);
                Ok(())
            })?,
            Col::Bool(a) => self.fixed(|row| Ok([u8::from(BooleanArray::value(a, row))]))?,
            Col::Int(a, 2) => self.fixed(|row| int2(a.value(row)))?,
            Col::Int(a, 4) => self.fixed(|row| int4(a.value(row)))?,
            Col::Int(a, 8) => self.fixed(|row| Ok(a.value(row).to_be_bytes()))?,
            Col::Int(a, _) => self.fixed(|row| oid(a.value(row)))?,
            Col::Float4(a) => self.fixed(|row| Ok(a.value(row).to_be_bytes()))?,
            Col::Float8(a) => self.fixed(|row| Ok(a.value(row).to_be_bytes()))?,
            Col::Date(a) => self.fixed(|row| date(a.value(row)))?,
            Col::Time(a) => self.fixed(|row| Ok(a.value(row).to_be_bytes()))?,
            Col::Timestamp(a) => self.fixed(|row| timestamp(a.value(row)))?,
            Col::Uuid(a) => self.each(|out, at, row| {
                put(out, at, &16i32.to_be_bytes());
                put(out, at, a.value(row));
                Ok(())
            })?,
            Col::Decimal128(..)
            | Col::Decimal256(..)
            | Col::NumericText(_)
            | Col::Interval(_)
            | Col::List(..) => {
                for at in self.at.iter_mut() {
                    put(self.out, at, aside.next());
                }
            }
        }
        Ok(())
    }

    /// Lets `write` put each value that is not NULL, with its length.
    fn each(
        &mut self,
        write: impl Fn(&mut [u8], &mut usize, usize) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        for (i, at) in self.at.iter_mut().enumerate() {
            let row = self.first + i;
            match self.nulls {
                Some(nulls) if nulls.is_null(row) => put(self.out, at, &NULL),
                _ => write(self.out, at, row)?,
            }
        }
        Ok(())
    }

    fn fixed<const N: usize>(
        &mut self,
        value: impl Fn(usize) -> Result<[u8; N], Trouble>,
    ) -> Result<(), Trouble> {
        self.each(|out, at, row| {
            let value = value(row)?;
            let room = &mut out[*at..*at + LENGTH + N];
            room[..LENGTH].copy_from_slice(&(N as i32).to_be_bytes());
            room[LENGTH..].copy_from_slice(&value);
            *at += LENGTH + N;
            Ok(())
        })
    }

    fn texts<'v>(&mut self, value: impl Fn(usize) -> &'v str, version: Option<u8>) -> Result<(), Trouble> {
        let before = usize::from(version.is_some());
        self.each(|out, at, row| {
            let value = value(row).as_bytes();
            if value.contains(&0) {
                return Err(Trouble::Nul);
            }
            put(out, at, &length(value.len() + before)?);
            if let Some(version) = version {
                put(out, at, &[version]);
            }
            put(out, at, value);
            Ok(())
        })
    }
}
