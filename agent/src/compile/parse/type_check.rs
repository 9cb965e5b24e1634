//! The check that a JSON value fits a Go type: Go's conversion from JSON accepts it. Unknown fields are ignored, null is the
//! zero value of every type, and no type is converted into another. The types themselves are in [`super::builtin_types`].

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::timestamp::is_date;

/// The Go type of a field.
pub(crate) enum FieldType {
    Any,
    Text,
    Bool,
    Int,
    Number,
    Time,
    Base64,
    List(&'static FieldType),
    Map(&'static FieldType),
    Fields(&'static [(&'static str, &'static FieldType)]),
    /// A boolean, or a value of this type.
    OrBool(&'static FieldType),
    /// A value of one of these two types, or any scalar.
    Loose {
        map: &'static FieldType,
        list: &'static FieldType,
    },
}

use FieldType::{Any, Base64, Bool, Fields, Int, List, Loose, Map, Number, OrBool, Text, Time};

/// The first value of an object that does not fit its type.
pub(crate) struct TypeMismatch {
    /// The path to the value, from the root of the object.
    field: Vec<String>,
    expected: &'static str,
}

impl TypeMismatch {
    /// The first value in the field `name` that does not fit.
    pub(super) fn first(name: &str, value: &Value, field_type: &FieldType) -> Option<Self> {
        let mut path = vec![name.to_owned()];
        let expected = first_mismatch(value, field_type, &mut path)?;
        Some(Self { field: path, expected })
    }

    /// A sentence without a full stop, such as `spec.version must be text`.
    pub(crate) fn message(&self) -> String {
        format!("{} must be {}", self.field.join("."), self.expected)
    }

    /// The path in the form of [`super::Manifest::at_value`].
    pub(crate) fn steps(&self) -> Vec<&str> {
        self.field.iter().map(String::as_str).collect()
    }
}

/// The expected type at the first value that does not fit. `path` is extended to that value.
fn first_mismatch(value: &Value, field_type: &FieldType, path: &mut Vec<String>) -> Option<&'static str> {
    let expected = match (field_type, value) {
        (Any, _) | (_, Value::Null) | (Text, Value::String(_)) | (Bool | OrBool(_), Value::Bool(_)) => return None,
        (Number, Value::Number(_)) => return None,
        (Int, Value::Number(number)) if number.is_i64() => return None,
        (Time, Value::String(text)) if is_rfc3339(text) => return None,
        (Base64, Value::String(text)) if decoded_base64(text).is_some() => return None,
        (Base64, Value::Array(_)) => return first_mismatch(value, &List(&Int), path),
        (List(field_type), Value::Array(items)) => {
            return items.iter().enumerate().find_map(|(i, item)| below(&i.to_string(), item, field_type, path));
        }
        (Map(field_type), Value::Object(map)) => {
            return map.iter().find_map(|(key, value)| below(key, value, field_type, path));
        }
        (Fields(fields), Value::Object(map)) => {
            return fields.iter().find_map(|(name, field_type)| below(name, map.get(*name)?, field_type, path));
        }
        (OrBool(field_type) | Loose { map: field_type, .. }, Value::Object(_)) => {
            return first_mismatch(value, field_type, path);
        }
        (Loose { list, .. }, Value::Array(_)) => return first_mismatch(value, list, path),
        (Loose { .. }, _) => return None,
        (Text, _) => "text",
        (Bool, _) => "true or false",
        (Int, _) => "a whole number",
        (OrBool(_), _) => "true, false or a map",
        (Base64, _) => "Base64",
        (Number, _) => "a number",
        (Time, _) => "a time like 2006-01-02T15:04:05Z",
        (List(_), _) => "a list",
        (Map(_) | Fields(_), _) => "a map",
    };
    Some(expected)
}

fn below(key: &str, value: &Value, field_type: &FieldType, path: &mut Vec<String>) -> Option<&'static str> {
    path.push(key.to_owned());
    let expected = first_mismatch(value, field_type, path);
    if expected.is_none() {
        path.pop();
    }
    expected
}

/// `true` if Go reads `text` as a date and time of RFC 3339. Go is more tolerant than the standard: the hour may have one digit,
/// the fraction may have a comma, and the zone may be up to 24:60 away.
pub(crate) fn is_rfc3339(text: &str) -> bool {
    // If the hour has one digit, all that follows is one byte earlier.
    let clock = if text.as_bytes().get(12) == Some(&b':') { 12 } else { 13 };
    let number = |range: std::ops::Range<usize>, max: u32| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok()).filter(|number| *number <= max)
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (clock, b':'), (clock + 3, b':')];
    let separated = separators.into_iter().all(|(at, byte)| text.as_bytes().get(at) == Some(&byte));
    let time = number(11..clock, 23).and(number(clock + 1..clock + 3, 59)).and(number(clock + 4..clock + 6, 59));
    let (Some(year), Some(month), Some(day)) = (number(0..4, 9999), number(5..7, 12), number(8..10, 31)) else {
        return false;
    };
    separated && time.is_some() && is_date(year, month, day) && is_zone(&text[clock + 6..])
}

/// base64 as Go reads it: bits that do not fill a byte are ignored.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The field of a kind whose values are base64.
pub(crate) fn base64_field(group: &str, kind: &str) -> Option<&'static str> {
    match (group, kind) {
        ("", "Secret") => Some("data"),
        ("", "ConfigMap") => Some("binaryData"),
        _ => None,
    }
}

/// The bytes that Go reads from `text` as base64; `None` if it is none. Line breaks in it are ignored.
pub(crate) fn decoded_base64(text: &str) -> Option<Vec<u8>> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    LENIENT.decode(joined).ok()
}

/// `true` for the end of a time after the seconds: an optional fraction, then `Z` or an offset.
fn is_zone(text: &str) -> bool {
    let zone = match text.strip_prefix(['.', ',']) {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => text,
    };
    let part = |range: std::ops::Range<usize>, max: u32| {
        let digits = zone.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|number| number <= max)
    };
    let away = zone.len() == 6
        && zone.starts_with(['+', '-'])
        && part(1..3, 24)
        && zone.as_bytes()[3] == b':'
        && part(4..6, 60);
    // A difference of one byte is a point without digits.
    text.len() != zone.len() + 1 && (zone == "Z" || away)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for good in [
            "2006-01-02T15:04:05Z",
            "2024-02-29T00:00:00.5+01:00",
            "2024-01-01T1:02:03.25-02:00",
            "2024-01-01T00:00:00,5Z",
            "0000-01-01T00:00:00+24:60",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "2024-01-01",
            "garbage",
            "2023-02-29T00:00:00Z",
            "2006-01-02T15:04:05",
            "2006-01-02T15:04:05.Z",
            "2024-01-01T00:00:00+25:00",
            "2024-01-01T00:00:00-00:61",
            "2024-01-01T00:00:60Z",
            "2024-1-01T00:00:00Z",
            "2024-01-01t00:00:00z",
            "2024-01-01T00:00:00Zx",
            "2024-01-01T00:00:00é",
            "é",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
