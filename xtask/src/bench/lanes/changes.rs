//! Lanes of changes: rows merged into a table by key, and the newest rows by a cursor.
//!
//! The hand-written upsert leaves rows alone that have not changed, as SynqX does: rewriting them would be slower. The
//! reference of the incremental lane writes nothing; the pipe beside it does what the work is.

use super::super::lane::{Bar, Check, Content, Contestant, Lane, Step};
use super::super::tool::Tool;
use super::{ingestr, pipeline, sling};

pub(super) const LANES: &[Lane] = &[UPSERT, INCREMENTAL];

const KNOWN_ORDERS: [&str; 3] = [
    super::NOTHING_THERE,
    "create table out.orders (like upsert_old including all); insert into out.orders select * from upsert_old",
    "vacuum analyze out.orders",
];

/// Half of the rows have changed, all keys were known.
const UPSERTED: Content = Content {
    wanted: "upsert_new",
    found: "out.orders",
    columns: "o_orderkey, o_custkey, rtrim(o_orderstatus), o_totalprice::numeric(15,2), o_orderdate::date, \
              rtrim(o_orderpriority), rtrim(o_clerk), o_shippriority, o_comment",
};

const UPSERT: Lane = Lane {
    name: "upsert",
    work: "PostgreSQL to PostgreSQL by key: one million rows (at scale 1) into a table that has all of their keys; \
           half of them have changed.",
    rows: "select count(*) from upsert_new",
    setup: &[Step::File("upsert.sql")],
    reference: "psql copy + on conflict",
    contestants: &[
        Contestant {
            name: "psql copy + on conflict",
            tool: Tool::Psql,
            reset: &KNOWN_ORDERS,
            command: "\"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy upsert_new to stdout (format binary)' | \
                      \"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'create temp table arrived (like out.orders)' \
                      -c 'copy arrived from stdin (format binary)' -f benches/sql/merge.sql",
            check: Check::Table(&UPSERTED),
            repeat: 1,
        },
        Contestant {
            name: "synqx",
            tool: Tool::Synqx,
            reset: &KNOWN_ORDERS,
            command: pipeline!("upsert.yaml"),
            check: Check::Table(&UPSERTED),
            repeat: 1,
        },
        Contestant {
            name: "ingestr",
            tool: Tool::Ingestr,
            reset: &KNOWN_ORDERS,
            command: ingestr!(
                "--source-uri \"$BENCH_PG_URL\" --source-table public.upsert_new \
                 --dest-uri \"$BENCH_PG_URL\" --dest-table out.orders \
                 --incremental-strategy merge --primary-key o_orderkey"
            ),
            check: Check::Table(&UPSERTED),
            repeat: 1,
        },
        Contestant {
            name: "sling",
            tool: Tool::Sling,
            reset: &KNOWN_ORDERS,
            command: sling!(
                "--src-conn \"$BENCH_PG_URL\" --src-stream public.upsert_new --tgt-conn \"$BENCH_PG_URL\" \
                 --tgt-object out.orders --mode incremental --primary-key o_orderkey"
            ),
            check: Check::Table(&UPSERTED),
            repeat: 1,
        },
    ],
    bars: &[Bar::Wall {
        of: "synqx",
        times: 1.15,
        plus_ms: 0.0,
    }],
};

/// The last hundredth, as the first run left everything before it.
const NEWEST: Content = Content {
    wanted: "(select * from cursor_source where seq > (select mark from cursor_mark)) newest",
    found: "incremental.orders",
    columns: "seq, o_orderkey, o_custkey, o_totalprice::numeric(15,2), o_orderdate::date, o_comment",
};

const AS_AFTER_THE_FIRST_RUN: &str = "truncate incremental.orders; truncate incremental._synqx_commit; \
     insert into incremental._synqx_commit select * from incremental.kept";

const INCREMENTAL: Lane = Lane {
    name: "incremental",
    work: "PostgreSQL to PostgreSQL by an indexed cursor: the newest hundredth of as many rows as lineitem has.",
    rows: "select count(*) from cursor_source where seq > (select mark from cursor_mark)",
    setup: &[
        Step::File("incremental.sql"),
        Step::Shell(pipeline!("incremental.yaml")),
        Step::File("incremental_rest.sql"),
    ],
    reference: "psql query alone",
    contestants: &[
        Contestant {
            name: "psql query alone",
            tool: Tool::Psql,
            reset: &[AS_AFTER_THE_FIRST_RUN],
            command: "exec \"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy (select * from cursor_source \
                      where seq > (select mark from cursor_mark)) to stdout (format binary)' > /dev/null",
            check: Check::Exit,
            repeat: 1,
        },
        Contestant {
            name: "psql binary pipe",
            tool: Tool::Psql,
            reset: &[AS_AFTER_THE_FIRST_RUN],
            command: "\"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy (select * from cursor_source \
                      where seq > (select mark from cursor_mark)) to stdout (format binary)' | \
                      \"$PSQL\" -X -q -d \"$BENCH_PG_URL\" -c 'copy incremental.orders from stdin (format binary)'",
            check: Check::Table(&NEWEST),
            repeat: 1,
        },
        Contestant {
            name: "synqx",
            tool: Tool::Synqx,
            reset: &[AS_AFTER_THE_FIRST_RUN],
            command: pipeline!("incremental.yaml"),
            check: Check::Table(&NEWEST),
            repeat: 1,
        },
    ],
    bars: &[Bar::Wall {
        of: "synqx",
        times: 1.2,
        plus_ms: 50.0,
    }],
};
