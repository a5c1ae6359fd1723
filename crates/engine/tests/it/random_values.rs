//! Random values of PostgreSQL's types: from one server to another, and through a Parquet file, they stay what they were.
//!
//! The values come from proptest's strategies with a fixed seed, so a failure is the same tomorrow; the servers
//! compare. Extremes that chance does not find are in `every_type`.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::every_type::{BACK, Columns, OUT, SPECIALS, TYPED, compare, databases, document, except};
use crate::setting::succeed;

const ROWS: usize = 300;

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A text that PostgreSQL can hold.
fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>().prop_filter("NUL", |c| *c != '\0'), 0..20)
        .prop_map(|chars| chars.into_iter().collect())
}

fn digits(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(0u8..10, 1..most).prop_map(|d| d.iter().map(|d| char::from(b'0' + d)).collect())
}

fn number() -> impl Strategy<Value = String> {
    let finite = (any::<bool>(), digits(60), digits(60))
        .prop_map(|(minus, whole, part)| format!("'{}{whole}.{part}'", if minus { "-" } else { "" }));
    prop_oneof![9 => finite, 1 => Just("'NaN'".to_owned()), 1 => Just("'-Infinity'".to_owned())]
}

/// Days and microseconds PostgreSQL has, as expressions that do not go through a printed form.
fn moment(zone: &'static str) -> impl Strategy<Value = String> {
    (-210_866_803_200_000_000i64..9_223_372_036_000_000_000).prop_map(move |micros| {
        let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
        let (days, seconds) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        format!("'1970-01-01'::timestamp{zone} + make_interval(days => {days}, secs => {seconds}) + interval '{rest} us'")
    })
}

fn array_of(item: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let item = prop_oneof![4 => item, 1 => Just("NULL".to_owned())];
    prop::collection::vec(item, 0..6)
        .prop_map(|items| format!("ARRAY[{}]", items.join(", ")))
        .boxed()
}

