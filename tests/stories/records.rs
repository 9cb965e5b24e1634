//! The ResourceGroup of a sync: with statuses or without, wiped by another client, and its name taken by another tool.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, config_map, config_map_path, namespace, shared};

const GROUPS: &str = "/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups";

fn path(name: &str) -> String {
    format!("{GROUPS}/{name}")
}

/// A repository of a Namespace and a ConfigMap.
fn repository(name: &str) -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "value"))?;
    Ok(repository)
}

fn statuses(cluster: &Cluster, name: &str, mode: &str, number: usize) -> Result<()> {
    await_condition(&format!("{name} is {mode} and has {number} statuses"), || {
        let group = cluster.get(&path(name))?;
        let found = group["status"]["resourceStatuses"].as_array().map_or(0, Vec::len);
        ensure!(group["metadata"]["annotations"]["configsync.gke.io/status"] == mode && found == number, "{group:#}");
        Ok(())
    })
}

pub(crate) fn without_statuses(kind: Kind) -> Result<()> {
    let (world, name) = (shared(kind)?, "without-statuses");
    let sync = Sync::unstructured(&world.cluster, name, repository(name)?)?;
    sync.await_synced(&sync.repository.head()?)?;
    statuses(&world.cluster, name, "enabled", 2)?;
    sync.patch(&json!({"spec": {"override": {"statusMode": "disabled"}}}))?;
    statuses(&world.cluster, name, "disabled", 0)?;
    sync.repository.write("more.yaml", &config_map(name, "more", "value"))?;
    sync.commit()?;
    statuses(&world.cluster, name, "disabled", 0)?;
    ensure!(world.cluster.get(&path(name))?["status"]["conditions"].is_null(), "a status was written");
    sync.patch(&json!({"spec": {"override": Value::Null}}))?;
    statuses(&world.cluster, name, "enabled", 3)
}

pub(crate) fn wiped(kind: Kind) -> Result<()> {
    let (world, name) = (shared(kind)?, "wiped");
    let cluster = &world.cluster;
    let sync = Sync::unstructured(cluster, name, repository(name)?)?;
    sync.await_synced(&sync.repository.head()?)?;
    statuses(cluster, name, "enabled", 2)?;
    cluster.patch(&format!("{}/status", path(name)), &json!({"status": {"resourceStatuses": null}}))?;
    statuses(cluster, name, "enabled", 2)?;
    cluster.patch(&path(name), &json!({"spec": {"resources": null}}))?;
    await_condition("the record names the objects", || {
        let group = cluster.get(&path(name))?;
        ensure!(group["spec"]["resources"].as_array().map_or(0, Vec::len) == 2, "{group:#}");
        Ok(())
    })?;
    cluster.delete(&path(name))?;
    await_condition("the record is there", || cluster.get(&path(name)).map(|_| ()))?;
    statuses(cluster, name, "enabled", 2)
}

pub(crate) fn of_another_tool(kind: Kind) -> Result<()> {
    let (world, name) = (shared(kind)?, "of-another-tool");
    let cluster = &world.cluster;
    let row =
        |number| json!({"group": "", "kind": "ConfigMap", "namespace": "default", "name": format!("of-kpt-{number}")});
    // The one is about as large as etcd takes; the sandbox would be busy with it for seconds.
    let number = if kind == Kind::ControlPlane { 18_000 } else { 100 };
    let rows: Vec<Value> = (0..number).map(row).collect();
    let group = json!({
        "apiVersion": "kpt.dev/v1alpha1", "kind": "ResourceGroup",
        "metadata": {"name": name, "labels": {"cli-utils.sigs.k8s.io/inventory-id": "1234-kpt"}},
        "spec": {"resources": rows},
    });
    cluster.create(GROUPS, &group)?;
    let before = cluster.get(&path(name))?;
    let sync = Sync::unstructured(cluster, name, repository(name)?)?;
    let status = sync.await_error("2002")?["status"].to_string();
    ensure!(status.contains("1234-kpt") && status.contains(name), "{status}");
    ensure!(cluster.get(&path(name))? == before, "it was changed");
    ensure!(!cluster.exists(&config_map_path(name, "settings"))?, "an object was made that nothing records");
    cluster.delete(&path(name))?;
    sync.await_synced(&sync.repository.head()?)?;
    Ok(())
}
