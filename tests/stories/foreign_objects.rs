//! Objects of other people: taken over when they are declared, let go when they are released, never pruned for what they
//! look like.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace, shared};

const ADOPTED: &str = "adopted";
const COPIED: &str = "copied";
const TAKEN: &str = "taken";
const UNWATCHED: &str = "unwatched";

pub(crate) fn adopted_and_released(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(ADOPTED)?;
    let data = json!({"key": "theirs", "more": "stays"});
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": data});
    cluster.create(&format!("/api/v1/namespaces/{ADOPTED}/configmaps"), &settings)?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(ADOPTED))?;
    repository.write("settings.yaml", &config_map(ADOPTED, "settings", "ours"))?;
    let sync = Sync::unstructured(cluster, ADOPTED, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let path = config_map_path(ADOPTED, "settings");
    ensure!(cluster.get(&path)?["data"] == json!({"key": "ours", "more": "stays"}), "{:#}", cluster.get(&path)?);

    let disabled = "metadata:\n  annotations:\n    configmanagement.gke.io/managed: disabled\n";
    sync.repository
        .write("settings.yaml", &config_map(ADOPTED, "settings", "ours").replace("metadata:\n", disabled))?;
    sync.commit()?;
    let released = cluster.get(&path)?;
    let metadata = released["metadata"].to_string();
    ensure!(!metadata.contains("configsync.gke.io/manager\"") && !metadata.contains("applyset"), "{released:#}");
    sync.repository.remove("settings.yaml")?;
    sync.commit()?;
    ensure!(cluster.exists(&path)?, "a released object stays");
    Ok(())
}

pub(crate) fn copied_metadata(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(COPIED))?;
    for name in ["original", "witness"] {
        repository.write(&format!("{name}.yaml"), &config_map(COPIED, name, "value"))?;
    }
    let sync = Sync::unstructured(cluster, COPIED, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let original = cluster.get(&config_map_path(COPIED, "original"))?;
    copy(cluster, &original, "copy", false)?;
    copy(cluster, &original, "forged", true)?;
    // The witness is in the same watch: once its drift is put back the agent has seen the copies too.
    let witness = config_map_path(COPIED, "witness");
    cluster.patch(&witness, &json!({"data": {"key": "other"}}))?;
    await_condition("drift is put back", || {
        ensure!(cluster.get(&witness)?["data"]["key"] == "value", "not yet");
        Ok(())
    })?;

    sync.repository.remove("original.yaml")?;
    sync.commit()?;
    ensure!(!cluster.exists(&config_map_path(COPIED, "original"))?, "the original was not pruned");
    ensure!(cluster.exists(&config_map_path(COPIED, "copy"))?, "a copy with our metadata was pruned");
    ensure!(cluster.exists(&config_map_path(COPIED, "forged"))?, "an object that we never applied was pruned");
    Ok(())
}

/// Duplicates an object under another name, as people do with `kubectl get -o yaml`; `forge` makes its resource-id its own.
fn copy(cluster: &Cluster, original: &Value, name: &str, forge: bool) -> Result<()> {
    let mut annotations = original["metadata"]["annotations"].clone();
    if forge {
        let id = annotations["configsync.gke.io/resource-id"].as_str().unwrap_or_default().to_owned();
        ensure!(id.contains("original"), "{id}");
        annotations["configsync.gke.io/resource-id"] = id.replace("original", name).into();
    }
    let metadata = json!({"name": name, "labels": original["metadata"]["labels"], "annotations": annotations});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": original["data"]});
    cluster.create(&format!("/api/v1/namespaces/{COPIED}/configmaps"), &object)?;
    Ok(())
}

