//! The objects of manifests in little memory: the fields that the rules read are values, all others are JSON text.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::model::object::{GroupKind, Object, ObjectId};

/// Keys and values in the order of keys.
type TextPairs = Box<[(Box<str>, Box<str>)]>;

/// The object of a manifest, without its status.
#[derive(Debug)]
pub struct ManifestObject {
    /// Its identity in the manifest.
    pub id: ObjectId,
    api_version: Box<str>,
    annotations: TextPairs,
    labels: TextPairs,
    /// The metadata that has no field here. Unusual values of those that have one are here too, such as an empty namespace or
    /// annotations that are null.
    metadata: Map<String, Value>,
    /// All other top-level fields, in order.
    payload: Box<[(Box<str>, Box<RawValue>)]>,
    has_nulls: bool,
    is_sealed: bool,
    values: Option<Box<Object>>,
}

impl ManifestObject {
    /// The object in this form.
    pub fn new(object: Object) -> Self {
        let id = object.id();
        let has_nulls = object.0.values().any(has_nulls);
        let api_version = object.api_version().into();
        let mut metadata = Map::new();
        let mut payload = Vec::with_capacity(object.0.len());
        for (field, value) in object.0 {
            match (field.as_str(), value) {
                ("apiVersion" | "kind", Value::String(_)) | ("status", _) => {}
                ("metadata", Value::Object(map)) => metadata = map,
                (_, value) => {
                    let text = to_raw_value(&value).expect("maps with string keys always serialise");
                    payload.push((field.into(), text));
                }
            }
        }
        let mut pairs_of = |field: &str| match metadata.remove(field) {
            Some(Value::Object(map)) if !map.is_empty() && map.values().all(Value::is_string) => text_values(map),
            Some(unusual) => {
                metadata.insert(field.to_owned(), unusual);
                TextPairs::default()
            }
            None => TextPairs::default(),
        };
        let (annotations, labels) = (pairs_of("annotations"), pairs_of("labels"));
        // An empty list of owners states nothing, and the API server refuses it.
        if metadata.get("managedFields").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            metadata.remove("managedFields");
        }
        metadata.retain(|field, value| {
            !(matches!(field.as_str(), "name" | "namespace") && value.as_str().is_some_and(|text| !text.is_empty()))
        });
        if metadata.is_empty() {
            // The removed entries left their memory in the map.
            metadata = Map::new();
        }
        Self {
            id,
            api_version,
            annotations,
            labels,
            metadata,
            payload: payload.into(),
            has_nulls,
            is_sealed: false,
            values: None,
        }
    }

    /// The object in this form, with its fields as values too, for kinds that compilation reads. [`ManifestObject::field`] returns
    /// them.
    pub fn with_values(object: Object) -> Self {
        Self { values: Some(Box::new(object.clone())), ..Self::new(object) }
    }

    /// The object as one that has, or had, a value that SOPS sealed in the file.
    pub(crate) fn sealed(self) -> Self {
        Self { is_sealed: true, ..self }
    }

    /// `true` if SOPS sealed a value of it in the file, so that its values are not to be shown.
    pub(crate) fn is_sealed(&self) -> bool {
        self.is_sealed
    }

    /// A top-level field; `None` if it is missing or the values were not kept.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.values.as_ref()?.0.get(name)
    }

    /// `apiVersion`.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// The API version without its group.
    pub fn version(&self) -> &str {
        self.api_version.split_once('/').map_or(&self.api_version, |(_, version)| version)
    }

    /// `kind`.
    pub fn kind(&self) -> &str {
        self.id.kind()
    }

    /// The group and kind.
    pub fn group_kind(&self) -> GroupKind {
        self.id.group_kind()
    }

    /// `true` if the object has this group and kind, in any version.
    pub fn is_kind(&self, group: &str, kind: &str) -> bool {
        self.id.kind() == kind && self.id.group() == group
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.id.name()
    }

    /// `metadata.namespace`, empty when missing.
    pub fn namespace(&self) -> &str {
        self.id.namespace()
    }

    /// A field of the metadata other than name, namespace, annotations and labels.
    pub fn metadata(&self, field: &str) -> Option<&Value> {
        self.metadata.get(field)
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().find_map(|(own, value)| (own == key).then_some(value))
    }

    /// The annotations, in the order of keys.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.annotations.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The labels, in the order of keys.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The memory that the object takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let texts = self.annotations().chain(self.labels()).chain(self.payload());
        let texts: usize = texts.map(|(key, text)| 2 * size_of::<Box<str>>() + key.len() + text.len()).sum();
        let values = self.values.as_ref().map_or(0, |object| bytes_of_map(&object.0));
        size_of::<Self>() + self.id.name().len() + texts + bytes_of_map(&self.metadata) + values
    }

    /// Bytes of the object as JSON text, without what the system adds.
    pub(crate) fn text_bytes(&self) -> usize {
        let texts = self.annotations().chain(self.labels()).chain(self.payload());
        texts.map(|(key, text)| key.len() + text.len()).sum::<usize>() + bytes_of_map(&self.metadata)
    }

    /// The memory that the object takes as a JSON value, about: a multiple of its text where it has many small maps.
    pub(crate) fn decoded_bytes(&self) -> usize {
        self.text_bytes() + self.payload().map(|(_, text)| bytes_of_values(text)).sum::<usize>()
    }

    /// Number of its values outside of metadata, about.
    pub(crate) fn values(&self) -> usize {
        self.payload()
            .map(|(_, text)| 1 + structure(text).filter(|(_, byte)| matches!(byte, b',' | b'{' | b'[')).count())
            .sum()
    }

    /// `true` if a value at any depth is null.
    pub(crate) fn has_nulls(&self) -> bool {
        self.has_nulls
    }

    /// `true` if the object has the top-level field, other than apiVersion, kind and metadata.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.payload.iter().any(|(own, _)| **own == *field)
    }

    /// The metadata other than name, namespace, annotations and labels.
    pub(crate) fn other_metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// The top-level fields other than apiVersion, kind, metadata and status, each as JSON text without white space.
    pub(crate) fn payload(&self) -> impl Iterator<Item = (&str, &str)> {
        self.payload.iter().map(|(field, text)| (&**field, text.get()))
    }

    /// The object as a JSON value, without name, namespace, annotations and labels.
    pub(crate) fn without_texts(&self) -> Object {
        let mut object: Map<String, Value> =
            self.payload().map(|(field, text)| (field.to_owned(), decoded(text))).collect();
        object.insert("apiVersion".to_owned(), self.api_version().into());
        object.insert("kind".to_owned(), self.kind().into());
        object.insert("metadata".to_owned(), self.metadata.clone().into());
        Object(object)
    }

    /// The object as JSON text, with `namespace` and with added metadata.
    pub(crate) fn text(&self, namespace: &str, added: &AddedMetadata) -> String {
        serde_json::to_string(&WholeObject { object: self, namespace, added })
            .expect("maps with string keys always serialise")
    }

    /// The object as one JSON value.
    pub(crate) fn whole(&self) -> Object {
        parsed(&self.text(self.namespace(), &AddedMetadata::default()))
    }
}

