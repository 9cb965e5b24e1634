//! Tells of a live object whether people made it, and leaves of it what they meant: pure functions over the [`tables`].

use std::collections::BTreeSet;

use agent::model::metadata::{CONTROLLER_NAMESPACES, DEPTH_SUFFIX, FIELD_MANAGER, annotation, is_system_key, label};
use agent::model::object::{GroupKind, Object};
use agent::sync::live::Observed;
use agent::sync::managed_fields::ManagedFieldsEntry;
use serde_json::{Map, Value, json};

use super::default_tables;
use super::makers::MakerFacts;
use super::tables::{self, AssignedWhen, MarkScope};

/// Field managers of the cluster's own programs: they assign values.
const CLUSTER_MANAGERS: [&str; 6] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "cloud-controller-manager",
    // It installs the add-ons of EKS.
    "eks",
    // It installs OpenShift.
    "cluster-version-operator",
];

/// The decision about one live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// People made it.
    Meant,
    /// People made it, and its values are secret, or may be.
    Secret,
    /// It is part of a Helm release, `NAMESPACE/NAME`.
    Release(String),
    /// It is not exported, for this reason.
    Left(&'static str),
}

/// The reason why nothing of a kind is exported.
pub(super) fn left_kind(kind: &GroupKind) -> Option<&'static str> {
    let name = kind.to_string();
    let is = |row: &str| row == name || row.strip_prefix('.').is_some_and(|group| group == kind.group);
    tables::KINDS.iter().find(|(row, _)| is(row)).map(|(_, reason)| *reason)
}

/// `true` for a kind that an export does without where it cannot be read.
pub(super) fn is_seldom(kind: &GroupKind) -> bool {
    tables::SELDOM.iter().any(|(row, _)| *row == kind.to_string())
}

/// The reason why nothing in a Namespace, nor the Namespace itself, is exported.
pub(super) fn left_namespace(name: &str, facts: &MakerFacts) -> Option<&'static str> {
    let row = tables::NAMESPACES.iter().find(|(row, _)| matches(row, name));
    // No repository may declare those of the installation.
    let is_named = facts.named.contains(name) && !CONTROLLER_NAMESPACES.contains(&name);
    row.filter(|_| !is_named).map(|(_, reason)| *reason)
}

/// Decides about a live object.
pub(super) fn meaning(object: &Object, facts: &MakerFacts) -> Meaning {
    let kind = object.group_kind().to_string();
    if let Some(release) = release(object) {
        return Meaning::Release(release);
    }
    if let Some(reason) = left(object, &kind, facts) {
        return Meaning::Left(reason);
    }
    if object.is_confidential() { Meaning::Secret } else { Meaning::Meant }
}

/// The Helm release of an object, `NAMESPACE/NAME`.
fn release(object: &Object) -> Option<String> {
    if object.is_kind("", "Secret") && field(object, "/type").is_some_and(|it| it == tables::HELM_RELEASE) {
        // sh.helm.release.v1.NAME.vREVISION
        let name = object.name().strip_prefix("sh.helm.release.v1.").unwrap_or(object.name());
        let name = name.rsplit_once(".v").map_or(name, |(name, _)| name);
        return Some(format!("{}/{name}", object.namespace()));
    }
    let name = object.annotation("meta.helm.sh/release-name")?;
    let namespace = object.annotation("meta.helm.sh/release-namespace").unwrap_or_default();
    (object.label(label::MANAGED_BY) == Some("Helm")).then(|| format!("{namespace}/{name}"))
}

/// `true` for the Secrets in which Helm keeps its releases: they are Helm's alone.
pub(super) fn is_release_secret(object: &Object) -> bool {
    object.is_kind("", "Secret") && field(object, "/type").is_some_and(|it| it == tables::HELM_RELEASE)
}

