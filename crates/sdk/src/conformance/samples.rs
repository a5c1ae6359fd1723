//! Awkward values: one column per Arrow type the house knows, with NULL, extremes and the values that break peers.
//!
//! `core` is what a destination that holds the type at all must hold exactly. `special` are single values that a
//! system may be unable to hold (NaN, infinity, NUL in text, the ends of a range): held exactly or refused, never
//! altered. Names are the words of reports.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use crate::annotation;

/// One column of awkward values.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The type, in words.
    pub name: String,
    /// Nullable; carries annotations.
    pub field: Field,
    /// Values that must be held exactly by whoever holds the type.
    pub core: ArrayRef,
    /// Single values that may be refused: what they are, and a column of one row.
    pub special: Vec<(String, ArrayRef)>,
}

impl Sample {
    fn new(name: &str, core: impl Array + 'static) -> Self {
        let core: ArrayRef = Arc::new(core);
        let field = Field::new("value", core.data_type().clone(), true);
        Sample {
            name: name.to_owned(),
            field,
            core,
            special: Vec::new(),
        }
    }

    fn special(mut self, what: &str, value: impl Array + 'static) -> Self {
        self.special
            .push((format!("{}: {what}", self.name), Arc::new(value)));
        self
    }

    fn annotated(mut self, key: &str, value: &str) -> Self {
        self.field = annotation::annotate(self.field, key, value);
        self
    }

    /// A batch of two columns: `id` (0, 1, …) and `value`.
    pub fn batch(&self, values: &ArrayRef) -> Result<RecordBatch, ArrowError> {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..values.len() as i64));
        RecordBatch::try_new(self.schema(), vec![ids, Arc::clone(values)])
    }

    /// The schema of [`Sample::batch`].
    pub fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            self.field.clone(),
        ]))
    }
}

/// Every type the house knows.
pub fn every_type() -> Result<Vec<Sample>, ArrowError> {
    let mut all = numbers()?;
    all.extend(texts_and_bytes()?);
    all.extend(times());
    all.extend(nested()?);
    Ok(all)
}

macro_rules! integers {
    ($($name:literal $array:ty, $native:ty);+ $(;)?) => {
        vec![$(Sample::new($name, <$array>::from(vec![
            Some(0), None, Some(1), Some(<$native>::MIN), Some(<$native>::MAX), Some(<$native>::MAX - 1),
        ]))),+]
    };
}

fn numbers() -> Result<Vec<Sample>, ArrowError> {
    let mut all = integers! {
        "int8" Int8Array, i8; "int16" Int16Array, i16; "int32" Int32Array, i32; "int64" Int64Array, i64;
        "uint8" UInt8Array, u8; "uint16" UInt16Array, u16; "uint32" UInt32Array, u32; "uint64" UInt64Array, u64;
    };
    all.push(Sample::new(
        "boolean",
        BooleanArray::from(vec![Some(true), None, Some(false)]),
    ));
    let half = Float16Array::from_iter([Some(1.5f32), None, Some(-0.099_975_586)].map(|v| v.map(half_of)));
    all.push(Sample::new("float16", half));
    let tiny = f32::from_bits(1);
    let singles = vec![
        Some(0.0),
        None,
        Some(0.1f32),
        Some(f32::MAX),
        Some(f32::MIN),
        Some(f32::MIN_POSITIVE),
    ];
    all.push(
        Sample::new("float32", Float32Array::from(singles))
            .special("NaN", Float32Array::from(vec![f32::NAN]))
            .special("infinity", Float32Array::from(vec![f32::INFINITY]))
            .special("-0.0", Float32Array::from(vec![-0.0]))
            .special("denormal", Float32Array::from(vec![tiny])),
    );
    let doubles = vec![
        Some(0.0),
        None,
        Some(0.1),
        Some(1.0 / 3.0),
        Some(f64::MAX),
        Some(f64::MIN_POSITIVE),
        Some(2e53),
    ];
    all.push(
        Sample::new("float64", Float64Array::from(doubles))
            .special("NaN", Float64Array::from(vec![f64::NAN]))
            .special("infinity", Float64Array::from(vec![f64::INFINITY]))
            .special("-infinity", Float64Array::from(vec![f64::NEG_INFINITY]))
            .special("-0.0", Float64Array::from(vec![-0.0]))
            .special("denormal", Float64Array::from(vec![f64::from_bits(1)])),
    );
    all.extend(decimals()?);
    Ok(all)
}

