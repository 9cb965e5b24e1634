//! A spec that changes to a source that cannot be acted on: the state before stays in force, over a restart too.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace};

const NAME: &str = "changed";

pub(crate) fn keeps_the_state_before(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let first = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("one/namespace.yaml", &namespace(NAME))?;
    repository.write("one/settings.yaml", &config_map(NAME, "settings", "value"))?;
    repository.write("empty/README.md", "no manifests\n")?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    set_dir(&cluster, &sync, "one")?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;

    // The source cannot be read, and then it declares nothing.
    for (dir, code) in [("nowhere", "2004"), ("empty", "2006")] {
        set_dir(&cluster, &sync, dir)?;
        let object = sync.await_error(code)?;
        ensure!(object["status"]["sync"]["commit"] == commit, "{object:#}");
        ensure!(object["status"]["sync"]["gitStatus"]["dir"] == "one", "{object:#}");
        drift_is_put_back(&cluster)?;
    }
    first.terminate()?;
    let second = agent(&cluster, &[])?;
    drift_is_put_back(&cluster)?;
    sync.await_error("2006")?;
    second.terminate()?;

    set_dir(&cluster, &sync, "one")?;
    let _third = agent(&cluster, &[])?;
    sync.await_synced(&commit)?;
    Ok(())
}

fn set_dir(cluster: &Cluster, sync: &Sync<'_>, dir: &str) -> Result<()> {
    cluster.patch(&sync.path(), &json!({"spec": {"git": {"dir": dir}}})).map(|_| ())
}

fn drift_is_put_back(cluster: &Cluster) -> Result<()> {
    let path = config_map_path(NAME, "settings");
    cluster.delete(&path)?;
    await_condition("drift is put back", || cluster.get(&path).map(|_| ()))
}
