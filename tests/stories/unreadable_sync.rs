//! A RootSync that this agent cannot read, as a newer CRD would take it: it says so, and the others go on.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, await_event, condition, config_map, config_map_path, installed, namespace};

const CRD: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rootsyncs.configsync.gke.io";

pub(crate) fn hides_no_other(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    take_any_auth(&cluster)?;
    let agent = agent(&cluster, &[])?;
    cluster.create_root_sync("first", &Repository::empty()?, "unstructured")?;
    await_condition("the CRD takes an unknown auth", || set_auth(&cluster, "first", "kerberos"))?;
    is_stalled(&cluster, "first", "kerberos")?;
    await_event(&cluster, "first", "Warning", "KNV1061")?;

    let second = Sync::unstructured(&cluster, "second", repository("second")?)?;
    second.await_synced(&second.repository.head()?)?;

    // A change of an annotation does not change the generation.
    set_deletion(&cluster, "second", json!("Sometimes"))?;
    is_stalled(&cluster, "second", "Sometimes")?;
    set_deletion(&cluster, "second", Value::Null)?;
    await_condition("the sync is served again", || {
        let object = second.object()?;
        ensure!(condition(&object, "Stalled")?["status"] == "False", "{object:#}");
        Ok(())
    })?;

    // One that was served before goes on with what it could read.
    set_auth(&cluster, "second", "kerberos")?;
    is_stalled(&cluster, "second", "kerberos")?;
    let path = config_map_path("second", "settings");
    cluster.delete(&path)?;
    await_condition("drift is put back", || cluster.get(&path).map(|_| ()))?;
    agent.terminate()?;
    is_stalled(&cluster, "second", "kerberos")?;

    // A restart lists both.
    let _agent = crate::world::agent(&cluster, &[])?;
    set_auth(&cluster, "second", "none")?;
    second.repository.write("settings.yaml", &config_map("second", "settings", "newer"))?;
    second.commit()?;
    ensure!(condition(&second.object()?, "Stalled")?["status"] == "False", "{:#}", second.object()?);
    Ok(())
}

/// The CRD of RootSyncs is deleted while the agent runs: what was applied stays, also of a RootSync that would take it along; and
/// RootSyncs that are made anew go on with it.
pub(crate) fn crd_goes(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let (kept, taken) = ("crd-kept", "crd-taken");
    let mut syncs = Vec::new();
    for name in [kept, taken] {
        let sync = Sync::unstructured(&cluster, name, repository(name)?)?;
        sync.await_synced(&sync.repository.head()?)?;
        syncs.push(sync);
    }
    set_deletion(&cluster, taken, json!("Foreground"))?;
    let applied = || -> Result<Vec<Value>> {
        let paths = [kept, taken]
            .into_iter()
            .flat_map(|name| [format!("/api/v1/namespaces/{name}"), config_map_path(name, "settings")]);
        paths.map(|path| Ok(cluster.get(&path)?["metadata"]["uid"].clone())).collect()
    };
    let before = applied()?;
    let crd = cluster.get(CRD)?;
    cluster.delete(CRD)?;
    await_condition("the CRD is gone", || {
        ensure!(!cluster.exists(CRD)?, "{:#}", cluster.get(CRD)?["status"]);
        Ok(())
    })?;
    ensure!(applied()? == before, "an object was deleted");

    let made = json!({
        "apiVersion": crd["apiVersion"], "kind": crd["kind"], "metadata": {"name": crd["metadata"]["name"]}, "spec": crd["spec"],
    });
    cluster.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &made)?;
    for sync in &syncs {
        await_condition("the kind is served", || {
            cluster.create_root_sync(&sync.name, &sync.repository, "unstructured")
        })?;
        sync.repository.write("settings.yaml", &config_map(&sync.name, "settings", "newer"))?;
        sync.commit()?;
        ensure!(cluster.get(&config_map_path(&sync.name, "settings"))?["data"]["key"] == "newer", "not applied");
    }
    ensure!(applied()? == before, "an object was made anew");
    Ok(())
}

fn repository(name: &str) -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "value"))?;
    Ok(repository)
}

/// Changes the CRD as a newer version of it could.
fn take_any_auth(cluster: &Cluster) -> Result<()> {
    let mut crd = cluster.get(CRD)?;
    for version in crd["spec"]["versions"].as_array_mut().into_iter().flatten() {
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["git"]["properties"]["auth"] =
            json!({"type": "string"});
    }
    cluster.patch(CRD, &json!({"spec": {"versions": crd["spec"]["versions"]}}))?;
    Ok(())
}

fn set_auth(cluster: &Cluster, name: &str, auth: &str) -> Result<()> {
    cluster.patch(&root_sync_path(name), &json!({"spec": {"git": {"auth": auth}}}))?;
    Ok(())
}

fn set_deletion(cluster: &Cluster, name: &str, policy: Value) -> Result<()> {
    let annotations = json!({"configsync.gke.io/deletion-propagation-policy": policy});
    cluster.patch(&root_sync_path(name), &json!({"metadata": {"annotations": annotations}}))?;
    Ok(())
}

fn is_stalled(cluster: &Cluster, name: &str, why: &str) -> Result<Value> {
    await_condition(&format!("the RootSync {name} says that it cannot be read"), || {
        let sync = cluster.root_sync(name)?;
        let stalled = condition(&sync, "Stalled")?;
        let message = stalled["message"].as_str().unwrap_or_default();
        ensure!(stalled["status"] == "True" && stalled["reason"] == "Validation", "{sync:#}");
        ensure!(message.contains("KNV1061") && message.contains(why), "{message}");
        ensure!(sync["status"]["observedGeneration"] == sync["metadata"]["generation"], "{sync:#}");
        Ok(sync)
    })
}
