//! Lanes from and to files: PostgreSQL to Parquet, CSV to PostgreSQL, Parquet to PostgreSQL.
//!
//! Files are compressed as each tool does by default; the size of what was written is not judged. Scripts of peers
//! are the shortest their documentation gives for data that need not fit into memory.

use super::super::lane::{Bar, Check, Contestant, Lane};
use super::super::tool::Tool;
use super::{
    COUNT_LINEITEM, EMPTY_LINEITEM, LINEITEM, LINEITEM_FILE, NOTHING_THERE, ingestr, pipeline, sling,
};

pub(super) const LANES: &[Lane] = &[TO_PARQUET, FROM_CSV, FROM_PARQUET];

const TO_PARQUET: Lane = Lane {
    name: "pg-parquet",
    work: "PostgreSQL to one Parquet file: all of lineitem.",
    rows: COUNT_LINEITEM,
    setup: &[],
    reference: "connectorx",
    contestants: &[
        Contestant {
            name: "connectorx",
            tool: Tool::Connectorx,
            reset: &[],
            command: "exec \"$BENCH_HOME\"/venv-arrow/bin/python benches/peers/connectorx_parquet.py lineitem",
            check: Check::Parquet(&LINEITEM_FILE),
            repeat: 1,
        },
        Contestant {
            name: "adbc",
            tool: Tool::Adbc,
            reset: &[],
            command: "exec \"$BENCH_HOME\"/venv-arrow/bin/python benches/peers/adbc_parquet.py lineitem",
            check: Check::Parquet(&LINEITEM_FILE),
            repeat: 1,
        },
        Contestant {
            name: "duckdb (postgres)",
            tool: Tool::DuckdbPostgres,
            reset: &[],
            command: "exec \"$BENCH_HOME\"/venv-duckdb14/bin/python benches/peers/duckdb_postgres.py \
                      'copy pg.public.lineitem to '\"'$BENCH_OUT/lineitem.parquet'\"",
            check: Check::Parquet(&LINEITEM_FILE),
            repeat: 1,
        },
        Contestant {
            name: "synqx",
            tool: Tool::Synqx,
            reset: &[],
            command: pipeline!("pg-parquet.yaml"),
            check: Check::Parquet(&LINEITEM_FILE),
            repeat: 1,
        },
    ],
    bars: &[Bar::Faster {
        of: "synqx",
        times: 1.3,
    }],
};

const FROM_CSV: Lane = Lane {
    name: "csv-pg",
    work: "CSV to PostgreSQL: lineitem with a header, into an empty table.",
    rows: COUNT_LINEITEM,
    setup: &[],
    reference: "psql copy",
    contestants: &[
        Contestant {
            name: "psql copy",
            tool: Tool::Psql,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: "exec \"$PSQL\" -X -q -d \"$BENCH_PG_URL\" \
                      -c \"\\\\copy out.lineitem from '$BENCH_DATA/lineitem.csv' (format csv, header)\"",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "synqx direct",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: pipeline!("csv-pg.yaml"),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "synqx fresh, types inferred",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("csv-pg-inferred.yaml"),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "pgloader",
            tool: Tool::Pgloader,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: "exec pgloader --type csv --with 'skip header = 1' --with \"fields terminated by ','\" \
                      \"$BENCH_DATA/lineitem.csv\" \"$BENCH_PG_URL&tablename=out.lineitem\"",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "sling",
            tool: Tool::Sling,
            reset: &[NOTHING_THERE],
            command: sling!(
                "--src-stream \"file://$BENCH_DATA/lineitem.csv\" \
                 --tgt-conn \"$BENCH_PG_URL\" --tgt-object out.lineitem --mode full-refresh"
            ),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "ingestr",
            tool: Tool::Ingestr,
            reset: &[NOTHING_THERE],
            command: ingestr!(
                "--source-uri \"csv://$BENCH_DATA/lineitem.csv\" --source-table lineitem \
                 --dest-uri \"$BENCH_PG_URL\" --dest-table out.lineitem"
            ),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "duckdb (postgres)",
            tool: Tool::DuckdbPostgres,
            reset: &[NOTHING_THERE],
            command: "exec \"$BENCH_HOME\"/venv-duckdb14/bin/python benches/peers/duckdb_postgres.py \
                      'create table pg.out.lineitem as from '\"'$BENCH_DATA/lineitem.csv'\"",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
    ],
    bars: &[Bar::Wall {
        of: "synqx direct",
        times: 1.15,
        plus_ms: 0.0,
    }],
};

const FROM_PARQUET: Lane = Lane {
    name: "parquet-pg",
    work: "Parquet to PostgreSQL: one file of lineitem, into an empty table.",
    rows: COUNT_LINEITEM,
    setup: &[],
    reference: "pyarrow + adbc",
    contestants: &[
        Contestant {
            name: "pyarrow + adbc",
            tool: Tool::Adbc,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: "exec \"$BENCH_HOME\"/venv-arrow/bin/python benches/peers/adbc_load.py lineitem",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "synqx direct",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: pipeline!("parquet-pg.yaml"),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
        Contestant {
            name: "duckdb (postgres)",
            tool: Tool::DuckdbPostgres,
            reset: &[NOTHING_THERE],
            command: "exec \"$BENCH_HOME\"/venv-duckdb14/bin/python benches/peers/duckdb_postgres.py \
                      'create table pg.out.lineitem as from '\"'$BENCH_DATA/lineitem.parquet'\"",
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
    ],
    // One and a half times faster than the reference.
    bars: &[Bar::Wall {
        of: "synqx direct",
        times: 0.667,
        plus_ms: 0.0,
    }],
};
