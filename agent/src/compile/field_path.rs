//! Paths to one field of an object, in the part of JSONPath that names one: keys, indexes, and a filter for an equal value.

use serde_json::Value;

/// The largest number of bytes of a path: it is told in findings.
const LONGEST: usize = 1000;

/// A path such as `$.spec.ports[0].port`, `$.data['a.b']` or `$.spec.ports[?(@.name == "http")].port`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldPath {
    text: String,
    steps: Vec<PathStep>,
}

#[derive(Clone, Debug, PartialEq)]
enum PathStep {
    Key(String),
    /// From the end if it is negative.
    Index(i64),
    /// The item of a list in which the field at these keys has this value.
    Item(Vec<String>, Value),
}

impl FieldPath {
    /// Reads a path.
    ///
    /// # Errors
    /// The reason why it is none, in words that follow a colon.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("has {} bytes, and more than {LONGEST} are not read", text.len()));
        }
        let steps = steps(text).ok_or_else(|| {
            format!(
                "{text:?} is no path to one field; write it as `$.spec.ports[0].port`, `$.data['a.b']` or \
                 `$.spec.ports[?(@.name == \"http\")].port`"
            )
        })?;
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The path as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The key at the top, and the two below it; empty where there is none.
    pub(super) fn first_keys(&self) -> [&str; 3] {
        let key = |at: usize| match self.steps.get(at) {
            Some(PathStep::Key(key)) => key.as_str(),
            _ => "",
        };
        [key(0), key(1), key(2)]
    }

    /// The field as a JSON pointer into `value`. `None` if there is no such field, or if a filter finds several items.
    pub(super) fn pointer(&self, value: &Value) -> Option<String> {
        let (mut pointer, mut at) = (String::new(), value);
        for step in &self.steps {
            let part = match (step, at) {
                (PathStep::Key(key), Value::Object(_)) => key.replace('~', "~0").replace('/', "~1"),
                (PathStep::Index(index), Value::Array(items)) => place(*index, items.len())?.to_string(),
                (PathStep::Item(keys, wanted), Value::Array(items)) => {
                    let field = |item| keys.iter().try_fold(item, |item: &Value, key| item.get(key));
                    let mut found = items.iter().enumerate().filter(|(_, item)| field(item) == Some(wanted));
                    let (only, _) = found.next().filter(|_| found.next().is_none())?;
                    only.to_string()
                }
                _ => return None,
            };
            at = at.pointer(&format!("/{part}"))?;
            pointer = format!("{pointer}/{part}");
        }
        Some(pointer)
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 { length.checked_sub(from_end) } else { Some(from_end) }
}

fn steps(text: &str) -> Option<Vec<PathStep>> {
    let mut rest = text.trim().strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let step;
        (step, rest) = match rest.strip_prefix('[') {
            Some(inner) => bracket(inner)?,
            None => key(rest).map(|(key, rest)| (PathStep::Key(key), rest))?,
        };
        steps.push(step);
    }
    (!steps.is_empty()).then_some(steps)
}

/// `.key`, and the rest after it.
fn key(text: &str) -> Option<(String, &str)> {
    let text = text.strip_prefix('.')?;
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let is_key = !key.is_empty() && !key.contains(['*', ']', '(', ')', '\'', '"', '?', '@', ',', ':', ' ']);
    is_key.then(|| (key.to_owned(), rest))
}

/// The inside of brackets, and the rest after them.
fn bracket(text: &str) -> Option<(PathStep, &str)> {
    let text = text.trim_start();
    if let Some(filter) = text.strip_prefix('?') {
        return item(filter.trim_start());
    }
    let (step, rest) = match quoted(text) {
        Some((key, rest)) => (PathStep::Key(key), rest),
        None => {
            let (number, rest) = text.split_at(text.find(']')?);
            (PathStep::Index(number.trim().parse().ok()?), rest)
        }
    };
    Some((step, rest.trim_start().strip_prefix(']')?))
}

