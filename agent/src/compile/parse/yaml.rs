//! YAML to JSON values, as Kubernetes reads it: a composer over the events of libyaml's parser. It is not recursive, and it
//! limits the depth, the number of maps and the size that aliases expand to.

use std::collections::HashMap;

use libyaml_safer::{EventData, ScalarStyle};
use serde_json::{Map, Value};

use super::events::{YamlEvent, YamlEvents, is_merge, resolve};
use super::problem::{ParseProblem, problem};
use super::scalar::{self, Scalar};
use super::scanner_workarounds::ScannerInput;

/// The largest number of maps in a file. Each map takes hundreds of bytes of memory, also if its text is short. A file of 50,000
/// small objects has some 200,000.
pub(super) const MAX_MAPS: usize = 500_000;
pub(super) const TOO_MANY_MAPS: &str = "a file must not have more than 500,000 maps";

/// The deepest nesting of maps and lists: far above real manifests, and far below a depth that exhausts the stack.
pub(super) const MAX_DEPTH: usize = 500;

/// The largest number of bytes that anchors may keep and aliases may repeat in a file: many times the largest file.
const MAX_COPIES: usize = 256 << 20;

/// The bytes that a map entry takes beside key and value. A map with one entry has room for eleven.
const ENTRY: usize = 600;

/// The size of the documents of a file that were read so far. Their values are in memory together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FileExtent {
    pub(super) maps: usize,
    /// The number of bytes that anchors keep and aliases repeated.
    copies: usize,
}

impl FileExtent {
    /// That of a file with room for a small text only.
    pub(super) fn of_small_text() -> Self {
        Self { maps: MAX_MAPS - 10_000, copies: MAX_COPIES - (1 << 20) }
    }
}

/// The value of a document.
pub(super) struct DecodedDocument {
    pub(super) value: Value,
    /// `true` if a map may have a key twice. A merge can make it `true` for a map that has each key once.
    pub(super) repeats: bool,
}

/// A map or list whose end was not read yet.
struct OpenNode {
    content: OpenContent,
    anchor: Option<String>,
    /// The number of nodes that were read before this one.
    nodes_before: u64,
}

enum OpenContent {
    List(Vec<Value>),
    Map { map: Map<String, Value>, key: Option<MapKey> },
}

enum MapKey {
    Text(String),
    Merge,
}

/// A complete node.
struct YamlNode {
    value: Value,
    anchor: Option<String>,
    /// The number of nodes that were read before this one.
    nodes_before: u64,
}

/// A complete node with an anchor, which aliases can repeat.
#[derive(Clone)]
struct Anchored {
    value: Value,
    /// The number of nodes in it, with its aliases expanded.
    nodes: u64,
    extent: Extent,
    /// The node's scalar, which can be a key; `None` for maps and lists.
    scalar: Option<Scalar>,
}

/// The size of a value.
#[derive(Clone, Copy)]
struct Extent {
    bytes: usize,
    /// The nesting of maps and lists.
    depth: usize,
}

impl Extent {
    fn of(value: &Value) -> Self {
        let own = size_of::<Value>();
        match value {
            Value::String(text) => Self { bytes: own + text.len(), depth: 0 },
            Value::Array(items) => Self::around(items.iter().map(Self::of)),
            Value::Object(map) => Self::around(map.iter().map(|(key, value)| {
                let value = Self::of(value);
                Self { bytes: ENTRY + key.len() + value.bytes, ..value }
            })),
            Value::Null | Value::Bool(_) | Value::Number(_) => Self { bytes: own, depth: 0 },
        }
    }

    fn around(parts: impl Iterator<Item = Self>) -> Self {
        let own = Self { bytes: size_of::<Value>(), depth: 1 };
        parts.fold(own, |all, part| Self { bytes: all.bytes + part.bytes, depth: all.depth.max(part.depth + 1) })
    }
}

