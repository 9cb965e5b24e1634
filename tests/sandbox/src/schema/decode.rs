//! Reading an object as the API server's decoder does: what is of a wrong type is refused, unknown fields are dropped, and
//! empty values are there or not as its types have them.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map as Fields, Value};

use super::node::{Format, ListKind, Map, Node, Ref, Scalar};
use super::{Type, prune, quantity};
use crate::object;

/// The message about text that is no quantity.
const NO_QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Brings an object into the form that the API server gives it, and returns the paths of the fields that it does not know
/// and drops, as in `spec.containers[0].colour`.
///
/// # Errors
/// When a value is of another type than its field, with the decoder's words.
pub fn decode(kind: &Type, object: &mut Value) -> Result<Vec<String>, String> {
    if kind.custom.is_some() || kind.root.is_deduced() {
        return prune::custom(kind, object);
    }
    // An empty list of entries is a wish to forget them.
    let forgets = object::at(object, "/metadata/managedFields").and_then(Value::as_array).is_some_and(Vec::is_empty);
    let unknown = part(&kind.root, object, "")?;
    if forgets {
        object["metadata"]["managedFields"] = Value::Array(Vec::new());
    }
    Ok(unknown)
}

/// Brings an object into the form in which it is stored. An empty list of a built-in kind is none there; a custom resource
/// that was applied may still have nulls and fields that the schema does not name.
///
/// # Errors
/// When a custom resource cannot be read again.
pub fn store(kind: &Type, object: &mut Value) -> Result<(), String> {
    if kind.custom.is_some() || kind.root.is_deduced() {
        return prune::custom(kind, object).map(drop);
    }
    without_empty(&kind.root, object);
    Ok(())
}

fn without_empty(kind: &Ref, value: &mut Value) {
    match (value, kind.node()) {
        (Value::Object(fields), Node { map: Some(map), .. }) => {
            let kind = |name: &str| map.fields.get(name).or(map.others.as_ref());
            fields.retain(|name, value| !kind(name).is_some_and(|kind| kind.omitted && is_zero(value)));
            for (name, value) in fields {
                let Some(kind) = kind(name) else { continue };
                if kind.zero == Some(Value::Null) && value.as_array().is_some_and(Vec::is_empty) {
                    *value = Value::Null;
                }
                without_empty(kind, value);
            }
        }
        (Value::Array(items), Node { list: Some(list), .. }) => {
            items.iter_mut().for_each(|item| without_empty(&list.items, item));
        }
        _ => {}
    }
}

/// An object of a built-in kind as it is compared: without what is empty, but for the inside of lists that are one value.
pub(crate) fn compared(kind: &Ref, value: &Value) -> Value {
    match (value, kind.node()) {
        (Value::Object(fields), Node { map: Some(map), .. }) => {
            let kind = |name: &str| map.fields.get(name).or(map.others.as_ref());
            let kept =
                fields.iter().filter(|(name, value)| !kind(name).is_some_and(|kind| kind.omitted && is_zero(value)));
            let compared = kept.map(|(name, value)| {
                (name.clone(), kind(name).map_or_else(|| value.clone(), |kind| compared(kind, value)))
            });
            Value::Object(compared.collect())
        }
        (Value::Array(items), Node { list: Some(list), .. }) if list.kind != ListKind::Atomic => {
            Value::Array(items.iter().map(|item| compared(&list.items, item)).collect())
        }
        (other, _) => other.clone(),
    }
}

/// Reads a part of an object that is at `path`.
pub(super) fn part(kind: &Ref, value: &mut Value, path: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader { unknown: Vec::new(), path: path.to_owned() };
    *value = reader.value(kind, std::mem::take(value))?.unwrap_or_default();
    Ok(reader.unknown)
}

struct Reader {
    unknown: Vec<String>,
    path: String,
}

