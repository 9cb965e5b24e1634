//! The positions of all keys and values in a document, for [`super::locate`]. They are read from the text when a finding needs
//! them, so that parsed files do not keep them in memory.

use std::collections::{BTreeMap, HashMap};

use libyaml_safer::{EventData, ScalarStyle};

use super::events::{YamlEvent, YamlEvents, is_merge, resolve};
use super::problem::ParseProblem;
use super::scanner_workarounds::ScannerInput;
use super::yaml::MAX_DEPTH;
use super::{documents, scalar};

/// The size of a document above which findings have the position of the document instead of the field's.
const MAX_BYTES: usize = 4 << 20;

/// The positions in one document, as a tree of nodes with the root first. In a document that cannot be read it ends where
/// reading ends.
#[derive(Debug, Default)]
pub(super) struct DocumentSpans {
    pub(super) nodes: Vec<SpanNode>,
    /// The byte position of each line but the first.
    lines: Vec<usize>,
    /// The number of characters before each [`PIECE`] of the document, because a line may be as long as the document.
    characters: Vec<usize>,
}

/// The number of bytes that are counted again for each column.
const PIECE: usize = 1024;

/// A map, a list or a scalar.
#[derive(Debug)]
pub(super) struct SpanNode {
    /// The byte position in the document.
    pub(super) at: usize,
    pub(super) content: SpanContent,
}

#[derive(Debug)]
pub(super) enum SpanContent {
    Leaf,
    Map(Vec<SpanEntry>),
    /// The indices of the items' nodes.
    List(Vec<usize>),
    /// The index of the anchored node, which is before this one.
    Alias(usize),
}

/// A key and the index of its value.
#[derive(Debug)]
pub(super) struct SpanEntry {
    /// The key; `None` for a merge.
    pub(super) key: Option<Box<str>>,
    pub(super) at: usize,
    pub(super) value: usize,
}

impl DocumentSpans {
    /// Reads the positions in a document.
    pub(super) fn of(document: &[u8], json: bool) -> Self {
        let lines = document.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        let mut builder = SpanBuilder::default();
        match std::str::from_utf8(document) {
            Ok(text) if text.len() <= MAX_BYTES && json => builder.read_json(text),
            // The nodes before a mistake in the document are kept.
            Ok(text) if text.len() <= MAX_BYTES => drop(builder.read_yaml(text)),
            _ => {}
        }
        if builder.nodes.is_empty() {
            builder.add(documents::first_text(document), SpanContent::Leaf);
        }
        let before = document.chunks(PIECE).scan(0, |before, piece| {
            let here = *before;
            *before += characters(piece);
            Some(here)
        });
        Self { nodes: builder.nodes, lines, characters: before.collect() }
    }

    /// The keys that a map has several times, each with all its positions.
    pub(super) fn repeated(&self) -> Vec<(&str, Vec<usize>)> {
        let maps = self.nodes.iter().filter_map(|node| match &node.content {
            SpanContent::Map(entries) => Some(entries),
            _ => None,
        });
        maps.flat_map(|entries| {
            let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
            for entry in entries {
                if let Some(key) = entry.key.as_deref() {
                    places.entry(key).or_default().push(entry.at);
                }
            }
            places.into_iter().filter(|(_, places)| places.len() > 1)
        })
        .collect()
    }

    /// The line of a byte, counted from 0, and the byte where that line starts.
    pub(super) fn line(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at);
        (line, line.checked_sub(1).map_or(0, |before| self.lines[before]))
    }

    /// The number of characters before a byte. `document` is the text that these spans were read from.
    pub(super) fn characters_before(&self, document: &[u8], at: usize) -> usize {
        let at = at.min(document.len());
        let piece = (at / PIECE).min(self.characters.len().saturating_sub(1));
        self.characters.get(piece).copied().unwrap_or(0) + characters(&document[piece * PIECE..at])
    }
}

/// The number of characters that begin in a piece of UTF-8.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}

#[derive(Default)]
struct SpanBuilder {
    nodes: Vec<SpanNode>,
    open: Vec<OpenSpan>,
    /// The node of each anchor, and its text if the node can be a key.
    anchors: HashMap<String, (usize, Option<Box<str>>)>,
}

/// A map or list whose end was not read yet.
struct OpenSpan {
    node: usize,
    anchor: Option<String>,
    /// In a map after a key was read: the key and its position.
    key: Option<(Option<Box<str>>, usize)>,
}

