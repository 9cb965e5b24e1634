//! Values that the API server writes in its own way: quantities such as `500m` and `1Gi`, and times.

use jiff::Timestamp;
use serde_json::Value;

/// `1000m` and `1`, `1024Mi` and `1Gi`, `0.5` and `500m`: the API server writes quantities in its own way.
pub(super) fn same_quantity(a: &Value, b: &Value) -> bool {
    match (quantity(a), quantity(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// `1e19` and `10000000000000000000`: what is no 64-bit integer is a double to the API server, which writes it as it likes.
pub(super) fn same_number(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => !(a.is_i64() && b.is_i64()) && a.as_f64() == b.as_f64(),
        _ => false,
    }
}

/// `2026-01-01T02:00:00+02:00` and `2026-01-01T00:00:00Z`: the API server writes times in UTC, and most of them in whole seconds.
pub(super) fn same_time(declared: &Value, live: &Value) -> bool {
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    match (time(declared), time(live)) {
        (Some(declared), Some(live)) if live.subsec_nanosecond() == 0 => declared.as_second() == live.as_second(),
        (Some(declared), Some(live)) => declared.as_microsecond() == live.as_microsecond(),
        _ => false,
    }
}

/// The value of a [quantity](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/) in
/// billionths; `None` when it is no quantity.
fn quantity(value: &Value) -> Option<i128> {
    const SUFFIXES: [(&str, i128, i128); 16] = [
        ("Ki", 1 << 10, 1),
        ("Mi", 1 << 20, 1),
        ("Gi", 1 << 30, 1),
        ("Ti", 1 << 40, 1),
        ("Pi", 1 << 50, 1),
        ("Ei", 1 << 60, 1),
        ("n", 1, 1_000_000_000),
        ("u", 1, 1_000_000),
        ("m", 1, 1000),
        ("k", 1000, 1),
        ("M", 1_000_000, 1),
        ("G", 1_000_000_000, 1),
        ("T", 1_000_000_000_000, 1),
        ("P", 1_000_000_000_000_000, 1),
        ("E", 1_000_000_000_000_000_000, 1),
        ("", 1, 1),
    ];
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (number, multiply, divide) =
        SUFFIXES.iter().find_map(|(suffix, m, d)| Some((text.strip_suffix(suffix)?, *m, *d)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(multiply)?.checked_mul(1_000_000_000)?.checked_div(scale.checked_mul(divide)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_the_same_however_they_are_written() {
        for (declared, live, same) in [
            ("1e19", "10000000000000000000", true),
            ("12345678901234567890", "12345678901234567000", true),
            ("12345678901234567890.0", "12345678901234567168", true),
            ("1e19", "10000000000000002048", false),
            ("9007199254740993", "9007199254740992", false),
            ("1.5", "1.5000000000000001", true),
        ] {
            let value = |text: &str| serde_json::from_str::<Value>(text).expect("a number");
            assert_eq!(same_number(&value(declared), &value(live)), same, "{declared} {live}");
        }
    }

    #[test]
    fn spellings_of_one_time_are_equal() {
        for (declared, live, same) in [
            ("2026-01-01T02:00:00+02:00", "2026-01-01T00:00:00Z", true),
            ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00Z", true),
            ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000Z", true),
            ("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.400000Z", false),
            ("2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", false),
            ("now", "now", false),
        ] {
            assert_eq!(same_time(&declared.into(), &live.into()), same, "{declared} and {live}");
        }
    }

    #[test]
    fn spellings_of_one_quantity_are_equal() {
        for (a, b) in [("1000m", "1"), ("1024Mi", "1Gi"), ("0.5", "500m"), ("1e", "1e")] {
            assert_eq!(same_quantity(&a.into(), &b.into()), a != b, "{a} and {b}");
        }
        assert!(!same_quantity(&"1".into(), &"2".into()));
        assert!(same_quantity(&1.into(), &"1".into()) && same_quantity(&0.5.into(), &"500m".into()));
        assert!(same_quantity(&"0.123456789".into(), &"123456789n".into()));
        assert!(!same_quantity(&"0.0000000001".into(), &"0".into()), "the API server rounds it up");
    }
}
