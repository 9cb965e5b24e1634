//! Rules of schemas that are looked for only where a schema has them.

use super::*;

fn kind() -> Type {
    let text = json!({"type": "string"});
    Type::of_crd(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 3},
            "mode": {"type": "string", "enum": ["slow", "fast"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 5},
            "port": {"x-kubernetes-int-or-string": true},
            "set": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set", "items": text},
            "one": {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "properties": {"a": text, "b": text}},
        }}},
    }))
}

fn causes(spec: &Value, old: Option<&Value>) -> Vec<String> {
    let old = old.map(|spec| json!({"spec": spec}));
    let causes = validate(&kind(), &json!({"spec": spec}), old.as_ref());
    causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn mistakes_have_the_messages_of_the_api_server() {
    assert_eq!(
        causes(&json!({"name": "abc", "count": 5, "port": "http", "one": {"a": ""}}), None),
        Vec::<String>::new()
    );
    for (spec, cause) in [
        (json!({}), "spec.name: Required value"),
        (json!({"name": "abcd"}), "spec.name: Too long: may not be more than 3 bytes"),
        (json!({"name": "A"}), "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"),
        (
            json!({"name": 1}),
            "spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"",
        ),
        (
            json!({"name": "a", "mode": "x"}),
            "spec.mode: Unsupported value: \"x\": supported values: \"slow\", \"fast\"",
        ),
        (
            json!({"name": "a", "count": 9}),
            "spec.count: Invalid value: 9: spec.count in body should be less than or equal to 5",
        ),
        (json!({"name": "a", "set": ["x", "x"]}), "spec.set[1]: Duplicate value: \"x\""),
        (json!({"name": "a", "set": [1, 2, 3, 4]}), "spec.set: Too many: 4: must have at most 3 items"),
    ] {
        assert!(causes(&spec, None).contains(&cause.to_owned()), "{:?}", causes(&spec, None));
    }
    assert_eq!(causes(&json!({"name": "a", "one": {}}), None).len(), 2);
    assert_eq!(causes(&json!({"name": "a", "port": 1.5}), None).len(), 1);
}

#[test]
fn an_unchanged_wrong_value_is_accepted() {
    let old = json!({"name": "A", "mode": "slow"});
    assert_eq!(causes(&json!({"name": "A", "mode": "fast"}), Some(&old)), Vec::<String>::new());
    assert_eq!(causes(&json!({"name": "B", "mode": "fast"}), Some(&old)).len(), 1);
}
