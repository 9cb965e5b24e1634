//! Where a field is in a document. Reads the document's events again, so that parsing need not keep positions.

use libyaml_safer::EventData;

use super::yaml::{Armour, Event, Events, Problem};

/// Larger documents (lists of many objects) are only located as a whole: a finding per item would read them over and over.
const MAX_BYTES: usize = 128 << 10;

/// Byte position of the deepest part of `path` that the document states: of its key or of its value.
pub(super) fn field(document: &[u8], path: &[&str], key: bool) -> usize {
    let Ok(text) = std::str::from_utf8(document) else { return 0 };
    let start = first_text(document);
    let mut found = Found { key: start, value: start, depth: 0 };
    if document.len() <= MAX_BYTES {
        let armour = Armour::new(text);
        // A document that failed to parse is located as far as it goes.
        let _: Result<(), Problem> = Events::new(&armour).and_then(|mut events| {
            let root = events.next()?;
            found = Found { key: root.at, value: root.at, depth: 0 };
            walk(&mut events, &root, path, 1, &mut found)
        });
    }
    if key && found.depth == path.len() { found.key } else { found.value_or_key(path.len()) }
}

struct Found {
    key: usize,
    value: usize,
    depth: usize,
}

/// Byte position of the first line that is neither blank nor a comment.
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

impl Found {
    /// The value when it is the field that was looked for, else the key of the field above it.
    fn value_or_key(&self, wanted: usize) -> usize {
        if self.depth == wanted { self.value } else { self.key }
    }
}

/// Reads the whole node that starts with `node`, and notes what of `path` it states. Recursive in the length of the path.
fn walk(events: &mut Events<'_>, node: &Event, path: &[&str], depth: usize, found: &mut Found) -> Result<(), Problem> {
    let Some((step, rest)) = path.split_first() else { return skip(events, node) };
    match node.data {
        EventData::MappingStart { .. } => loop {
            let key = events.next()?;
            if matches!(key.data, EventData::MappingEnd) {
                return Ok(());
            }
            let wanted = matches!(&key.data, EventData::Scalar { value, .. } if value == step);
            skip(events, &key)?;
            let value = events.next()?;
            if wanted {
                *found = Found { key: key.at, value: value.at, depth };
                walk(events, &value, rest, depth + 1, found)?;
            } else {
                skip(events, &value)?;
            }
        },
        EventData::SequenceStart { .. } => {
            let wanted = step.parse().unwrap_or(usize::MAX);
            for position in 0.. {
                let item = events.next()?;
                if matches!(item.data, EventData::SequenceEnd) {
                    break;
                }
                if position == wanted {
                    *found = Found { key: item.at, value: item.at, depth };
                    walk(events, &item, rest, depth + 1, found)?;
                } else {
                    skip(events, &item)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads the rest of the node that starts with `node`.
fn skip(events: &mut Events<'_>, node: &Event) -> Result<(), Problem> {
    let change = |event: &Event| match event.data {
        EventData::MappingStart { .. } | EventData::SequenceStart { .. } => 1,
        EventData::MappingEnd | EventData::SequenceEnd => -1,
        _ => 0,
    };
    let mut open = change(node);
    while open > 0 {
        open += change(&events.next()?);
    }
    Ok(())
}
