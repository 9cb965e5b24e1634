//! A document in the order in which it is written, which the checksum of a sealed file follows.

use std::collections::HashSet;
use std::fmt;

use libyaml_safer::{EventData, ScalarStyle};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::documents::replace_lone_surrogates;
use super::super::events::{YamlEvent, YamlEvents, is_merge, resolve};
use super::super::problem::{ParseProblem, problem};
use super::super::scalar::{self, Scalar};
use super::super::scanner_workarounds::ScannerInput;
use super::super::timestamp::is_timestamp;
use super::{KEY_TWICE, NOT_OF_SOPS};

/// A value with the order of its fields.
#[derive(Debug)]
pub(super) enum Node {
    Map(Vec<Field>),
    List(Vec<Node>),
    Scalar {
        /// The value as Kubernetes reads it.
        value: Value,
        /// The text that the checksum has of it; none for null.
        hashed: Option<String>,
    },
}

/// One field of a map.
#[derive(Debug)]
pub(super) struct Field {
    /// The key as SOPS reads it.
    pub(super) name: String,
    /// The key as Kubernetes reads it.
    pub(super) key: String,
    pub(super) node: Node,
}

/// Reads a document that [`super::super::documents::decode`] has read, so that its depth is limited.
pub(super) fn read(text: &str, is_json: bool) -> Result<Node, ParseProblem> {
    if is_json { json(text) } else { yaml(text) }
}

fn json(text: &str) -> Result<Node, ParseProblem> {
    let text = replace_lone_surrogates(text);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    deserializer.disable_recursion_limit();
    Node::deserialize(&mut deserializer).map_err(|_| problem(KEY_TWICE, 0))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;
        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Scalar { value: Value::Null, hashed: None })
            }

            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Scalar { value: value.into(), hashed: Some(shown_bool(value)) })
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Scalar { value: value.into(), hashed: Some(value.to_string()) })
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
                match i64::try_from(value) {
                    Ok(value) => self.visit_i64(value),
                    Err(_) => self.visit_f64(value as f64),
                }
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Node, E> {
                let number = scalar::whole_or_float(value).map_or(Value::Null, Value::Number);
                Ok(Node::Scalar { value: number, hashed: Some(value.to_string()) })
            }

            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::Scalar { value: value.into(), hashed: Some(value.to_owned()) })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Node::List(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some((key, node)) = entries.next_entry::<String, Node>()? {
                    fields.push(Field { name: key.clone(), key, node });
                }
                match repeats(&fields) {
                    true => Err(serde::de::Error::custom("a key is there twice")),
                    false => Ok(Node::Map(fields)),
                }
            }
        }
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// As SOPS writes it into the checksum.
pub(super) fn shown_bool(value: bool) -> String {
    if value { "True" } else { "False" }.to_owned()
}

fn repeats(fields: &[Field]) -> bool {
    let mut seen = HashSet::new();
    !fields.iter().all(|field| seen.insert(field.key.as_str()))
}

/// A map or list whose end was not read yet.
enum OpenedNode {
    Map { fields: Vec<Field>, key: Option<(String, String)> },
    List(Vec<Node>),
}

fn yaml(text: &str) -> Result<Node, ParseProblem> {
    let input = ScannerInput::new(text);
    let mut events = YamlEvents::new(&input)?;
    let mut stack = Vec::new();
    loop {
        let event = events.next()?;
        if let Some(node) = take(&mut stack, event)? {
            return Ok(node);
        }
    }
}

