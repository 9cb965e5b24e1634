//! Compares values, for what an entry cannot tell: the live object with the answer to our last apply, or with what is
//! declared.

use serde_json::{Map, Value};

use super::entry::{is_empty, item_nodes};
use crate::model::object::Object;

/// The part of a live object that our entry covers: two equal projections mean that no field of ours has changed its value.
pub fn projection(live: &Object, fields: &Map<String, Value>) -> Value {
    project_map(&live.0, fields)
}

fn project_map(live: &Map<String, Value>, fields: &Map<String, Value>) -> Value {
    live.iter()
        .filter_map(|(key, value)| {
            let node = fields.get(&format!("f:{key}"))?.as_object()?;
            Some((key.clone(), project(value, node)))
        })
        .collect::<Map<_, _>>()
        .into()
}

fn project(live: &Value, fields: &Map<String, Value>) -> Value {
    match live {
        _ if fields.is_empty() => live.clone(),
        Value::Object(map) => project_map(map, fields),
        Value::Array(items) => items
            .iter()
            .filter_map(|item| item_nodes(item, fields).next().map(|(_, node)| project(item, node)))
            .collect(),
        _ => live.clone(),
    }
}

/// The paths of declared fields whose live value is another: the API server or admission changed it in our own apply, or
/// another client changed it without taking the ownership. Fields that only the live object has do not count, nor do other
/// spellings of a quantity.
pub fn differences(declared: &Object, live: &Object) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in &declared.0 {
        match key.as_str() {
            "apiVersion" | "kind" | "status" => {}
            _ => compare(value, live.0.get(key), &format!(".{key}"), &mut found),
        }
    }
    found
}

fn compare(declared: &Value, live: Option<&Value>, path: &str, found: &mut Vec<String>) {
    if is_empty(declared) {
        return;
    }
    match (declared, live) {
        (Value::Object(map), Some(Value::Object(live))) => {
            for (key, value) in map {
                compare(value, live.get(key), &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(items), Some(Value::Array(live))) => {
            for (index, item) in items.iter().enumerate() {
                match live_item(item, index, live) {
                    Some(live) => compare(item, Some(live), &format!("{path}[{index}]"), found),
                    None => found.push(format!("{path}[{index}]")),
                }
            }
        }
        (declared, Some(live)) if declared == live || same_quantity(declared, live) => {}
        _ => found.push(path.to_owned()),
    }
}

/// The live item that a declared list item became: the one with the same keys if there is exactly one, else the one at the
/// same position.
fn live_item<'a>(item: &Value, index: usize, live: &'a [Value]) -> Option<&'a Value> {
    const KEYS: [&[&str]; 7] = [
        &["name"],
        &["containerPort", "protocol"],
        &["port", "protocol"],
        &["mountPath"],
        &["type"],
        &["key"],
        &["uid"],
    ];
    let stated = |keys: &[&str]| keys.iter().any(|key| item.get(key).is_some());
    for keys in KEYS.iter().filter(|keys| stated(keys)) {
        let same = |other: &&Value| {
            keys.iter().all(|key| match item.get(key) {
                Some(value) => other.get(key) == Some(value),
                None => other.get(key).is_none_or(|value| value == "TCP"),
            })
        };
        let mut matching = live.iter().filter(same);
        if let (Some(only), None) = (matching.next(), matching.next()) {
            return Some(only);
        }
    }
    live.get(index)
}

/// `1000m` and `1`, `1024Mi` and `1Gi`, `0.5` and `500m`: the API server writes quantities in its own way.
fn same_quantity(a: &Value, b: &Value) -> bool {
    match (quantity(a), quantity(b)) {
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

/// The value of a [quantity](https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/) in
/// billionths; `None` when it is no quantity.
fn quantity(value: &Value) -> Option<i128> {
    const SUFFIXES: [(&str, i128, i128); 16] = [
        ("Ki", 1 << 10, 1),
        ("Mi", 1 << 20, 1),
        ("Gi", 1 << 30, 1),
        ("Ti", 1 << 40, 1),
        ("Pi", 1 << 50, 1),
        ("Ei", 1 << 60, 1),
        ("n", 1, 1_000_000_000),
        ("u", 1, 1_000_000),
        ("m", 1, 1000),
        ("k", 1000, 1),
        ("M", 1_000_000, 1),
        ("G", 1_000_000_000, 1),
        ("T", 1_000_000_000_000, 1),
        ("P", 1_000_000_000_000_000, 1),
        ("E", 1_000_000_000_000_000_000, 1),
        ("", 1, 1),
    ];
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let (number, multiply, divide) =
        SUFFIXES.iter().find_map(|(suffix, m, d)| Some((text.strip_suffix(suffix)?, *m, *d)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    digits.checked_mul(multiply)?.checked_mul(1_000_000_000)?.checked_div(scale.checked_mul(divide)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{fields, object};
    use super::*;

    #[test]
    fn a_projection_keeps_our_fields_only() {
        let live = object(json!({
            "metadata": {"labels": {"x": "1", "theirs": "2"}, "uid": "u"},
            "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP", "nodePort": 3}], "type": "ClusterIP"},
        }));
        assert_eq!(
            projection(&live, fields().as_object().expect("a map")),
            json!({
                "metadata": {"labels": {"x": "1"}},
                "spec": {"selector": {"app": "a"}, "ports": [{"port": 53, "protocol": "UDP"}]},
            })
        );
    }

    #[test]
    fn differences_ignore_defaults_order_and_spelling() {
        let declared = object(json!({"spec": {
            "ports": [{"port": 80}, {"port": 90, "protocol": "UDP"}],
            "cpu": "1000m", "mem": "1024Mi", "n": 1, "gone": "x",
        }}));
        let live = object(json!({"spec": {
            "ports": [{"port": 90, "protocol": "UDP", "nodePort": 1}, {"port": 80, "protocol": "TCP"}],
            "cpu": "1", "mem": "1Gi", "n": 2, "extra": true,
        }}));
        assert_eq!(differences(&declared, &live), [".spec.gone", ".spec.n"]);
    }
}
