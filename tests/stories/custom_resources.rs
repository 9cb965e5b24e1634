//! Custom resources that are declared in one commit with their kind, or before another client creates the kind.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::{Cluster, Kind};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent, installed, shared};

const TOGETHER: &str = "together";
const LATER: &str = "later";
const HIDDEN: &str = "hidden";
const MISSED: &str = "missed";
const TERMINATES: &str = "terminates";

pub(crate) fn come_with_their_kind(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::go_hello(TOGETHER)?;
    let group = "together.example.com";
    repository.write("cluster/crd.yaml", &crd(group))?;
    repository.write(&format!("namespaces/{TOGETHER}/widget.yaml"), &widget(group, "wheel", 3))?;
    let sync = Sync::hierarchical(cluster, TOGETHER, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let path = widget_path(group, TOGETHER, "wheel");
    ensure!(cluster.get(&path)?["spec"]["size"] == 3, "not as declared");
    cluster.patch(&path, &json!({"spec": {"size": 4}}))?;
    await_condition("its drift is put back", || {
        ensure!(cluster.get(&path)?["spec"]["size"] == 3, "not yet");
        Ok(())
    })
}

pub(crate) fn kind_may_come_later(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::go_hello(LATER)?;
    let group = "later.example.com";
    repository.write(&format!("namespaces/{LATER}/widget.yaml"), &widget(group, "wheel", 3))?;
    let sync = Sync::hierarchical(cluster, LATER, repository)?;
    sync.await_error("1021")?;

    create_kind(cluster, group)?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(cluster.get(&widget_path(group, LATER, "wheel"))?["spec"]["size"] == 3, "not as declared");
    Ok(())
}

/// A commit that removes an object comes while the kind is not served: the object exists all the same.
pub(crate) fn are_not_forgotten(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let group = "hidden.example.com";
    create_kind(cluster, group)?;
    let repository = Repository::go_hello(HIDDEN)?;
    let manifest = format!("namespaces/{HIDDEN}/widget.yaml");
    repository.write(&manifest, &widget(group, "wheel", 3))?;
    let sync = Sync::hierarchical(cluster, HIDDEN, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let path = widget_path(group, HIDDEN, "wheel");
    serve(cluster, group, false)?;
    await_condition("the kind is not served", || {
        ensure!(!cluster.exists(&path)?, "it is");
        Ok(())
    })?;
    sync.repository.remove(&manifest)?;
    sync.commit()?;
    let record = cluster.get(&format!("{GROUPS}/{HIDDEN}"))?;
    ensure!(record["spec"]["resources"].to_string().contains("Widget"), "{record:#}");

    serve(cluster, group, true)?;
    await_condition("it is pruned", || {
        let list = cluster.get(&format!("/apis/{group}/v1/widgets"))?;
        ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list:#}");
        let record = cluster.get(&format!("{GROUPS}/{HIDDEN}"))?;
        ensure!(!record["spec"]["resources"].to_string().contains("Widget"), "{record:#}");
        Ok(())
    })
}

/// While no agent runs a commit removes a kind and keeps an object of it: deleting the kind would delete that too.
pub(crate) fn kind_is_missed(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let first = agent(&cluster, &[])?;
    let group = "missed.example.com";
    let repository = Repository::go_hello(MISSED)?;
    repository.write("cluster/crd.yaml", &crd(group))?;
    repository.write(&format!("namespaces/{MISSED}/widget.yaml"), &widget(group, "wheel", 3))?;
    let sync = Sync::hierarchical(&cluster, MISSED, repository)?;
    let in_force = sync.repository.head()?;
    sync.await_synced(&in_force)?;
    first.terminate()?;

    sync.repository.remove("cluster/crd.yaml")?;
    sync.repository.commit()?;
    let _second = agent(&cluster, &[])?;
    let object = sync.await_error("1047")?;
    ensure!(object["status"]["lastSyncedCommit"] == in_force, "{object:#}");
    ensure!(cluster.exists(&widget_path(group, MISSED, "wheel"))?, "it is gone");

    sync.repository.remove(&format!("namespaces/{MISSED}/widget.yaml"))?;
    sync.commit()?;
    await_condition("the kind is gone", || {
        ensure!(!cluster.exists(&crd_path(group))?, "it is there");
        Ok(())
    })
}

/// A kind that was removed terminates, because an object of another client has a finalizer. A commit declares an object of the kind.
pub(crate) fn kind_terminates(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let group = "terminates.example.com";
    let repository = Repository::go_hello(TERMINATES)?;
    repository.write("cluster/crd.yaml", &crd(group))?;
    let manifest = format!("namespaces/{TERMINATES}/widget.yaml");
    repository.write(&manifest, &widget(group, "wheel", 3))?;
    let sync = Sync::hierarchical(cluster, TERMINATES, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let kept = json!({
        "apiVersion": format!("{group}/v1"), "kind": "Widget",
        "metadata": {"name": "kept", "namespace": "default", "finalizers": ["example.com/keeps"]},
    });
    cluster.create(&format!("/apis/{group}/v1/namespaces/default/widgets"), &kept)?;
    sync.repository.remove("cluster/crd.yaml")?;
    sync.repository.remove(&manifest)?;
    sync.repository.commit()?;
    // The other client's object would go with it.
    sync.await_error("2006")?;
    sync.approve()?;
    await_condition("the kind terminates", || {
        let crd = cluster.get(&crd_path(group))?;
        ensure!(
            crd["metadata"]["deletionTimestamp"].is_string(),
            "{:#} {:#}",
            crd["metadata"],
            sync.object()?["status"]
        );
        Ok(())
    })?;
    sync.repository.write(&manifest, &widget(group, "wheel", 4))?;
    sync.repository.commit()?;
    sync.await_error("1047")?;
    ensure!(cluster.get(&crd_path(group))?["metadata"]["deletionTimestamp"].is_string(), "it does not terminate");

    cluster.patch(&widget_path(group, "default", "kept"), &json!({"metadata": {"finalizers": null}}))?;
    await_condition("the kind is gone", || {
        ensure!(!cluster.exists(&crd_path(group))?, "it is there");
        Ok(())
    })?;
    sync.repository.write("cluster/crd.yaml", &crd(group))?;
    sync.commit()?;
    ensure!(cluster.get(&widget_path(group, TERMINATES, "wheel"))?["spec"]["size"] == 4, "not as declared");
    Ok(())
}

const GROUPS: &str = "/apis/kpt.dev/v1alpha1/namespaces/config-management-system/resourcegroups";

fn serve(cluster: &Cluster, group: &str, served: bool) -> Result<()> {
    let path = crd_path(group);
    let mut crd = cluster.get(&path)?;
    crd["spec"]["versions"][0]["served"] = served.into();
    cluster.patch(&path, &json!({"spec": {"versions": crd["spec"]["versions"]}}))?;
    Ok(())
}

fn crd_path(group: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.{group}")
}

/// Another client creates the CRD of the kind Widget in `group`.
pub(crate) fn create_kind(cluster: &Cluster, group: &str) -> Result<()> {
    let crd = serde_json::from_str(&crd(group))?;
    cluster.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).map(|_| ())
}

/// A kind Widget in `group`.
pub(crate) fn crd(group: &str) -> String {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
    }});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    format!("{crd:#}\n")
}

/// A Widget.
pub(crate) fn widget(group: &str, name: &str, size: u32) -> String {
    format!("apiVersion: {group}/v1\nkind: Widget\nmetadata:\n  name: {name}\nspec:\n  size: {size}\n")
}

/// Where it is.
pub(crate) fn widget_path(group: &str, namespace: &str, name: &str) -> String {
    format!("/apis/{group}/v1/namespaces/{namespace}/widgets/{name}")
}
