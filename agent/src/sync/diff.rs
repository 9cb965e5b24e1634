//! The diff of a drift, for the log: only declared fields, with the values of Secrets masked.

use std::time::Duration;

use serde_json::Value;
use similar::TextDiff;

use crate::model::metadata::{annotation, is_system_key};
use crate::model::object::Object;
use crate::model::yaml;
use crate::sync::live::Observed;
use crate::sync::managed_fields::{our_entry, projection};

/// Number of lines of a diff that are shown.
const LINES: usize = 60;

/// The time for the shortest diff. After it, a longer one is told.
const TIME: Duration = Duration::from_millis(200);

/// The unified diff from `live` to `declared`: the repair removed lines with a minus and brought back lines with a plus.
/// Fields that are not declared are left out, and so are the labels and annotations of the sync.
pub fn repair(declared: &Object, live: &Object) -> String {
    let secret = declared.is_kind("", "Secret");
    let (mut from, mut to) = (shaped(&Value::Object(live.0.clone()), declared), Value::Object(declared.0.clone()));
    for side in [&mut from, &mut to] {
        strip(side);
        // The API server leaves these out of the items of a list.
        for field in ["apiVersion", "kind"] {
            side[field] = declared.0.get(field).cloned().unwrap_or_default();
        }
    }
    if secret {
        mask(&mut from, &mut to);
    }
    unified(&from, &to)
}

/// The unified diff between the forms that two commits declare. The labels and annotations of the sync are left out.
pub fn commits(before: &Object, after: &Object) -> String {
    let [mut from, mut to] = [before, after].map(|object| Value::Object(object.0.clone()));
    strip(&mut from);
    strip(&mut to);
    if [before, after].iter().any(|object| object.is_kind("", "Secret")) {
        mask(&mut from, &mut to);
    }
    unified(&from, &to)
}

fn unified(from: &Value, to: &Value) -> String {
    let (from, to) = (yaml::text(from), yaml::text(to));
    let diff = TextDiff::configure().timeout(TIME).diff_lines(&from, &to);
    let unified = diff.unified_diff().context_radius(1).to_string();
    let mut lines: Vec<&str> = unified.lines().take(LINES).collect();
    if unified.lines().count() > LINES {
        lines.push("… and more");
    }
    lines.join("\n")
}

/// `true` if no field that the sync owns after a repair had another value before it: then the repair took back nothing but the
/// ownership of fields, and is not told. What is owned as a whole is compared as a whole.
pub fn is_same(declared: &Object, before: &Object, after: &Object) -> bool {
    let entries = Observed::of(after).managed_fields;
    let Some(entry) = our_entry(&entries) else { return false };
    projection(before, &entry.fields, declared) == projection(after, &entry.fields, declared)
}

/// The fields of `live` that are declared.
fn shaped(live: &Value, declared: &Object) -> Value {
    fn walk(live: &Value, declared: &Value) -> Value {
        match (live, declared) {
            (Value::Object(live), Value::Object(declared)) if !declared.is_empty() => declared
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), walk(live.get(key)?, value))))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            (Value::Array(live), Value::Array(declared)) if live.len() == declared.len() => {
                live.iter().zip(declared).map(|(live, declared)| walk(live, declared)).collect()
            }
            _ => live.clone(),
        }
    }
    walk(live, &Value::Object(declared.0.clone()))
}

/// Removes the labels and annotations of the sync.
fn strip(value: &mut Value) {
    for field in ["labels", "annotations"] {
        if let Some(map) = value.pointer_mut(&format!("/metadata/{field}")).and_then(Value::as_object_mut) {
            map.retain(|key, _| !is_system_key(key));
        }
    }
}

