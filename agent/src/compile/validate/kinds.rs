//! Rules for kinds that a repository must not declare.

use std::sync::Arc;

use super::Findings;
use crate::compile::options::CompileOptions;
use crate::compile::parse::{BuiltinKind, Manifest};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::SyncKind;

/// No Sync of the group configmanagement.gke.io is declared (KNV1043).
pub(super) fn unsupported(manifest: &Manifest, findings: &mut Findings) {
    if manifest.is_any(BuiltinKind::Sync) {
        let message = "The kind Sync.configmanagement.gke.io must not be declared in a source.";
        let finding = Finding::new(Code::UnsupportedObject, message);
        findings
            .push(finding.hint("Remove the object. Every kind is synced without it.").at(manifest.at_value(&["kind"])));
    }
}

/// An unstructured repository has no Repo and no HierarchyConfig (KNV1032).
pub(super) fn hierarchical(manifest: &Manifest, findings: &mut Findings) {
    if manifest.is_any(BuiltinKind::Repo) || manifest.is_any(BuiltinKind::HierarchyConfig) {
        let message =
            format!("The kind {} has no meaning in an unstructured repository.", manifest.object.group_kind());
        let finding = Finding::new(Code::IllegalHierarchicalKind, message);
        let hint = "Remove the object, or use the source format `hierarchy`.";
        findings.push(finding.hint(hint).at(manifest.at_value(&["kind"])));
    }
}

/// Kinds of the group `extensions`, and the groups that have them now.
const MOVED: &[(&str, &str)] = &[
    ("DaemonSet", "apps"),
    ("Deployment", "apps"),
    ("ReplicaSet", "apps"),
    ("StatefulSet", "apps"),
    ("Ingress", "networking.k8s.io"),
    ("NetworkPolicy", "networking.k8s.io"),
    ("PodSecurityPolicy", "policy"),
];

/// No kind of the group `extensions` is declared that another group has now (KNV1050).
pub(super) fn deprecated(manifest: &Manifest, findings: &mut Findings) {
    if manifest.object.id.group() != "extensions" {
        return;
    }
    if let Some((kind, group)) = MOVED.iter().find(|(kind, _)| *kind == manifest.object.id.kind()) {
        let message = format!("The API server does not serve the kind {kind}.extensions any more.");
        let finding = Finding::new(Code::DeprecatedGroupKind, message);
        findings.push(finding.hint(format!("Use the kind {kind}.{group}.")).at(manifest.at_value(&["apiVersion"])));
    }
}

/// The source of a sync does not declare the sync object itself (KNV1069).
pub(super) fn own_sync(manifests: &[Arc<Manifest>], options: &CompileOptions, findings: &mut Findings) {
    let Some(sync) = &options.sync else { return };
    let kind = sync.kind.to_string();
    for manifest in manifests {
        let object = &manifest.object;
        // All RootSyncs are in one namespace, which may be missing in the manifest.
        let same_namespace = sync.kind == SyncKind::RootSync || object.namespace() == sync.namespace;
        if object.is_kind("configsync.gke.io", &kind) && object.name() == sync.name && same_namespace {
            let message = format!("The source declares the sync that applies this source: {sync}.");
            let hint = "Declare it in the source of another sync, or apply it with kubectl.";
            findings.push(Finding::new(Code::SelfReconcile, message).hint(hint).at(manifest.at_name()));
        }
    }
}
