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

/// A way in which a tool writes objects.
struct Writer {
    /// The name of its objects.
    name: &'static str,
    /// The field manager of its entries.
    manager: &'static str,
    how: How,
}

/// The requests of a tool, as its source has them.
#[derive(Clone, Copy, PartialEq)]
enum How {
    /// A POST, as by `kubectl create`.
    Create,
    /// A POST, and a strategic merge patch later: `pkg/kube/client.go` of Helm 3, which the Helm controller of Flux uses too.
    CreateAndPatch,
    /// The code of `kubectl apply`: `pkg/utils/kube/resource_ops.go` of Argo CD's gitops-engine calls it.
    Apply,
    /// A forced server-side apply: `manager_apply.go` of Flux's pkg/ssa, `resource_ops.go` of gitops-engine, Helm 4.
    ServerSideApply,
    /// `kubectl edit` of an object that was created.
    Edit,
    /// All entries taken away, so that the API server makes one of its own at the next apply.
    NoEntries,
    /// Flux takes an object over from kubectl: it renames the entry (`PatchReplaceFieldsManagers` in `patch.go` of pkg/ssa).
    RenameEntry,
}

const fn writer(name: &'static str, manager: &'static str, how: How) -> Writer {
    Writer { name, manager, how }
}

const WRITERS: &[Writer] = &[
    writer("kubectl-create", "kubectl-create", How::Create),
    writer("kubectl-apply", "kubectl-client-side-apply", How::Apply),
    writer("kubectl-edit", "kubectl-edit", How::Edit),
    writer("before-first-apply", "before-first-apply", How::NoEntries),
    writer("helm-3", "helm", How::CreateAndPatch),
    writer("helm-4", "helm", How::ServerSideApply),
    writer("helm-controller", "helm-controller", How::CreateAndPatch),
    writer("helm-controller-applies", "helm-controller", How::ServerSideApply),
    writer("kustomize-controller", "kustomize-controller", How::ServerSideApply),
    writer("kustomize-controller-updates", "kustomize-controller", How::Apply),
    writer("kustomize-controller-renames", "kustomize-controller", How::RenameEntry),
    writer("flux-client-side-apply", "flux-client-side-apply", How::Apply),
    writer("argocd", "argocd-controller", How::Apply),
    writer("argocd-applies", "argocd-controller", How::ServerSideApply),
    // Its name in the header User-Agent, where it gives no field manager.
    writer("argocd-by-its-agent", "argocd-application-controller", How::Apply),
    writer("argocd-creates", "argocd-application-controller", How::Create),
    writer("argocd-by-its-agent-applies", "argocd-application-controller", How::ServerSideApply),
    writer("config-sync", "configsync.gke.io", How::Create),
];

