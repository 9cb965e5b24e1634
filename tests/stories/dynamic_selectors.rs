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
    let (sync, _) = sync_for_team(cluster, team, &names)?;

    label(cluster, "relabelled-first", json!({"team": null}))?;
    let held = sync.await_error("2006")?["status"].to_string();
    ensure!(held.contains("put back the labels"), "{held}");
    label(cluster, "relabelled-later", json!({"team": team}))?;
    await_there(cluster, &config_map_path("relabelled-later", "c11"))?;

    // A commit that deletes one object and makes one comes in force meanwhile.
    sync.repository.remove("c0.yaml")?;
    sync.repository.write("c12.yaml", &selected("c12", team))?;
    let commit = sync.repository.commit()?;
    await_there(cluster, &config_map_path("relabelled-later", "c12"))?;
    await_gone(cluster, &config_map_path("relabelled-later", "c0"))?;
    await_condition("the new commit is in force, and the deletions are still held", || {
        let status = &sync.object()?["status"];
        ensure!(status["sync"]["commit"] == *commit, "{status:#}");
        ensure!(status["sync"]["errors"].to_string().contains("KNV2006"), "{status:#}");
        Ok(())
    })?;
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
    let mut told = false;
    await_condition("the Namespace is gone, and with it the objects", || {
        let object = sync.object()?;
        told |= object["status"].to_string().contains("KNV2006");
        ensure!(!cluster.exists("/api/v1/namespaces/relabelled-later")?, "it is there");
        ensure!(object["status"]["sync"]["errors"] == json!([]), "{:#}", object["status"]);
        Ok(())
    })?;
    ensure!(!told, "its deletion was held");
    sync.await_synced(&commit).map(|_| ())
}

pub(crate) fn beside_a_broken_commit(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let team = "unbroken";
    let (sync, good) = sync_for_team(cluster, team, &["a".to_owned()])?;
    sync.repository.write("twice.yaml", &selected("a", team))?;
    sync.repository.commit()?;
    sync.await_error("1029")?;
    label(cluster, "unbroken-later", json!({"team": team}))?;
    await_there(cluster, &config_map_path("unbroken-later", "a"))?;
    label(cluster, "unbroken-first", json!({"team": null}))?;
    await_gone(cluster, &config_map_path("unbroken-first", "a"))?;
    let status = &sync.object()?["status"];
    ensure!(status["sync"]["commit"] == *good && status.to_string().contains("KNV1029"), "{status:#}");
    sync.repository.remove("twice.yaml")?;
    sync.commit()?;
    ensure!(cluster.exists(&config_map_path("unbroken-later", "a"))?, "it was deleted");
    Ok(())
}

/// Labels of many Namespaces change again and again, under a hold, and then the Namespaces are deleted.
pub(crate) fn flapping(kind: Kind) -> Result<()> {
    const NAMESPACES: usize = 60;
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let team = "flapping";
    let names: Vec<String> = (0..6).map(|number| format!("c{number}")).collect();
    let (sync, _) = sync_for_team(cluster, team, &names)?;
    let namespace = |number: usize| format!("flapping-{number}");
    for number in 0..NAMESPACES {
        create_namespace(cluster, &namespace(number), json!({"team": team}))?;
    }
    for number in 0..NAMESPACES {
        await_there(cluster, &config_map_path(&namespace(number), "c5"))?;
    }
    label(cluster, "flapping-first", json!({"team": null}))?;
    for round in 0..5 {
        for number in 0..NAMESPACES {
            let team = if (round + number) % 2 == 0 { json!(null) } else { json!(team) };
            label(cluster, &namespace(number), json!({"team": team}))?;
        }
    }
    for number in 0..NAMESPACES {
        label(cluster, &namespace(number), json!({"team": null}))?;
    }
    // Each object that is left is told.
    let left = || -> Result<usize> {
        let mut left = 0;
        for number in (0..NAMESPACES).map(namespace).chain(["flapping-first".to_owned()]) {
            let objects = cluster.get(&format!("/api/v1/namespaces/{number}/configmaps"))?;
            let ours = |object: &&Value| object.to_string().contains("configsync.gke.io/manager");
            left += objects["items"].as_array().into_iter().flatten().filter(ours).count();
        }
        Ok(left)
    };
    await_condition("all that is left is held", || {
        let left = left()?;
        let errors = sync.object()?["status"]["sync"]["errors"].to_string();
        let told = format!("would delete {left} of {left} objects");
        ensure!(left > 0 && errors.contains(&told), "{left} are left: {errors}");
        Ok(())
    })?;
    for number in 0..NAMESPACES {
        cluster.delete(&format!("/api/v1/namespaces/{}", namespace(number)))?;
    }
    cluster.delete("/api/v1/namespaces/flapping-first")?;
    sync.await_synced(&sync.repository.head()?)?;
    Ok(())
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
