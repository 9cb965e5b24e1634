//! Objects and fields that change hands: between syncs, and from a sync to another controller.

use anyhow::{Result, ensure};
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, config_map, config_map_path, namespace, shared};

const SCALED: &str = "scaled";
const RENAMED: &str = "renamed";
const IMPLIED: &str = "implied";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: scaled}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: example.com/web:1.0}]}}
";

pub(crate) fn replicas(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(SCALED))?;
    repository.write("web.yaml", DEPLOYMENT)?;
    repository.write("witness.yaml", &config_map(SCALED, "witness", "before"))?;
    let sync = Sync::unstructured(cluster, SCALED, repository)?;
    let (web, witness) = ("/apis/apps/v1/namespaces/scaled/deployments/web", config_map_path(SCALED, "witness"));
    let applied = |value: &str| {
        await_condition(&format!("the commit with {value} is applied"), || {
            ensure!(cluster.get(&witness)?["data"]["key"] == value, "not yet");
            let commit = sync.repository.head()?;
            ensure!(cluster.get(web)?["metadata"]["annotations"]["configmanagement.gke.io/token"] == commit, "not yet");
            Ok(())
        })
    };
    applied("before")?;
    sync.repository.write("web.yaml", &DEPLOYMENT.replace("  replicas: 3\n", ""))?;
    sync.repository.write("witness.yaml", &config_map(SCALED, "witness", "after"))?;
    sync.repository.commit()?;
    applied("after")?;
    let live = cluster.get(web)?;
    ensure!(live["spec"]["replicas"] == 3, "{live:#}");
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let owner = entries.map(|entry| entry["fieldsV1"]["f:spec"].get("f:replicas")).any(|field| field.is_some());
    ensure!(!owner, "an autoscaler would have to take it: {live:#}");
    Ok(())
}

/// A RootSync is deleted and made anew under another name: the objects are the new one's.
pub(crate) fn between_syncs(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(RENAMED))?;
    repository.write("settings.yaml", &config_map(RENAMED, "settings", "first"))?;
    let old = Sync::unstructured(cluster, RENAMED, repository)?;
    let repository = std::sync::Arc::clone(&old.repository);
    old.await_synced(&repository.head()?)?;
    let path = config_map_path(RENAMED, "settings");
    let uid = cluster.get(&path)?["metadata"]["uid"].clone();
    drop(old);

    let new = Sync::unstructured(cluster, "renamed-anew", repository)?;
    new.await_synced(&new.repository.head()?)?;
    new.repository.write("settings.yaml", &config_map(RENAMED, "settings", "second"))?;
    new.commit()?;
    let settings = cluster.get(&path)?;
    ensure!(settings["data"]["key"] == "second" && settings["metadata"]["uid"] == uid, "{settings:#}");
    let manager = &settings["metadata"]["annotations"]["configsync.gke.io/manager"];
    ensure!(manager == ":root_renamed-anew", "{settings:#}");
    new.repository.remove("settings.yaml")?;
    new.commit()?;
    ensure!(!cluster.exists(&path)?, "it is not the sync's own");
    Ok(())
}

/// A Namespace that one sync only has objects in belongs to the sync that declares it, whichever was first.
pub(crate) fn implicit_namespaces(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(IMPLIED, "settings", "value"))?;
    let implying = Sync::unstructured(cluster, "implying", repository)?;
    implying.await_synced(&implying.repository.head()?)?;
    let repository = Repository::empty()?;
    let labelled = namespace(IMPLIED).replace("metadata:\n", "metadata:\n  labels: {team: web}\n");
    repository.write("namespace.yaml", &labelled)?;
    let declaring = Sync::unstructured(cluster, "declaring", repository)?;
    declaring.await_synced(&declaring.repository.head()?)?;
    let live = cluster.get(&format!("/api/v1/namespaces/{IMPLIED}"))?;
    ensure!(live["metadata"]["labels"]["team"] == "web", "{live:#}");
    ensure!(live["metadata"]["annotations"]["configsync.gke.io/manager"] == ":root_declaring", "{live:#}");
    implying.repository.write("more.yaml", &config_map(IMPLIED, "more", "value"))?;
    implying.commit()?;
    ensure!(cluster.get(&format!("/api/v1/namespaces/{IMPLIED}"))?["metadata"]["labels"]["team"] == "web", "a fight");
    Ok(())
}
