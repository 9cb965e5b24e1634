//! Whether an object fits a known Kubernetes type: what Go's conversion from JSON accepts. Unknown fields are ignored, null is
//! every type's zero value, and nothing is converted.

use base64::Engine as _;
use serde_json::Value;

use crate::model::manifest_object::Written;

/// A type.
pub(crate) enum Shape {
    Any,
    Text,
    Bool,
    Int,
    Number,
    Time,
    Base64,
    List(&'static Shape),
    Map(&'static Shape),
    Fields(&'static [(&'static str, &'static Shape)]),
    /// A boolean or a map of this shape.
    OrBool(&'static Shape),
    /// A map or a list of these shapes, or any scalar.
    Loose {
        map: &'static Shape,
        list: &'static Shape,
    },
}

use Shape::{Any, Base64, Bool, Fields, Int, List, Loose, Map, Number, OrBool, Text, Time};

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

/// The fields beside `metadata` that have a type.
pub(crate) type Parts = [(&'static str, &'static Shape)];

/// The first value of `object` that does not fit its metadata or one of these parts.
pub(crate) fn mismatch(object: &Written, parts: &Parts) -> Option<Mismatch> {
    let field = |name: &str, shape| {
        let mut path = vec![name.to_owned()];
        let expected = first(object.field(name)?, shape, &mut path)?;
        Some(Mismatch { field: path, expected })
    };
    field("metadata", &METADATA).or_else(|| parts.iter().find_map(|(name, shape)| field(name, shape)))
}

/// What was expected at the first value that does not fit; `path` then leads there.
fn first(value: &Value, shape: &Shape, path: &mut Vec<String>) -> Option<&'static str> {
    let expected = match (shape, value) {
        (Any, _) | (_, Value::Null) | (Text, Value::String(_)) | (Bool | OrBool(_), Value::Bool(_)) => return None,
        (Number, Value::Number(_)) => return None,
        (Int, Value::Number(number)) if number.is_i64() => return None,
        (Time, Value::String(text)) if is_rfc3339(text) => return None,
        (Base64, Value::String(text)) if is_base64(text) => return None,
        (Base64, Value::Array(_)) => return first(value, &List(&Int), path),
        (List(shape), Value::Array(items)) => {
            return items.iter().enumerate().find_map(|(i, item)| below(&i.to_string(), item, shape, path));
        }
        (Map(shape), Value::Object(map)) => {
            return map.iter().find_map(|(key, value)| below(key, value, shape, path));
        }
        (Fields(fields), Value::Object(map)) => {
            return fields.iter().find_map(|(name, shape)| below(name, map.get(*name)?, shape, path));
        }
        (OrBool(shape) | Loose { map: shape, .. }, Value::Object(_)) => return first(value, shape, path),
        (Loose { list, .. }, Value::Array(_)) => return first(value, list, path),
        (Loose { .. }, _) => return None,
        (Text, _) => "text",
        (Bool, _) => "true or false",
        (Int, _) => "a whole number",
        (OrBool(_), _) => "true, false or a map",
        (Base64, _) => "Base64",
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

/// Whether Go takes `text` for a date and time of RFC 3339: the hour may have one digit, the fraction a comma, and a zone may be
/// a whole day away.
pub(crate) fn is_rfc3339(text: &str) -> bool {
    // Where the hour has one digit, everything after it is one byte earlier.
    let clock = if text.as_bytes().get(12) == Some(&b':') { 12 } else { 13 };
    let number = |range: std::ops::Range<usize>, max: u32| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok()).filter(|number| *number <= max)
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (clock, b':'), (clock + 3, b':')];
    let separated = separators.into_iter().all(|(at, byte)| text.as_bytes().get(at) == Some(&byte));
    let time = number(11..clock, 23).and(number(clock + 1..clock + 3, 59)).and(number(clock + 4..clock + 6, 59));
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
    separated && time.is_some() && month > 0 && day > 0 && day <= days && is_zone(&text[clock + 6..])
}

/// Whether Go takes `text` for Base64: line breaks do not count.
fn is_base64(text: &str) -> bool {
    let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    base64::engine::general_purpose::STANDARD.decode(joined).is_ok()
}

/// What follows the seconds: perhaps a fraction, then `Z` or a distance from it.
fn is_zone(text: &str) -> bool {
    let zone = match text.strip_prefix(['.', ',']) {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => text,
    };
    let part = |range: std::ops::Range<usize>, max: u32| {
        let digits = zone.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|number| number <= max)
    };
    let away = zone.len() == 6
        && zone.starts_with(['+', '-'])
        && part(1..3, 24)
        && zone.as_bytes()[3] == b':'
        && part(4..6, 60);
    // One byte shorter than the rest: a point without digits.
    text.len() != zone.len() + 1 && (zone == "Z" || away)
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
    (
        "managedFields",
        &List(&Fields(&[
            ("manager", &Text),
            ("operation", &Text),
            ("apiVersion", &Text),
            ("time", &Time),
            ("fieldsType", &Text),
            ("subresource", &Text),
        ])),
    ),
]);

static LABEL_SELECTOR: Shape = Fields(&[
    ("matchLabels", &TEXT_MAP),
    ("matchExpressions", &List(&Fields(&[("key", &Text), ("operator", &Text), ("values", &TEXTS)]))),
]);

/// A Repo.
pub(crate) static REPO: &Parts = &[("spec", &Fields(&[("version", &Text)])), ("status", &REPO_STATUS)];

static REPO_STATUS: Shape = Fields(&[
    ("source", &Fields(&[("token", &Text), ("errors", &OBJECTS)])),
    ("import", &Fields(&[("token", &Text), ("lastUpdate", &Time), ("errors", &OBJECTS)])),
    (
        "sync",
        &Fields(&[
            ("latestToken", &Text),
            ("lastUpdate", &Time),
            ("inProgress", &OBJECTS),
            ("resourceConditions", &OBJECTS),
        ]),
    ),
]);

static OBJECTS: Shape = List(&Map(&Any));

/// A HierarchyConfig.
pub(crate) static HIERARCHY_CONFIG: &Parts = &[("spec", &HIERARCHY)];

static HIERARCHY: Shape =
    Fields(&[("resources", &List(&Fields(&[("group", &Text), ("kinds", &TEXTS), ("hierarchyMode", &Text)])))]);

/// A ClusterSelector or a NamespaceSelector.
pub(crate) static SELECTOR: &Parts = &[("spec", &Fields(&[("selector", &LABEL_SELECTOR), ("mode", &Text)]))];

/// A Cluster.
pub(crate) static CLUSTER: &Parts = &[("spec", &CLUSTER_SPEC)];

static CLUSTER_SPEC: Shape = Fields(&[
    (
        "kubernetesApiEndpoints",
        &Fields(&[
            ("serverEndpoints", &List(&Fields(&[("clientCIDR", &Text), ("serverAddress", &Text)]))),
            ("caBundle", &Base64),
        ]),
    ),
    ("authInfo", &Fields(&[("user", &OBJECT_REFERENCE), ("controller", &OBJECT_REFERENCE)])),
]);

static OBJECT_REFERENCE: Shape = Fields(&[("kind", &Text), ("name", &Text), ("namespace", &Text)]);

/// A CustomResourceDefinition of version v1.
pub(crate) static CRD: &Parts = &[("spec", &CRD_SPEC)];

static CRD_SPEC: Shape = Fields(&[
    ("group", &Text),
    ("names", &CRD_NAMES),
    ("scope", &Text),
    (
        "versions",
        &List(&Fields(&[NAME, SERVED, STORAGE, DEPRECATED, WARNING, CRD_SCHEMA, SUBRESOURCES, COLUMNS, SELECTABLE])),
    ),
    (
        "conversion",
        &Fields(&[
            ("strategy", &Text),
            ("webhook", &Fields(&[("clientConfig", &CLIENT_CONFIG), ("conversionReviewVersions", &TEXTS)])),
        ]),
    ),
    ("preserveUnknownFields", &Bool),
]);

/// A CustomResourceDefinition of version v1beta1.
pub(crate) static CRD_V1BETA1: &Parts = &[("spec", &CRD_V1BETA1_SPEC)];

static CRD_V1BETA1_SPEC: Shape = Fields(&[
    ("group", &Text),
    ("version", &Text),
    ("names", &CRD_NAMES),
    ("scope", &Text),
    ("validation", CRD_SCHEMA.1),
    SUBRESOURCES,
    (
        "versions",
        &List(&Fields(&[
            NAME,
            SERVED,
            STORAGE,
            DEPRECATED,
            WARNING,
            CRD_SCHEMA,
            SUBRESOURCES,
            COLUMNS_V1BETA1,
            SELECTABLE,
        ])),
    ),
    COLUMNS_V1BETA1,
    SELECTABLE,
    (
        "conversion",
        &Fields(&[("strategy", &Text), ("webhookClientConfig", &CLIENT_CONFIG), ("conversionReviewVersions", &TEXTS)]),
    ),
    ("preserveUnknownFields", &Bool),
]);

static CRD_NAMES: Shape = Fields(&[
    ("plural", &Text),
    ("singular", &Text),
    ("shortNames", &TEXTS),
    ("kind", &Text),
    ("listKind", &Text),
    ("categories", &TEXTS),
]);

static CLIENT_CONFIG: Shape = Fields(&[
    ("url", &Text),
    ("service", &Fields(&[("namespace", &Text), ("name", &Text), ("path", &Text), ("port", &Int)])),
    ("caBundle", &Base64),
]);

/// A field and its shape.
type Field = (&'static str, &'static Shape);

const NAME: Field = ("name", &Text);
const SERVED: Field = ("served", &Bool);
const STORAGE: Field = ("storage", &Bool);
const DEPRECATED: Field = ("deprecated", &Bool);
const WARNING: Field = ("deprecationWarning", &Text);
const SELECTABLE: Field = ("selectableFields", &List(&Fields(&[("jsonPath", &Text)])));
const CRD_SCHEMA: Field = ("schema", &Fields(&[("openAPIV3Schema", &SCHEMA)]));
const SUBRESOURCES: Field = (
    "subresources",
    &Fields(&[
        ("status", &Map(&Any)),
        ("scale", &Fields(&[("specReplicasPath", &Text), ("statusReplicasPath", &Text), ("labelSelectorPath", &Text)])),
    ]),
);
const COLUMNS: Field = (
    "additionalPrinterColumns",
    &List(&Fields(&[
        NAME,
        ("type", &Text),
        ("format", &Text),
        ("description", &Text),
        ("priority", &Int),
        ("jsonPath", &Text),
    ])),
);
const COLUMNS_V1BETA1: Field = (
    "additionalPrinterColumns",
    &List(&Fields(&[
        NAME,
        ("type", &Text),
        ("format", &Text),
        ("description", &Text),
        ("priority", &Int),
        ("JSONPath", &Text),
    ])),
);

static SCHEMAS: Shape = List(&SCHEMA);
static SCHEMA_MAP: Shape = Map(&SCHEMA);
static SCHEMA_OR_BOOL: Shape = OrBool(&SCHEMA);

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
    ("items", &Loose { map: &SCHEMA, list: &SCHEMAS }),
    ("allOf", &SCHEMAS),
    ("oneOf", &SCHEMAS),
    ("anyOf", &SCHEMAS),
    ("not", &SCHEMA),
    ("properties", &SCHEMA_MAP),
    ("additionalProperties", &SCHEMA_OR_BOOL),
    ("patternProperties", &SCHEMA_MAP),
    ("dependencies", &Map(&Loose { map: &SCHEMA, list: &TEXTS })),
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
    (
        "x-kubernetes-validations",
        &List(&Fields(&[
            ("rule", &Text),
            ("message", &Text),
            ("messageExpression", &Text),
            ("reason", &Text),
            ("fieldPath", &Text),
            ("optionalOldSelf", &Bool),
        ])),
    ),
]);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str, spec: &Parts) -> Option<String> {
        let object = Written::with_values(serde_json::from_str(json).expect("JSON"));
        mismatch(&object, spec).map(|mismatch| mismatch.message())
    }

    #[test]
    fn types_are_never_converted() {
        assert_eq!(message(r#"{"spec":{"version":1}}"#, REPO).as_deref(), Some("spec.version must be text"));
        assert_eq!(message(r#"{"status":"x"}"#, REPO).as_deref(), Some("status must be a map"));
        assert_eq!(message(r#"{"metadata":{"uid":5}}"#, REPO).as_deref(), Some("metadata.uid must be text"));
        assert_eq!(message(r#"{"spec":{"resources":[null]}}"#, HIERARCHY_CONFIG), None);
        assert_eq!(message(r#"{"spec":{"selector":{"matchLabels":{"a":null}}}}"#, SELECTOR), None);
        let crd = r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"properties":{"a":{"type":1}}}}}]}}"#;
        let expected = "spec.versions.0.schema.openAPIV3Schema.properties.a.type must be text";
        assert_eq!(message(crd, CRD).as_deref(), Some(expected));
    }

    #[test]
    fn schemas_are_as_loose_as_go() {
        let schema = |json: &str| {
            let crd = format!(r#"{{"spec":{{"versions":[{{"schema":{{"openAPIV3Schema":{json}}}}}]}}}}"#);
            message(&crd, CRD).map(|message| message.replace("spec.versions.0.schema.openAPIV3Schema.", ""))
        };
        for fits in [
            r#"{"items":"x"}"#,
            r#"{"items":[{"type":"a"}]}"#,
            r#"{"additionalProperties":false}"#,
            r#"{"dependencies":{"a":["b"],"c":{"type":"d"},"e":1}}"#,
            r#"{"minimum":1,"maximum":1.5,"default":[1],"unknown":1}"#,
        ] {
            assert_eq!(schema(fits), None, "{fits}");
        }
        for (misfit, expected) in [
            (r#"{"items":[{"type":1}]}"#, "items.0.type must be text"),
            (r#"{"additionalProperties":"x"}"#, "additionalProperties must be true, false or a map"),
            (r#"{"dependencies":{"a":[1]}}"#, "dependencies.a.0 must be text"),
            (r#"{"maxLength":1.5}"#, "maxLength must be a whole number"),
        ] {
            assert_eq!(schema(misfit).as_deref(), Some(expected), "{misfit}");
        }
        // The same field has different types in the two versions, or none.
        let columns = |name: &str| {
            format!(r#"{{"spec":{{"version":1,"versions":[{{"additionalPrinterColumns":[{{"{name}":1}}]}}]}}}}"#)
        };
        assert_eq!(message(&columns("JSONPath"), CRD), None);
        assert_eq!(message(&columns("jsonPath"), CRD_V1BETA1).as_deref(), Some("spec.version must be text"));
        let bundle = |text: &str| {
            format!(r#"{{"spec":{{"conversion":{{"webhook":{{"clientConfig":{{"caBundle":{text}}}}}}}}}}}"#)
        };
        assert_eq!(message(&bundle(r#""aGk=""#), CRD), None);
        let expected = "spec.conversion.webhook.clientConfig.caBundle must be Base64";
        assert_eq!(message(&bundle(r#""x""#), CRD).as_deref(), Some(expected));
    }

    #[test]
    fn times_are_rfc_3339() {
        for good in [
            "2006-01-02T15:04:05Z",
            "2024-02-29T00:00:00.5+01:00",
            "2024-01-01T1:02:03.25-02:00",
            "2024-01-01T00:00:00,5Z",
            "0000-01-01T00:00:00+24:60",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        for bad in [
            "2024-01-01",
            "garbage",
            "2023-02-29T00:00:00Z",
            "2006-01-02T15:04:05",
            "2006-01-02T15:04:05.Z",
            "2024-01-01T00:00:00+25:00",
            "2024-01-01T00:00:00-00:61",
            "2024-01-01T00:00:60Z",
            "2024-1-01T00:00:00Z",
            "2024-01-01t00:00:00z",
            "2024-01-01T00:00:00Zx",
            "2024-01-01T00:00:00é",
            "é",
        ] {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }
}
