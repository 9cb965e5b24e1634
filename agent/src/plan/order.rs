//! In which order: what an object has to wait for, and which kinds come first where nothing has to wait.

use std::collections::{BTreeMap, BTreeSet};

use crate::declared::DeclaredSet;
use crate::finding::{Code, Finding};
use crate::metadata::annotation;
use crate::object::{GroupKind, ObjectId};

/// Kinds in the order in which they are applied; the reverse for deletion. Any other kind comes between the last two.
const RANKS: [(&str, &str); 22] = [
    ("", "Namespace"),
    ("", "ResourceQuota"),
    ("storage.k8s.io", "StorageClass"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("", "ServiceAccount"),
    ("policy", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("", "LimitRange"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("policy", "PodDisruptionBudget"),
    ("*", "*"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
];

/// Place of a kind in the apply order.
pub fn rank(id: &ObjectId) -> u32 {
    let at = RANKS
        .iter()
        .position(|(group, kind)| *group == id.group && *kind == id.kind)
        .or_else(|| RANKS.iter().position(|(group, _)| *group == "*"));
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
}

/// What has to be ready before what.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// For each object that has to wait: for what.
    pub after: BTreeMap<ObjectId, Vec<ObjectId>>,
    levels: BTreeMap<ObjectId, u32>,
}

impl Order {
    /// Length of the longest chain of dependencies below an object; 0 for one that waits for nothing.
    pub fn level(&self, id: &ObjectId) -> u32 {
        self.levels.get(id).copied().unwrap_or(0)
    }
}

/// Dependencies of a declared set: an object waits for its CRD, its Namespace and what its `depends-on` annotation names,
/// where the set declares them. Cycles and references that lead nowhere are findings.
pub fn order(set: &DeclaredSet) -> Result<Order, Vec<Finding>> {
    let crds: BTreeMap<GroupKind, &ObjectId> =
        set.objects.values().filter(|o| o.id.is_crd()).filter_map(|o| Some((o.defined_kind()?, &o.id))).collect();
    let mut findings = Vec::new();
    let mut after: BTreeMap<ObjectId, Vec<ObjectId>> = BTreeMap::new();
    for object in set.objects.values() {
        if object.annotation(annotation::APPLY_TIME_MUTATION).is_some() {
            let message = format!("{} of {} is not supported", annotation::APPLY_TIME_MUTATION, object.id);
            findings.push(
                Finding::new(Code::Applier, message)
                    .hint("write the value into the manifest; the object is not applied with a placeholder in it")
                    .at(object.place()),
            );
        }
        let mut waits = Vec::new();
        waits.extend(crds.get(&object.id.group_kind()).map(|id| (*id).clone()));
        waits.extend(namespace_of(&object.id).filter(|id| set.objects.contains_key(id)));
        match object.annotation(annotation::DEPENDS_ON).map(|text| depends_on(&text)) {
            Some(Ok(ids)) => {
                for id in &ids {
                    if !set.objects.contains_key(id) {
                        let message = format!("{} depends on {id}, which is not declared here", object.id);
                        findings.push(
                            Finding::new(Code::Applier, message)
                                .hint(format!("declare it, or remove it from {}", annotation::DEPENDS_ON))
                                .at(object.place()),
                        );
                    }
                }
                waits.extend(ids);
            }
            Some(Err(reason)) => findings.push(
                Finding::new(Code::Applier, format!("{} of {}: {reason}", annotation::DEPENDS_ON, object.id))
                    .hint("write group/namespaces/<namespace>/<kind>/<name>, or group/<kind>/<name>, comma separated")
                    .at(object.place()),
            ),
            None => {}
        }
        if !waits.is_empty() {
            after.insert(object.id.clone(), waits);
        }
    }
    let (levels, cyclic) = levels(&after);
    if !cyclic.is_empty() {
        let names: Vec<String> = cyclic.iter().map(ToString::to_string).collect();
        let mut finding = Finding::new(Code::Applier, format!("cyclic dependency: {}", names.join(" -> ")))
            .hint(format!("remove one {} annotation of the cycle", annotation::DEPENDS_ON));
        finding.places = cyclic.iter().filter_map(|id| Some(set.objects.get(id)?.place())).collect();
        findings.push(finding);
    }
    if findings.is_empty() { Ok(Order { after, levels }) } else { Err(findings) }
}

/// The Namespace that an object lives in.
pub fn namespace_of(id: &ObjectId) -> Option<ObjectId> {
    (!id.namespace.is_empty()).then(|| ObjectId::new(&GroupKind::new("", "Namespace"), "", &id.namespace))
}

/// Reads `group/namespaces/<ns>/<kind>/<name>` and `group/<kind>/<name>`, comma separated.
fn depends_on(text: &str) -> Result<Vec<ObjectId>, String> {
    let mut ids: Vec<ObjectId> = Vec::new();
    for reference in text.split(',').map(str::trim) {
        let parts: Vec<&str> = reference.split('/').collect();
        let id = match parts.as_slice() {
            [group, "namespaces", namespace, kind, name] => {
                ObjectId::new(&GroupKind::new(group, kind), namespace, name)
            }
            [group, kind, name] => ObjectId::new(&GroupKind::new(group, kind), "", name),
            _ => return Err(format!("{reference:?} is no reference to an object")),
        };
        if id.kind.is_empty() || id.name.is_empty() {
            return Err(format!("{reference:?} names no object"));
        }
        if ids.contains(&id) {
            return Err(format!("{reference:?} is there twice"));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Kahn's algorithm; what remains lies on a cycle or behind one.
fn levels(after: &BTreeMap<ObjectId, Vec<ObjectId>>) -> (BTreeMap<ObjectId, u32>, Vec<ObjectId>) {
    let mut before: BTreeMap<&ObjectId, Vec<&ObjectId>> = BTreeMap::new();
    let mut open: BTreeMap<&ObjectId, usize> = BTreeMap::new();
    for (id, waits) in after {
        open.insert(id, waits.len());
        for wait in waits {
            open.entry(wait).or_insert(0);
            before.entry(wait).or_default().push(id);
        }
    }
    for (id, waits) in after {
        open.insert(id, waits.len());
    }
    let mut levels: BTreeMap<ObjectId, u32> = BTreeMap::new();
    let mut free: Vec<&ObjectId> = open.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    while let Some(id) = free.pop() {
        open.remove(id);
        let next = levels.get(id).copied().unwrap_or(0) + 1;
        for dependent in before.get(id).into_iter().flatten() {
            let level = levels.entry((*dependent).clone()).or_insert(0);
            *level = next.max(*level);
            if let Some(count) = open.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    free.push(dependent);
                }
            }
        }
    }
    (levels, on_cycle(&open.keys().map(|id| (*id).clone()).collect(), after))
}

/// One cycle among objects of which each waits for another of them, in order.
fn on_cycle(open: &BTreeSet<ObjectId>, after: &BTreeMap<ObjectId, Vec<ObjectId>>) -> Vec<ObjectId> {
    let mut path: Vec<ObjectId> = Vec::new();
    let mut at = open.first().cloned();
    while let Some(id) = at {
        if let Some(start) = path.iter().position(|seen| *seen == id) {
            return path.split_off(start);
        }
        at = after.get(&id).and_then(|waits| waits.iter().find(|wait| open.contains(*wait))).cloned();
        path.push(id);
    }
    Vec::new()
}
