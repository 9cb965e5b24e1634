//! Rules for CustomResourceDefinitions and for objects whose CustomResourceDefinition was removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Findings;
use crate::compile::options::CompileOptions;
use crate::compile::parse::Manifest;
use crate::compile::scope::crd;
use crate::model::finding::{Code, Finding};
use crate::model::object::GroupKind;

/// A CustomResourceDefinition has the fields of its type (KNV1065), is not one of the system (KNV1043), and its name is its plural
/// and its group (KNV1048).
pub(super) fn definition(manifest: &Manifest, findings: &mut Findings) {
    let crd = match crd(manifest) {
        None => return,
        Some(Err(malformed)) => return findings.push(malformed),
        Some(Ok(crd)) => crd,
    };
    if matches!(crd.group, "configmanagement.gke.io" | "configsync.gke.io") {
        let message = format!(
            "CustomResourceDefinitions of the group {} belong to the system and must not be declared.",
            crd.group
        );
        let finding = Finding::new(Code::UnsupportedObject, message);
        findings.push(
            finding
                .hint("Remove it from the source. The installation has it.")
                .at(manifest.at_value(&["spec", "group"])),
        );
    }
    let name = manifest.object.name();
    let expected = format!("{}.{}", crd.plural, crd.group);
    if name != expected {
        let message = format!("This CustomResourceDefinition must be named `{expected}`, not `{name}`.");
        let hint = "Set metadata.name to spec.names.plural, a dot and spec.group.";
        findings.push(Finding::new(Code::InvalidCRDName, message).hint(hint).at(manifest.at_name()));
    }
}

/// No object stays whose CustomResourceDefinition was removed since the last applied commit (KNV1047).
pub(super) fn removed(manifests: &[Arc<Manifest>], options: &CompileOptions, findings: &mut Findings) {
    if options.previous_crds.is_empty() {
        return;
    }
    let declared = manifests.iter().filter_map(|manifest| crd(manifest));
    let kinds = declared.map(|crd| crd.map(|crd| GroupKind::new(crd.group, crd.kind)));
    // While a CRD is malformed it is unknown which kinds have none.
    let Ok(declared) = kinds.collect::<Result<BTreeSet<GroupKind>, Finding>>() else { return };
    for manifest in manifests {
        let kind = manifest.object.group_kind();
        if options.previous_crds.contains(&kind) && !declared.contains(&kind) {
            let message =
                format!("The CustomResourceDefinition of {kind} was removed from the source, but this object was not.");
            let hint =
                "Remove the objects too, or restore the CustomResourceDefinition: deleting it deletes all its objects.";
            findings
                .push(Finding::new(Code::UnsupportedCRDRemoval, message).hint(hint).at(manifest.at_value(&["kind"])));
        }
    }
}
