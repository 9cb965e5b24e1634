//! The cost of many syncs is that of their objects.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use sandbox::Request;
use serde_json::json;
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace};

const NAME: &str = "many";
const SYNCS: usize = 12;

fn repository(name: &str) -> Result<Arc<Repository>> {
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(&format!("{NAME}-{name}")))?;
    repository.write("a.yaml", &config_map(&format!("{NAME}-{name}"), "a", "value"))?;
    repository.commit()?;
    Ok(Arc::new(repository))
}

/// The agent's lists of these resources.
fn lists(cluster: &Cluster, from: u64, resource: &str) -> Result<Vec<Request>> {
    let (mut requests, _) = cluster.requests(from)?;
    requests.retain(|request| {
        request.user_agent.starts_with("nomos-agent/") && request.verb == "list" && request.resource == resource
    });
    Ok(requests)
}

/// Syncs that start together share the search for their objects and the lists of a kind. One that comes later makes no other sync
/// list again, and each sync hears of its own objects.
pub(crate) fn cost_what_their_objects_cost(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let names: Vec<String> = (0..SYNCS).map(|number| number.to_string()).collect();
    let repositories = names.iter().map(|name| repository(name)).collect::<Result<Vec<_>>>()?;
    let syncs = names.iter().zip(&repositories);
    let syncs: Vec<Sync<'_>> = syncs
        .map(|(name, repository)| Sync::unstructured(&cluster, &format!("{NAME}-{name}"), Arc::clone(repository)))
        .collect::<Result<_>>()?;
    let from = cluster.now()?;
    let _agent = agent(&cluster, &[])?;
    for sync in &syncs {
        sync.await_synced(&sync.repository.head()?)?;
    }
    // Nothing declares a Role: they are listed in searches alone.
    let searches = lists(&cluster, from, "roles")?.len();
    ensure!((1..=4).contains(&searches), "{searches} searches for {SYNCS} syncs");
    let listed = lists(&cluster, from, "configmaps")?.len();
    ensure!(listed <= searches + SYNCS / 2, "{listed} lists of ConfigMaps for {SYNCS} syncs and {searches} searches");

    let before = cluster.now()?;
    let late = Sync::unstructured(&cluster, &format!("{NAME}-late"), repository("late")?)?;
    late.await_synced(&late.repository.head()?)?;
    let listed = lists(&cluster, before, "configmaps")?;
    let own = |request: &Request| request.uri.contains("part-of%3Dapplyset-");
    ensure!((1..=2).contains(&listed.len()) && listed.iter().all(own), "{listed:#?}");

    for sync in syncs.iter().chain([&late]) {
        let path = config_map_path(&sync.name, "a");
        cluster.patch(&path, &json!({"data": {"key": "other"}}))?;
        await_condition("the drift is put back", || {
            ensure!(cluster.get(&path)?["data"]["key"] == "value", "{}", cluster.get(&path)?);
            Ok(())
        })?;
    }
    let last = syncs.last().context("there are some")?;
    moves(&cluster, last, &late)
}

/// An object that two syncs declare goes over to the second when the first does not declare it any more, at once.
fn moves(cluster: &Cluster, one: &Sync<'_>, other: &Sync<'_>) -> Result<()> {
    other.repository.write("moved.yaml", &config_map(&one.name, "a", "moved"))?;
    let commit = other.repository.commit()?;
    other.await_error("1060")?;
    one.repository.remove("a.yaml")?;
    one.commit()?;
    other.await_synced(&commit)?;
    ensure!(cluster.get(&config_map_path(&one.name, "a"))?["data"]["key"] == "moved", "it is not the other's");
    Ok(())
}