pub(crate) fn takes_over(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(ADOPTED)?;
    let dir = tempfile::tempdir()?;
    for writer in WRITERS {
        write(cluster, dir.path(), writer)?;
    }
    let repository = Repository::empty()?;
    declare(&repository, &[("https", 443), ("http", 8080)], &json!({"keep": "1", "drop": "2"}))?;
    let sync = Sync::unstructured(cluster, ADOPTED, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    has(cluster, &[443, 8080], &json!({"keep": "1", "drop": "2", "more": "stays"}))?;
    for writer in WRITERS {
        await_event(cluster, writer)?;
    }

    // Neither a key nor a list item stays because of its former owner.
    declare(&sync.repository, &[("http", 8080)], &json!({"keep": "1"}))?;
    sync.commit()?;
    has(cluster, &[8080], &json!({"keep": "1", "more": "stays"}))
}

fn manifests(name: &str, ports: &[(&str, u16)], data: &Value) -> Result<String> {
    let ports: Vec<Value> = ports.iter().map(|(name, port)| json!({"name": name, "port": port})).collect();
    let metadata = json!({"name": name, "namespace": ADOPTED});
    let spec = json!({"selector": {"app": name}, "ports": ports});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
    // Nothing of it is left to its former writer.
    let mut whole = config.clone();
    whole["metadata"]["name"] = format!("whole-{name}").into();
    whole["data"].as_object_mut().context("a map")?.remove("more");
    let manifests = [service, config, whole].map(|object| object.to_string());
    Ok(manifests.join("\n---\n"))
}

fn declare(repository: &Repository, ports: &[(&str, u16)], data: &Value) -> Result<()> {
    for Writer { name, .. } in WRITERS {
        repository.write(&format!("{name}.yaml"), &manifests(name, ports, data)?)?;
    }
    Ok(())
}

/// Makes the objects as the tool does.
fn write(cluster: &Cluster, dir: &Path, Writer { name, manager, how }: &Writer) -> Result<()> {
    let file = dir.join("before.yaml");
    let data = json!({"keep": "before", "drop": "2", "more": "stays"});
    fs::write(&file, manifests(name, &[("http", 80), ("https", 443)], &data)?)?;
    let (file, of_manager) = (file.to_string_lossy(), format!("--field-manager={manager}"));
    let command: &[&str] = match how {
        How::Edit | How::NoEntries => &["create"],
        How::Create | How::CreateAndPatch => &["create", &of_manager],
        How::RenameEntry => &["apply"],
        How::Apply => &["apply", &of_manager],
        How::ServerSideApply => &["apply", "--server-side", "--force-conflicts", &of_manager],
    };
    cluster.kubectl(&[command, &["-f", &*file]].concat())?;
    let whole = format!("whole-{name}");
    let paths = [config_map_path(ADOPTED, name), service_path(name), config_map_path(ADOPTED, &whole)];
    match how {
        How::Create | How::Apply | How::ServerSideApply => {}
        How::CreateAndPatch => {
            for config in [*name, &whole] {
                let patch = r#"{"data": {"keep": "patched"}}"#;
                let args = ["patch", "configmap", config, "-n", ADOPTED, "--type=strategic", "-p", patch, &of_manager];
                cluster.kubectl(&args)?;
            }
        }
        How::Edit => {
            for config in [*name, &whole] {
                cluster.edit(&["configmap", config, "-n", ADOPTED], "s/drop: \"2\"/drop: \"3\"/")?;
            }
            cluster.edit(&["service", name, "-n", ADOPTED], "s/port: 80$/port: 81/")?;
        }
        How::NoEntries => {
            for path in &paths {
                cluster.patch(path, &json!({"metadata": {"managedFields": [{}]}}))?;
            }
            return Ok(());
        }
        How::RenameEntry => {
            for path in &paths {
                let mut entries = cluster.get(path)?["metadata"]["managedFields"].clone();
                for entry in entries.as_array_mut().into_iter().flatten() {
                    (entry["manager"], entry["operation"]) = ((*manager).into(), "Apply".into());
                }
                cluster.patch(path, &json!({"metadata": {"managedFields": entries}}))?;
            }
        }
    }
    let operation = if matches!(how, How::ServerSideApply | How::RenameEntry) { "Apply" } else { "Update" };
    for path in &paths {
        let metadata = cluster.get(path)?["metadata"].clone();
        let mut entries = metadata["managedFields"].as_array().into_iter().flatten();
        let is_theirs = |entry: &Value| entry["manager"] == *manager && entry["operation"] == operation;
        ensure!(entries.any(is_theirs), "not of {name}: {metadata:#}");
    }
    Ok(())
}

fn has(cluster: &Cluster, ports: &[u64], data: &Value) -> Result<()> {
    for Writer { name, .. } in WRITERS {
        let service = cluster.get(&service_path(name))?;
        let found = service["spec"]["ports"].as_array().context("no ports")?;
        let mut found: Vec<u64> = found.iter().filter_map(|port| port["port"].as_u64()).collect();
        found.sort_unstable();
        ensure!(found == ports, "{name}: {service:#}");
        let config = cluster.get(&config_map_path(ADOPTED, name))?;
        ensure!(config["data"] == *data, "{name}: {config:#}");
        let whole = cluster.get(&config_map_path(ADOPTED, &format!("whole-{name}")))?;
        let mut wanted = data.clone();
        wanted.as_object_mut().context("a map")?.remove("more");
        ensure!(whole["data"] == wanted, "{name}: {whole:#}");
        let applied = config["metadata"]["annotations"].get("kubectl.kubernetes.io/last-applied-configuration");
        ensure!(applied.is_none(), "{name} would take it back: {config:#}");
    }
    Ok(())
}

/// Waits until it is told about a ConfigMap that it was taken over; that Helm writes it again is a warning.
fn await_event(cluster: &Cluster, Writer { name, manager, .. }: &Writer) -> Result<()> {
    let severity = if *manager == "helm" { "Warning" } else { "Normal" };
    await_condition(&format!("the object of {name} is told of"), || {
        let events = cluster.get(&format!("/apis/events.k8s.io/v1/namespaces/{ADOPTED}/events"))?;
        let found = events["items"].as_array().into_iter().flatten().any(|event| {
            event["regarding"]["kind"] == "ConfigMap"
                && event["regarding"]["name"] == *name
                && event["reason"] == "Adopted"
                && event["type"] == severity
                && event["note"].as_str().is_some_and(|note| note.contains(manager))
        });
        ensure!(found, "{events:#}");
        Ok(())
    })
}

fn service_path(name: &str) -> String {
    format!("/api/v1/namespaces/{ADOPTED}/services/{name}")
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