fn left(object: &Object, kind: &str, facts: &MakerFacts) -> Option<&'static str> {
    if object.metadata("deletionTimestamp").is_some() {
        return Some("it is being deleted");
    }
    let owners = object.metadata("ownerReferences").and_then(Value::as_array);
    if owners.into_iter().flatten().any(|owner| owner["controller"] == true) {
        return Some("a controller makes it again");
    }
    let entries = Observed::of(object).managed_fields;
    if entries.iter().any(|entry| entry.subresource.is_empty()) && people(&entries).next().is_none() {
        return Some("the controllers of the cluster alone have written it");
    }
    if owners.is_some() && is_of_a_program(&entries) {
        return Some("a program made it for its owner");
    }
    let namespace = if kind == "Namespace" { object.name() } else { object.namespace() };
    let name = object.name();
    let is_kind = |row: &str| row == "*" || row == kind;
    let by_name = tables::NAMES.iter().find(|(row, pattern, _)| is_kind(row) && matches(pattern, name));
    let has = |key: &str, value: &str| {
        let found = object.label(key).or_else(|| object.annotation(key));
        found.is_some_and(|found| value.is_empty() || found == value)
    };
    let is_made_by = |(row, key, value, of, _): &&tables::MarkRow| {
        is_kind(row) && has(key, value) && (*of == MarkScope::All || object.namespace().is_empty())
    };
    // People configure what OpenShift only made.
    let by_mark = tables::MARKS.iter().find(is_made_by).filter(|_| !has("release.openshift.io/create-only", "true"));
    let secret_type = field(object, "/type").and_then(Value::as_str).filter(|_| kind == "Secret");
    let by_type = tables::SECRETS.iter().find(|(row, _)| secret_type == Some(row));
    left_namespace(namespace, facts)
        .or_else(|| by_name.map(|(_, _, reason)| *reason))
        .or_else(|| by_mark.map(|(.., reason)| *reason))
        .or_else(|| by_type.map(|(_, reason)| *reason))
        .or_else(|| left_by_content(object, kind, facts))
}

/// `true` for an object with an owner, all of which was written by a program that named the owner. Where a program names an owner of an object
/// that people made, as that of Cluster API does, others have written the rest.
fn is_of_a_program(entries: &[ManagedFieldsEntry]) -> bool {
    let names_owner = |entry: &&ManagedFieldsEntry| {
        let metadata = entry.fields.get("f:metadata");
        metadata.is_some_and(|metadata| metadata.get("f:ownerReferences").is_some())
    };
    let programs: BTreeSet<&str> = people(entries).filter(names_owner).map(|entry| entry.manager.as_str()).collect();
    // They write the names of owners that people chose.
    let is_tool = |manager: &&str| manager.starts_with("kubectl") || **manager == *FIELD_MANAGER;
    !programs.is_empty()
        && !programs.iter().any(is_tool)
        && people(entries).filter(|entry| has_content(entry)).all(|entry| programs.contains(entry.manager.as_str()))
}

/// `true` if a manager owns fields beside metadata and status.
pub(super) fn has_content(entry: &ManagedFieldsEntry) -> bool {
    entry.fields.keys().any(|key| !["f:metadata", "f:status"].contains(&key.as_str()))
}

/// The reasons that no table can have.
fn left_by_content(object: &Object, kind: &str, facts: &MakerFacts) -> Option<&'static str> {
    let place = || (object.namespace().to_owned(), object.name().to_owned());
    let condition = |types: &[&str]| {
        let conditions = field(object, "/status/conditions").and_then(Value::as_array);
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|it| it["status"] == "True" && types.iter().any(|wanted| it["type"] == *wanted))
    };
    let phase = field(object, "/status/phase").and_then(Value::as_str).unwrap_or_default();
    match kind {
        _ if facts.installed.contains(&object.id()) => Some("it is part of the installation of nomos"),
        "Endpoints" if facts.selecting.contains(&place()) => Some("a controller makes it for a Service"),
        "PersistentVolumeClaim" if facts.makes_claim(object) => Some("a StatefulSet makes it"),
        "Job.batch" if condition(&["Complete", "Failed"]) => Some("it has ended, and would run again"),
        "Pod" if ["Succeeded", "Failed"].contains(&phase) => Some("it has ended, and would run again"),
        "APIService.apiregistration.k8s.io" if field(object, "/spec/service").is_none_or(Value::is_null) => {
            Some("the API server makes it")
        }
        "ServiceAccount" if object.name() == "default" && is_bare(object, facts) => {
            Some("a controller makes it in every Namespace")
        }
        _ => None,
    }
}

