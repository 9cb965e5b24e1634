//! A commit that breaks a rule leads to an error with code, file and line. The commit before it stays in force.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::Kind;
use tests::wait::await_condition;

use crate::world::{Sync, condition, shared};

const NAME: &str = "broken-commit";

pub(crate) fn changes_nothing(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    let good = sync.repository.head()?;
    let service = format!("/api/v1/namespaces/{NAME}/services/go-hello");
    let before = cluster.get(&service)?;

    // The commit declares one Service twice and removes another.
    let twice = format!("namespaces/{NAME}/twice.yaml");
    sync.repository.write(&twice, "apiVersion: v1\nkind: Service\nmetadata:\n  name: go-hello\n")?;
    sync.repository.remove(&format!("namespaces/{NAME}/service-admin.yaml"))?;
    let bad = sync.repository.commit()?;
    let object = sync.await_error("1029")?;
    ensure!(object["status"]["lastSyncedCommit"] == good, "{object:#}");
    ensure!(object["status"]["source"]["commit"] == bad, "{object:#}");
    ensure!(condition(&object, "Syncing")?["errorSourceRefs"] == json!(["status.source.errors"]), "{object:#}");

    let (code, text) = cluster.nomos(&["status", "--name", NAME]);
    ensure!(code == 1, "nomos status ended with {code}:\n{text}");
    for word in ["ERROR", "KNV1029", &format!("{twice}:4")] {
        ensure!(text.contains(word), "no {word:?} in:\n{text}");
    }

    // Drift is still corrected, and that is all that happened to it.
    cluster.patch(&service, &json!({"metadata": {"labels": {"app": "other"}}}))?;
    await_condition("the label is back", || {
        let live = cluster.get(&service)?;
        ensure!(live["metadata"]["labels"]["app"] == "go-hello", "{live:#}");
        Ok(())
    })?;
    ensure!(cluster.get(&service)?["spec"] == before["spec"], "the spec changed");
    ensure!(cluster.exists(&format!("{service}-admin"))?, "a broken commit deleted something");

    sync.repository.remove(&twice)?;
    sync.commit()?;
    ensure!(!cluster.exists(&format!("{service}-admin"))?, "the fixed commit did not delete");
    Ok(())
}
