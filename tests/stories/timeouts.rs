//! `spec.override.apiServerTimeout`: a request that the API server holds up longer is given up, and only its object waits.
//! `spec.override.reconcileTimeout`: an object that waits longer for another one is told as skipped.

use std::time::Duration;

use anyhow::{Result, ensure};
use sandbox::faults::{Fault, Rule};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map, config_map_path, installed, namespace, shared};

/// Longer than the story waits for anything.
const HELD_UP: Duration = Duration::from_secs(600);

pub(crate) fn slow_request(kind: Kind) -> Result<()> {
    const NAME: &str = "slow-request";
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
        await_told(&sync, "2002", &[name, "no answer within 0.3s", "spec.override.apiServerTimeout"])?;
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

pub(crate) fn reconcile(kind: Kind) -> Result<()> {
    const NAME: &str = "reconcile-timeout";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("deployment.yaml", &deployment(NAME))?;
    let dependent = config_map(NAME, "dependent", "value").replace(
        "metadata:\n",
        &format!(
            "metadata:\n  annotations:\n    config.kubernetes.io/depends-on: apps/namespaces/{NAME}/Deployment/never-ready\n"
        ),
    );
    repository.write("dependent.yaml", &dependent)?;
    let sync = Sync::with_override(cluster, NAME, repository, &json!({"reconcileTimeout": "500ms"}))?;
    await_told(
        &sync,
        "2009",
        &["skipped apply of configmap/reconcile-timeout/dependent", "spec.override.reconcileTimeout"],
    )?;
    ensure!(!cluster.exists(&config_map_path(NAME, "dependent"))?, "it was applied before its dependency is ready");
    await_condition("the record says what is late", || {
        let group = cluster
            .get(&format!("/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups/{NAME}"))?;
        let statuses = group["status"]["resourceStatuses"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| statuses.iter().find(|status| status["name"] == name).cloned().unwrap_or_default();
        let (late, waits) = (of("never-ready"), of("dependent"));
        ensure!(late["actuation"] == "Succeeded" && late["reconcile"] == "Timeout", "{group:#}");
        ensure!(waits["actuation"] == "Skipped" && waits["reconcile"] == "Skipped", "{group:#}");
        Ok(())
    })?;

    sync.repository.write("dependent.yaml", &config_map(NAME, "dependent", "value"))?;
    sync.commit()?;
    Ok(())
}

/// Another client deletes a declared object, which a finalizer keeps.
pub(crate) fn deletion(kind: Kind) -> Result<()> {
    const NAME: &str = "kept-by-a-finalizer";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("kept.yaml", &config_map(NAME, "kept", "value"))?;
    let sync = Sync::with_override(cluster, NAME, repository, &json!({"reconcileTimeout": "500ms"}))?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    let path = config_map_path(NAME, "kept");
    let uid = cluster.get(&path)?["metadata"]["uid"].clone();
    cluster.patch(&path, &json!({"metadata": {"finalizers": ["example.com/kept"]}}))?;
    cluster.delete(&path)?;
    let told = ["configmap/kept-by-a-finalizer/kept is declared and is being deleted", "metadata.finalizers"];
    await_told(&sync, "2009", &told)?;
    cluster.patch(&path, &json!({"metadata": {"finalizers": null}}))?;
    await_condition("it is made anew", || {
        ensure!(cluster.get(&path)?["metadata"]["uid"] != uid, "it is the old one");
        Ok(())
    })?;
    sync.await_synced(&commit)?;
    Ok(())
}

/// Nothing runs Pods on the clusters of stories, so a Deployment does not become ready.
fn deployment(namespace: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata:
  name: never-ready
  namespace: {namespace}
spec:
  replicas: 1
  selector:
    matchLabels: {{app: never-ready}}
  template:
    metadata:
      labels: {{app: never-ready}}
    spec:
      containers:
      - name: main
        image: registry.example/main
"
    )
}

/// Waits until an error with this code says all of `texts`.
fn await_told(sync: &Sync<'_>, code: &str, texts: &[&str]) -> Result<()> {
    await_condition(&format!("the status says {texts:?}"), || {
        let object = sync.object()?;
        let errors = object["status"]["sync"]["errors"].as_array().cloned().unwrap_or_default();
        let told = errors.iter().any(|error| {
            let message = error["errorMessage"].as_str().unwrap_or_default();
            error["code"] == code && texts.iter().all(|text| message.contains(text))
        });
        ensure!(told, "{object:#}");
        Ok(())
    })
}

pub(crate) fn slow_events(kind: Kind) -> Result<()> {
    const NAME: &str = "slow-events";
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &[])?;
    cluster
        .sandbox()?
        .faults()
        .add(Rule::new(Fault::Delay(HELD_UP)).verb("create").path("/events").agent("nomos-agent/"));
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("settings.yaml", &config_map(NAME, "settings", "value"))?;
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let path = config_map_path(NAME, "settings");
    cluster.delete(&path)?;
    await_condition("drift is put back", || cluster.get(&path).map(|_| ()))?;
    sync.repository.write("settings.yaml", &config_map(NAME, "settings", "newer"))?;
    sync.commit()?;
    Ok(())
}
