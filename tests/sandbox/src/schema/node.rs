//! Schemas in the form that merging needs: what a value may be, and how the elements of lists and maps are told apart.
//!
//! A schema of OpenAPI is read once into a [`Node`]. A [`Ref`] leads from a node to the next one; types that built-in
//! kinds share stay shared, so that recursive ones need no care.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::Value;
use serde_json::value::RawValue;

use super::decode::is_zero;
use super::published;

/// The type of a value. A node with several of the three accepts each of them.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) scalar: Option<Scalar>,
    pub(crate) list: Option<List>,
    pub(crate) map: Option<Map>,
    pub(crate) format: Format,
    /// A CustomResourceDefinition lets fields stay that it does not name.
    pub(crate) preserves_unknown: bool,
    /// A whole object stands here, with `apiVersion`, `kind` and `metadata`.
    pub(crate) embedded: bool,
}

/// The types of what has no elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Number,
    Text,
    Boolean,
    Any,
}

/// The Go type to which a built-in kind decodes a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    #[default]
    Plain,
    Int32,
    Int64,
    Double,
    Bytes,
    Time,
    MicroTime,
    IntOrText,
    Quantity,
    /// Any object, kept as it is.
    Raw,
}

#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Ref,
    pub(crate) kind: ListKind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// One value, owned as a whole.
    Atomic,
    /// Scalars, each of its own.
    Set,
    /// Maps, told apart by the values of these fields, which are in order.
    Keyed(Vec<String>),
}

#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) fields: BTreeMap<String, Ref>,
    /// The fields that are filled in where they are absent.
    pub(crate) defaulted: Vec<String>,
    /// The type of fields that have no node of their own; `None` if there may be no such fields.
    pub(crate) others: Option<Ref>,
    /// The schema says what others are. If it does not, a custom resource has none, though merging may know better.
    pub(crate) names_others: bool,
    /// One value, owned as a whole.
    pub(crate) atomic: bool,
}

/// The strategy of a strategic merge patch for a list or map.
#[derive(Debug, Clone, Default)]
pub(crate) struct Patch {
    pub(crate) merge: bool,
    /// The map of the patch takes the place of the live one.
    pub(crate) replace: bool,
    pub(crate) key: Option<String>,
}

/// The way to a node, and what is said on the way.
#[derive(Debug, Clone)]
pub(crate) struct Ref {
    target: Target,
    /// `true` if the map is one value; `None` if the reference does not say.
    pub(crate) atomic: Option<bool>,
    pub(crate) default: Option<Value>,
    /// Null is a value here.
    pub(crate) nullable: bool,
    /// The value in an object of a built-in kind if the client sends none.
    pub(crate) zero: Option<Value>,
    /// An object of a built-in kind has no empty value here.
    pub(crate) omitted: bool,
    pub(crate) patch: Option<Patch>,
}

#[derive(Debug, Clone)]
enum Target {
    Own(Arc<Node>),
    Shared(&'static Definition),
    Deduced,
    Untyped,
    Unresolved,
}

/// A named type of the published documents, read when first asked for.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: String,
    pub(crate) text: Box<RawValue>,
    pub(crate) node: OnceLock<Node>,
}

/// Any value; maps are merged by field, lists are one value.
static DEDUCED: LazyLock<Node> = LazyLock::new(|| any(Ref::to(Target::Deduced), false));
/// Any value, which is one value whatever it is.
static UNTYPED: LazyLock<Node> = LazyLock::new(|| any(Ref::to(Target::Untyped), true));
/// The target of a reference to a missing type: no value fits it.
static NOTHING: LazyLock<Node> = LazyLock::new(Node::default);

fn any(elements: Ref, atomic: bool) -> Node {
    Node {
        scalar: Some(Scalar::Any),
        list: Some(List { items: Ref::to(Target::Untyped), kind: ListKind::Atomic }),
        map: Some(Map {
            fields: BTreeMap::new(),
            defaulted: Vec::new(),
            others: Some(elements),
            names_others: false,
            atomic,
        }),
        ..Node::default()
    }
}

impl Ref {
    fn to(target: Target) -> Self {
        Self { target, atomic: None, default: None, nullable: false, zero: None, omitted: false, patch: None }
    }

    pub(crate) fn own(node: Node) -> Self {
        Self::to(Target::Own(Arc::new(node)))
    }

    pub(crate) fn shared(name: &str) -> Self {
        Self::to(published::definition(name).map_or(Target::Unresolved, Target::Shared))
    }

    pub(crate) fn deduced() -> Self {
        Self::to(Target::Deduced)
    }

    pub(crate) fn node(&self) -> &Node {
        match &self.target {
            Target::Own(node) => node,
            Target::Shared(definition) => definition.node(),
            Target::Deduced => &DEDUCED,
            Target::Untyped => &UNTYPED,
            Target::Unresolved => &NOTHING,
        }
    }

    /// `true` for a field that gets its default where it is absent. One of a built-in kind that is left out when it is empty has no
    /// empty default.
    fn is_filled_in(&self) -> bool {
        self.default.as_ref().is_some_and(|default| !(self.omitted && is_zero(default)))
    }

    pub(crate) fn is_deduced(&self) -> bool {
        match &self.target {
            Target::Deduced => true,
            Target::Own(node) => node.scalar == Some(Scalar::Any),
            _ => false,
        }
    }
}

impl Definition {
    pub(crate) fn node(&self) -> &Node {
        self.node.get_or_init(|| {
            let schema: Value = serde_json::from_str(self.text.get()).expect("a schema that was stored as JSON");
            named(&self.name).unwrap_or_else(|| read(&schema, false))
        })
    }
}

