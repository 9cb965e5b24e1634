//! A commit that would delete everything is held until it is approved, also across a restart.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::Kind;
use tests::wait::await_condition;

use crate::world::{Sync, agent, installed, shared};

const NAME: &str = "guard";

pub(crate) fn waits_for_approval(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    let from = cluster.now()?;
    sync.repository.remove("system")?;
    sync.repository.remove("namespaces")?;
    sync.repository.commit()?;
    sync.await_error("1017")?;

    let held = empty(&sync)?;
    let message = held["status"]["sync"]["errors"][0]["errorMessage"].as_str().unwrap_or_default().to_owned()
        + held["status"]["source"]["errors"][0]["errorMessage"].as_str().unwrap_or_default();
    for word in
        ["deployment.apps/guard/", "service/guard/", "ingress.", "namespace/guard", "configsync.gke.io/approve-prune"]
    {
        ensure!(message.contains(word), "no {word:?} in {message}");
    }
    let writes = cluster.writes(from)?;
    let writes: Vec<_> = writes.iter().filter(|request| request.namespace == NAME || request.name == NAME).collect();
    ensure!(writes.is_empty(), "{writes:#?}");
    drift_is_corrected(&sync, NAME)?;

    let commit = sync.repository.head()?;
    cluster.annotate_approval(NAME, &commit)?;
    await_condition("the commit alone is refused", || {
        let status = sync.object()?["status"].to_string();
        ensure!(status.contains("is not for these deletions"), "{status}");
        Ok(())
    })?;
    sync.approve()?;
    sync.await_synced(&commit)?;
    await_condition("the Namespace is gone", || {
        ensure!(!cluster.exists(&format!("/api/v1/namespaces/{NAME}"))?, "it is still there");
        Ok(())
    })
}

/// Commits what declares nothing; returns the RootSync that holds it.
fn empty(sync: &Sync<'_>) -> Result<serde_json::Value> {
    let path = sync.repository.path().join("namespaces");
    if path.exists() {
        sync.repository.remove("namespaces")?;
    }
    sync.repository.write("system/repo.yaml", tests::repository::REPO)?;
    sync.repository.commit()?;
    sync.await_error("2006")
}

/// Deletes a held Service by hand; waits until it is back, and until the finding asks for an approval of the new one.
fn drift_is_corrected(sync: &Sync<'_>, namespace: &str) -> Result<()> {
    let asked = sync.cluster.approval(&sync.name)?;
    let service = format!("/api/v1/namespaces/{namespace}/services/go-hello");
    sync.cluster.delete(&service)?;
    await_condition("the Service is back", || sync.cluster.get(&service).map(|_| ()))?;
    await_condition("another approval is asked for", || {
        let asks = sync.cluster.approval(&sync.name)?;
        ensure!(asks != asked, "still {asks}");
        Ok(())
    })
}

pub(crate) fn is_remembered(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let first = agent(&cluster, &[])?;
    let sync = Sync::go_hello(&cluster, "root-sync")?;
    empty(&sync)?;
    first.terminate()?;

    // The errors that the first agent wrote are taken away, so that the second has to say them itself; the commit in force
    // stays, which is what it goes on from.
    let namespace = cluster.get("/api/v1/namespaces/root-sync")?;
    cluster.patch(
        &format!("{}/status", sync.path()),
        &json!({"status": {"source": null, "sync": {"errors": null, "errorSummary": null}}}),
    )?;
    let _second = agent(&cluster, &[])?;
    sync.await_error("2006")?;
    drift_is_corrected(&sync, "root-sync")?;
    let now = cluster.get("/api/v1/namespaces/root-sync")?;
    ensure!(now["metadata"]["uid"] == namespace["metadata"]["uid"], "the Namespace was deleted");
    ensure!(now["metadata"]["deletionTimestamp"].is_null(), "the Namespace is being deleted");

    let commit = sync.repository.head()?;
    sync.approve()?;
    sync.await_synced(&commit)?;
    Ok(())
}
