//! A cluster goes from Config Sync to the agent: nothing that is synced is changed, and the two never write at the same time.

use std::collections::BTreeMap;
use std::fs;

use agent::model::metadata::SyncId;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind, SYNCS, root_sync_path};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, condition, installed};

const SYSTEM: &str = "config-management-system";
const SHOP: &str = "shop";
const GROUP: &str = "/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups";
/// The objects that Config Sync has synced, by the file of each.
const OBJECTS: [(&str, &str); 4] = [
    ("namespace.yaml", "/api/v1/namespaces/shop"),
    ("settings.yaml", "/api/v1/namespaces/shop/configmaps/settings"),
    ("service.yaml", "/api/v1/namespaces/shop/services/web"),
    ("web.yaml", "/apis/apps/v1/namespaces/shop/deployments/web"),
];
const FINALIZERS: [&str; 2] = ["configsync.gke.io/reconciler", "configsync.gke.io/reconciler-manager"];

pub(crate) fn from_config_sync(kind: Kind) -> Result<()> {
    let (cluster, home) = (installed(kind)?, TempDir::new()?);
    let repository = Repository::empty()?;
    for (file, _) in OBJECTS {
        repository.write(file, &manifest(file).to_string())?;
    }
    let commit = repository.commit()?;
    config_sync(&cluster, &home, &repository, &commit)?;
    await_condition("the Pods of the Deployment are there", || {
        let pods = cluster.get("/api/v1/namespaces/shop/pods")?;
        ensure!(pods["items"].as_array().map_or(0, Vec::len) == 2, "{pods:#}");
        Ok(())
    })?;
    let before = state(&cluster)?;
    let from = cluster.now()?;
    let _agent = agent(&cluster, &[])?;
    let sync = |name: &str| cluster.root_sync(name);
    await_condition("the sync says who serves it", || stalled(&sync("root-sync")?, "nomos migrate"))?;

    // Nothing is written beside Config Sync: neither for a new commit nor for a change by another client.
    let drift = |value: &str| cluster.patch(OBJECTS[1].1, &json!({ "data": { "key": value } }));
    drift("by another client")?;
    says(&cluster, &["migrate", "--dry-run"], 0, "stop deployment.apps/reconciler-manager")?;
    says(&cluster, &["migrate", "--dry-run"], 0, "wait until nomos-agent serves all syncs (dry run)")?;
    ensure!(replicas(&cluster, "reconciler-manager")? == 1, "a dry run has stopped it");
    drift("declared")?;
    nothing_was_written(&cluster, from)?;

    // A Pod that takes long to end still counts.
    let pod = lingering_pod(&cluster)?;
    says(
        &cluster,
        &["migrate", "--wait-timeout", "1s"],
        1,
        "pod/root-reconciler-6c9d-x7k2p in config-management-system",
    )?;
    ensure!(replicas(&cluster, "root-reconciler")? == 0, "it is not stopped");
    nothing_was_written(&cluster, from)?;
    cluster.patch(&pod, &json!({ "metadata": { "finalizers": null } }))?;
    says(&cluster, &["migrate"], 0, "take the finalizer configsync.gke.io/reconciler-manager off the RootSync")?;

    let synced = await_synced(&cluster, &commit)?;
    ensure!(synced["status"]["reconciler"] == "nomos-agent", "{synced:#}");
    let finalizers = synced["metadata"]["finalizers"].to_string();
    ensure!(!finalizers.contains(FINALIZERS[1]), "{finalizers}");
    unchanged(&cluster, from, &before)?;
    says(&cluster, &["migrate"], 0, "Nothing has to be migrated")?;
    it_is_kept(&cluster, &repository)?;
    it_comes_back(&cluster)
}

