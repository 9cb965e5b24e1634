//! Text that libyaml's scanner can be given, without what it reads differently from Kubernetes or panics on.
//!
//! That is substitutes behind private characters or escapes that the text does not use, and put back in the scalars: a byte order
//! mark at the start of a line (an ordinary character for Kubernetes), a colon that ends a plain word before a comma, brace or
//! bracket (a part of the word), commas and brackets in a tag (parts of the tag), and `!` where that can be no tag. It also
//! panics on block scalars and escapes at the very end, so that the text always ends with a line break.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use libyaml_safer::ScalarStyle;

use super::problem::{ParseProblem, problem};

/// A text in input.
pub(super) struct ScannerInput<'a> {
    text: Cow<'a, str>,
    substitutes: Vec<Substitute>,
    /// Where the text is two bytes lengthened than it was.
    lengthened: Vec<usize>,
    escaped_slash: bool,
    /// The final line break is ours.
    adds_line_break: bool,
}

/// What stands for a character.
struct Substitute {
    original: char,
    replacement: String,
    /// Whether it stands for it inside of tags, otherwise outside.
    in_tag: bool,
}

/// What can be substitutes, and whether in tags.
const HIDDEN: [(char, bool); 6] =
    [('\u{feff}', false), ('!', false), (':', false), (',', true), ('[', true), (']', true)];

/// Characters that mean nothing.
const PRIVATE: RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';

impl<'a> ScannerInput<'a> {
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

    /// The text to parse.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Hides the byte order marks, and the characters at `misread`.
    fn substitute(&mut self, text: &str, misread: &[Misread]) {
        self.substitutes = substitutes_for(text);
        let mut substituted = String::with_capacity(text.len() + 2 * misread.len());
        let mut misread = misread.iter().peekable();
        for (at, c) in text.char_indices() {
            let place = misread.next_if(|misread| misread.at == at);
            let in_tag = place.is_some_and(|misread| misread.in_tag);
            let substitute = place.is_some() || c == '\u{feff}';
            match self
                .substitutes
                .iter()
                .find(|substitutes| substitute && (substitutes.original, substitutes.in_tag) == (c, in_tag))
            {
                Some(substitutes) => {
                    if substitutes.replacement.len() > c.len_utf8() {
                        self.lengthened.push(substituted.len());
                    }
                    substituted.push_str(&substitutes.replacement);
                }
                None => substituted.push(c),
            }
        }
        self.text = Cow::Owned(substituted);
    }

    /// The byte of the original text that is this byte of the substituted one.
    pub(super) fn original(&self, at: usize) -> usize {
        at - 2 * self.lengthened.partition_point(|lengthened| *lengthened < at)
    }

    /// Makes a scalar what it would have been without input.
    pub(super) fn restore(
        &self,
        value: &mut String,
        style: ScalarStyle,
        start: usize,
        end: usize,
    ) -> Result<(), ParseProblem> {
        for Substitute { original, replacement, in_tag } in &self.substitutes {
            if *original == '!' && !in_tag && style == ScalarStyle::Plain && value.starts_with(replacement) {
                return Err(problem("a tag must be followed by white space", self.original(start)));
            }
            if value.contains(replacement) {
                *value = value.replace(replacement, original.encode_utf8(&mut [0; 4]));
            }
        }
        if self.escaped_slash && style == ScalarStyle::DoubleQuoted && escapes_slash(&self.text[start..end]) {
            return Err(problem("`\\/` is no escape sequence of YAML", self.original(start)));
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

/// What may stand for each: what the text does not have, three bytes long.
fn substitutes_for(text: &str) -> Vec<Substitute> {
    let used = private(text);
    let mut characters = PRIVATE.filter(|c| !used.contains(c)).map(String::from);
    let mut escapes = (1..32).map(|byte| format!("%{byte:02x}")).filter(|escape| !text.contains(escape));
    let replacement = |(original, in_tag): (char, bool)| {
        let replacement = if in_tag { escapes.next() } else { characters.next() };
        replacement.map(|replacement| Substitute { original, replacement, in_tag })
    };
    HIDDEN.into_iter().filter_map(replacement).collect()
}

/// The private characters that a text has, as they are or as escapes.
fn private(text: &str) -> HashSet<char> {
    let escape = |(at, escape): (usize, &str)| {
        let digits = text.get(at + 2..at + if escape == "\\u" { 6 } else { 10 })?;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    };
    let escaped = ["\\u", "\\U"].into_iter().flat_map(|it| text.match_indices(it)).filter_map(escape);
    text.chars().chain(escaped).filter(|c| PRIVATE.contains(c)).collect()
}

/// A character to substitute.
struct Misread {
    at: usize,
    in_tag: bool,
}

/// The characters to substitute, in order.
fn misread(text: &str) -> Vec<Misread> {
    let (mut found, mut tag_end) = (Vec::new(), 0);
    // The end of the word that the last `!` was in, and its last comma and `>,`.
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

/// Whether what follows can begin a node, and not go on in a plain scalar.
fn starts_node(before: &str) -> bool {
    let end = before.trim_end();
    let apart = end.len() < before.len();
    match end.chars().next_back() {
        None | Some('[' | '{' | ',') => true,
        Some(':' | '?') => apart,
        // Between braces it would be a part of a text.
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

/// Whether a colon ends a plain word before a comma, brace or bracket.
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
