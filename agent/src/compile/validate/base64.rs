//! The rule for values that the API server takes as base64 only. Config Sync lets them pass; the object then never reaches the
//! cluster.

use serde_json::Value;

use super::Findings;
use crate::compile::parse::{self, Manifest, PLACEHOLDER, type_check};
use crate::compile::scope::ScopedManifest;
use crate::model::finding::{Code, Finding};
use crate::model::manifest_object::decoded;
use crate::model::object::GroupKind;

/// The largest number of keys that a finding names.
const MAX_KEYS: usize = 10;

/// The hint about values that [SOPS](https://getsops.io) sealed in a file that does not say so any more: to encode them would not help.
const SEALED: &str = "SOPS sealed the value, and the field `sops` is missing with which it can be opened. Write the file anew with \
                      `sops encrypt`.";

/// The values of an object that had to be base64.
pub(crate) struct NotBase64 {
    field: &'static str,
    /// Their keys in the field.
    keys: Vec<String>,
    /// The way to correct them.
    pub(crate) hint: &'static str,
}

impl NotBase64 {
    /// The mistake, with the keys and without the values, which may be secret. It has neither capital letter nor full stop.
    pub(crate) fn message(&self) -> String {
        let shown: Vec<String> = self.keys.iter().take(MAX_KEYS).map(|key| format!("`{}.{key}`", self.field)).collect();
        let others = match self.keys.len().saturating_sub(MAX_KEYS) {
            0 => String::new(),
            others => format!(" and {others} others"),
        };
        match self.keys.len() {
            1 => format!("the value of {} is not base64", shown.join(", ")),
            _ => format!("the values of {}{others} are not base64", shown.join(", ")),
        }
    }
}

/// The values of an object that must be base64 and are not; `None` if there are none. `field` returns a top-level field of the
/// object.
pub(crate) fn not_base64(kind: &GroupKind, field: impl FnOnce(&str) -> Option<Value>) -> Option<NotBase64> {
    let name = type_check::base64_field(&kind.group, &kind.kind)?;
    let hint = if kind.is("", "Secret") {
        "Encode it, such as with `base64 -w0`, or write the text itself into `stringData`."
    } else {
        "Encode it, such as with `base64 -w0`, or write a text into `data`."
    };
    let Some(Value::Object(values)) = field(name) else { return None };
    let is_fine = |value: &Value| match value {
        Value::String(text) => type_check::decoded_base64(text).is_some(),
        other => other.is_null(),
    };
    let is_sealed = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("ENC["));
    let hint = if values.values().any(is_sealed) { SEALED } else { hint };
    let keys: Vec<String> = values.into_iter().filter(|(_, value)| !is_fine(value)).map(|(key, _)| key).collect();
    (!keys.is_empty()).then_some(NotBase64 { field: name, keys, hint })
}

/// The data of a Secret and the binary data of a ConfigMap are base64 (KNV2010).
pub(super) fn values(manifest: &Manifest, findings: &mut Findings) {
    let object = &manifest.object;
    let field = |name: &str| object.payload().find(|(own, _)| *own == name).map(|(_, text)| decoded(text));
    let shown = |value: Value| match value {
        // The agent sees the value itself.
        Value::Object(map) if object.is_sealed() => map.into_iter().filter(|(_, value)| value != PLACEHOLDER).collect(),
        value => value,
    };
    let Some(wrong) = not_base64(&object.group_kind(), |name| field(name).map(shown)) else { return };
    let message = format!("The object cannot be applied: {}.", wrong.message());
    let finding = Finding::new(Code::Resource, message).hint(wrong.hint);
    let places = wrong.keys.iter().take(MAX_KEYS).map(|key| manifest.at_key(&[wrong.field, key]));
    findings.push(places.fold(finding, Finding::at));
}