/// What Config Sync leaves on a cluster whose only sync is `root-sync`, and its programs.
fn config_sync(cluster: &Cluster, home: &TempDir, repository: &Repository, commit: &str) -> Result<()> {
    let id = SyncId::root("root-sync");
    for (file, _) in OBJECTS {
        let path = home.path().join(file);
        fs::write(&path, synced(file, &id, repository, commit).to_string())?;
        let path = path.to_string_lossy();
        cluster.kubectl(&["apply", "--server-side", "--field-manager=configsync.gke.io", "-f", &*path])?;
    }
    let resources: Vec<Value> = OBJECTS.iter().map(|(file, _)| resource(&manifest(file))).collect();
    cluster.create(GROUP, &json!({
        "apiVersion": "kpt.dev/v1alpha1", "kind": "ResourceGroup",
        "metadata": {
            "name": "root-sync",
            "labels": {
                "cli-utils.sigs.k8s.io/inventory-id": id.inventory_id(), "app.kubernetes.io/managed-by": "configmanagement.gke.io",
                "configsync.gke.io/sync-namespace": SYSTEM, "configsync.gke.io/sync-name": "root-sync", "configsync.gke.io/sync-kind": "RootSync",
            },
            "annotations": { "configmanagement.gke.io/managed": "enabled", "configsync.gke.io/status": "enabled" },
        },
        "spec": { "resources": resources },
    }))?;
    let git = json!({ "repo": repository.url(), "branch": "main", "auth": "none", "period": "1s" });
    cluster.create(SYNCS, &json!({
        "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync",
        "metadata": {
            "name": "root-sync", "finalizers": FINALIZERS,
            "labels": { "applyset.kubernetes.io/id": id.part_of() }, "annotations": { "applyset.kubernetes.io/tooling": "configsync.gke.io/v1" },
        },
        "spec": { "sourceFormat": "unstructured", "git": git },
    }))?;
    let status = json!({ "status": {
        "observedGeneration": 1, "reconciler": "root-reconciler", "lastSyncedCommit": commit,
        "conditions": [{ "type": "Syncing", "status": "False", "reason": "Sync", "message": "Sync Completed", "commit": commit }],
    }});
    cluster.patch(&format!("{}/status", root_sync_path("root-sync")), &status)?;
    cluster.create_namespace("resource-group-system")?;
    program(cluster, SYSTEM, "reconciler-manager", &json!({}))?;
    program(cluster, SYSTEM, "root-reconciler", &json!({ "configsync.gke.io/sync-kind": "RootSync" }))?;
    program(cluster, "resource-group-system", "resource-group-controller-manager", &json!({}))?;
    // The agent runs beside this cluster; an installed one would be this Deployment.
    program(cluster, SYSTEM, "nomos-agent", &json!({}))
}

/// A Deployment of a program.
fn program(cluster: &Cluster, namespace: &str, name: &str, labels: &Value) -> Result<()> {
    let selector = json!({ "configsync.gke.io/deployment-name": name });
    let container = json!({ "name": "program", "image": "example.com/program:1" });
    cluster.create(
        &format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
        &json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name, "labels": labels },
            "spec": {
                "replicas": 1, "selector": { "matchLabels": selector },
                "template": { "metadata": { "labels": selector }, "spec": { "containers": [container] } },
            },
        }),
    )?;
    Ok(())
}

fn manifest(file: &str) -> Value {
    let metadata = |name: &str| json!({ "name": name, "namespace": SHOP });
    match file {
        "namespace.yaml" => json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SHOP } }),
        "settings.yaml" => {
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("settings"), "data": { "key": "declared" } })
        }
        "service.yaml" => json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata("web"),
            "spec": { "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80 }] },
        }),
        _ => json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("web"),
            "spec": {
                "replicas": 2, "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "web", "image": "example.com/web:1" }] },
                },
            },
        }),
    }
}

/// The manifest as Config Sync applies it.
fn synced(file: &str, sync: &SyncId, repository: &Repository, commit: &str) -> Value {
    let mut object = manifest(file);
    let id = resource(&object);
    let text = |field: &str| id[field].as_str().unwrap_or_default().to_owned();
    let parts = [text("group"), text("kind").to_lowercase(), text("namespace"), text("name")];
    let key: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    object["metadata"]["labels"] = json!({
        "app.kubernetes.io/managed-by": "configmanagement.gke.io",
        "applyset.kubernetes.io/part-of": sync.part_of(),
        "configsync.gke.io/declared-version": "v1",
    });
    object["metadata"]["annotations"] = json!({
        "configmanagement.gke.io/managed": "enabled",
        "configmanagement.gke.io/source-path": file,
        "configmanagement.gke.io/token": commit,
        "configsync.gke.io/declared-fields": "{}",
        "configsync.gke.io/git-context": json!({ "repo": repository.url(), "branch": "main", "rev": "HEAD" }).to_string(),
        "configsync.gke.io/manager": ":root",
        "configsync.gke.io/resource-id": match text("group").as_str() {
            "" => format!("_{}", key.join("_")),
            _ => key.join("_"),
        },
        "config.k8s.io/owning-inventory": sync.inventory_id(),
    });
    object
}

fn resource(object: &Value) -> Value {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    json!({ "group": group, "kind": object["kind"], "namespace": namespace, "name": object["metadata"]["name"] })
}

