//! Default values that the API server sets and no published schema states, as tables of paths.
//!
//! A path leads through fields; `[]` is every item of a list or map. A value is set where the last field is missing and
//! all before it are there. `{field=value}` and `{!field}` go on only where the object has, or lacks, such a field.

mod tables;

use serde_json::{Map, Value, json};

use crate::object;
use crate::protobuf::base64;
use crate::resource::Resource;

use tables::{CONTAINER, Default, KINDS, POD_SPEC, POD_SPECS, PROBE};

/// Sets them.
pub(super) fn set(resource: &Resource, object: &mut Value) {
    let collection = resource.collection.as_str();
    for (_, defaults) in KINDS.iter().filter(|(kind, _)| *kind == collection) {
        set_all(defaults, object);
    }
    particular(resource, object);
    if let Some((_, path)) = POD_SPECS.iter().find(|(kind, _)| *kind == collection) {
        visit(path, object, &mut |spec| pod_spec(spec, collection == "pods"));
    }
}

/// Default values that no table can describe.
fn particular(resource: &Resource, object: &mut Value) {
    match resource.collection.as_str() {
        crate::state::CRDS => super::definition::default(object),
        "namespaces" => {
            let name = object::name(object).to_owned();
            if !name.is_empty() {
                let labels = object::metadata(object).entry("labels").or_insert_with(|| json!({}));
                labels["kubernetes.io/metadata.name"] = name.into();
            }
        }
        "secrets" => fold(object),
        "daemonsets.apps" => {
            let annotations = object::metadata(object).entry("annotations").or_insert_with(|| json!({}));
            let generation = "deprecated.daemonset.template.generation";
            if annotations.get(generation).is_none() {
                annotations[generation] = "1".into();
            }
        }
        "statefulsets.apps" => visit("spec.volumeClaimTemplates[]", object, &mut |claim| {
            claim["apiVersion"] = "v1".into();
            claim["kind"] = "PersistentVolumeClaim".into();
        }),
        "services" => super::service::default(object),
        "replicationcontrollers" => {
            let labels = object.pointer("/spec/template/metadata/labels").cloned();
            if let Some(labels) = labels {
                fill(object, "/spec", "selector", &labels);
                fill(object, "/metadata", "labels", &labels);
            }
        }
        "jobs.batch" => {
            if let Some(labels) = object.pointer("/spec/template/metadata/labels").cloned() {
                fill(object, "/metadata", "labels", &labels);
            }
        }
        "horizontalpodautoscalers.autoscaling" if resource.version == "v2" => {
            let target = json!({"type": "Utilization", "averageUtilization": 80});
            let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
            fill(object, "/spec", "metrics", &metrics);
        }
        "mutatingwebhookconfigurations.admissionregistration.k8s.io" => {
            set_all(&[("webhooks[].reinvocationPolicy", r#""Never""#)], object);
        }
        "limitranges" => visit("spec.limits[]{type=Container}", object, &mut limits),
        _ => {}
    }
}

/// Texts of a Secret become data.
fn fold(secret: &mut Value) {
    let Some(texts) = object::remove(secret, "stringData") else { return };
    for (key, text) in texts.as_object().into_iter().flatten() {
        let encoded = base64(text.as_str().unwrap_or_default().as_bytes());
        object::map_at(secret, "data").insert(key.clone(), encoded.into());
    }
}

/// Sets a field that is missing or empty.
fn fill(object: &mut Value, parent: &str, key: &str, value: &Value) {
    let empty = |value: &Value| match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        other => other.is_null(),
    };
    if let Some(Value::Object(fields)) = object.pointer_mut(parent)
        && fields.get(key).is_none_or(empty)
    {
        fields.insert(key.to_owned(), value.clone());
    }
}

/// The defaults of limits follow from each other.
fn limits(item: &mut Value) {
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let values = item.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
        if values.is_empty() {
            continue;
        }
        let target = object::map_at(item, to);
        for (key, value) in values {
            target.entry(key).or_insert(value);
        }
    }
}

fn pod_spec(spec: &mut Value, of_pod: bool) {
    visit("volumes[]", spec, &mut volume);
    set_all(POD_SPEC, spec);
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        spec["serviceAccount"] = account;
    } else if let Some(account) = spec.get("serviceAccount").cloned() {
        spec["serviceAccountName"] = account;
    }
    if of_pod {
        set_all(&[("enableServiceLinks", "true")], spec);
    }
    let on_host = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for containers in ["containers[]", "initContainers[]", "ephemeralContainers[]"] {
        visit(containers, spec, &mut |container| {
            set_all(CONTAINER, container);
            fill(container, "", "imagePullPolicy", &pull_policy(object::text(container, "/image")).into());
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                visit(probe, container, &mut |probe| set_all(PROBE, probe));
            }
            if of_pod {
                requests(container);
            }
            if on_host && containers != "ephemeralContainers[]" {
                visit("ports[]", container, &mut |port| {
                    let number = port["containerPort"].clone();
                    fill(port, "", "hostPort", &number);
                });
            }
        });
    }
}