/// A Secret has no value that is still sealed (KNV2010). Config Sync applies it, and so does the API server; but a program that logs in with
/// the text that SOPS made of a password fails, and the password that worked is gone. Of other kinds it is a warning: the text may be meant. A Secret for another
/// cluster is none here.
pub(super) fn unopened(ScopedManifest { manifest, .. }: &ScopedManifest, findings: &mut Findings) {
    const OF_SECRET: [&str; 2] = ["data", "stringData"];
    let object = &manifest.object;
    if !object.is_kind("", "Secret") || object.is_sealed() {
        return;
    }
    let fields = OF_SECRET.iter().filter_map(|name| {
        let (_, text) = object.payload().find(|(own, _)| own == name)?;
        let Value::Object(values) = decoded(text) else { return None };
        Some((*name, values))
    });
    let is_unopened = |value: &Value| {
        let text = value.as_str()?;
        let bytes = type_check::decoded_base64(text).unwrap_or_default();
        Some(parse::is_unopened(text) || std::str::from_utf8(&bytes).is_ok_and(parse::is_unopened))
    };
    let keys = fields.flat_map(|(name, values)| values.into_iter().map(move |(key, value)| (name, key, value)));
    let keys: Vec<(&str, String)> = keys
        .filter(|(_, _, value)| is_unopened(value) == Some(true))
        .map(|(name, key, _)| (name, key))
        .take(MAX_KEYS)
        .collect();
    if keys.is_empty() {
        return;
    }
    let shown: Vec<String> = keys.iter().map(|(name, key)| format!("`{name}.{key}`")).collect();
    let message = format!("The Secret would have a text of SOPS in the place of a value: {}.", shown.join(", "));
    let finding = Finding::new(Code::Resource, message).hint(SEALED);
    let places = keys.iter().map(|(name, key)| manifest.at_key(&[name, key]));
    findings.push(places.fold(finding, Finding::at));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(kind: &str, field: &str, values: Value) -> Option<String> {
        let found = not_base64(&GroupKind::new("", kind), |own| (own == field).then_some(values));
        found.map(|wrong| wrong.message())
    }

    #[test]
    fn base64_is_what_the_api_server_decodes() {
        for fine in [json!("eA=="), json!("eHl6\neHl6\r\n"), json!("eHl="), json!(""), json!(null)] {
            assert_eq!(message("Secret", "data", json!({"a": fine})), None, "{fine}");
        }
        for wrong in
            [json!("eA"), json!("eA= ="), json!("hunter2!"), json!("-_=="), json!(12345678), json!(true), json!([1])]
        {
            let expected = Some("the value of `data.a` is not base64".to_owned());
            assert_eq!(message("Secret", "data", json!({"a": wrong, "b": "eA=="})), expected, "{wrong}");
        }
    }

    #[test]
    fn a_value_that_sops_encrypted_is_not_to_be_encoded() {
        let hint = |text: &str| {
            let values = json!({"a": text, "b": "eA=="});
            not_base64(&GroupKind::new("", "Secret"), |own| (own == "data").then_some(values)).map(|wrong| wrong.hint)
        };
        assert_eq!(hint("ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]"), Some(SEALED));
        assert_ne!(hint("hunter2!"), Some(SEALED));
    }

    #[test]
    fn only_some_fields_are_base64() {
        assert_eq!(message("Secret", "stringData", json!({"a": "!"})), None);
        assert_eq!(message("ConfigMap", "data", json!({"a": "!"})), None);
        assert_eq!(message("Deployment", "data", json!({"a": "!"})), None);
        let expected = "the values of `binaryData.a`, `binaryData.b` are not base64";
        assert_eq!(message("ConfigMap", "binaryData", json!({"a": "!", "b": "!"})).as_deref(), Some(expected));
        let many: serde_json::Map<String, Value> = (10..25).map(|i| (i.to_string(), json!("!"))).collect();
        assert!(
            message("Secret", "data", many.into())
                .is_some_and(|it| it.ends_with("`data.19` and 5 others are not base64"))
        );
    }
}
