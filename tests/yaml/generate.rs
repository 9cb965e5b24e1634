//! Manifests from a seed: scalars of every spelling, maps and lists of them, aliases and merges, streams, and plain rubble.

use std::fmt::Write as _;

use fastrand::Rng;

/// The start of every document. `NAME` stands for the name of its file.
pub(crate) const HEAD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: NAME\n";

/// Parts of scalars that have a meaning as a whole.
const WORDS: &[&str] = &[
    "y",
    "yes",
    "on",
    "n",
    "no",
    "off",
    "true",
    "false",
    "null",
    "~",
    "<<",
    "=",
    ".inf",
    "-.inf",
    "+.inf",
    ".nan",
    "-.nan",
    "2024-01-02",
    "2024-01-02T03:04:05Z",
    "2001-12-14 21:59:43.10 -5",
    "190:20:30",
    "1:30",
    "0x1F",
    "0b101",
    "0o17",
    "0644",
    "089",
    "1_000",
    "1_000.5",
    "_1",
    "1e3",
    "1e400",
    "12345e999",
    "1.0",
    "1.",
    ".5",
    "-0",
    "-0.0",
    "0x",
    "0b",
    "0o",
    "1e",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "18446744073709551616",
    "0xffffffffffffffff",
    "0x10000000000000000",
    "-0x8000000000000000",
    "1.7976931348623157e308",
    "5e-324",
    "4.9e-325",
    "123456789012345678901234567890",
    "0.1",
    "1e-7",
    "1e20",
    "1e21",
    "a",
    "foo bar",
    "a:b",
    "a#b",
    "a,b",
    "-",
    "--",
    "?",
    "é",
    "日本",
    "😀",
    "1Gi",
    "100m",
    "v1",
    "1.0.0",
    "1.2.3.4/24",
    "http://a/b?c=d#e",
];

/// Parts of numbers and of text that looks like numbers.
const DIGITS: &[&str] = &[
    "0", "1", "7", "8", "9", "12", "345", "00", "e", "E", "e+", "e-", ".", "_", "+", "-", "x", "o", "b", "X", "a", "F",
    ":", "p",
];

const TAGS: &[&str] = &[
    "!!int",
    "!!str",
    "!!float",
    "!!bool",
    "!!null",
    "!!binary",
    "!!timestamp",
    "!!merge",
    "!",
    "!foo",
    "!foo!bar",
    "!<tag:yaml.org,2002:int>",
    "!<x>",
    "!!seq",
    "!!map",
];

/// Pieces of double-quoted scalars.
const ESCAPES: &[&str] = &[
    "\\n",
    "\\t",
    "\\\\",
    "\\\"",
    "\\0",
    "\\a",
    "\\e",
    "\\x41",
    "\\u00e9",
    "\\U0001F600",
    "\\ ",
    "\\_",
    "\\N",
    "\\L",
    "\\P",
    "\\\n    ",
    "\n    ",
    "\n\n    ",
    "a",
    " ",
    "'",
    "é",
    "#",
    ": ",
    "{",
    "\\/",
    "\\ud83d",
    "\\q",
    "\\x4",
];

/// Lines of block scalars.
const LINES: &[&str] = &["a", "b c", "", " d", "  e", "# f", "g: h", "- i", "j\\", "'k", "\tl", "m\t", "n ", "é"];

/// Parts of random text that is hardly YAML.
const RUBBLE: &[&str] = &[
    "a", "b: ", "c", ": ", ":", "- ", "? ", "  ", "    ", "\n", "\n  ", "\n    ", "\n- ", "\n  - ", "\t", "\"", "'",
    "\\", "{", "}", "[", "]", ",", ", ", "|", ">", "|+", ">-", "|2", "&a ", "*a", "*a : ", "!x ", "!!int ", "!", "#",
    " #", " # c\n", "<<: ", "~", "0", "1", "@", "`", "%", "\u{85}", "\u{2028}", "\r\n", "-", "...", "e\u{301}",
    "\u{feff}", "\u{a0}",
];

/// One file: its text, with `NAME` for its name, perhaps after a byte order mark.
pub(crate) fn file(rng: &mut Rng) -> String {
    let mark = pick(rng, &["", "", "", "", "\u{feff}"]);
    format!("{mark}{}", content(rng))
}

