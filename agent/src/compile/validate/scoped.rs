//! Rules that depend on the scope of an object.

use super::Findings;
use crate::compile::kind_scopes::Scope;
use crate::compile::scope::ScopedManifest;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;

/// A cluster-scoped object has no namespace (KNV1052) and no namespace selector (KNV1004).
pub(super) fn cluster_scoped(scoped: &ScopedManifest, findings: &mut Findings) {
    if scoped.scope != Scope::Cluster {
        return;
    }
    let (manifest, kind) = (&scoped.manifest, scoped.object().kind());
    if scoped.placed.is_some() && manifest.object.id.namespace().is_empty() {
        let message = format!("A {kind} is cluster-scoped and must not be in the directory of a Namespace.");
        let finding = Finding::new(Code::IllegalNamespaceOnClusterScopedResource, message);
        findings.push(finding.hint("Move it to the directory `cluster/`.").at(manifest.at_value(&["kind"])));
    } else if !scoped.namespace().is_empty() {
        let message = format!("A {kind} is cluster-scoped and must not have metadata.namespace.");
        let finding = Finding::new(Code::IllegalNamespaceOnClusterScopedResource, message);
        let place = manifest.at_value(&["metadata", "namespace"]);
        findings.push(finding.hint("Remove metadata.namespace.").at(place));
    } else if scoped.object().annotation(annotation::NAMESPACE_SELECTOR).is_some() {
        let key = annotation::NAMESPACE_SELECTOR;
        let message = format!("A {kind} is cluster-scoped and must not have the annotation `{key}`.");
        let finding = Finding::new(Code::IllegalSelectorAnnotation, message);
        findings.push(finding.hint("Remove the annotation.").at(manifest.at_annotation(key)));
    }
}

/// A namespace repository declares no cluster-scoped object (KNV1058).
pub(super) fn not_namespaced(scoped: &ScopedManifest, findings: &mut Findings) {
    if scoped.scope == Scope::Cluster {
        let object = scoped.object();
        let message = format!(
            "{} `{}` is cluster-scoped, but a RepoSync can only declare objects in its namespace.",
            object.group_kind(),
            object.name()
        );
        let finding = Finding::new(Code::BadScope, message);
        let hint = "Declare it in the source of a RootSync.";
        findings.push(finding.hint(hint).at(scoped.manifest.at_value(&["kind"])));
    }
}

/// An object has a namespace or a namespace selector, not both (KNV1053).
pub(super) fn namespace_and_selector(scoped: &ScopedManifest, findings: &mut Findings) {
    let key = annotation::NAMESPACE_SELECTOR;
    if scoped.scope == Scope::Namespaced && !scoped.namespace().is_empty() && scoped.object().annotation(key).is_some()
    {
        let message = format!("The object has both the namespace `{}` and the annotation `{key}`.", scoped.namespace());
        let finding = Finding::new(Code::NamespaceAndSelector, message);
        findings.push(finding.hint("Keep one of them, and remove the other.").at(scoped.manifest.at_annotation(key)));
    }
}
