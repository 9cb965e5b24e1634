//! Whether an object fits a known Kubernetes type: what Go's conversion from JSON accepts. Unknown fields are ignored, null is
//! every type's zero value, and nothing is converted.

use serde_json::Value;

use crate::written::Written;

/// A type.
pub(crate) enum Shape {
    Any,
    Text,
    Bool,
    Int,
    Number,
    Time,
    List(&'static Shape),
    Map(&'static Shape),
    Fields(&'static [(&'static str, &'static Shape)]),
    Either(&'static [&'static Shape]),
}

use Shape::{Any, Bool, Either, Fields, Int, List, Map, Number, Text, Time};

/// A value that does not fit.
pub(crate) struct Mismatch {
    /// Path to the value, from the root of the object.
    pub(crate) field: Vec<String>,
    expected: &'static str,
}

impl Mismatch {
    /// `spec.version must be text`
    pub(crate) fn message(&self) -> String {
        format!("{} must be {}", self.field.join("."), self.expected)
    }

    /// The path as [`super::Manifest::at_value`] takes it.
    pub(crate) fn steps(&self) -> Vec<&str> {
        self.field.iter().map(String::as_str).collect()
    }
}

/// The first value of `object` that does not fit its metadata or `spec`.
pub(crate) fn mismatch(object: &Written, spec: &Shape) -> Option<Mismatch> {
    let field = |name: &str, shape| {
        let mut path = vec![name.to_owned()];
        let expected = first(object.field(name)?, shape, &mut path)?;
        Some(Mismatch { field: path, expected })
    };
    field("metadata", &METADATA).or_else(|| field("spec", spec))
}

/// What was expected at the first value that does not fit; `path` then leads there.
fn first(value: &Value, shape: &Shape, path: &mut Vec<String>) -> Option<&'static str> {
    let expected = match (shape, value) {
        (Any, _) | (_, Value::Null) | (Text, Value::String(_)) | (Bool, Value::Bool(_)) => return None,
        (Number, Value::Number(_)) => return None,
        (Int, Value::Number(number)) if number.is_i64() => return None,
        (Time, Value::String(text)) if text.is_empty() || is_rfc3339(text) => return None,
        (List(shape), Value::Array(items)) => {
            return items.iter().enumerate().find_map(|(i, item)| below(&i.to_string(), item, shape, path));
        }
        (Map(shape), Value::Object(map)) => {
            return map.iter().find_map(|(key, value)| below(key, value, shape, path));
        }
        (Fields(fields), Value::Object(map)) => {
            return fields.iter().find_map(|(name, shape)| below(name, map.get(*name)?, shape, path));
        }
        (Either(shapes), _) => {
            let fits = shapes.iter().any(|shape| first(value, shape, &mut Vec::new()).is_none());
            return if fits { None } else { first(value, shapes[0], path) };
        }
        (Text, _) => "text",
        (Bool, _) => "true or false",
        (Int, _) => "a whole number",
        (Number, _) => "a number",
        (Time, _) => "a time like 2006-01-02T15:04:05Z",
        (List(_), _) => "a list",
        (Map(_) | Fields(_), _) => "a map",
    };
    Some(expected)
}

fn below(key: &str, value: &Value, shape: &Shape, path: &mut Vec<String>) -> Option<&'static str> {
    path.push(key.to_owned());
    let expected = first(value, shape, path);
    if expected.is_none() {
        path.pop();
    }
    expected
}

/// Whether `text` is a date and time of RFC 3339.
pub(crate) fn is_rfc3339(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>, max: u32| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok()).filter(|number| *number <= max)
    };
    let (Some(year), Some(month), Some(day)) = (number(0..4, 9999), number(5..7, 12), number(8..10, 31)) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let clock = number(11..13, 23).and(number(14..16, 59)).and(number(17..19, 59)).is_some();
    if month == 0
        || day == 0
        || day > days
        || !clock
        || separators.iter().any(|(at, byte)| text.as_bytes()[*at] != *byte)
    {
        return false;
    }
    let rest = &text[19..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let two =
        |range: std::ops::Range<usize>| zone.get(range).is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
    zone == "Z" || zone.len() == 6 && zone.starts_with(['+', '-']) && two(1..3) && &zone[3..4] == ":" && two(4..6)
}

