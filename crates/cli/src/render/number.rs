//! Numbers as people read them: `336,776` rows, `1.2M/s`, `4m 05s`, and the right plural.
//!
//! Bytes are `synqx_model::size::human_bytes`; everything else that is counted or timed is here.

use std::time::Duration;

/// `336776` → `336,776`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`; `word` is the singular.
pub(crate) fn plural(n: u64, word: &str) -> String {
    let end = if n == 1 { "" } else { "s" };
    format!("{} {word}{end}", count(n))
}

/// `950/s`, `12.3k/s`, `1.2M/s`.
pub(crate) fn rate(per_second: u64) -> String {
    match per_second {
        0..=999 => format!("{per_second}/s"),
        1_000..=999_999 => format!("{:.1}k/s", per_second as f64 / 1e3),
        _ => format!("{:.1}M/s", per_second as f64 / 1e6),
    }
}

/// `0.3s`, `12.4s`, `4m 05s`, `2h 07m`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=59 => format!("{:.1}s", duration.as_secs_f64()),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([plural(1, "row"), plural(2, "row")], ["1 row", "2 rows"]);
        assert_eq!(
            [rate(950), rate(12_345), rate(1_250_000)],
            ["950/s", "12.3k/s", "1.2M/s"]
        );
        let times = [300, 12_400, 245_000, 7_620_000].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(times, ["0.3s", "12.4s", "4m 05s", "2h 07m"]);
    }
}
