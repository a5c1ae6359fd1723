//! PostgreSQL → Arrow → PostgreSQL: every built-in type with its extremes and NULL comes back bit for bit.
//!
//! Compared in SQL by the server itself, through text where equality would overlook something.

use synqx_model::Code;
use synqx_model::spec::WriteMode;
use synqx_sdk::Role;

use crate::database::{Database, SERVERS, read_all, rows, target, write};

const TYPES: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "32767"]),
    ("int4", &["-2147483648", "2147483647"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    ("oid", &["0", "4294967295"]),
    (
        "float4",
        &["'NaN'", "'-Infinity'", "'1e-45'", "3.4028235e38", "'-0'"],
    ),
    (
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'5e-324'",
            "1.7976931348623157e308",
            "'-0'",
            "0.1",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "0.000",
            "-1.50",
            "'NaN'",
            "1e100",
            "1e-100",
            "123456789012345678901234567890.0123456789",
        ],
    ),
    ("numeric(12,2)", &["9999999999.99", "-0.01", "0"]),
    (
        "numeric(38,10)",
        &["9999999999999999999999999999.9999999999", "-0.0000000001"],
    ),
    (
        "numeric(60,20)",
        &[
            "9999999999999999999999999999999999999999.99999999999999999999",
            "-1",
        ],
    ),
    (
        "text",
        &[
            "''",
            "'a'",
            "'é🚀'",
            "repeat('x', 100000)",
            "E'tab\\tline\\n\\\\.'",
        ],
    ),
    ("varchar(5)", &["'abcde'", "''"]),
    ("char(5)", &["'ab'", "''"]),
    ("name", &["'pg_class'"]),
    (
        "bytea",
        &["''", "'\\x00ff'", "'\\x0102030405060708090a0b0c0d0e0f10'"],
    ),
    (
        "date",
        &[
            "'4713-01-01 BC'",
            "'5874897-12-31'",
            "'0001-01-01'",
            "'2024-02-29'",
        ],
    ),
    ("time", &["'00:00:00'", "'23:59:59.999999'"]),
    ("timetz", &["'23:59:59.999999+15:59'", "'24:00:00-15:59'"]),
    (
        "timestamp",
        &[
            "'4713-01-01 00:00:00 BC'",
            "'290000-12-31 23:59:59.999999'",
            "'1969-12-31 23:59:59.999999'",
        ],
    ),
    (
        "timestamptz",
        &["'4713-01-02 00:00:00+00 BC'", "'2024-03-31 01:30:00+00'"],
    ),
    ("timestamp(3)", &["'2024-01-01 00:00:00.123'"]),
    (
        "interval",
        &[
            "'1 year 2 mons -3 days 04:05:06.789'",
            "'-178000000 years'",
            "'200000:00:00'",
        ],
    ),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    ("json", &["'{\"a\" : 1, \"a\":2}'", "'[]'", "'\"x\"'"]),
    ("jsonb", &["'{\"b\": 1.50, \"a\": null}'", "'1e30'"]),
    ("money", &["'-92233720368547758.08'", "'92233720368547758.07'"]),
    ("inet", &["'192.168.0.1/24'", "'::1'"]),
    ("cidr", &["'10.0.0.0/8'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("bit(5)", &["B'10101'"]),
    ("bit varying(9)", &["B'1'", "B''"]),
    ("int4range", &["'[1,5)'", "'empty'", "'(,)'"]),
    ("tstzrange", &["'[2024-01-01 00:00+00,infinity)'"]),
    ("point", &["'(1.5,-2)'"]),
    ("polygon", &["'((0,0),(1,1),(1,0))'"]),
    ("tsvector", &["'a:1 b:2A'"]),
    ("pg_lsn", &["'16/B374D848'"]),
    ("xml", &["'<a>1</a>'"]),
    ("jsonpath", &["'$.a[*]'"]),
    ("\"char\"", &["'x'"]),
    ("mood", &["'happy'", "'it''s; ok'"]),
    ("positive", &["1", "2147483647"]),
    ("pair", &["'(1,\"a b\")'"]),
    ("int4[]", &["'{}'", "'{1,NULL,3}'"]),
    ("text[]", &["'{\"a,b\",NULL,\"\"}'"]),
    ("numeric(5,1)[]", &["'{1.5,-9999.9}'"]),
    ("numeric[]", &["'{NaN,1e50,0.00}'"]),
    ("uuid[]", &["'{00000000-0000-0000-0000-00000000000a}'"]),
    ("timestamptz[]", &["'{2024-01-01 00:00+00}'"]),
    ("bool[]", &["'{t,f,NULL}'"]),
    ("mood[]", &["'{happy,NULL}'"]),
    ("inet[]", &["'{10.0.0.1}'"]),
    ("float8[]", &["'{NaN,-0,1e300}'"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_type_comes_back_bit_for_bit() {
    for server in SERVERS {
        let db = Database::new(server).await;
        db.run("CREATE TYPE mood AS ENUM ('happy', 'it''s; ok'); CREATE DOMAIN positive AS int CHECK (value > 0); CREATE TYPE pair AS (a int, b text)").await;
        let columns: Vec<String> = TYPES
            .iter()
            .enumerate()
            .map(|(i, (t, _))| format!("c{i} {t}"))
            .collect();
        db.run(&format!(
            "CREATE TABLE src (id int PRIMARY KEY, {})",
            columns.join(", ")
        ))
        .await;
        let most = TYPES.iter().map(|t| t.1.len()).max().expect("types");
        for row in 0..=most {
            let values: Vec<&str> = TYPES
                .iter()
                .map(|(_, v)| v.get(row).copied().unwrap_or("NULL"))
                .collect();
            db.run(&format!("INSERT INTO src VALUES ({row}, {})", values.join(", ")))
                .await;
        }
        let connection = db.open(Role::Source);
        let (schema, batches) = read_all(&*connection, "src").await.expect("reads");
        assert_eq!(rows(&batches), most + 1);
        let destination = db.open(Role::Destination);
        let mut fresh = target("copy", WriteMode::Append, schema);
        fresh.source_key = vec!["id".into()];
        let receipt = write(&*destination, &fresh, &batches).await.expect("writes");
        assert_eq!(receipt.inserted, most as u64 + 1);
        for (i, (native, _)) in TYPES.iter().enumerate() {
            let different = db
                .count(&format!("src s FULL JOIN copy c USING (id) WHERE s.c{i}::text COLLATE \"C\" IS DISTINCT FROM c.c{i}::text COLLATE \"C\""))
                .await;
            assert_eq!(different, 0, "{native} on {server}");
        }
        let shape = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull::text, ',' ORDER BY attnum) \
                     FROM pg_attribute WHERE attnum > 0 AND attrelid = '{}'::regclass";
        assert_eq!(
            db.text(&shape.replace("{}", "src")).await,
            db.text(&shape.replace("{}", "copy")).await
        );
        // A second copy changes nothing: an upsert sees every row as equal.
        let mut again = target("copy", WriteMode::Upsert, batches[0].schema());
        again.key = vec!["id".into()];
        let receipt = write(&*destination, &again, &batches).await.expect("upserts");
        assert_eq!(
            (receipt.inserted, receipt.updated, receipt.unchanged),
            (0, 0, most as u64 + 1)
        );
        db.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrow_cannot_hold_stops_with_the_column() {
    let db = Database::new("postgres15").await;
    for (native, value) in [
        ("date", "'infinity'"),
        ("timestamptz", "'-infinity'"),
        ("time", "'24:00:00'"),
        ("numeric(5,2)", "'NaN'"),
        ("int4[]", "'{{1,2},{3,4}}'"),
        ("int4[]", "'[0:1]={1,2}'"),
    ] {
        db.run(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t (\"the column\" {native}); INSERT INTO t VALUES ({value})"
        ))
        .await;
        let error = read_all(&*db.open(Role::Source), "t").await.expect_err("refused");
        assert_eq!(error.code(), Code::E0208, "{native} {value}");
        assert!(error.message().contains("`the column`") && error.hint().is_some());
    }
    db.close().await;
}
