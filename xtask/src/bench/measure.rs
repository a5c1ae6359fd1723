//! Measures one run of one command: time, CPU of everything it started, CPU of the server, resident memory.
//!
//! Wall time ends when the command is reaped. CPU time is what the kernel adds to this process for reaped
//! children, in ticks of 10 ms; processes that left the tree are added from what was last seen of them. Memory is
//! sampled every 20 ms over the process tree, so peaks shorter than that can be missed; the largest process's own
//! high-water mark is exact while it lives. Pages shared by two processes count twice. It judges no content.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Explain, Result};
use crate::process;

const SAMPLE: Duration = Duration::from_millis(20);

/// One run in figures; seconds and bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    pub(super) wall: f64,
    pub(super) cpu: f64,
    /// CPU of the PostgreSQL server in the same span: everybody's who uses it.
    pub(super) server_cpu: Option<f64>,
    /// Greatest sum of resident memory over the tree.
    pub(super) peak_tree: u64,
    /// Greatest high-water mark of a single process.
    pub(super) peak_largest: u64,
}

/// Reads the clocks of processes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    ticks: f64,
    /// The process that starts the sessions of the server.
    postmaster: Option<u32>,
}

impl Clock {
    pub(super) fn new(postmaster: Option<u32>) -> Result<Self> {
        let text = process::capture(Command::new("getconf").arg("CLK_TCK"))?;
        let ticks = text.trim().parse().explain(|| "getconf CLK_TCK".to_owned())?;
        Ok(Self { ticks, postmaster })
    }

    /// CPU seconds of children that this process has waited for, with all that they waited for.
    fn reaped(self) -> f64 {
        let times = times("self").unwrap_or_default();
        times.children as f64 / self.ticks
    }

    /// CPU seconds of the server until now: the postmaster, its dead sessions and its living children.
    fn server(self) -> Option<f64> {
        let root = self.postmaster?;
        let own = times(&root.to_string())?;
        let living: u64 = children(root)
            .into_iter()
            .filter_map(|pid| times(&pid.to_string()))
            .map(|times| times.own + times.children)
            .sum();
        Some((own.own + own.children + living) as f64 / self.ticks)
    }
}

/// Ticks of a process and of the children it has waited for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Times {
    own: u64,
    children: u64,
}

fn times(pid: &str) -> Option<Times> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 14 to 17 of proc(5) `stat`; the name in field 2 may hold blanks and parentheses.
fn parse_stat(text: &str) -> Option<Times> {
    let rest = text.rsplit_once(')')?.1;
    let fields: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    let [user, system, child_user, child_system] = fields[..] else {
        return None;
    };
    Some(Times {
        own: user + system,
        children: child_user + child_system,
    })
}

/// The direct children of a process, those of all of its threads.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

/// What sampling has seen of a process tree.
#[derive(Debug, Default)]
struct Seen {
    peak_tree: u64,
    peak_largest: u64,
    /// Own ticks of each process, as last seen.
    ticks: HashMap<u32, u64>,
}

impl Seen {
    fn look(&mut self, root: u32) {
        let (mut open, mut sum) = (vec![root], 0);
        while let Some(pid) = open.pop() {
            open.extend(children(pid));
            if let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) {
                sum += kilobytes(&status, "VmRSS:") * 1024;
                self.peak_largest = self.peak_largest.max(kilobytes(&status, "VmHWM:") * 1024);
            }
            if let Some(times) = times(&pid.to_string()) {
                self.ticks.insert(pid, times.own);
            }
        }
        self.peak_tree = self.peak_tree.max(sum);
    }
}