/// An object of another sync is left alone. An object that only names another sync is nobody's: the sync does not have it.
pub(crate) fn of_another_sync(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    cluster.create_namespace(TAKEN)?;
    let annotations = json!({
        "configmanagement.gke.io/managed": "enabled",
        "configsync.gke.io/manager": ":root_another",
        "configsync.gke.io/resource-id": format!("_configmap_{TAKEN}_named"),
    });
    let metadata = json!({"name": "named", "annotations": annotations});
    let named = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": "theirs"}});
    // All syncs have one field manager.
    cluster.create(&format!("/api/v1/namespaces/{TAKEN}/configmaps?fieldManager=configsync.gke.io"), &named)?;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(TAKEN, "settings", "theirs"))?;
    let another = Sync::unstructured(cluster, "another", repository)?;
    another.await_synced(&another.repository.head()?)?;
    let path = config_map_path(TAKEN, "settings");
    let theirs = cluster.get(&path)?;

    let repository = Repository::empty()?;
    for name in ["settings", "named", "other"] {
        repository.write(&format!("{name}.yaml"), &config_map(TAKEN, name, "ours"))?;
    }
    let sync = Sync::unstructured(cluster, TAKEN, repository)?;
    let status = sync.await_error("1060")?;
    let message = status["status"]["sync"]["errors"][0]["errorMessage"].as_str().unwrap_or_default();
    ensure!(message.contains(":root_another") && message.contains("settings.yaml"), "{message}");
    await_condition("the ResourceGroup tells of it", || {
        let conditions = conditions(&sync, "settings")?;
        ensure!(conditions.contains("OwnershipOverlap") && conditions.contains(":root_another"), "{conditions}");
        Ok(())
    })?;
    await_condition("objects without an owner are applied", || {
        for name in ["named", "other"] {
            let object = cluster.get(&config_map_path(TAKEN, name))?;
            ensure!(object["data"]["key"] == "ours", "{object:#}");
        }
        Ok(())
    })?;
    ensure!(cluster.get(&path)? == theirs, "it was changed: {:#}", cluster.get(&path)?);

    drop(another);
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(cluster.get(&path)?["data"]["key"] == "ours", "{:#}", cluster.get(&path)?);
    await_condition("the ResourceGroup tells of it no more", || {
        let conditions = conditions(&sync, "settings")?;
        ensure!(!conditions.contains("OwnershipOverlap"), "{conditions}");
        Ok(())
    })?;

    // Nor the end of a Namespace that is not declared and was there before us.
    let theirs = cluster.get(&format!("/api/v1/namespaces/{TAKEN}"))?;
    ensure!(!theirs["metadata"].to_string().contains("configsync.gke.io"), "{theirs:#}");
    cluster.delete(&format!("/api/v1/namespaces/{TAKEN}"))?;
    await_condition("Namespace and object are back", || {
        ensure!(cluster.get(&path)?["metadata"]["deletionTimestamp"].is_null(), "not gone yet");
        let namespace = cluster.get(&format!("/api/v1/namespaces/{TAKEN}"))?;
        ensure!(namespace["metadata"]["uid"] != theirs["metadata"]["uid"], "not gone yet");
        Ok(())
    })
}

/// The conditions of an object in the ResourceGroup of a sync.
fn conditions(sync: &Sync<'_>, name: &str) -> Result<String> {
    let groups = "/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups";
    let group = sync.cluster.get(&format!("{groups}/{}", sync.name))?;
    let mut statuses = group["status"]["resourceStatuses"].as_array().into_iter().flatten();
    let status = statuses.find(|status| status["name"] == name);
    Ok(status.with_context(|| format!("not in {group:#}"))?["conditions"].to_string())
}