/// `true` if nothing but its name is meant.
fn is_bare(object: &Object, facts: &MakerFacts) -> bool {
    let meant = meant(object.clone(), &[], facts);
    let beside = |map: &Map<String, Value>, keys: &[&str]| map.keys().any(|key| !keys.contains(&key.as_str()));
    let metadata = meant.0.get("metadata").and_then(Value::as_object);
    !beside(&meant.0, &["apiVersion", "kind", "metadata"])
        && metadata.is_none_or(|metadata| !beside(metadata, &["name", "namespace"]))
}

/// The object without what the cluster assigned, and without the fields at the pointers `defaults`.
pub(super) fn meant(live: Object, defaults: &[String], facts: &MakerFacts) -> Object {
    let entries = Observed::of(&live).managed_fields;
    let (id, kind) = (live.id(), live.group_kind().to_string());
    let declared = live.label(label::DECLARED_VERSION).is_some();
    let is_implicit = live.annotation(annotation::MANAGER).is_some() && !declared;
    let is_special = agent::model::metadata::SPECIAL_NAMESPACES.contains(&live.name());
    let mut value = Value::Object(live.0);
    // No pointer leads through a list item that is removed: only fields of maps are.
    for pointer in defaults {
        remove(&mut value, pointer);
    }
    let mut assigned: Vec<String> = Vec::new();
    for (row, pattern, when, _) in tables::ASSIGNED {
        if *row == "*" || *row == kind {
            assigned.extend(places(&value, pattern).into_iter().filter(|at| is_assigned(&value, at, *when, &entries)));
        }
    }
    if facts.scaled.contains(&id) {
        assigned.push("/spec/replicas".to_owned());
    }
    for pointer in assigned {
        remove_with_empty(&mut value, &pointer);
    }
    if kind == "Pod" {
        take_off_additions(&mut value);
    }
    // A custom resource may have a null that means something.
    if !facts.is_custom(&id.group_kind()) {
        take_off_nulls(&mut value);
    }
    let mut object = Object(value.as_object().cloned().unwrap_or_default());
    // All other metadata is the API server's, or names uids of this cluster.
    object.metadata_mut().retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&key.as_str()));
    for field in ["labels", "annotations"] {
        let Some(Value::Object(map)) = object.metadata_mut().get_mut(field) else { continue };
        map.retain(|key, _| !is_assigned_key(key));
        if id.is_namespace() && (is_implicit || is_special) {
            map.remove(annotation::DELETION);
        }
        if map.is_empty() {
            object.metadata_mut().remove(field);
        }
    }
    object
}

/// The version in which most exported fields of a custom resource were written, if it is served, or else the one in which it is stored. In
/// another one, fields can be missing that the schemas of its CRD do not share.
pub(super) fn written_version(live: &Object, facts: &MakerFacts) -> Option<String> {
    let kind = live.group_kind();
    let crd = facts.crds.get(&kind);
    if crd.is_none() && !facts.is_custom(&kind) {
        return None;
    }
    let versions = crd.and_then(|crd| field(crd, "/spec/versions")?.as_array());
    let served = || versions.into_iter().flatten().filter(|version| version["served"] == true);
    // Without the right to read the CRD, the request for the version tells.
    let may_be_served = |name: &str| crd.is_none() || served().any(|version| version["name"] == name);
    let entries = Observed::of(live).managed_fields;
    let written = people(&entries).filter_map(|entry| {
        let version = entry.api_version.rsplit('/').next()?;
        let exported = entry.fields.iter().filter(|(key, _)| !["f:metadata", "f:status"].contains(&key.as_str()));
        let fields: usize = exported.map(|(_, node)| leaves(node)).sum();
        (fields > 0 && may_be_served(version)).then(|| (fields, entry.time.clone(), version.to_owned()))
    });
    let stored = || served().find(|version| version["storage"] == true)?["name"].as_str().map(str::to_owned);
    written.max().map(|(_, _, version)| version).or_else(stored)
}

