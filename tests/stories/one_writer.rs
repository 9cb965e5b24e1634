//! Of several agents one writes: the others stand by, and take over when it is gone or paused.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, installed, namespace};

const OBJECT: &str = "/api/v1/namespaces/one-writer/configmaps/settings";

pub(crate) fn takes_over(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let mut first = candidate(&cluster, "first")?;
    says(&first, "this agent holds the Lease")?;
    let repository = Repository::empty()?;
    repository.write(
        "all.yaml",
        &format!("{}---\n{}", namespace("one-writer"), config_map("one-writer", "settings", "declared")),
    )?;
    let sync = Sync::unstructured(&cluster, "root-sync", repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let second = candidate(&cluster, "second")?;
    says(&second, "this one stands by")?;
    refuses_by_flags(&cluster, &sync.repository)?;

    // Paused, as a machine that sleeps: another agent takes over, and the first knows nothing of it when it wakes.
    first.signal("STOP")?;
    says(&second, "this agent holds the Lease")?;
    is_put_back(&cluster)?;
    let from = cluster.now()?;
    first.signal("CONT")?;
    let status = first.ended()?;
    ensure!(status.code() == Some(2), "{status}");
    ensure!(first.log().lines(0).join("\n").contains("does not hold the Lease of the cluster any more"));
    let writes = cluster.writes(from)?;
    ensure!(writes.is_empty(), "an agent without the Lease wrote: {writes:#?}");

    // Stopped, it gives the Lease back.
    let third = candidate(&cluster, "third")?;
    says(&third, "this one stands by")?;
    second.terminate()?;
    says(&third, "this agent holds the Lease")?;
    is_put_back(&cluster)
}

fn candidate(cluster: &Cluster, identity: &str) -> Result<Agent> {
    agent(cluster, &["--identity", identity, "--lease-duration", "2s"])
}

fn says(agent: &Agent, text: &str) -> Result<()> {
    await_condition(&format!("the agent says: {text}"), || {
        let said = agent.log().lines(0).join("\n");
        ensure!(said.contains(text), "{said}");
        Ok(())
    })
}

/// An agent of a user does not wait for the agent that serves the cluster, and names it.
fn refuses_by_flags(cluster: &Cluster, repository: &Repository) -> Result<()> {
    let repo = repository.path().display().to_string();
    let mut agent = agent(cluster, &["--identity", "laptop", "--repo", &repo, "--branch", "main"])?;
    let status = agent.ended()?;
    ensure!(status.code() == Some(2), "{status}");
    says(&agent, "another agent serves this cluster: first holds the Lease")
}

/// A change by another client does not last.
fn is_put_back(cluster: &Cluster) -> Result<()> {
    cluster.patch(OBJECT, &json!({ "data": { "key": "changed" } }))?;
    await_condition("the change is put back", || {
        let object = cluster.get(OBJECT)?;
        ensure!(object["data"]["key"] == "declared", "{object:#}");
        Ok(())
    })
}
