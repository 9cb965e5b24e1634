//! Fields of a RootSync that the agent does not support: one that would change the result is refused, one that would not is
//! accepted.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, await_event, condition, config_map, config_map_path, namespace, shared};

const DELETION: &str = "configsync.gke.io/deletion-propagation-policy";

/// A Namespace and a ConfigMap in it.
fn repository(name: &str) -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "value"))?;
    Ok(repository)
}

pub(crate) fn incomplete_role_is_refused(kind: Kind) -> Result<()> {
    let (world, name) = (shared(kind)?, "with-roles");
    let cluster = &world.cluster;
    let from = cluster.now()?;
    let roles = json!({"roleRefs": [{"kind": "Role", "name": "view"}]});
    let sync = Sync::with_override(cluster, name, repository(name)?, &roles)?;
    await_stalled(&sync, "spec.override.roleRefs")?;
    await_event(cluster, name, "Warning", "KNV1061")?;
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{name}"))?, "the Namespace was applied");
    let writes = cluster.writes(from)?;
    ensure!(writes.iter().all(|write| write.name != name && write.namespace != name), "{writes:#?}");

    // An annotation alone is refused too.
    let unknown = json!({"metadata": {"annotations": {DELETION: "Sometimes"}}, "spec": {"override": Value::Null}});
    cluster.patch(&sync.path(), &unknown)?;
    await_stalled(&sync, "Sometimes")?;

    let orphan = json!({"metadata": {"annotations": {DELETION: "Orphan"}}});
    cluster.patch(&sync.path(), &orphan)?;
    sync.await_synced(&sync.repository.head()?)?;
    let object = sync.object()?;
    ensure!(condition(&object, "Stalled")?["status"] == "False", "{object:#}");
    Ok(())
}

pub(crate) fn harmless_overrides(kind: Kind) -> Result<()> {
    let (world, name) = (shared(kind)?, "harmless-overrides");
    let overrides = json!({
        "resources": [{"containerName": "reconciler", "cpuRequest": "100m", "memoryLimit": "1Gi"}],
        "logLevels": [{"containerName": "git-sync", "logLevel": 7}],
        "gitSyncDepth": 1,
        "enableShellInRendering": true,
        "reconcileTimeout": "1m",
        "apiServerTimeout": "30s",
    });
    let sync = Sync::with_override(&world.cluster, name, repository(name)?, &overrides)?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(world.cluster.get(&config_map_path(name, "settings"))?["data"]["key"] == "value", "not as declared");
    Ok(())
}

/// A RootSync elsewhere is told that it is not served, and nothing of it is applied.
pub(crate) fn elsewhere(kind: Kind) -> Result<()> {
    let (world, name) = (shared(kind)?, "elsewhere");
    let cluster = &world.cluster;
    let repository = repository(name)?;
    repository.commit()?;
    let path = "/apis/configsync.gke.io/v1beta1/namespaces/default/rootsyncs";
    let git = json!({"repo": repository.url(), "branch": "main", "auth": "none"});
    let sync = json!({
        "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync", "metadata": {"name": name},
        "spec": {"sourceFormat": "unstructured", "git": git},
    });
    cluster.create(path, &sync)?;
    let path = format!("{path}/{name}");
    await_condition("it is refused", || {
        let object = cluster.get(&path)?;
        let stalled = condition(&object, "Stalled")?;
        let message = stalled["message"].as_str().unwrap_or_default();
        ensure!(stalled["status"] == "True" && stalled["reason"] == "Validation", "{object:#}");
        ensure!(message.contains("KNV1061") && message.contains("config-management-system"), "{message}");
        Ok(())
    })?;
    cluster.delete(&path)?;
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{name}"))?, "it was applied");
    Ok(())
}

fn await_stalled(sync: &Sync<'_>, field: &str) -> Result<Value> {
    await_condition(&format!("the RootSync {} is refused for {field}", sync.name), || {
        let object = sync.object()?;
        let stalled = condition(&object, "Stalled")?;
        let message = stalled["message"].as_str().unwrap_or_default();
        ensure!(stalled["status"] == "True" && stalled["reason"] == "Validation", "{object:#}");
        ensure!(message.contains("KNV1061") && message.contains(field), "{message}");
        ensure!(object["status"]["observedGeneration"] == object["metadata"]["generation"], "{object:#}");
        Ok(object)
    })
}
