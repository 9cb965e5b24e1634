//! YAML to JSON values, exactly as Kubernetes reads it: a composer over the events of libyaml's parser. Bounded in depth and
//! in what aliases may expand to; never recursive.

use std::collections::HashMap;

use libyaml_safer::{EventData, ScalarStyle};
use serde_json::{Map, Value};

use super::events::{YamlEvent, YamlEvents, is_merge, resolve};
use super::problem::{ParseProblem, problem};
use super::scalar::{self, Scalar};
use super::scanner_workarounds::ScannerInput;

/// Maps in a document. Each takes hundreds of bytes, however short its text is.
pub(super) const MAX_MAPS: usize = 1_000_000;
pub(super) const TOO_MANY_MAPS: &str = "a document may not have more than a million maps";

/// Deepest nesting of maps and lists. Far above what anybody writes, far below what would exhaust a stack.
pub(super) const MAX_DEPTH: usize = 500;

/// How many bytes anchors may keep and aliases repeat: more than a document has that is as large as one may be.
const MAX_COPIES: usize = 256 << 20;

/// What an entry of a map takes beside key and value: a map of one has room for eleven.
const ENTRY: usize = 600;

/// The value of a document.
pub(super) struct DecodedDocument {
    pub(super) value: Value,
    /// Whether a map may state a key twice: some that do not are taken for one because of merges.
    pub(super) repeats: bool,
}

/// One map or list that is being filled.
struct OpenNode {
    content: OpenContent,
    anchor: Option<String>,
    /// Nodes read before this one.
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
    /// Nodes read before this one.
    nodes_before: u64,
}

/// A complete node that aliases can refer to.
#[derive(Clone)]
struct Anchored {
    value: Value,
    /// How many nodes it expands to.
    nodes: u64,
    extent: Extent,
    /// The scalar that it is, which can be a key.
    scalar: Option<Scalar>,
}

/// How much a value is.
#[derive(Clone, Copy)]
struct Extent {
    bytes: usize,
    /// Maps and lists in each other.
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

/// Reads the first document of `text`.
pub(super) fn compose(text: &str) -> Result<DecodedDocument, ParseProblem> {
    let input = ScannerInput::new(text);
    let mut events = YamlEvents::new(&input)?;
    let mut composer = Composer::default();
    let value = loop {
        let event = events.next()?;
        if let Some(value) = composer.take(event)? {
            break value;
        }
    };
    // The end of the document is where trailing garbage shows.
    events.next()?;
    if let Some(at) = composer.infinite.then(|| infinite(&value)).flatten() {
        return Err(problem("JSON has no infinities and no NaN", at));
    }
    Ok(DecodedDocument { value, repeats: composer.repeats })
}

/// What stands for infinities and NaN until it is builtin whether they stay: a merge can override them. Their place follows.
const INFINITE: &str = "\0infinite ";

/// Where a value is that JSON does not have.
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
    maps: usize,
    /// Nodes read, those of expanded aliases included.
    nodes: u64,
    /// Nodes that aliases brought.
    copied: u64,
    /// Bytes of what anchors keep and aliases brought.
    copies: usize,
    /// Whether a key came into a map that had it.
    repeats: bool,
    /// Whether there was a value that JSON does not have.
    infinite: bool,
}

impl Composer {
    /// Takes one event; the value when it completes the document.
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
                    let key = scalar.and_then(scalar::key).ok_or_else(|| problem("this is no map key", at))?;
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
            return Err(problem("nested too deeply", at));
        }
        self.maps += usize::from(matches!(content, OpenContent::Map { .. }));
        if self.maps > MAX_MAPS {
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

    /// Remembers a scalar for aliases.
    fn anchor_scalar(&mut self, anchor: Option<String>, scalar: &Scalar, at: usize) -> Result<(), ParseProblem> {
        let Some(anchor) = anchor else { return Ok(()) };
        let value = self.value(scalar.clone(), at);
        self.anchor(anchor, (value, Some(scalar.clone())), 1, at)
    }

    /// The value of a scalar; for one that JSON does not have what stands for it.
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
        let text = scalar::key(scalar).ok_or_else(|| problem("this is no map key", at))?;
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

    /// Counts a copy, before it is made.
    fn copy(&mut self, extent: Extent, at: usize) -> Result<(), ParseProblem> {
        self.copies += extent.bytes;
        if self.copies > MAX_COPIES {
            return Err(problem("anchors and aliases repeat too much", at));
        }
        Ok(())
    }

    fn alias(&mut self, anchor: &str, at: usize) -> Result<Anchored, ParseProblem> {
        let Anchored { nodes: size, extent, .. } =
            *self.anchors.get(anchor).ok_or_else(|| problem("unknown anchor", at))?;
        if self.stack.len() + extent.depth > MAX_DEPTH {
            return Err(problem("nested too deeply", at));
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
            return Err(problem("the aliases expand out of proportion", at));
        }
        Ok(self.anchors[anchor].clone())
    }

    /// Puts a complete node where it belongs.
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
                None => return Err(problem("this is no map key", at)),
            },
        }
        Ok(None)
    }
}

/// Merged keys override what stands before them in the map; in a list the first map wins.
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
    fn what_kubernetes_refuses_is_refused() {
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
}
