//! `cargo x bench`: SynqX and its peers on the same machine, in turn, verified, in figures that can be repeated.
//!
//! A benchmark that nobody can repeat is an advertisement. So data, peers and servers are installed by script, every
//! result is compared with the source before its time counts, raw lines are kept, and the report is rendered from
//! them. How a figure is made is told in `benches/method.md`. It is not a profiler, and not part of `cargo x test`:
//! it takes minutes to hours.

mod chart;
mod content;
mod data;
mod lane;
mod lanes;
mod machine;
mod measure;
mod options;
mod place;
mod record;
mod report;
mod round;
mod summary;
mod tool;

use crate::failure::Result;
use crate::services::{self, Server, Talk};
use crate::workspace;
use options::Options;
use place::Place;

pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = Options::parse(words)?;
    if options.list {
        list(&options);
        return Ok(());
    }
    let root = workspace::root()?;
    let written = root.join("benches");
    if options.report {
        return report::write(&written, &written);
    }
    if services::url(Server::Postgres15).is_err() {
        services::up(Talk::Quiet)?;
    }
    let place = Place::new(&root, &options.scale)?;
    let synqx = round::synqx(&root)?;
    data::ensure(&place)?;
    let mut session = round::Session::new(&options, &place, synqx)?;
    for lane in &options.lanes {
        session.lane(lane)?;
    }
    let folder = place.results(options.figure());
    report::write(&folder, &written)?;
    println!("\nreport: {}", folder.join("README.md").display());
    if !options.figure() {
        println!("this was a trial: figures need --scale 1 or more and 5 runs or more");
    }
    Ok(())
}

fn list(options: &Options) {
    for lane in &options.lanes {
        println!("{}: {}", lane.name, lane.work);
        for contestant in lane.contestants {
            let mark = if contestant.name == lane.reference {
                "*"
            } else {
                " "
            };
            println!("  {mark} {:28} {}", contestant.name, contestant.command);
        }
    }
}
