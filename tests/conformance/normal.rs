//! Answers without what two clusters, or two runs, can never have in common: uids, versions, times, addresses and
//! generated names get the numbers in which they were first seen.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Ports that Services are given.
const NODE_PORTS: std::ops::RangeInclusive<u64> = 30_000..=32_767;
/// The prefix of generated names. Five random letters follow it.
const GENERATED: &str = "made-";

/// The condition of a definition that is deleted, among owned fields.
const TERMINATING: &str = r#"k:{"type":"Terminating"}"#;

/// The random values that a run of a log has shown so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    tag: String,
    numbers: BTreeMap<String, String>,
    counts: BTreeMap<(&'static str, String), usize>,
    /// The uid of the object at hand: addresses are given again, but an object keeps its own.
    owner: String,
}

impl Names {
    pub(crate) fn new(tag: &str) -> Self {
        Self { tag: tag.to_owned(), ..Self::default() }
    }

    /// The number of a text among those of its sort. It is the same in each run.
    fn number(&mut self, sort: &'static str, text: &str) -> String {
        if let Some(known) = self.numbers.get(text) {
            return known.clone();
        }
        // The cluster writes to several objects at once, in any order.
        let owner = if sort == "version" { self.owner.clone() } else { String::new() };
        let count = self.counts.entry((sort, owner)).or_default();
        *count += 1;
        let name = format!("{sort}#{count}");
        self.numbers.insert(text.to_owned(), name.clone());
        name
    }

    /// An answer or an object of an event.
    pub(crate) fn normal(&mut self, value: &Value) -> Value {
        match value["kind"].as_str() {
            Some("Status") if value["status"] == "Failure" => failure(&self.below("", value)),
            Some(kind) if kind.ends_with("List") => self.list(value),
            _ => self.below("", value),
        }
    }

    /// Items in an order that does not depend on generated names, and a word where the cluster's own order was wrong.
    fn list(&mut self, value: &Value) -> Value {
        let name = |item: &Value| item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let ordered = value["items"].as_array().is_some_and(|items| items.is_sorted_by_key(name));
        let mut list = self.below("", value);
        if let Some(items) = list["items"].as_array_mut() {
            items.sort_by_cached_key(name);
        }
        if ordered { list } else { json!({"in a wrong order": list}) }
    }

