//! The values of YAML scalars, by the rules of go-yaml v2, which Kubernetes tools follow: `on` is true, `0644` is 420 and `1e3`
//! is 1000. <https://github.com/go-yaml/yaml/blob/v2.4.0/resolve.go>

use base64::Engine as _;
use serde_json::{Number, Value};

use super::timestamp::is_timestamp;

/// A resolved scalar. It keeps differences that JSON does not have and that map keys depend on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer between `i64::MAX` and `u64::MAX`. As a value it is a float; as a map key it is refused.
    Big(f64),
    Float(f64),
    Text(String),
}

const TAG_PREFIX: &str = "tag:yaml.org,2002:";

/// Resolves a plain scalar without a tag.
pub(super) fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'0'..=b'9' | b'+' | b'-' => number(text),
        b'.' => without_separators(text).and_then(|plain| float(&plain)).map(Scalar::Float),
        _ => None,
    }
    .unwrap_or_else(|| Scalar::Text(text.to_owned()))
}

/// Resolves a scalar that has a tag.
///
/// # Errors
///
/// A message if the text does not fit the tag. The message does not have the text, which may be a secret.
pub(super) fn tagged(tag: &str, text: &str) -> Result<Scalar, String> {
    let resolved = || plain(text);
    let scalar = match tag.strip_prefix(TAG_PREFIX) {
        Some("int") => Some(resolved()).filter(|it| matches!(it, Scalar::Int(_) | Scalar::Big(_))),
        Some("bool") => Some(resolved()).filter(|it| matches!(it, Scalar::Bool(_))),
        Some("null") => Some(resolved()).filter(|it| *it == Scalar::Null),
        Some("float") => match resolved() {
            Scalar::Int(int) => Some(Scalar::Float(int as f64)),
            float @ Scalar::Float(_) => Some(float),
            _ => None,
        },
        Some("timestamp") => is_timestamp(text).then(|| Scalar::Text(text.to_owned())),
        Some("binary") => binary(text).map(Scalar::Text),
        _ => Some(Scalar::Text(text.to_owned())),
    };
    scalar.ok_or_else(|| {
        let name = tag.strip_prefix(TAG_PREFIX).unwrap_or(tag);
        format!("a value with the tag !!{name} is not of that type")
    })
}

/// The JSON value; `None` for infinities and NaN, which JSON does not have.
pub(super) fn value(scalar: Scalar) -> Option<Value> {
    Some(match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(bool) => Value::Bool(bool),
        Scalar::Int(int) => Value::from(int),
        Scalar::Big(float) | Scalar::Float(float) => Value::Number(whole_or_float(float)?),
        Scalar::Text(text) => Value::String(text),
    })
}

/// The JSON number of a float. Kubernetes stores a float without fraction as an integer. `None` for infinities and NaN.
pub(super) fn whole_or_float(float: f64) -> Option<Number> {
    // 2^63 itself does not fit into an i64.
    if float.fract() == 0.0 && float.abs() < 9_223_372_036_854_775_808.0 {
        return Some(Number::from(float as i64));
    }
    Number::from_f64(float)
}

/// The text of a map key; `None` if Kubernetes refuses the key.
pub(super) fn key(scalar: Scalar) -> Option<String> {
    Some(match scalar {
        Scalar::Text(text) => text,
        Scalar::Bool(bool) => bool.to_string(),
        Scalar::Int(int) => int.to_string(),
        Scalar::Float(float) => float_key(float),
        Scalar::Null | Scalar::Big(_) => return None,
    })
}

/// Resolves an integer or a float. Underscores are ignored; a leading 0 means octal if all digits are octal.
fn number(text: &str) -> Option<Scalar> {
    let plain = text.replace('_', "");
    integer(&plain).or_else(|| float(&plain).map(Scalar::Float))
}

/// The text without its underscores; `None` if one is not between two digits, where Go does not allow it.
fn without_separators(text: &str) -> Option<String> {
    let is_digit = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit);
    let mut underscores = text.match_indices('_').map(|(at, _)| at);
    underscores.all(|at| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))).then(|| text.replace('_', ""))
}

fn integer(plain: &str) -> Option<Scalar> {
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let signed = if plain.starts_with('-') { -magnitude } else { magnitude };
    match i64::try_from(signed) {
        Ok(int) => Some(Scalar::Int(int)),
        // go-yaml reads numbers above `i64::MAX` only without a sign.
        Err(_) if unsigned.len() == plain.len() => Some(Scalar::Big(magnitude as f64)),
        Err(_) => None,
    }
}

/// A finite float of the form `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn float(text: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(rest);
    rest = &rest[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole + fraction == 0 {
            return None;
        }
        rest = &after[fraction..];
    } else if whole == 0 {
        return None;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let length = digits(exponent);
        if length == 0 {
            return None;
        }
        rest = &exponent[length..];
    }
    if !rest.is_empty() {
        return None;
    }
    text.parse().ok().filter(|float: &f64| float.is_finite())
}

