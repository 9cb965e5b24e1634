//! A git server tells of a push, and the syncs of its repository poll at once.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, installed, namespace};

const NAME: &str = "webhook";
const PODS: &str = "/api/v1/namespaces/config-management-system/pods";

pub(crate) fn starts_a_poll(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let home = tempfile::tempdir()?;
    let secret = home.path().join("secret");
    let path = secret.display().to_string();
    // The agent that holds the Lease is a Pod as far as the other one can see.
    let identity = format!("first_{}", pod(&cluster)?);
    let flags = ["--identity", &identity, "--webhook-secret", &path, "--webhook-listen"];
    let leader = agent(&cluster, &[flags.as_slice(), &["127.0.0.1:0"]].concat())?;
    let address = receiver(&leader)?;

    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    let server = GitServer::of(&repository)?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    cluster.patch(&sync.path(), &json!({"spec": {"git": {"repo": server.url(), "period": "1h"}}}))?;
    sync.await_synced(&sync.repository.head()?)?;

    let url = server.url().replace("http://127.0.0.1", "ssh://git@127.0.0.1") + ".git";
    let push = json!({"project": {"git_ssh_url": url}});
    ensure!(post(address, "sesame", &push)? == 404, "it is on without a secret");
    fs::write(&secret, "sesame\n")?;
    ensure!(post(address, "open", &push)? == 401, "any token will do");
    ensure!(post(address, "sesame", &json!("x".repeat(5 << 20)))? == 413, "a large body is read");
    sync.repository.write("one.yaml", &config_map(NAME, "one", "value"))?;
    let commit = sync.repository.commit()?;
    ensure!(post(address, "sesame", &json!({"project": {"web_url": "http://git.example/other"}}))? == 202);
    ensure!(sync.object()?["status"]["lastSyncedCommit"] != commit.as_str(), "another repository's push");
    ensure!(post(address, "sesame", &push)? == 202);
    sync.await_synced(&commit)?;

    // A Service may give a webhook to the agent that stands by.
    let beside = SocketAddr::new("127.0.0.2".parse()?, address.port()).to_string();
    let flags = ["--identity", "second", "--webhook-secret", &path, "--webhook-listen", &beside];
    let other = agent(&cluster, &flags)?;
    let other = receiver(&other)?;
    sync.repository.write("two.yaml", &config_map(NAME, "two", "value"))?;
    let commit = sync.repository.commit()?;
    ensure!(post(other, "open", &push)? == 401, "any token will do");
    ensure!(post(other, "sesame", &push)? == 202, "it is not passed on");
    sync.await_synced(&commit)?;
    let said = leader.log().lines(0).join("\n");
    ensure!(!said.contains("sesame"), "the log holds the secret:\n{said}");
    Ok(())
}

/// The uid of a Pod that has the address of this machine.
fn pod(cluster: &Cluster) -> Result<String> {
    let pod = json!({"metadata": {"name": "first"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    let made = cluster.create(PODS, &pod)?;
    let status = json!({"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}});
    cluster.patch(&format!("{PODS}/first/status"), &status)?;
    Ok(made["metadata"]["uid"].as_str().context("a uid")?.to_owned())
}

/// Where the agent takes webhooks.
fn receiver(agent: &Agent) -> Result<SocketAddr> {
    await_condition("the agent says where it takes webhooks", || {
        let lines = agent.log().lines(0);
        let values = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut found = values.filter_map(|line| line["webhooks"].as_str()?.parse().ok());
        found.next().with_context(|| lines.join("\n"))
    })
}

/// The status of the answer to a webhook as GitLab sends it.
fn post(address: SocketAddr, token: &str, payload: &Value) -> Result<u16> {
    let body = payload.to_string();
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "POST /webhook HTTP/1.1\r\nHost: agent\r\nX-Gitlab-Token: {token}\r\nConnection: close\r\n")?;
    write!(stream, "Content-Length: {}\r\n\r\n", body.len())?;
    // A body that is too large is not read to its end.
    let _ = stream.write_all(body.as_bytes());
    let mut line = [0; 12];
    stream.read_exact(&mut line)?;
    let line = String::from_utf8_lossy(&line);
    line.rsplit(' ').next().and_then(|status| status.parse().ok()).with_context(|| line.into_owned())
}
