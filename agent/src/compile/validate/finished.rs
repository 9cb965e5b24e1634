//! What the set of all objects that are applied must fulfil.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Findings;
use crate::compile::options::Settings;
use crate::compile::parse::Known;
use crate::compile::scope::{Draft, Scope};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;
use crate::model::object::ObjectId;

/// KNV1029
pub(super) fn unique(drafts: &[Draft], _: &Settings, findings: &mut Findings) {
    let mut seen = HashSet::with_capacity(drafts.len());
    let repeated: BTreeSet<ObjectId> = drafts.iter().filter(|draft| !seen.insert(key(draft))).map(Draft::id).collect();
    if repeated.is_empty() {
        return;
    }
    let mut same: BTreeMap<ObjectId, Vec<&Draft>> = BTreeMap::new();
    for (id, draft) in drafts.iter().map(|draft| (draft.id(), draft)).filter(|(id, _)| repeated.contains(id)) {
        same.entry(id).or_default().push(draft);
    }
    for (id, drafts) in same {
        let (kind, count) = (id.group_kind(), drafts.len());
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
        findings.push(drafts.iter().fold(finding, |finding, draft| finding.at(draft.manifest.at_name())));
    }
}

fn key(draft: &Draft) -> (&str, &str, &str, &str) {
    let id = &draft.manifest.object.id;
    (draft.namespace(), id.name(), id.kind(), id.group())
}

/// Whether the object is declared `managed: disabled`.
fn disabled(draft: &Draft) -> bool {
    draft.object().annotation(annotation::MANAGED) == Some("disabled")
}

/// KNV1056
pub(super) fn unmanaged_namespaces(drafts: &[Draft], _: &Settings, findings: &mut Findings) {
    let unmanaged: BTreeMap<&str, &Draft> = drafts
        .iter()
        .filter(|draft| draft.manifest.is(Known::Namespace) && disabled(draft))
        .map(|draft| (draft.object().name(), draft))
        .collect();
    if unmanaged.is_empty() {
        return;
    }
    let mut managed: BTreeMap<&str, Vec<&Draft>> = BTreeMap::new();
    for draft in drafts.iter().filter(|draft| draft.scope != Scope::Cluster && !disabled(draft)) {
        if unmanaged.contains_key(draft.namespace()) {
            managed.entry(draft.namespace()).or_default().push(draft);
        }
    }
    for (namespace, objects) in managed {
        let message = format!("The Namespace `{namespace}` is not managed, but objects in it are.");
        let hint =
            format!("Add the annotation `{}: disabled` to them, or remove it from the Namespace.", annotation::MANAGED);
        let finding = Finding::new(Code::ManagedResourceInUnmanagedNamespace, message).hint(hint);
        let finding = finding.at(unmanaged[namespace].manifest.at_annotation(annotation::MANAGED));
        findings.push(objects.iter().fold(finding, |finding, draft| finding.at(draft.manifest.at_name())));
    }
}

/// More objects than this are refused where there is no other limit.
const MAX_OBJECTS: usize = 1_000_000;

/// More copies in Namespaces than this are not made. Selectors can leave most of them out.
pub(crate) const MAX_COPIES: usize = 10_000_000;

/// KNV1070
pub(super) fn count(drafts: &[Draft], settings: &Settings, findings: &mut Findings) {
    let max = settings.max_objects.unwrap_or(MAX_OBJECTS);
    if drafts.len() > max {
        let message = format!("The source declares {} objects, more than the limit of {max}.", drafts.len());
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
pub(super) fn in_namespace(drafts: &[Draft], namespace: &str) -> Vec<Finding> {
    let elsewhere = drafts.iter().filter(|draft| !draft.namespace().is_empty() && draft.namespace() != namespace);
    elsewhere
        .map(|draft| {
            let message = format!(
                "The object is in the namespace `{}`; this source may only declare objects in `{namespace}`.",
                draft.namespace()
            );
            let hint = format!("Remove metadata.namespace or set it to `{namespace}`.");
            let place = draft.manifest.at_value(&["metadata", "namespace"]);
            Finding::new(Code::BadScope, message).hint(hint).at(place)
        })
        .collect()
}
