//! Lanes from PostgreSQL to PostgreSQL: undecoded, typed, and over a wide table of many types.
//!
//! The limit is two `psql` and a pipe: the server's own binary COPY with nothing in between. It is not the fastest way to
//! copy a table inside one server (that is CREATE TABLE AS), which no tool between two servers can take.

use super::super::lane::{Bar, Check, Content, Contestant, Lane, Step};
use super::super::tool::Tool;
use super::{COUNT_LINEITEM, EMPTY_LINEITEM, LINEITEM, NOTHING_THERE, PRICED, ingestr, pipeline, sling};

pub(super) const LANES: &[Lane] = &[RAW, TYPED, WIDE];

const EMPTY_PRICED: &str = "create table out.priced (like lineitem including all, net numeric(38,4))";

const RAW: Lane = Lane {
    name: "pg-pg-raw",
    work: "PostgreSQL to PostgreSQL: all of lineitem, no transform.",
    rows: COUNT_LINEITEM,
    setup: &[],
    reference: "psql binary pipe",
    contestants: &[
        Contestant {
            name: "psql binary pipe",
            tool: Tool::Psql,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: "\"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy lineitem to stdout (format binary)' | \
                      \"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy out.lineitem from stdin (format binary)'",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "synqx direct",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: pipeline!("pg-pg-raw-direct.yaml"),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "synqx fresh",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("pg-pg-raw-fresh.yaml"),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "ingestr",
            tool: Tool::Ingestr,
            reset: &[NOTHING_THERE],
            command: ingestr!(
                "--source-uri \"$BENCH_PG_URL\" --source-table public.lineitem \
                      --dest-uri \"$BENCH_PG_URL\" --dest-table out.lineitem"
            ),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "sling",
            tool: Tool::Sling,
            reset: &[NOTHING_THERE],
            command: sling!(
                "--src-conn \"$BENCH_PG_URL\" --src-stream public.lineitem \
                      --tgt-conn \"$BENCH_PG_URL\" --tgt-object out.lineitem --mode full-refresh"
            ),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "dlt (connectorx)",
            tool: Tool::Dlt,
            reset: &[NOTHING_THERE],
            command: "exec \"$BENCH_HOME\"/venv-dlt/bin/python benches/peers/dlt_postgres.py lineitem",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "duckdb (postgres)",
            tool: Tool::DuckdbPostgres,
            reset: &[NOTHING_THERE],
            command: "exec \"$BENCH_HOME\"/venv-duckdb14/bin/python benches/peers/duckdb_postgres.py \
                      'create table pg.out.lineitem as from pg.public.lineitem'",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "adbc",
            tool: Tool::Adbc,
            reset: &[NOTHING_THERE],
            command: "exec \"$BENCH_HOME\"/venv-arrow/bin/python benches/peers/adbc_postgres.py \
                      'select * from lineitem' lineitem",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
    ],
    bars: &[
        Bar::Wall {
            of: "synqx direct",
            times: 1.05,
            plus_ms: 0.0,
        },
        Bar::Wall {
            of: "synqx fresh",
            times: 1.05,
            plus_ms: 0.0,
        },
        Bar::Cpu { of: "synqx direct" },
        Bar::Cpu { of: "synqx fresh" },
    ],
};

const TYPED: Lane = Lane {
    name: "pg-pg-typed",
    work: "PostgreSQL to PostgreSQL: lineitem with a filter (about 94 % stay) and a derived column. The server \
           computes both for the pipe; SynqX pushes the filter down and computes the column itself.",
    rows: "select count(*) from lineitem where l_quantity < 48",
    setup: &[],
    reference: "psql binary pipe",
    contestants: &[
        Contestant {
            name: "psql binary pipe",
            tool: Tool::Psql,
            reset: &[NOTHING_THERE, EMPTY_PRICED],
            command: "\"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy (select *, l_extendedprice * (1 - l_discount) \
                      from lineitem where l_quantity < 48) to stdout (format binary)' | \
                      \"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy out.priced from stdin (format binary)'",
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "synqx direct",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE, EMPTY_PRICED],
            command: pipeline!("pg-pg-typed-direct.yaml"),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "synqx fresh",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("pg-pg-typed-fresh.yaml"),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "synqx staged",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE, EMPTY_PRICED],
            command: pipeline!("pg-pg-typed-staged.yaml"),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "ingestr",
            tool: Tool::Ingestr,
            reset: &[NOTHING_THERE],
            command: ingestr!(
                "--source-uri \"$BENCH_PG_URL\" --source-table 'query:select *, (l_extendedprice * (1 - l_discount))\
                      ::numeric(38,4) as net from lineitem where l_quantity < 48' \
                      --dest-uri \"$BENCH_PG_URL\" --dest-table out.priced"
            ),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "sling",
            tool: Tool::Sling,
            reset: &[NOTHING_THERE],
            command: sling!(
                "--src-conn \"$BENCH_PG_URL\" --src-stream 'select *, (l_extendedprice * (1 - l_discount))\
                      ::numeric(38,4) as net from public.lineitem where l_quantity < 48' \
                      --tgt-conn \"$BENCH_PG_URL\" --tgt-object out.priced --mode full-refresh"
            ),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "duckdb (postgres)",
            tool: Tool::DuckdbPostgres,
            reset: &[NOTHING_THERE],
            command: "exec \"$BENCH_HOME\"/venv-duckdb14/bin/python benches/peers/duckdb_postgres.py \
                      'create table pg.out.priced as select *, (l_extendedprice * (1 - l_discount))::decimal(38,4) as net \
                      from pg.public.lineitem where l_quantity < 48'",
            check: Check::Table(&PRICED),
            repeat: 1,
        },
    ],
    bars: &[
        Bar::Wall {
            of: "synqx direct",
            times: 1.35,
            plus_ms: 0.0,
        },
        Bar::Wall {
            of: "synqx fresh",
            times: 1.35,
            plus_ms: 0.0,
        },
        Bar::RowsPerCpu {
            of: "synqx direct",
            least: 1_500_000.0,
        },
    ],
};

