//! Cells that several kinds share: ages, containers, selectors, addresses.

use serde_json::Value;

use crate::clock::Time;
use crate::object::{self, list, map, text};

/// Stands for a missing value.
pub(super) const NONE: &str = "<none>";

/// The time since then, in one or two units.
pub(super) fn since(then: &str, now: Time) -> String {
    match Time::parse(then) {
        Some(then) => duration(then.until(now).as_secs()),
        None => "<unknown>".to_owned(),
    }
}

/// Seconds as people read them.
pub(super) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |first: String, rest: u64, unit: &str| if rest == 0 { first } else { format!("{first}{rest}{unit}") };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(format!("{minutes}m"), seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(format!("{hours}h"), minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(format!("{days}d"), hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(format!("{}y", days / 365), days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// The age of an object.
pub(super) fn age(object: &Value, now: Time) -> Value {
    since(object::field(object, "creationTimestamp"), now).into()
}

/// The text at a pointer, or that there is none.
pub(super) fn or_none(object: &Value, pointer: &str) -> Value {
    match object.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => text.as_str().into(),
        Some(Value::Number(number)) => number.to_string().into(),
        _ => NONE.into(),
    }
}

/// An integer at a pointer, 0 when it is not there.
pub(super) fn number(object: &Value, pointer: &str) -> Value {
    object::integer(object, pointer).unwrap_or(0).into()
}

/// The number of items or entries.
pub(super) fn count(object: &Value, pointer: &str) -> usize {
    list(object, pointer).len() + map(object, pointer).map_or(0, serde_json::Map::len)
}

/// A text of each item.
pub(super) fn each(object: &Value, pointer: &str, field: &str) -> String {
    list(object, pointer).iter().map(|item| text(item, field)).collect::<Vec<_>>().join(",")
}

/// Labels as a selector has them.
pub(super) fn labels(labels: Option<&Value>) -> Value {
    let equal = labels.and_then(Value::as_object).into_iter().flatten();
    let equal: Vec<String> =
        equal.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    if equal.is_empty() { NONE.into() } else { equal.join(",").into() }
}

/// A selector with expressions.
pub(super) fn selector(object: &Value, pointer: &str) -> Value {
    let Some(selector) = object.pointer(pointer) else { return NONE.into() };
    let equal = map(selector, "/matchLabels").into_iter().flatten();
    let mut terms: Vec<String> =
        equal.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    for one in list(selector, "/matchExpressions") {
        let values: Vec<&str> = list(one, "/values").iter().filter_map(Value::as_str).collect();
        let (key, values) = (text(one, "/key"), values.join(","));
        terms.push(match text(one, "/operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.sort();
    if terms.is_empty() { NONE.into() } else { terms.join(",").into() }
}

/// The first so many of a list, and how many more there are.
pub(super) fn first(items: &[String], most: usize) -> String {
    let shown = items.iter().take(most).cloned().collect::<Vec<_>>().join(",");
    match items.len() {
        0 => NONE.to_owned(),
        length if length > most => format!("{shown} + {} more...", length - most),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (11_000, "3h3m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (10_000_000, "115d"),
            (70_000_000, "2y80d"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }
}