/// The number of fields below a node of an entry.
fn leaves(node: &Value) -> usize {
    let below = node.as_object().filter(|below| !below.is_empty());
    below.map_or(1, |below| below.values().map(leaves).sum())
}

/// The entries of field managers beside those of the cluster, for the object itself.
pub(super) fn people(entries: &[ManagedFieldsEntry]) -> impl Iterator<Item = &ManagedFieldsEntry> {
    let is_other = |entry: &&ManagedFieldsEntry| !CLUSTER_MANAGERS.contains(&entry.manager.as_str());
    entries.iter().filter(is_other).filter(|entry| entry.subresource.is_empty())
}

/// `true` for the key of a label or annotation that people did not write, or that a sync writes.
fn is_assigned_key(key: &str) -> bool {
    let of_syncs = [label::PART_OF, annotation::OWNING_INVENTORY, annotation::HNC_MANAGED_BY];
    is_system_key(key)
        || key.ends_with(DEPTH_SUFFIX)
        || of_syncs.contains(&key)
        || tables::KEYS.iter().any(|(row, _)| matches(row, key))
}

fn is_assigned(object: &Value, at: &str, when: AssignedWhen, entries: &[ManagedFieldsEntry]) -> bool {
    match when {
        AssignedWhen::Always => true,
        // A Service without an address is meant to have none.
        AssignedWhen::Unowned => object.pointer(at).is_some_and(|it| it != "None") && !is_owned(object, at, entries),
        AssignedWhen::Admitted => people(entries).any(has_content) && !is_owned(object, at, entries),
        AssignedWhen::Patched => is_patched(object, at, entries),
        AssignedWhen::Beside(other) => object.pointer(other).is_some_and(|it| !it.is_null()),
        AssignedWhen::Unless(other) => object.pointer(other) != Some(&Value::Bool(true)),
        AssignedWhen::Annotated(pattern) => {
            let annotations = object.pointer("/metadata/annotations").and_then(Value::as_object);
            annotations.is_some_and(|map| map.keys().any(|key| matches(pattern, key)))
        }
    }
}

/// `true` if programs own the field at a pointer, and none of them owns a field beside it in the same map.
fn is_patched(object: &Value, at: &str, entries: &[ManagedFieldsEntry]) -> bool {
    let (above, last) = at.rsplit_once('/').unwrap_or_default();
    let map = object.pointer(above).and_then(Value::as_object);
    let beside = |entry: &ManagedFieldsEntry| {
        let mut keys = map.into_iter().flat_map(Map::keys).filter(|key| *key != last);
        keys.any(|key| is_owned(object, &format!("{above}/{}", escaped(key)), std::slice::from_ref(entry)))
    };
    let mut owners = people(entries).filter(|entry| is_owned(object, at, std::slice::from_ref(entry))).peekable();
    owners.peek().is_some() && owners.all(|entry| !entry.manager.starts_with("kubectl") && !beside(entry))
}

/// `true` if a field manager beside those of the cluster owns the field at a pointer, also by a subresource such as `resize`. A map that was
/// empty when it was written is owned as such, and not the fields that admission controllers have filled in.
fn is_owned(object: &Value, at: &str, entries: &[ManagedFieldsEntry]) -> bool {
    let others = entries.iter().filter(|entry| !CLUSTER_MANAGERS.contains(&entry.manager.as_str()));
    others.filter(|entry| &*entry.subresource != "status").any(|entry| {
        let (mut node, mut value) = (&entry.fields, object);
        for token in at.split('/').skip(1) {
            let token = unescaped(token);
            let below = match value {
                Value::Array(items) => token.parse().ok().and_then(|index: usize| items.get(index)),
                value => value.get(&token),
            };
            let Some(below) = below else { return false };
            let next = match value {
                Value::Array(_) => node.iter().find(|(key, _)| names(key, below)).map(|(_, node)| node),
                _ => node.get(&format!("f:{token}")),
            };
            let Some(next) = next.and_then(Value::as_object) else { return false };
            (node, value) = (next, below);
        }
        true
    })
}

