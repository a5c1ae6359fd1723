//! One column of every built-in type of PostgreSQL, with extremes, NULLs and empties: what arrives is what was there.
//!
//! Copied between servers of different versions, within one, and through a Parquet file; compared by the servers
//! themselves, with EXCEPT both ways on the printed rows, because equality overlooks scale, sign and case. What is
//! not here: values that are refused, which the connector's own tests show.

use synqx_testkit::database::ThrowAwayDatabase;
use synqx_testkit::services::Server;

use crate::setting::{options, spec, succeed};

/// What is read as it is, without any option.
const USUAL: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648", "2147483647"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    ("oid", &["0", "4294967295"]),
    (
        "real",
        &[
            "'NaN'",
            "'-Infinity'",
            "'Infinity'",
            "'1e-45'",
            "3.4028235e38",
            "'-0'",
        ],
    ),
    (
        "double precision",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'5e-324'",
            "1.7976931348623157e308",
            "'-0'",
            "0.1",
        ],
    ),
    (
        "numeric",
        &[
            "0.000",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "repeat('9', 1000)::numeric",
            "1e-1000",
            "-1.50",
            "('0.' || repeat('0', 16000) || '1')::numeric",
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
        "numeric(1000,500)",
        &["'NaN'", "1e-500", "(repeat('9', 500))::numeric"],
    ),
    ("numeric(3,-2)", &["99900", "-100", "0"]),
    ("numeric(2,5)", &["0.00099", "-0.00001"]),
    (
        "money",
        &["'-92233720368547758.08'", "'92233720368547758.07'", "0"],
    ),
    (
        "text",
        &[
            "''",
            "'é🚀'",
            "E'\\x01\\t\\n\\r\\x7f\\\\.'",
            "repeat('x', 100000)",
            "' a '",
        ],
    ),
    ("varchar(5)", &["'abcde'", "''", "'a  '"]),
    ("char(5)", &["'ab'", "''", "'abcde'"]),
    ("\"char\"", &["'x'", "''"]),
    ("name", &["'pg_class'", "''"]),
    ("public.citext", &["'MiXed'", "''"]),
    ("public.hstore", &["'a=>1, b=>NULL, \"c d\"=>\"\"'", "''"]),
    (
        "bytea",
        &["''", "'\\x00ff'", "decode(repeat('00ff', 5000), 'hex')"],
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
    ("time(2)", &["'23:59:59.99'"]),
    (
        "timetz",
        &[
            "'23:59:59.999999+15:59'",
            "'24:00:00-15:59'",
            "'00:00:00+00:00:01'",
        ],
    ),
    ("timetz(1)", &["'23:59:59.9+02'"]),
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
    ("timestamptz(0)", &["'2024-01-01 00:00:01+00'"]),
    (
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    (
        "json",
        &[
            "'{\"a\" : 1, \"a\":2}'",
            "'[]'",
            "'null'",
            "'1e400'",
            "'123456789012345678901234567890.10'",
            "(repeat('[', 500) || repeat(']', 500))::json",
        ],
    ),
    (
        "jsonb",
        &[
            "'{\"b\": 1.50, \"a\": null}'",
            "'1e400'",
            "'null'",
            "'\"\\u00e9\"'",
            "(repeat('[', 500) || repeat(']', 500))::jsonb",
        ],
    ),
    ("jsonpath", &["'$.a[*] ? (@ > 1)'"]),
    ("xml", &["'<a>1</a>'", "'text only'", "''"]),
    ("inet", &["'192.168.0.1/24'", "'::1'", "'10.0.0.1'"]),
    ("cidr", &["'10.0.0.0/8'", "'::/0'"]),
    ("macaddr", &["'08:00:2b:01:02:03'"]),
    ("macaddr8", &["'08:00:2b:01:02:03:04:05'"]),
    ("bit(5)", &["B'10101'", "B'00000'"]),
    ("bit varying(9)", &["B'1'", "B''"]),
    ("bit varying", &["repeat('10', 100)::varbit"]),
    ("int4range", &["'[1,5)'", "'empty'", "'(,)'"]),
    ("int8range", &["'[-9223372036854775808,)'"]),
    ("numrange", &["'(1.50,2.500]'", "'[NaN,NaN]'"]),
    (
        "tsrange",
        &["'[-infinity,infinity]'", "'(,\"2024-01-01 00:00\")'"],
    ),
    ("tstzrange", &["'[2024-01-01 00:00+00,infinity)'"]),
    ("daterange", &["'[4713-01-01 BC,infinity)'", "'empty'"]),
    ("int4multirange", &["'{[1,3),[5,8)}'", "'{}'"]),
    ("datemultirange", &["'{(,2020-01-01),[2021-01-01,infinity)}'"]),
    ("nummultirange", &["'{[1.10,2.20]}'"]),
    ("tsmultirange", &["'{}'"]),
    (
        "tstzmultirange",
        &["'{[2024-01-01 00:00+00,2024-01-02 00:00+00)}'"],
    ),
    ("int8multirange", &["'{[1,2)}'"]),
    ("point", &["'(1.5,-2)'", "'(NaN,Infinity)'"]),
    ("line", &["'{1,-2,3.5}'"]),
    ("lseg", &["'[(0,0),(1e-300,1)]'"]),
    ("box", &["'(1,1),(0,0)'"]),
    ("path", &["'((0,0),(1,1))'", "'[(0,0),(1,1)]'"]),
    ("polygon", &["'((0,0),(1,1),(1,0))'"]),
    ("circle", &["'<(0.1,0.2),3>'"]),
    ("tsvector", &["'a:1 b:2A ''c d'':3'", "''"]),
    ("tsquery", &["'a & !b | c:*A'", "''"]),
    ("pg_lsn", &["'16/B374D848'", "'FFFFFFFF/FFFFFFFF'"]),
    ("xid", &["'4294967295'"]),
    ("xid8", &["'18446744073709551615'"]),
    ("cid", &["'7'"]),
    ("tid", &["'(4294967295,65535)'"]),
    ("pg_snapshot", &["'10:20:10,14,15'"]),
    ("txid_snapshot", &["'10:20:10,14,15'"]),
    ("regclass", &["'pg_class'", "'0'"]),
    ("regtype", &["'int4'", "'numeric[]'"]),
    ("regproc", &["'pg_catalog.now'"]),
    ("regprocedure", &["'lower(text)'"]),
    ("regoperator", &["'+(integer,integer)'"]),
    ("regnamespace", &["'public'"]),
    ("regrole", &["'postgres'"]),
    ("regconfig", &["'english'"]),
    ("regdictionary", &["'simple'"]),
    ("regcollation", &["'\"C\"'"]),
    ("refcursor", &["'a cursor'"]),
    ("aclitem", &["'postgres=r/postgres'"]),
    ("int2vector", &["'1 -2 3'", "''"]),
    ("oidvector", &["'1 4294967295'"]),
    ("public.mood", &["'happy'", "'it''s; ok'", "''"]),
    ("public.positive", &["1", "2147483647"]),
    ("public.several", &["'{1,2}'", "'{}'"]),
    ("public.pair", &["'(1,\"a b\",\"{1,2}\")'", "'(,,)'"]),
    ("public.paired", &["'(1,\"\\\"\",\"{}\")'"]),
    ("public.span", &["'[1.5,2)'"]),
    ("integer[]", &["'{}'", "'{1,NULL,3}'"]),
    ("text[]", &["'{\"a,b\",NULL,\"\",\"NULL\",\"{\\\"}\"}'"]),
    ("numeric(5,1)[]", &["'{1.5,-9999.9}'"]),
    ("numeric[]", &["'{NaN,1e50,0.00,Infinity}'"]),
    ("uuid[]", &["'{00000000-0000-0000-0000-00000000000a}'"]),
    ("timestamptz[]", &["'{2024-01-01 00:00+00}'"]),
    ("date[]", &["'{2024-01-01,NULL}'"]),
    ("bytea[]", &["array['\\x00'::bytea, '', NULL]"]),
    ("jsonb[]", &["array['{\"a\": 1}'::jsonb, 'null', NULL]"]),
    ("boolean[]", &["'{t,f,NULL}'"]),
    ("float8[]", &["'{NaN,-0,1e300}'"]),
    ("varchar(3)[]", &["'{abc}'"]),
    ("public.mood[]", &["'{happy,NULL}'"]),
    ("public.positive[]", &["'{1,2}'"]),
    ("public.pair[]", &["array[row(1,'x','{1}')::public.pair, NULL]"]),
    ("inet[]", &["'{10.0.0.1,::1/64}'"]),
    ("int4range[]", &["'{\"[1,2)\",empty}'"]),
    ("money[]", &["'{1.5,-2}'"]),
    ("xml[]", &["array['<a/>'::xml]"]),
    ("bit(3)[]", &["'{101,000}'"]),
    (
        "integer[][]",
        &[
            "'{{1,2},{3,NULL}}'",
            "'{}'",
            "'{1}'",
            "'[0:1][-1:0]={{1,2},{3,4}}'",
        ],
    ),
];

/// What only `special_values: text` carries.
const SPECIAL: &[(&str, &[&str])] = &[
    ("numeric(5,2)", &["'NaN'", "999.99", "-0.01"]),
    ("numeric(60,20)", &["'NaN'"]),
    (
        "date",
        &["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'5874897-12-31'"],
    ),
    ("time", &["'24:00:00'", "'00:00:00.000001'"]),
    ("time(0)", &["'24:00:00'"]),
    (
        "timestamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'294276-12-31 23:59:59.999999'",
            "'4713-01-01 00:00:00 BC'",
        ],
    ),
    ("timestamp(2)", &["'infinity'", "'2024-01-01 00:00:00.12'"]),
    (
        "timestamptz",
        &["'infinity'", "'-infinity'", "'294276-12-31 23:59:59.999999+00'"],
    ),
    ("timestamptz(0)", &["'-infinity'"]),
    (
        "interval",
        &[
            "'1 year 2 mons -3 days 04:05:06.789'",
            "'178000000 years'",
            "'-178000000 years'",
            "make_interval(secs => 9223372036854)",
            "make_interval(secs => -9223372036854.775807)",
            "'2147483647 days'",
            "'-0.000001 s'",
            "'00:00:00'",
        ],
    ),
    ("interval(3)", &["'-00:00:00.123'"]),
    ("interval year to month", &["'1 year 3 mons'"]),
    ("public.late", &["'infinity'"]),
    (
        "integer[]",
        &["'{{1,2},{3,NULL}}'", "'[0:1]={1,2}'", "'[-2:-1][5:5]={{1},{2}}'"],
    ),
    ("text[]", &["'{{{a},{\"b,\"}},{{NULL},{\"\"}}}'"]),
    ("date[]", &["'{infinity,-infinity,NULL}'"]),
    ("numeric(5,2)[]", &["'{NaN,1.50}'"]),
    ("timestamptz(3)[]", &["'{infinity,2024-01-01 00:00:00.123+00}'"]),
    ("interval[]", &["'{178000000 years}'"]),
    ("time[]", &["'{24:00:00}'"]),
    ("public.several", &["'[3:4]={1,2}'"]),
    ("public.mood[]", &["'{{happy},{NULL}}'"]),
];

/// Intervals without an end, of PostgreSQL 17 and newer; a domain is not relayed.
const ENDLESS: &[(&str, &[&str])] = &[
    ("interval", &["'infinity'", "'-infinity'"]),
    ("interval[]", &["'{infinity,NULL}'"]),
    ("public.positive", &["1"]),
];

const TYPES: &str = "CREATE EXTENSION citext SCHEMA public; CREATE EXTENSION hstore SCHEMA public; \
     CREATE TYPE public.mood AS ENUM ('happy', 'it''s; ok', ''); \
     CREATE DOMAIN public.positive AS int CHECK (value > 0); CREATE DOMAIN public.several AS int[]; \
     CREATE DOMAIN public.late AS timestamp(3); CREATE TYPE public.pair AS (a int, b varchar(9), c int[]); \
     CREATE DOMAIN public.paired AS public.pair; CREATE TYPE public.span AS RANGE (subtype = float8)";

pub(crate) type Columns = [(&'static str, &'static [&'static str])];

/// Makes a table of one column per type; row 0 and the last one have NULLs everywhere.
async fn make(db: &ThrowAwayDatabase, table: &str, columns: &Columns) {
    let definitions: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(i, (native, _))| format!("c{i} {native}"))
        .collect();
    let mut sql = format!(
        "CREATE TABLE {table} (id int PRIMARY KEY, {});",
        definitions.join(", ")
    );
    let rows = columns.iter().map(|c| c.1.len()).max().expect("columns");
    for row in 0..=rows {
        let values: Vec<&str> = columns
            .iter()
            .map(|(_, values)| values.get(row).copied().unwrap_or("NULL"))
            .collect();
        sql.push_str(&format!(
            "INSERT INTO {table} VALUES ({row}, {});",
            values.join(", ")
        ));
    }
    sql.push_str(&format!("INSERT INTO {table} (id) VALUES (-1)"));
    db.execute(&sql).await.expect("the table is made");
}

/// Every row of a table, printed by the server column by column.
async fn printed(db: &ThrowAwayDatabase, table: &str, columns: &Columns) -> Vec<Vec<Option<String>>> {
    let client = db.client().await.expect("connects");
    client
        .batch_execute("SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO, YMD'; SET IntervalStyle TO 'postgres'; SET search_path TO pg_catalog")
        .await
        .expect("sets");
    let list: Vec<String> = (0..columns.len()).map(|i| format!("c{i}::text")).collect();
    let sql = format!(
        "SELECT id::text, {} FROM public.{table} ORDER BY id",
        list.join(", ")
    );
    let rows = client
        .query(&sql, &[])
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    rows.iter()
        .map(|row| (0..row.len()).map(|i| row.get(i)).collect())
        .collect()
}

pub(crate) async fn compare(
    from: (&ThrowAwayDatabase, &str),
    to: (&ThrowAwayDatabase, &str),
    columns: &Columns,
) {
    let (left, right) = (
        printed(from.0, from.1, columns).await,
        printed(to.0, to.1, columns).await,
    );
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(&right) {
        for (i, (l, r)) in left.iter().zip(right).enumerate() {
            let native = i.checked_sub(1).map_or("id", |i| columns[i].0);
            assert_eq!(l, r, "{native}, row {:?}, {} → {}", left[0], from.1, to.1);
        }
    }
    let shape = "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attndims || ' ' || attnotnull::text, E'\\n' ORDER BY attnum) \
                 FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid = '{}'::regclass";
    let mut shapes = Vec::new();
    for (db, table) in [from, to] {
        let client = db.client().await.expect("connects");
        let row = client
            .query_one(&shape.replace("{}", table), &[])
            .await
            .expect("a shape");
        shapes.push(row.get::<_, String>(0));
    }
    assert_eq!(shapes[0], shapes[1], "{} → {}", from.1, to.1);
}

/// Rows of one database's table that the other table of it does not have, both ways.
pub(crate) async fn except(db: &ThrowAwayDatabase, left: &str, right: &str) -> i64 {
    let client = db.client().await.expect("connects");
    let half = |a: &str, b: &str| format!("(SELECT {a}::text FROM {a} EXCEPT SELECT {b}::text FROM {b})");
    let sql = format!(
        "SELECT count(*) FROM ({} UNION ALL {}) AS x",
        half(left, right),
        half(right, left)
    );
    client.query_one(&sql, &[]).await.expect("compares").get(0)
}

pub(crate) fn document(
    from: &ThrowAwayDatabase,
    to: &ThrowAwayDatabase,
    options: &str,
    steps: &str,
) -> String {
    format!(
        "name: t\nconnections:\n  a: {{type: postgresql, url: '{}'}}\n  b: {{type: postgresql, url: '{}'}}\n  d: {{type: local_file, path: .}}\nnodes:\n{}",
        from.url(),
        to.url(),
        steps.replace("OPTIONS", options)
    )
}

/// Typed: a filter stands between. Through a file: one run writes it, another reads it.
pub(crate) const TYPED: &str = "  s: {extract: {from: a, asset: SRC, options: {OPTIONS}}}\n  f: {filter: {input: s, where: id >= -1}}\n  o: {load: {input: f, to: b, asset: TGT}}\n";
pub(crate) const OUT: &str = "  s: {extract: {from: a, asset: SRC, options: {OPTIONS}}}\n  o: {load: {input: s, to: d, asset: SRC.parquet, write: replace}}\n";
pub(crate) const BACK: &str =
    "  s: {extract: {from: d, asset: SRC.parquet}}\n  o: {load: {input: s, to: b, asset: TGT}}\n";

pub(crate) async fn databases() -> [ThrowAwayDatabase; 2] {
    let mut made = Vec::new();
    for server in [Server::Postgres15, Server::Postgres18] {
        let db = ThrowAwayDatabase::on(server).await.expect("a database");
        db.execute(TYPES).await.expect("types");
        made.push(db);
    }
    made.try_into().expect("two")
}

/// Copies a table of these columns between servers; `relayed` says that nothing may be decoded on the way.
async fn move_about(columns: &Columns, option: &str, ways: &[(usize, usize)], relayed: bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let databases = databases().await;
    for (i, (from, to)) in ways.iter().enumerate() {
        let (from, to) = (&databases[*from], &databases[*to]);
        from.execute("DROP TABLE IF EXISTS src").await.expect("drops");
        make(from, "src", columns).await;
        let target = format!("target_{i}");
        let yaml = document(
            from,
            to,
            option,
            &TYPED.replace("SRC", "src").replace("TGT", &target),
        );
        let plan = crate::setting::engine()
            .plan(&spec(&yaml), &options(dir.path()))
            .await;
        assert_eq!(plan.expect("plans").loads[0].preparation.raw, relayed, "way {i}");
        succeed(dir.path(), &yaml).await;
        compare((from, "src"), (to, &target), columns).await;
        if from.name() == to.name() {
            assert_eq!(except(from, "src", &target).await, 0);
        }
    }
    for db in databases {
        db.discard().await.expect("drops");
    }
}

async fn through_a_file(columns: &Columns, option: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let [first, second] = databases().await;
    make(&first, "src", columns).await;
    succeed(
        dir.path(),
        &document(&first, &second, option, &OUT.replace("SRC", "src")),
    )
    .await;
    for to in [&first, &second] {
        let steps = BACK.replace("SRC", "src").replace("TGT", "back");
        succeed(dir.path(), &document(&first, to, option, &steps)).await;
        compare((&first, "src"), (to, "back"), columns).await;
    }
    assert_eq!(except(&first, "src", "back").await, 0);
    for db in [first, second] {
        db.discard().await.expect("drops");
    }
}

/// From the older server and the newer one to both.
const EVERY_WAY: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

pub(crate) const SPECIALS: &str = "special_values: text";

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_from_server_to_server_as_it_is() {
    move_about(USUAL, "", &EVERY_WAY, false).await;
}

/// Bytes are relayed from a server to one as new: no value is special then, and no option needed.
#[tokio::test(flavor = "multi_thread")]
async fn every_built_in_type_is_relayed_as_it_is() {
    let mut relayed = Vec::new();
    for (native, values) in USUAL.iter().chain(SPECIAL) {
        let own = native.contains("public.") || native.starts_with("reg");
        let own = own || ["aclitem", "tsquery", "int2vector", "oidvector"].contains(native);
        if !own {
            relayed.push((*native, *values));
        }
    }
    move_about(&relayed, "", &[(0, 0), (0, 1), (1, 1)], true).await;
    move_about(&[("aclitem", &["'postgres=r/postgres'"])], "", &[(0, 1)], false).await;
    // The server does not take back the binary forms of an empty query or vector.
    move_about(&[("tsquery", &["'a & !b'", "''"])], "", &[(0, 0)], false).await;
    move_about(&[("int2vector", &["'1 2'", "''"])], "", &[(0, 0)], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn special_values_go_from_server_to_server_as_exact_text() {
    move_about(SPECIAL, SPECIALS, &EVERY_WAY, false).await;
    move_about(ENDLESS, SPECIALS, &[(1, 1)], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_through_parquet_and_comes_back_as_it_was() {
    through_a_file(USUAL, "").await;
    through_a_file(SPECIAL, SPECIALS).await;
}

/// An interval of months, days and nanoseconds has no Parquet type: it is refused before a row moves, by name.
#[tokio::test(flavor = "multi_thread")]
async fn an_interval_is_refused_by_parquet_unless_it_is_text() {
    let dir = tempfile::tempdir().expect("a folder");
    let [first, second] = databases().await;
    make(&first, "src", &[("interval", &["'1 day'"])]).await;
    let yaml = document(&first, &second, "", &OUT.replace("SRC", "src"));
    let error = crate::setting::engine()
        .plan(&spec(&yaml), &options(dir.path()))
        .await
        .expect_err("refused");
    assert!(error.message().contains("`c0`"), "{error:?}");
    for db in [first, second] {
        db.discard().await.expect("drops");
    }
}