impl Reader {
    /// None is what null is to the decoder: nothing.
    fn value(&mut self, kind: &Ref, value: Value) -> Result<Option<Value>, String> {
        let node = kind.node();
        let integer = |value: &Value, widest: i64| value.as_i64().filter(|number| number.abs() <= widest);
        let read = match (node.format, value) {
            (_, Value::Null) => return Ok(None),
            (Format::Raw, value) => value,
            (Format::Quantity, value) => quantity_of(&value)?.into(),
            (Format::Time | Format::MicroTime, value) => time(&value, node.format)?.into(),
            (Format::IntOrText, value) if value.is_string() || integer(&value, i64::from(i32::MAX)).is_some() => value,
            (Format::Int32, value) if integer(&value, i64::from(i32::MAX)).is_some() => value,
            (Format::Int64, value) if integer(&value, i64::MAX).is_some() => value,
            (Format::Bytes, Value::String(text)) => bytes(&text)?.into(),
            (Format::Bytes, Value::Array(items)) => match items.iter().map(byte).collect::<Option<Vec<u8>>>() {
                Some(bytes) => STANDARD.encode(bytes).into(),
                None => return Err(self.wrong(node, &Value::Array(items))),
            },
            (Format::Plain | Format::Double, value) => self.plain(node, value)?,
            (_, value) => return Err(self.wrong(node, &value)),
        };
        Ok(Some(read))
    }

    fn plain(&mut self, node: &Node, value: Value) -> Result<Value, String> {
        match (value, node) {
            // Values of which nothing is said stay as they are.
            (value, Node { scalar: Some(Scalar::Any), list: Some(_), .. }) => Ok(value),
            (Value::Object(fields), Node { map: Some(map), .. }) => {
                if map.fields.is_empty() && map.others.as_ref().is_some_and(Ref::is_deduced) {
                    return Ok(Value::Object(fields));
                }
                self.fields(map, fields).map(Value::Object)
            }
            (Value::Array(items), Node { list: Some(list), .. }) => {
                let mut read = Vec::new();
                for (at, item) in items.into_iter().enumerate() {
                    let above = self.path.len();
                    // Writing to a text cannot fail.
                    let _ = write!(self.path, "[{at}]");
                    let item = self.value(&list.items, item)?;
                    self.path.truncate(above);
                    read.push(item.map_or_else(|| self.zero(&list.items), Ok)?);
                }
                Ok(Value::Array(read))
            }
            (value @ Value::String(_), Node { scalar: Some(Scalar::Text | Scalar::Any), .. })
            | (value @ Value::Number(_), Node { scalar: Some(Scalar::Number), .. })
            | (value @ Value::Bool(_), Node { scalar: Some(Scalar::Boolean), .. }) => Ok(value),
            (value, node) => Err(self.wrong(node, &value)),
        }
    }

    fn fields(&mut self, map: &Map, fields: Fields<String, Value>) -> Result<Fields<String, Value>, String> {
        let mut read = Fields::new();
        for (name, value) in fields {
            let own = map.fields.get(&name);
            let above = self.path.len();
            if above > 0 {
                self.path.push('.');
            }
            self.path.push_str(&name);
            let Some(kind) = own.or(map.others.as_ref()) else {
                self.unknown.push(self.path.clone());
                self.path.truncate(above);
                continue;
            };
            let value = self.value(kind, value)?;
            self.path.truncate(above);
            match value {
                Some(value) if kind.omitted && is_zero(&value) && !self.is_told_apart(&value) => {}
                Some(value) => {
                    read.insert(name, value);
                }
                None if own.is_none() => {
                    let zero = self.zero(kind)?;
                    read.insert(name, zero);
                }
                None => {}
            }
        }
        for (name, kind) in &map.fields {
            if let (Some(zero), false) = (&kind.zero, read.contains_key(name)) {
                read.insert(name.clone(), zero.clone());
            }
        }
        Ok(read)
    }

    /// `true` if the decoded object differs from one without the value. Lists and immutable values are compared in memory, where an
    /// empty value differs from an absent one.
    fn is_told_apart(&self, value: &Value) -> bool {
        let compared = self.path.is_empty() || self.path.contains('[');
        compared && (value.is_array() || value.is_object())
    }

    /// The value of an item of a list or map for which the client sent null.
    fn zero(&mut self, kind: &Ref) -> Result<Value, String> {
        let node = kind.node();
        Ok(match (node.scalar, &node.map) {
            _ if node.format == Format::Bytes => Value::Null,
            (None, Some(map)) if !map.fields.is_empty() => Value::Object(self.fields(map, Fields::new())?),
            (Some(Scalar::Text | Scalar::Any), _) => "".into(),
            (Some(Scalar::Number), _) => 0.into(),
            (Some(Scalar::Boolean), _) => false.into(),
            _ => Value::Null,
        })
    }

