//! Objects with values that SOPS sealed, without the key: they are compared but for these values.
//!
//! A dry run needs an object that is whole, so that defaults and admission count. The live values stand for the sealed ones in it, and
//! stay the same. A value that is not live yet is left out of the request and shown as sealed; in a list the placeholder of sealed values
//! stands for it, since lists have no names for what is missing.

use agent::compile::parse::PLACEHOLDER;
use agent::model::object::Object;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// The object for a dry run.
pub(super) struct ObjectWithStandIns {
    /// The declared object with live values for the sealed ones.
    pub(super) body: Object,
    /// Paths and values of fields that are left out.
    left_out: Vec<(Vec<String>, Value)>,
}

impl ObjectWithStandIns {
    /// An object that is whole.
    pub(super) fn whole(body: Object) -> Self {
        Self { body, left_out: Vec::new() }
    }

    /// The object that is declared as `body`, with the values that are live.
    pub(super) fn of(mut body: Object, live: Option<&Object>) -> Self {
        // A value that is sealed in `stringData` is stored as any text.
        if body.is_kind("", "Secret")
            && let Some(Value::Object(data)) = body.0.get_mut("data")
        {
            let stored = STANDARD.encode(PLACEHOLDER);
            data.values_mut().filter(|value| **value == *stored).for_each(|value| *value = PLACEHOLDER.into());
        }
        let mut left_out = Vec::new();
        body.0 = filled(&body.0, live.map(|live| &live.0), &[], &mut left_out);
        Self { body, left_out }
    }

    /// `true` if the object is not whole.
    pub(super) fn lacks_values(&self) -> bool {
        !self.left_out.is_empty() || self.body.0.values().any(is_sealed)
    }

    /// The object that the API server made of it, with what was left out.
    pub(super) fn completed(&self, mut answer: Object) -> Object {
        for (path, value) in &self.left_out {
            let Some((last, parents)) = path.split_last() else { continue };
            let mut map = Some(&mut answer.0);
            for step in parents {
                map = map.and_then(|map| map.entry(step).or_insert_with(|| Map::new().into()).as_object_mut());
            }
            map.and_then(|map| map.insert(last.clone(), value.clone()));
        }
        answer
    }
}

/// The map with live values for sealed ones. Fields for which there are none are added to `left_out`.
fn filled(
    declared: &Map<String, Value>,
    live: Option<&Map<String, Value>>,
    path: &[String],
    left_out: &mut Vec<(Vec<String>, Value)>,
) -> Map<String, Value> {
    let mut map = Map::new();
    for (key, value) in declared {
        let path = [path, std::slice::from_ref(key)].concat();
        let live = live.and_then(|live| live.get(key));
        let value = match value {
            Value::Object(inner) => Some(filled(inner, live.and_then(Value::as_object), &path, left_out).into()),
            Value::Array(items) if is_sealed(value) => {
                Some(items_with_stand_ins(items, live.and_then(Value::as_array)).collect())
            }
            _ => whole(value, live),
        };
        match value {
            Some(value) => _ = map.insert(key.clone(), value),
            None => left_out.push((path, declared[key].clone())),
        }
    }
    map
}

/// The value with live values for all sealed ones; `None` if one is not live.
fn whole(declared: &Value, live: Option<&Value>) -> Option<Value> {
    match declared {
        Value::String(text) if text == PLACEHOLDER => live.filter(|it| !it.is_object() && !it.is_array()).cloned(),
        Value::Object(map) => {
            let fields =
                map.iter().map(|(key, value)| Some((key.clone(), whole(value, live.and_then(|it| it.get(key)))?)));
            fields.collect::<Option<Map<String, Value>>>().map(Value::Object)
        }
        Value::Array(items) if is_sealed(declared) => {
            Some(items_with_stand_ins(items, live.and_then(Value::as_array)).collect())
        }
        plain => Some(plain.clone()),
    }
}