    fn below(&mut self, key: &str, value: &Value) -> Value {
        match value {
            Value::Object(object) if key == "metadata" => self.metadata(object),
            Value::Object(object) => object
                .iter()
                // The server says so when it is asked to delete, and again a moment later: when that is another second,
                // it becomes the owner of the time.
                .filter(|(field, _)| key != TERMINATING || *field != "f:lastTransitionTime")
                .map(|(key, value)| (self.text("", key), self.below(key, value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Array(items) if key == "managedFields" => self.managed_fields(items),
            Value::Array(items) => items.iter().map(|item| self.below(key, item)).collect::<Vec<_>>().into(),
            Value::String(text) => self.text(key, text).into(),
            Value::Number(number) if key == "nodePort" || key == "healthCheckNodePort" => {
                match number.as_u64().filter(|port| NODE_PORTS.contains(port)) {
                    Some(port) => self.number("port", &format!("{port} of {}", self.owner)).into(),
                    None => value.clone(),
                }
            }
            _ => value.clone(),
        }
    }

    fn metadata(&mut self, metadata: &Map<String, Value>) -> Value {
        let is_list = !metadata.contains_key("name") && !metadata.contains_key("uid");
        metadata.get("uid").and_then(Value::as_str).unwrap_or_default().clone_into(&mut self.owner);
        let mut normal = Map::new();
        for (key, value) in metadata {
            let value = match (key.as_str(), value.as_str()) {
                // Other logs write meanwhile.
                ("resourceVersion", Some(_)) if is_list => "a version".into(),
                ("continue", Some(token)) if !token.is_empty() => "more".into(),
                _ => self.below(key, value),
            };
            normal.insert(key.clone(), value);
        }
        normal.into()
    }

    fn text(&mut self, key: &str, text: &str) -> String {
        let text = text.replace(&self.tag, "<tag>");
        match key {
            "resourceVersion" if text.parse::<u64>().is_ok() => return self.number("version", &text),
            "clusterIP" | "clusterIPs" if text.parse::<std::net::IpAddr>().is_ok() => {
                return self.number("ip", &format!("{text} of {}", self.owner));
            }
            _ => {}
        }
        if is_time(&text) {
            return "a time".to_owned();
        }
        let text = self.numbered("uid", text, UID.len(), is_uid);
        let text = self.numbered("made", text, GENERATED.len() + 5, is_generated);
        if text.contains("ResourceVersion in") { self.versions(&text) } else { text }
    }

    /// Numbers what is like this in a text.
    fn numbered(&mut self, sort: &'static str, mut text: String, length: usize, like: fn(&[u8]) -> bool) -> String {
        let mut from = 0;
        while let Some(at) = text.as_bytes()[from..].windows(length).position(like).map(|at| at + from) {
            let number = self.number(sort, &text[at..at + length]);
            text.replace_range(at..at + length, &number);
            from = at + number.len();
        }
        text
    }

    /// Numbers the versions in a text.
    fn versions(&mut self, text: &str) -> String {
        let parts = text.split_inclusive(|letter: char| !letter.is_ascii_digit()).map(|part| {
            let digits = part.trim_end_matches(|letter: char| !letter.is_ascii_digit());
            match digits.parse::<u64>() {
                Ok(_) => self.number("version", digits) + &part[digits.len()..],
                Err(_) => part.to_owned(),
            }
        });
        parts.collect()
    }

    /// Entries in an order that does not depend on the clock, and a word where the cluster's own order was wrong.
    fn managed_fields(&mut self, items: &[Value]) -> Value {
        let order = |item: &Value| {
            let of = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            (of("operation"), of("time"), of("manager"), of("apiVersion"), of("subresource"))
        };
        let ordered = items.is_sorted_by_key(order);
        let mut entries = Vec::new();
        for item in items {
            let mut entry = item.as_object().cloned().unwrap_or_default();
            if entry.get("time").and_then(Value::as_str).is_some_and(is_time) {
                entry.insert("time".into(), "a time".into());
            }
            entries.push(self.below("", &entry.into()));
        }
        entries.sort_by_cached_key(order);
        if ordered { entries.into() } else { json!({"in a wrong order": entries}) }
    }
}

/// The form of a uid: 0 stands for any hexadecimal digit.
const UID: &str = "00000000-0000-0000-0000-000000000000";

fn is_uid(text: &[u8]) -> bool {
    text.iter().zip(UID.bytes()).all(|(&byte, like)| if like == b'-' { byte == b'-' } else { byte.is_ascii_hexdigit() })
}

fn is_generated(text: &[u8]) -> bool {
    text.strip_prefix(GENERATED.as_bytes()).is_some_and(|rest| rest.iter().all(u8::is_ascii_alphanumeric))
}

/// A refusal: causes in an order, for the cluster's is that of chance. Where an object is refused for what it says,
/// the places and reasons count; the words are those of the programming language and its types.
fn failure(status: &Value) -> Value {
    let mut status = status.clone();
    let words = !matches!(status["code"].as_u64(), Some(400 | 422 | 500));
    if !words {
        status["message"] = Value::Null;
    }
    if let Some(causes) = status["details"]["causes"].as_array_mut() {
        for cause in causes.iter_mut().filter(|_| !words) {
            cause["message"] = Value::Null;
        }
        // Several rules can report the same cause.
        causes.sort_by_cached_key(ToString::to_string);
        causes.dedup();
    }
    status
}

/// `true` for a time of the run itself. The times that logs write are from the beginning of this century.
fn is_time(text: &str) -> bool {
    let like = "2020-00-00T00:00:00Z";
    let digits =
        text.bytes().zip(like.bytes()).all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { true });
    text.len() == like.len() && digits && text.starts_with("202") && text.ends_with('Z') && text.as_bytes()[10] == b'T'
}

/// Where two values differ, each place with both values.
pub(crate) fn differences(a: &Value, b: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", a, b, &mut found);
    found
}

fn compare(path: &str, a: &Value, b: &Value, found: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            for key in keys {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                either(&path, a.get(key), b.get(key), found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for at in 0..a.len().max(b.len()) {
                either(&format!("{path}/{at}"), a.get(at), b.get(at), found);
            }
        }
        _ if a == b => {}
        _ => found.push(format!("{path}: {a} | {b}")),
    }
}

fn either(path: &str, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<String>) {
    match (a, b) {
        (Some(a), Some(b)) => compare(path, a, b, found),
        (Some(a), None) => found.push(format!("{path}: {a} | nothing")),
        (None, Some(b)) => found.push(format!("{path}: nothing | {b}")),
        (None, None) => {}
    }
}
