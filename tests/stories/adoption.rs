//! Objects that other tools wrote: git has the last word about what it declares, at once and later, and what it never declared
//! stays.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, config_map_path, shared};

const ADOPTED: &str = "taken-over";

/// The ways in which tools write objects, each with the field manager of its entries.
const WRITERS: &[(&str, &[&str])] = &[
    ("kubectl-create", &["create"]),
    ("kubectl-client-side-apply", &["apply"]),
    ("kubectl-edit", &["create"]),
    ("before-first-apply", &["create"]),
    ("helm", &["create", "--field-manager=helm"]),
    ("helm-controller", &["apply", "--server-side", "--field-manager=helm-controller"]),
    ("kustomize-controller", &["apply", "--server-side", "--field-manager=kustomize-controller"]),
    ("flux-client-side-apply", &["apply", "--field-manager=flux-client-side-apply"]),
    ("argocd-controller", &["apply", "--field-manager=argocd-controller"]),
    ("argocd-application-controller", &["apply", "--server-side", "--field-manager=argocd-application-controller"]),
    ("configsync.gke.io", &["create", "--field-manager=configsync.gke.io"]),
];

pub(crate) fn takes_over(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(ADOPTED)?;
    let dir = tempfile::tempdir()?;
    for (manager, command) in WRITERS {
        write(cluster, dir.path(), manager, command)?;
    }
    let repository = Repository::empty()?;
    declare(&repository, &[("https", 443), ("http", 8080)], &json!({"keep": "1", "drop": "2"}))?;
    let sync = Sync::unstructured(cluster, ADOPTED, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    has(cluster, &[443, 8080], &json!({"keep": "1", "drop": "2", "more": "stays"}))?;
    for (manager, _) in WRITERS {
        await_event(cluster, manager)?;
    }

    // Neither a key nor a list item stays because of its former owner.
    declare(&sync.repository, &[("http", 8080)], &json!({"keep": "1"}))?;
    sync.commit()?;
    has(cluster, &[8080], &json!({"keep": "1", "more": "stays"}))
}

/// The name of the objects of a tool.
fn name(manager: &str) -> String {
    manager.replace('.', "-")
}

fn manifests(manager: &str, ports: &[(&str, u16)], data: &Value) -> Result<String> {
    let ports: Vec<Value> = ports.iter().map(|(name, port)| json!({"name": name, "port": port})).collect();
    let metadata = json!({"name": name(manager), "namespace": ADOPTED});
    let spec = json!({"selector": {"app": manager}, "ports": ports});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    // Nothing of it is left to its former writer.
    let mut whole = config.clone();
    whole["metadata"]["name"] = format!("whole-{}", name(manager)).into();
    whole["data"].as_object_mut().context("a map")?.remove("more");
    let manifests = [service, config, whole].map(|object| object.to_string());
    Ok(manifests.join("\n---\n"))
}

fn declare(repository: &Repository, ports: &[(&str, u16)], data: &Value) -> Result<()> {
    for (manager, _) in WRITERS {
        repository.write(&format!("{manager}.yaml"), &manifests(manager, ports, data)?)?;
    }
    Ok(())
}

/// Makes the objects as the tool does.
fn write(cluster: &Cluster, dir: &Path, manager: &str, command: &[&str]) -> Result<()> {
    let file = dir.join("before.yaml");
    let data = json!({"keep": "before", "drop": "2", "more": "stays"});
    fs::write(&file, manifests(manager, &[("http", 80), ("https", 443)], &data)?)?;
    let file = file.to_string_lossy();
    cluster.kubectl(&[command, &["-f", &*file]].concat())?;
    let whole = config_map_path(ADOPTED, &format!("whole-{}", name(manager)));
    let paths = [config_map_path(ADOPTED, &name(manager)), service_path(manager), whole];
    match manager {
        "kubectl-edit" => {
            for config in [manager, "whole-kubectl-edit"] {
                cluster.edit(&["configmap", config, "-n", ADOPTED], "s/drop: \"2\"/drop: \"3\"/")?;
            }
            cluster.edit(&["service", manager, "-n", ADOPTED], "s/port: 80$/port: 81/")?;
        }
        "before-first-apply" => {
            for path in &paths {
                cluster.patch(path, &json!({"metadata": {"managedFields": [{}]}}))?;
            }
            return Ok(());
        }
        _ => {}
    }
    for path in &paths {
        let metadata = cluster.get(path)?["metadata"].clone();
        let mut entries = metadata["managedFields"].as_array().into_iter().flatten();
        ensure!(entries.any(|entry| entry["manager"] == manager), "not of {manager}: {metadata:#}");
    }
    Ok(())
}

fn has(cluster: &Cluster, ports: &[u64], data: &Value) -> Result<()> {
    for (manager, _) in WRITERS {
        let service = cluster.get(&service_path(manager))?;
        let found = service["spec"]["ports"].as_array().context("no ports")?;
        let mut found: Vec<u64> = found.iter().filter_map(|port| port["port"].as_u64()).collect();
        found.sort_unstable();
        ensure!(found == ports, "{manager}: {service:#}");
        let config = cluster.get(&config_map_path(ADOPTED, &name(manager)))?;
        ensure!(config["data"] == *data, "{manager}: {config:#}");
        let whole = cluster.get(&config_map_path(ADOPTED, &format!("whole-{}", name(manager))))?;
        let mut wanted = data.clone();
        wanted.as_object_mut().context("a map")?.remove("more");
        ensure!(whole["data"] == wanted, "{manager}: {whole:#}");
        let applied = config["metadata"]["annotations"].get("kubectl.kubernetes.io/last-applied-configuration");
        ensure!(applied.is_none(), "{manager} would take it back: {config:#}");
    }
    Ok(())
}

/// Waits until it is told about a ConfigMap that it was taken over; that Helm writes it again is a warning.
fn await_event(cluster: &Cluster, manager: &str) -> Result<()> {
    let severity = if manager == "helm" { "Warning" } else { "Normal" };
    await_condition(&format!("the object of {manager} is told of"), || {
        let events = cluster.get(&format!("/apis/events.k8s.io/v1/namespaces/{ADOPTED}/events"))?;
        let found = events["items"].as_array().into_iter().flatten().any(|event| {
            event["regarding"]["kind"] == "ConfigMap"
                && event["regarding"]["name"] == name(manager)
                && event["reason"] == "Adopted"
                && event["type"] == severity
                && event["note"].as_str().is_some_and(|note| note.contains(manager))
        });
        ensure!(found, "{events:#}");
        Ok(())
    })
}

fn service_path(manager: &str) -> String {
    format!("/api/v1/namespaces/{ADOPTED}/services/{}", name(manager))
}

const UNIONS: &str = "exclude-each-other";

/// A Deployment with a variable, a volume and a strategy, and a Service: each in one of two forms that exclude each other.
fn in_form(name: &str, other: bool) -> String {
    let pick = |one: Value, two: Value| if other { two } else { one };
    let reference = if other { "secretKeyRef" } else { "configMapKeyRef" };
    let variable = json!({"fieldRef": {"fieldPath": "metadata.name"}});
    let env = json!([
        pick(json!({"name": "A", "value": "plain"}), json!({"name": "A", "valueFrom": variable})),
        pick(json!({"name": "B", "valueFrom": variable}), json!({"name": "B", "value": "plain"})),
        json!({"name": "C", "valueFrom": {reference: {"name": "n", "key": "k"}}}),
    ]);
    let get = pick(json!({"httpGet": {"path": "/", "port": 80}}), json!({"tcpSocket": {"port": 80}}));
    let volumes = json!([
        pick(json!({"name": "data", "emptyDir": {}}), json!({"name": "data", "hostPath": {"path": "/x"}})),
        pick(json!({"name": "more", "configMap": {"name": "a"}}), json!({"name": "more", "emptyDir": {}})),
    ]);
    let strategy =
        pick(json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}), json!({"type": "Recreate"}));
    let labels = json!({"app": name});
    let metadata = json!({"name": name, "namespace": UNIONS});
    let containers = json!([{"name": "app", "image": "none", "env": env, "livenessProbe": get}]);
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": containers, "volumes": volumes}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "strategy": strategy, "template": template},
    });
    let ports = json!([{"port": 80}]);
    let spec = pick(
        json!({"type": "NodePort", "selector": labels, "ports": ports}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
    );
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    [deployment, service].map(|object| object.to_string()).join("\n---\n")
}

