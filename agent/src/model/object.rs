//! Kubernetes objects as JSON values, their kinds and their identities.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A kind without its version. Scope, order and identity of an object do not depend on the version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKind {
    /// The API group, empty for the core group.
    pub group: String,
    /// The kind in its singular, capitalised form.
    pub kind: String,
}

impl GroupKind {
    /// The kind `kind` of `group`. The core group is the empty string.
    pub fn new(group: &str, kind: &str) -> Self {
        Self { group: group.to_owned(), kind: kind.to_owned() }
    }

    /// `true` if this is `kind` of `group`.
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.group) }
    }
}

/// The identity of an object: group, kind, namespace and name. Two manifests with one identity and different versions declare the
/// same object.
///
/// Clones share the text, because many parts of the agent keep the identity of an object.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ObjectId(Arc<IdText>);

/// Group, kind, namespace and name as one text, and the ends of the first three in it.
#[derive(PartialEq, Eq, Hash)]
struct IdText {
    text: Box<str>,
    ends: [usize; 3],
}

impl Ord for ObjectId {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (&*self.0, &*other.0);
        match () {
            () if std::ptr::eq(one, two) => Ordering::Equal,
            // If all parts have equal lengths, the order of the texts is the order of the parts.
            () if one.ends == two.ends => one.text.cmp(&two.text),
            () => self.parts().cmp(&other.parts()),
        }
    }
}

impl PartialOrd for ObjectId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectId").field(&self.parts()).finish()
    }
}

impl ObjectId {
    /// The identity of `name` in `namespace` (empty: cluster-scoped).
    pub fn new(kind: &GroupKind, namespace: &str, name: &str) -> Self {
        Self::from_parts([&kind.group, &kind.kind, namespace, name])
    }

    /// The identity of group, kind, namespace and name.
    pub(crate) fn from_parts(parts: [&str; 4]) -> Self {
        let [group, kind, namespace, _] = parts.map(str::len);
        let ends = [group, group + kind, group + kind + namespace];
        Self(Arc::new(IdText { text: parts.concat().into(), ends }))
    }

    /// Group, kind, namespace and name.
    pub(crate) fn parts(&self) -> [&str; 4] {
        let IdText { text, ends: [group, kind, namespace] } = &*self.0;
        [&text[..*group], &text[*group..*kind], &text[*kind..*namespace], &text[*namespace..]]
    }

    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        &self.0.text[..self.0.ends[0]]
    }

    /// The kind in its singular, capitalised form.
    pub fn kind(&self) -> &str {
        &self.0.text[self.0.ends[0]..self.0.ends[1]]
    }

    /// The namespace, empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        &self.0.text[self.0.ends[1]..self.0.ends[2]]
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        &self.0.text[self.0.ends[2]..]
    }

    /// The identity with another namespace.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Self {
        if self.namespace() == namespace {
            return self.clone();
        }
        Self::from_parts([self.group(), self.kind(), namespace, self.name()])
    }

    /// The group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group(), self.kind())
    }

    /// `true` if this is the identity of an object of `kind`.
    pub fn is_of(&self, kind: &GroupKind) -> bool {
        kind.is(self.group(), self.kind())
    }

    /// `true` if this is the identity of a Namespace.
    pub fn is_namespace(&self) -> bool {
        self.group().is_empty() && self.kind() == "Namespace"
    }

    /// `true` if this is the identity of a CustomResourceDefinition.
    pub fn is_crd(&self) -> bool {
        self.group() == "apiextensions.k8s.io" && self.kind() == "CustomResourceDefinition"
    }

    /// The value of the annotation `configsync.gke.io/resource-id`, such as `apps_deployment_shop_web`.
    pub fn resource_id(&self) -> String {
        let [group, kind, namespace, name] = self.parts();
        let kind = kind.to_lowercase();
        if namespace.is_empty() {
            format!("{group}_{kind}_{name}")
        } else {
            format!("{group}_{kind}_{namespace}_{name}")
        }
    }
}

/// `deployment.apps/shop/web`, or `clusterrole.rbac.authorization.k8s.io/web` without a namespace. The kind is in lower case, as
/// kubectl prints it.
impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [group, kind, namespace, name] = self.parts();
        f.write_str(&kind.to_lowercase())?;
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        if !namespace.is_empty() {
            write!(f, "/{namespace}")?;
        }
        write!(f, "/{name}")
    }
}

/// A function that looks up identities in `map`. The caller asks in ascending order, so that all calls together walk through the
/// map once.
pub(crate) fn walk<'a, T>(map: &'a BTreeMap<ObjectId, T>) -> impl FnMut(&ObjectId) -> Option<&'a T> {
    let mut entries = map.iter().peekable();
    move |id| {
        while entries.next_if(|(own, _)| *own < id).is_some() {}
        entries.peek().filter(|(own, _)| *own == id).map(|(_, found)| *found)
    }
}

