//! Lanes of computing: three queries of TPC-H over Parquet, and what twenty rules cost.
//!
//! The truth of the queries is PostgreSQL's own answer. DuckDB runs the text of `benches/sql`, Polars the same query in
//! its own words; both write one Parquet file, as SynqX does. Python starts within their time, as it does for a user.

use super::super::lane::{Bar, Check, Content, Contestant, Lane};
use super::super::tool::Tool;
use super::{COUNT_LINEITEM, NOTHING_THERE, PRICED, pipeline};

pub(super) const LANES: &[Lane] = &[Q1, Q3, Q18, QUALITY];

/// A lane of one query: DuckDB is the reference, and all are held against the best of the others.
macro_rules! query_lane {
    ($name:literal, $query:literal, $document:literal, $work:literal, $answer:expr) => {
        Lane {
            name: $name,
            work: $work,
            rows: COUNT_LINEITEM,
            setup: &[],
            reference: "duckdb",
            contestants: &[
                Contestant {
                    name: "duckdb",
                    tool: Tool::Duckdb,
                    reset: &[],
                    command: concat!(
                        "exec \"$BENCH_HOME\"/venv-arrow/bin/python benches/peers/duckdb_sql.py ",
                        $query
                    ),
                    check: Check::Parquet(&$answer),
                    repeat: 1,
                },
                Contestant {
                    name: "polars",
                    tool: Tool::Polars,
                    reset: &[],
                    command: concat!(
                        "exec \"$BENCH_HOME\"/venv-arrow/bin/python benches/peers/polars_sql.py ",
                        $query
                    ),
                    check: Check::Parquet(&$answer),
                    repeat: 1,
                },
                Contestant {
                    name: "synqx",
                    tool: Tool::Synqx,
                    reset: &[],
                    command: pipeline!($document),
                    check: Check::Parquet(&$answer),
                    repeat: 1,
                },
            ],
            bars: &[Bar::NotSlower {
                of: "synqx",
                times: 1.5,
            }],
        }
    };
}

const Q1: Lane = query_lane!(
    "sql-q1",
    "q1",
    "sql-q1.yaml",
    "TPC-H Q1 over Parquet: eight aggregates over almost all of lineitem.",
    Q1_ANSWER
);
const Q3: Lane = query_lane!(
    "sql-q3",
    "q3",
    "sql-q3.yaml",
    "TPC-H Q3 over Parquet: a join of three files, grouped, the ten greatest.",
    Q3_ANSWER
);
const Q18: Lane = query_lane!(
    "sql-q18",
    "q18",
    "sql-q18.yaml",
    "TPC-H Q18 over Parquet: orders above a quantity, a join of three files, the hundred greatest. The quantity \
     is 250 instead of 300, so that small scales have an answer.",
    Q18_ANSWER
);

const Q1_ANSWER: Content = Content {
    wanted: "q1",
    found: "answer.parquet",
    columns: "rtrim(l_returnflag), rtrim(l_linestatus), sum_qty::numeric(30,2), sum_base_price::numeric(30,2), \
              sum_disc_price::numeric(30,4), sum_charge::numeric(30,6), round(avg_qty::numeric(30,6), 3), \
              round(avg_price::numeric(30,6), 3), round(avg_disc::numeric(30,6), 4), count_order",
};
const Q3_ANSWER: Content = Content {
    wanted: "q3",
    found: "answer.parquet",
    columns: "l_orderkey, revenue::numeric(30,4), o_orderdate::date, o_shippriority",
};
const Q18_ANSWER: Content = Content {
    wanted: "q18",
    found: "answer.parquet",
    columns: "c_name, c_custkey, o_orderkey, o_orderdate::date, o_totalprice::numeric(15,2), quantity::numeric(30,2)",
};

const QUALITY: Lane = Lane {
    name: "quality",
    work: "The typed lane with twenty rules that every row passes, and without: what judging costs.",
    rows: "select count(*) from lineitem where l_quantity < 48",
    setup: &[],
    reference: "synqx without rules",
    contestants: &[
        Contestant {
            name: "synqx without rules",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("pg-pg-typed-fresh.yaml"),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
        Contestant {
            name: "synqx with 20 rules",
            tool: Tool::Synqx,
            reset: &[NOTHING_THERE],
            command: pipeline!("quality.yaml"),
            check: Check::Table(&PRICED),
            repeat: 1,
        },
    ],
    bars: &[Bar::Wall {
        of: "synqx with 20 rules",
        times: 1.1,
        plus_ms: 0.0,
    }],
};

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::workspace;

    /// DuckDB, PostgreSQL and SynqX must answer the same question.
    #[test]
    fn the_queries_have_one_text_in_all_three_places() {
        let benches = workspace::root().unwrap().join("benches");
        let words = |file: &str| {
            let text = fs::read_to_string(benches.join(file)).unwrap();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        for query in ["q1", "q3", "q18"] {
            let text = words(&format!("sql/{query}.sql"));
            let view = format!("create view {query} as {text};");
            assert!(words("sql/tables.sql").contains(&view), "{query}");
            let node = format!("sql: | {text} load:");
            assert!(
                words(&format!("pipelines/sql-{query}.yaml")).contains(&node),
                "{query}"
            );
        }
    }
}
