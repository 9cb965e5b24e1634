//! The kinds that compilation itself reads.

use crate::model::object::Object;

/// A kind whose objects change what compilation does with other objects, or that only the system may declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltinKind {
    Namespace,
    NamespaceSelector,
    ClusterSelector,
    Cluster,
    Repo,
    HierarchyConfig,
    Sync,
    CustomResourceDefinition,
}

/// Rows of kind, group and the versions that compilation knows.
const TABLE: &[(&str, &str, &[&str], BuiltinKind)] = &[
    ("Namespace", "", &["v1"], BuiltinKind::Namespace),
    ("NamespaceSelector", "configmanagement.gke.io", &["v1"], BuiltinKind::NamespaceSelector),
    ("ClusterSelector", "configmanagement.gke.io", &["v1"], BuiltinKind::ClusterSelector),
    ("Cluster", "clusterregistry.k8s.io", &["v1alpha1"], BuiltinKind::Cluster),
    ("Repo", "configmanagement.gke.io", &["v1"], BuiltinKind::Repo),
    ("HierarchyConfig", "configmanagement.gke.io", &["v1"], BuiltinKind::HierarchyConfig),
    ("Sync", "configmanagement.gke.io", &["v1"], BuiltinKind::Sync),
    ("CustomResourceDefinition", "apiextensions.k8s.io", &["v1", "v1beta1"], BuiltinKind::CustomResourceDefinition),
];

/// The built-in kind of an object; and `true` if compilation knows its version.
pub(super) fn builtin_kind(object: &Object) -> Option<(BuiltinKind, bool)> {
    let (_, _, versions, builtin) = TABLE.iter().find(|row| row.0 == object.kind() && row.1 == object.group())?;
    Some((*builtin, versions.contains(&object.version())))
}
