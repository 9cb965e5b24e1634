//! Values that are copied from live objects into a declared one before it is applied: the annotation `apply-time-mutation`.

use serde::Deserialize;
use serde_json::Value;

use crate::compile::declared::DeclaredObject;
use crate::compile::field_path::FieldPath;
use crate::compile::parse;
use crate::model::limits::APPLIED_BYTES;
use crate::model::metadata::{annotation, is_system_key, label};
use crate::model::object::{GroupKind, Object, ObjectId};

/// The way to write the annotation, for hints.
pub const SUBSTITUTION_FORM: &str = "Write a YAML list of items with sourceRef (kind, name, and apiVersion or group, namespace), \
                                     sourcePath, targetPath and perhaps token.";

/// The largest number of values that one object takes.
const MOST: usize = 100;

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
    if written.len() > MOST {
        return Err(format!("it has {} items, and more than {MOST} are not copied", written.len()));
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
        let is_allowed = match target_path.first_keys() {
            ["apiVersion" | "kind" | "status", ..] => false,
            // No gate of the compilation sees the value.
            ["metadata", "labels" | "annotations", key] => !key.is_empty() && !is_reserved_key(key),
            ["metadata", ..] => false,
            _ => true,
        };
        if !is_allowed {
            let path = target_path.text();
            return Err(format!(
                "targetPath {path:?} is part of the object's identity or status, or of a sync's own metadata"
            ));
        }
        Ok(Self {
            source: ObjectId::new(&GroupKind::new(group, &kind), &namespace, &name),
            version: version.to_owned(),
            source_path: FieldPath::parse(&source_path).map_err(|reason| format!("sourcePath {reason}"))?,
            target_path,
            token,
        })
    }

    /// The objects that the value may be of, for a target in `namespace`. Where the annotation writes no namespace, the object has none,
    /// or that of the target.
    pub fn candidates(&self, namespace: &str) -> Vec<ObjectId> {
        match self.source.namespace() {
            "" => vec![self.source.clone(), self.source.in_namespace(namespace)],
            _ => vec![self.source.clone()],
        }
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

    /// Checks that there is a place for the value in the target.
    fn check(&self, target: &Value) -> Result<(), String> {
        let pointer = self.target(target)?;
        let text = target.pointer(&pointer).and_then(Value::as_str);
        match text.is_some_and(|text| !text.contains(&self.token)) {
            true => Err(format!("the token does not occur in the field at targetPath {:?}", self.target_path.text())),
            false => Ok(()),
        }
    }

    /// Copies the value of the live source. `left` is the number of bytes that the object may still grow by: a value can take many
    /// places of its token, and values of other objects are of any size.
    fn copy(&self, source: &Value, target: &mut Value, left: &mut usize) -> Result<(), String> {
        let pointer = self.source_path.pointer(source);
        let value = pointer.and_then(|pointer| source.pointer(&pointer)).filter(|value| !value.is_null());
        let value = value.ok_or_else(|| format!("{} has no value at {}", self.source, self.source_path.text()))?;
        let pointer = self.target(target)?;
        let field = target.pointer_mut(&pointer).expect("found above");
        let text = field.as_str().filter(|_| !self.token.is_empty());
        let places = text.map_or(1, |text| text.matches(&self.token).count());
        let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        *left = left.checked_sub(written.len().saturating_mul(places)).ok_or_else(|| {
            format!("with the value of {} it is larger than {} KiB", self.source, APPLIED_BYTES >> 10)
        })?;
        *field = text.map_or_else(|| value.clone(), |text| text.replace(&self.token, &written).into());
        Ok(())
    }
}

/// `true` for the key of a label or annotation that says something to a sync.
fn is_reserved_key(key: &str) -> bool {
    let of_users = [
        annotation::DELETION,
        annotation::MUTATION,
        annotation::ON_REMOVE,
        annotation::DEPENDS_ON,
        annotation::APPLY_TIME_MUTATION,
        annotation::OWNING_INVENTORY,
        annotation::HNC_MANAGED_BY,
        label::PART_OF,
        label::MANAGED_BY,
    ];
    is_system_key(key) || of_users.contains(&key)
}

