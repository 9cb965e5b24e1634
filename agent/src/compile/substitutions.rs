//! Values that are copied from live objects into a declared one before it is applied: the annotation `apply-time-mutation`.

use serde::Deserialize;
use serde_json::Value;

use crate::compile::declared::DeclaredObject;
use crate::compile::field_path::FieldPath;
use crate::compile::parse;
use crate::model::object::{GroupKind, Object, ObjectId};

/// The way to write the annotation, for hints.
pub const SUBSTITUTION_FORM: &str = "write a YAML list of items with sourceRef (kind, name, and apiVersion or group, namespace), \
                                     sourcePath, targetPath and perhaps token";

/// One value to copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Substitution {
    /// The object that has the value, without a namespace if none was written.
    pub source: ObjectId,
    /// The API version to read it in, without its group; empty for the one that the API server prefers.
    pub version: String,
    source_path: FieldPath,
    target_path: FieldPath,
    /// The part of the text in the target that the value takes the place of; empty for all of the field.
    token: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    source_ref: WrittenReference,
    source_path: String,
    target_path: String,
    token: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenReference {
    api_version: String,
    group: String,
    kind: String,
    name: String,
    namespace: String,
}

/// Reads the annotation.
///
/// # Errors
/// The reason why it cannot be read, in words that follow a colon. It has paths and names, and no values of objects.
pub fn substitutions(text: &str) -> Result<Vec<Substitution>, String> {
    let value = parse::yaml_value(text).ok_or_else(|| "it is no YAML".to_owned())?;
    let written: Vec<Written> = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if written.is_empty() {
        return Err("it is empty".to_owned());
    }
    written.into_iter().map(Substitution::of).collect()
}

impl Substitution {
    fn of(written: Written) -> Result<Self, String> {
        let Written { source_ref, source_path, target_path, token } = written;
        let WrittenReference { api_version, group, kind, name, namespace } = source_ref;
        for (field, text) in [("kind", &kind), ("name", &name)] {
            if text.is_empty() {
                return Err(format!("sourceRef.{field} is missing"));
            }
        }
        let (of_version, version) = match api_version.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", api_version.as_str()),
        };
        if !api_version.is_empty() && !group.is_empty() && group != of_version {
            return Err(format!("sourceRef.apiVersion {api_version:?} is not of the group {group:?}"));
        }
        let group = if api_version.is_empty() { group.as_str() } else { of_version };
        let target_path = FieldPath::parse(&target_path).map_err(|reason| format!("targetPath {reason}"))?;
        if matches!(
            target_path.first_keys(),
            ["apiVersion" | "kind" | "status", _] | ["metadata", "name" | "namespace"]
        ) {
            return Err(format!("targetPath {:?} is part of the object's identity or status", target_path.text()));
        }
        Ok(Self {
            source: ObjectId::new(&GroupKind::new(group, &kind), &namespace, &name),
            version: version.to_owned(),
            source_path: FieldPath::parse(&source_path).map_err(|reason| format!("sourcePath {reason}"))?,
            target_path,
            token,
        })
    }

    /// `true` if this can be the source, for an object in `namespace` whose annotation writes no namespace.
    pub fn may_be(&self, source: &ObjectId, namespace: &str) -> bool {
        *source == self.source || self.source.namespace().is_empty() && *source == self.source.in_namespace(namespace)
    }

    /// The field of the target as a JSON pointer.
    fn target(&self, target: &Value) -> Result<String, String> {
        let path = self.target_path.text();
        let none = || format!("targetPath {path:?} names no field of the object; write a placeholder there");
        let pointer = self.target_path.pointer(target).ok_or_else(none)?;
        match target.pointer(&pointer) {
            Some(Value::String(_)) => Ok(pointer),
            Some(_) if self.token.is_empty() => Ok(pointer),
            _ => Err(format!("there is a token, and the field at targetPath {path:?} is no text")),
        }
    }

    /// Copies the value of the live source.
    fn copy(&self, source: &Object, target: &mut Value) -> Result<(), String> {
        let source = Value::Object(source.0.clone());
        let pointer = self.source_path.pointer(&source);
        let value = pointer.and_then(|pointer| source.pointer(&pointer)).filter(|value| !value.is_null());
        let value = value.ok_or_else(|| format!("{} has no value at {}", self.source, self.source_path.text()))?;
        let pointer = self.target(target)?;
        let field = target.pointer_mut(&pointer).expect("found above");
        *field = match field.as_str().filter(|_| !self.token.is_empty()) {
            None => value.clone(),
            Some(text) => {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text.replace(&self.token, &value).into()
            }
        };
        Ok(())
    }
}

/// Reads the annotation of an object and checks the places that the values are for.
///
/// # Errors
/// As of [`substitutions`].
pub fn checked(text: &str, id: &ObjectId, target: &Object) -> Result<Vec<Substitution>, String> {
    let substitutions = substitutions(text)?;
    let target = Value::Object(target.0.clone());
    for substitution in &substitutions {
        substitution.target(&target)?;
        if substitution.may_be(id, id.namespace()) {
            return Err("an object cannot take a value of its own".to_owned());
        }
    }
    Ok(substitutions)
}