fn half_of(value: f32) -> <Float16Type as ArrowPrimitiveType>::Native {
    <Float16Type as ArrowPrimitiveType>::Native::from_f32(value)
}

fn decimals() -> Result<Vec<Sample>, ArrowError> {
    let nines = 10i128.pow(38) - 1;
    let wide = i256::from_string(&"9".repeat(76)).unwrap_or(i256::MAX);
    Ok(vec![
        Sample::new(
            "decimal32(9,2)",
            Decimal32Array::from(vec![Some(0), None, Some(-5), Some(999_999_999)])
                .with_precision_and_scale(9, 2)?,
        ),
        Sample::new(
            "decimal64(18,4)",
            Decimal64Array::from(vec![Some(0), None, Some(-50_000), Some(999_999_999_999_999_999)])
                .with_precision_and_scale(18, 4)?,
        ),
        Sample::new(
            "decimal128(38,10)",
            Decimal128Array::from(vec![
                Some(0),
                None,
                Some(1),
                Some(nines),
                Some(-nines),
                Some(10_000_000_000),
            ])
            .with_precision_and_scale(38, 10)?,
        ),
        Sample::new(
            "decimal128(10,0)",
            Decimal128Array::from(vec![Some(0), None, Some(9_999_999_999)])
                .with_precision_and_scale(10, 0)?,
        ),
        Sample::new(
            "decimal128(5,-2)",
            Decimal128Array::from(vec![Some(0), None, Some(12_345)]).with_precision_and_scale(5, -2)?,
        ),
        Sample::new(
            "decimal256(76,20)",
            Decimal256Array::from(vec![
                Some(i256::ZERO),
                None,
                Some(i256::ONE),
                Some(wide),
                Some(wide.wrapping_neg()),
            ])
            .with_precision_and_scale(76, 20)?,
        ),
        Sample::new(
            "numeric text",
            StringViewArray::from(vec![
                Some("0"),
                None,
                Some("-12345678901234567890123456789012345678901234567890123456789012345678901234567890.5"),
                Some("0.000000000000000000000000000000000000001"),
            ]),
        )
        .annotated(annotation::LOGICAL, annotation::LOGICAL_NUMERIC),
    ])
}

const TEXTS: [Option<&str>; 13] = [
    Some(""),
    None,
    Some("plain"),
    Some("NULL"),
    Some("\\N"),
    Some("tab\tnew\nline\r\nreturn\r\"quote\" 'single' \\ back, comma; semi"),
    Some(" lead and trail "),
    Some("ünïcödé 日本語 😀 e\u{301}"),
    Some("\u{feff}bom"),
    Some("\u{1}\u{2}\u{7f}\u{80}\u{fffd}\u{10ffff}"),
    Some("{\"json\": [1]}"),
    Some("2013-02-30"),
    Some("a string that is longer than a view holds in place, twelve bytes"),
];

const BYTES: [Option<&[u8]>; 6] = [
    Some(b""),
    None,
    Some(b"\x00\x01\xff\xfe"),
    Some(b"\\x00"),
    Some(b"\xc3\x28 not utf-8"),
    Some(b"bytes that are longer than a view holds in place"),
];

