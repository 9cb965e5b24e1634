//! Many syncs beside one sync of as many objects: the time of the first sync, memory, and the agent's requests.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tests::cluster::{Cluster, Kind, SYNCS};
use tests::repository::Repository;

use crate::row;
use crate::world::{Agent, NAMESPACE, create_sync, directory, foreigner, manifest, memory};

/// The longest time that a first sync may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// `syncs` RootSyncs of `objects` objects each, and one of all of them; `foreign` other ConfigMaps are in the cluster.
pub(super) fn all(syncs: usize, objects: usize, foreign: usize) -> Result<()> {
    let one = figures(1, syncs * objects, foreign)?;
    let many = figures(syncs, objects, foreign)?;
    row("time of many beside the time of one", &format!("{:.2}", many / one));
    Ok(())
}

fn figures(syncs: usize, objects: usize, foreign: usize) -> Result<f64> {
    row(&format!("== {syncs} × {objects} ConfigMaps beside {foreign} foreign ones"), "");
    let repository = repository(syncs, objects)?;
    let commit = repository.commit()?;
    let cluster = Cluster::start(Kind::ControlPlane)?;
    cluster.install()?;
    cluster.create_namespace(NAMESPACE)?;
    for index in 0..foreign {
        cluster.create(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps"), &foreigner(index, 20_000))?;
    }
    let agent = start(&cluster)?;
    let from = cluster.now()?;
    let started = Instant::now();
    for sync in 0..syncs {
        create_sync(&cluster, &repository.url(), &directory(sync))?;
    }
    until_synced(&cluster, &commit, syncs)?;
    let took = started.elapsed().as_secs_f64();
    row("first sync, seconds from the first RootSync to the last synced", &format!("{took:.1}"));
    row("first sync, CPU seconds of the agent", &format!("{:.1}", agent.cpu()?));
    let from = rested(&cluster, from, "first sync")?;
    row("memory at rest, MiB (of it no file)", &memory(&agent)?);
    drift(&cluster)?;
    rested(&cluster, from, "one drift")?;
    agent.stop()?;
    let from = cluster.now()?;
    let agent = start(&cluster)?;
    let started = Instant::now();
    drift(&cluster)?;
    row("restart, drift put back after seconds", &format!("{:.2}", started.elapsed().as_secs_f64()));
    rested(&cluster, from, "restart")?;
    row("memory at rest after the restart, MiB (of it no file)", &memory(&agent)?);
    agent.stop()?;
    Ok(took)
}

fn start(cluster: &Cluster) -> Result<Agent> {
    Agent::start(cluster.kubeconfig(), &["--allow-local-repositories".as_ref()])
}

/// One directory for each sync.
pub(super) fn repository(syncs: usize, objects: usize) -> Result<Repository> {
    let repository = Repository::empty()?;
    for index in 0..syncs * objects {
        repository.write(&format!("{}/{index}.yaml", directory(index / objects)), &manifest(index, 1))?;
    }
    Ok(repository)
}

pub(super) fn until_synced(cluster: &Cluster, commit: &str, syncs: usize) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let list = cluster.get(SYNCS)?;
        let all = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let synced = all.iter().filter(|sync| sync["status"]["lastSyncedCommit"] == commit).count();
        if synced == syncs {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("not synced within {} seconds", PATIENCE.as_secs())
}

/// Prints the agent's requests since `from` once there are no more for five seconds.
pub(super) fn rested(cluster: &Cluster, from: u64, what: &str) -> Result<u64> {
    let mut end = cluster.now()?;
    loop {
        std::thread::sleep(Duration::from_secs(5));
        let (since, now) = cluster.requests(end)?;
        end = now;
        let counts = |request: &sandbox::Request| request.verb != "watch" && request.resource != "leases";
        if !since.iter().any(|request| request.user_agent.starts_with("nomos-agent/") && counts(request)) {
            break;
        }
    }
    let (requests, end) = cluster.requests(from)?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.user_agent.starts_with("nomos-agent/")) {
        let subresource = if request.subresource.is_empty() { "" } else { "/status" };
        let resource = match request.resource.as_str() {
            shown @ ("configmaps" | "resourcegroups" | "rootsyncs" | "reposyncs" | "events" | "") => shown,
            _ => "of other kinds",
        };
        *counts.entry(format!("{} {resource}{subresource}", request.verb)).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(what, count)| format!("{count} {what}")).collect();
    row(&format!("{what}, requests of the agent"), &counts.join(", "));
    Ok(end)
}

/// Changes an object and waits until it is as declared again.
fn drift(cluster: &Cluster) -> Result<()> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{}", crate::world::name(0));
    cluster.patch(&path, &json!({"data": {"value": "drifted"}}))?;
    let started = Instant::now();
    while cluster.get(&path)?["data"]["value"] != "declared" {
        ensure!(started.elapsed() < PATIENCE, "the drift stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
