//! `--once`, by flags, on a cluster that has none of our kinds: the exit code says how it went.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind, approval};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{AGENT, agent};

/// A kubeconfig of a server that is not there.
const NOBODY: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: away, cluster: {server: \"https://127.0.0.1:1\"}}]
users: [{name: away, user: {}}]
contexts: [{name: away, context: {cluster: away, user: away}}]
current-context: away
";

pub(crate) fn exit_codes(kind: Kind) -> Result<()> {
    let cluster = Cluster::start(kind)?;
    let repository = Repository::go_hello("once")?;
    repository.commit()?;
    ends_with(&cluster, &repository, &[], 0)?;
    cluster.get("/api/v1/namespaces/once/services/go-hello")?;

    repository.write("namespaces/once/twice.yaml", "apiVersion: v1\nkind: Service\nmetadata:\n  name: go-hello\n")?;
    repository.commit()?;
    ends_with(&cluster, &repository, &[], 1)?;

    repository.remove("namespaces")?;
    repository.commit()?;
    let said = ends_with(&cluster, &repository, &[], 1)?;
    let approval = approval(&said).with_context(|| format!("nothing is held: {said}"))?;
    cluster.get("/api/v1/namespaces/once/services/go-hello")?;
    ends_with(&cluster, &repository, &["--approve-prune", approval], 0)?;
    ensure!(!cluster.exists("/api/v1/namespaces/once/services/go-hello")?, "the approved prune did not happen");

    let kubeconfig = tempfile::NamedTempFile::new()?;
    fs::write(&kubeconfig, NOBODY)?;
    // An agent that serves a cluster waits for it.
    let mut alone = Agent::start(Path::new(AGENT), kubeconfig.path(), &["--repo", "https://127.0.0.1:1/none"])?;
    let status = alone.ended()?;
    ensure!(status.code() == Some(2), "without an API server: {status}");
    await_condition("it says where it looked", || {
        let said = alone.log().lines(0).join("\n");
        ensure!(said.contains("https://127.0.0.1:1/"), "{said}");
        Ok(())
    })?;

    let mut nowhere = Agent::start(Path::new(AGENT), Path::new("/nonexistent"), &[])?;
    let status = nowhere.ended()?;
    ensure!(status.code() == Some(2), "without a kubeconfig: {status}");
    Ok(())
}

/// Returns what the agent said.
fn ends_with(cluster: &Cluster, repository: &Repository, args: &[&str], code: i32) -> Result<String> {
    let url = repository.url();
    let flags = ["--repo", &url, "--branch", "main", "--once"];
    let mut agent = agent(cluster, &[&flags, args].concat())?;
    let status = agent.ended()?;
    ensure!(status.code() == Some(code), "expected exit code {code}: {status}");
    Ok(agent.log().lines(0).join("\n"))
}
