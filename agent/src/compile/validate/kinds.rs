//! Kinds that no repository, or not this one, may declare.

use std::sync::Arc;

use super::Findings;
use crate::compile::options::CompileOptions;
use crate::compile::parse::{BuiltinKind, Manifest};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncKind;

/// KNV1043
pub(super) fn unsupported(manifest: &Manifest, findings: &mut Findings) {
    if manifest.is_any(BuiltinKind::Sync) {
        let message = "The kind Sync.configmanagement.gke.io is not supported in a source.";
        let finding = Finding::new(Code::UnsupportedObject, message);
        findings.push(finding.hint("Remove the object: every kind is synced.").at(manifest.at_value(&["kind"])));
    }
}

/// KNV1032
pub(super) fn hierarchical(manifest: &Manifest, findings: &mut Findings) {
    if manifest.is_any(BuiltinKind::Repo) || manifest.is_any(BuiltinKind::HierarchyConfig) {
        let message =
            format!("The kind {} has no meaning in an unstructured repository.", manifest.object.group_kind());
        let finding = Finding::new(Code::IllegalHierarchicalKind, message);
        let hint = "Remove the object, or use the source format `hierarchy`.";
        findings.push(finding.hint(hint).at(manifest.at_value(&["kind"])));
    }
}

/// Kinds of the group `extensions`, and the groups that they moved to.
const MOVED: &[(&str, &str)] = &[
    ("DaemonSet", "apps"),
    ("Deployment", "apps"),
    ("ReplicaSet", "apps"),
    ("StatefulSet", "apps"),
    ("Ingress", "networking.k8s.io"),
    ("NetworkPolicy", "networking.k8s.io"),
    ("PodSecurityPolicy", "policy"),
];

/// KNV1050
pub(super) fn deprecated(manifest: &Manifest, findings: &mut Findings) {
    if manifest.object.id.group() != "extensions" {
        return;
    }
    if let Some((kind, group)) = MOVED.iter().find(|(kind, _)| *kind == manifest.object.id.kind()) {
        let message = format!("The kind {kind}.extensions is no longer served.");
        let finding = Finding::new(Code::DeprecatedGroupKind, message);
        findings.push(finding.hint(format!("Use {kind}.{group}.")).at(manifest.at_value(&["apiVersion"])));
    }
}

/// KNV1069
pub(super) fn own_sync(manifests: &[Arc<Manifest>], options: &CompileOptions, findings: &mut Findings) {
    let Some(sync) = &options.sync else { return };
    let kind = sync.kind.to_string();
    for manifest in manifests {
        let object = &manifest.object;
        // All RootSyncs live in one namespace, which the manifest need not state.
        let same_namespace = sync.kind == SyncKind::RootSync || object.namespace() == sync.namespace;
        if object.is_kind("configsync.gke.io", &kind) && object.name() == sync.name && same_namespace {
            let message = format!("The source declares the very sync that applies it: {sync}.");
            let hint = "Declare it in the source of another sync, or apply it by hand.";
            findings.push(Finding::new(Code::SelfReconcile, message).hint(hint).at(manifest.at_name()));
        }
    }
}