fn text_values(map: Map<String, Value>) -> TextPairs {
    let text = |value| if let Value::String(text) = value { text.into() } else { Box::default() };
    map.into_iter().map(|(key, value)| (key.into(), text(value))).collect()
}

/// The memory that a value takes, about.
fn bytes_of(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(bytes_of).sum(),
            Value::Object(map) => bytes_of_map(map),
            _ => 0,
        }
}

/// A node of a map has room for so many entries.
const ROOM: usize = 11;

/// The memory that the values of a JSON text without white space take when they are decoded, without their strings, about.
fn bytes_of_values(json: &str) -> usize {
    let of_byte = |(at, byte)| match byte {
        b'{' if json.as_bytes().get(at + 1) != Some(&b'}') => ROOM * size_of::<(String, Value)>(),
        b',' | b'[' => size_of::<Value>(),
        _ => 0,
    };
    size_of::<Value>() + structure(json).map(of_byte).sum::<usize>()
}

/// The bytes of a JSON text that are in no string, with their places.
fn structure(json: &str) -> impl Iterator<Item = (usize, u8)> {
    let (mut in_text, mut escaped) = (false, false);
    json.bytes().enumerate().filter(move |(_, byte)| {
        let was_escaped = std::mem::take(&mut escaped);
        match byte {
            b'\\' if in_text => escaped = !was_escaped,
            b'"' if !was_escaped => in_text = !in_text,
            _ => {}
        }
        !in_text
    })
}

fn bytes_of_map(map: &Map<String, Value>) -> usize {
    let entries: usize = map.iter().map(|(key, value)| key.len() + bytes_of(value) - size_of::<Value>()).sum();
    entries + map.len().next_multiple_of(ROOM) * size_of::<(String, Value)>()
}

fn has_nulls(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(has_nulls),
        Value::Array(items) => items.iter().any(has_nulls),
        _ => false,
    }
}

/// Reads a text of [`ManifestObject::text`]. Manifests may be nested more deeply than `serde_json` reads by default.
pub(crate) fn parsed(text: &str) -> Object {
    decoded(text)
}

/// Reads a part of such a text.
pub(crate) fn decoded<T: DeserializeOwned>(text: &str) -> T {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    T::deserialize(&mut deserializer).expect("made by serialising an object")
}

/// Annotations and labels to add to an object. They override those of the object.
#[derive(Debug, Default)]
pub(crate) struct AddedMetadata {
    pub(crate) annotations: Vec<(String, String)>,
    pub(crate) labels: Vec<(String, String)>,
}

impl AddedMetadata {
    /// Adds an annotation.
    pub(crate) fn annotation(&mut self, key: &str, value: impl Into<String>) {
        self.annotations.push((key.to_owned(), value.into()));
    }

    /// Adds a label.
    pub(crate) fn label(&mut self, key: &str, value: impl Into<String>) {
        self.labels.push((key.to_owned(), value.into()));
    }
}