/// One Kubernetes object: a JSON map with sorted keys.
///
/// Accessors return a field of the wrong type as missing. An object that was parsed has all fields that an object must have:
/// `parse` checks them.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

impl Object {
    /// `apiVersion`, empty when missing.
    pub fn api_version(&self) -> &str {
        self.0.get("apiVersion").and_then(Value::as_str).unwrap_or_default()
    }

    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version().split_once('/').map_or("", |(group, _)| group)
    }

    /// The API version without its group.
    pub fn version(&self) -> &str {
        let api_version = self.api_version();
        api_version.split_once('/').map_or(api_version, |(_, version)| version)
    }

    /// `kind`, empty when missing.
    pub fn kind(&self) -> &str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or_default()
    }

    /// Group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group(), self.kind())
    }

    /// `true` if the object has this group and kind, in any version.
    pub fn is_kind(&self, group: &str, kind: &str) -> bool {
        self.kind() == kind && self.group() == group
    }

    /// `metadata.name`, empty when missing.
    pub fn name(&self) -> &str {
        self.metadata("name").and_then(Value::as_str).unwrap_or_default()
    }

    /// `metadata.namespace`, empty when missing.
    pub fn namespace(&self) -> &str {
        self.metadata("namespace").and_then(Value::as_str).unwrap_or_default()
    }

    /// The object's identity.
    pub fn id(&self) -> ObjectId {
        ObjectId::from_parts([self.group(), self.kind(), self.namespace(), self.name()])
    }

    /// A field directly below `metadata`.
    pub fn metadata(&self, field: &str) -> Option<&Value> {
        self.0.get("metadata")?.get(field)
    }

    /// The string value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata("annotations")?.get(key)?.as_str()
    }

    /// The string value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata("labels")?.get(key)?.as_str()
    }

    /// Annotations with string values, in key order.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings("annotations")
    }

    /// Labels with string values, in key order.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings("labels")
    }

    fn strings(&self, field: &str) -> impl Iterator<Item = (&str, &str)> {
        self.metadata(field)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// Sets an annotation. A map above it that is missing or not a map is replaced by a new one.
    pub fn set_annotation(&mut self, key: &str, value: impl Into<String>) {
        self.metadata_map("annotations").insert(key.to_owned(), Value::String(value.into()));
    }

    /// Sets a label. A map above it that is missing or not a map is replaced by a new one.
    pub fn set_label(&mut self, key: &str, value: impl Into<String>) {
        self.metadata_map("labels").insert(key.to_owned(), Value::String(value.into()));
    }

    /// Removes an annotation. `true` if the object had it.
    pub fn remove_annotation(&mut self, key: &str) -> bool {
        self.metadata_map("annotations").remove(key).is_some()
    }

    /// Sets `metadata.namespace`.
    pub fn set_namespace(&mut self, namespace: &str) {
        self.metadata_mut().insert("namespace".to_owned(), Value::String(namespace.to_owned()));
    }

    /// The `metadata` map. If it is missing or not a map, it is replaced by a new one.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        as_map(self.0.entry("metadata").or_insert(Value::Null))
    }

    fn metadata_map(&mut self, field: &str) -> &mut Map<String, Value> {
        as_map(self.metadata_mut().entry(field).or_insert(Value::Null))
    }
}

/// The map in `value`. A value that is not a map is replaced by an empty one.
fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made a map above"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_identify() {
        let namespace = ObjectId::new(&GroupKind::new("", "Namespace"), "", "foo");
        assert_eq!(namespace.resource_id(), "_namespace_foo");
        let deployment = ObjectId::new(&GroupKind::new("apps", "Deployment"), "shop", "web");
        assert_eq!(deployment.resource_id(), "apps_deployment_shop_web");
        assert_eq!(deployment.to_string(), "deployment.apps/shop/web");
    }

    #[test]
    fn ids_are_ordered_part_by_part() {
        let id = |parts| ObjectId::from_parts(parts);
        let sorted = [
            ["", "B", "", "z"],
            ["", "B", "ab", "a"],
            ["", "B", "ab", "b"],
            ["", "B", "b", "a"],
            ["", "BB", "", "a"],
            ["a", "A", "", "a"],
            ["ab", "A", "", "a"],
        ];
        assert!(sorted.is_sorted_by(|one, other| id(*one) < id(*other)));
    }

    #[test]
    fn setters_create_missing_maps() {
        let mut object = Object::default();
        object.set_annotation("a", "1");
        object.set_namespace("x");
        assert_eq!((object.annotation("a"), object.namespace()), (Some("1"), "x"));
    }
}
