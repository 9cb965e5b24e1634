//! Points in time as the Kubernetes API writes them.

use std::fmt;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A point in time, in whole seconds: RFC 3339 in UTC, as in `2026-01-02T03:04:05Z`.
///
/// The text is kept as it was read. Texts that [`Time::from_unix`] makes sort in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub String);

impl Time {
    /// The time so many seconds after 1970-01-01T00:00:00Z; the last second of the year 9999 at the latest.
    pub fn from_unix(seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        Self(Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX).strftime("%FT%TZ").to_string())
    }

    /// Seconds since 1970-01-01T00:00:00Z; `None` for an earlier time, and for a text that is no time.
    pub fn unix(&self) -> Option<u64> {
        self.0.parse::<Timestamp>().ok().and_then(|time| u64::try_from(time.as_second()).ok())
    }

    /// `2026-01-02 03:04:05 +0000 UTC`, the form in which Go prints a time. A text of another form is returned as it is.
    pub fn long(&self) -> String {
        match self.0.strip_suffix('Z').and_then(|text| text.split_once('T')) {
            Some((date, time)) => format!("{date} {time} +0000 UTC"),
            None => self.0.clone(),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl JsonSchema for Time {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_months_and_leap_years() {
        assert_eq!(Time::from_unix(0).0, "1970-01-01T00:00:00Z");
        assert_eq!(Time::from_unix(951_782_400).unix(), Some(951_782_400));
        assert_eq!(Time("yesterday".to_owned()).unix(), None);
        assert_eq!(Time::from_unix(951_782_400).0, "2000-02-29T00:00:00Z");
        assert_eq!(Time::from_unix(1_767_323_045).0, "2026-01-02T03:04:05Z");
        assert_eq!(Time::from_unix(4_107_542_399).0, "2100-02-28T23:59:59Z");
        assert_eq!(Time::from_unix(4_107_542_400).0, "2100-03-01T00:00:00Z");
        assert!(Time::from_unix(u64::MAX).0.starts_with("9999-12-3"));
        assert_eq!(Time::from_unix(1_767_323_045).long(), "2026-01-02 03:04:05 +0000 UTC");
    }
}