/// Reads the annotation of an object and checks the places that the values are for.
///
/// # Errors
/// As of [`substitutions`].
pub fn checked(text: &str, id: &ObjectId, target: &Object) -> Result<Vec<Substitution>, String> {
    let substitutions = substitutions(text)?;
    let target = Value::Object(target.0.clone());
    for substitution in &substitutions {
        substitution.check(&target)?;
        if substitution.candidates(id.namespace()).contains(id) {
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
    pub fn filled(&self, sources: &[&Value]) -> Result<Self, String> {
        let substitutions = self.substitutions()?;
        let (mut target, mut left) = (Value::Object(self.stored().whole().0), APPLIED_BYTES);
        for (substitution, source) in substitutions.iter().zip(sources) {
            substitution.copy(source, &mut target, &mut left)?;
        }
        let object = serde_json::from_value(target).map_err(|error| error.to_string())?;
        Ok(self.with_values_of_others(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let service = json!({"kind": "Service", "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}]}});
        let filled = declared.filled(&[&service; 3]).expect("all values are there");
        let body = Value::Object(filled.body().0);
        assert_eq!(body["data"], json!({"url": "http://10.0.0.1:80/", "whole": "placeholder"}));
        assert_eq!(body["list"], json!([{"port": 80}]));
        assert!(filled.hash != declared.hash && filled.id == declared.id);
        assert_eq!(filled.hash, declared.filled(&[&service; 3]).expect("the same").hash);
        let missing = declared.filled(&[&json!({"spec": {"clusterIP": null}}); 3]).expect_err("no value");
        assert_eq!(missing, "service/web has no value at $.spec.clusterIP");
    }

    /// Where a value comes from in the end, nothing says: an object between may have it from a Secret.
    #[test]
    fn objects_that_take_values_are_confidential() {
        let declared = target(&item("{kind: ConfigMap, name: between}", "$.data.password", "$.data.whole", ""));
        let between = json!({"kind": "ConfigMap", "data": {"password": "hidden"}});
        assert!(declared.is_confidential() && declared.filled(&[&between]).expect("a value").is_confidential());
    }

    /// Another client can make the value of a source as large as it likes.
    #[test]
    fn values_do_not_grow_without_a_bound() {
        let large = json!({"kind": "Service", "data": "x".repeat(APPLIED_BYTES / 2)});
        let once = target(&item(SERVICE, "$.data", "$.data.url", "${ip}"));
        assert!(once.filled(&[&large]).is_ok());
        let often = target(&item(SERVICE, "$.data", "$.data.url", "t"));
        let refused = often.filled(&[&large]).expect_err("two places");
        assert_eq!(refused, "with the value of service/web it is larger than 3072 KiB");
        let double = json!({"kind": "Service", "data": "tt"});
        let doubled = target(&item(SERVICE, "$.data", "$.data.url", "t").repeat(40));
        assert!(doubled.filled(&[&double; 40]).is_err());
        let many = target(&item(SERVICE, "$.data", "$.data.url", "").repeat(101));
        assert!(many.substitutions().expect_err("too many").starts_with("it has 101 items"));
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
            (item(SERVICE, &format!("$.{}", "a".repeat(1000)), path, ""), "sourcePath has 1002 bytes"),
            (item(SERVICE, path, "$..x", ""), "targetPath \"$..x\" is no path"),
            (item(SERVICE, path, "$.metadata.name", ""), "part of the object's identity"),
            (item(SERVICE, path, "$.metadata", ""), "part of the object's identity"),
            (item(SERVICE, path, "$.metadata.annotations", ""), "of a sync's own metadata"),
            (item(SERVICE, path, "$.data.none", ""), "names no field of the object"),
            (
                item(SERVICE, path, "$.data.url", "${x}"),
                "the token does not occur in the field at targetPath \"$.data.url\"",
            ),
            (item(SERVICE, path, "$.list", "${x}"), "the field at targetPath \"$.list\" is no text"),
            (item("{kind: ConfigMap, name: t}", path, path, ""), "a value of its own"),
        ] {
            let found = target(&text).substitutions().expect_err(reason);
            assert!(found.contains(reason), "{found}");
        }
    }
}
