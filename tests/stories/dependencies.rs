//! Objects that depend on others: they wait alone, and are gone before what they depend on.

use anyhow::{Result, ensure};
use kube::core::discovery::v2::APIVersionDiscovery;
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, await_event, config_map, config_map_path, installed, namespace, shared};

const ELSEWHERE: &str = "depends-elsewhere";
const PRUNED: &str = "pruned-in-order";
const CLAIMED: &str = "claimed";
const HOLDING: &str = "holding";

const CRD: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gauges.holding.example.com}
spec:
  group: holding.example.com
  names: {plural: gauges, kind: Gauge}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
";

/// A ConfigMap that depends on another.
fn dependent(namespace: &str, name: &str, on: &str) -> String {
    let annotation = format!("  annotations:\n    config.kubernetes.io/depends-on: /namespaces/{on}\n");
    config_map(namespace, name, "value").replace("\ndata:", &format!("\n{annotation}data:"))
}

pub(crate) fn on_objects_of_others(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(ELSEWHERE))?;
    repository.write("independent.yaml", &config_map(ELSEWHERE, "independent", "value"))?;
    repository.write("waiting.yaml", &dependent(ELSEWHERE, "waiting", &format!("{ELSEWHERE}/ConfigMap/folder")))?;
    let sync = Sync::unstructured(cluster, ELSEWHERE, repository)?;
    let status = sync.await_error("2009")?;
    let message = status["status"]["sync"]["errors"][0]["errorMessage"].as_str().unwrap_or_default();
    ensure!(message.contains("configmap/depends-elsewhere/folder") && message.contains("waiting.yaml"), "{message}");
    ensure!(cluster.exists(&config_map_path(ELSEWHERE, "independent"))?, "another object waits too");
    ensure!(!cluster.exists(&config_map_path(ELSEWHERE, "waiting"))?, "it was applied before its dependency");
    await_condition("trace says what an object waits for that is not there", || {
        let (code, said) = cluster.nomos(&["trace", "configmap/waiting", "-n", ELSEWHERE]);
        let parts =
            ["(ERROR at ", "it is not on the cluster\n", "   it waits for configmap/depends-elsewhere/folder\n"];
        ensure!(code == 0 && parts.iter().all(|part| said.contains(part)), "{said}");
        Ok(())
    })?;
    let (code, said) = cluster.nomos(&["wait", ELSEWHERE, "--timeout", "1s"]);
    let parts = [format!("configmap/waiting in {ELSEWHERE} is "), format!("waits for configmap/{ELSEWHERE}/folder")];
    ensure!(code == 1 && parts.iter().all(|part| said.contains(part)), "{said}");

    let folder = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "folder"}});
    cluster.create(&format!("/api/v1/namespaces/{ELSEWHERE}/configmaps"), &folder)?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(cluster.exists(&config_map_path(ELSEWHERE, "waiting"))?, "it is synced without it");
    Ok(())
}

pub(crate) fn are_pruned_first(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(PRUNED))?;
    for name in ["a", "b", "c", "operator"] {
        repository.write(&format!("{name}.yaml"), &config_map(PRUNED, name, "value"))?;
    }
    repository.write("instance.yaml", &dependent(PRUNED, "instance", &format!("{PRUNED}/ConfigMap/operator")))?;
    let sync = Sync::unstructured(cluster, PRUNED, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let (operator, instance) = (config_map_path(PRUNED, "operator"), config_map_path(PRUNED, "instance"));
    cluster.patch(&instance, &json!({"metadata": {"finalizers": ["example.com/operator"]}}))?;
    for name in ["operator", "instance", "c"] {
        sync.repository.remove(&format!("{name}.yaml"))?;
    }
    sync.repository.commit()?;
    await_condition("what can go goes", || {
        ensure!(!cluster.exists(&config_map_path(PRUNED, "c"))?, "c is there");
        ensure!(cluster.get(&instance)?["metadata"]["deletionTimestamp"].is_string(), "it is not being deleted");
        Ok(())
    })?;
    // Drift of another object is put back after all that was decided before.
    let witness = config_map_path(PRUNED, "a");
    cluster.patch(&witness, &json!({"data": {"key": "other"}}))?;
    await_condition("drift is put back", || {
        ensure!(cluster.get(&witness)?["data"]["key"] == "value", "not yet");
        Ok(())
    })?;
    ensure!(cluster.get(&operator)?["metadata"]["deletionTimestamp"].is_null(), "it went before its dependent");
    cluster.patch(&instance, &json!({"metadata": {"finalizers": null}}))?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(!cluster.exists(&instance)? && !cluster.exists(&operator)?, "they are there");
    Ok(())
}

const CLAIM: &str = "\
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
  namespace: claimed
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
";

/// No class ever binds this claim, as one would that waits for the first Pod.
pub(crate) fn on_a_claim(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(CLAIMED))?;
    repository.write("claim.yaml", CLAIM)?;
    repository.write("user.yaml", &dependent(CLAIMED, "user", "claimed/PersistentVolumeClaim/data"))?;
    let sync = Sync::unstructured(cluster, CLAIMED, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(cluster.exists(&config_map_path(CLAIMED, "user"))?, "it is synced without it");
    Ok(())
}

