//! An agent that is killed in its first sync continues when it is started again. Started once more, it writes nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use sandbox::faults::{Fault, Rule};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::health::read;
use crate::world::{Sync, agent, config_map, installed, namespace};

const OBJECTS: usize = 500;

pub(crate) fn goes_on(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    slow_down(&cluster);
    let killed = agent(&cluster, &[])?;
    let sync = Sync::unstructured(&cluster, "root-sync", many(OBJECTS)?)?;
    await_condition("the first sync has begun", || {
        let applied = applied(&cluster)?;
        ensure!(applied > OBJECTS / 10, "{applied} ConfigMaps");
        Ok(())
    })?;
    killed.kill()?;
    let left = applied(&cluster)?;
    ensure!(left < OBJECTS, "it had finished before it was killed");

    let second = agent(&cluster, &[])?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    ensure!(applied(&cluster)? == OBJECTS, "{} ConfigMaps", applied(&cluster)?);
    second.terminate()?;

    let before = sync.object()?;
    let from = cluster.now()?;
    let third = agent(&cluster, &[])?;
    let address = third.address()?;
    await_condition("the third agent knows that all is well", || {
        let metrics = read(&address, "/metrics")?;
        ensure!(metrics.contains("config_sync_last_sync_timestamp{"), "{metrics}");
        Ok(())
    })?;
    let (mut requests, _) = cluster.requests(from)?;
    requests.retain(|request| request.user_agent.starts_with("nomos-agent/"));
    requests.retain(|request| !["get", "list", "watch"].contains(&request.verb.as_str()));
    // The Lease is written at rest too.
    requests.retain(|request| request.resource != "leases");
    ensure!(requests.is_empty(), "it wrote: {requests:#?}; before: {before:#}; after: {:#}", sync.object()?);
    Ok(())
}

/// Makes writes of ConfigMaps slow, as on a busy cluster: the sandbox would finish before the story can kill the agent.
pub(crate) fn slow_down(cluster: &Cluster) {
    if let Ok(sandbox) = cluster.sandbox() {
        let delay = Fault::Delay(Duration::from_millis(100));
        sandbox.faults().add(Rule::new(delay).verb("patch").path("/configmaps/"));
    }
}

/// A repository of `count` ConfigMaps in the Namespace `many`.
pub(crate) fn many(count: usize) -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace("many"))?;
    for number in 0..count {
        repository.write(&format!("{number}.yaml"), &config_map("many", &format!("cm-{number}"), "value"))?;
    }
    Ok(repository)
}

/// The number of ConfigMaps that exist.
pub(crate) fn applied(cluster: &Cluster) -> Result<usize> {
    let list = cluster.get("/api/v1/namespaces/many/configmaps")?;
    Ok(list["items"].as_array().map_or(0, Vec::len))
}
