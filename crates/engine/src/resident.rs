//! The process's own memory as the operating system counts it.
//!
//! The budget counts what is accounted; this is the other side of the comparison, written into every manifest.

/// Most resident bytes of this process so far; zero where the platform does not tell.
pub(crate) fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}