/// The types that the documents describe by less than what the API server does with them.
fn named(name: &str) -> Option<Node> {
    match name {
        "io.k8s.apimachinery.pkg.api.resource.Quantity" => {
            Some(Node { scalar: Some(Scalar::Any), format: Format::Quantity, ..Node::default() })
        }
        "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime" => {
            Some(Node { scalar: Some(Scalar::Any), format: Format::MicroTime, ..Node::default() })
        }
        "io.k8s.apimachinery.pkg.runtime.RawExtension" => {
            Some(Node { format: Format::Raw, ..any(Ref::to(Target::Untyped), true) })
        }
        _ => None,
    }
}

/// Reads a schema. `preserves`: one above it lets unknown fields stay.
pub(crate) fn read(schema: &Value, preserves: bool) -> Node {
    let preserves_unknown = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let preserves = preserves || preserves_unknown;
    let format = text(schema, "format").unwrap_or_default();
    let mut node = match text(schema, "type").unwrap_or_default() {
        "object" => Node { map: Some(map(schema, preserves)), ..Node::default() },
        "array" => Node { list: Some(list(schema, preserves)), ..Node::default() },
        "integer" | "number" => Node { scalar: Some(Scalar::Number), ..Node::default() },
        "boolean" => Node { scalar: Some(Scalar::Boolean), ..Node::default() },
        "string" if ["", "byte"].contains(&format) => Node { scalar: Some(Scalar::Text), ..Node::default() },
        "string" => Node { scalar: Some(Scalar::Any), ..Node::default() },
        _ => Node {
            scalar: Some(Scalar::Any),
            list: Some(list(schema, preserves)),
            map: Some(map(schema, preserves)),
            ..Node::default()
        },
    };
    node.format = match (text(schema, "type").unwrap_or_default(), format) {
        ("integer", "int32") => Format::Int32,
        ("integer", _) => Format::Int64,
        ("number", _) => Format::Double,
        ("string", "byte") => Format::Bytes,
        ("string", "date-time") => Format::Time,
        (_, "int-or-string") => Format::IntOrText,
        _ => Format::Plain,
    };
    node.preserves_unknown = preserves_unknown;
    node.embedded = flag(schema, "x-kubernetes-embedded-resource");
    node
}

fn map(schema: &Value, preserves: bool) -> Map {
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut fields: BTreeMap<String, Ref> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| (name.clone(), reference(property, preserves)))
        .collect();
    if flag(schema, "x-kubernetes-embedded-resource") {
        add_object_fields(&mut fields);
    }
    let others = match schema.get("additionalProperties") {
        Some(Value::Bool(allowed)) => allowed.then(Ref::deduced),
        Some(others) => Some(reference(others, preserves)),
        None => (preserves || fields.is_empty()).then(Ref::deduced),
    };
    let names_others = schema.get("additionalProperties").is_some();
    let defaulted = fields.iter().filter(|(_, field)| field.is_filled_in()).map(|(name, _)| name.clone()).collect();
    Map { fields, defaulted, others, names_others, atomic: map_type(schema) == Some(true) }
}

/// `apiVersion`, `kind` and `metadata` are those of every object, whatever a schema says of them.
pub(crate) fn add_object_fields(fields: &mut BTreeMap<String, Ref>) {
    let text = || Ref::own(Node { scalar: Some(Scalar::Text), ..Node::default() });
    fields.insert("apiVersion".into(), text());
    fields.insert("kind".into(), text());
    fields.insert("metadata".into(), Ref::shared("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"));
}

fn list(schema: &Value, preserves: bool) -> List {
    let items = schema.get("items").map_or(Ref::to(Target::Untyped), |items| reference(items, preserves));
    let patch = patch(schema);
    let kind = match (text(schema, "x-kubernetes-list-type"), &patch) {
        (Some("set"), _) => ListKind::Set,
        (Some("map"), _) => ListKind::Keyed(keys(schema)),
        (None, Some(Patch { merge: true, key: Some(key), .. })) => ListKind::Keyed(vec![key.clone()]),
        (None, Some(Patch { merge: true, key: None, .. })) => ListKind::Set,
        _ => ListKind::Atomic,
    };
    List { items, kind }
}

fn keys(schema: &Value) -> Vec<String> {
    let mut keys = words(schema, "x-kubernetes-list-map-keys");
    keys.sort();
    keys
}

fn words(schema: &Value, key: &str) -> Vec<String> {
    let words = schema.get(key).and_then(Value::as_array);
    words.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
}

/// A reference, which may stand alone in an `allOf` beside what else is said, or a schema in its place.
fn reference(schema: &Value, preserves: bool) -> Ref {
    let alone = || match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => text(only, "$ref"),
        _ => None,
    };
    let found = match text(schema, "$ref").or_else(alone).and_then(|path| path.rsplit('/').next()) {
        Some(name) => Ref { atomic: map_type(schema), ..Ref::shared(name) },
        None => Ref::own(read(schema, preserves)),
    };
    Ref {
        default: schema.get("default").cloned(),
        nullable: flag(schema, "nullable"),
        zero: schema.get("x-zero").cloned(),
        omitted: flag(schema, "x-omitted"),
        patch: patch(schema),
        ..found
    }
}

fn patch(schema: &Value) -> Option<Patch> {
    let strategy = text(schema, "x-kubernetes-patch-strategy")?;
    Some(Patch {
        merge: strategy.split(',').any(|word| word == "merge"),
        replace: strategy.split(',').any(|word| word == "replace"),
        key: text(schema, "x-kubernetes-patch-merge-key").map(Into::into),
    })
}

fn map_type(schema: &Value) -> Option<bool> {
    text(schema, "x-kubernetes-map-type").map(|kind| kind == "atomic")
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Value::as_str)
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key) == Some(&Value::Bool(true))
}