/// Another client wrote one form, and git declares the other one.
pub(crate) fn excluded_fields(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(UNIONS)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("before.yaml");
    let writers: [(&str, &[&str]); 3] = [
        ("created", &["create"]),
        ("applied", &["apply"]),
        ("of-others", &["apply", "--server-side", "--field-manager=somebody"]),
    ];
    let repository = Repository::empty()?;
    for (name, command) in writers {
        fs::write(&file, in_form(name, false))?;
        cluster.kubectl(&[command, &["-f", &*file.to_string_lossy()]].concat())?;
        repository.write(&format!("{name}.yaml"), &in_form(name, true))?;
    }
    let sync = Sync::unstructured(cluster, UNIONS, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    for form in [true, false] {
        for (name, _) in writers {
            sync.repository.write(&format!("{name}.yaml"), &in_form(name, form))?;
        }
        if !form {
            sync.commit()?;
        }
        for (name, _) in writers {
            excludes(cluster, name, form)?;
        }
    }
    Ok(())
}

fn excludes(cluster: &Cluster, name: &str, other: bool) -> Result<()> {
    let deployment = cluster.get(&format!("/apis/apps/v1/namespaces/{UNIONS}/deployments/{name}"))?;
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let found = [
        ("value", container["env"][0].get("value").is_some()),
        ("valueFrom", container["env"][1].get("valueFrom").is_some()),
        ("configMapKeyRef", container["env"][2]["valueFrom"].get("configMapKeyRef").is_some()),
        ("httpGet", container["livenessProbe"].get("httpGet").is_some()),
        ("emptyDir", pod["volumes"][0].get("emptyDir").is_some()),
        ("configMap", pod["volumes"][1].get("configMap").is_some()),
        ("rollingUpdate", deployment["spec"]["strategy"].get("rollingUpdate").is_some()),
    ];
    for (field, is_there) in found {
        ensure!(is_there != other, "{field} of {name}: {:#}", deployment["spec"]);
    }
    let service = cluster.get(&format!("/api/v1/namespaces/{UNIONS}/services/{name}"))?;
    ensure!((service["spec"]["type"] == "ExternalName") == other, "{name}: {service:#}");
    Ok(())
}
