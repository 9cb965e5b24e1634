//! `spec.override.apiServerTimeout`: a request that the API server holds up longer is given up, and only its object waits.

use std::time::Duration;

use anyhow::{Result, ensure};
use sandbox::faults::{Fault, Rule};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace};

const NAME: &str = "slow-request";
/// Longer than the story waits for anything.
const HELD_UP: Duration = Duration::from_secs(600);

pub(crate) fn is_given_up(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    let sandbox = cluster.sandbox()?;
    sandbox
        .faults()
        .add(Rule::new(Fault::Delay(HELD_UP)).verb("patch").path("/configmaps/slow-").agent("nomos-agent/"));
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    // Two, because one alone is never taken for an outage.
    for name in ["slow-1", "slow-2", "settings"] {
        repository.write(&format!("{name}.yaml"), &config_map(NAME, name, "value"))?;
    }
    let sync = Sync::with_override(&cluster, NAME, repository, &json!({"apiServerTimeout": "300ms"}))?;
    for name in ["slow-1", "slow-2"] {
        await_condition(&format!("the status names {name} and the time limit"), || {
            let object = sync.object()?;
            let errors = object["status"]["sync"]["errors"].as_array().cloned().unwrap_or_default();
            let told = errors.iter().any(|error| {
                let message = error["errorMessage"].as_str().unwrap_or_default();
                let expected = [name, "no answer within 0.3s", "spec.override.apiServerTimeout"];
                error["code"] == "2002" && expected.iter().all(|text| message.contains(text))
            });
            ensure!(told, "{object:#}");
            Ok(())
        })?;
    }
    cluster.patch(&config_map_path(NAME, "settings"), &json!({"data": {"key": "other"}}))?;
    await_condition("drift of another object is put back", || {
        let live = cluster.get(&config_map_path(NAME, "settings"))?;
        ensure!(live["data"]["key"] == "value", "{live:#}");
        Ok(())
    })?;
    sandbox.faults().clear();
    sync.await_synced(&sync.repository.head()?)?;
    Ok(())
}
