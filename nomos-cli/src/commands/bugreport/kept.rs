//! The parts of objects that a report shows, as a table of fields: what is not named here is left out.

use agent::model::metadata::is_system_key;
use agent::model::yaml;
use serde_json::{Map, Value, json};

use super::ReportFile;
use super::withheld::{WITHHELD, Withheld};

/// The objects of one file.
#[derive(Clone, Debug)]
pub(super) struct ObjectsOfFile {
    /// Path of the file, without `.yaml`.
    pub(super) path: String,
    pub(super) kind: &'static str,
    pub(super) objects: Vec<Value>,
}

/// The fields of each kind. `*` stands for the items of a list; a field is kept with everything below it.
const FIELDS: [(&str, &[&str]); 10] = [
    ("RootSync", SYNC),
    ("RepoSync", SYNC),
    ("ResourceGroup", &["spec", "status"]),
    (
        "ConfigManagement",
        &[
            "spec.clusterName",
            "spec.git",
            "spec.sourceFormat",
            "spec.enableMultiRepo",
            "spec.enableLegacyFields",
            "spec.preventDrift",
            "spec.version",
            "status",
        ],
    ),
    ("Deployment", &["spec.replicas", "spec.selector", "spec.strategy", "spec.template.spec.containers", "status"]),
    (
        "Pod",
        &[
            "spec.containers",
            "spec.nodeName",
            "spec.serviceAccountName",
            "status.phase",
            "status.reason",
            "status.message",
            "status.startTime",
            "status.conditions",
            "status.containerStatuses",
            "status.initContainerStatuses",
        ],
    ),
    (
        "Event",
        &[
            "type",
            "reason",
            "message",
            "action",
            "count",
            "series",
            "involvedObject",
            "firstTimestamp",
            "lastTimestamp",
            "eventTime",
            "reportingComponent",
            "reportingInstance",
            "source",
        ],
    ),
    ("Lease", &["spec"]),
    // Its keys alone are shown.
    ("ConfigMap", &[]),
    ("ValidatingWebhookConfiguration", &["webhooks.*.name", "webhooks.*.failurePolicy", "webhooks.*.rules"]),
];

const SYNC: &[&str] = &[
    "spec.sourceFormat",
    "spec.sourceType",
    "spec.git",
    "spec.oci",
    "spec.helm.repo",
    "spec.helm.chart",
    "spec.helm.version",
    "spec.helm.releaseName",
    "spec.helm.namespace",
    "spec.helm.deployNamespace",
    "spec.helm.includeCRDs",
    "spec.helm.period",
    "spec.helm.auth",
    "spec.helm.secretRef",
    "spec.helm.valuesFileRefs",
    "spec.override",
    "status",
];

/// The fields of a container. Its variables and arguments are shown without their values.
const CONTAINER: [&str; 5] = ["name", "image", "imagePullPolicy", "resources", "ports"];

/// The flags of the agent whose values are shown.
const FLAGS: [&str; 8] = [
    "--listen",
    "--cache-dir",
    "--cache-limit",
    "--webhook-listen",
    "--cluster-name",
    "--audit-period",
    "--lease-duration",
    "--identity",
];

const METADATA: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "generation",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
    "ownerReferences",
    "labels",
];

/// A file for each group of objects that was found.
pub(super) fn files(found: &[ObjectsOfFile], withheld: &Withheld) -> Vec<ReportFile> {
    let file = |found: &ObjectsOfFile| {
        let documents = found.objects.iter().map(|object| yaml::document(&without(kept(found.kind, object), withheld)));
        ReportFile { path: format!("{}.yaml", found.path), text: documents.collect() }
    };
    found.iter().map(file).collect()
}

