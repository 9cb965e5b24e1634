//! What the set of all objects that are applied must fulfil.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Findings;
use crate::compile::kind_scopes::Scope;
use crate::compile::options::CompileOptions;
use crate::compile::parse::BuiltinKind;
use crate::compile::scope::ScopedManifest;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;
use crate::model::object::ObjectId;

/// KNV1029
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
        let finding = Finding::new(Code::NameCollision, message).hint("Rename or remove all but one.");
        findings.push(manifests.iter().fold(finding, |finding, scoped| finding.at(scoped.manifest.at_name())));
    }
}

fn key(scoped: &ScopedManifest) -> (&str, &str, &str, &str) {
    let id = &scoped.manifest.object.id;
    (scoped.namespace(), id.name(), id.kind(), id.group())
}

/// Whether the object is declared `managed: disabled`.
fn disabled(scoped: &ScopedManifest) -> bool {
    scoped.object().annotation(annotation::MANAGED) == Some("disabled")
}

/// KNV1056
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
        let message = format!("The Namespace `{namespace}` is not managed, but objects in it are.");
        let hint =
            format!("Add the annotation `{}: disabled` to them, or remove it from the Namespace.", annotation::MANAGED);
        let finding = Finding::new(Code::ManagedResourceInUnmanagedNamespace, message).hint(hint);
        let finding = finding.at(unmanaged[namespace].manifest.at_annotation(annotation::MANAGED));
        findings.push(objects.iter().fold(finding, |finding, scoped| finding.at(scoped.manifest.at_name())));
    }
}

/// More objects than this are refused where there is no other limit.
const MAX_OBJECTS: usize = 1_000_000;

/// More copies in Namespaces than this are not made. Selectors can leave most of them out.
pub(crate) const MAX_COPIES: usize = 10_000_000;

/// KNV1070
pub(super) fn count(manifests: &[ScopedManifest], options: &CompileOptions, findings: &mut Findings) {
    let max = options.max_objects.unwrap_or(MAX_OBJECTS);
    if manifests.len() > max {
        let message = format!("The source declares {} objects, more than the limit of {max}.", manifests.len());
        let hint = "Split it into several syncs, or raise the limit.";
        findings.push(Finding::new(Code::MaxObjectCount, message).hint(hint));
    }
}

/// KNV1070, of more than [`MAX_COPIES`].
pub(crate) fn too_many_copies() -> Finding {
    let message = format!("The source puts objects into Namespaces more than {MAX_COPIES} times.");
    let hint = "Split it into several syncs, or have fewer Namespaces take over fewer objects.";
    Finding::new(Code::MaxObjectCount, message).hint(hint)
}

/// KNV1058
pub(super) fn in_namespace(manifests: &[ScopedManifest], namespace: &str) -> Vec<Finding> {
    let elsewhere = manifests.iter().filter(|scoped| !scoped.namespace().is_empty() && scoped.namespace() != namespace);
    elsewhere
        .map(|scoped| {
            let message = format!(
                "The object is in the namespace `{}`; this source may only declare objects in `{namespace}`.",
                scoped.namespace()
            );
            let hint = format!("Remove metadata.namespace or set it to `{namespace}`.");
            let place = scoped.manifest.at_value(&["metadata", "namespace"]);
            Finding::new(Code::BadScope, message).hint(hint).at(place)
        })
        .collect()
}