/// `(@.key == value)]` or the same without parentheses, and the rest after it.
fn item(text: &str) -> Option<(PathStep, &str)> {
    let (inner, parenthesis) = match text.strip_prefix('(') {
        Some(inner) => (inner, ")"),
        None => (text, ""),
    };
    let mut rest = inner.trim_start().strip_prefix('@')?;
    let mut keys = Vec::new();
    while !rest.trim_start().starts_with("==") {
        let key = match rest.strip_prefix('[') {
            Some(inner) => {
                let (key, after) = quoted(inner.trim_start())?;
                rest = after.trim_start().strip_prefix(']')?;
                key
            }
            None => {
                let text = rest.strip_prefix('.')?;
                let end = text.find(['.', '[', '=', ' '])?;
                let (key, after) = text.split_at(end);
                rest = after;
                key.to_owned()
            }
        };
        keys.push(key);
    }
    let wanted = rest.trim_start().strip_prefix("==")?.trim_start();
    let (wanted, rest) = match quoted(wanted) {
        Some((text, rest)) => (Value::String(text), rest),
        None => {
            let (literal, rest) = wanted.split_at(wanted.find([')', ']', ' '])?);
            (serde_json::from_str(literal).ok()?, rest)
        }
    };
    let rest = rest.trim_start().strip_prefix(parenthesis)?.trim_start().strip_prefix(']')?;
    (!keys.is_empty() && !keys.iter().any(String::is_empty)).then_some((PathStep::Item(keys, wanted), rest))
}

/// A text in quotes of either sort, and the rest after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|first| ['\'', '"'].contains(first))?;
    let (mut key, mut characters) = (String::new(), text.char_indices().skip(1));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => key.push(characters.next()?.1),
            _ if character == quote => return Some((key, &text[at + 1..])),
            _ => key.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str) -> Option<Value> {
        let object = json!({
            "data": {"a.b": 1, "my-key": 2, "it's": 3, "x/y~z": 4},
            "spec": {"ports": [
                {"name": "http", "port": 80, "tls": {"on": false}},
                {"name": "https", "port": 443, "tls": {"on": true}},
                {"name": "twice", "port": 443},
            ]},
        });
        let path = FieldPath::parse(path).expect("a path");
        object.pointer(&path.pointer(&object)?).cloned()
    }

    #[test]
    fn one_field_is_found() {
        for (path, value) in [
            ("$.data['a.b']", 1),
            ("$.data.my-key", 2),
            ("$['data'][\"it's\"]", 3),
            ("$.data['it\\'s']", 3),
            ("$.data['x/y~z']", 4),
            ("$.data.x/y~z", 4),
            ("$.spec.ports[0].port", 80),
            ("$.spec.ports[-2].port", 443),
            ("$.spec.ports[?(@.name == \"https\")].port", 443),
            ("$.spec.ports[?(@.name=='http')].port", 80),
            ("$.spec.ports[?@.tls.on == true].port", 443),
            ("$.spec.ports[?(@['port'] == 80)]['port']", 80),
        ] {
            assert_eq!(found(path), Some(value.into()), "{path}");
        }
        for path in ["$.data.c", "$.spec.ports[3].port", "$.spec.ports[-4]", "$.data[0]", "$.spec.ports.name"] {
            assert_eq!(found(path), None, "{path}");
        }
        assert_eq!(found("$.spec.ports[?(@.port == 443)].name"), None, "two items");
    }

    #[test]
    fn what_names_no_single_field_is_no_path() {
        for path in [
            "",
            "$",
            "spec.replicas",
            "{.spec.replicas}",
            "$..port",
            "$.spec.*",
            "$.spec.ports[*].port",
            "$.a.",
            "$.a[",
            "$.a[1:2]",
            "$.a[0,1]",
            "$.a['b",
            "$.a[?(@.b > 1)]",
            "$.a[?(@.b == 1]",
            "$.a[?(@ == 1)]",
            "$.a[?(@.b)]",
            "$ .a",
        ] {
            let error = FieldPath::parse(path).expect_err(path);
            assert!(error.contains(&format!("{path:?}")), "{error}");
        }
    }
}
