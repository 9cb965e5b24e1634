//! Objects that are declared in a version that the API server does not prefer, kinds that gain a version, and kinds whose objects
//! are stored in another version from now on.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::custom_resources;
use crate::world::{Sync, agent, installed, namespace, shared};

const OLD: &str = "older-version";
const NEW: &str = "newer-version";

/// Status writes, foreign labels, audits, another version for storage and a restart.
pub(crate) fn older_ones_are_no_drift(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let first = agent(&cluster, &["--audit-period", "1s"])?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(OLD))?;
    // Versions of the sandbox differ only by name.
    let converts = kind == Kind::ControlPlane;
    if converts {
        repository.write("autoscaler.yaml", &autoscaler())?;
    }
    repository.write("crd.yaml", &crd("older.example.com", &["v1", "v2"], "v1"))?;
    repository.write("widget.yaml", &widget("older.example.com", "v1", OLD))?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let from = cluster.now()?;
    let mut paths = vec![
        format!("/apis/autoscaling/v2/namespaces/{OLD}/horizontalpodautoscalers/web"),
        format!("/apis/older.example.com/v2/namespaces/{OLD}/widgets/wheel"),
    ];
    if !converts {
        paths.remove(0);
    }
    let touch = |cluster: &Cluster, time: u32| -> Result<()> {
        for path in &paths {
            let status = json!({"currentReplicas": time, "desiredReplicas": time});
            cluster.patch(&format!("{path}/status"), &json!({"status": status}))?;
            cluster.patch(path, &json!({"metadata": {"labels": {"time": time.to_string()}}}))?;
        }
        Ok(())
    };
    (0..4).try_for_each(|time| touch(&cluster, time))?;
    let audited = |from| audited(&cluster, from, &paths);
    audited(from)?;
    first.terminate()?;
    sync.repository.write("crd.yaml", &crd("older.example.com", &["v1", "v2"], "v2"))?;
    sync.repository.commit()?;
    let restarted = cluster.now()?;
    let second = agent(&cluster, &["--audit-period", "1s"])?;
    sync.await_synced(&sync.repository.head()?)?;
    audited(restarted)?;
    (4..8).try_for_each(|time| touch(&cluster, time))?;
    audited(cluster.now()?)?;
    let writes = cluster.writes(from)?;
    let writes = writes.iter().filter(|write| write.namespace == OLD);
    // The commit has changed the CRD: its object is applied again once, which changes nothing.
    let (again, others): (Vec<_>, Vec<_>) = writes.partition(|write| write.resource == "widgets");
    ensure!(again.len() <= 1 && others.is_empty(), "{again:#?} {others:#?}");

    // What is drift is put back all the same, and told.
    let field = |path: &str| if path.contains("autoscaling") { "maxReplicas" } else { "size" };
    for path in &paths {
        cluster.patch(path, &json!({"spec": {field(path): 9}}))?;
    }
    await_condition("drift is put back", || {
        for path in &paths {
            ensure!(cluster.get(path)?["spec"][field(path)] == 3, "{path} is not");
        }
        let log = second.log().lines(0).join("\n");
        ensure!(log.matches("drift corrected").count() == paths.len(), "{log}");
        Ok(())
    })
}

/// Waits until the kinds of these objects were compared twice since `from`.
fn audited(cluster: &Cluster, from: u64, paths: &[String]) -> Result<()> {
    await_condition("two audits", || {
        let (requests, _) = cluster.requests(from)?;
        for resource in paths.iter().filter_map(|path| path.split('/').rev().nth(1)) {
            let audits = requests.iter().filter(|r| r.resource == resource && r.uri.contains("labelSelector"));
            let audits = audits.filter(|r| r.verb == "list" && r.user_agent.starts_with("nomos-agent/"));
            ensure!(audits.count() >= 3, "not yet {resource}");
        }
        Ok(())
    })
}

/// The kind gains a version in one commit, and its objects move to it in the same or the next one.
pub(crate) fn new_ones_are_applied_at_once(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let group = "newer.example.com";
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NEW))?;
    repository.write("crd.yaml", &crd(group, &["v1"], "v1"))?;
    repository.write("widget.yaml", &widget(group, "v1", NEW))?;
    let sync = Sync::unstructured(cluster, NEW, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    sync.repository.write("crd.yaml", &crd(group, &["v1", "v2"], "v1"))?;
    sync.repository.write("widget.yaml", &widget(group, "v2", NEW))?;
    sync.commit()?;
    applied_in(cluster, group, "v2")?;

    sync.repository.write("crd.yaml", &crd(group, &["v1", "v2", "v3"], "v2"))?;
    sync.commit()?;
    sync.repository.write("widget.yaml", &widget(group, "v3", NEW))?;
    sync.commit()?;
    applied_in(cluster, group, "v3")
}

fn applied_in(cluster: &Cluster, group: &str, version: &str) -> Result<()> {
    let widget = cluster.get(&format!("/apis/{group}/v1/namespaces/{NEW}/widgets/wheel"))?;
    let entries = widget["metadata"]["managedFields"].as_array().into_iter().flatten();
    let ours: Vec<&Value> = entries.filter(|entry| entry["manager"] == "configsync.gke.io").collect();
    let entry = ours.first().context("no entry of ours")?;
    ensure!(entry["apiVersion"] == format!("{group}/{version}"), "{widget:#}");
    Ok(())
}

fn autoscaler() -> String {
    format!(
        "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web, namespace: {OLD}}}\nspec:\n  \
         maxReplicas: 3\n  minReplicas: 1\n  targetCPUUtilizationPercentage: 60\n  \
         scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}\n"
    )
}

/// A kind Widget in these versions, of which objects are stored in `storage`.
fn crd(group: &str, versions: &[&str], storage: &str) -> String {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    let version = |name: &&str| {
        json!({
            "name": name, "served": true, "storage": *name == storage,
            "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
        })
    };
    let mut crd: Value = serde_json::from_str(&custom_resources::crd(group)).expect("it is JSON");
    crd["spec"]["versions"] = versions.iter().map(version).collect();
    format!("{crd:#}\n")
}

fn widget(group: &str, version: &str, namespace: &str) -> String {
    format!(
        "apiVersion: {group}/{version}\nkind: Widget\nmetadata: {{name: wheel, namespace: {namespace}}}\nspec: {{size: 3, \
         note: {{deep: {{a: b}}}}}}\n"
    )
}
