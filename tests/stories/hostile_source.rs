//! Sources that break: a git server that resets connections, and a commit that the agent dies at.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::git_server::GitServer;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{AGENT, Sync, agent, config_map, config_map_path, installed, namespace, remember, shared};

const RESET: &str = "reset";
const DEADLY: &str = "deadly";

/// The longest time until users are told: a period and a little more.
const TOLD: Duration = Duration::from_secs(20);

fn repository(name: &str) -> Result<Repository> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(name))?;
    repository.write("settings.yaml", &config_map(name, "settings", "one"))?;
    Ok(repository)
}

pub(crate) fn server_that_resets(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = repository(RESET)?;
    let server = GitServer::of(&repository)?;
    let sync = Sync::unstructured(cluster, RESET, repository)?;
    cluster.patch(&sync.path(), &json!({"spec": {"git": {"repo": server.url()}}}))?;
    await_condition("it follows the server", || {
        let object = sync.object()?;
        ensure!(object["status"]["source"]["gitStatus"]["repo"] == server.url(), "{object:#}");
        Ok(())
    })?;
    sync.await_synced(&sync.repository.head()?)?;

    server.reset_connections(true);
    let start = Instant::now();
    let object = sync.await_error("2004")?;
    let took = start.elapsed();
    ensure!(took < TOLD, "told after {took:?}");
    ensure!(object["status"].to_string().contains("no answer from"), "{object:#}");
    let path = config_map_path(RESET, "settings");
    cluster.patch(&path, &json!({"data": {"key": "other"}}))?;
    await_condition("drift is put back meanwhile", || {
        ensure!(cluster.get(&path)?["data"]["key"] == "one", "not yet");
        Ok(())
    })?;

    sync.repository.write("settings.yaml", &config_map(RESET, "settings", "two"))?;
    sync.repository.commit()?;
    server.reset_connections(false);
    sync.await_synced(&sync.repository.head()?)?;
    Ok(())
}

/// More than the agent has threads for reading.
const HANGING: usize = 40;

pub(crate) fn server_that_hangs(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let hanging: Vec<String> = (0..HANGING).map(|number| format!("hanging-{number}")).collect();
    for name in &hanging {
        let git = json!({"repo": format!("http://{}/{name}", silent.local_addr()?), "auth": "none"});
        let metadata = json!({"name": name, "namespace": "config-management-system"});
        let sync = json!({"apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync", "metadata": metadata, "spec": {"git": git}});
        cluster.create(root_sync_path("").trim_end_matches('/'), &sync)?;
    }
    let waiting: Vec<_> = silent.incoming().take(8).collect::<std::io::Result<_>>()?;
    let start = Instant::now();
    let sync = Sync::unstructured(&cluster, "not-hanging", repository("not-hanging")?)?;
    sync.await_synced(&sync.repository.head()?)?;
    let took = start.elapsed();
    ensure!(took < TOLD, "synced after {took:?} beside {HANGING} sources that hang");
    drop(waiting);
    Ok(())
}

/// The address space of the agent in KiB: more than it takes at rest, and less than the hostile commit needs.
const ADDRESS_SPACE: u64 = 420_000;

pub(crate) fn commit_that_kills(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let home = tempfile::tempdir()?;
    let start = || -> Result<Agent> {
        let agent = Agent::start_limited(Path::new(AGENT), &cluster.kubeconfig_of_agent(), home.path(), ADDRESS_SPACE)?;
        remember(agent.log());
        Ok(agent)
    };
    let agent = start()?;
    let sync = Sync::unstructured(&cluster, DEADLY, repository(DEADLY)?)?;
    sync.await_synced(&sync.repository.head()?)?;
    let good = sync.repository.head()?;

    // Below every limit, and too much for this agent.
    let (long, many) = ("x".repeat(1 << 20), "*a, ".repeat(150));
    let aliases = format!("apiVersion: v1\nkind: X\nmetadata: {{name: a}}\na: &a {long}\nb: [{many}]\n");
    sync.repository.write("deadly.yaml", &aliases)?;
    let deadly = sync.repository.commit()?;
    dies(agent)?;
    dies(start()?)?;
    let _agent = start()?;
    let object = sync.await_error("2004")?;
    let status = object["status"].to_string();
    ensure!(status.contains(&format!("the commit {deadly}")) && status.contains("died 2 times"), "{status}");
    keeps(&cluster, &good)?;

    sync.repository.remove("deadly.yaml")?;
    sync.repository.write("settings.yaml", &config_map(DEADLY, "settings", "two"))?;
    sync.commit()?;
    Ok(())
}

fn dies(mut agent: Agent) -> Result<()> {
    let ended = agent.ended()?;
    ensure!(!ended.success(), "it ended with {ended}");
    Ok(())
}

/// The good commit stays in force: its drift is put back.
fn keeps(cluster: &Cluster, good: &str) -> Result<()> {
    let path = config_map_path(DEADLY, "settings");
    cluster.patch(&path, &json!({"data": {"key": "other"}}))?;
    await_condition("drift is put back", || {
        ensure!(cluster.get(&path)?["data"]["key"] == "one", "not yet");
        Ok(())
    })?;
    let status = cluster.root_sync(DEADLY)?["status"].to_string();
    ensure!(status.contains(good), "{status} at {}", root_sync_path(DEADLY));
    Ok(())
}
