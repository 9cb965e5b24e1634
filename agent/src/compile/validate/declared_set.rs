//! Rules for the set of all objects that are applied.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Findings;
use crate::compile::kind_scopes::Scope;
use crate::compile::options::CompileOptions;
use crate::compile::parse::BuiltinKind;
use crate::compile::scope::ScopedManifest;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;
use crate::model::object::ObjectId;

/// Each object is declared once (KNV1029).
pub(super) fn unique(manifests: &[ScopedManifest], _: &CompileOptions, findings: &mut Findings) {
    let mut seen = HashSet::with_capacity(manifests.len());
    let repeated: BTreeSet<ObjectId> =
        manifests.iter().filter(|scoped| !seen.insert(key(scoped))).map(ScopedManifest::id).collect();
    if repeated.is_empty() {
        return;
    }
    let mut same: BTreeMap<ObjectId, Vec<&ScopedManifest>> = BTreeMap::new();
    for (id, scoped) in manifests.iter().map(|scoped| (scoped.id(), scoped)).filter(|(id, _)| repeated.contains(id)) {
        same.entry(id).or_default().push(scoped);
    }
    for (id, manifests) in same {
        let (kind, count) = (id.group_kind(), manifests.len());
        let message = if id.is_namespace() {
            format!("There are {count} Namespaces named `{}`.", id.name())
        } else if id.namespace().is_empty() {
            format!("There are {count} objects of the kind {kind} named `{}`.", id.name())
        } else {
            format!(
                "There are {count} objects of the kind {kind} named `{}` in the namespace `{}`.",
                id.name(),
                id.namespace()
            )
        };
        let finding =
            Finding::new(Code::NameCollision, message).hint("Keep one of them, and rename or remove the others.");
        findings.push(manifests.iter().fold(finding, |finding, scoped| finding.at(scoped.manifest.at_name())));
    }
}

fn key(scoped: &ScopedManifest) -> (&str, &str, &str, &str) {
    let id = &scoped.manifest.object.id;
    (scoped.namespace(), id.name(), id.kind(), id.group())
}

/// `true` if the object is declared `managed: disabled`.
fn disabled(scoped: &ScopedManifest) -> bool {
    scoped.object().annotation(annotation::MANAGED) == Some("disabled")
}

/// A Namespace that is declared `managed: disabled` has no managed objects in it (KNV1056).
pub(super) fn unmanaged_namespaces(manifests: &[ScopedManifest], _: &CompileOptions, findings: &mut Findings) {
    let unmanaged: BTreeMap<&str, &ScopedManifest> = manifests
        .iter()
        .filter(|scoped| scoped.manifest.is(BuiltinKind::Namespace) && disabled(scoped))
        .map(|scoped| (scoped.object().name(), scoped))
        .collect();
    if unmanaged.is_empty() {
        return;
    }
    let mut managed: BTreeMap<&str, Vec<&ScopedManifest>> = BTreeMap::new();
    for scoped in manifests.iter().filter(|scoped| scoped.scope != Scope::Cluster && !disabled(scoped)) {
        if unmanaged.contains_key(scoped.namespace()) {
            managed.entry(scoped.namespace()).or_default().push(scoped);
        }
    }
    for (namespace, objects) in managed {
        let message =
            format!("The Namespace `{namespace}` is declared `managed: disabled`, but objects in it are managed.");
        let hint = format!(
            "Add the annotation `{}: disabled` to the objects, or remove it from the Namespace.",
            annotation::MANAGED
        );
        let finding = Finding::new(Code::ManagedResourceInUnmanagedNamespace, message).hint(hint);
        let finding = finding.at(unmanaged[namespace].manifest.at_annotation(annotation::MANAGED));
        findings.push(objects.iter().fold(finding, |finding, scoped| finding.at(scoped.manifest.at_name())));
    }
}

/// The largest number of objects if the options set no limit.
const MAX_OBJECTS: usize = 1_000_000;

/// The largest number of copies of objects into Namespaces, before selectors leave some out.
pub(crate) const MAX_COPIES: usize = 10_000_000;

/// There are no more objects than the limit (KNV1070).
pub(super) fn count(manifests: &[ScopedManifest], options: &CompileOptions, findings: &mut Findings) {
    let max = options.max_objects.unwrap_or(MAX_OBJECTS);
    if manifests.len() > max {
        let message = format!("The source declares {} objects. The limit is {max}.", manifests.len());
        let hint = "Split the source into several syncs, or raise the limit.";
        findings.push(Finding::new(Code::MaxObjectCount, message).hint(hint));
    }
}

/// The finding (KNV1070) about more copies than [`MAX_COPIES`].
pub(crate) fn too_many_copies() -> Finding {
    let message = format!("The source copies objects into Namespaces more than {MAX_COPIES} times.");
    let hint = "Split the source into several syncs, or inherit fewer objects in fewer Namespaces.";
    Finding::new(Code::MaxObjectCount, message).hint(hint)
}

/// All objects are in `namespace` (KNV1058).
pub(super) fn in_namespace(manifests: &[ScopedManifest], namespace: &str) -> Vec<Finding> {
    let elsewhere = manifests.iter().filter(|scoped| !scoped.namespace().is_empty() && scoped.namespace() != namespace);
    elsewhere
        .map(|scoped| {
            let message = format!(
                "The object is in the namespace `{}`, but this source can only declare objects in `{namespace}`.",
                scoped.namespace()
            );
            let hint = format!("Remove metadata.namespace or set it to `{namespace}`.");
            let place = scoped.manifest.at_value(&["metadata", "namespace"]);
            Finding::new(Code::BadScope, message).hint(hint).at(place)
        })
        .collect()
}