/// The parts of an object that are shown.
fn kept(kind: &str, object: &Value) -> Value {
    let fields = FIELDS.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, fields)| fields);
    let fields: Vec<Vec<&str>> = fields.iter().map(|field| field.split('.').collect()).collect();
    let fields: Vec<&[&str]> = fields.iter().map(Vec::as_slice).collect();
    let mut kept = chosen(object, &fields).unwrap_or_else(|| json!({}));
    for list in ["/spec/containers", "/spec/template/spec/containers"] {
        for container in kept.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            *container = self::container(container);
        }
    }
    kept["apiVersion"] = object["apiVersion"].clone();
    kept["kind"] = kind.into();
    kept["metadata"] = metadata(&object["metadata"]);
    if kind == "ConfigMap" {
        kept["data"] = names(&object["data"]);
    }
    kept
}

/// The parts of a value at these fields. A field without a further name is the whole value.
fn chosen(value: &Value, fields: &[&[&str]]) -> Option<Value> {
    if fields.iter().any(|field| field.is_empty()) {
        return Some(value.clone());
    }
    let below = |name: &str| -> Vec<&[&str]> {
        fields
            .iter()
            .filter_map(|field| field.split_first().filter(|(first, _)| **first == name))
            .map(|(_, rest)| rest)
            .collect()
    };
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter_map(|(name, value)| Some((name.clone(), chosen(value, &below(name))?)));
            Some(Value::Object(kept.collect())).filter(|kept| kept.as_object().is_some_and(|kept| !kept.is_empty()))
        }
        Value::Array(items) if !below("*").is_empty() => {
            Some(items.iter().filter_map(|item| chosen(item, &below("*"))).collect())
        }
        _ => None,
    }
}

fn container(container: &Value) -> Value {
    let mut kept: Map<String, Value> =
        CONTAINER.iter().filter_map(|field| Some(((*field).to_owned(), container.get(field)?.clone()))).collect();
    let list = |field: &str| container[field].as_array().into_iter().flatten();
    let variables: Vec<Value> = list("env").map(|variable| json!({ "name": variable["name"] })).collect();
    let arguments: Vec<Value> =
        list("args").map(|argument| self::argument(argument.as_str().unwrap_or_default())).collect();
    for (field, values) in [("env", variables), ("args", arguments)] {
        if !values.is_empty() {
            kept.insert(field.to_owned(), values.into());
        }
    }
    kept.into()
}

/// A flag, with its value if it is one of the agent's own that holds no secret.
fn argument(argument: &str) -> Value {
    match argument.split_once('=') {
        Some((flag, _)) if FLAGS.contains(&flag) => argument.into(),
        Some((flag, _)) if flag.starts_with('-') => format!("{flag}={WITHHELD}").into(),
        _ => WITHHELD.into(),
    }
}

/// The metadata that is shown. The value of an annotation of another program is withheld: it may be the whole object once more.
fn metadata(metadata: &Value) -> Value {
    let mut kept: Map<String, Value> =
        METADATA.iter().filter_map(|field| Some(((*field).to_owned(), metadata.get(field)?.clone()))).collect();
    let annotations = metadata["annotations"].as_object().into_iter().flatten();
    let annotations: Map<String, Value> = annotations
        .map(|(key, value)| {
            let ours = is_system_key(key) || key.starts_with("applyset.kubernetes.io/");
            (key.clone(), if ours { value.clone() } else { WITHHELD.into() })
        })
        .collect();
    if !annotations.is_empty() {
        kept.insert("annotations".to_owned(), annotations.into());
    }
    kept.into()
}

/// The keys of a map.
fn names(map: &Value) -> Value {
    map.as_object().into_iter().flatten().map(|(key, _)| (key.clone(), WITHHELD.into())).collect::<Map<_, _>>().into()
}

/// The value with each text in it as it may be shown.
fn without(value: Value, withheld: &Withheld) -> Value {
    match value {
        Value::String(text) => withheld.without(&text).into(),
        Value::Array(items) => items.into_iter().map(|item| without(item, withheld)).collect(),
        Value::Object(map) => {
            let map = map.into_iter().map(|(key, value)| (withheld.without(&key), without(value, withheld)));
            Value::Object(map.collect())
        }
        other => other,
    }
}
