//! In which batches a row group is read, so that no batch holds more than it aims for, however uneven the rows are.
//!
//! Footers tell averages only. Where a column of text or bytes is larger than a batch, the headers of its pages tell
//! where the large rows are: those are read a few at a time, the rest as usual. A page is reserved before it is
//! unpacked, and a page whose values must be larger than the budget moves is refused unseen. Values themselves are
//! measured once they are decoded, by `measure`.

use std::fs::File;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::basic::{Encoding, Type as Physical};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use synqx_model::Result;
use synqx_sdk::Budget;

use super::pages::{Page, pages};

/// Most rows of a batch.
const ROWS: usize = 64 << 10;
/// Rows this much larger than the average are read apart.
const UNEVEN: u64 = 4;
/// With more portions than this, one is cheaper.
const PORTIONS: usize = 64;
/// Bytes that a value can have in a page besides its own: length and levels.
const EXTRA: u64 = 64;

/// Rows of a row group that are read in batches of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portion {
    /// The first row.
    pub(crate) start: usize,
    /// How many rows.
    pub(crate) rows: usize,
    /// Rows of a batch.
    pub(crate) batch: usize,
}

/// How a row group is read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// All rows, in order.
    pub(crate) portions: Vec<Portion>,
    /// Bytes that reading holds besides finished batches.
    pub(crate) held: u64,
    /// Columns of the file that may have values larger than the budget moves.
    pub(crate) suspects: Vec<usize>,
}

/// Rows with about the same bytes per row.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    rows: u64,
    density: u64,
}