type Made = (&'static str, BoxedStrategy<String>);

/// Numbers, texts and bytes, which are read without an option.
fn plain() -> Vec<Made> {
    vec![
        ("bigint", any::<i64>().prop_map(|n| format!("'{n}'")).boxed()),
        ("smallint", any::<i16>().prop_map(|n| format!("'{n}'")).boxed()),
        (
            "double precision",
            any::<u64>().prop_map(|bits| float(f64::from_bits(bits))).boxed(),
        ),
        (
            "real",
            any::<u32>().prop_map(|bits| float(f32::from_bits(bits))).boxed(),
        ),
        ("numeric", number().boxed()),
        (
            "numeric(30,10)",
            (any::<i64>(), 0u64..10_000_000_000)
                .prop_map(|(n, p)| format!("'{n}.{p:010}'"))
                .boxed(),
        ),
        (
            "numeric(70,20)",
            (digits(50), digits(20))
                .prop_map(|(n, p)| format!("'-{n}.{p}'"))
                .boxed(),
        ),
        ("text", words().prop_map(|t| quoted(&t)).boxed()),
        (
            "bytea",
            prop::collection::vec(any::<u8>(), 0..40)
                .prop_map(|b| format!("'\\x{}'", hex(&b)))
                .boxed(),
        ),
    ]
}

/// What else is read without an option.
fn composed() -> Vec<Made> {
    vec![
        (
            "date",
            (-2_440_588i32..2_145_031_949)
                .prop_map(|d| format!("'1970-01-01'::date + ({d})"))
                .boxed(),
        ),
        (
            "time",
            (0i64..86_400_000_000)
                .prop_map(|us| format!("'00:00'::time + interval '{us} us'"))
                .boxed(),
        ),
        ("timestamp", moment("").boxed()),
        ("timestamptz", moment("tz").boxed()),
        (
            "timetz",
            (0i64..86_400_000_000, -57_599i32..57_600)
                .prop_map(|(us, z)| {
                    format!("timezone(make_interval(secs => {z}), '00:00+00'::timetz) + interval '{us} us'")
                })
                .boxed(),
        ),
        ("uuid", any::<u128>().prop_map(|n| format!("'{n:032x}'")).boxed()),
        (
            "json",
            words()
                .prop_map(|t| format!("json_build_object({0}::text, {0}::text, 'n', 1e300)", quoted(&t)))
                .boxed(),
        ),
        (
            "jsonb",
            (words(), number())
                .prop_map(|(t, n)| {
                    let n = if n.contains("NaN") || n.contains("Inf") {
                        "NULL".to_owned()
                    } else {
                        format!("{n}::numeric")
                    };
                    format!("jsonb_build_array({}::text, {n}, NULL)", quoted(&t))
                })
                .boxed(),
        ),
        (
            "inet",
            (any::<u32>(), 0u8..=32)
                .prop_map(|(n, m)| format!("'{}/{m}'", std::net::Ipv4Addr::from(n)))
                .boxed(),
        ),
        (
            "bit varying",
            prop::collection::vec(0u8..2, 0..50)
                .prop_map(|b| format!("B'{}'", b.iter().map(u8::to_string).collect::<String>()))
                .boxed(),
        ),
        (
            "int8range",
            (any::<i32>(), any::<u32>())
                .prop_map(|(a, n)| format!("int8range({a}, {}, '[]')", i64::from(a) + i64::from(n)))
                .boxed(),
        ),
        ("text[]", array_of(words().prop_map(|t| quoted(&t)).boxed())),
        ("numeric[]", array_of(number().boxed())),
        (
            "bigint[]",
            array_of(any::<i64>().prop_map(|n| format!("'{n}'::bigint")).boxed()),
        ),
    ]
}

/// What needs `special_values: text`.
fn special() -> Vec<Made> {
    let endless = || Just("'-infinity'".to_owned());
    vec![
        ("interval", (any::<i32>(), any::<i32>(), any::<i64>()).prop_map(|(months, days, micros)| {
            let days = days.clamp(-2_000_000_000, 2_000_000_000);
            format!("make_interval(months => {}) + make_interval(days => {days}) + '{} s {} us'::interval",
                months.clamp(-2_000_000_000, 2_000_000_000), micros / 1_000_000, micros % 1_000_000)
        }).boxed()),
        ("timestamptz", prop_oneof![moment("tz"), endless()].boxed()),
        ("date[]", array_of(prop_oneof![(0i32..9_999).prop_map(|d| format!("'1970-01-01'::date + {d}")), Just("'infinity'::date".to_owned())].boxed())),
        ("numeric(30,10)", prop_oneof![any::<i64>().prop_map(|n| format!("'{n}.5'")), Just("'NaN'".to_owned())].boxed()),
        ("integer[]", (1i32..4, 1i32..4, -5i32..5).prop_map(|(a, b, low)| {
            let row = format!("{{{}}}", (0..b).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
            let rows: Vec<String> = (0..a).map(|_| row.clone()).collect();
            format!("'[{low}:{}][1:{b}]={{{}}}'", low + a - 1, rows.join(","))
        }).boxed()),
    ]
}

fn float(value: impl std::fmt::Debug + Into<f64> + Copy) -> String {
    let wide: f64 = value.into();
    if wide.is_nan() {
        "'NaN'".to_owned()
    } else if wide.is_infinite() {
        format!("'{}Infinity'", if wide < 0.0 { "-" } else { "" })
    } else {
        format!("'{value:?}'")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A table of random rows; every seventh value is NULL.
fn table(columns: &[Made], runner: &mut TestRunner) -> String {
    let definitions: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(i, c)| format!("c{i} {}", c.0))
        .collect();
    let mut sql = format!(
        "CREATE TABLE src (id int PRIMARY KEY, {});",
        definitions.join(", ")
    );
    for row in 0..ROWS {
        let values: Vec<String> = columns
            .iter()
            .enumerate()
            .map(|(i, (native, values))| {
                if (row + i) % 7 == 0 {
                    return "NULL".to_owned();
                }
                let value = values.new_tree(runner).expect("a value").current();
                let cast = if value.starts_with("ARRAY[") {
                    format!("::{native}")
                } else {
                    String::new()
                };
                value + &cast
            })
            .collect();
        sql.push_str(&format!("INSERT INTO src VALUES ({row}, {});", values.join(", ")));
    }
    sql
}

async fn come_back(mut made: Vec<Made>, option: &str) {
    // A domain is not relayed: every value is decoded and encoded.
    made.push(("public.positive", (1i32..).prop_map(|n| n.to_string()).boxed()));
    let dir = tempfile::tempdir().expect("a folder");
    let [first, second] = databases().await;
    let mut runner = TestRunner::deterministic();
    first
        .execute(&table(&made, &mut runner))
        .await
        .expect("the table is made");
    let columns: Vec<(&'static str, &'static [&'static str])> = made.iter().map(|c| (c.0, &[][..])).collect();
    let columns: &Columns = &columns;
    for (steps, target) in [(TYPED, "typed"), (OUT, ""), (BACK, "back")] {
        for to in [&first, &second] {
            let steps = steps.replace("SRC", "src").replace("TGT", target);
            succeed(dir.path(), &document(&first, to, option, &steps)).await;
            if !target.is_empty() {
                compare((&first, "src"), (to, target), columns).await;
            }
        }
        if !target.is_empty() {
            assert_eq!(except(&first, "src", target).await, 0);
        }
    }
    for db in [first, second] {
        db.discard().await.expect("drops");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_values_of_every_type_come_back() {
    come_back(plain().into_iter().chain(composed()).collect(), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn random_special_values_come_back_as_exact_text() {
    come_back(special(), SPECIALS).await;
}
