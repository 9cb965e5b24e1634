//! The formats of text that a CustomResourceDefinition may ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use regex::Regex;

/// Formats that a pattern decides.
const PATTERNS: [(&str, &str); 14] = [
    ("uuid", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ("uuid3", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
    ("uuid4", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
    ("uuid5", "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
    ("mac", "^([0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}([.][0-9A-Fa-f]{4}){2})$"),
    ("hexcolor", "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
    ("rgbcolor", r"^rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)$"),
    ("ssn", r"^\d{3}[- ]?\d{2}[- ]?\d{4}$"),
    ("bsonobjectid", "^[0-9a-fA-F]{24}$"),
    ("email", r"^[^@\s<>]+@[^@\s<>]+$"),
    ("uri", r"^([A-Za-z][A-Za-z0-9+.-]*:\S*|/\S*)$"),
    ("duration", r"^(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w|[a-z]+)\s*)+$"),
    ("k8sshortname", "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"),
    ("k8slongname", r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
];

static REGEXES: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    PATTERNS.iter().map(|(name, pattern)| (*name, Regex::new(pattern).expect("a pattern of the table"))).collect()
});

/// Formats that have code of their own, or none because no known schema uses them.
const OTHERS: [&str; 12] = [
    "datetime",
    "date",
    "ipv4",
    "ipv6",
    "cidr",
    "byte",
    "hostname",
    "password",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
];

/// The format, if it is one for that type; the API server forgets others.
pub(super) fn known<'a>(kind: &str, format: &'a str) -> &'a str {
    if format.is_empty() {
        return "";
    }
    let is_known = match kind {
        "" | "string" => {
            let name = format.replace('-', "");
            OTHERS.contains(&name.as_str()) || PATTERNS.iter().any(|(known, _)| *known == name)
        }
        "integer" => ["int32", "int64"].contains(&format),
        "number" => ["float", "double"].contains(&format),
        _ => false,
    };
    if is_known { format } else { "" }
}

/// `true` if a text has a format. Every text has an unknown format.
pub(super) fn fits(format: &str, text: &str) -> bool {
    if format.is_empty() {
        return true;
    }
    match format.replace('-', "").as_str() {
        "datetime" => text.parse::<Timestamp>().is_ok(),
        "date" => text.len() == 10 && text.parse::<Date>().is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "byte" => STANDARD.decode(text).is_ok(),
        "hostname" => is_hostname(text),
        name => REGEXES.iter().find(|(known, _)| *known == name).is_none_or(|(_, regex)| regex.is_match(text)),
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.trim_end_matches('.').split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn texts_have_formats() {
        for (format, good, bad) in [
            ("date-time", "2026-01-01T00:00:00Z", "yesterday"),
            ("date", "2026-01-31", "2026-02-31"),
            ("ipv4", "1.2.3.4", "1.2.3"),
            ("ipv6", "::1", "1.2.3.4"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("uuid", "3a974c57-b7ce-464a-b6b6-339864c75012", "3a97"),
            ("byte", "MQ==", "%"),
            ("hostname", "a.b-c", "-a"),
            ("email", "a@b.c", "a"),
            ("uri", "http://a/b", "a b"),
            ("mac", "01:02:03:04:05:06", "01:02"),
        ] {
            assert!(fits(format, good), "{format} {good}");
            assert!(!fits(format, bad), "{format} {bad}");
        }
        assert!(fits("whatever", "x"));
    }
}