fn content(rng: &mut Rng) -> String {
    match rng.u8(0..20) {
        0..=5 => format!("{HEAD}x: {}\n", scalar(rng)),
        6..=8 => format!("{HEAD}x:\n  {}: 1\n", key(rng)),
        9 => format!("{HEAD}x: {{{}: {}}}\n", key(rng), scalar(rng)),
        10..=13 => format!("{HEAD}x:{}\n", node(rng, 1, 4)),
        14..=15 => anchored(rng),
        16 => stream(rng),
        _ => format!("{HEAD}x: {}\n", rubble(rng)),
    }
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

fn several(rng: &mut Rng, of: &[&str], most: usize) -> String {
    (0..rng.usize(1..=most)).map(|_| pick(rng, of)).collect()
}

fn rubble(rng: &mut Rng) -> String {
    several(rng, RUBBLE, 10)
}

/// A scalar that fits into a line or brings further ones, indented by four spaces.
fn scalar(rng: &mut Rng) -> String {
    match rng.u8(0..20) {
        0..=5 => plain(rng),
        6..=9 => several(rng, DIGITS, 5),
        10..=11 => format!("{} {}", pick(rng, TAGS), plain(rng)),
        12 => format!("{} {}", pick(rng, TAGS), quoted(rng)),
        13..=15 => quoted(rng),
        16..=17 => block(rng),
        18 => format!("{} # {}", plain(rng), plain(rng)),
        _ => format!("{}\n    {}", plain(rng), plain(rng)),
    }
}

fn plain(rng: &mut Rng) -> String {
    let word = pick(rng, WORDS);
    match rng.u8(0..8) {
        0 => word.to_uppercase(),
        1 => mixed(rng, word),
        2 => format!("{}{word}", pick(rng, &["+", "-", ".", "0", "_", " ", "!"])),
        3 => format!("{word}{}", pick(rng, &["_", ".", "0", " ", "e", ":", "\t", "x"])),
        _ => word.to_owned(),
    }
}

fn mixed(rng: &mut Rng, word: &str) -> String {
    word.chars().map(|c| if rng.bool() { c.to_ascii_uppercase() } else { c }).collect()
}

fn quoted(rng: &mut Rng) -> String {
    match rng.u8(0..4) {
        0 => format!("'{}'", plain(rng).replace('\'', "''")),
        1 => format!("\"{}\"", pick(rng, WORDS)),
        _ => format!("\"{}\"", several(rng, ESCAPES, 4)),
    }
}

fn block(rng: &mut Rng) -> String {
    let mut text = pick(rng, &["|", ">"]).to_owned();
    text.push_str(pick(rng, &["", "", "-", "+", "2", "4", "2-", "+4", " # c"]));
    for _ in 0..rng.u8(0..5) {
        let _ = write!(text, "\n    {}", pick(rng, LINES));
    }
    text.push_str(pick(rng, &["", "", "\n", "\n\n", "\n  # c"]));
    text
}

fn key(rng: &mut Rng) -> String {
    match rng.u8(0..10) {
        0..=4 => plain(rng),
        5..=6 => several(rng, DIGITS, 4),
        7 => format!("{} {}", pick(rng, TAGS), plain(rng)),
        _ => format!("\"{}\"", pick(rng, WORDS)),
    }
}

/// The text after the colon of a key or the dash of an item at this depth.
fn node(rng: &mut Rng, depth: usize, most: usize) -> String {
    let indent = "  ".repeat(depth);
    match rng.u8(0..6) {
        0..=1 if most > 0 => {
            let mut text = String::new();
            for number in 0..rng.u8(1..4) {
                let _ = write!(text, "\n{indent}k{number}:{}", node(rng, depth + 1, most - 1));
            }
            text
        }
        2 if most > 0 => {
            // Items may stand as far left as their key.
            let indent = if rng.bool() { &indent } else { &indent[2..] };
            let mut text = String::new();
            for _ in 0..rng.u8(1..4) {
                let _ = write!(text, "\n{indent}-{}", node(rng, depth + 1, most - 1));
            }
            text
        }
        3 => format!(" {}", flow(rng, 2)),
        _ => format!(" {}", inline(rng)),
    }
}

/// A scalar on one line.
fn inline(rng: &mut Rng) -> String {
    let text = if rng.bool() { plain(rng) } else { quoted(rng) };
    text.replace('\n', " ")
}

fn flow(rng: &mut Rng, most: usize) -> String {
    let items: Vec<String> = (0..rng.u8(0..4))
        .map(|number| {
            let value = if most > 0 && rng.bool() { flow(rng, most - 1) } else { inline(rng) };
            (number, value)
        })
        .map(|(number, value)| format!("k{number}: {value}"))
        .collect();
    let ends = pick(rng, &["", "", ","]);
    let comma = pick(rng, &[", ", ",", ",\n    "]);
    if rng.bool() {
        format!("{{{}{}}}", items.join(comma), if items.is_empty() { "" } else { ends })
    } else {
        let values: Vec<&str> = items.iter().filter_map(|item| item.split_once(": ")).map(|(_, value)| value).collect();
        format!("[{}{}]", values.join(comma), if values.is_empty() { "" } else { ends })
    }
}

/// Anchors and what refers to them.
fn anchored(rng: &mut Rng) -> String {
    let mut text = format!("{HEAD}base: &base {{a: 1, b: {}, e: 2}}\nother: &other {{b: 3, c: 4}}\n", inline(rng));
    let _ = writeln!(text, "text: &text {}\nx:", inline(rng));
    for _ in 0..rng.u8(1..5) {
        let line = match rng.u8(0..9) {
            0 => "<<: *base".to_owned(),
            1 => "<<: [*other, *base]".to_owned(),
            2 => format!("{}: *base", rng.char('a'..='d')),
            3 => format!("{}: *text", rng.char('a'..='d')),
            4 => "*text : 5".to_owned(),
            5 => "'<<': 6".to_owned(),
            6 => "<<: {b: 7, <<: *other}".to_owned(),
            7 => format!("<<: {}", pick(rng, &["*text", "[*base, 1]", "~", "[]", "*none", "!x {a: 8}"])),
            _ => format!("{}: {}", rng.char('a'..='d'), inline(rng)),
        };
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// Several documents.
fn stream(rng: &mut Rng) -> String {
    let mut text = pick(rng, &["", "---\n", "--- # c\n", "# c\n", "\n\n", "# c\n---\n# d\n---\n"]).to_owned();
    let mut mark = "";
    for _ in 0..rng.u8(1..4) {
        let _ = write!(text, "{mark}{HEAD}x: {}", inline(rng));
        let separators = ["\n---\n", "\n---\n---\n", "\n--- # c\n", "\r\n---\r\n", "\n...\n---\n", "\n---\n# c\n---\n"];
        let separator = pick(rng, &separators);
        text.push_str(separator);
        // As `cat` joins the files of an editor that writes byte order marks.
        mark = if separator.matches("---").count() == 1 { pick(rng, &["", "", "\u{feff}"]) } else { "" };
    }
    text.push_str(pick(rng, &["", "\n", "# c", "\n\n"]));
    if rng.u8(0..4) == 0 { text.replace('\n', "\r\n") } else { text }
}

/// A string of a manifest, usual or unusual.
pub(crate) fn text(rng: &mut Rng) -> String {
    match rng.u8(0..12) {
        0..=2 => plain(rng),
        3 => several(rng, DIGITS, 5),
        4 => several(rng, ESCAPES, 4),
        5..=6 => several(rng, RUBBLE, 6),
        7 => (0..rng.u8(1..6)).map(|_| format!("{}\n", pick(rng, LINES))).collect(),
        8 => (0..rng.u8(0..8)).map(|_| rng.char('\0'..='\u{a0}')).collect(),
        9 => (0..rng.u8(0..6)).map(|_| rng.char(..)).collect(),
        10 => several(rng, &["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}", " ", "\t", "a", "\u{feff}", "---", "#"], 6),
        _ => format!("{}{}{}", pick(rng, EDGES), several(rng, LINES, 3), pick(rng, EDGES)),
    }
}

/// Text that has a meaning at the start or the end of a string.
const EDGES: &[&str] = &[
    "",
    " ",
    "\n",
    "\n\n",
    "\t",
    "---",
    "---\n",
    "...",
    "%",
    "@",
    "`",
    "!",
    "&",
    "*",
    "|",
    ">",
    "?",
    "-",
    "- ",
    "#",
    ": ",
    ":",
    "\u{feff}",
    "\u{fffe}",
    "\u{7f}",
    "\0",
    "\u{1b}[0m",
    "\r",
    "\u{10ffff}",
    "=",
    "<<",
    "{",
    "[",
    "\"",
    "'",
];