fn texts_and_bytes() -> Result<Vec<Sample>, ArrowError> {
    let dictionary: DictionaryArray<Int32Type> = TEXTS.iter().copied().collect();
    let fixed = |items: &[Option<[u8; 4]>]| {
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(items.iter().copied(), 4)
    };
    let uuids = [Some([0u8; 16]), None, Some([255; 16]), Some(*b"0123456789abcdef")];
    let mut all = vec![
        Sample::new("text view", TEXTS.iter().copied().collect::<StringViewArray>())
            .special("NUL", StringViewArray::from(vec!["a\0b"]))
            .special("only NUL", StringViewArray::from(vec!["\0"])),
        Sample::new("text", TEXTS.iter().copied().collect::<StringArray>()),
        Sample::new("large text", TEXTS.iter().copied().collect::<LargeStringArray>()),
        Sample::new("dictionary text", dictionary),
        Sample::new("bytes view", BYTES.iter().copied().collect::<BinaryViewArray>()),
        Sample::new("bytes", BYTES.iter().copied().collect::<BinaryArray>()),
        Sample::new("large bytes", BYTES.iter().copied().collect::<LargeBinaryArray>()),
        Sample::new(
            "fixed bytes",
            fixed(&[Some(*b"\0\0\0\0"), None, Some(*b"\xff\0\x27\x22")])?,
        ),
        Sample::new(
            "uuid",
            FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids.into_iter(), 16)?,
        )
        .annotated(annotation::EXTENSION, annotation::EXTENSION_UUID),
        Sample::new("null", NullArray::new(3)),
    ];
    let documents = vec![
        Some("{}"),
        None,
        Some("null"),
        Some("[1,2,{\"a\":null}]"),
        Some("\"text\""),
        Some("{\"z\":1,\"a\":{\"b\":[true,false]},\"ü\":\"😀\"}"),
        Some("12345678901234567890123456789"),
    ];
    let json = Sample::new("json", StringViewArray::from(documents));
    all.push(json.annotated(annotation::EXTENSION, annotation::EXTENSION_JSON));
    Ok(all)
}

/// 0001-01-01 and 9999-12-31 as days.
const FIRST_DAY: i32 = -719_162;
const LAST_DAY: i32 = 2_932_896;
const DAY: i64 = 86_400;

fn times() -> Vec<Sample> {
    let mut all = dates_and_clocks();
    all.extend(timestamps());
    all.extend(spans());
    all
}

fn dates_and_clocks() -> Vec<Sample> {
    let date64: Vec<_> = [Some(0), None, Some(FIRST_DAY), Some(LAST_DAY)]
        .map(|d| d.map(|d| i64::from(d) * DAY * 1000))
        .to_vec();
    vec![
        Sample::new(
            "date32",
            Date32Array::from(vec![Some(0), None, Some(-1), Some(FIRST_DAY), Some(LAST_DAY)]),
        )
        .special("year 0", Date32Array::from(vec![FIRST_DAY - 1]))
        .special("year 10000", Date32Array::from(vec![LAST_DAY + 1]))
        .special("first", Date32Array::from(vec![i32::MIN]))
        .special("last", Date32Array::from(vec![i32::MAX])),
        Sample::new("date64", Date64Array::from(date64)),
        Sample::new(
            "time32 seconds",
            Time32SecondArray::from(vec![Some(0), None, Some(86_399)]),
        ),
        Sample::new(
            "time32 milliseconds",
            Time32MillisecondArray::from(vec![Some(0), None, Some(86_399_999)]),
        ),
        Sample::new(
            "time64 microseconds",
            Time64MicrosecondArray::from(vec![Some(0), None, Some(86_399_999_999)]),
        ),
        Sample::new(
            "time64 nanoseconds",
            Time64NanosecondArray::from(vec![Some(0), None, Some(86_399_999_999_000)]),
        )
        .special("below a microsecond", Time64NanosecondArray::from(vec![1])),
    ]
}

