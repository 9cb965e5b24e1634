//! Custom resources: in one commit with their kind, or declared before somebody else brings the kind.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, shared};

const TOGETHER: &str = "together";
const LATER: &str = "later";

pub(crate) fn come_with_their_kind() -> Result<()> {
    let world = shared()?;
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

pub(crate) fn kind_may_come_later() -> Result<()> {
    let world = shared()?;
    let cluster = &world.cluster;
    let repository = Repository::go_hello(LATER)?;
    let group = "later.example.com";
    repository.write(&format!("namespaces/{LATER}/widget.yaml"), &widget(group, "wheel", 3))?;
    let sync = Sync::hierarchical(cluster, LATER, repository)?;
    sync.await_error("1021")?;

    let file = tempfile::NamedTempFile::new()?;
    fs::write(&file, crd(group))?;
    cluster.kubectl(&["create", "-f", &file.path().display().to_string()])?;
    sync.await_synced(&sync.repository.head()?)?;
    ensure!(cluster.get(&widget_path(group, LATER, "wheel"))?["spec"]["size"] == 3, "not as declared");
    Ok(())
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