/// The items with live values for sealed ones. An item is found by its name, or by its place in a list of the same length. One that is not
/// live keeps the placeholders.
fn items_with_stand_ins<'a>(items: &'a [Value], live: Option<&'a Vec<Value>>) -> impl Iterator<Item = Value> + 'a {
    items.iter().enumerate().map(move |(at, item)| {
        let found = match item.get("name") {
            Some(name) => live.into_iter().flatten().find(|live| live.get("name") == Some(name)),
            None => live.filter(|live| live.len() == items.len()).and_then(|live| live.get(at)),
        };
        whole(item, found).unwrap_or_else(|| item.clone())
    })
}

fn is_sealed(value: &Value) -> bool {
    match value {
        Value::String(text) => text == PLACEHOLDER,
        Value::Object(map) => map.values().any(is_sealed),
        Value::Array(items) => items.iter().any(is_sealed),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("a map")
    }

    fn secret(data: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": data})
    }

    #[test]
    fn live_values_stand_for_sealed_ones() {
        let declared =
            object(secret(json!({"old": STANDARD.encode(PLACEHOLDER), "new": PLACEHOLDER, "plain": "eA=="})));
        let live = object(secret(json!({"old": "aGlkZGVu", "gone": "eA==", "plain": "eQ=="})));
        let stand_in = ObjectWithStandIns::of(declared, Some(&live));
        assert_eq!(stand_in.body, object(secret(json!({"old": "aGlkZGVu", "plain": "eA=="}))));
        assert!(stand_in.lacks_values());
        let completed = stand_in.completed(stand_in.body.clone());
        assert_eq!(completed, object(secret(json!({"old": "aGlkZGVu", "new": PLACEHOLDER, "plain": "eA=="}))));
    }

    /// Items of lists are found by their names or places. One that is new keeps the placeholder, and what is plain beside it is compared.
    #[test]
    fn values_in_lists_are_those_of_the_same_item() {
        let with =
            |spec: Value| object(json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": spec}));
        let filled = |declared: Value, live: Value| {
            let stand_in = ObjectWithStandIns::of(with(declared), Some(&with(live)));
            (stand_in.body.0["spec"].clone(), stand_in.lacks_values())
        };
        let env = |n: Value, x: &str| json!({"env": [{"name": "n", "value": n}, {"name": "x", "value": x}], "port": 1});
        let swapped = json!({"env": [{"name": "x", "value": "1"}, {"name": "n", "value": 5}], "port": 2});
        assert_eq!(filled(env(PLACEHOLDER.into(), "2"), swapped), (env(5.into(), "2"), false));
        let args = |args: Value| json!({"args": args});
        assert_eq!(
            filled(args(json!(["-v", PLACEHOLDER])), args(json!(["-q", "s"]))),
            (args(json!(["-v", "s"])), false)
        );
        for live in [args(json!(["s"])), json!({})] {
            let other = args(json!(["-v", PLACEHOLDER]));
            assert_eq!(filled(other.clone(), live), (other, true));
        }
        let containers = |image: &str, env: Value| json!({"containers": [{"name": "a", "image": image, "env": env}]});
        let new = json!([{"name": "old", "value": PLACEHOLDER}, {"name": "new", "value": PLACEHOLDER}]);
        let body = json!([{"name": "old", "value": "s"}, {"name": "new", "value": PLACEHOLDER}]);
        let live = containers("v1", json!([{"name": "old", "value": "s"}]));
        assert_eq!(filled(containers("v2", new), live), (containers("v2", body), true));
    }

    #[test]
    fn a_map_in_the_place_of_a_sealed_value_is_not_that_value() {
        let declared =
            object(json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": PLACEHOLDER}));
        let live = object(json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"a": 1}}));
        let stand_in = ObjectWithStandIns::of(declared.clone(), Some(&live));
        assert!(stand_in.lacks_values() && !stand_in.body.0.contains_key("spec"));
        assert_eq!(stand_in.completed(live), declared);
    }
}
