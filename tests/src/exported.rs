//! Comparisons of clusters and of their exports.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cluster::Cluster;

/// Kinds of which the cluster makes objects by itself, and those of which it would do so for a machine.
const MOVING: [&str; 9] = [
    "Event",
    "Lease",
    "Endpoints",
    "EndpointSlice",
    "Node",
    "IPAddress",
    "LeaseCandidate",
    "ControllerRevision",
    "ServiceAccount",
];

/// Runs nomos and returns what it printed, if it ends with this status.
///
/// # Errors
/// When it ends with another one, with what it printed.
pub fn nomos(cluster: &Cluster, args: &[&str], status: u8) -> Result<String> {
    let (ended, said) = cluster.nomos(args);
    ensure!(ended == status, "nomos {}: not {status}: {ended}\n{said}", args.join(" "));
    Ok(said)
}

/// All files that are not hidden, by their paths.
///
/// # Errors
/// When a file cannot be read.
pub fn files(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let name = path.strip_prefix(root)?.display().to_string();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(name, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(found)
}

/// All objects of people, by kind, Namespace and name.
///
/// # Errors
/// When kubectl fails.
pub fn objects(cluster: &Cluster) -> Result<BTreeMap<String, Value>> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list,create", "--output=name"])?;
    let kinds = kinds.lines().filter(|kind| !kind.ends_with(".configsync.gke.io") && !kind.ends_with(".kpt.dev"));
    let kinds = kinds.collect::<Vec<_>>().join(",");
    let list: Value = serde_json::from_str(&cluster.kubectl(&["get", &kinds, "-A", "--output=json"])?)?;
    let mut found = BTreeMap::new();
    for item in list["items"].as_array().into_iter().flatten() {
        let metadata = &item["metadata"];
        let own = metadata["namespace"] == "config-management-system"
            || metadata["name"].as_str().is_some_and(|name| name.starts_with("configsync.gke.io:"));
        // Controllers may still be at work for their objects.
        let owners = metadata["ownerReferences"].as_array();
        let is_made = owners.into_iter().flatten().any(|owner| owner["controller"] == true);
        if own || is_made || MOVING.iter().any(|kind| item["kind"] == *kind) {
            continue;
        }
        let mut item = item.clone();
        // The generation of a Deployment counts changes of annotations too.
        let generation = if item["kind"] == "Deployment" { &Value::Null } else { &metadata["generation"] };
        let metadata = json!({"uid": metadata["uid"], "generation": generation});
        let name = format!(
            "{} {} {} {}",
            item["apiVersion"], item["kind"], item["metadata"]["namespace"], item["metadata"]["name"]
        );
        item["metadata"] = metadata;
        item["status"] = Value::Null;
        // The scheduler may still be at work.
        item["spec"]["nodeName"] = Value::Null;
        found.insert(name, item);
    }
    Ok(found)
}

/// The objects are the same as before.
///
/// # Errors
/// When they differ, with both forms.
pub fn unchanged(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Result<()> {
    let names = before.keys().chain(after.keys());
    let differ: Vec<String> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| format!("{name}\n{:#}\n{:#}", json!(before.get(name)), json!(after.get(name))))
        .collect();
    ensure!(differ.is_empty(), "the sync changed:\n{}", differ.join("\n"));
    Ok(())
}

/// Another export of the cluster, with these flags, has the same files.
///
/// # Errors
/// When files differ, with both texts.
pub fn same_export(cluster: &Cluster, flags: &[&str], expected: &BTreeMap<String, String>) -> Result<()> {
    let directory = TempDir::new()?;
    let path = directory.path().join("again");
    nomos(cluster, &[&["export", "--path", &path.display().to_string()], flags].concat(), 0)?;
    let found = files(&path)?;
    let names = expected.keys().chain(found.keys());
    let differ: Vec<String> = names
        .filter(|name| expected.get(*name) != found.get(*name))
        .map(|name| format!("{name}\n{}\n{}", text(expected.get(name)), text(found.get(name))))
        .collect();
    ensure!(differ.is_empty(), "another export differs:\n{}", differ.join("\n"));
    Ok(())
}

fn text(file: Option<&String>) -> &str {
    file.map_or("(no such file)", String::as_str)
}