/// Reads the first document of `text` and adds its size to that of its file. A problem if Kubernetes does not read it.
pub(super) fn compose(text: &str, file: &mut FileExtent) -> Result<DecodedDocument, ParseProblem> {
    let input = ScannerInput::new(text);
    let mut events = YamlEvents::new(&input)?;
    let mut composer = Composer { file: *file, ..Composer::default() };
    let value = loop {
        let event = events.next()?;
        if let Some(value) = composer.take(event)? {
            break value;
        }
    };
    // The parser reports garbage after the value when it reads the end of the document.
    events.next()?;
    if let Some(at) = composer.infinite.then(|| infinite(&value)).flatten() {
        return Err(problem("infinities and NaN are not allowed: JSON does not have them", at));
    }
    *file = composer.file;
    Ok(DecodedDocument { value, repeats: composer.repeats })
}

/// The prefix of a text in place of an infinity or NaN, followed by its position. JSON does not have these numbers; they are a
/// problem only if no later key or merge overrides them.
const INFINITE: &str = "\0infinite ";

/// The position of the first infinity or NaN in a value.
fn infinite(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => text.strip_prefix(INFINITE)?.parse().ok(),
        Value::Array(items) => items.iter().find_map(infinite),
        Value::Object(map) => map.values().find_map(infinite),
        _ => None,
    }
}

#[derive(Default)]
struct Composer {
    stack: Vec<OpenNode>,
    anchors: HashMap<String, Anchored>,
    /// The size of the file up to here.
    file: FileExtent,
    /// The number of nodes, with aliases expanded.
    nodes: u64,
    /// The number of nodes that aliases repeated.
    copied: u64,
    /// `true` if a map got a key that it already had.
    repeats: bool,
    /// `true` if there was an infinity or NaN.
    infinite: bool,
}

impl Composer {
    /// Takes one event. The value of the document if the event completes it.
    fn take(&mut self, event: YamlEvent) -> Result<Option<Value>, ParseProblem> {
        let at = event.at;
        let nodes_before = self.nodes;
        let node = match event.data {
            EventData::MappingStart { anchor, .. } => {
                self.open(OpenContent::Map { map: Map::new(), key: None }, anchor, at)?;
                return Ok(None);
            }
            EventData::SequenceStart { anchor, .. } => {
                self.open(OpenContent::List(Vec::new()), anchor, at)?;
                return Ok(None);
            }
            EventData::MappingEnd | EventData::SequenceEnd => {
                let frame = self.stack.pop().expect("the parser closes only what it opened");
                let value = match frame.content {
                    OpenContent::List(items) => Value::Array(items),
                    OpenContent::Map { map, .. } => Value::Object(map),
                };
                YamlNode { value, anchor: frame.anchor, nodes_before: frame.nodes_before }
            }
            EventData::Alias { anchor } => {
                let Anchored { value, scalar, .. } = self.alias(&anchor, at)?;
                if self.expects_key() {
                    let key =
                        scalar.and_then(scalar::key).ok_or_else(|| problem("this value cannot be a map key", at))?;
                    self.set_key(MapKey::Text(key));
                    return Ok(None);
                }
                if self.merges() && !value.is_object() {
                    return Err(problem("a merge needs a map or a list of maps", at));
                }
                YamlNode { value, anchor: None, nodes_before }
            }
            EventData::Scalar { anchor, tag, value, plain_implicit, style, .. } => {
                self.nodes += 1;
                let plain = style == ScalarStyle::Plain && plain_implicit;
                if self.expects_key() {
                    return self.key(value, tag.as_deref(), plain, anchor, at);
                }
                let scalar = resolve(value, tag.as_deref(), plain, at)?;
                self.anchor_scalar(anchor, &scalar, at)?;
                YamlNode { value: self.value(scalar, at), anchor: None, nodes_before }
            }
            _ => return Err(problem("the document ends too early", at)),
        };
        self.complete(node, at)
    }