static TEXTS: Shape = List(&Text);
static TEXT_MAP: Shape = Map(&Text);

static METADATA: Shape = Fields(&[
    ("name", &Text),
    ("generateName", &Text),
    ("namespace", &Text),
    ("selfLink", &Text),
    ("uid", &Text),
    ("resourceVersion", &Text),
    ("generation", &Int),
    ("creationTimestamp", &Time),
    ("deletionTimestamp", &Time),
    ("deletionGracePeriodSeconds", &Int),
    ("labels", &TEXT_MAP),
    ("annotations", &TEXT_MAP),
    ("finalizers", &TEXTS),
    (
        "ownerReferences",
        &List(&Fields(&[
            ("apiVersion", &Text),
            ("kind", &Text),
            ("name", &Text),
            ("uid", &Text),
            ("controller", &Bool),
            ("blockOwnerDeletion", &Bool),
        ])),
    ),
    ("managedFields", &List(&Fields(&[("manager", &Text), ("operation", &Text), ("time", &Time)]))),
]);

static LABEL_SELECTOR: Shape = Fields(&[
    ("matchLabels", &TEXT_MAP),
    ("matchExpressions", &List(&Fields(&[("key", &Text), ("operator", &Text), ("values", &TEXTS)]))),
]);

/// `spec` of a Repo.
pub(crate) static REPO: Shape = Fields(&[("version", &Text)]);

/// `spec` of a HierarchyConfig.
pub(crate) static HIERARCHY_CONFIG: Shape =
    Fields(&[("resources", &List(&Fields(&[("group", &Text), ("kinds", &TEXTS), ("hierarchyMode", &Text)])))]);

/// `spec` of a ClusterSelector or a NamespaceSelector.
pub(crate) static SELECTOR: Shape = Fields(&[("selector", &LABEL_SELECTOR), ("mode", &Text)]);

/// `spec` of a Cluster.
pub(crate) static CLUSTER: Shape = Fields(&[
    (
        "kubernetesApiEndpoints",
        &Fields(&[
            ("serverEndpoints", &List(&Fields(&[("clientCIDR", &Text), ("serverAddress", &Text)]))),
            ("caBundle", &Text),
        ]),
    ),
    ("authInfo", &Fields(&[("user", &OBJECT_REFERENCE), ("controller", &OBJECT_REFERENCE)])),
]);

static OBJECT_REFERENCE: Shape = Fields(&[("kind", &Text), ("name", &Text), ("namespace", &Text)]);

/// `spec` of a CustomResourceDefinition, v1 and v1beta1.
pub(crate) static CRD: Shape = Fields(&[
    ("group", &Text),
    ("scope", &Text),
    ("version", &Text),
    ("preserveUnknownFields", &Bool),
    (
        "names",
        &Fields(&[
            ("plural", &Text),
            ("singular", &Text),
            ("kind", &Text),
            ("listKind", &Text),
            ("shortNames", &TEXTS),
            ("categories", &TEXTS),
        ]),
    ),
    (
        "versions",
        &List(&Fields(&[
            ("name", &Text),
            ("served", &Bool),
            ("storage", &Bool),
            ("deprecated", &Bool),
            ("deprecationWarning", &Text),
            ("schema", &CRD_SCHEMA),
            ("subresources", &SUBRESOURCES),
            ("additionalPrinterColumns", &COLUMNS),
            ("selectableFields", &List(&Fields(&[("jsonPath", &Text)]))),
        ])),
    ),
    ("validation", &CRD_SCHEMA),
    ("subresources", &SUBRESOURCES),
    ("additionalPrinterColumns", &COLUMNS),
    ("conversion", &Fields(&[("strategy", &Text), ("webhook", &Map(&Any)), ("conversionReviewVersions", &TEXTS)])),
]);

static CRD_SCHEMA: Shape = Fields(&[("openAPIV3Schema", &SCHEMA)]);

