//! Figures of a takeover: the agent that leads is lost in the middle of a sync, and another one goes on.

use std::time::Instant;

use anyhow::{Result, ensure};
use tests::cluster::{Cluster, Kind};
use tests::forwarder::Forwarder;
use tests::wait::await_condition;

use crate::many::{repository, until_synced};
use crate::row;
use crate::world::{Agent, NAMESPACE, PART_OF, create_sync, directory};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/config-management-system/leases/nomos-agent";

/// Prints the time from each sort of loss until the other agent holds the Lease, and until it writes the first object.
pub(super) fn all(objects: usize) -> Result<()> {
    row(&format!("== two agents with --lease-duration 4s, in a sync of {objects} ConfigMaps"), "");
    for (loss, signal) in [("SIGKILL", "KILL"), ("a pause", "STOP"), ("a cut network", ""), ("SIGTERM", "TERM")] {
        figures(objects, loss, signal)?;
    }
    Ok(())
}

fn figures(objects: usize, loss: &str, signal: &str) -> Result<()> {
    let repository = repository(1, objects)?;
    let commit = repository.commit()?;
    let cluster = Cluster::start(Kind::ControlPlane)?;
    cluster.install()?;
    cluster.create_namespace(NAMESPACE)?;
    let (forwarder, kubeconfig) = Forwarder::before(cluster.kubeconfig())?;
    let first = start(kubeconfig.path(), "first")?;
    until("the first agent leads", || Ok(cluster.exists(LEASE)? && holder(&cluster)? == "first"))?;
    let from = cluster.now()?;
    let _second = start(cluster.kubeconfig(), "second")?;
    until("the second agent stands by", || asked(&cluster, from, "watch", "rootsyncs"))?;
    create_sync(&cluster, &repository.url(), &directory(0))?;
    until("a tenth is made", || {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector={PART_OF}");
        Ok(cluster.get(&path)?["items"].as_array().is_some_and(|made| made.len() > objects / 10))
    })?;
    let lost = Instant::now();
    if signal.is_empty() {
        forwarder.cut()
    } else {
        first.signal(signal)?
    }
    until("the second agent leads", || Ok(holder(&cluster)? == "second"))?;
    let led = lost.elapsed();
    until("the second agent writes", || asked(&cluster, from, "patch", "configmaps"))?;
    let wrote = lost.elapsed();
    until_synced(&cluster, &commit, 1)?;
    let [led, wrote, ended] = [led, wrote, lost.elapsed()].map(|time| format!("{:.2}", time.as_secs_f64()));
    row(&format!("{loss}, seconds to the Lease, the first object, the last"), &format!("{led}, {wrote}, {ended}"));
    Ok(())
}

fn start(kubeconfig: &std::path::Path, identity: &str) -> Result<Agent> {
    let args = ["--allow-local-repositories", "--lease-duration", "4s", "--identity", identity];
    Agent::start(kubeconfig, &args.map(AsRef::as_ref))
}

fn holder(cluster: &Cluster) -> Result<String> {
    Ok(cluster.get(LEASE)?["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
}

/// `true` if the second agent has sent such a request, and has got an answer.
fn asked(cluster: &Cluster, from: u64, verb: &str, resource: &str) -> Result<bool> {
    let (requests, _) = cluster.requests(from)?;
    let is_it = |request: &sandbox::Request| request.user_agent.ends_with("(second)") && request.code < 300;
    Ok(requests.iter().any(|request| is_it(request) && request.verb == verb && request.resource == resource))
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    await_condition(what, || {
        ensure!(is_so()?, "not yet");
        Ok(())
    })
}
