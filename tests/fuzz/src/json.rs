//! JSON: what another reader makes of it is what ours does, but for half surrogate pairs, which Go takes.

use serde::Deserialize as _;
use serde_json::Value;

use crate::yaml;

/// The bytes as a file, and as the specification of an object.
pub(crate) fn check(input: &[u8]) {
    yaml::read("a.json", input);
    let object = [br#"{"apiVersion":"v1","kind":"X","metadata":{"name":"a"},"spec":"#, input, b"}"].concat();
    let file = yaml::read("a.json", &object);
    let Ok(text) = str::from_utf8(&object) else { return assert_eq!(file.findings.len(), 1) };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    let other = Value::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    match other {
        // The text that follows can change the head of the object, so that it is another object.
        Ok(value) if value["apiVersion"] != "v1" || value["kind"] != "X" || value["metadata"]["name"] != "a" => {}
        Ok(value) if value.get("items").is_some() || value.get("status").is_some() => {}
        Ok(_) if file.manifests.is_empty() => {
            let refused = ["nested too deeply", "annotations", "labels"];
            let message = &file.findings.first().expect("an object, or a reason why there is none").message;
            assert!(refused.iter().any(|part| message.contains(part)), "{message}");
        }
        Ok(value) => assert!(same(&value, &Value::Object(file.manifests[0].whole().0)), "{text}"),
        Err(error) => assert!(file.manifests.is_empty() || text.contains("\\u"), "{error}: {text}"),
    }
}

/// `true` if two values are the same. Numbers are compared by value: 1.0 is 1.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let entries = one.iter().zip(other);
            one.len() == other.len() && entries.into_iter().all(|(one, other)| one.0 == other.0 && same(one.1, other.1))
        }
        (Value::Number(one), Value::Number(other)) if !one.is_i64() => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}
