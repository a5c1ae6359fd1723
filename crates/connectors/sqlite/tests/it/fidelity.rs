//! Every type that is written comes back bit by bit, or is refused before the run.
//!
//! Extremes, NULLs and every Arrow type the house knows.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, TimeUnit, i256};
use proptest::prelude::*;
use synqx_model::Code;
use synqx_model::spec::WriteMode;
use synqx_sdk::{Dataset, Role, annotation};

use crate::house::{House, batch, load, read_table, scan, target};

async fn round_trip(written: &RecordBatch) -> RecordBatch {
    let house = House::new();
    let goal = target("t", WriteMode::Append, written.schema());
    load(
        house.open(Role::Destination).as_ref(),
        &goal,
        std::slice::from_ref(written),
    )
    .await
    .expect("loads");
    read_table(&house, "t").await
}

fn assert_same(written: &RecordBatch, read: &RecordBatch) {
    for (i, field) in written.schema().fields().iter().enumerate() {
        assert_eq!(
            written.column(i).as_ref(),
            read.column_by_name(field.name())
                .expect("every column comes back")
                .as_ref(),
            "{}",
            field.name()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn house_types_round_trip_bit_by_bit() {
    let uuid = |name: &str| {
        annotation::annotate(
            Field::new(name, DataType::FixedSizeBinary(16), true),
            annotation::EXTENSION,
            annotation::EXTENSION_UUID,
        )
    };
    let json = annotation::annotate(
        Field::new("json", DataType::Utf8View, true),
        annotation::EXTENSION,
        annotation::EXTENSION_JSON,
    );
    let numeric = annotation::annotate(
        Field::new("numeric", DataType::Utf8View, true),
        annotation::LOGICAL,
        annotation::LOGICAL_NUMERIC,
    );
    let nines = i256::from_string(&"9".repeat(76)).expect("digits");
    let big = "x".repeat(3_000_000);
    let columns: Vec<(Field, ArrayRef)> = vec![
        (
            Field::new("bool", DataType::Boolean, true),
            Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        ),
        (
            Field::new("int", DataType::Int64, true),
            Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None])),
        ),
        (
            Field::new("real", DataType::Float64, true),
            Arc::new(Float64Array::from(vec![
                Some(f64::NEG_INFINITY),
                Some(5e-324),
                Some(-1.5e308),
            ])),
        ),
        (
            Field::new("dec", DataType::Decimal128(38, 10), true),
            Arc::new(
                Decimal128Array::from(vec![Some(10i128.pow(38) - 1), Some(-11_000_000_000), None])
                    .with_precision_and_scale(38, 10)
                    .expect("fits"),
            ),
        ),
        (
            Field::new("dec76", DataType::Decimal256(76, 5), true),
            Arc::new(
                Decimal256Array::from(vec![Some(nines), Some(nines.wrapping_neg()), None])
                    .with_precision_and_scale(76, 5)
                    .expect("fits"),
            ),
        ),
        (
            Field::new("text", DataType::Utf8View, true),
            Arc::new(StringViewArray::from(vec![Some(""), Some("a\0b 🦀 '\""), None])),
        ),
        (
            Field::new("digits", DataType::Utf8View, true),
            Arc::new(StringViewArray::from(vec![
                Some("007"),
                Some("1e5"),
                Some(big.as_str()),
            ])),
        ),
        (
            numeric,
            Arc::new(StringViewArray::from(vec![
                Some("1.10"),
                Some("-123456789012345678901234567890.5"),
                None,
            ])),
        ),
        (
            Field::new("blob", DataType::BinaryView, true),
            Arc::new(BinaryViewArray::from(vec![
                Some(b"".as_slice()),
                Some(b"\0\xff"),
                None,
            ])),
        ),
        (
            Field::new("date", DataType::Date32, true),
            Arc::new(Date32Array::from(vec![Some(-800_000), Some(3_000_000), None])),
        ),
        (
            Field::new("time", DataType::Time64(TimeUnit::Microsecond), true),
            Arc::new(Time64MicrosecondArray::from(vec![
                Some(0),
                Some(86_399_999_999),
                None,
            ])),
        ),
        (
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(-1),
                Some(253_402_300_800_000_000),
                None,
            ])),
        ),
        (
            Field::new(
                "tz",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
            ),
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(-62_135_596_800_000_001), Some(1), None])
                    .with_timezone("UTC"),
            ),
        ),
        (
            Field::new("ns", DataType::Timestamp(TimeUnit::Nanosecond, None), true),
            Arc::new(TimestampNanosecondArray::from(vec![
                Some(-1),
                Some(i64::MAX),
                None,
            ])),
        ),
        (
            Field::new(
                "nstz",
                DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                true,
            ),
            Arc::new(
                TimestampNanosecondArray::from(vec![Some(1_000_000_100), Some(i64::MIN), None])
                    .with_timezone("UTC"),
            ),
        ),
        (
            json,
            Arc::new(StringViewArray::from(vec![
                Some("1.50"),
                Some("{\"a\": [1, null]}"),
                None,
            ])),
        ),
        (
            uuid("uuid"),
            Arc::new(
                FixedSizeBinaryArray::try_from_sparse_iter_with_size(
                    [Some([0u8; 16]), Some([255u8; 16]), None].into_iter(),
                    16,
                )
                .expect("sixteen"),
            ),
        ),
    ];
    let schema = Arc::new(Schema::new(
        columns.iter().map(|(f, _)| f.clone()).collect::<Vec<_>>(),
    ));
    let written = RecordBatch::try_new(Arc::clone(&schema), columns.into_iter().map(|(_, a)| a).collect())
        .expect("a batch");
    let read = round_trip(&written).await;
    assert_same(&written, &read);
    for field in schema.fields() {
        let back = read
            .schema()
            .field_with_name(field.name())
            .expect("there")
            .clone();
        assert_eq!(back.data_type(), field.data_type(), "{}", field.name());
        for (key, value) in field.metadata() {
            assert_eq!(
                back.metadata().get(key),
                Some(value),
                "{} of {}",
                key,
                field.name()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn negative_zero_is_refused_unless_its_loss_is_allowed() {
    let house = House::new();
    let written = batch(vec![("x", Arc::new(Float64Array::from(vec![-0.0])) as ArrayRef)]);
    let to = house.open(Role::Destination);
    let mut goal = target("t", WriteMode::Append, written.schema());
    let error = load(to.as_ref(), &goal, std::slice::from_ref(&written))
        .await
        .expect_err("a sign would be lost");
    assert_eq!(error.code(), Code::E0404);
    assert!(error.hint().is_some_and(|hint| hint.contains("allow_loss: [x]")));
    goal.allow_loss = vec!["x".into()];
    load(to.as_ref(), &goal, &[written]).await.expect("loads");
    assert_eq!(house.rows("SELECT x FROM t"), ["0.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_arrow_type_is_written_exactly() {
    let dictionary: DictionaryArray<Int32Type> = vec![Some("a"), None, Some("b")].into_iter().collect();
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let written = batch(vec![
        (
            "i8",
            Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(1)])) as ArrayRef,
        ),
        (
            "u32",
            Arc::new(UInt32Array::from(vec![Some(u32::MAX), None, Some(1)])),
        ),
        (
            "u64",
            Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(1)])),
        ),
        (
            "f32",
            Arc::new(Float32Array::from(vec![
                Some(0.1f32),
                None,
                Some(f32::MIN_POSITIVE),
            ])),
        ),
        (
            "large",
            Arc::new(LargeStringArray::from(vec![Some("x"), None, Some("")])),
        ),
        (
            "utf8",
            Arc::new(StringArray::from(vec![Some("x"), None, Some("")])),
        ),
        ("dict", Arc::new(dictionary)),
        ("list", Arc::new(list)),
        (
            "bin",
            Arc::new(BinaryArray::from_opt_vec(vec![Some(b"x"), None, Some(b"")])),
        ),
        (
            "date64",
            Arc::new(Date64Array::from(vec![Some(86_400_000), None, Some(0)])),
        ),
        (
            "time32",
            Arc::new(Time32SecondArray::from(vec![Some(1), None, Some(0)])),
        ),
        (
            "seconds",
            Arc::new(TimestampSecondArray::from(vec![Some(1), None, Some(0)])),
        ),
        (
            "dec64",
            Arc::new(
                Decimal64Array::from(vec![Some(110), None, Some(-5)])
                    .with_precision_and_scale(10, 2)
                    .expect("fits"),
            ),
        ),
        ("null", Arc::new(NullArray::new(3))),
    ]);
    let house = House::new();
    let goal = target("t", WriteMode::Append, written.schema());
    load(house.open(Role::Destination).as_ref(), &goal, &[written])
        .await
        .expect("loads");
    assert_eq!(
        house.rows("SELECT * FROM t"),
        [
            "-128|4294967295|18446744073709551615|0.10000000149011612|x|x|a|[1,null]|1 bytes|1970-01-02|00:00:01|1970-01-01 00:00:01|1.10|NULL",
            "NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL",
            "1|1|1|1.1754943508222875e-38|||b|[]|0 bytes|1970-01-01|00:00:00|1970-01-01 00:00:00|-0.05|NULL",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sqlite_cannot_keep_is_refused_by_column() {
    let house = House::new();
    let destination = house.open(Role::Destination);
    let nan = batch(vec![(
        "x",
        Arc::new(Float64Array::from(vec![1.0, f64::NAN])) as ArrayRef,
    )]);
    let error = load(
        destination.as_ref(),
        &target("t", WriteMode::Append, nan.schema()),
        &[nan],
    )
    .await
    .expect_err("NaN");
    assert_eq!(error.code(), Code::E0404);
    assert!(error.message().contains("`x`"));
    let nested = Float64Array::from(vec![f64::INFINITY]);
    let list = ListArray::new(
        Arc::new(Field::new_list_field(DataType::Float64, true)),
        arrow::buffer::OffsetBuffer::from_lengths([1]),
        Arc::new(nested),
        None,
    );
    let nested = batch(vec![("deep", Arc::new(list) as ArrayRef)]);
    let error = load(
        destination.as_ref(),
        &target("t", WriteMode::Append, nested.schema()),
        &[nested],
    )
    .await
    .expect_err("infinite");
    assert_eq!(error.code(), Code::E0404);
    let interval = batch(vec![(
        "wait",
        Arc::new(DurationSecondArray::from(vec![1])) as ArrayRef,
    )]);
    let error = load(
        destination.as_ref(),
        &target("t", WriteMode::Append, interval.schema()),
        &[interval],
    )
    .await
    .expect_err("interval");
    assert_eq!(error.code(), Code::E0407);
    house.sql("CREATE TABLE money (price DECIMAL(10,2), n INTEGER)");
    let price = batch(vec![
        (
            "price",
            Arc::new(
                Decimal128Array::from(vec![110])
                    .with_precision_and_scale(10, 2)
                    .expect("fits"),
            ) as ArrayRef,
        ),
        ("n", Arc::new(UInt64Array::from(vec![u64::MAX]))),
    ]);
    let mut goal = target("money", WriteMode::Append, price.schema());
    let error = load(destination.as_ref(), &goal, std::slice::from_ref(&price))
        .await
        .expect_err("NUMERIC");
    assert_eq!(error.code(), Code::E0403, "{error:?}");
    goal.allow_loss = vec!["price".into()];
    let error = load(destination.as_ref(), &goal, &[price])
        .await
        .expect_err("beyond i64");
    assert_eq!(error.code(), Code::E0404, "{error:?}");
    assert!(house.rows("SELECT * FROM money").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_within_sqlite_keeps_declared_types_and_values() {
    let house = House::new();
    house.sql(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, name VARCHAR(40) COLLATE NOCASE, seen DATETIME, price DECIMAL(10,2), flag BOOL, note);
         INSERT INTO a VALUES (1, 'x', '2013-01-01 05:00:00', 12, 1, 'free'), (2, NULL, NULL, NULL, NULL, NULL)",
    );
    let source = house.open(Role::Source);
    let table = source.describe(&Dataset::asset("a")).await.expect("described");
    assert_eq!(table.primary_key, ["id"]);
    let rows = scan(source.as_ref(), Dataset::asset("a"), Vec::new())
        .await
        .expect("reads");
    let mut goal = target("b", WriteMode::Append, rows.schema());
    goal.source_key = vec!["id".into()];
    load(house.open(Role::Destination).as_ref(), &goal, &[rows])
        .await
        .expect("loads");
    let kept = |table: &str| house.rows(&format!("SELECT id, name, seen, flag, note FROM {table}"));
    assert_eq!(kept("a"), kept("b"));
    assert_eq!(
        house.rows("SELECT price FROM b"),
        ["12.00", "NULL"],
        "NUMERIC affinity holds no exact decimals"
    );
    assert_eq!(
        house.rows("SELECT name, type, pk FROM pragma_table_info('b')"),
        [
            "id|INTEGER|1",
            "name|VARCHAR(40)|0",
            "seen|DATETIME|0",
            "price|DECIMAL_TEXT(10,2)|0",
            "flag|BOOL|0",
            "note||0"
        ]
    );
    assert!(house.rows("SELECT sql FROM sqlite_schema WHERE name = 'b'")[0].contains("COLLATE NOCASE"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_values_round_trip(
        ints in proptest::collection::vec(any::<Option<i64>>(), 1..40),
        seed in any::<u64>(),
    ) {
        let n = ints.len();
        let mix = |i: usize| seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add((i as u64) << 17 | 11).rotate_left(i as u32 % 64);
        let written = batch(vec![
            ("i", Arc::new(Int64Array::from(ints)) as ArrayRef),
            ("d", Arc::new(Decimal128Array::from_iter_values((0..n).map(|i| i128::from(mix(i) as i64) * 1_000_003)).with_precision_and_scale(38, 7).expect("fits"))),
            ("ns", Arc::new(TimestampNanosecondArray::from_iter_values((0..n).map(|i| mix(i) as i64)))),
            ("us", Arc::new(TimestampMicrosecondArray::from_iter_values((0..n).map(|i| mix(i) as i64 / 40)).with_timezone("UTC"))),
            ("t", Arc::new(StringViewArray::from_iter_values((0..n).map(|i| format!("{}\u{0}é{}", mix(i), "z".repeat(i)))))),
            ("r", Arc::new(Float64Array::from_iter_values((0..n).map(|i| Some(f64::from_bits(mix(i))).filter(|x| !x.is_nan() && *x != 0.0).unwrap_or(0.5))))),
        ]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let read = runtime.block_on(round_trip(&written));
        assert_same(&written, &read);
    }
}