const WIDE_ROWS: Content = Content {
    wanted: "wide",
    found: "out.wide",
    columns: "id, amount, rate, placed_at, due, open, payload, tag, numbers, words, raw, note",
};

const WIDE: Lane = Lane {
    name: "pg-pg-wide",
    work: "PostgreSQL to PostgreSQL: a table of numeric, double, timestamptz, date, boolean, jsonb, uuid, two arrays, \
           bytea and text with NULLs, as many rows as orders; undecoded and typed.",
    rows: "select count(*) from wide",
    setup: &[Step::File("wide.sql")],
    reference: "psql binary pipe",
    contestants: &[
        Contestant {
            name: "psql binary pipe",
            tool: Tool::Psql,
            reset: &[NOTHING_THERE, "create table out.wide (like wide)"],
            command: "\"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy wide to stdout (format binary)' | \
                      \"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy out.wide from stdin (format binary)'",
            check: Check::Table(&WIDE_ROWS),
            repeat: 1,
        },
        Contestant {
            name: "synqx fresh",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("pg-pg-wide.yaml"),
            check: Check::Table(&WIDE_ROWS),
            repeat: 1,
        },
        Contestant {
            name: "synqx typed",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("pg-pg-wide-typed.yaml"),
            check: Check::Table(&WIDE_ROWS),
            repeat: 1,
        },
        Contestant {
            name: "ingestr",
            tool: Tool::Ingestr,
            reset: &[NOTHING_THERE],
            command: ingestr!(
                "--source-uri \"$BENCH_PG_URL\" --source-table public.wide \
                      --dest-uri \"$BENCH_PG_URL\" --dest-table out.wide"
            ),
            check: Check::Table(&WIDE_ROWS),
            repeat: 1,
        },
        Contestant {
            name: "sling",
            tool: Tool::Sling,
            reset: &[NOTHING_THERE],
            command: sling!(
                "--src-conn \"$BENCH_PG_URL\" --src-stream public.wide \
                      --tgt-conn \"$BENCH_PG_URL\" --tgt-object out.wide --mode full-refresh"
            ),
            check: Check::Table(&WIDE_ROWS),
            repeat: 1,
        },
    ],
    bars: &[
        Bar::Wall {
            of: "synqx fresh",
            times: 1.05,
            plus_ms: 0.0,
        },
        Bar::Wall {
            of: "synqx typed",
            times: 1.35,
            plus_ms: 0.0,
        },
    ],
};