    fn open(&mut self, content: OpenContent, anchor: Option<String>, at: usize) -> Result<(), ParseProblem> {
        if self.expects_key() {
            return Err(problem("a map key must be a scalar", at));
        }
        if self.stack.len() == MAX_DEPTH {
            return Err(problem("maps and lists are nested too deeply", at));
        }
        self.file.maps += usize::from(matches!(content, OpenContent::Map { .. }));
        if self.file.maps > MAX_MAPS {
            return Err(problem(TOO_MANY_MAPS, at));
        }
        self.stack.push(OpenNode { content, anchor, nodes_before: self.nodes });
        self.nodes += 1;
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(OpenNode { content: OpenContent::Map { key: None, .. }, .. }))
    }

    fn merges(&self) -> bool {
        matches!(self.stack.last(), Some(OpenNode { content: OpenContent::Map { key: Some(MapKey::Merge), .. }, .. }))
    }

    /// Keeps a scalar that has an anchor, for aliases.
    fn anchor_scalar(&mut self, anchor: Option<String>, scalar: &Scalar, at: usize) -> Result<(), ParseProblem> {
        let Some(anchor) = anchor else { return Ok(()) };
        let value = self.value(scalar.clone(), at);
        self.anchor(anchor, (value, Some(scalar.clone())), 1, at)
    }

    /// The value of a scalar; for an infinity or NaN a text in its place.
    fn value(&mut self, scalar: Scalar, at: usize) -> Value {
        scalar::value(scalar).unwrap_or_else(|| {
            self.infinite = true;
            Value::String(format!("{INFINITE}{at}"))
        })
    }

    fn key(
        &mut self,
        text: String,
        tag: Option<&str>,
        plain: bool,
        anchor: Option<String>,
        at: usize,
    ) -> Result<Option<Value>, ParseProblem> {
        let merge = is_merge(&text, tag, plain);
        let scalar = resolve(text, tag, plain, at)?;
        self.anchor_scalar(anchor, &scalar, at)?;
        let text = scalar::key(scalar).ok_or_else(|| problem("this value cannot be a map key", at))?;
        self.set_key(if merge { MapKey::Merge } else { MapKey::Text(text) });
        Ok(None)
    }

    fn set_key(&mut self, new: MapKey) {
        if let Some(OpenNode { content: OpenContent::Map { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(new);
        }
    }

    fn anchor(
        &mut self,
        anchor: String,
        (value, scalar): (Value, Option<Scalar>),
        nodes: u64,
        at: usize,
    ) -> Result<(), ParseProblem> {
        let extent = Extent::of(&value);
        self.copy(extent, at)?;
        self.anchors.insert(anchor, Anchored { value, nodes, extent, scalar });
        Ok(())
    }

    /// Counts the bytes of a copy before it is made. A problem if there are too many.
    fn copy(&mut self, extent: Extent, at: usize) -> Result<(), ParseProblem> {
        self.file.copies += extent.bytes;
        if self.file.copies > MAX_COPIES {
            return Err(problem("anchors and aliases repeat too much text", at));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: &str, at: usize) -> Result<Anchored, ParseProblem> {
        let Anchored { nodes: size, extent, .. } =
            *self.anchors.get(anchor).ok_or_else(|| problem("the alias names an anchor that is not before it", at))?;
        if self.stack.len() + extent.depth > MAX_DEPTH {
            return Err(problem("maps and lists are nested too deeply", at));
        }
        self.copy(extent, at)?;
        self.nodes += 1 + size;
        self.copied += size;
        // The bound of go-yaml: https://github.com/go-yaml/yaml/blob/v2.4.0/decode.go (allowedAliasRatio).
        let share = self.copied as f64 / self.nodes as f64;
        let allowed = match self.nodes {
            ..=400_000 => 0.99,
            4_000_000.. => 0.10,
            nodes => 0.99 - 0.89 * (nodes - 400_000) as f64 / 3_600_000.0,
        };
        if self.copied > 100 && self.nodes > 1000 && share > allowed {
            return Err(problem("the aliases expand to much more than the document itself", at));
        }
        Ok(self.anchors[anchor].clone())
    }

    /// Adds a complete node to the map or list around it. The value of the document if there is none around it.
    fn complete(&mut self, node: YamlNode, at: usize) -> Result<Option<Value>, ParseProblem> {
        let YamlNode { value, anchor, nodes_before } = node;
        if let Some(anchor) = anchor {
            self.anchor(anchor, (value.clone(), None), self.nodes - nodes_before, at)?;
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => return Ok(Some(value)),
            Some(OpenContent::List(items)) => items.push(value),
            Some(OpenContent::Map { map, key }) => match key.take() {
                Some(MapKey::Text(key)) => self.repeats |= map.insert(key, value).is_some(),
                Some(MapKey::Merge) => {
                    merge(map, value).ok_or_else(|| problem("a merge needs a map or a list of maps", at))?
                }
                None => return Err(problem("this value cannot be a map key", at)),
            },
        }
        Ok(None)
    }
}

/// Merges a map, or a list of maps, into `map`. Merged keys override earlier keys of `map`; in a list the first map wins. `None`
/// if `value` is neither.
fn merge(map: &mut Map<String, Value>, value: Value) -> Option<()> {
    match value {
        Value::Object(other) => map.extend(other),
        Value::Array(items) => {
            for item in items.into_iter().rev() {
                let Value::Object(other) = item else { return None };
                map.extend(other);
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compose(text: &str) -> Result<DecodedDocument, ParseProblem> {
        super::compose(text, &mut FileExtent::default())
    }

    fn json(text: &str) -> String {
        compose(text).map_or_else(|problem| format!("error: {}", problem.message), |read| read.value.to_string())
    }

    #[test]
    fn values_are_what_kubernetes_reads() {
        let table = [
            ("a: !!binary aGVsbG8=", r#"{"a":"hello"}"#),
            ("a: !foo bar", r#"{"a":"bar"}"#),
            ("a: ! 12", r#"{"a":"12"}"#),
            ("a: !!str [b]", r#"{"a":["b"]}"#),
            ("a: !!int \"1\"", r#"{"a":1}"#),
            ("yes: 1", r#"{"true":1}"#),
            ("a: 1\na: 2", r#"{"a":2}"#),
            ("x: &x {a: 1, b: 1}\nz: {a: 2, <<: *x, b: 2}", r#"{"x":{"a":1,"b":1},"z":{"a":1,"b":2}}"#),
            ("x: &x {a: 1}\nw: &y {a: 2}\nz: {<<: [*x, *y]}", r#"{"w":{"a":2},"x":{"a":1},"z":{"a":1}}"#),
            ("\"<<\": {a: 1}", r#"{"<<":{"a":1}}"#),
            ("{a:1}", r#"{"a:1":null}"#),
            ("a:\tb", r#"{"a":"b"}"#),
            ("\u{feff}a: b", "{\"\u{feff}a\":\"b\"}"),
            ("\u{feff}a: \"\\ue000\"", "{\"\u{feff}a\":\"\u{e000}\"}"),
            ("a: b\n...\n]", r#"{"a":"b"}"#),
            ("a: \"h\"#c", r#"{"a":"h"}"#),
            ("a: |# c\n  x", r#"{"a":"x"}"#),
            ("a: 'x!y, z'", r#"{"a":"x!y, z"}"#),
            ("a: x!y,z", r#"{"a":"x!y,z"}"#),
            ("a: b\\", r#"{"a":"b\\"}"#),
            ("a: &x b\n*x : c", r#"{"a":"b","b":"c"}"#),
            ("a: &x 0x10\n*x : c", r#"{"16":"c","a":16}"#),
            ("a: &x 1234567.0\n*x : c", r#"{"1.234567e+06":"c","a":1234567}"#),
            ("{a: 0x:, b: [c:], d: e}", r#"{"a":"0x:","b":["c:"],"d":"e"}"#),
            ("# c\n{\"a\":[1], 'b':{c: d}}", r#"{"a":[1],"b":{"c":"d"}}"#),
            ("x: {a: .inf, <<: {a: 1}}\nz: -.inf\nz: 2", r#"{"x":{"a":1},"z":2}"#),
            (r#"x: "\0infinite 3""#, r#"{"x":"\u0000infinite 3"}"#),
            ("a: [!x, b]", r#"{"a":["b"]}"#),
            ("a: !x,[y] b\nc: &c !x, y\nd: {b: c !x, d: e}", r#"{"a":"b","c":"y","d":{"b":"c !x","d":"e"}}"#),
            ("- &a !!int, 1\n- !!int 1\n- 'a: !x,%01'", r#"["1",1,"a: !x,%01"]"#),
            ("a: x?y\nb: ?x", r#"{"a":"x?y","b":"?x"}"#),
        ];
        for (text, expected) in table {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    #[test]
    fn documents_that_kubernetes_refuses_are_refused() {
        let table = [
            "a: .inf",
            "a: \"\\/\"",
            "a: \"\\ud83d\\ude00\"",
            "a: \"\\q\"",
            "%YAML 1.1\n---\na: b",
            "a:\n\tb: c",
            "a: {{ .Values.x }}",
            "a: [!<x>, b]",
            "a: [!x]",
            "a: \"\\",
            "a: *b",
            "a: &a [*a]",
            "~: 1",
            "[a]: 1",
            "<<: 1",
            "18446744073709551615: 1",
            "a: &x.y 1",
            "a: \u{0007}",
            "a: b\n]",
            "a: [x?y]",
            "a: {b: http://c/?d}",
            "a: &a [{b: c}]\nd: {<<: *a}",
            "a: !!timestamp 5",
        ];
        for text in table {
            assert!(compose(text).is_err(), "{text}: {}", json(text));
        }
    }

    #[test]
    fn nesting_and_aliases_are_bounded() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(compose(&nested(200)).is_ok());
        assert!(compose(&"[".repeat(100_000)).is_err());
        assert!(compose(&"- ".repeat(100_000)).is_err());
        assert!(compose(&"? ".repeat(100_000)).is_err());
        let honest = format!("a: &a {{x: 1, y: 2}}\nb: [{}]", "*a, ".repeat(500));
        assert!(compose(&honest).is_ok());
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (level, name) in ('b'..='i').enumerate() {
            let above = char::from(b'a' + level as u8);
            bomb.push_str(&format!("{name}: &{name} [{}]\n", format!("*{above}, ").repeat(10)));
        }
        assert!(compose(&bomb).is_err());
        let mut deep = "a0: &a0 []\n".to_owned();
        for level in 1..10 {
            let (open, close) = ("[".repeat(100), "]".repeat(100));
            deep.push_str(&format!("a{level}: &a{level} {open}*a{}{close}\n", level - 1));
        }
        assert!(compose(&deep).is_err());
        let long = "x".repeat(1 << 20);
        assert!(compose(&format!("a: &a {long}\nb: [{}]", "*a, ".repeat(50))).is_ok());
        assert!(compose(&format!("a: &a {long}\nb: [{}]", "*a, ".repeat(500))).is_err());
    }

    #[test]
    fn the_documents_of_a_file_are_bounded_together() {
        let long = format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(100));
        let maps = format!("a: [{}]", "{},".repeat(MAX_MAPS / 2));
        for (text, documents) in [(long, 2), (maps, 2)] {
            let mut file = FileExtent::default();
            let read = (0..4).take_while(|_| super::compose(&text, &mut file).is_ok()).count();
            assert!(read <= documents, "{read}");
        }
    }
}
