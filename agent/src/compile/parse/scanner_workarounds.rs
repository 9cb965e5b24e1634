//! Workarounds for libyaml's scanner, which reads some text differently from Kubernetes and panics on some.
//!
//! [`ScannerInput`] replaces the characters in question by private characters or escapes that the text does not have, and puts
//! the originals back into the scalars that the scanner returns. The characters are: a byte order mark at the start of a line
//! (an ordinary character for Kubernetes); a colon at the end of a plain word before a comma, brace or bracket (a part of the
//! word); commas and brackets in a tag (parts of the tag); and `!` at a position where no tag is possible. The scanner also
//! panics on a block scalar or an escape at the very end, so that the input always ends with a line break.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use libyaml_safer::ScalarStyle;

use super::problem::{ParseProblem, problem};

/// A text in the form that the scanner reads as Kubernetes reads the original.
pub(super) struct ScannerInput<'a> {
    text: Cow<'a, str>,
    substitutes: Vec<Substitute>,
    /// The positions in the input after which it is two bytes longer than the original.
    lengthened: Vec<usize>,
    escaped_slash: bool,
    /// `true` if the original does not end with a line break.
    adds_line_break: bool,
}

/// The replacement of a character, inside or outside of tags.
struct Substitute {
    original: char,
    replacement: String,
    in_tag: bool,
}

/// The characters that can be replaced; `true` for those inside of tags.
const REPLACEABLE: [(char, bool); 6] =
    [('\u{feff}', false), ('!', false), (':', false), (',', true), ('[', true), (']', true)];

/// The private characters of Unicode: they have no meaning in YAML.
const PRIVATE: RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';

impl<'a> ScannerInput<'a> {
    /// The input for `text`.
    pub(super) fn new(text: &'a str) -> Self {
        let before_spaces = text.trim_end_matches(' ');
        let text = if ends_line(before_spaces) { before_spaces } else { text };
        let adds_line_break = !ends_line(text);
        let mut input = Self {
            text: Cow::Borrowed(text),
            substitutes: Vec::new(),
            lengthened: Vec::new(),
            escaped_slash: text.contains("\\/"),
            adds_line_break,
        };
        let misread = misread(text);
        if text.contains('\u{feff}') || !misread.is_empty() {
            input.substitute(text, &misread);
        }
        if adds_line_break {
            input.text.to_mut().push('\n');
        }
        input
    }

    /// The text for the scanner.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Replaces the byte order marks and the characters at `misread`.
    fn substitute(&mut self, text: &str, misread: &[Misread]) {
        self.substitutes = substitutes_for(text);
        let mut substituted = String::with_capacity(text.len() + 2 * misread.len());
        let mut misread = misread.iter().peekable();
        for (at, c) in text.char_indices() {
            let place = misread.next_if(|misread| misread.at == at);
            let in_tag = place.is_some_and(|misread| misread.in_tag);
            let substitute = place.is_some() || c == '\u{feff}';
            let mut substitutes = self.substitutes.iter().filter(|_| substitute);
            match substitutes.find(|it| (it.original, it.in_tag) == (c, in_tag)) {
                Some(Substitute { replacement, .. }) => {
                    if replacement.len() > c.len_utf8() {
                        self.lengthened.push(substituted.len());
                    }
                    substituted.push_str(replacement);
                }
                None => substituted.push(c),
            }
        }
        self.text = Cow::Owned(substituted);
    }

    /// The position in the original of a position in the input.
    pub(super) fn original_position(&self, at: usize) -> usize {
        at - 2 * self.lengthened.partition_point(|lengthened| *lengthened < at)
    }

    /// Puts the original characters back into a scalar. A problem if Kubernetes refuses the scalar.
    pub(super) fn restore(
        &self,
        value: &mut String,
        style: ScalarStyle,
        start: usize,
        end: usize,
    ) -> Result<(), ParseProblem> {
        for Substitute { original, replacement, in_tag } in &self.substitutes {
            if *original == '!' && !in_tag && style == ScalarStyle::Plain && value.starts_with(replacement) {
                return Err(problem("a tag must be followed by white space", self.original_position(start)));
            }
            if value.contains(replacement) {
                *value = value.replace(replacement, original.encode_utf8(&mut [0; 4]));
            }
        }
        if self.escaped_slash && style == ScalarStyle::DoubleQuoted && escapes_slash(&self.text[start..end]) {
            return Err(problem("`\\/` is not an escape sequence of YAML", self.original_position(start)));
        }
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if self.adds_line_break && block && end == self.text.len() && value.ends_with('\n') {
            value.pop();
        }
        Ok(())
    }
}

