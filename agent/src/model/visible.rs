//! Text of other people as a terminal may show it.
//!
//! Names, messages and errors come from repositories and clusters. An escape sequence in one could change the title or the
//! content of a terminal, and a mark of direction could show a name as another one.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `true` for a character that a terminal acts upon instead of showing it: a control character but newline and tab, a mark
/// of direction, a separator of lines.
pub fn is_control(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{feff}' => true,
        _ => c.is_control(),
    }
}

/// The text with each such character as its number, as in `\u{1b}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_control(c) {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// JSON with each such character as `\u001b`.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    escaped_json(json, is_control)
}

/// JSON with these characters as their numbers, as in `\u001b`: they stand in texts alone, and there they mean the same.
pub fn escaped_json(json: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !json.contains(&is_escaped) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if is_escaped(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_their_numbers() {
        for (text, shown) in [
            ("plain\n\ttext äöü ✅ 👩\u{200d}🔧", "plain\n\ttext äöü ✅ 👩\u{200d}🔧"),
            ("\u{1b}[2J\u{7}\r\u{7f}", r"\u{1b}[2J\u{7}\u{d}\u{7f}"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("a\u{202e}b\u{2066}c\u{200f}d\u{2028}e", r"a\u{202e}b\u{2066}c\u{200f}d\u{2028}e"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn json_means_the_same() {
        let text = "\u{9b}\u{7f}\u{202e}\u{1b} x\n";
        let json = serde_json::to_string(text).expect("JSON");
        let shown = visible_json(&json);
        assert!(!shown.contains(is_control), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("JSON"), text);
    }
}