static SUBRESOURCES: Shape = Fields(&[
    ("status", &Map(&Any)),
    ("scale", &Fields(&[("specReplicasPath", &Text), ("statusReplicasPath", &Text), ("labelSelectorPath", &Text)])),
]);

static COLUMNS: Shape = List(&Fields(&[
    ("name", &Text),
    ("type", &Text),
    ("format", &Text),
    ("description", &Text),
    ("priority", &Int),
    ("jsonPath", &Text),
    ("JSONPath", &Text),
]));

static SCHEMAS: Shape = List(&SCHEMA);
static SCHEMA_MAP: Shape = Map(&SCHEMA);
static SCHEMA_OR_BOOL: Shape = Either(&[&SCHEMA, &Bool]);

static SCHEMA: Shape = Fields(&[
    ("id", &Text),
    ("$schema", &Text),
    ("$ref", &Text),
    ("description", &Text),
    ("type", &Text),
    ("format", &Text),
    ("title", &Text),
    ("maximum", &Number),
    ("exclusiveMaximum", &Bool),
    ("minimum", &Number),
    ("exclusiveMinimum", &Bool),
    ("maxLength", &Int),
    ("minLength", &Int),
    ("pattern", &Text),
    ("maxItems", &Int),
    ("minItems", &Int),
    ("uniqueItems", &Bool),
    ("multipleOf", &Number),
    ("enum", &List(&Any)),
    ("maxProperties", &Int),
    ("minProperties", &Int),
    ("required", &TEXTS),
    ("items", &Either(&[&SCHEMA, &SCHEMAS])),
    ("allOf", &SCHEMAS),
    ("oneOf", &SCHEMAS),
    ("anyOf", &SCHEMAS),
    ("not", &SCHEMA),
    ("properties", &SCHEMA_MAP),
    ("additionalProperties", &SCHEMA_OR_BOOL),
    ("patternProperties", &SCHEMA_MAP),
    ("additionalItems", &SCHEMA_OR_BOOL),
    ("definitions", &SCHEMA_MAP),
    ("externalDocs", &Fields(&[("description", &Text), ("url", &Text)])),
    ("nullable", &Bool),
    ("x-kubernetes-preserve-unknown-fields", &Bool),
    ("x-kubernetes-embedded-resource", &Bool),
    ("x-kubernetes-int-or-string", &Bool),
    ("x-kubernetes-list-map-keys", &TEXTS),
    ("x-kubernetes-list-type", &Text),
    ("x-kubernetes-map-type", &Text),
    ("x-kubernetes-validations", &List(&Fields(&[("rule", &Text), ("message", &Text), ("messageExpression", &Text)]))),
]);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str, spec: &Shape) -> Option<String> {
        let object = Written::with_values(serde_json::from_str(json).expect("JSON"));
        mismatch(&object, spec).map(|mismatch| mismatch.message())
    }

    #[test]
    fn types_are_never_converted() {
        assert_eq!(message(r#"{"spec":{"version":1}}"#, &REPO).as_deref(), Some("spec.version must be text"));
        assert_eq!(message(r#"{"metadata":{"uid":5}}"#, &REPO).as_deref(), Some("metadata.uid must be text"));
        assert_eq!(message(r#"{"spec":{"resources":[null]}}"#, &HIERARCHY_CONFIG), None);
        assert_eq!(message(r#"{"spec":{"selector":{"matchLabels":{"a":null}}}}"#, &SELECTOR), None);
        let crd = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"properties":{"a":{"type":1}}}}}]}}"#;
        let expected = "spec.versions.0.schema.openAPIV3Schema.properties.a.type must be text";
        assert_eq!(message(crd, &CRD).as_deref(), Some(expected));
    }

    #[test]
    fn times_are_rfc_3339() {
        for good in ["2006-01-02T15:04:05Z", "2024-02-29T00:00:00.5+01:00"] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in
            ["2024-01-01", "garbage", "2023-02-29T00:00:00Z", "2006-01-02T15:04:05", "2006-01-02T15:04:05.Z", "é"]
        {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