impl SpanBuilder {
    /// Adds a node to the innermost open map or list.
    fn add(&mut self, at: usize, content: SpanContent) -> usize {
        let node = self.nodes.len();
        if let Some(open) = self.open.last_mut() {
            match (&mut self.nodes[open.node].content, open.key.take()) {
                (SpanContent::Map(entries), Some((key, at))) => entries.push(SpanEntry { key, at, value: node }),
                (SpanContent::List(items), _) => items.push(node),
                _ => {}
            }
        }
        self.nodes.push(SpanNode { at, content });
        node
    }

    fn open(&mut self, at: usize, content: SpanContent, anchor: Option<String>) {
        let node = self.add(at, content);
        self.open.push(OpenSpan { node, anchor, key: None });
    }

    fn close(&mut self) {
        if let Some(OpenSpan { node, anchor: Some(anchor), .. }) = self.open.pop() {
            self.anchors.insert(anchor, (node, None));
        }
    }

    fn expects_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| open.key.is_none() && matches!(self.nodes[open.node].content, SpanContent::Map(_)))
    }

    fn key(&mut self, key: Option<Box<str>>, at: usize) {
        if let Some(open) = self.open.last_mut() {
            open.key = Some((key, at));
        }
    }

    fn read_yaml(&mut self, text: &str) -> Result<(), ParseProblem> {
        let input = ScannerInput::new(text);
        let mut events = YamlEvents::new(&input)?;
        loop {
            let event = events.next()?;
            self.take(event, text)?;
            if self.open.is_empty() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, event: YamlEvent, text: &str) -> Result<(), ParseProblem> {
        let YamlEvent { data, at } = event;
        match data {
            EventData::MappingEnd | EventData::SequenceEnd => self.close(),
            EventData::MappingStart { .. } | EventData::SequenceStart { .. }
                if self.expects_key() || self.open.len() == MAX_DEPTH =>
            {
                return Err(ParseProblem { message: "not located any further".to_owned(), at });
            }
            EventData::MappingStart { anchor, .. } => {
                self.open(content(text, at), SpanContent::Map(Vec::new()), anchor)
            }
            EventData::SequenceStart { anchor, .. } => {
                self.open(content(text, at), SpanContent::List(Vec::new()), anchor)
            }
            EventData::Alias { anchor } => {
                let Some((node, key)) = self.anchors.get(&anchor).cloned() else { return Ok(()) };
                if self.expects_key() {
                    self.key(key, at);
                } else {
                    self.add(at, SpanContent::Alias(node));
                }
            }
            EventData::Scalar { anchor, tag, value, plain_implicit, style, .. } => {
                let plain = style == ScalarStyle::Plain && plain_implicit;
                let merge = is_merge(&value, tag.as_deref(), plain);
                let key = || scalar::key(resolve(value, tag.as_deref(), plain, at).ok()?).map(Into::into);
                let at = content(text, at);
                if self.expects_key() {
                    let key: Option<Box<str>> = if merge { None } else { key().or_else(|| Some("".into())) };
                    if let Some(anchor) = anchor {
                        self.nodes.push(SpanNode { at, content: SpanContent::Leaf });
                        self.anchors.insert(anchor, (self.nodes.len() - 1, key.clone()));
                    }
                    self.key(key, at);
                } else {
                    let node = self.add(at, SpanContent::Leaf);
                    anchor.map(|anchor| self.anchors.insert(anchor, (node, key())));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn read_json(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'{' | b'[' if self.open.len() == MAX_DEPTH => return,
                b'{' => self.open(at, SpanContent::Map(Vec::new()), None),
                b'[' => self.open(at, SpanContent::List(Vec::new()), None),
                b'}' | b']' => self.close(),
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
                b'"' => {
                    let end = closing_quote(bytes, at);
                    if self.expects_key() {
                        let key: Option<String> = text.get(at..=end).and_then(|key| serde_json::from_str(key).ok());
                        self.key(Some(key.unwrap_or_default().into()), at);
                    } else {
                        self.add(at, SpanContent::Leaf);
                    }
                    at = end;
                }
                _ => {
                    self.add(at, SpanContent::Leaf);
                    let rest = bytes[at..].iter().position(|byte| b",:]} \t\r\n".contains(byte));
                    at += rest.map_or(bytes.len(), |length| length.max(1) - 1);
                }
            }
            at += 1;
        }
    }
}

fn closing_quote(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

/// The position of a node's content, after its anchor and its tag.
fn content(text: &str, start: usize) -> usize {
    let mut at = start;
    while text.get(at..).is_some_and(|rest| rest.starts_with(['&', '!'])) {
        let rest = &text[at..];
        let property = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let space = rest[property..].chars().take_while(|c| c.is_whitespace()).map(char::len_utf8).sum::<usize>();
        at += property + space;
    }
    if text.len() == at { start } else { at }
}