/// A Pod of the reconciler that stays while it is deleted.
fn lingering_pod(cluster: &Cluster) -> Result<String> {
    let pods = format!("/api/v1/namespaces/{SYSTEM}/pods");
    let labels = json!({ "configsync.gke.io/deployment-name": "root-reconciler" });
    let metadata =
        json!({ "name": "root-reconciler-6c9d-x7k2p", "labels": labels, "finalizers": ["example.com/stay"] });
    let spec = json!({ "containers": [{ "name": "reconciler", "image": "example.com/reconciler:1" }] });
    cluster.create(&pods, &json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }))?;
    let path = format!("{pods}/root-reconciler-6c9d-x7k2p");
    cluster.delete(&path)?;
    Ok(path)
}

/// Everything of the objects but the metadata of syncs, and the ReplicaSets and Pods of the Deployment.
fn state(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for (_, path) in OBJECTS {
        let mut object = cluster.get(path)?;
        // Controllers write it at any time.
        object.as_object_mut().context("an object")?.remove("status");
        let metadata = object["metadata"].clone();
        let others = |field: &str| {
            let ours = |key: &str| {
                ["configsync.gke.io/", "configmanagement.gke.io/", "config.k8s.io/", "applyset.kubernetes.io/"]
                    .iter()
                    .any(|prefix| key.starts_with(prefix))
            };
            let map = metadata[field].as_object().into_iter().flatten();
            map.filter(|(key, _)| !ours(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect::<serde_json::Map<_, _>>()
        };
        // The generation of a Deployment grows with its annotations too, so that it says nothing: what follows from it is below.
        let generation = if object["kind"] == "Deployment" { &Value::Null } else { &metadata["generation"] };
        object["metadata"] = json!({
            "uid": metadata["uid"], "generation": generation, "creationTimestamp": metadata["creationTimestamp"],
            "labels": others("labels"), "annotations": others("annotations"), "deletionTimestamp": metadata["deletionTimestamp"],
        });
        found.insert(path.to_owned(), object);
    }
    for collection in ["/apis/apps/v1/namespaces/shop/replicasets", "/api/v1/namespaces/shop/pods"] {
        let list = cluster.get(collection)?;
        let items = list["items"].as_array().into_iter().flatten();
        let uids: Vec<&Value> = items.map(|item| &item["metadata"]["uid"]).collect();
        found.insert(collection.to_owned(), json!(uids));
    }
    Ok(found)
}

fn stalled(sync: &Value, says: &str) -> Result<()> {
    let stalled = condition(sync, "Stalled")?;
    let message = stalled["message"].as_str().unwrap_or_default();
    ensure!(stalled["status"] == "True" && message.contains("KNV1060") && message.contains(says), "{sync:#}");
    Ok(())
}

fn nothing_was_written(cluster: &Cluster, from: u64) -> Result<()> {
    let writes = cluster.writes(from)?;
    ensure!(writes.is_empty(), "the agent wrote beside Config Sync: {writes:?}");
    Ok(())
}

/// Nothing was deleted or changed but our metadata, with two writes an object at most.
fn unchanged(cluster: &Cluster, from: u64, before: &BTreeMap<String, Value>) -> Result<()> {
    let after = state(cluster)?;
    for (path, object) in before {
        ensure!(after[path] == *object, "{path} was {object:#}, and is {:#}", after[path]);
    }
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    for write in cluster.writes(from)? {
        ensure!(write.verb == "patch", "{write:?}");
        *writes.entry(format!("{}/{}/{}", write.resource, write.namespace, write.name)).or_default() += 1;
    }
    ensure!(!writes.is_empty() && writes.values().all(|count| *count <= 2), "{writes:?}");
    Ok(())
}

fn await_synced(cluster: &Cluster, commit: &str) -> Result<Value> {
    await_condition(&format!("root-sync is synced at {commit}"), || {
        let sync = cluster.root_sync("root-sync")?;
        let syncing = condition(&sync, "Syncing")?;
        ensure!(syncing["status"] == "False" && syncing["commit"] == commit, "{:#}", sync["status"]);
        ensure!(condition(&sync, "Stalled")?["status"] == "False", "{:#}", sync["status"]);
        ensure!(sync["status"]["lastSyncedCommit"] == commit, "{:#}", sync["status"]);
        Ok(sync)
    })
}

/// The agent keeps the objects as its own: drift is put back, and what leaves the repository is deleted.
fn it_is_kept(cluster: &Cluster, repository: &Repository) -> Result<()> {
    cluster.patch(OBJECTS[1].1, &json!({ "data": { "key": "changed" } }))?;
    await_condition("the drift is put back", || {
        ensure!(cluster.get(OBJECTS[1].1)?["data"]["key"] == "declared", "not yet");
        Ok(())
    })?;
    repository.remove("settings.yaml")?;
    await_synced(cluster, &repository.commit()?)?;
    ensure!(!cluster.exists(OBJECTS[1].1)?, "it is still there");
    Ok(())
}

/// When Config Sync is started again, the agent stops.
fn it_comes_back(cluster: &Cluster) -> Result<()> {
    let manager = format!("/apis/apps/v1/namespaces/{SYSTEM}/deployments/reconciler-manager");
    cluster.patch(&manager, &json!({ "spec": { "replicas": 1 } }))?;
    await_condition("the sync says who serves it", || stalled(&cluster.root_sync("root-sync")?, "reconciler-manager"))?;
    let from = cluster.now()?;
    cluster.patch(OBJECTS[2].1, &json!({ "spec": { "ports": [{ "name": "http", "port": 81 }] } }))?;
    let hub = json!({ "metadata": { "annotations": { "configmanagement.gke.io/managed-by-hub": "true" } } });
    cluster.patch(&manager, &hub)?;
    says(cluster, &["migrate"], 1, "a fleet manages Config Sync")?;
    nothing_was_written(cluster, from)?;
    ensure!(replicas(cluster, "reconciler-manager")? == 1, "it was stopped");
    cluster.patch(&manager, &json!({ "metadata": { "annotations": null } }))?;
    says(cluster, &["migrate"], 0, "wait until nomos-agent serves all syncs")?;
    await_condition("the drift is put back", || {
        ensure!(cluster.get(OBJECTS[2].1)?["spec"]["ports"][0]["port"] == 80, "not yet");
        Ok(())
    })
}

fn replicas(cluster: &Cluster, name: &str) -> Result<i64> {
    let deployment = cluster.get(&format!("/apis/apps/v1/namespaces/{SYSTEM}/deployments/{name}"))?;
    deployment["spec"]["replicas"].as_i64().context("it says how many")
}

fn says(cluster: &Cluster, args: &[&str], code: u8, words: &str) -> Result<()> {
    let (found, said) = cluster.nomos(args);
    ensure!(found == code && said.contains(words), "nomos {}: exit status {found}\n{said}", args.join(" "));
    Ok(())
}

/// The repository of a ConfigManagement becomes a RootSync, by `nomos migrate` as by hand.
pub(crate) fn from_a_config_management(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let (repository, other) = (Repository::empty()?, Repository::empty()?);
    other.write("namespace.yaml", &crate::world::namespace("other"))?;
    let other = Sync::unstructured(&cluster, "other", other)?;
    other.await_synced(&other.repository.head()?)?;
    repository.write("namespace.yaml", &crate::world::namespace("made"))?;
    let commit = repository.commit()?;
    let server = tests::git_server::GitServer::of(&repository)?;
    let path = "/apis/configmanagement.gke.io/v1/configmanagements";
    let git = json!({ "syncRepo": server.url(), "syncBranch": "main", "secretType": "none", "syncWait": 1 });
    cluster.create(path, &json!({
        "apiVersion": "configmanagement.gke.io/v1", "kind": "ConfigManagement", "metadata": { "name": "config-management" },
        "spec": { "sourceFormat": "unstructured", "git": git },
    }))?;
    let uid = await_synced(&cluster, &commit)?["metadata"]["uid"].clone();
    says(&cluster, &["migrate", "--dry-run"], 0, "set spec.enableMultiRepo")?;
    says(&cluster, &["migrate"], 0, "set spec.enableMultiRepo")?;
    let management = cluster.get(&format!("{path}/config-management"))?;
    ensure!(management["spec"]["git"].is_null() && management["spec"]["enableMultiRepo"] == true, "{management:#}");
    says(&cluster, &["migrate", "--remove-configmanagement"], 0, "delete the ConfigManagement")?;
    ensure!(!cluster.exists(&format!("{path}/config-management"))?, "it is still there");
    let sync = await_synced(&cluster, &commit)?;
    ensure!(sync["metadata"]["uid"] == uid && sync["metadata"]["ownerReferences"].is_null(), "{sync:#}");
    ensure!(sync["metadata"]["labels"].get("configsync.gke.io/made-from").is_none(), "{sync:#}");
    ensure!(cluster.exists("/api/v1/namespaces/made")?, "its objects are gone");
    says(&cluster, &["migrate", "--contexts", "nowhere"], 2, "no context nowhere")
}
