//! Namespaces that are deleted by a user come back, and those that a commit brings back in time are not deleted.

use std::time::Duration;

use anyhow::{Result, ensure};
use sandbox::faults::{Fault, Rule};
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, installed, namespace, shared};

const NAME: &str = "deleted-namespace";

pub(crate) fn comes_back(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let sync = Sync::go_hello(cluster, NAME)?;
    let path = format!("/api/v1/namespaces/{NAME}");
    let before = cluster.get(&path)?["metadata"]["uid"].clone();
    cluster.kubectl(&["delete", "namespace", NAME, "--wait=true"])?;
    let objects = ["services/go-hello", "services/go-hello-admin"].map(|name| format!("{path}/{name}"));
    let apps = format!("/apis/apps/v1/namespaces/{NAME}/deployments/go-hello");
    let ingress = format!("/apis/networking.k8s.io/v1/namespaces/{NAME}/ingresses/go-hello");
    await_condition("everything is back", || {
        ensure!(cluster.get(&path)?["metadata"]["uid"] != before, "it is the old Namespace");
        objects.iter().chain([&apps, &ingress]).try_for_each(|path| cluster.get(path).map(|_| ()))
    })?;
    sync.await_synced(&sync.repository.head()?)?;
    Ok(())
}

/// A commit takes a Namespace away, and another one brings it back while the agent looks for objects that would go with it.
pub(crate) fn brought_back_in_time(kind: Kind) -> Result<()> {
    const LONG: Duration = Duration::from_secs(60);
    let cluster = installed(kind)?;
    let faults = cluster.sandbox()?.faults();
    let _agent = agent(&cluster, &[])?;
    let repository = Repository::empty()?;
    for name in ["stays", "brought-back"] {
        repository.write(&format!("{name}/namespace.yaml"), &namespace(name))?;
        repository.write(&format!("{name}/settings.yaml"), &config_map(name, "settings", "value"))?;
    }
    let sync = Sync::unstructured(&cluster, "brought-back", repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let path = "/api/v1/namespaces/brought-back";
    let uid = cluster.get(path)?["metadata"]["uid"].clone();

    faults.add(Rule::new(Fault::Delay(LONG)).verb("list").path("/namespaces/brought-back/").agent("nomos-agent/"));
    sync.repository.remove("brought-back/namespace.yaml")?;
    sync.repository.remove("brought-back/settings.yaml")?;
    sync.repository.commit()?;
    await_condition("the Namespace is searched", || {
        ensure!(faults.strikes() > 0, "it is not");
        Ok(())
    })?;
    sync.repository.write("brought-back/namespace.yaml", &namespace("brought-back"))?;
    let commit = sync.repository.commit()?;
    sync.await_synced(&commit)?;
    let there = cluster.get(path)?;
    ensure!(there["metadata"]["uid"] == uid, "it is another one: {there:#}");
    ensure!(there["metadata"]["deletionTimestamp"].is_null(), "{there:#}");
    Ok(())
}
