//! Walkthrough 5: work is proportional to the change.

use anyhow::{Result, ensure};
use tests::cluster::Cluster;

use crate::world::{Sync, shared};

const NAME: &str = "small-commits";

pub(crate) fn one_file_is_one_apply() -> Result<()> {
    let world = shared()?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    let directory = format!("namespaces/{NAME}");

    let from = cluster.now()?;
    sync.repository.replace(&format!("{directory}/deployment.yaml"), "value: hello", "value: good morning")?;
    sync.commit()?;
    ensure!(writes(cluster, from)? == ["patch deployments go-hello"], "{:?}", writes(cluster, from)?);

    let from = cluster.now()?;
    sync.repository.write("README.md", "Nothing that is applied.\n")?;
    sync.commit()?;
    ensure!(writes(cluster, from)?.is_empty(), "{:?}", writes(cluster, from)?);

    let from = cluster.now()?;
    sync.repository.remove(&format!("{directory}/service-admin.yaml"))?;
    sync.commit()?;
    ensure!(writes(cluster, from)? == ["delete services go-hello-admin"], "{:?}", writes(cluster, from)?);
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{NAME}/services/go-hello-admin"))?, "it is still there");
    Ok(())
}

/// What the agent wrote in this story's Namespace.
fn writes(cluster: &Cluster, from: u64) -> Result<Vec<String>> {
    let writes = cluster.writes(from)?;
    let here = writes.iter().filter(|request| request.namespace == NAME);
    Ok(here.map(|request| format!("{} {} {}", request.verb, request.resource, request.name)).collect())
}