/// A line of proc(5) `status`, such as `VmRSS:     1234 kB`; 0 for a process that has ended.
fn kilobytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Runs to the end, or kills the whole group after `limit`. The text is why it failed, if it did.
pub(super) fn measure(
    command: &mut Command,
    clock: Clock,
    limit: Duration,
) -> Result<(Figures, Option<String>)> {
    command.process_group(0);
    let (reaped, served) = (clock.reaped(), clock.server());
    let start = Instant::now();
    let mut child = command
        .spawn()
        .explain(|| format!("cannot start `{}`", process::show(command)))?;
    let (root, done) = (child.id(), AtomicBool::new(false));
    let (status, wall, seen, killed) = thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let (mut seen, mut killed) = (Seen::default(), false);
            while !done.load(Ordering::Acquire) {
                seen.look(root);
                if start.elapsed() > limit && !killed {
                    killed = process::succeeds(&mut process::shell(
                        "kill -s KILL -- \"-$1\"",
                        &[&root.to_string()],
                    ));
                }
                thread::park_timeout(SAMPLE);
            }
            (seen, killed)
        });
        let status = child.wait();
        let wall = start.elapsed().as_secs_f64();
        done.store(true, Ordering::Release);
        sampler.thread().unpark();
        let (seen, killed) = sampler.join().unwrap_or_default();
        (status, wall, seen, killed)
    });
    let status = status.explain(|| format!("cannot wait for `{}`", process::show(command)))?;
    let looked = seen.ticks.values().sum::<u64>() as f64 / clock.ticks;
    let server_cpu = clock.server().zip(served).map(|(now, before)| now - before);
    let figures = Figures {
        wall,
        cpu: (clock.reaped() - reaped).max(looked),
        server_cpu,
        peak_tree: seen.peak_tree,
        peak_largest: seen.peak_largest,
    };
    let trouble = match (killed, status.success()) {
        (true, _) => Some(format!("killed after {} s", limit.as_secs())),
        (false, true) => None,
        (false, false) => Some(status.to_string()),
    };
    Ok((figures, trouble))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> (Figures, Option<String>) {
        let clock = Clock::new(None).unwrap();
        measure(&mut process::shell(script, &[]), clock, limit).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_times_of_a_process_are_found_behind_any_name() {
        let stat = "12 (a) b (c) S 1 12 12 0 -1 4194560 100 0 0 0 7 3 20 5 20 0 1 0 99 1 1";
        let wanted = Times {
            own: 10,
            children: 25,
        };
        assert_eq!(parse_stat(stat), Some(wanted));
        assert_eq!(parse_stat("12 (a) S 1"), None);
        assert_eq!(kilobytes("Name:\ta\nVmHWM:\t    2048 kB\n", "VmHWM:"), 2048);
        assert_eq!(kilobytes("Name:\ta\n", "VmHWM:"), 0);
    }

    /// A grandchild works: neither its CPU nor its memory may be lost.
    #[test]
    fn cpu_and_memory_of_grandchildren_are_counted() {
        let script = "sh -c 'sh -c \"i=0; while [ \\$i -lt 400000 ]; do i=\\$((i+1)); done\"; true'; true";
        let (figures, trouble) = run(script, LONG);
        assert_eq!(trouble, None);
        assert!(figures.cpu > 0.05, "{figures:?}");
        assert!(figures.wall >= figures.cpu * 0.5, "{figures:?}");
        // Three shells live at once.
        assert!(figures.peak_tree > figures.peak_largest * 3 / 2, "{figures:?}");
        assert!(figures.peak_largest > 100_000, "{figures:?}");
    }

    #[test]
    fn waiting_costs_time_and_no_cpu() {
        let (figures, trouble) = run("sleep 0.2", LONG);
        assert_eq!(trouble, None);
        assert!(figures.wall >= 0.2 && figures.cpu < 0.1, "{figures:?}");
    }

    #[test]
    fn a_command_that_fails_or_never_ends_says_so() {
        let (_, trouble) = run("exit 3", LONG);
        assert!(trouble.unwrap().contains('3'));
        let (figures, trouble) = run("sleep 600 | sleep 600", Duration::from_millis(100));
        assert!(trouble.unwrap().starts_with("killed"));
        assert!(figures.wall < 60.0);
    }
}