/// Masks the values of a Secret: an equal value becomes `***`, a different one also says on which side it is.
fn mask(from: &mut Value, to: &mut Value) {
    for side in [&mut *from, &mut *to] {
        if let Some(annotations) = side.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(annotation::LAST_APPLIED);
        }
    }
    for field in ["/data", "/stringData"] {
        let others = [from.pointer(field).cloned(), to.pointer(field).cloned()];
        for (side, (value, name)) in [(&mut *from, "before"), (&mut *to, "declared")].into_iter().enumerate() {
            let Some(map) = value.pointer_mut(field).and_then(Value::as_object_mut) else { continue };
            for (key, value) in map.iter_mut() {
                let same = others[1 - side].as_ref().and_then(|other| other.get(key)) == Some(value);
                *value = Value::String(if same { "***".to_owned() } else { format!("*** ({name})") });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::metadata::FIELD_MANAGER;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("a map")
    }

    #[test]
    fn shows_declared_fields_only() {
        let declared = object(json!({"kind": "X", "spec": {"a": 1, "b": [1, 2]}, "metadata": {"labels": {"x": "1"}}}));
        let live = object(
            json!({"kind": "X", "spec": {"a": 2, "b": [1, 2], "c": 3}, "metadata": {"uid": "u", "labels": {"y": "2"}}}),
        );
        let diff = repair(&declared, &live);
        let changed: Vec<&str> = diff.lines().filter(|l| l.starts_with(['+', '-'])).collect();
        assert_eq!(changed, ["-  labels: {}", "+  labels:", "+    x: \"1\"", "-  a: 2", "+  a: 1"]);
    }

    #[test]
    fn commits_differ_in_what_they_declare_and_hide_secrets() {
        let form = |spec: Value| {
            object(
                json!({"kind": "X", "spec": spec, "metadata": {"annotations": {annotation::TOKEN: spec.to_string()}}}),
            )
        };
        let diff = commits(&form(json!({"a": 1, "b": 2})), &form(json!({"a": 3})));
        let changed: Vec<&str> = diff.lines().filter(|l| l.starts_with(['+', '-'])).collect();
        assert_eq!(changed, ["-  a: 1", "-  b: 2", "+  a: 3"]);
        let secret = |value: &str| object(json!({"kind": "Secret", "apiVersion": "v1", "data": {"a": value}}));
        let diff = commits(&secret("b2xk"), &secret("bmV3"));
        assert!(diff.contains("*** (before)") && !diff.contains("b2xk") && !diff.contains("bmV3"), "{diff}");
    }

    #[test]
    fn shows_the_content_of_what_is_declared_empty() {
        let declared = object(json!({"kind": "X", "spec": {"podSelector": {}}}));
        let live = object(json!({"kind": "X", "spec": {"podSelector": {"matchLabels": {"a": "b"}}}}));
        assert!(repair(&declared, &live).contains("-    matchLabels:"), "{}", repair(&declared, &live));
    }

    #[test]
    fn ownership_alone_changes_no_declared_field() {
        let owned = json!({"f:spec": {
            "f:a": {}, "f:b": {}, "f:whole": {},
            "f:items": {"k:{\"n\":1}": {".": {}, "f:n": {}}, "k:{\"n\":2}": {".": {}, "f:n": {}}},
        }});
        let entry = json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": owned});
        let before = |whole: Value| {
            object(
                json!({"spec": {"b": 1, "c": 1, "whole": [whole], "items": [{"n": 1}, {"n": 2}]}, "status": {"d": 1}}),
            )
        };
        let after = |b: i32| {
            object(json!({
                "kind": "X", "metadata": {"managedFields": [entry]},
                "spec": {"b": b, "c": 2, "whole": [{"x": 1}], "items": [{"n": 2}, {"n": 1}, {"n": 3}]},
            }))
        };
        let same = |before: &Object, after: &Object| is_same(&object(json!({"kind": "X"})), before, after);
        assert!(same(&before(json!({"x": 1})), &after(1)), "the order of items is nobody's");
        assert!(!same(&before(json!({"x": 1})), &after(2)));
        assert!(!same(&before(json!({"x": 1, "more": 1})), &after(1)), "an item that is owned as a whole had more");
        let kind = |map: Value| {
            object(
                json!({"apiVersion": "a.b/v1", "kind": "X", "metadata": {"managedFields": [entry]}, "spec": {"map": map}}),
            )
        };
        let (declared, filled) = (kind(json!({"list": []})), kind(json!({"list": [], "x": "default"})));
        assert!(!is_same(&declared, &kind(Value::Null), &filled), "no entry has it, and it was gone");
        assert!(is_same(&declared, &declared, &filled));
    }

    #[test]
    fn secrets_stay_secret() {
        let declared =
            object(json!({"kind": "Secret", "apiVersion": "v1", "data": {"a": "aGlkZGVu", "b": "c2FtZQ=="}}));
        let live = object(json!({"kind": "Secret", "apiVersion": "v1", "data": {"a": "c3RvbGVu", "b": "c2FtZQ=="}}));
        let manifest = |data: &str| json!({"annotations": {annotation::LAST_APPLIED: data, "x": data.len()}});
        let (mut declared, mut live) = (declared, live);
        declared.0.insert("metadata".to_owned(), manifest("aGlkZGVu"));
        live.0.insert("metadata".to_owned(), manifest("{c3RvbGVu"));
        let diff = repair(&declared, &live);
        assert!(diff.contains("-  a: '*** (before)'") && diff.contains("+  a: '*** (declared)'"), "{diff}");
        assert!(!diff.contains("aGlkZGVu") && !diff.contains("c3RvbGVu") && !diff.contains("c2FtZQ=="), "{diff}");
    }
}
