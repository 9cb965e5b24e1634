//! Connections to the API server that die without a word.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent_through_forwarder, config_map, config_map_path, installed, namespace};

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