/// The sync that has an object does not run, and the object has lost the ApplySet label, so that no watch shows it: the apply itself
/// finds out whose it is, and writes nothing.
pub(crate) fn of_a_sync_that_does_not_run(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    cluster.create_namespace(UNWATCHED)?;
    let first = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("settings.yaml", &config_map(UNWATCHED, "settings", "theirs"))?;
    let another = Sync::unstructured(&cluster, "another", repository)?;
    another.await_synced(&another.repository.head()?)?;
    first.terminate()?;
    another.patch(&json!({"spec": {"sourceType": "helm"}}))?;
    let path = config_map_path(UNWATCHED, "settings");
    cluster.patch(&path, &json!({"metadata": {"labels": {"applyset.kubernetes.io/part-of": Value::Null}}}))?;
    let theirs = cluster.get(&path)?;

    let _agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    for name in ["settings", "other"] {
        repository.write(&format!("{name}.yaml"), &config_map(UNWATCHED, name, "ours"))?;
    }
    let sync = Sync::unstructured(&cluster, UNWATCHED, repository)?;
    let status = sync.await_error("1060")?;
    let message = status["status"]["sync"]["errors"][0]["errorMessage"].as_str().unwrap_or_default();
    ensure!(message.contains(":root_another") && message.contains("settings.yaml"), "{message}");
    await_condition("an object without an owner is applied", || {
        cluster.get(&config_map_path(UNWATCHED, "other")).map(|_| ())
    })?;
    ensure!(cluster.get(&path)? == theirs, "it was changed: {:#}", cluster.get(&path)?);

    // No watch shows this either.
    cluster.delete(&path)?;
    drop(another);
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(cluster.get(&path)?["data"]["key"] == "ours", "{:#}", cluster.get(&path)?);
    Ok(())
}

/// A RootSync of the older version, with objects that are annotated so that they stay, or stay as another client makes them.
pub(crate) fn annotated_by_users(kind: Kind) -> Result<()> {
    const NAME: &str = "annotated";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Arc::new(Repository::empty()?);
    let annotated = |name: &str, annotation: &str| {
        config_map(NAME, name, "value").replacen("\n  name:", &format!("\n  annotations: {{{annotation}}}\n  name:"), 1)
    };
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("ignored.yaml", &annotated("ignored", "client.lifecycle.config.k8s.io/mutation: ignore"))?;
    repository.write("kept.yaml", &annotated("kept", "cli-utils.sigs.k8s.io/on-remove: keep"))?;
    let commit = repository.commit()?;
    let git = json!({"repo": repository.url(), "branch": "main", "auth": "none"});
    let older = json!({"apiVersion": "configsync.gke.io/v1alpha1", "kind": "RootSync", "metadata": {"name": NAME},
        "spec": {"sourceFormat": "unstructured", "git": git}});
    let syncs = "/apis/configsync.gke.io/v1alpha1/namespaces/config-management-system/rootsyncs";
    cluster.create(syncs, &older)?;
    let sync = Sync { cluster, name: NAME.to_owned(), repository };
    sync.await_synced(&commit)?;
    let ignored = config_map_path(NAME, "ignored");
    cluster.patch(&ignored, &json!({"data": {"key": "of another client"}}))?;
    let older = config_map_path(NAME, "older");
    let of_others =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "older"}, "data": {"key": "theirs"}});
    cluster.create(&format!("/api/v1/namespaces/{NAME}/configmaps"), &of_others)?;
    sync.repository.write("older.yaml", &annotated("older", "client.lifecycle.config.k8s.io/mutation: ignore"))?;
    sync.commit()?;
    ensure!(cluster.get(&ignored)?["data"]["key"] == "of another client", "it was put back");
    let adopted = cluster.get(&older)?;
    let has_data = |object: &Value| object["data"] == json!({"key": "theirs"});
    ensure!(has_data(&adopted) && adopted["metadata"].to_string().contains("configsync.gke.io/"), "{adopted:#}");

    // The annotations leave the repository, two with their objects.
    sync.repository.write("ignored.yaml", &config_map(NAME, "ignored", "value"))?;
    sync.repository.remove("kept.yaml")?;
    sync.repository.remove("older.yaml")?;
    sync.commit()?;
    ensure!(!cluster.exists(&older)?, "it was not pruned");
    let object = cluster.get(&ignored)?;
    let left = &object["metadata"]["annotations"]["client.lifecycle.config.k8s.io/mutation"];
    ensure!(object["data"]["key"] == "value" && left.is_null(), "{object:#}");
    let kept = cluster.get(&config_map_path(NAME, "kept"))?;
    ensure!(!kept["metadata"].to_string().contains("configsync.gke.io/"), "{kept:#}");
    Ok(())
}
