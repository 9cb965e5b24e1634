//! The agent reports about a sync in the status of the RootSync, the inventory and Kubernetes Events.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::wait::await_condition;

use crate::world::{Sync, await_event, condition, shared};

const NAME: &str = "status";

pub(crate) fn is_written(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    let commit = sync.repository.head()?;
    let object = sync.object()?;
    stages(&object, &sync, &commit)?;
    conditions(&object, &commit)?;
    inventory(cluster, &commit)?;
    apply_set(cluster, &sync)?;
    await_event(cluster, NAME, "Normal", "Synced")
}

/// The sync carries the id that its objects' labels name, so that tools find them.
fn apply_set(cluster: &Cluster, sync: &Sync<'_>) -> Result<()> {
    let namespace = cluster.get(&format!("/api/v1/namespaces/{NAME}"))?;
    let part_of = &namespace["metadata"]["labels"]["applyset.kubernetes.io/part-of"];
    await_condition("the sync names its ApplySet", || {
        let metadata = sync.object()?["metadata"].clone();
        ensure!(part_of.is_string() && metadata["labels"]["applyset.kubernetes.io/id"] == *part_of, "{metadata:#}");
        ensure!(metadata["annotations"]["applyset.kubernetes.io/tooling"] == "configsync.gke.io/v1", "{metadata:#}");
        Ok(())
    })
}

fn stages(object: &Value, sync: &Sync<'_>, commit: &str) -> Result<()> {
    let status = &object["status"];
    let git = json!({"repo": sync.repository.url(), "branch": "main", "revision": "HEAD", "dir": "."});
    ensure!(status["observedGeneration"] == object["metadata"]["generation"], "{status:#}");
    ensure!(status["lastSyncedCommit"] == commit, "{status:#}");
    for name in ["source", "rendering", "sync"] {
        let stage = &status[name];
        ensure!(stage["commit"] == commit && stage["gitStatus"] == git, "{name}: {stage:#}");
        ensure!(stage["lastUpdate"].is_string(), "{name}: {stage:#}");
        ensure!(stage["errorSummary"]["totalCount"].as_u64().unwrap_or(0) == 0, "{name}: {stage:#}");
    }
    ensure!(status["rendering"]["message"] == "Rendering skipped", "{status:#}");
    Ok(())
}

fn conditions(object: &Value, commit: &str) -> Result<()> {
    for kind in ["Reconciling", "Stalled"] {
        ensure!(condition(object, kind)?["status"] == "False", "{object:#}");
    }
    let syncing = condition(object, "Syncing")?;
    ensure!(syncing["reason"] == "Sync" && syncing["message"] == "Sync Completed", "{syncing:#}");
    ensure!(syncing["commit"] == commit, "{syncing:#}");
    Ok(())
}

/// The ResourceGroup lists what is declared; nothing runs the Deployment, so it does not become current.
fn inventory(cluster: &Cluster, commit: &str) -> Result<()> {
    let path = format!("/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups/{NAME}");
    let group = await_condition("the inventory has a status", || {
        let group = cluster.get(&path)?;
        let statuses = group["status"]["resourceStatuses"].as_array().map_or(0, Vec::len);
        ensure!(statuses == 5, "{group:#}");
        Ok(group)
    })?;
    let resources = group["spec"]["resources"].as_array().into_iter().flatten();
    let found: BTreeSet<String> = resources.map(|id| format!("{}/{}", text(&id["kind"]), text(&id["name"]))).collect();
    let expected = ["Deployment/go-hello", "Ingress/go-hello", "Namespace/status", "Service/go-hello"];
    let expected = expected.into_iter().chain(["Service/go-hello-admin"]).map(ToOwned::to_owned).collect();
    ensure!(found == expected, "{found:?}");
    for resource in group["status"]["resourceStatuses"].as_array().into_iter().flatten() {
        let in_progress = resource["kind"] == "Deployment";
        let expected = if in_progress { "InProgress" } else { "Current" };
        ensure!(resource["status"] == expected || resource["kind"] == "Ingress", "{resource:#}");
        ensure!(commit.starts_with(text(&resource["sourceHash"])), "{resource:#}");
    }
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
