//! Connections to the API server that die without a word.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tests::agent_process::Agent;
use tests::cluster::Kind;
use tests::forwarder::Forwarder;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{AGENT, Sync, config_map, config_map_path, installed, namespace, remember};

const NAME: &str = "dead-connections";

/// A firewall swallows what the agent sends, and closes nothing: the renewal of the Lease shows it, and drift is put back.
pub(crate) fn are_noticed(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let kubeconfig = fs::read_to_string(cluster.kubeconfig())?;
    let (_, address) = kubeconfig.split_once("://").context("the API server has an address")?;
    let address = address.split(|c: char| c.is_whitespace() || c == '"' || c == '/').next().unwrap_or_default();
    let forwarder = Forwarder::to(address)?;
    let home = tempfile::tempdir()?;
    let through = home.path().join("kubeconfig");
    fs::write(&through, kubeconfig.replace(address, &forwarder.address().to_string()))?;
    let agent = Agent::start(Path::new(AGENT), &through, &["--lease-duration", "4s"])?;
    remember(agent.log());

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