/// `true` if the key of a node, such as `k:{"port":80,"protocol":"TCP"}`, names this list item.
pub(super) fn names(key: &str, item: &Value) -> bool {
    let keys = key.strip_prefix("k:").and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok());
    let same = |(key, value): (&String, &Value)| item.get(key).map_or(value == "TCP", |own| own == value);
    keys.is_some_and(|keys| keys.iter().all(same))
}

/// Removes the fields without a value, which the API server writes for some lists.
fn take_off_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, below| !below.is_null());
            map.values_mut().for_each(take_off_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(take_off_nulls),
        _ => {}
    }
}

/// Removes the list items that admission controllers add to every Pod: the volume with the token of its account, and the tolerations of
/// nodes that are away for a short while.
fn take_off_additions(pod: &mut Value) {
    let is_token = |item: &Value| item["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"));
    let is_toleration = |item: &Value| tables::TOLERATIONS.iter().any(|(key, _)| *item == toleration(key));
    let mut lists = vec![("/spec".to_owned(), "volumes"), ("/spec".to_owned(), "tolerations")];
    for containers in default_tables::CONTAINERS {
        let found = places(pod, &format!("/spec{containers}"));
        lists.extend(found.into_iter().map(|container| (container, "volumeMounts")));
    }
    for (place, list) in lists {
        let Some(Value::Object(parent)) = pod.pointer_mut(&place) else { continue };
        let Some(Value::Array(items)) = parent.get_mut(list) else { continue };
        items.retain(|item| if list == "tolerations" { !is_toleration(item) } else { !is_token(item) });
        if items.is_empty() {
            parent.remove(list);
        }
    }
}

fn toleration(key: &str) -> Value {
    json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
}

/// Pointers to all that a pattern means in a value.
pub(super) fn places(value: &Value, pattern: &str) -> Vec<String> {
    let mut found = vec![(String::new(), value)];
    for token in pattern.split('/').skip(1) {
        found = found
            .into_iter()
            .flat_map(|(at, value)| -> Vec<(String, &Value)> {
                match value {
                    Value::Array(items) if token == "*" => {
                        items.iter().enumerate().map(|(index, item)| (format!("{at}/{index}"), item)).collect()
                    }
                    Value::Object(map) if token == "*" => {
                        map.iter().map(|(key, below)| (format!("{at}/{}", escaped(key)), below)).collect()
                    }
                    Value::Object(map) => {
                        let below = map.get(&unescaped(token));
                        below.into_iter().map(|below| (format!("{at}/{token}"), below)).collect()
                    }
                    _ => Vec::new(),
                }
            })
            .collect();
    }
    found.into_iter().map(|(at, _)| at).collect()
}

/// Removes the field at a pointer.
fn remove(value: &mut Value, pointer: &str) {
    if let Some((parent, key)) = pointer.rsplit_once('/')
        && let Some(Value::Object(map)) = value.pointer_mut(parent)
    {
        map.remove(&unescaped(key));
    }
}

/// Removes the field at a pointer, and the maps above it that are empty then.
fn remove_with_empty(value: &mut Value, pointer: &str) {
    remove(value, pointer);
    if let Some((parent, _)) = pointer.rsplit_once('/').filter(|(parent, _)| !parent.is_empty())
        && value.pointer(parent).and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        remove_with_empty(value, parent);
    }
}

/// A field of an object by its pointer.
pub(super) fn field<'a>(object: &'a Object, pointer: &str) -> Option<&'a Value> {
    let mut tokens = pointer.split('/').skip(1);
    let first = object.0.get(tokens.next()?)?;
    tokens.try_fold(first, |value, token| value.get(token))
}

pub(super) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn unescaped(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

/// `true` if a text fits a row of a table.
fn matches(row: &str, text: &str) -> bool {
    row.strip_suffix('*').map_or(row == text, |start| text.starts_with(start))
}

#[cfg(test)]
mod tests;
