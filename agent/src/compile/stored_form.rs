//! The form in which the API server stores declared values, so that what is applied, hashed and compared is what is stored.
//!
//! - The `stringData` of a Secret is in its `data`. The API server moves it too, but records the ownership of `stringData`, so
//!   that a sync would not see a change of `data`.
//! - base64 has no line breaks and no stray bits at its end. The API server reads it with them and stores it without.
//! - A ClusterRole with an `aggregationRule` has no `rules` of its own: a controller fills them, and each apply of them would
//!   take all permissions away until it fills them again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::compile::parse::type_check::{base64_field, decoded_base64};
use crate::model::manifest_object::ManifestObject;
use crate::model::object::Object;

/// `true` if [`bring_into_stored_form`] has nothing to do. It is asked for every object of every list, so it reads stored texts.
pub(super) fn is_in_stored_form(object: &ManifestObject) -> bool {
    let is = |group: &str, kind: &str| object.is_kind(group, kind);
    let moved = is("", "Secret") && object.has("stringData");
    let aggregated =
        is("rbac.authorization.k8s.io", "ClusterRole") && object.has("aggregationRule") && object.has("rules");
    let field = base64_field(object.id.group(), object.kind());
    let wrapped = |field: &str| object.payload().any(|(name, text)| name == field && !is_canonical(text));
    !moved && !aggregated && !field.is_some_and(wrapped)
}

/// `true` if all base64 in a JSON text is as the API server writes it: without escaped characters, and with no bit set behind
/// its last byte.
fn is_canonical(json: &str) -> bool {
    let bytes = json.as_bytes();
    let ends_well = |(at, _): (usize, &str)| {
        let is_double = at > 0 && bytes[at - 1] == b'=';
        let (last, allowed): (_, &[u8]) =
            if is_double { (at.checked_sub(2), b"AQgw") } else { (at.checked_sub(1), b"AEIMQUYcgkosw048") };
        last.is_some_and(|last| allowed.contains(&bytes[last]))
    };
    !json.contains('\\') && json.match_indices("=\"").all(ends_well)
}

/// Brings the values of an object without nulls into the form in which they are stored. Values that the API server will refuse
/// stay as they are.
pub(super) fn bring_into_stored_form(object: &mut Object) {
    fold_string_data(object);
    if let Some(field) = base64_field(object.group(), object.kind())
        && let Some(Value::Object(values)) = object.0.get_mut(field)
    {
        values.values_mut().for_each(encode_anew);
    }
    if object.is_kind("rbac.authorization.k8s.io", "ClusterRole") && object.0.contains_key("aggregationRule") {
        object.0.remove("rules");
    }
}

fn encode_anew(value: &mut Value) {
    let Value::String(text) = value else { return };
    if let Some(bytes) = decoded_base64(text) {
        *text = STANDARD.encode(bytes);
    }
}

/// Moves the texts in a Secret's `stringData` to its `data`, where they override. A value that is no text stays, so that the
/// API server refuses it.
fn fold_string_data(object: &mut Object) {
    if !object.is_kind("", "Secret") || !object.0.get("stringData").is_some_and(Value::is_object) {
        return;
    }
    let Some(Value::Object(mut plain)) = object.0.remove("stringData") else { return };
    let data = object.0.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(data) = data {
        plain.retain(|key, value| match value {
            Value::String(text) => {
                data.insert(key.clone(), STANDARD.encode(text).into());
                false
            }
            _ => true,
        });
    }
    if !plain.is_empty() {
        object.0.insert("stringData".to_owned(), Value::Object(plain));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::compile::declared::DeclaredObject;

    use super::*;

    fn declared(value: Value) -> DeclaredObject {
        DeclaredObject::new(serde_json::from_value(value).expect("a map"))
    }

    fn body(value: Value) -> Value {
        declared(value).body().0.into()
    }

    #[test]
    fn string_data_is_folded_in_the_body_alone() {
        let secret =
            json!({"kind": "Secret", "apiVersion": "v1", "data": {"a": "eA=="}, "stringData": {"a": "y", "b": "z"}});
        assert_eq!(body(secret.clone())["data"], json!({"a": "eQ==", "b": "eg=="}));
        assert!(body(secret.clone()).get("stringData").is_none());
        assert!(declared(secret).written().0.contains_key("stringData"));
    }

    #[test]
    fn base64_is_as_the_api_server_stores_it() {
        for (written, stored) in [
            ("eHl6\neHl6\n", "eHl6eHl6"),
            ("eHl6\r\neHk=\r\n", "eHl6eHk="),
            ("eHk=", "eHk="),
            ("eHl=", "eHk="),
            ("eD==", "eA=="),
            ("", ""),
            ("no base64!\n", "no base64!\n"),
        ] {
            for (kind, field) in [("Secret", "data"), ("ConfigMap", "binaryData")] {
                let object = json!({"apiVersion": "v1", "kind": kind, field: {"a": written, "b": "eHl6"}});
                assert_eq!(body(object)[field], json!({"a": stored, "b": "eHl6"}), "{kind} {written:?}");
            }
        }
        let text = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "eHl6\n"}});
        assert_eq!(body(text)["data"]["a"], "eHl6\n", "it is no base64");
    }

    #[test]
    fn wrapped_and_joined_base64_are_the_same_secret() {
        let secret = |text: &str| declared(json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": text}}));
        assert_eq!(secret("eHl6\neHl6\n").hash, secret("eHl6eHl6").hash);
    }

    #[test]
    fn an_aggregated_role_has_no_rules_of_its_own() {
        let role = |kind: &str, rule: Value| {
            let group = "rbac.authorization.k8s.io/v1";
            body(json!({"apiVersion": group, "kind": kind, "aggregationRule": rule, "rules": []}))
                .get("rules")
                .is_some()
        };
        assert!(!role("ClusterRole", json!({"clusterRoleSelectors": [{}]})));
        assert!(role("ClusterRole", Value::Null));
        assert!(role("Role", json!({})));
    }
}
