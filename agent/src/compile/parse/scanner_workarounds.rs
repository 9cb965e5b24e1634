//! Text that libyaml's scanner can be given, without what it reads differently from Kubernetes or panics on.
//!
//! That is hidden behind private characters or escapes that the text does not use, and put back in the scalars: a byte order
//! mark at the start of a line (an ordinary character for Kubernetes), a colon that ends a plain word before a comma, brace or
//! bracket (a part of the word), commas and brackets in a tag (parts of the tag), and `!` where that can be no tag. It also
//! panics on block scalars and escapes at the very end, so that the text always ends with a line break.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;

use libyaml_safer::ScalarStyle;

use super::yaml::{Problem, problem};

/// A text in armour.
pub(super) struct Armour<'a> {
    text: Cow<'a, str>,
    hidden: Vec<Hidden>,
    /// Where the text is two bytes longer than it was.
    longer: Vec<usize>,
    escaped_slash: bool,
    /// The final line break is ours.
    closed: bool,
}

/// What stands for a character.
struct Hidden {
    original: char,
    cover: String,
    /// Whether it stands for it inside of tags, otherwise outside.
    in_tag: bool,
}

/// What can be hidden, and whether in tags.
const HIDDEN: [(char, bool); 6] =
    [('\u{feff}', false), ('!', false), (':', false), (',', true), ('[', true), (']', true)];

/// Characters that mean nothing.
const PRIVATE: RangeInclusive<char> = '\u{e000}'..='\u{f8ff}';

impl<'a> Armour<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let before_spaces = text.trim_end_matches(' ');
        let text = if ends_line(before_spaces) { before_spaces } else { text };
        let closed = !ends_line(text);
        let mut armour = Self {
            text: Cow::Borrowed(text),
            hidden: Vec::new(),
            longer: Vec::new(),
            escaped_slash: text.contains("\\/"),
            closed,
        };
        let odd = odd(text);
        if text.contains('\u{feff}') || !odd.is_empty() {
            armour.hide(text, &odd);
        }
        if closed {
            armour.text.to_mut().push('\n');
        }
        armour
    }

    /// The text to parse.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Hides the byte order marks, and the characters at `odd`.
    fn hide(&mut self, text: &str, odd: &[Odd]) {
        self.hidden = covers(text);
        let mut armoured = String::with_capacity(text.len() + 2 * odd.len());
        let mut odd = odd.iter().peekable();
        for (at, c) in text.char_indices() {
            let place = odd.next_if(|odd| odd.at == at);
            let in_tag = place.is_some_and(|odd| odd.in_tag);
            let hide = place.is_some() || c == '\u{feff}';
            match self.hidden.iter().find(|hidden| hide && (hidden.original, hidden.in_tag) == (c, in_tag)) {
                Some(hidden) => {
                    if hidden.cover.len() > c.len_utf8() {
                        self.longer.push(armoured.len());
                    }
                    armoured.push_str(&hidden.cover);
                }
                None => armoured.push(c),
            }
        }
        self.text = Cow::Owned(armoured);
    }

    /// The byte of the original text that is this byte of the armoured one.
    pub(super) fn original(&self, at: usize) -> usize {
        at - 2 * self.longer.partition_point(|longer| *longer < at)
    }

    /// Makes a scalar what it would have been without armour.
    pub(super) fn restore(
        &self,
        value: &mut String,
        style: ScalarStyle,
        start: usize,
        end: usize,
    ) -> Result<(), Problem> {
        for Hidden { original, cover, in_tag } in &self.hidden {
            if *original == '!' && !in_tag && style == ScalarStyle::Plain && value.starts_with(cover) {
                return Err(problem("a tag must be followed by white space", self.original(start)));
            }
            if value.contains(cover) {
                *value = value.replace(cover, original.encode_utf8(&mut [0; 4]));
            }
        }
        if self.escaped_slash && style == ScalarStyle::DoubleQuoted && escapes_slash(&self.text[start..end]) {
            return Err(problem("`\\/` is no escape sequence of YAML", self.original(start)));
        }
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if self.closed && block && end == self.text.len() && value.ends_with('\n') {
            value.pop();
        }
        Ok(())
    }
}

fn ends_line(text: &str) -> bool {
    text.is_empty() || text.ends_with(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
}

/// What may stand for each: what the text does not have, three bytes long.
fn covers(text: &str) -> Vec<Hidden> {
    let used = private(text);
    let mut characters = PRIVATE.filter(|c| !used.contains(c)).map(String::from);
    let mut escapes = (1..32).map(|byte| format!("%{byte:02x}")).filter(|escape| !text.contains(escape));
    let cover = |(original, in_tag): (char, bool)| {
        let cover = if in_tag { escapes.next() } else { characters.next() };
        cover.map(|cover| Hidden { original, cover, in_tag })
    };
    HIDDEN.into_iter().filter_map(cover).collect()
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

/// A character to hide.
struct Odd {
    at: usize,
    in_tag: bool,
}

/// The characters to hide, in order.
fn odd(text: &str) -> Vec<Odd> {
    let (mut found, mut tag_end) = (Vec::new(), 0);
    // The end of the word that the last `!` was in, and its last comma and `>,`.
    let (mut word_end, mut commas) = (0, [None; 2]);
    for (at, c) in text.match_indices(['!', ':']) {
        if at < tag_end {
            continue;
        }
        if c == ":" {
            if colon_in_word(text, at) {
                found.push(Odd { at, in_tag: false });
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
            found.extend(parts.map(|(part, _)| Odd { at: at + part, in_tag: true }));
            tag_end = word_end;
        } else if commas[usize::from(verbatim)].is_some_and(|comma| comma > at) {
            found.push(Odd { at, in_tag: false });
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
