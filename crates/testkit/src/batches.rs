//! Rows for tests: every Arrow type with its extremes, wide mixed rows, skewed keys; and sets of rows compared.
//!
//! The awkward values and the comparison are those of the conformance suites (`synqx_sdk::conformance`), so a
//! connector's own tests and the suites mean the same by "the same rows". Generators are deterministic.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringViewArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use synqx_sdk::conformance::samples;

pub use synqx_sdk::conformance::rows::{Rows, Value, same_rows};
pub use synqx_sdk::conformance::samples::{Sample, every_type};

/// One batch with a column per Arrow type the house knows (`id`, then the sample's name), all extremes and special
/// values included; columns with fewer values end in NULLs.
pub fn every_type_batch() -> Result<RecordBatch, ArrowError> {
    batch_of(&samples::every_type()?)
}

/// The same for chosen types, such as those a destination accepts.
pub fn batch_of(samples: &[Sample]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Vec::new();
    for sample in samples {
        let mut parts: Vec<&dyn arrow::array::Array> = vec![sample.core.as_ref()];
        parts.extend(sample.special.iter().map(|(_, value)| value.as_ref()));
        columns.push((sample.field.clone().with_name(&sample.name), concat(&parts)?));
    }
    let rows = columns.iter().map(|(_, array)| array.len()).max().unwrap_or(0);
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(0..rows as i64))];
    for (field, array) in columns {
        let rest = new_null_array(array.data_type(), rows - array.len());
        arrays.push(concat(&[array.as_ref(), rest.as_ref()])?);
        fields.push(field);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// `rows` ordinary mixed rows from `first` on: `id`, `flag`, `amount`, `ratio`, `day`, `at`, `name`, `note`; every
/// column but `id` has NULLs. Deterministic, so two calls give the same rows.
pub fn wide_rows(first: i64, rows: usize) -> Result<RecordBatch, ArrowError> {
    let numbers: Vec<i64> = (first..first + rows as i64).collect();
    let some = |n: &i64, every: i64| n.rem_euclid(every) != 0;
    let flags: BooleanArray = numbers.iter().map(|n| some(n, 5).then_some(n % 2 == 0)).collect();
    let amounts: Decimal128Array = numbers
        .iter()
        .map(|n| some(n, 7).then_some(i128::from(*n) * 1_234_567))
        .collect();
    let ratios: Float64Array = numbers
        .iter()
        .map(|n| some(n, 11).then_some(*n as f64 / 3.0))
        .collect();
    let days: Date32Array = numbers
        .iter()
        .map(|n| some(n, 13).then_some((n % 40_000) as i32 - 5_000))
        .collect();
    let moments: TimestampMicrosecondArray = numbers
        .iter()
        .map(|n| some(n, 17).then_some(n.wrapping_mul(86_413_000_001)))
        .collect();
    let names: StringViewArray = numbers
        .iter()
        .map(|n| some(n, 3).then(|| format!("name {}", n % 100)))
        .collect();
    let notes: StringViewArray = numbers
        .iter()
        .map(|n| some(n, 19).then(|| format!("note ü {n:0>60} \"q\"")))
        .collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(numbers))),
        ("flag", Arc::new(flags)),
        ("amount", Arc::new(amounts.with_precision_and_scale(38, 4)?)),
        ("ratio", Arc::new(ratios)),
        ("day", Arc::new(days)),
        ("at", Arc::new(moments)),
        ("name", Arc::new(names)),
        ("note", Arc::new(notes)),
    ];
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), *name != "id"))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns.into_iter().map(|(_, array)| array).collect(),
    )
}

/// `rows` rows of `id` and `key` where nine of ten keys are one value, some are NULL and the rest are far apart.
pub fn skewed_keys(rows: usize) -> Result<RecordBatch, ArrowError> {
    let key = |row: i64| match row % 10 {
        0 => Some(row * row * 1_000_003),
        5 if row % 100 == 55 => None,
        _ => Some(7),
    };
    let count = rows as i64;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let keys: ArrayRef = Arc::new((0..count).map(key).collect::<Int64Array>());
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("key", keys, true)])
}

/// Panics, with counts and the first differing keys, unless both sets hold the same rows, each as often.
#[expect(clippy::panic, reason = "an assertion of tests")]
#[track_caller]
pub fn assert_same_rows(expected: &[RecordBatch], found: &[RecordBatch], key: &[&str]) {
    if let Err(difference) = same_rows(&Rows::of(expected), &Rows::of(found), key) {
        panic!("{difference}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_known_to_the_comparison() {
        let batch = every_type_batch().expect("a batch");
        assert!(batch.num_columns() > 45, "{} columns", batch.num_columns());
        let rows = Rows::of(std::slice::from_ref(&batch));
        assert!(
            !rows
                .rows
                .iter()
                .flatten()
                .any(|value| matches!(value, Value::Unknown(_)))
        );
        assert_same_rows(
            std::slice::from_ref(&batch),
            std::slice::from_ref(&batch),
            &["id"],
        );
    }

    #[test]
    fn order_and_spelling_do_not_matter_and_counts_do() {
        let batch = wide_rows(0, 100).expect("a batch");
        let shuffled = [batch.slice(60, 40), batch.slice(0, 60)];
        assert_same_rows(std::slice::from_ref(&batch), &shuffled, &["id"]);
        let narrow: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 2]));
        let wide: ArrayRef = Arc::new(arrow::array::Int16Array::from(vec![2, 1, 1]));
        let one = |array: &ArrayRef| RecordBatch::try_from_iter([("n", Arc::clone(array))]).expect("a batch");
        assert_same_rows(&[one(&narrow)], &[one(&wide)], &[]);
        let fewer = same_rows(
            &Rows::of(&[one(&narrow)]),
            &Rows::of(&[one(&wide.slice(0, 2))]),
            &[],
        );
        assert!(
            fewer
                .expect_err("a row is missing")
                .contains("expected 3 rows, found 2: 1 missing")
        );
    }

    #[test]
    fn nan_equals_nan_and_minus_zero_is_not_zero() {
        let floats = |values: Vec<f64>| {
            let array: ArrayRef = Arc::new(Float64Array::from(values));
            Rows::of(&[RecordBatch::try_from_iter([("x", array)]).expect("a batch")])
        };
        assert_eq!(
            same_rows(&floats(vec![f64::NAN, 1.0]), &floats(vec![1.0, -f64::NAN]), &[]),
            Ok(())
        );
        assert!(same_rows(&floats(vec![0.0]), &floats(vec![-0.0]), &[]).is_err());
    }

    #[test]
    fn a_difference_names_the_key_and_the_column() {
        let (left, right) = (
            wide_rows(0, 10).expect("a batch"),
            skewed_keys(10).expect("a batch"),
        );
        assert!(
            same_rows(
                &Rows::of(std::slice::from_ref(&left)),
                &Rows::of(&[right]),
                &["id"]
            )
            .expect_err("other columns")
            .contains("key")
        );
        let mut other = Rows::of(std::slice::from_ref(&left));
        other.rows[4][6] = Value::Text("changed".into());
        let text = same_rows(&Rows::of(&[left]), &other, &["id"]).expect_err("one cell");
        assert!(
            text.contains("changed id=4: name: expected \"name 4\", found \"changed\""),
            "{text}"
        );
    }
}
