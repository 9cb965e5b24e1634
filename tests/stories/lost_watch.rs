//! A watch that is away although lists work.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sandbox::faults::{Fault, Rule};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::health::read;
use crate::world::{Sync, agent, codes, condition, config_map, config_map_path, installed, namespace};

const NAME: &str = "lost-watch";
/// The API server is asked so many times in this time at the least: the pauses grow.
const TRIES: usize = 6;
const LEAST: Duration = Duration::from_secs(5);

/// The API server lets ConfigMaps be listed and no longer watched: the status says so until that is mended, and drift is put back
/// meanwhile, because the lists show it.
pub(crate) fn is_reported(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("a.yaml", &config_map(NAME, "a", "value"))?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    let age = "config_sync_watch_age_seconds{kind=\"ConfigMap\"}";
    let metrics = read(&agent.address()?, "/metrics")?;
    ensure!(metrics.contains(age), "no {age} in\n{metrics}");

    let (sandbox, from, began) = (cluster.sandbox()?, cluster.now()?, Instant::now());
    let of_agent = |fault| Rule::new(fault).verb("watch").path("/configmaps").agent("nomos-agent/");
    sandbox.faults().add(of_agent(Fault::status(403)));
    sandbox.faults().add(of_agent(Fault::CutWatch));
    let drift = || cluster.patch(&config_map_path(NAME, "a"), &json!({"data": {"key": "other"}}));
    drift()?;
    let told = sync.await_error("2013")?;
    let told = told["status"]["sync"]["errors"].to_string();
    ensure!(told.contains("failed to watch ConfigMap"), "{told}");
    drift()?;
    await_condition("the drift is put back", || {
        ensure!(cluster.get(&config_map_path(NAME, "a"))?["data"]["key"] == "value", "still other");
        Ok(())
    })?;
    await_condition("the watch was tried again some times", || {
        let (requests, _) = cluster.requests(from)?;
        let tries = requests.iter().filter(|request| request.verb == "watch" && request.code == 403).count();
        ensure!(tries >= TRIES, "{tries} tries");
        Ok(())
    })?;
    ensure!(began.elapsed() >= LEAST, "{TRIES} tries within {:?}", began.elapsed());
    ensure!(codes(&sync.object()?) == ["2013"], "{:#}", sync.object()?["status"]);
    await_stalled(&sync, "ExceedTimeout")?;

    sandbox.faults().clear();
    sync.await_synced(&commit)?;
    await_stalled(&sync, "FinishReconciling")?;
    Ok(())
}

/// Waits until the ResourceGroup gives this reason in its condition Stalled.
fn await_stalled(sync: &Sync<'_>, reason: &str) -> Result<()> {
    let path = format!("/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups/{}", sync.name);
    await_condition(&format!("the ResourceGroup says {reason}"), || {
        let group = sync.cluster.get(&path)?;
        let stalled = condition(&group, "Stalled")?;
        ensure!(stalled["reason"] == reason, "{stalled:#}");
        Ok(())
    })
}
