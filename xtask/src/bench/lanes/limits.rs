//! Lanes of limits: resident memory of one stream under a small budget, and how long it takes to begin.
//!
//! Memory is measured at scale 1 and at scale 10 (`--scale 10`, which needs tens of GB of disk); the report compares
//! the two. Beginning is measured over many starts, because one is over in milliseconds.

use super::super::lane::{Bar, Check, Contestant, Lane};
use super::super::tool::Tool;
use super::{COUNT_LINEITEM, EMPTY_LINEITEM, LINEITEM, LINEITEM_FILE, NOTHING_THERE, PRICED, pipeline};

pub(super) const LANES: &[Lane] = &[MEMORY, START];

const MOST_RESIDENT: u64 = 200_000_000;

/// Three bars' worth of the same two demands.
macro_rules! constant {
    ($of:literal) => {
        [
            Bar::Resident {
                of: $of,
                most: MOST_RESIDENT,
            },
            Bar::Growth { of: $of, times: 1.15 },
        ]
    };
}

const MEMORY: Lane = Lane {
    name: "memory",
    work: "Resident memory of one stream with `--memory 96MiB --parallel 1`, from three sources to two destinations.",
    rows: COUNT_LINEITEM,
    setup: &[],
    reference: "pg to parquet",
    contestants: &[
        Contestant {
            name: "pg to parquet",
            tool: Tool::Synqx,
            reset: &[],
            command: pipeline!("pg-parquet.yaml", " --memory 96MiB --parallel 1"),
            check: Check::Parquet(&LINEITEM_FILE),
            repeat: 1,
        },
        Contestant {
            name: "pg to pg, typed",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("pg-pg-typed-fresh.yaml", " --memory 96MiB --parallel 1"),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "csv to pg",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE, EMPTY_LINEITEM],
            command: pipeline!("csv-pg.yaml", " --memory 96MiB --parallel 1"),
            check: Check::Table(&LINEITEM),
            repeat: 1,
        },
    ],
    bars: &[
        constant!("pg to parquet")[0],
        constant!("pg to parquet")[1],
        constant!("pg to pg, typed")[0],
        constant!("pg to pg, typed")[1],
        constant!("csv to pg")[0],
        constant!("csv to pg")[1],
    ],
};

const START: Lane = Lane {
    name: "start",
    work: "How long it takes to begin: the version, and a run of one row from CSV to CSV. Median of 21 starts per run.",
    rows: "select 1",
    setup: &[],
    reference: "synqx --version",
    contestants: &[
        Contestant {
            name: "synqx --version",
            tool: Tool::Synqx,
            reset: &[],
            command: "exec \"$SYNQX\" --version > /dev/null",
            check: Check::Exit,
            repeat: 21,
        },
        Contestant {
            name: "synqx run of one row",
            tool: Tool::Synqx,
            reset: &[],
            command: pipeline!("start.yaml"),
            check: Check::Exit,
            repeat: 21,
        },
        Contestant {
            name: "ingestr --version",
            tool: Tool::Ingestr,
            reset: &[],
            command: "exec \"$BENCH_HOME\"/venv-ingestr/bin/ingestr --version > /dev/null",
            check: Check::Exit,
            repeat: 21,
        },
        Contestant {
            name: "sling --version",
            tool: Tool::Sling,
            reset: &[],
            command: "exec \"$BENCH_HOME\"/venv-sling/lib/python3*/site-packages/sling_linux_amd64/bin/sling-linux-amd64 \
                      --version > /dev/null",
            check: Check::Exit,
            repeat: 21,
        },
        Contestant {
            name: "dlt --version",
            tool: Tool::Dlt,
            reset: &[],
            command: "exec \"$BENCH_HOME\"/venv-dlt/bin/dlt --version > /dev/null",
            check: Check::Exit,
            repeat: 5,
        },
    ],
    bars: &[
        Bar::Milliseconds {
            of: "synqx --version",
            most: 15.0,
        },
        Bar::Milliseconds {
            of: "synqx run of one row",
            most: 60.0,
        },
    ],
};
