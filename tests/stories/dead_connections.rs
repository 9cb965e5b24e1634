//! Connections to the API server that die without a word, and an API server that is not there.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::agent_process::Agent;
use tests::cluster::Kind;
use tests::forwarder::Forwarder;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{
    AGENT, Sync, agent_through_forwarder, config_map, config_map_path, installed, namespace, remember, says,
};

const NAME: &str = "dead-connections";

/// A firewall swallows what the agent sends, and closes nothing: the renewal of the Lease shows it, and drift is put back.
pub(crate) fn are_noticed(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let (forwarder, _agent) = agent_through_forwarder(&cluster, &["--lease-duration", "4s"])?;

    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("a.yaml", &config_map(NAME, "a", "value"))?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    forwarder.let_connections_die();
    cluster.patch(&config_map_path(NAME, "a"), &json!({"data": {"key": "other"}}))?;
    await_condition("the drift is put back", || {
        ensure!(cluster.get(&config_map_path(NAME, "a"))?["data"]["key"] == "value", "still other");
        Ok(())
    })
}

/// The agent starts before its API server does, as in a cluster that comes up.
pub(crate) fn absent_server(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let (forwarder, kubeconfig) = Forwarder::before(cluster.kubeconfig())?;
    forwarder.close_connections(true);
    let agent = Agent::start(Path::new(AGENT), kubeconfig.path(), &[])?;
    remember(agent.log());
    says(&agent, "the API server cannot be asked; trying again")?;
    forwarder.close_connections(false);
    says(&agent, "this agent holds the Lease")
}