impl DeclaredObject {
    /// The values that are copied into the object when it is applied.
    ///
    /// # Errors
    /// The reason why the annotation cannot be read or is not for this object, in words that follow a colon.
    pub fn substitutions(&self) -> Result<Vec<Substitution>, String> {
        match self.apply_time_mutation() {
            Some(text) => checked(text, &self.id, &self.stored().whole()),
            None => Ok(Vec::new()),
        }
    }

    /// The object with the values of its live sources, which are in the order of its substitutions.
    ///
    /// # Errors
    /// The value that is not there, in words that follow a colon, without values.
    pub fn filled(&self, sources: &[&Object]) -> Result<Self, String> {
        let substitutions = self.substitutions()?;
        let mut target = Value::Object(self.stored().whole().0);
        for (substitution, source) in substitutions.iter().zip(sources) {
            substitution.copy(source, &mut target)?;
        }
        let is_secret = |substitution: &Substitution| substitution.source.is_of(&GroupKind::new("", "Secret"));
        let object = serde_json::from_value(target).map_err(|error| error.to_string())?;
        Ok(self.with_values_of_others(object, substitutions.iter().any(is_secret)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::metadata::annotation;

    fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("a map")
    }

    fn target(mutation: &str) -> DeclaredObject {
        DeclaredObject::new(object(json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "t", "namespace": "ns", "annotations": {annotation::APPLY_TIME_MUTATION: mutation}},
            "data": {"url": "http://${ip}:${port}/", "whole": "placeholder"},
            "list": [1],
        })))
    }

    fn item(source: &str, source_path: &str, target_path: &str, token: &str) -> String {
        format!("- sourceRef: {source}\n  sourcePath: {source_path}\n  targetPath: {target_path}\n  token: {token:?}\n")
    }

    const SERVICE: &str = "{kind: Service, name: web}";

    #[test]
    fn values_take_the_place_of_fields_and_tokens() {
        let text = item(SERVICE, "$.spec.clusterIP", "$.data.url", "${ip}")
            + &item(SERVICE, "$.spec.ports[0].port", "$.data.url", "${port}")
            + &item("{apiVersion: v1, kind: Service, name: web, namespace: ns}", "$.spec.ports[0]", "$.list[0]", "");
        let declared = target(&text);
        let service = object(json!({"kind": "Service", "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}}));
        let filled = declared.filled(&[&service; 3]).expect("all values are there");
        let body = Value::Object(filled.body().0);
        assert_eq!(body["data"], json!({"url": "http://10.0.0.1:80/", "whole": "placeholder"}));
        assert_eq!(body["list"], json!([{"port": 80}]));
        assert!(filled.hash != declared.hash && filled.id == declared.id && !filled.is_confidential());
        assert_eq!(filled.hash, declared.filled(&[&service; 3]).expect("the same").hash);
        let missing = declared.filled(&[&object(json!({"spec": {"clusterIP": null}})); 3]).expect_err("no value");
        assert_eq!(missing, "service/web has no value at $.spec.clusterIP");
    }

    #[test]
    fn values_of_secrets_are_confidential() {
        let declared = target(&item("{kind: Secret, name: s}", "$.data.password", "$.data.whole", ""));
        let secret = object(json!({"kind": "Secret", "data": {"password": "aGlkZGVu"}}));
        assert!(declared.filled(&[&secret]).expect("a value").is_confidential());
    }

    #[test]
    fn malformed_annotations_are_refused() {
        let path = "$.data.whole";
        for (text, reason) in [
            (String::new(), "it is no YAML"),
            ("[]".to_owned(), "it is empty"),
            ("a: [".to_owned(), "it is no YAML"),
            ("text".to_owned(), "invalid type"),
            (item("{name: web}", path, path, ""), "sourceRef.kind is missing"),
            (item("{kind: Service}", path, path, ""), "sourceRef.name is missing"),
            (item("{kind: A, name: b, apiVersion: a/v1, group: c}", path, path, ""), "is not of the group \"c\""),
            (item(SERVICE, "nonsense", path, ""), "sourcePath \"nonsense\" is no path"),
            (item(SERVICE, path, "$..x", ""), "targetPath \"$..x\" is no path"),
            (item(SERVICE, path, "$.metadata.name", ""), "part of the object's identity"),
            (item(SERVICE, path, "$.data.none", ""), "names no field of the object"),
            (item(SERVICE, path, "$.list", "${x}"), "the field at targetPath \"$.list\" is no text"),
            (item("{kind: ConfigMap, name: t}", path, path, ""), "a value of its own"),
        ] {
            let found = target(&text).substitutions().expect_err(reason);
            assert!(found.contains(reason), "{found}");
        }
    }
}