fn binary(text: &str) -> Option<String> {
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(joined).ok()?;
    Some(lossy(&bytes))
}

/// The text of bytes, with a replacement character for every byte that is not UTF-8, as in Go.
fn lossy(bytes: &[u8]) -> String {
    let text = |chunk: std::str::Utf8Chunk<'_>| chunk.valid().to_owned() + &"\u{fffd}".repeat(chunk.invalid().len());
    bytes.utf8_chunks().map(text).collect()
}

/// The text of a float as a map key: that of Go's `strconv.FormatFloat(f, 'g', -1, 32)`.
fn float_key(float: f64) -> String {
    if float.is_nan() {
        return ".nan".to_owned();
    }
    let short = float as f32;
    if short.is_infinite() {
        return if float > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{short:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("Rust writes an exponent");
    let exponent: i32 = exponent.parse().expect("Rust writes a decimal exponent");
    if short == 0.0 || (-4..6).contains(&exponent) {
        return short.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_are_what_kubernetes_reads() {
        let table = [
            ("yes", "true"),
            ("Off", "false"),
            ("tRue", r#""tRue""#),
            ("0644", "420"),
            ("-0644", "-420"),
            ("0o644", "420"),
            ("089", "89"),
            ("08", "8"),
            ("0189", "189"),
            ("0x1F", "31"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("1_", "1"),
            ("0x_1", "1"),
            ("-_1", "-1"),
            ("+1", "1"),
            ("1_000.5", "1000.5"),
            ("190:20:30", r#""190:20:30""#),
            ("2024-01-02", r#""2024-01-02""#),
            ("18446744073709551615", "1.8446744073709552e+19"),
            ("123456789012345678901234567890", "1.2345678901234568e+29"),
            ("1e3", "1000"),
            ("1.0", "1"),
            ("1.", "1"),
            (".5", "0.5"),
            (".5_0", "0.5"),
            (".5_", r#"".5_""#),
            ("._5", r#""._5""#),
            (".5__0", r#"".5__0""#),
            ("+.5", "0.5"),
            ("12e03", "12000"),
            ("1234567e10", "12345670000000000"),
            ("12345e999", r#""12345e999""#),
            ("0x1p3", r#""0x1p3""#),
            ("0x10000000000000000", r#""0x10000000000000000""#),
            ("1e", r#""1e""#),
            (".", r#"".""#),
            ("-", r#""-""#),
            ("0", "0"),
            ("-0", "0"),
            ("0b", r#""0b""#),
            ("-.nan", r#""-.nan""#),
            ("-9223372036854775808", "-9223372036854775808"),
            ("NULL", "null"),
            ("", "null"),
        ];
        for (text, json) in table {
            assert_eq!(value(plain(text)).expect("JSON").to_string(), json, "{text}");
        }
        assert_eq!(value(plain(".inf")), None);
        assert_eq!(value(plain(".NaN")), None);
    }

    #[test]
    fn keys_are_resolved_and_then_made_text() {
        let table = [
            ("yes", "true"),
            ("1", "1"),
            ("0x10", "16"),
            ("1e3", "1000"),
            ("1e20", "1e+20"),
            (".inf", ".inf"),
            ("1.5", "1.5"),
        ];
        for (text, expected) in table {
            assert_eq!(key(plain(text)).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(key(plain("18446744073709551616")).as_deref(), Some("1.8446744e+19"));
        assert_eq!((key(plain("~")), key(plain("18446744073709551615"))), (None, None));
    }

    #[test]
    fn tags_convert_or_refuse() {
        let tag = |name: &str, text| tagged(&format!("{TAG_PREFIX}{name}"), text).ok();
        assert_eq!(tag("binary", "aGVsbG8="), Some(Scalar::Text("hello".to_owned())));
        assert_eq!(tag("binary", "YeCgYvA="), Some(Scalar::Text("a\u{fffd}\u{fffd}b\u{fffd}".to_owned())));
        assert_eq!(tag("int", "1"), Some(Scalar::Int(1)));
        assert_eq!(tag("bool", "yes"), Some(Scalar::Bool(true)));
        assert_eq!(tag("float", "1"), Some(Scalar::Float(1.0)));
        for (name, text) in [
            ("float", "18446744073709551615"),
            ("bool", "1"),
            ("int", "x"),
            ("int", "1.5"),
            ("int", ""),
            ("null", "x"),
            ("binary", "%"),
        ] {
            assert_eq!(tag(name, text), None, "!!{name} {text}");
        }
        let message = tagged(&format!("{TAG_PREFIX}int"), "hunter2");
        assert_eq!(message, Err("a value with the tag !!int is not of that type".to_owned()));
        assert_eq!(tagged("!x", ""), Ok(Scalar::Text(String::new())));
    }
}