/// An object with its added metadata, to serialise.
struct WholeObject<'a> {
    object: &'a ManifestObject,
    namespace: &'a str,
    added: &'a AddedMetadata,
}

impl Serialize for WholeObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { object, .. } = self;
        let metadata = WholeMetadata(self);
        let own = [
            ("apiVersion", (!object.api_version.is_empty()).then_some(FieldValue::Text(&object.api_version))),
            ("kind", (!object.kind().is_empty()).then(|| FieldValue::Text(object.kind()))),
            ("metadata", Some(FieldValue::Metadata(&metadata))),
        ];
        let payload = object.payload.iter().map(|(field, text)| (&**field, FieldValue::Raw(text)));
        let own = own.into_iter().filter_map(|(field, part)| Some((field, part?)));
        in_order(serializer, own.chain(payload).collect())
    }
}

struct WholeMetadata<'a>(&'a WholeObject<'a>);

impl Serialize for WholeMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let WholeObject { object, namespace, added } = self.0;
        let annotations = overridden(object.annotations(), &added.annotations);
        let labels = overridden(object.labels(), &added.labels);
        let own = [
            ("annotations", (!annotations.is_empty()).then_some(FieldValue::TextPairs(&annotations))),
            ("labels", (!labels.is_empty()).then_some(FieldValue::TextPairs(&labels))),
            ("name", (!object.name().is_empty()).then(|| FieldValue::Text(object.name()))),
            ("namespace", (!namespace.is_empty()).then_some(FieldValue::Text(namespace))),
        ];
        let own: Vec<_> = own.into_iter().filter_map(|(field, part)| Some((field, part?))).collect();
        let is_own = |field: &str| own.iter().any(|(own, _)| *own == field);
        let unusual = object.metadata.iter().filter(|(field, _)| !is_own(field));
        let unusual: Vec<_> = unusual.map(|(field, value)| (field.as_str(), FieldValue::Value(value))).collect();
        in_order(serializer, own.into_iter().chain(unusual).collect())
    }
}

/// The value of a field.
enum FieldValue<'a> {
    Text(&'a str),
    TextPairs(&'a [(&'a str, &'a str)]),
    Value(&'a Value),
    Raw(&'a RawValue),
    Metadata(&'a WholeMetadata<'a>),
}

impl Serialize for FieldValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::TextPairs(pairs_of) => serializer.collect_map(pairs_of.iter().copied()),
            Self::Value(value) => value.serialize(serializer),
            Self::Raw(text) => text.serialize(serializer),
            Self::Metadata(metadata) => metadata.serialize(serializer),
        }
    }
}

fn in_order<S: Serializer>(serializer: S, mut fields: Vec<(&str, FieldValue<'_>)>) -> Result<S::Ok, S::Error> {
    fields.sort_by_key(|(field, _)| *field);
    let mut map = serializer.serialize_map(Some(fields.len()))?;
    for (field, part) in fields {
        map.serialize_entry(field, &part)?;
    }
    map.end()
}

/// The keys of the object and the added ones, in order. Added ones override.
pub(crate) fn overridden<'a>(
    own: impl Iterator<Item = (&'a str, &'a str)>,
    added: &'a [(String, String)],
) -> Vec<(&'a str, &'a str)> {
    let added = added.iter().rev().map(|(key, value)| (key.as_str(), value.as_str()));
    // The first of equal keys stays: the one that was added last.
    let mut all: Vec<_> = added.chain(own).collect();
    all.sort_by_key(|(key, _)| *key);
    all.dedup_by_key(|(key, _)| *key);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> ManifestObject {
        ManifestObject::new(serde_json::from_str(json).expect("JSON"))
    }

    #[test]
    fn all_fields_are_kept() {
        for json in [
            r#"{"apiVersion":"v1","data":{"a":[1,null]},"kind":"X","metadata":{"name":"a"},"z":1}"#,
            r#"{"apiVersion":"v1","kind":"X","metadata":{"annotations":{},"labels":null,"name":"a","namespace":""}}"#,
            r#"{"aa":1,"apiVersion":"g/v1","kind":"X","metadata":{"annotations":{"b":"c"},"finalizers":["x"],"labels":{"d":""},"name":"a","namespace":"n","zone":{}}}"#,
        ] {
            let object = object(json);
            assert_eq!(object.text(object.namespace(), &AddedMetadata::default()), json);
        }
    }

    #[test]
    fn added_metadata_overrides() {
        let object = object(
            r#"{"apiVersion":"v1","kind":"X","metadata":{"annotations":{"a":"1","b":"1"},"labels":{},"name":"a","namespace":""}}"#,
        );
        let mut added = AddedMetadata::default();
        added.annotation("b", "2");
        added.annotation("c", "2");
        added.annotation("c", "3");
        added.label("d", "4");
        let expected = r#"{"apiVersion":"v1","kind":"X","metadata":{"annotations":{"a":"1","b":"2","c":"3"},"labels":{"d":"4"},"name":"a","namespace":"n"}}"#;
        assert_eq!(object.text("n", &added), expected);
    }
}
