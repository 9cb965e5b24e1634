//! Durations in Go's syntax (`15s`, `1m30s`, `1.5h`), which specs and flags use.

use std::time::Duration;

/// Reads a duration. `0` needs no unit.
///
/// # Errors
/// A text for the user, without the name of the field, when it is no duration or is negative.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration; write it like 15s, 1m30s or 2h");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let part = scaled(number, nanoseconds(unit).ok_or_else(wrong)?).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = next;
    }
    Ok(total)
}

/// Writes a duration as Go does: `1h0m0s`, `1m30s`, `15s`, `0s`; below a second in fractions of one.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut out = String::new();
    if hours > 0 {
        out.push_str(&format!("{hours}h"));
    }
    if seconds >= 60 {
        out.push_str(&format!("{minutes}m"));
    }
    let fraction = format!("{:09}", duration.subsec_nanos());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    out.push_str(&format!("{}{dot}{fraction}s", seconds % 60));
    out
}

/// `number` (digits with at most one point) times `unit` nanoseconds; `None` if it is no number or too large.
fn scaled(number: &str, unit: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = whole.checked_mul(unit)?;
    let below = fraction
        .bytes()
        .take(13)
        .fold((0, unit), |(sum, place), digit| (sum + u64::from(digit - b'0') * place / 10, place / 10));
    Some(Duration::from_nanos(nanos.checked_add(below.0)?))
}

fn nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_like_in_go() {
        for (text, written) in [
            ("15s", "15s"),
            ("1m30s", "1m30s"),
            ("90s", "1m30s"),
            ("1h", "1h0m0s"),
            ("1.5h", "1h30m0s"),
            (".5s", "0.5s"),
            ("100ms", "0.1s"),
            ("0", "0s"),
            ("+2s", "2s"),
        ] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Ok(written), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "15", "s", "-1s", "1x", "1 s", "1..5s", ".s", "9999999999999h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