fn timestamps() -> Vec<Sample> {
    let (first, last) = (i64::from(FIRST_DAY) * DAY, i64::from(LAST_DAY) * DAY + DAY - 1);
    let seconds = vec![Some(0), None, Some(-1), Some(first), Some(last)];
    let scaled = |factor: i64| -> Vec<Option<i64>> {
        let mut all: Vec<_> = seconds.iter().map(|s| s.map(|s| s * factor)).collect();
        all.push(Some(1_356_998_400 * factor + factor / 4));
        all
    };
    let nanos = vec![Some(0), None, Some(-1_000), Some(1_356_998_400_123_456_000)];
    let micros = || TimestampMicrosecondArray::from(scaled(1_000_000));
    vec![
        Sample::new("timestamp seconds", TimestampSecondArray::from(seconds.clone())),
        Sample::new(
            "timestamp milliseconds",
            TimestampMillisecondArray::from(scaled(1_000)),
        ),
        Sample::new("timestamp", micros())
            .special("first", TimestampMicrosecondArray::from(vec![i64::MIN]))
            .special("last", TimestampMicrosecondArray::from(vec![i64::MAX]))
            .special(
                "before the year 1",
                TimestampMicrosecondArray::from(vec![first * 1_000_000 - 1]),
            ),
        Sample::new(
            "timestamp nanoseconds",
            TimestampNanosecondArray::from(nanos.clone()),
        )
        .special("below a microsecond", TimestampNanosecondArray::from(vec![1])),
        Sample::new("instant", micros().with_timezone("UTC")).special(
            "last",
            TimestampMicrosecondArray::from(vec![i64::MAX]).with_timezone("UTC"),
        ),
        Sample::new("instant of a place", micros().with_timezone("Europe/Paris")),
        Sample::new(
            "instant nanoseconds",
            TimestampNanosecondArray::from(nanos).with_timezone("UTC"),
        ),
    ]
}

fn spans() -> Vec<Sample> {
    vec![
        Sample::new(
            "duration",
            DurationMicrosecondArray::from(vec![Some(0), None, Some(-1), Some(90_061_000_001)]),
        )
        .special("last", DurationMicrosecondArray::from(vec![i64::MAX])),
        Sample::new(
            "interval of months",
            IntervalYearMonthArray::from(vec![Some(0), None, Some(14), Some(-1)]),
        ),
        Sample::new(
            "interval of days",
            IntervalDayTimeArray::from(vec![
                Some(IntervalDayTime::new(0, 0)),
                None,
                Some(IntervalDayTime::new(-3, 250)),
            ]),
        ),
        Sample::new(
            "interval",
            IntervalMonthDayNanoArray::from(vec![
                Some(IntervalMonthDayNano::new(0, 0, 0)),
                None,
                Some(IntervalMonthDayNano::new(14, -3, 1_000)),
                Some(IntervalMonthDayNano::new(0, 1, -86_400_000_000_000)),
            ]),
        ),
    ]
}

fn nested() -> Result<Vec<Sample>, ArrowError> {
    let lists = || {
        vec![
            Some(vec![Some(1), None, Some(i32::MIN)]),
            None,
            Some(vec![]),
            Some(vec![None]),
        ]
        .into_iter()
        .map(|list| list.map(|items: Vec<Option<i32>>| items))
    };
    let pairs = vec![Some(vec![Some(1), None]), None, Some(vec![Some(3), Some(4)])];
    let text: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some("a"),
        None,
        Some("c \"q\", \\ {}"),
    ]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
    let fields = Fields::from(vec![
        Field::new("text", DataType::Utf8View, true),
        Field::new("number", DataType::Int64, true),
    ]);
    let validity = NullBuffer::from(vec![true, false, true]);
    let structure = StructArray::try_new(fields, vec![Arc::clone(&text), number], Some(validity))?;
    let item = Arc::new(Field::new("item", DataType::Utf8View, true));
    let text_list = ListArray::try_new(item, OffsetBuffer::new(vec![0, 2, 2, 3].into()), text, None)?;
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    map.keys().append_value("a");
    map.values().append_value(1);
    map.keys().append_value("b");
    map.values().append_null();
    map.append(true)?;
    map.append(false)?;
    map.append(true)?;
    Ok(vec![
        Sample::new(
            "list of int32",
            ListArray::from_iter_primitive::<Int32Type, _, _>(lists()),
        ),
        Sample::new(
            "large list of int32",
            LargeListArray::from_iter_primitive::<Int32Type, _, _>(lists()),
        ),
        Sample::new(
            "fixed list of int32",
            FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(pairs, 2),
        ),
        Sample::new("list of text", text_list),
        Sample::new("struct", structure),
        Sample::new("map", map.finish()),
    ])
}
