//! The lanes: one table per kind of work.
//!
//! A lane is a row here and nothing else: its documents are in `benches/pipelines`, its statements in `benches/sql`,
//! the scripts of its peers in `benches/peers`. Peers run with the settings their own documentation gives for bulk
//! work; what was chosen is in the command. This file holds what lanes share.

mod changes;
mod compute;
mod files;
mod limits;
mod tables;

use super::lane::{Content, Lane};

/// In the order of the report.
pub(super) fn all() -> impl Iterator<Item = &'static Lane> {
    [
        tables::LANES,
        files::LANES,
        changes::LANES,
        compute::LANES,
        limits::LANES,
    ]
    .into_iter()
    .flatten()
}

/// The destination is a schema; everything in it goes, with what SynqX and dlt remember there.
const NOTHING_THERE: &str =
    "drop schema if exists out cascade; drop schema if exists out_staging cascade; create schema out";
/// The destination has the table of the source, empty.
const EMPTY_LINEITEM: &str = "create table out.lineitem (like lineitem including all)";

const COUNT_LINEITEM: &str = "select count(*) from lineitem";

/// Columns of `lineitem`, evened out: blanks of `char(n)` and a tool's own types of numbers and dates do not count.
macro_rules! lineitem_columns {
    () => {
        "l_orderkey, l_partkey, l_suppkey, l_linenumber, l_quantity::numeric(15,2), \
         l_extendedprice::numeric(15,2), l_discount::numeric(15,2), l_tax::numeric(15,2), rtrim(l_returnflag), \
         rtrim(l_linestatus), l_shipdate::date, l_commitdate::date, l_receiptdate::date, rtrim(l_shipinstruct), \
         rtrim(l_shipmode), l_comment"
    };
}

/// `synqx run` of a document of `benches/pipelines`, with options.
macro_rules! pipeline {
    ($document:literal) => {
        pipeline!($document, "")
    };
    ($document:literal, $options:literal) => {
        concat!(
            "exec \"$SYNQX\" run benches/pipelines/",
            $document,
            " --state \"$BENCH_STATE\" --quiet",
            $options
        )
    };
}
use pipeline;

macro_rules! ingestr {
    ($arguments:literal) => {
        concat!(
            "exec \"$BENCH_HOME\"/venv-ingestr/bin/ingestr ingest --yes --progress log ",
            $arguments
        )
    };
}
use ingestr;

macro_rules! sling {
    ($arguments:literal) => {
        concat!(
            "exec \"$BENCH_HOME\"/venv-sling/lib/python3*/site-packages/sling_linux_amd64/bin/sling-linux-amd64 run ",
            $arguments
        )
    };
}
use sling;

/// All of `lineitem` in a table or a file of that name.
const LINEITEM: Content = Content {
    wanted: "lineitem",
    found: "out.lineitem",
    columns: lineitem_columns!(),
};
const LINEITEM_FILE: Content = Content {
    wanted: "lineitem",
    found: "lineitem.parquet",
    columns: lineitem_columns!(),
};

/// What the typed lane leaves of `lineitem`, and one column more.
const PRICED: Content = Content {
    wanted: "(select *, l_extendedprice * (1 - l_discount) as net from lineitem where l_quantity < 48) priced",
    found: "out.priced",
    columns: concat!(lineitem_columns!(), ", net::numeric(38,4)"),
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::lane::{Bar, Check, Step};
    use crate::workspace;

    fn subject(bar: Bar) -> &'static str {
        match bar {
            Bar::Wall { of, .. }
            | Bar::Cpu { of }
            | Bar::Faster { of, .. }
            | Bar::NotSlower { of, .. }
            | Bar::RowsPerCpu { of, .. }
            | Bar::Milliseconds { of, .. }
            | Bar::Resident { of, .. }
            | Bar::Growth { of, .. } => of,
        }
    }

    #[test]
    fn names_are_unique_and_every_reference_and_bar_names_a_contestant() {
        let names: Vec<&str> = all().map(|lane| lane.name).collect();
        for lane in all() {
            assert_eq!(
                names.iter().filter(|name| **name == lane.name).count(),
                1,
                "{}",
                lane.name
            );
            let there = |name: &str| lane.contestants.iter().any(|contestant| contestant.name == name);
            assert!(there(lane.reference), "{}", lane.name);
            for contestant in lane.contestants {
                let same = lane
                    .contestants
                    .iter()
                    .filter(|other| other.name == contestant.name);
                assert_eq!(same.count(), 1, "{}: {}", lane.name, contestant.name);
                assert!(contestant.repeat > 0, "{}: {}", lane.name, contestant.name);
            }
            for bar in lane.bars {
                assert!(there(subject(*bar)), "{}: {bar:?}", lane.name);
            }
        }
    }

    /// A command of a lane names a file that is there, and no path of a machine.
    #[test]
    fn every_document_script_and_statement_file_exists() {
        let root = workspace::root().unwrap();
        for lane in all() {
            let mut files: Vec<String> = Vec::new();
            let mut lines: Vec<&str> = lane.contestants.iter().map(|c| c.command).collect();
            for step in lane.setup {
                match step {
                    Step::File(name) => files.push(format!("benches/sql/{name}")),
                    Step::Shell(line) => lines.push(line),
                }
            }
            let words = lines.iter().flat_map(|line| line.split([' ', '\'', '<', '>']));
            files.extend(
                words
                    .filter(|word| word.starts_with("benches/"))
                    .map(str::to_owned),
            );
            for file in files {
                assert!(root.join(&file).is_file(), "{}: {file}", lane.name);
            }
        }
    }

    /// Only what leaves no rows may go unchecked.
    #[test]
    fn results_are_checked() {
        for lane in all().filter(|lane| lane.name != "start") {
            for contestant in lane.contestants {
                let unchecked = matches!(contestant.check, Check::Exit);
                let nowhere = contestant.command.ends_with("> /dev/null");
                assert_eq!(unchecked, nowhere, "{}: {}", lane.name, contestant.name);
            }
        }
    }
}