/// Plans how the wanted columns (`roots`) of a row group are read. Errors: `E0805`.
pub(crate) fn plan(
    file: &File,
    metadata: &ArrowReaderMetadata,
    group: &RowGroupMetaData,
    roots: &[usize],
    (budget, place): (&Budget, &str),
) -> Result<Reading> {
    let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
    let target = budget.batch_target() as u64;
    let (mut reading, mut even, mut uneven) = (Reading::default(), 0, Vec::new());
    let (mut unpacked, mut packed) = (0, 0);
    for (leaf, chunk) in group.columns().iter().enumerate() {
        let root = metadata.parquet_schema().get_column_root_idx(leaf);
        if !roots.contains(&root) {
            continue;
        }
        let stored = u64::try_from(chunk.uncompressed_size()).unwrap_or(0);
        let bytes = stored.max(left_out(chunk));
        let found = match chunk.column_type() {
            Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY if bytes > target => {
                // Headers nobody understands are left to the decoder, which says what is wrong with the file.
                pages(file, chunk).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        for page in &found {
            if page.bytes > page.values.max(1) * (budget.row_limit() + EXTRA) + EXTRA {
                let name = metadata.schema().field(root).name();
                return Err(budget.row_too_large(name, place, page.bytes / page.values.max(1)));
            }
        }
        let largest = |size: fn(&Page) -> u64| found.iter().map(size).max().unwrap_or(0);
        let dictionary = largest(|p| if p.dictionary { p.bytes } else { 0 });
        if largest(|p| p.bytes) > budget.row_limit() && !reading.suspects.contains(&root) {
            reading.suspects.push(root);
        }
        unpacked += dictionary + largest(|p| if p.dictionary { 0 } else { p.bytes });
        packed += largest(|p| if p.packed < p.bytes { p.packed } else { 0 });
        let flat = chunk.column_descr().max_rep_level() == 0;
        let column = stretches(&found, flat, rows, bytes.div_ceil(stored.max(1)));
        if column.is_empty() {
            even += (bytes / rows).max(16);
        } else {
            uneven.push(column);
        }
    }
    let all = together(&uneven, even, rows);
    reading.portions = portions(&all, target);
    let batch = |p: &Portion| p.batch as u64 * even;
    let batches = reading.portions.iter().map(batch).max().unwrap_or(0).min(target);
    reading.held = unpacked.max(if uneven.is_empty() { 0 } else { target }) + packed + batches;
    Ok(reading)
}

/// Bytes of the values of a column whose pages leave out what values have in common with those before; else nothing.
fn left_out(chunk: &ColumnChunkMetaData) -> u64 {
    let whole = chunk.unencoded_byte_array_data_bytes().unwrap_or(0);
    let delta = chunk.encodings().any(|e| e == Encoding::DELTA_BYTE_ARRAY);
    u64::try_from(whole).ok().filter(|_| delta).unwrap_or(0)
}

/// The pages of a column as stretches of rows; empty when they do not tell rows. Values are `times` what is stored.
fn stretches(pages: &[Page], flat: bool, rows: u64, times: u64) -> Vec<Stretch> {
    let data = pages.iter().filter(|page| !page.dictionary);
    let all: Vec<Stretch> = data
        .filter(|page| page.values > 0)
        .map(|page| Stretch {
            rows: page.values,
            density: page.bytes * times / page.values,
        })
        .collect();
    let known = flat && all.iter().map(|s| s.rows).sum::<u64>() == rows;
    if known { all } else { Vec::new() }
}

/// The columns side by side: where one of them begins a new stretch, the rows do.
fn together(columns: &[Vec<Stretch>], even: u64, rows: u64) -> Vec<Stretch> {
    let mut edges: Vec<u64> = vec![rows];
    for column in columns {
        let mut at = 0;
        edges.extend(column.iter().map(|s| {
            at += s.rows;
            at
        }));
    }
    edges.sort_unstable();
    edges.dedup();
    let mut places: Vec<(usize, u64)> = columns
        .iter()
        .map(|c| (0, c.first().map_or(0, |s| s.rows)))
        .collect();
    let (mut all, mut from) = (Vec::with_capacity(edges.len()), 0);
    for edge in edges {
        let mut density = even;
        for (column, (index, end)) in columns.iter().zip(&mut places) {
            while *end <= from && *index + 1 < column.len() {
                *index += 1;
                *end += column[*index].rows;
            }
            density += column.get(*index).map_or(0, |s| s.density.max(16));
        }
        all.push(Stretch {
            rows: edge - from,
            density,
        });
        from = edge;
    }
    all
}

/// Stretches gathered into portions: large rows apart from the others.
fn portions(all: &[Stretch], target: u64) -> Vec<Portion> {
    let rows: u64 = all.iter().map(|s| s.rows).sum();
    let bytes: u64 = all.iter().map(|s| s.rows * s.density).sum();
    let large = (bytes / rows.max(1) * UNEVEN).max(16);
    let size = |density: u64| {
        usize::try_from(target / density.max(1))
            .unwrap_or(ROWS)
            .clamp(1, ROWS)
    };
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let (mut made, mut last_large, mut at): (Vec<Portion>, bool, u64) = (Vec::new(), false, 0);
    for stretch in all {
        let is_large = stretch.density > large;
        match made.last_mut() {
            Some(last) if last_large == is_large => {
                last.rows += count(stretch.rows);
                last.batch = last.batch.min(size(stretch.density));
            }
            _ => made.push(Portion {
                start: count(at),
                rows: count(stretch.rows),
                batch: size(stretch.density),
            }),
        }
        (last_large, at) = (is_large, at + stretch.rows);
    }
    if made.len() <= PORTIONS {
        return made;
    }
    vec![Portion {
        start: 0,
        rows: count(rows),
        batch: made.iter().map(|p| p.batch).min().unwrap_or(1),
    }]
}

/// The bytes of the largest value of a column.
pub(crate) fn measure(array: &ArrayRef) -> u64 {
    // The low half of a view is the length of its value.
    let longest = |views: &[u128]| views.iter().map(|view| u64::from(*view as u32)).max();
    match array.data_type() {
        DataType::Utf8View => longest(array.as_string_view().views()).unwrap_or(0),
        DataType::BinaryView => longest(array.as_binary_view().views()).unwrap_or(0),
        _ => (0..array.len())
            .map(|row| value_bytes(array, row))
            .max()
            .unwrap_or(0),
    }
}

fn value_bytes(array: &ArrayRef, row: usize) -> u64 {
    if array.is_null(row) {
        return 0;
    }
    let items = |items: ArrayRef| (0..items.len()).map(|i| value_bytes(&items, i)).sum();
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row).len() as u64,
        DataType::BinaryView => array.as_binary_view().value(row).len() as u64,
        DataType::FixedSizeBinary(width) => u64::try_from(*width).unwrap_or(0),
        DataType::List(_) => items(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => items(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => items(array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            let parts = array.as_struct().columns().iter();
            parts.map(|part| value_bytes(part, row)).sum()
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let parts = entries.columns().iter();
            parts.map(|part| items(part.clone())).sum()
        }
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(rows: u64, density: u64) -> Stretch {
        Stretch { rows, density }
    }

    fn portion(start: usize, rows: usize, batch: usize) -> Portion {
        Portion { start, rows, batch }
    }

    #[test]
    fn large_rows_are_read_apart() {
        let even = [stretch(1000, 100), stretch(1000, 120)];
        assert_eq!(portions(&even, 12_000), [portion(0, 2000, 100)]);
        let uneven = [stretch(1000, 100), stretch(2, 50_000), stretch(1000, 100)];
        assert_eq!(
            portions(&uneven, 10_000),
            [
                portion(0, 1000, 100),
                portion(1000, 2, 1),
                portion(1002, 1000, 100)
            ]
        );
        let restless: Vec<_> = (0..300)
            .map(|n| stretch(10, if n % 9 == 0 { 9_000 } else { 10 }))
            .collect();
        assert_eq!(portions(&restless, 18_000), [portion(0, 3000, 2)]);
    }

    #[test]
    fn columns_with_pages_of_other_lengths_are_laid_side_by_side() {
        let columns = [
            vec![stretch(10, 100), stretch(20, 200)],
            vec![stretch(25, 1000), stretch(5, 3000)],
        ];
        let all: Vec<_> = together(&columns, 8, 30)
            .iter()
            .map(|s| (s.rows, s.density))
            .collect();
        assert_eq!(all, [(10, 1108), (15, 1208), (5, 3208)]);
        let none: Vec<_> = together(&[], 8, 30).iter().map(|s| (s.rows, s.density)).collect();
        assert_eq!(none, [(30, 8)]);
    }
}