fn ends_line(text: &str) -> bool {
    text.is_empty() || text.ends_with(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
}

/// A replacement for each character that can be misread: three bytes long and not in the text.
fn substitutes_for(text: &str) -> Vec<Substitute> {
    let used = private(text);
    let mut characters = PRIVATE.filter(|c| !used.contains(c)).map(String::from);
    let mut escapes = (1..32).map(|byte| format!("%{byte:02x}")).filter(|escape| !text.contains(escape));
    let replacement = |(original, in_tag): (char, bool)| {
        let replacement = if in_tag { escapes.next() } else { characters.next() };
        replacement.map(|replacement| Substitute { original, replacement, in_tag })
    };
    REPLACEABLE.into_iter().filter_map(replacement).collect()
}

/// The private characters in a text, plain or as escapes.
fn private(text: &str) -> HashSet<char> {
    let escape = |(at, escape): (usize, &str)| {
        let digits = text.get(at + 2..at + if escape == "\\u" { 6 } else { 10 })?;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    };
    let escaped = ["\\u", "\\U"].into_iter().flat_map(|it| text.match_indices(it)).filter_map(escape);
    text.chars().chain(escaped).filter(|c| PRIVATE.contains(c)).collect()
}

/// A character to replace.
struct Misread {
    at: usize,
    in_tag: bool,
}

/// The characters to replace, in order.
fn misread(text: &str) -> Vec<Misread> {
    let (mut found, mut tag_end) = (Vec::new(), 0);
    // The end of the word with the last `!`, and the last comma and `>,` in that word.
    let (mut word_end, mut commas) = (0, [None; 2]);
    for (at, c) in text.match_indices(['!', ':']) {
        if at < tag_end {
            continue;
        }
        if c == ":" {
            if colon_in_word(text, at) {
                found.push(Misread { at, in_tag: false });
            }
            continue;
        }
        let rest = &text[at..];
        if at >= word_end {
            let word = &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())];
            commas = [word.rfind(','), word.rfind(">,")].map(|comma| comma.map(|comma| at + comma));
            word_end = at + word.len();
        }
        let verbatim = rest.starts_with("!<");
        if !verbatim && starts_node(&text[..at]) {
            let parts = text[at..word_end].match_indices([',', '[', ']']);
            found.extend(parts.map(|(part, _)| Misread { at: at + part, in_tag: true }));
            tag_end = word_end;
        } else if commas[usize::from(verbatim)].is_some_and(|comma| comma > at) {
            found.push(Misread { at, in_tag: false });
        }
    }
    found
}

/// `true` if a node can start after this text. Otherwise the text goes on in a plain scalar.
fn starts_node(before: &str) -> bool {
    let end = before.trim_end();
    let apart = end.len() < before.len();
    match end.chars().next_back() {
        None | Some('[' | '{' | ',') => true,
        Some(':' | '?') => apart,
        // Inside braces a dash is a part of a plain scalar.
        Some('-') => {
            let mut back = end.chars().rev();
            apart && matches!(back.find(|c| !matches!(c, ' ' | '-' | '?' | ':')), None | Some('\n' | '\r'))
        }
        Some(_) => {
            apart
                && end
                    .rsplit(|c: char| c.is_whitespace() || "[{,".contains(c))
                    .next()
                    .is_some_and(|it| it.starts_with('&'))
        }
    }
}

/// `true` if the colon is the last character of a plain word before a comma, brace or bracket.
fn colon_in_word(text: &str, at: usize) -> bool {
    let ends = |c: char| c.is_whitespace() || ",[]{}".contains(c);
    if !text[at + 1..].starts_with([',', '[', ']', '{', '}']) {
        return false;
    }
    let word = text[..at].rsplit(ends).next().unwrap_or_default();
    !word.is_empty() && !word.starts_with(['"', '\'', '*', '&', '!']) && !word.ends_with(['"', '\''])
}

fn escapes_slash(quoted: &str) -> bool {
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next() == Some('/') {
            return true;
        }
    }
    false
}