/// A detached object leaves the repository together with its Namespace, or with its CRD: these stay too, and it is told.
pub(crate) fn hold_detached_objects(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    for name in [HOLDING, "holding-crd", "not-holding"] {
        repository.write(&format!("{name}.yaml"), &namespace(name))?;
    }
    repository.write("detached.yaml", &detached(&config_map(HOLDING, "detached", "value")))?;
    repository.write("crd.yaml", CRD)?;
    repository.write(
        "gauge.yaml",
        &detached(
            "apiVersion: holding.example.com/v1\nkind: Gauge\nmetadata:\n  name: detached\n  namespace: holding-crd\n",
        ),
    )?;
    let sync = Sync::unstructured(cluster, HOLDING, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let gauge = "/apis/holding.example.com/v1/namespaces/holding-crd/gauges/detached";
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gauges.holding.example.com";
    for files in [[&format!("{HOLDING}.yaml"), "detached.yaml"], ["crd.yaml", "gauge.yaml"]] {
        for file in files {
            sync.repository.remove(file)?;
        }
        sync.commit()?;
        await_event(cluster, HOLDING, "Warning", "Kept")?;
    }
    let namespace = format!("/api/v1/namespaces/{HOLDING}");
    for path in [&*namespace, &config_map_path(HOLDING, "detached"), gauge, crd] {
        let object = cluster.get(path)?;
        ensure!(object["metadata"]["deletionTimestamp"].is_null(), "{object:#}");
        ensure!(object["metadata"]["annotations"]["configsync.gke.io/manager"].is_null(), "{object:#}");
    }
    Ok(())
}

/// A user's detached object keeps its Namespace also when that leaves the repository in a later commit, and a CRD keeps its own.
/// A Namespace goes as soon as nothing detached is in it.
pub(crate) fn hold_formerly_detached_objects(kind: Kind) -> Result<()> {
    const NAME: &str = "held-later";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let crd = CRD.replace("holding.example.com", "later.example.com");
    let repository = Repository::empty()?;
    for name in [NAME, "not-held-later", "held-later-crd"] {
        repository.write(&format!("{name}.yaml"), &namespace(name))?;
    }
    for name in [NAME, "not-held-later"] {
        repository.write(&format!("{name}-detached.yaml"), &detached(&config_map(name, "detached", "value")))?;
    }
    repository.write("crd.yaml", &crd)?;
    let gauge =
        "apiVersion: later.example.com/v1\nkind: Gauge\nmetadata:\n  name: detached\n  namespace: held-later-crd\n";
    repository.write("gauge-detached.yaml", &detached(gauge))?;
    let sync = Sync::unstructured(cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    for file in [&format!("{NAME}-detached.yaml"), "not-held-later-detached.yaml", "gauge-detached.yaml"] {
        sync.repository.remove(file)?;
    }
    sync.commit()?;
    cluster.delete(&config_map_path("not-held-later", "detached"))?;
    for file in [&format!("{NAME}.yaml"), "not-held-later.yaml"] {
        sync.repository.remove(file)?;
        sync.commit()?;
    }
    // An object that is not the sync's would go with the CRD: that alone needs an approval.
    sync.repository.remove("crd.yaml")?;
    let commit = sync.repository.commit()?;
    sync.await_error("2006")?;
    sync.approve()?;
    sync.await_synced(&commit)?;
    await_event(cluster, NAME, "Warning", "Kept")?;
    let gauge = "/apis/later.example.com/v1/namespaces/held-later-crd/gauges/detached";
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gauges.later.example.com";
    for path in [&*format!("/api/v1/namespaces/{NAME}"), &config_map_path(NAME, "detached"), gauge, crd] {
        let object = cluster.get(path)?;
        ensure!(object["metadata"]["deletionTimestamp"].is_null(), "{object:#}");
        ensure!(object["metadata"]["annotations"]["configsync.gke.io/manager"].is_null(), "{object:#}");
    }
    await_condition("the Namespace without a detached object is gone", || {
        ensure!(!cluster.exists("/api/v1/namespaces/not-held-later")?, "it is still there");
        Ok(())
    })
}

/// The server of an API of its own is away, so that nothing shows the objects of its kinds.
pub(crate) fn hidden_by_an_absent_api(kind: Kind) -> Result<()> {
    const NAME: &str = "hidden";
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("a.yaml", &namespace(NAME))?;
    repository.write("b.yaml", &namespace("shown"))?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let apis = "/apis/apiregistration.k8s.io/v1/apiservices";
    let spec = json!({
        "group": "away.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "insecureSkipTLSVerify": true, "service": {"name": "nobody", "namespace": "default"},
    });
    let api = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.away.example.com"}, "spec": spec});
    cluster.create(apis, &api)?;
    await_condition("discovery says that the API is away", || {
        let groups = cluster.groups()?;
        let stale = |version: &APIVersionDiscovery| version.freshness.as_deref() == Some("Stale");
        ensure!(groups.items.iter().any(|group| group.versions.iter().any(stale)), "it does not");
        Ok(())
    })?;
    sync.repository.remove("a.yaml")?;
    let commit = sync.repository.commit()?;
    let status = sync.await_error("2002")?["status"].to_string();
    ensure!(status.contains("away.example.com/v1") && status.contains("namespace/hidden"), "{status}");
    let path = format!("/api/v1/namespaces/{NAME}");
    ensure!(cluster.get(&path)?["metadata"]["deletionTimestamp"].is_null(), "it was deleted");
    cluster.delete(&format!("{apis}/v1.away.example.com"))?;
    sync.await_synced(&commit)?;
    await_condition("the Namespace is gone", || {
        ensure!(!cluster.exists(&path)?, "it is there");
        Ok(())
    })
}

/// The manifest of an object that stays when it leaves the repository.
fn detached(manifest: &str) -> String {
    manifest.replacen("\n  name:", "\n  annotations: {client.lifecycle.config.k8s.io/deletion: detach}\n  name:", 1)
}
