//! Files to documents, and documents to JSON values.

use std::borrow::Cow;

use serde::Deserialize as _;
use serde_json::Value;

use super::encoding::{BYTE_ORDER_MARK, MARK_HINT};
use super::problem::ParseProblem;
use super::scalar;
use super::yaml::{self, DecodedDocument, FileExtent, MAX_DEPTH, MAX_MAPS, TOO_MANY_MAPS};

/// The largest document that is read. The API server accepts 3 MiB for one object, so a larger document is a list.
const MAX_BYTES: usize = 16 << 20;

/// The format of a file, by its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Extension {
    Yaml,
    Json,
}

/// The format of the file `path`; `None` if a file of this name holds no manifests.
pub(super) fn extension(path: &str) -> Option<Extension> {
    let name = path.rsplit('/').next()?;
    match name.rsplit_once('.')?.1 {
        "yaml" | "yml" => Some(Extension::Yaml),
        "json" => Some(Extension::Json),
        _ => None,
    }
}

/// The part of a file that holds one document: the bytes from `start` to `end`, beginning on line `line`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DocumentRange {
    start: usize,
    end: usize,
    line: u32,
}

impl DocumentRange {
    pub(super) fn bytes<'a>(&self, content: &'a [u8]) -> &'a [u8] {
        &content[self.start..self.end]
    }

    /// Begins the document after a byte order mark at the start of the line after its `---`.
    fn skip_mark(&mut self, content: &[u8]) {
        let bytes = self.bytes(content);
        let separator = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        if is_blank(&bytes[..separator]) && bytes[separator..].starts_with(BYTE_ORDER_MARK) {
            self.line += u32::from(separator > 0);
            self.start += separator + BYTE_ORDER_MARK.len();
        }
    }

    /// The line and column, from 1, of a byte of the document.
    pub(super) fn line_and_column(&self, content: &[u8], at: usize) -> (u32, u32) {
        let at = self.start + at.min(self.end - self.start);
        let lines = content[self.start..at].iter().filter(|byte| **byte == b'\n').count();
        let line_start = content[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let before = &content[line_start..at];
        // A byte order mark at the start of a line has no width.
        let before = before.strip_prefix(BYTE_ORDER_MARK).unwrap_or(before);
        let column = String::from_utf8_lossy(before).chars().count() + 1;
        (self.line + lines as u32, column as u32)
    }
}

/// The documents of a file, without those that have only blank lines and comments.
///
/// A document ends *before* the line break that precedes `---`, as in Kubernetes: a block scalar at its end loses its final
/// newline. A byte order mark at the start of a document is no part of it.
pub(super) fn split(content: &[u8], extension: Extension) -> Vec<DocumentRange> {
    let start = if content.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let whole = DocumentRange { start, end: content.len(), line: 1 };
    if extension == Extension::Json {
        return if whole.bytes(content).is_empty() { Vec::new() } else { vec![whole] };
    }
    let mut documents = Vec::new();
    let mut document = whole;
    let mut line = 1;
    let mut line_start = start;
    loop {
        if content[line_start..].starts_with(b"---") {
            if line_start > start {
                document.end = line_start - 1;
                documents.push(document);
            }
            document = DocumentRange { start: line_start + 3, end: content.len(), line };
            document.skip_mark(content);
        }
        match content[line_start..].iter().position(|byte| *byte == b'\n') {
            Some(length) => line_start += length + 1,
            None => break,
        }
        line += 1;
    }
    documents.push(document);
    documents.retain(|document| !is_blank(document.bytes(content)));
    documents
}

fn is_blank(bytes: &[u8]) -> bool {
    let blank = |line: &[u8]| {
        // Most lines start with plain text, so that decoding them is not needed.
        if line.first().is_some_and(u8::is_ascii_alphanumeric) {
            return false;
        }
        std::str::from_utf8(line).is_ok_and(|line| matches!(line.trim_start().bytes().next(), None | Some(b'#')))
    };
    bytes.split(|byte| *byte == b'\n').all(blank)
}