/// A volume without a source is an empty directory.
fn volume(volume: &mut Value) {
    if let Some(fields) = volume.as_object_mut()
        && fields.keys().all(|key| key == "name")
    {
        fields.insert("emptyDir".to_owned(), json!({}));
    }
    let reference = object::text(volume, "/image/reference").to_owned();
    if volume.get("image").is_some() {
        fill(volume, "/image", "pullPolicy", &pull_policy(&reference).into());
    }
}

/// In a pod, what is limited is requested too.
fn requests(container: &mut Value) {
    let limits = object::map(container, "/resources/limits").cloned().unwrap_or_default();
    if !limits.is_empty() {
        let requests = object::map_at(&mut container["resources"], "requests");
        limits.into_iter().for_each(|(key, value)| {
            requests.entry(key).or_insert(value);
        });
    }
}

/// An image without a tag, or with the one that moves, is pulled each time.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or_default();
    let moving = !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if moving && !image.contains('@') { "Always" } else { "IfNotPresent" }
}

fn set_all(defaults: &[Default], object: &mut Value) {
    for (path, json) in defaults {
        let (above, key) = path.rsplit_once('.').unwrap_or(("", path));
        visit(above, object, &mut |parent| {
            if let Some(fields) = parent.as_object_mut()
                && fields.get(key).is_none_or(|value| value.is_null() || value == "")
            {
                fields.insert(key.to_owned(), serde_json::from_str(json).expect("the JSON of a table"));
            }
        });
    }
}

/// Calls `act` with everything that a path leads to.
fn visit(path: &str, object: &mut Value, act: &mut dyn FnMut(&mut Value)) {
    let (step, rest) = path.split_once('.').unwrap_or((path, ""));
    if step.is_empty() {
        return act(object);
    }
    let end = step.find(['[', '{']).unwrap_or(step.len());
    let (key, marks) = step.split_at(end);
    let Some(next) = object.get_mut(key) else { return };
    let (every, conditions) = marks.strip_prefix("[]").map_or((false, marks), |conditions| (true, conditions));
    let mut go_on = |next: &mut Value| {
        if next.is_object() && next.as_object().is_some_and(|fields| holds(conditions, fields)) {
            visit(rest, next, act);
        }
    };
    match next {
        Value::Array(items) if every => items.iter_mut().for_each(go_on),
        Value::Object(fields) if every => fields.values_mut().for_each(go_on),
        next => go_on(next),
    }
}

fn holds(conditions: &str, fields: &Map<String, Value>) -> bool {
    let conditions = conditions.split(['{', '}']).filter(|condition| !condition.is_empty());
    conditions.into_iter().all(|condition| match (condition.strip_prefix('!'), condition.split_once('=')) {
        (Some(key), _) => !fields.contains_key(key),
        (None, Some((key, value))) => fields.get(key).is_some_and(|found| found == value),
        (None, None) => fields.contains_key(condition),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resources;

    fn defaulted(group: &str, plural: &str, object: Value) -> Value {
        let resources = Resources::new(std::iter::empty());
        let mut object = object;
        set(resources.get(group, "v1", plural).unwrap(), &mut object);
        object
    }

    #[test]
    fn every_table_is_of_a_kind_and_is_json() {
        let resources = Resources::new(std::iter::empty());
        for (collection, defaults) in KINDS {
            assert!(resources.of_collection(collection).is_some(), "{collection}");
            for (_, json) in defaults {
                serde_json::from_str::<Value>(json).unwrap();
            }
        }
        for (collection, _) in POD_SPECS {
            assert!(resources.of_collection(collection).is_some(), "{collection}");
        }
    }

    #[test]
    fn a_deployment_gets_defaults_and_keeps_its_own_values() {
        let containers = json!([{"name": "a", "image": "nginx:1", "livenessProbe": {"httpGet": {"port": 1}}}]);
        let deployment = defaulted(
            "apps",
            "deployments",
            json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "template": {"spec": {"containers": containers}}}}),
        );
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 0);
        assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
        assert_eq!(spec["progressDeadlineSeconds"], 600);
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["dnsPolicy"], "ClusterFirst");
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(pod["containers"][0]["livenessProbe"]["httpGet"]["path"], "/");
        assert!(pod.get("enableServiceLinks").is_none());
    }

    #[test]
    fn values_follow_from_others() {
        let service = defaulted("", "services", json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}));
        assert_eq!(service["spec"]["ports"][0]["targetPort"], 80);
        assert_eq!(service["spec"]["externalTrafficPolicy"], "Cluster");
        let set = defaulted("apps", "statefulsets", json!({"spec": {"updateStrategy": {}}}));
        assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"], json!({"partition": 0}));
        let job = defaulted("batch", "jobs", json!({"spec": {"parallelism": 2}}));
        assert!(job["spec"].get("completions").is_none());
        let binding = defaulted(
            "rbac.authorization.k8s.io",
            "rolebindings",
            json!({"roleRef": {}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount"}]}),
        );
        assert!(binding["subjects"][1].get("apiGroup").is_none());
        assert_eq!(binding["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    }

    #[test]
    fn images_without_a_fixed_tag_are_pulled() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("localhost:5000/nginx", "Always"),
            ("nginx:1", "IfNotPresent"),
            ("nginx@sha256:0", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
