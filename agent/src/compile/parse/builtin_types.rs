//! The Go types of the kinds that compilation itself reads.

use super::type_check::FieldType::{
    self, Any, Base64, Bool, Fields, Int, List, Loose, Map, Number, OrBool, Text, Time,
};
use super::type_check::TypeMismatch;
use crate::model::manifest_object::ManifestObject;

/// The top-level fields of a kind whose types are checked. The types of `metadata` are always checked.
pub(crate) type TypedFields = [(&'static str, &'static FieldType)];

/// The first value in the metadata of `object` or in one of `fields` that does not fit its type.
pub(crate) fn mismatch(object: &ManifestObject, fields: &TypedFields) -> Option<TypeMismatch> {
    let mismatch = |name: &str, field_type| TypeMismatch::first(name, object.field(name)?, field_type);
    mismatch("metadata", &METADATA).or_else(|| fields.iter().find_map(|(name, field_type)| mismatch(name, field_type)))
}

static TEXTS: FieldType = List(&Text);
static TEXT_MAP: FieldType = Map(&Text);

static METADATA: FieldType = Fields(&[
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

static LABEL_SELECTOR: FieldType = Fields(&[
    ("matchLabels", &TEXT_MAP),
    ("matchExpressions", &List(&Fields(&[("key", &Text), ("operator", &Text), ("values", &TEXTS)]))),
]);

/// The fields of a Repo.
pub(crate) static REPO: &TypedFields = &[("spec", &Fields(&[("version", &Text)])), ("status", &REPO_STATUS)];

static REPO_STATUS: FieldType = Fields(&[
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

static OBJECTS: FieldType = List(&Map(&Any));

/// The fields of a HierarchyConfig.
pub(crate) static HIERARCHY_CONFIG: &TypedFields = &[("spec", &HIERARCHY)];

static HIERARCHY: FieldType =
    Fields(&[("resources", &List(&Fields(&[("group", &Text), ("kinds", &TEXTS), ("hierarchyMode", &Text)])))]);

/// The fields of a ClusterSelector or a NamespaceSelector.
pub(crate) static SELECTOR: &TypedFields = &[("spec", &Fields(&[("selector", &LABEL_SELECTOR), ("mode", &Text)]))];

/// The fields of a Cluster.
pub(crate) static CLUSTER: &TypedFields = &[("spec", &CLUSTER_SPEC)];

static CLUSTER_SPEC: FieldType = Fields(&[
    (
        "kubernetesApiEndpoints",
        &Fields(&[
            ("serverEndpoints", &List(&Fields(&[("clientCIDR", &Text), ("serverAddress", &Text)]))),
            ("caBundle", &Base64),
        ]),
    ),
    ("authInfo", &Fields(&[("user", &OBJECT_REFERENCE), ("controller", &OBJECT_REFERENCE)])),
]);

static OBJECT_REFERENCE: FieldType = Fields(&[("kind", &Text), ("name", &Text), ("namespace", &Text)]);

/// The fields of a CustomResourceDefinition of version v1.
pub(crate) static CRD: &TypedFields = &[("spec", &CRD_SPEC)];

static CRD_SPEC: FieldType = Fields(&[
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

/// The fields of a CustomResourceDefinition of version v1beta1.
pub(crate) static CRD_V1BETA1: &TypedFields = &[("spec", &CRD_V1BETA1_SPEC)];

static CRD_V1BETA1_SPEC: FieldType = Fields(&[
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

static CRD_NAMES: FieldType = Fields(&[
    ("plural", &Text),
    ("singular", &Text),
    ("shortNames", &TEXTS),
    ("kind", &Text),
    ("listKind", &Text),
    ("categories", &TEXTS),
]);

static CLIENT_CONFIG: FieldType = Fields(&[
    ("url", &Text),
    ("service", &Fields(&[("namespace", &Text), ("name", &Text), ("path", &Text), ("port", &Int)])),
    ("caBundle", &Base64),
]);

/// A field and its type.
type NamedField = (&'static str, &'static FieldType);

const NAME: NamedField = ("name", &Text);
const TYPE: NamedField = ("type", &Text);
const SERVED: NamedField = ("served", &Bool);
const STORAGE: NamedField = ("storage", &Bool);
const DEPRECATED: NamedField = ("deprecated", &Bool);
const WARNING: NamedField = ("deprecationWarning", &Text);
const SELECTABLE: NamedField = ("selectableFields", &List(&Fields(&[("jsonPath", &Text)])));
const CRD_SCHEMA: NamedField = ("schema", &Fields(&[("openAPIV3Schema", &SCHEMA)]));
const SUBRESOURCES: NamedField = (
    "subresources",
    &Fields(&[
        ("status", &Map(&Any)),
        ("scale", &Fields(&[("specReplicasPath", &Text), ("statusReplicasPath", &Text), ("labelSelectorPath", &Text)])),
    ]),
);
const COLUMNS: NamedField = (
    "additionalPrinterColumns",
    &List(&Fields(&[NAME, TYPE, ("format", &Text), ("description", &Text), ("priority", &Int), ("jsonPath", &Text)])),
);
const COLUMNS_V1BETA1: NamedField = (
    "additionalPrinterColumns",
    &List(&Fields(&[NAME, TYPE, ("format", &Text), ("description", &Text), ("priority", &Int), ("JSONPath", &Text)])),
);

static SCHEMAS: FieldType = List(&SCHEMA);
static SCHEMA_MAP: FieldType = Map(&SCHEMA);
static SCHEMA_OR_BOOL: FieldType = OrBool(&SCHEMA);

static SCHEMA: FieldType = Fields(&[
    ("id", &Text),
    ("$schema", &Text),
    ("$ref", &Text),
    ("description", &Text),
    TYPE,
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

    fn message(json: &str, spec: &TypedFields) -> Option<String> {
        let object = ManifestObject::with_values(serde_json::from_str(json).expect("JSON"));
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
        // A field has different types in the two versions, or no type.
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
}
