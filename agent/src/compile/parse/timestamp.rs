//! The timestamps that go-yaml accepts. They matter for scalars with the tag `!!timestamp`.
//! <https://github.com/go-yaml/yaml/blob/v2.4.0/resolve.go> (`parseTimestamp`)

use jiff_core::civil::Date;

/// `true` for a date, or a date and a time. A time after `T` has a time zone, a time after a space has none.
pub(super) fn is_timestamp(text: &str) -> bool {
    date(text).is_some_and(|rest| {
        let after = |marker: &[char]| rest.strip_prefix(marker);
        rest.is_empty()
            || after(&['T', 't']).and_then(time).is_some_and(is_zone)
            || after(&[' ']).and_then(|rest| time(rest.trim_start_matches(' '))) == Some("")
    })
}

/// The text after a date such as `2024-1-02`; `None` if there is no date.
fn date(text: &str) -> Option<&str> {
    let (year, rest) = text.split_once('-').filter(|(year, _)| year.len() == 4)?;
    let year: u32 = digits(year).parse().ok().filter(|_| digits(year).len() == 4)?;
    let (month, rest) = number(rest)?;
    let (day, rest) = number(rest.strip_prefix('-')?)?;
    is_date(year, month, day).then_some(rest)
}

/// `true` if the calendar has this date.
pub(super) fn is_date(year: u32, month: u32, day: u32) -> bool {
    let date = || Some(Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?));
    date().is_some_and(|date| date.is_ok())
}

/// The text after a time such as `3:04:05.6`; `None` if there is no time.
fn time(text: &str) -> Option<&str> {
    let (hour, rest) = number(text)?;
    let (minute, rest) = number(rest.strip_prefix(':')?)?;
    let (second, rest) = number(rest.strip_prefix(':')?)?;
    let fraction = rest.strip_prefix(['.', ',']).filter(|rest| !digits(rest).is_empty());
    let rest = fraction.map_or(rest, |fraction| &fraction[digits(fraction).len()..]);
    (hour < 24 && minute < 60 && second < 60).then_some(rest)
}

/// `true` for a time zone, `Z` or such as `+01:00`.
fn is_zone(text: &str) -> bool {
    let offset = || {
        let (hours, minutes) = text.strip_prefix(['+', '-'])?.split_once(':')?;
        let two = |text: &str| digits(text).parse::<u32>().ok().filter(|_| text.len() == 2 && digits(text).len() == 2);
        Some(two(hours)? <= 24 && two(minutes)? <= 60)
    };
    text == "Z" || offset() == Some(true)
}

/// A number of one or two digits, and the text after it.
fn number(text: &str) -> Option<(u32, &str)> {
    let length = digits(text).len().min(2);
    Some((text[..length].parse().ok()?, &text[length..]))
}

fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_timestamps() {
        let good = [
            "2024-01-02",
            "2024-2-29",
            "2001-12-14t21:59:43.10-05:00",
            "2001-12-14T1:2:3Z",
            "2001-12-14 21:59:43,1",
            "2001-12-14   1:2:3",
        ];
        for text in good {
            assert!(is_timestamp(text), "{text}");
        }
        let bad = [
            "",
            "2024",
            "2023-02-29",
            "2024-13-01",
            "24-01-02",
            "+2024-01-02",
            "2001-12-14T21:59:43",
            "2001-12-14 21:59:43.10 -5",
            "2001-12-14 24:00:00",
            "2001-12-14T1:2:3+1:00",
            "2001-12-14T1:2:3Z ",
            "2001-12-14 1:2:3.",
            "2024-01-02é",
        ];
        for text in bad {
            assert!(!is_timestamp(text), "{text}");
        }
    }
}