/// Reads the value of a document, and adds its size to that of its file.
pub(super) fn decode(
    content: &[u8],
    document: &DocumentRange,
    extension: Extension,
    file: &mut FileExtent,
) -> Result<DecodedDocument, ParseProblem> {
    let bytes = document.bytes(content);
    let problem = |message: &str, at| ParseProblem { message: message.to_owned(), at };
    if bytes.len() > MAX_BYTES {
        return Err(problem("a document must not be longer than 16 MiB", 0));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| problem("the text is not UTF-8", error.valid_up_to()))?;
    if is_json(text, extension) { json(text, file) } else { yaml::compose(text, file) }
}

/// `true` if a document is read as JSON and not as YAML.
pub(super) fn is_json(text: &str, extension: Extension) -> bool {
    extension == Extension::Json || text.trim_start().starts_with('{')
}

/// The byte position of the first text that is neither blank nor a comment; 0 if there is none.
pub(super) fn first_text(document: &[u8]) -> usize {
    let mut at = 0;
    for line in document.split_inclusive(|byte| *byte == b'\n') {
        let indent = line.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if line.get(indent).is_some_and(|byte| *byte != b'#') {
            return at + indent;
        }
        at += line.len();
    }
    0
}

/// The hint for a document that cannot be read, by the mistake that its text suggests.
pub(super) fn hint(content: &[u8], document: &DocumentRange) -> &'static str {
    let text = String::from_utf8_lossy(document.bytes(content));
    if text.contains("{{") {
        "The text has `{{`, so it seems to be a template. Render it first, or give the file another extension than .yaml."
    } else if text.contains('\u{feff}') {
        MARK_HINT
    } else if text.contains("<<<<<<<") {
        "The text has `<<<<<<<`, so it seems to have an unresolved merge conflict. Resolve the conflict."
    } else if text.trim_start().starts_with('{') {
        "A document that starts with `{` is read as JSON and not as YAML. Correct it, or write it as YAML without the braces."
    } else if text.contains("\n\t") || text.starts_with('\t') {
        "YAML does not allow tabs as indentation. Use spaces."
    } else {
        "Correct the text at this place. The mistake can also be on the lines before it."
    }
}

fn json(text: &str, file: &mut FileExtent) -> Result<DecodedDocument, ParseProblem> {
    let stated = stated(text.as_bytes(), &mut file.maps)
        .map_err(|(message, at)| ParseProblem { message: message.to_owned(), at })?;
    let text = replace_lone_surrogates(text);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let mut value = value.map_err(|error| ParseProblem {
        message: error.to_string().split(" at line").next().unwrap_or_default().to_owned(),
        at: byte_at(&text, error.line(), error.column()),
    })?;
    whole_numbers(&mut value);
    Ok(DecodedDocument { repeats: fields(&value) < stated, value })
}

fn byte_at(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    start + column.saturating_sub(1)
}

/// The number of fields in a JSON text. A message and a position where the nesting passes [`MAX_DEPTH`] or the number of maps
/// in the file passes [`MAX_MAPS`].
fn stated(bytes: &[u8], maps: &mut usize) -> Result<usize, (&'static str, usize)> {
    let (mut depth, mut quoted, mut escaped, mut colons) = (0_usize, false, false, 0);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                *maps += usize::from(*byte == b'{');
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            b':' if !quoted => colons += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(("maps and lists are nested too deeply", at));
        }
        if *maps > MAX_MAPS {
            return Err((TOO_MANY_MAPS, at));
        }
    }
    Ok(colons)
}

/// The number of fields in a value, at every depth.
fn fields(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(fields).sum::<usize>(),
        Value::Array(items) => items.iter().map(fields).sum(),
        _ => 0,
    }
}

/// Replaces each half of a surrogate pair by U+FFFD, as Go does: `serde_json` refuses it.
pub(super) fn replace_lone_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            _ => rest.char_indices().nth(2).map_or(rest.len(), |(length, _)| length),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn whole_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Number(number) if !number.is_i64() => {
            if let Some(whole) = number.as_f64().and_then(scalar::whole_or_float) {
                *number = whole;
            }
        }
        _ => {}
    }
}