/// Takes one event. The document if the event completes it.
fn take(stack: &mut Vec<OpenedNode>, YamlEvent { data, at }: YamlEvent) -> Result<Option<Node>, ParseProblem> {
    let expects_key = matches!(stack.last(), Some(OpenedNode::Map { key: None, .. }));
    let node = match data {
        EventData::MappingStart { anchor: None, .. } => {
            stack.push(OpenedNode::Map { fields: Vec::new(), key: None });
            return Ok(None);
        }
        EventData::SequenceStart { anchor: None, .. } => {
            stack.push(OpenedNode::List(Vec::new()));
            return Ok(None);
        }
        EventData::MappingEnd | EventData::SequenceEnd => match stack.pop() {
            Some(OpenedNode::Map { fields, .. }) if repeats(&fields) => {
                return Err(problem(KEY_TWICE, at));
            }
            Some(OpenedNode::Map { fields, .. }) => Node::Map(fields),
            Some(OpenedNode::List(items)) => Node::List(items),
            None => return Err(problem("the document ends too early", at)),
        },
        EventData::Scalar { anchor: None, tag, value, plain_implicit, style, .. } => {
            let plain = style == ScalarStyle::Plain && plain_implicit;
            if is_merge(&value, tag.as_deref(), plain) {
                return Err(problem(NOT_OF_SOPS, at));
            }
            let hashed = if plain && tag.is_none() { hashed(&value) } else { Some(value.clone()) };
            let read = resolve(value.clone(), tag.as_deref(), plain, at)?;
            if expects_key {
                let named = scalar::key(read).ok_or_else(|| problem("this value cannot be a map key", at))?;
                if let Some(OpenedNode::Map { key, .. }) = stack.last_mut() {
                    *key = Some((value, named));
                }
                return Ok(None);
            }
            // A tag other than that of texts is not what SOPS writes, but what it reads.
            let hashed = match (&tag, &read) {
                (Some(_), Scalar::Text(text)) => Some(text.clone()),
                _ => hashed,
            };
            let value = scalar::value(read).ok_or_else(|| problem("infinities and NaN are not allowed", at))?;
            Node::Scalar { value, hashed }
        }
        _ => return Err(problem(NOT_OF_SOPS, at)),
    };
    match stack.last_mut() {
        None => return Ok(Some(node)),
        Some(OpenedNode::List(items)) => items.push(node),
        Some(OpenedNode::Map { fields, key }) => match key.take() {
            Some((name, key)) => fields.push(Field { name, key, node }),
            None => return Err(problem("a map key must be a scalar", at)),
        },
    }
    Ok(None)
}

/// The text that the checksum has of a plain scalar, by the rules of the YAML library that SOPS uses:
/// <https://github.com/yaml/go-yaml/blob/v3.0.4/resolve.go>
fn hashed(text: &str) -> Option<String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return None,
        "true" | "True" | "TRUE" => return Some(shown_bool(true)),
        "false" | "False" | "FALSE" => return Some(shown_bool(false)),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Some(text.to_owned());
    }
    if is_timestamp(text) {
        let is_day = text.len() == "2006-01-02".len();
        return Some(if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() });
    }
    Some(match scalar::plain(text) {
        Scalar::Int(int) => int.to_string(),
        Scalar::Float(float) => float.to_string(),
        _ => text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_hashed_as_sops_reads_them() {
        for (text, expected) in [
            ("~", None),
            ("yes", Some("yes")),
            ("TRUE", Some("True")),
            ("0x10", Some("16")),
            ("0644", Some("420")),
            ("1_000", Some("1000")),
            ("1.50", Some("1.5")),
            ("1e3", Some("1000")),
            ("1e21", Some("1000000000000000000000")),
            ("08", Some("8")),
            ("1.2.3", Some("1.2.3")),
            ("2024-01-02", Some("2024-01-02T00:00:00Z")),
            ("2024-01-02T03:04:05Z", Some("2024-01-02T03:04:05Z")),
            ("-", Some("-")),
        ] {
            assert_eq!(hashed(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn what_sops_does_not_write_is_refused() {
        for text in ["a: &x 1\nb: *x", "a: 1\na: 2", "<<: {a: 1}", "a: &x {b: 1}", "a: .inf"] {
            assert!(yaml(text).is_err(), "{text}");
        }
        assert!(json(r#"{"a": 1, "a": 2}"#).is_err());
        let Ok(Node::Map(fields)) = json(r#"{"b": [1.0, true], "a": {"x": null}}"#) else { panic!("a map") };
        assert_eq!(fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    }
}
