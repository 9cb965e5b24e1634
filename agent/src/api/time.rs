//! Points in time as the Kubernetes API writes them.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A point in time, in whole seconds: RFC 3339 in UTC, as in `2026-01-02T03:04:05Z`.
///
/// The text is kept as it was read; what [`Time::from_unix`] makes sorts as text in the order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub String);

impl Time {
    /// The time so many seconds after 1970-01-01T00:00:00Z.
    pub fn from_unix(seconds: u64) -> Self {
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Self(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
    }

    /// `2026-01-02 03:04:05 +0000 UTC`, as long-time users know it; a time of another form is returned as it is.
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

/// Year, month and day so many days after 1970-01-01 (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_months_and_leap_years() {
        assert_eq!(Time::from_unix(0).0, "1970-01-01T00:00:00Z");
        assert_eq!(Time::from_unix(951_782_400).0, "2000-02-29T00:00:00Z");
        assert_eq!(Time::from_unix(1_767_323_045).0, "2026-01-02T03:04:05Z");
        assert_eq!(Time::from_unix(4_107_542_399).0, "2100-02-28T23:59:59Z");
        assert_eq!(Time::from_unix(4_107_542_400).0, "2100-03-01T00:00:00Z");
        assert_eq!(Time::from_unix(1_767_323_045).long(), "2026-01-02 03:04:05 +0000 UTC");
    }
}
