//! Values that are large for the budget: moved while they are within its row limit, refused exactly beyond, and
//! never more memory than the budget while finding out.
//!
//! Parquet tells averages only; these files are as uneven as files get.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListBuilder, StringArray, StringBuilder};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{WriterProperties, WriterVersion};
use synqx_model::spec::PartitionBy;
use synqx_model::{ByteSize, Code, Error};
use synqx_sdk::{Budget, Role, Scan};

use crate::bench::{Bench, batch, dataset, none};

fn parquet_file(bench: &Bench, name: &str, rows: &RecordBatch) {
    let file = File::create(bench.dir.path().join(name)).expect("a file");
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(usize::MAX))
        .build();
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).expect("a writer");
    // One row at a time around the large ones: each becomes a page of its own.
    let mut at = 0;
    for end in [rows.num_rows() / 2, rows.num_rows() / 2 + 1, rows.num_rows()] {
        writer.write(&rows.slice(at, end - at)).expect("writes");
        at = end;
    }
    writer.close().expect("closes");
}

/// Many small rows, and one text of `bytes` in the middle.
fn uneven(rows: usize, bytes: usize) -> RecordBatch {
    let large = "abcdefgh".repeat(bytes / 8);
    let text = |n: usize| {
        if n == rows / 2 {
            large.clone()
        } else {
            format!("note {n}")
        }
    };
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(text)));
    batch(vec![("id", ids), ("note", notes)])
}

/// Reads a file as one stream, batch by batch, each dropped before the next: rows, bytes of text, batches.
async fn stream(bench: &Bench, name: &str) -> Result<(usize, usize, usize), Error> {
    let connection = bench.connection(Role::Source);
    let dataset = dataset(name, none());
    let table = connection.describe(&dataset).await?;
    let source = connection.source().expect("a source");
    let columns = table.schema.fields().iter().map(|f| f.name().clone()).collect();
    let scan = Scan {
        dataset,
        table,
        columns,
        predicates: Vec::new(),
        limit: None,
        partition: PartitionBy::None,
        parallel: 1,
    };
    let plan = source.plan(&scan).await?;
    let reader = source.open(&scan, &plan).await?;
    let mut stream = reader.read(0).await?;
    let (mut rows, mut bytes, mut batches) = (0, 0, 0);
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        (rows, batches) = (rows + batch.num_rows(), batches + 1);
        let notes = batch.column_by_name("note").expect("the column");
        if let Some(texts) = notes.as_string_view_opt() {
            bytes += texts.iter().flatten().map(str::len).sum::<usize>();
        }
    }
    Ok((rows, bytes, batches))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_large_value_among_many_small_ones_is_moved_within_the_budget() {
    let bench = Bench::new().with_memory(ByteSize::mib(16));
    let rows = uneven(200_000, 3 << 20);
    let all = rows.column(1).as_string::<i32>().value_data().len();
    parquet_file(&bench, "t.parquet", &rows);
    let (count, bytes, batches) = stream(&bench, "t.parquet").await.expect("reads");
    assert_eq!((count, bytes), (200_000, all));
    assert!(
        batches < 1_000,
        "{batches} batches: small rows are read in batches of their size"
    );
    assert!(
        bench.budget.peak() <= bench.budget.limit(),
        "{} bytes",
        bench.budget.peak()
    );
    assert_eq!(bench.budget.used(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_value_beyond_the_row_limit_is_refused_however_small_the_average() {
    let bench = Bench::new().with_memory(ByteSize::mib(16));
    parquet_file(&bench, "t.parquet", &uneven(200_000, 6 << 20));
    let error = stream(&bench, "t.parquet").await.expect_err("too large");
    assert_eq!(error.code(), Code::E0805);
    assert!(
        error.message().contains("`note`") && error.hint().is_some(),
        "{error:?}"
    );
    assert!(
        bench.budget.peak() <= bench.budget.limit(),
        "{} bytes",
        bench.budget.peak()
    );
    let roomy = Bench {
        budget: Budget::new(ByteSize::mib(64)),
        ..bench
    };
    assert_eq!(stream(&roomy, "t.parquet").await.expect("reads").0, 200_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_larger_than_the_whole_budget_is_refused_unseen() {
    let bench = Bench::new().with_memory(ByteSize::mib(16));
    parquet_file(&bench, "t.parquet", &uneven(3, 80 << 20));
    let error = stream(&bench, "t.parquet").await.expect_err("too large");
    assert_eq!(error.code(), Code::E0805, "{error:?}");
    assert!(error.message().contains("`note`"), "{error:?}");
    assert!(
        bench.budget.peak() <= bench.budget.limit(),
        "{} bytes",
        bench.budget.peak()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_stored_as_differences_are_moved_within_the_budget() {
    let bench = Bench::new().with_memory(ByteSize::mib(16));
    let common = "abcdefgh".repeat(12_500);
    let notes: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..400).map(|n| format!("{common}{n:03}")),
    ));
    let rows = batch(vec![("note", notes)]);
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_dictionary_enabled(false)
        .build();
    let file = File::create(bench.dir.path().join("t.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), Some(properties)).expect("a writer");
    writer.write(&rows).expect("writes");
    writer.close().expect("closes");
    let bytes = std::fs::metadata(bench.dir.path().join("t.parquet"))
        .expect("a file")
        .len();
    assert!(bytes < 1 << 20, "{bytes} bytes for 40 MB of text");
    let read = stream(&bench, "t.parquet").await.expect("reads");
    assert_eq!((read.0, read.1), (400, 400 * 100_003));
    assert!(read.2 >= 100, "{} batches for 40 MB of text", read.2);
    assert!(
        bench.budget.peak() <= bench.budget.limit(),
        "{} bytes",
        bench.budget.peak()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_counts_as_one_value() {
    let bench = Bench::new().with_memory(ByteSize::mib(16));
    let mut lists = ListBuilder::new(StringBuilder::new());
    for items in [1, 600, 1] {
        for item in 0..items {
            lists.values().append_value(format!("{item:>10000}"));
        }
        lists.append(true);
    }
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    parquet_file(
        &bench,
        "t.parquet",
        &batch(vec![("id", ids), ("note", Arc::new(lists.finish()) as ArrayRef)]),
    );
    let error = stream(&bench, "t.parquet").await.expect_err("too large");
    assert_eq!(error.code(), Code::E0805, "{error:?}");
    assert!(error.message().contains("`note`"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_reserved_while_it_is_made() {
    for (name, row) in [
        ("t.csv", "12345,abcdefghij\n"),
        ("t.jsonl", "{\"id\":12345,\"note\":\"abcdefghij\"}\n"),
    ] {
        let bench = Bench::new().with_memory(ByteSize::mib(64));
        let head = if name == "t.csv" { "id,note\n" } else { "" };
        bench.file(name, format!("{head}{}", row.repeat(60_000)));
        assert_eq!(stream(&bench, name).await.expect("reads").0, 60_000);
        // All but the window over the file and a little: the batch has no room.
        let taken = bench.budget.limit() - (600 << 10);
        bench.budget.take(taken);
        let error = stream(&bench, name).await.expect_err("no room");
        assert_eq!(error.code(), Code::E0804, "{error:?}");
        assert!(error.message().contains("a batch of"), "{error:?}");
        assert_eq!(bench.budget.used(), taken);
    }
}
