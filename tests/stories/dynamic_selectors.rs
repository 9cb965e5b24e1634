//! NamespaceSelectors with mode dynamic select among the live Namespaces, and no commit is needed.

use anyhow::{Result, ensure};
use sandbox::faults::{Fault, Rule};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, config_map_path, installed, shared};

/// A NamespaceSelector for the label `team`.
fn selector(team: &str) -> String {
    format!(
        "apiVersion: configmanagement.gke.io/v1\nkind: NamespaceSelector\nmetadata:\n  name: {team}\n\
         spec:\n  mode: dynamic\n  selector:\n    matchLabels:\n      team: {team}\n"
    )
}

/// A ConfigMap for the Namespaces of a team.
fn selected(name: &str, team: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations:\n    \
         configmanagement.gke.io/namespace-selector: {team}\ndata:\n  key: value\n"
    )
}

fn create_namespace(cluster: &Cluster, name: &str, labels: Value) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
    cluster.create("/api/v1/namespaces", &namespace).map(|_| ())
}

fn label(cluster: &Cluster, namespace: &str, labels: Value) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}");
    cluster.patch(&path, &json!({"metadata": {"labels": labels}})).map(|_| ())
}

fn await_there(cluster: &Cluster, path: &str) -> Result<()> {
    await_condition(&format!("{path} is there"), || cluster.get(path).map(|_| ()))
}

fn await_gone(cluster: &Cluster, path: &str) -> Result<()> {
    await_condition(&format!("{path} is gone"), || {
        ensure!(!cluster.exists(path)?, "it is there");
        Ok(())
    })
}

fn await_annotation(sync: &Sync<'_>, expected: &str) -> Result<()> {
    await_condition(&format!("the annotation is {expected}"), || {
        let told = &sync.object()?["metadata"]["annotations"]["configsync.gke.io/dynamic-ns-selector-enabled"];
        ensure!(*told == expected, "{told}");
        Ok(())
    })
}

/// A sync with objects of these names for the Namespaces of a team: the first one is of the team, the later one not yet.
fn sync_for_team<'a>(cluster: &'a Cluster, team: &str, names: &[String]) -> Result<(Sync<'a>, String)> {
    create_namespace(cluster, &format!("{team}-first"), json!({"team": team}))?;
    create_namespace(cluster, &format!("{team}-later"), json!({}))?;
    let repository = Repository::empty()?;
    repository.write("selector.yaml", &selector(team))?;
    for name in names {
        repository.write(&format!("{name}.yaml"), &selected(name, team))?;
    }
    let sync = Sync::unstructured(cluster, team, repository)?;
    let commit = sync.repository.head()?;
    sync.await_synced(&commit)?;
    Ok((sync, commit))
}

pub(crate) fn by_labels(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let team = "by-labels";
    let (sync, commit) = sync_for_team(cluster, team, &["a".to_owned()])?;
    await_annotation(&sync, "true")?;
    let (first, later) = (config_map_path("by-labels-first", "a"), config_map_path("by-labels-later", "a"));
    ensure!(cluster.exists(&first)? && !cluster.exists(&later)?, "only the first one matches");

    label(cluster, "by-labels-later", json!({"team": team}))?;
    await_there(cluster, &later)?;
    label(cluster, "by-labels-first", json!({"team": null}))?;
    await_gone(cluster, &first)?;
    sync.await_synced(&commit)?;
    for name in ["by-labels-first", "by-labels-later"] {
        let namespace = cluster.get(&format!("/api/v1/namespaces/{name}"))?;
        let text = namespace["metadata"].to_string();
        ensure!(!text.contains("configsync") && !text.contains("nomos"), "the agent wrote to it: {namespace:#}");
    }

    // A Namespace that goes is not made anew.
    cluster.delete("/api/v1/namespaces/by-labels-later")?;
    await_gone(cluster, "/api/v1/namespaces/by-labels-later")?;
    create_namespace(cluster, "by-labels-third", json!({"team": team}))?;
    await_there(cluster, &config_map_path("by-labels-third", "a"))?;
    sync.await_synced(&commit)?;
    ensure!(!cluster.exists("/api/v1/namespaces/by-labels-later")?, "it was made anew");

    // The selector goes: Namespaces are not watched any more.
    sync.repository.write("selector.yaml", &selector(team).replace("dynamic", "static"))?;
    sync.commit()?;
    await_annotation(&sync, "false")?;
    await_gone(cluster, &config_map_path("by-labels-third", "a"))
}

pub(crate) fn guard(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let team = "relabelled";
    let names: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
    let (sync, commit) = sync_for_team(cluster, team, &names)?;

    label(cluster, "relabelled-first", json!({"team": null}))?;
    sync.await_error("2006")?;
    label(cluster, "relabelled-later", json!({"team": team}))?;
    await_there(cluster, &config_map_path("relabelled-later", "c11"))?;
    for name in &names {
        ensure!(cluster.exists(&config_map_path("relabelled-first", name))?, "{name} was deleted");
    }
    label(cluster, "relabelled-first", json!({"team": team}))?;
    sync.await_synced(&commit)?;

    label(cluster, "relabelled-first", json!({"team": null}))?;
    sync.await_error("2006")?;
    sync.approve()?;
    await_gone(cluster, &config_map_path("relabelled-first", "c11"))?;
    sync.await_synced(&commit)?;

    // Deletions that a Namespace brings about by its own deletion are nobody's to approve.
    cluster.delete("/api/v1/namespaces/relabelled-later")?;
    await_gone(cluster, "/api/v1/namespaces/relabelled-later")?;
    sync.await_synced(&commit).map(|_| ())
}

pub(crate) fn unlistable(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let sandbox = cluster.sandbox()?;
    let _agent = agent(&cluster, &[])?;
    create_namespace(&cluster, "unlistable-one", json!({"team": "unlistable"}))?;
    let refused = Rule::new(Fault::status(403)).agent("nomos-agent/").verb("list").path("/api/v1/namespaces?");
    sandbox.faults().add(refused);
    let repository = Repository::empty()?;
    repository.write("selector.yaml", &selector("unlistable"))?;
    repository.write("a.yaml", &selected("a", "unlistable"))?;
    let sync = Sync::unstructured(&cluster, "unlistable", repository)?;
    let status = sync.await_error("2017")?;
    ensure!(status["status"].to_string().contains("selector.yaml"), "it has no place: {:#}", status["status"]);
    sandbox.faults().clear();
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(cluster.exists(&config_map_path("unlistable-one", "a"))?, "the Namespace does not have the object");
    Ok(())
}