    fn wrong(&self, node: &Node, value: &Value) -> String {
        let expected = match (node.format, node) {
            (Format::Int32 | Format::IntOrText, _) => "int32",
            (Format::Int64, _) => "int64",
            (_, Node { map: Some(_), .. }) => "map",
            (_, Node { list: Some(_), .. }) => "slice",
            (_, Node { scalar: Some(Scalar::Number), .. }) => "float64",
            (_, Node { scalar: Some(Scalar::Boolean), .. }) => "bool",
            _ => "string",
        };
        let found = match value {
            Value::Number(number) => format!("number {number}"),
            other => json_name(other).to_owned(),
        };
        format!("json: cannot unmarshal {found} into Go struct field {} of type {expected}", self.path)
    }
}

/// The name of a value's type as the decoder calls it.
pub(crate) fn json_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn quantity_of(value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    quantity::canonical(&text).ok_or_else(|| NO_QUANTITY.to_owned())
}

fn bytes(text: &str) -> Result<String, String> {
    let text = text.replace(['\r', '\n'], "");
    STANDARD.decode(&text).map_err(|error| format!("illegal base64 data: {error}"))?;
    Ok(text)
}

/// An item of a list that stands for bytes.
fn byte(item: &Value) -> Option<u8> {
    if item.is_null() { Some(0) } else { item.as_u64()?.try_into().ok() }
}

/// A time in UTC, in whole seconds or in millionths.
fn time(value: &Value, format: Format) -> Result<String, String> {
    let text = value
        .as_str()
        .ok_or_else(|| format!("json: cannot unmarshal {} into Go value of type string", json_name(value)))?;
    let layout =
        if format == Format::MicroTime { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    let time: Timestamp = text
        .parse()
        .map_err(|_| format!("parsing time \"{text:?}\" as \"{layout:?}\": cannot parse \"{text}\" as \"2006\""))?;
    let form = if format == Format::MicroTime { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(time.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema;

    #[test]
    fn empty_values_are_there_as_their_types_have_them() {
        let kind = schema::kind("rbac.authorization.k8s.io", "v1", "Role").unwrap();
        let mut role = json!({"metadata": {"name": "r", "labels": {}, "annotations": null}});
        assert_eq!(decode(&kind, &mut role), Ok(vec![]));
        assert_eq!(role, json!({"metadata": {"name": "r"}, "rules": null}));
    }

    #[test]
    fn values_have_one_form() {
        let kind = schema::kind("", "v1", "Pod").unwrap();
        let mut pod = json!({
            "metadata": {"deletionTimestamp": "2026-01-01T01:00:00.5+01:00"},
            "spec": {"containers": [{
                "name": "a",
                "stdin": false,
                "command": [],
                "resources": {"limits": {"cpu": 0.5}},
                "securityContext": {"runAsUser": 0, "privileged": false},
                "livenessProbe": {"httpGet": {"port": "p"}},
            }]},
        });
        assert_eq!(decode(&kind, &mut pod), Ok(vec![]));
        assert_eq!(store(&kind, &mut pod), Ok(()));
        assert_eq!(pod["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
        let container = json!({
            "name": "a",
            "resources": {"limits": {"cpu": "500m"}},
            "securityContext": {"runAsUser": 0, "privileged": false},
            "livenessProbe": {"httpGet": {"port": "p"}},
        });
        assert_eq!(pod["spec"]["containers"][0], container);
        assert_eq!(pod["status"], json!({}));
    }

    #[test]
    fn unknown_fields_are_reported_and_wrong_types_refused() {
        let kind = schema::kind("apps", "v1", "Deployment").unwrap();
        let mut object = json!({"spec": {"colour": 1, "template": {"spec": {"containers": [{"shape": {}}]}}}});
        let unknown = decode(&kind, &mut object).unwrap();
        assert_eq!(unknown, ["spec.colour", "spec.template.spec.containers[0].shape"]);
        assert!(object["spec"].get("colour").is_none());
        for wrong in [json!("2"), json!(2.5), json!(3_000_000_000_u64), json!(true), json!({})] {
            assert!(decode(&kind, &mut json!({"spec": {"replicas": wrong}})).is_err(), "{wrong}");
        }
        assert!(decode(&kind, &mut json!({"spec": []})).is_err());
        assert!(decode(&kind, &mut json!({"metadata": {"labels": {"a": 1}}})).is_err());
    }
}
