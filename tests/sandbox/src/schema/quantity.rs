//! Quantities such as `100m` and `1Gi`, in the one form in which the API server returns them.

/// A billionth: nothing smaller counts.
const SMALLEST: i32 = -9;

/// Reads a quantity and writes it in the canonical form. None if it is none.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let (number, suffix) =
        text.split_at(text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len()));
    let (negative, digits) = match number.as_bytes().first()? {
        b'-' => (true, &number[1..]),
        b'+' => (false, &number[1..]),
        _ => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let mantissa: i128 = all.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let (value, binary) = match power(suffix)? {
        Power::Ten(exponent) => (scaled(mantissa, exponent - places)?, false),
        Power::Two(exponent) => (scaled(mantissa.checked_mul(1_i128 << exponent)?, -places)?, true),
    };
    let sign = if negative && value != 0 { "-" } else { "" };
    Some(format!("{sign}{}", written(value, binary, suffix)))
}

enum Power {
    Ten(i32),
    Two(u32),
}

fn power(suffix: &str) -> Option<Power> {
    const TENS: [(&str, i32); 9] =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15)];
    const TWOS: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
    let ten = TENS.iter().find(|(name, _)| *name == suffix).map(|(_, exponent)| Power::Ten(*exponent));
    let two = || TWOS.iter().find(|(name, _)| *name == suffix).map(|(_, exponent)| Power::Two(*exponent));
    let exponent = || suffix.strip_prefix(['e', 'E']).filter(|text| !text.is_empty())?.parse().ok().map(Power::Ten);
    let exa = || (suffix == "E").then_some(Power::Ten(18));
    ten.or_else(two).or_else(exa).or_else(exponent)
}

/// In billionths, rounded up.
fn scaled(mantissa: i128, exponent: i32) -> Option<i128> {
    let shift = exponent - SMALLEST;
    let factor = 10_i128.checked_pow(shift.unsigned_abs());
    match (shift >= 0, factor) {
        (true, Some(factor)) => mantissa.checked_mul(factor),
        (true, None) => (mantissa == 0).then_some(0),
        (false, Some(factor)) => Some(mantissa / factor + i128::from(mantissa % factor != 0)),
        (false, None) => Some(i128::from(mantissa != 0)),
    }
}

fn written(billionths: i128, binary: bool, suffix: &str) -> String {
    if billionths == 0 {
        return "0".into();
    }
    let unit = 10_i128.pow(SMALLEST.unsigned_abs());
    let exact = billionths % unit == 0;
    if binary && exact && billionths / unit >= 1024 {
        let (mut number, mut power) = (billionths / unit, 0);
        while number % 1024 == 0 && power < 6 {
            (number, power) = (number / 1024, power + 1);
        }
        return format!("{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
    }
    let (mut number, mut exponent) = (billionths, SMALLEST);
    while number % 1000 == 0 && exponent < 18 {
        (number, exponent) = (number / 1000, exponent + 3);
    }
    let scientific = suffix.len() > 1 && suffix.starts_with(['e', 'E']) && !suffix.ends_with('i');
    match exponent {
        0 => format!("{number}"),
        _ if scientific => format!("{number}e{exponent}"),
        -9 => format!("{number}n"),
        -6 => format!("{number}u"),
        -3 => format!("{number}m"),
        3 => format!("{number}k"),
        6 => format!("{number}M"),
        9 => format!("{number}G"),
        12 => format!("{number}T"),
        15 => format!("{number}P"),
        _ => format!("{number}E"),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_have_one_form() {
        for (text, expected) in [
            ("0.5", "500m"),
            ("1000m", "1"),
            ("1", "1"),
            ("0", "0"),
            ("-0", "0"),
            ("1500", "1500"),
            ("2000", "2k"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512", "512"),
            ("0.5Gi", "512Mi"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("1e3", "1e3"),
            ("10E2", "1e3"),
            ("1E", "1E"),
            ("0.1m", "100u"),
            ("-1.5", "-1500m"),
            ("1.", "1"),
            (".5", "500m"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "a", "1x", "1 ", "Gi", "1.2.3", "--1", "1e"] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
