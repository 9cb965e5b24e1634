//! An object that the API server refuses is an error of its own: the others are applied and kept as declared.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, await_event, config_map, config_map_path, namespace, shared};

const NAME: &str = "failing-object";
const LARGE: &str = "large-object";

pub(crate) fn delays_no_other(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    let broken = config_map(NAME, "broken", "value") + "colour: green\n";
    repository.write("broken.yaml", &broken)?;
    for name in ["a", "z"] {
        repository.write(&format!("{name}.yaml"), &config_map(NAME, name, "value"))?;
    }
    let sync = Sync::unstructured(cluster, NAME, repository)?;
    let object = sync.await_error("2009")?;
    let message = object["status"]["sync"]["errors"][0]["errorMessage"].as_str().unwrap_or_default();
    ensure!(message.contains("colour") && message.contains("broken.yaml"), "{message}");
    await_event(cluster, NAME, "Warning", "KNV2009")?;
    for name in ["a", "z"] {
        await_condition("the others are applied", || cluster.get(&config_map_path(NAME, name)))?;
    }
    let path = config_map_path(NAME, "a");
    cluster.patch(&path, &json!({"data": {"key": "other"}}))?;
    await_condition("drift is put back", || {
        ensure!(cluster.get(&path)?["data"]["key"] == "value", "not yet");
        Ok(())
    })?;
    sync.repository.write("broken.yaml", &config_map(NAME, "broken", "value"))?;
    sync.commit()?;
    cluster.get(&config_map_path(NAME, "broken"))?;
    Ok(())
}

/// An object that no API server takes fails alone, and is never sent.
pub(crate) fn large_is_not_sent(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let from = cluster.now()?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(LARGE))?;
    repository.write("large.yaml", &config_map(LARGE, "large", &"x".repeat(3 << 20)))?;
    repository.write("z.yaml", &config_map(LARGE, "z", "value"))?;
    let sync = Sync::unstructured(cluster, LARGE, repository)?;
    let object = sync.await_error("2009")?;
    let message = object["status"]["sync"]["errors"][0]["errorMessage"].as_str().unwrap_or_default();
    ensure!(message.contains("an API server takes 3072 KiB") && message.contains("large.yaml"), "{message}");
    await_condition("the other is applied", || cluster.get(&config_map_path(LARGE, "z")))?;
    let (mut requests, _) = cluster.requests(from)?;
    requests.retain(|request| request.namespace == LARGE && request.name == "large");
    ensure!(requests.is_empty(), "{requests:?}");
    sync.repository.write("large.yaml", &config_map(LARGE, "large", "value"))?;
    sync.commit()?;
    cluster.get(&config_map_path(LARGE, "large"))?;
    Ok(())
}
