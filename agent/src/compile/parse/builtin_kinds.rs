//! The kinds that mean something to compilation itself.

use crate::model::object::Object;

/// A kind that means something to compilation itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Namespace,
    NamespaceSelector,
    ClusterSelector,
    Cluster,
    Repo,
    HierarchyConfig,
    Sync,
    CustomResourceDefinition,
}

/// Kind, group and the versions that have a meaning.
const TABLE: &[(&str, &str, &[&str], Known)] = &[
    ("Namespace", "", &["v1"], Known::Namespace),
    ("NamespaceSelector", "configmanagement.gke.io", &["v1"], Known::NamespaceSelector),
    ("ClusterSelector", "configmanagement.gke.io", &["v1"], Known::ClusterSelector),
    ("Cluster", "clusterregistry.k8s.io", &["v1alpha1"], Known::Cluster),
    ("Repo", "configmanagement.gke.io", &["v1"], Known::Repo),
    ("HierarchyConfig", "configmanagement.gke.io", &["v1"], Known::HierarchyConfig),
    ("Sync", "configmanagement.gke.io", &["v1"], Known::Sync),
    ("CustomResourceDefinition", "apiextensions.k8s.io", &["v1", "v1beta1"], Known::CustomResourceDefinition),
];

/// The known kind of an object, and whether its version has a meaning.
pub(super) fn known(object: &Object) -> Option<(Known, bool)> {
    let (_, _, versions, known) = TABLE.iter().find(|row| row.0 == object.kind() && row.1 == object.group())?;
    Some((*known, versions.contains(&object.version())))
}
