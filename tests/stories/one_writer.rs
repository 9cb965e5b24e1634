//! Of several agents one writes: the others stand by, and take over when it is gone or paused.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::agent_process::Agent;
use tests::cluster::{Cluster, Kind};
use tests::git_server::GitServer;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{
    Sync, agent, agent_through_forwarder, agent_with, config_map, config_map_path, installed, namespace, says,
};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/config-management-system/leases/nomos-agent";
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
    await_declared(cluster, OBJECT)
}

/// The agent that stands by has read what it may have to keep: it goes on where the git server is away too.
pub(crate) fn stands_by_warm(kind: Kind) -> Result<()> {
    const NAME: &str = "stands-by";
    let cluster = installed(kind)?;
    let from = cluster.now()?;
    let first = timely(&cluster, "first")?;
    says(&first, "this agent holds the Lease")?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    for index in 0..200 {
        repository.write(&format!("{index}.yaml"), &config_map(NAME, &format!("c{index}"), "declared"))?;
    }
    let server = GitServer::of(&repository)?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    cluster.patch(&sync.path(), &json!({"spec": {"git": {"repo": server.url(), "period": "1s"}}}))?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    let second = timely(&cluster, "second")?;
    let third = timely(&cluster, "third")?;
    for standby in [&second, &third] {
        says(standby, "read and compiled")?;
    }

    server.reset_connections(true);
    first.kill()?;
    let killed = Instant::now();
    cluster.patch(&config_map_path(NAME, "c199"), &json!({"data": {"key": "changed"}}))?;
    await_declared(&cluster, &config_map_path(NAME, "c199"))?;
    // The time until the Lease has run out is four seconds; the rest is for a slow machine.
    ensure!(killed.elapsed() < Duration::from_secs(15), "after SIGKILL it took {:?}", killed.elapsed());

    let mut holder = if cluster.get(LEASE)?["spec"]["holderIdentity"] == "second" { second } else { third };
    holder.signal("TERM")?;
    // Until then it puts back drift itself.
    holder.ended()?;
    let ended = Instant::now();
    cluster.patch(&config_map_path(NAME, "c198"), &json!({"data": {"key": "changed"}}))?;
    await_declared(&cluster, &config_map_path(NAME, "c198"))?;
    ensure!(ended.elapsed() < Duration::from_secs(10), "after SIGTERM it took {:?}", ended.elapsed());
    let terms = kept_to_terms(&cluster, from)?;
    ensure!(terms == 3, "there were {terms} terms");
    let object = sync.object()?;
    ensure!(object["status"]["lastSyncedCommit"] == commit.as_str(), "{object:#}");
    Ok(())
}

/// An end of a leader that has no time to give the Lease back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// SIGKILL.
    Killed,
    /// A machine that sleeps, and wakes while another agent writes.
    Paused,
    /// The network swallows what it sends.
    CutOff,
}

pub(crate) fn is_killed(kind: Kind) -> Result<()> {
    is_lost(kind, Loss::Killed)
}

pub(crate) fn is_paused(kind: Kind) -> Result<()> {
    is_lost(kind, Loss::Paused)
}

pub(crate) fn is_cut_off(kind: Kind) -> Result<()> {
    is_lost(kind, Loss::CutOff)
}

/// The leader is lost in the middle of a sync: it writes nothing more, and another one ends the sync.
fn is_lost(kind: Kind, loss: Loss) -> Result<()> {
    const NAME: &str = "lost-leader";
    const OBJECTS: usize = 1000;
    let cluster = installed(kind)?;
    let from = cluster.now()?;
    let flags = ["--identity", "first", "--lease-duration", "4s"];
    let (forwarder, mut first) = agent_through_forwarder(&cluster, &flags)?;
    says(&first, "this agent holds the Lease")?;
    let second = timely(&cluster, "second")?;
    says(&second, "this one stands by")?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    for index in 0..OBJECTS {
        repository.write(&format!("{index}.yaml"), &config_map(NAME, &format!("c{index}"), "declared"))?;
    }
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    let made = || -> Result<usize> {
        let list = cluster
            .get(&format!("/api/v1/namespaces/{NAME}/configmaps?labelSelector=applyset.kubernetes.io/part-of"))?;
        Ok(list["items"].as_array().map_or(0, Vec::len))
    };
    await_condition("the sync is on its way", || {
        let made = made()?;
        ensure!(made > OBJECTS / 20, "{made} objects");
        Ok(())
    })?;
    match loss {
        // It is reaped with the first agent.
        Loss::Killed => first.signal("KILL")?,
        Loss::Paused => first.signal("STOP")?,
        Loss::CutOff => forwarder.cut(),
    }
    let (lost, begun) = (Instant::now(), made()?);
    ensure!(begun < OBJECTS, "the sync had ended before the leader was lost");
    says(&second, "this agent holds the Lease")?;
    ensure!(lost.elapsed() < Duration::from_secs(15), "it took {:?}", lost.elapsed());
    if loss == Loss::Paused {
        first.signal("CONT")?;
    }
    let status = first.ended()?;
    let code = if loss == Loss::Killed { None } else { Some(2) };
    ensure!(status.code() == code, "{status}");
    sync.await_synced(&sync.repository.head()?)?;
    let made = made()?;
    ensure!(made == OBJECTS, "{made} objects");
    let terms = kept_to_terms(&cluster, from)?;
    ensure!(terms == 2, "there were {terms} terms");
    Ok(())
}

/// An agent whose Lease runs out after four seconds, and that says when it has read a commit.
fn timely(cluster: &Cluster, identity: &str) -> Result<Agent> {
    let flags = ["--identity", identity, "--lease-duration", "4s", "--allow-local-repositories"];
    agent_with(cluster, &flags, &[("RUST_LOG", "agent=debug")])
}

fn await_declared(cluster: &Cluster, path: &str) -> Result<()> {
    await_condition("the change is put back", || {
        let object = cluster.get(path)?;
        ensure!(object["data"]["key"] == "declared", "{object:#}");
        Ok(())
    })
}

/// The number of terms since `from`. Every write of an agent is in a term of its own: between its first write of the Lease and that of
/// the next agent. What an agent had given to the kernel before it was paused came while it was paused, in its term.
fn kept_to_terms(cluster: &Cluster, from: u64) -> Result<usize> {
    let (requests, _) = cluster.requests(from)?;
    let (mut holder, mut terms, mut of_others) = (String::new(), 0, Vec::new());
    for request in &requests {
        let Some((_, agent)) = request.user_agent.split_once("nomos-agent/").and_then(|(_, it)| it.split_once(" ("))
        else {
            continue;
        };
        if ["get", "list", "watch"].contains(&request.verb.as_str()) || request.code >= 400 {
            continue;
        }
        if request.resource == "leases" && agent != holder {
            agent.clone_into(&mut holder);
            terms += 1;
        }
        if agent != holder {
            of_others.push(request);
        }
    }
    ensure!(of_others.is_empty(), "{} writes in the term of another, such as {:#?}", of_others.len(), of_others[0]);
    Ok(terms)
}
