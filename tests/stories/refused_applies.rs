//! Objects of which the API server refuses what a server-side apply makes of them: the declared object is written over them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::conversion::Converter;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::custom_resources;
use crate::world::{Sync, namespace, shared};

const NAME: &str = "refused-applies";
const GROUP: &str = "refused.example.com";

/// List items and fields of others that cannot be beside the declared ones, also where no entry of `metadata.managedFields` shows them; a
/// list that a commit empties, and one of which it removes an item in which another client owns a field; and an object whose next version a
/// webhook converts.
pub(crate) fn are_written_over(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let converter = Converter::start()?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("binding.yaml", &binding())?;
    repository.write("service.yaml", &service())?;
    repository.write("budget.yaml", &budget())?;
    repository.write("pods.yaml", &pods(&["web", "side"]))?;
    repository.write("crd.yaml", &crd(&converter))?;
    repository.write("list.yaml", &trial("v1", "list", &json!({"list": [{"name": "a"}], "map": {"n": 1}})))?;
    repository.write("moved.yaml", &trial("v1", "moved", &json!({"r1": 1, "r2": 2})))?;
    let sync = Sync::unstructured(cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let binding = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{NAME}");
    let service = format!("/api/v1/namespaces/{NAME}/services/web");
    cluster.patch(&binding, &json!({"spec": {"validationActions": ["Warn"]}}))?;
    is_again(cluster, &binding, "/spec/validationActions", json!(["Deny"]))?;
    cluster.patch(
        &service,
        &json!({"metadata": {"managedFields": [{}]}, "spec": {"ports": [{"name": "http", "port": 81}]}}),
    )?;
    is_again(cluster, &service, "/spec/ports/0/port", json!(80))?;
    ensure!(cluster.get(&service)?["spec"]["ports"].as_array().map(Vec::len) == Some(1), "more than one port");

    let budget = format!("/apis/policy/v1/namespaces/{NAME}/poddisruptionbudgets/web");
    cluster.patch(&budget, &json!({"spec": {"minAvailable": null, "maxUnavailable": 1}}))?;
    is_again(cluster, &budget, "/spec/minAvailable", json!(1))?;
    ensure!(cluster.get(&budget)?["spec"].get("maxUnavailable").is_none(), "both are there");

    cluster.kubectl(&["-n", NAME, "set", "env", "replicaset/web", "-c", "side", "DEBUG=1"])?;
    sync.repository.write("pods.yaml", &pods(&["web"]))?;
    sync.commit()?;
    let pods = cluster.get(&format!("/apis/apps/v1/namespaces/{NAME}/replicasets/web"))?;
    let containers = &pods["spec"]["template"]["spec"]["containers"];
    ensure!(containers.as_array().map(Vec::len) == Some(1) && containers[0]["name"] == "web", "{containers}");

    sync.repository.write("list.yaml", &trial("v1", "list", &json!({"list": [], "map": {}})))?;
    sync.commit()?;
    let list =
        |version: &str, name: &str| cluster.get(&format!("/apis/{GROUP}/{version}/namespaces/{NAME}/trials/{name}"));
    let spec = list("v1", "list")?["spec"].clone();
    ensure!(spec == json!({"list": [], "map": {}}), "{spec}");

    sync.repository.write("moved.yaml", &trial("v2", "moved", &json!({"r1New": 3})))?;
    sync.commit()?;
    let spec = list("v1", "moved")?["spec"].clone();
    ensure!(spec["r1"] == 3, "{spec}");
    // The next commit takes fields away as ever.
    sync.repository.write("moved.yaml", &trial("v2", "moved", &json!({"r3New": 3})))?;
    sync.commit()?;
    let spec = list("v2", "moved")?["spec"].clone();
    ensure!(spec.get("r1New").is_none() && spec["r3New"] == 3, "{spec}");
    Ok(())
}

fn is_again(cluster: &Cluster, path: &str, pointer: &str, declared: Value) -> Result<()> {
    await_condition(&format!("{pointer} of {path} is {declared} again"), || {
        let live = cluster.get(path)?;
        ensure!(live.pointer(pointer) == Some(&declared), "it is {:?}", live.pointer(pointer));
        Ok(())
    })
}

fn binding() -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {NAME}}}\n\
         spec: {{policyName: never.example.com, validationActions: [Deny]}}\n"
    )
}

fn service() -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: {NAME}}}\n\
         spec: {{ports: [{{name: http, port: 80}}], selector: {{app: web}}}}\n"
    )
}

fn budget() -> String {
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: web, namespace: {NAME}}}\n\
         spec: {{minAvailable: 1, selector: {{matchLabels: {{app: web}}}}}}\n"
    )
}

fn pods(containers: &[&str]) -> String {
    let containers: Vec<Value> =
        containers.iter().map(|name| json!({"name": name, "image": "example.com/web:1"})).collect();
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": containers}});
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": NAME},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    });
    format!("{set}\n")
}

/// A kind whose lists and maps are no nulls, in two versions with other names of fields.
fn crd(converter: &Converter) -> String {
    let list = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
    });
    let map = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let version = |name: &str| {
        let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"list": list, "map": map}});
        let schema = json!({"type": "object", "properties": {"spec": spec}});
        json!({"name": name, "served": true, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}})
    };
    let mut crd: Value = serde_json::from_str(&custom_resources::crd(GROUP)).expect("it is JSON");
    crd["spec"]["names"] = json!({"kind": "Trial", "plural": "trials", "singular": "trial"});
    crd["metadata"]["name"] = format!("trials.{GROUP}").into();
    crd["spec"]["conversion"] = converter.strategy();
    crd["spec"]["versions"] = json!([version("v1"), version("v2")]);
    format!("{crd:#}\n")
}

fn trial(version: &str, name: &str, spec: &Value) -> String {
    let metadata = json!({"name": name, "namespace": NAME, "labels": {"app": name}});
    let trial =
        json!({"apiVersion": format!("{GROUP}/{version}"), "kind": "Trial", "metadata": metadata, "spec": spec});
    format!("{trial}\n")
}
