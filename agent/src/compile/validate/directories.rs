//! Rules for the directory of a file, in hierarchical repositories.

use super::Findings;
use crate::compile::parse::{BuiltinKind, Manifest};
use crate::compile::tree;
use crate::model::finding::{Code, Finding};

/// A Namespace is in a directory of its own name (KNV1019, KNV1020); any other object has the namespace of its directory or none
/// (KNV1009).
pub(super) fn namespace_directory(manifest: &Manifest, findings: &mut Findings) {
    let directory = manifest.directory_name();
    let (name, namespace) = (manifest.object.id.name(), manifest.object.id.namespace());
    if manifest.is(BuiltinKind::Namespace) {
        if directory == tree::ROOT {
            let message = format!("The Namespace `{name}` is directly in `{}/`.", tree::ROOT);
            let finding = Finding::new(Code::IllegalTopLevelNamespace, message);
            let hint = format!("Move the file to `{}/{name}/`.", tree::ROOT);
            findings.push(finding.hint(hint).at(manifest.at_name()));
        } else if name != directory {
            let message = format!(
                "The Namespace in the directory `{directory}` must have the name of the directory, not `{name}`."
            );
            let finding = Finding::new(Code::InvalidNamespaceName, message);
            let hint = format!("Rename the Namespace to `{directory}`, or the directory to `{name}`.");
            findings.push(finding.hint(hint).at(manifest.at_name()));
        }
        return;
    }
    if !namespace.is_empty() && namespace != directory {
        let message = format!("metadata.namespace is `{namespace}`, but the directory of the file is `{directory}`.");
        let finding = Finding::new(Code::IllegalMetadataNamespaceDeclaration, message);
        let hint = format!("Remove metadata.namespace or set it to `{directory}`.");
        findings.push(finding.hint(hint).at(manifest.at_value(&["metadata", "namespace"])));
    }
}

/// Clusters and ClusterSelectors are in `clusterregistry/` (KNV1039).
pub(super) fn cluster_registry(manifest: &Manifest, findings: &mut Findings) {
    let describes_clusters = manifest.is_any(BuiltinKind::Cluster) || manifest.is_any(BuiltinKind::ClusterSelector);
    if describes_clusters && manifest.top_directory() != "clusterregistry" {
        findings.push(tree::misplaced(manifest, "clusterregistry"));
    }
}
