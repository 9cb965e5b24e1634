//! The API groups of the API server itself.

/// API groups of the API server itself whose types have no map of free-form maps: there an empty node always means "owned as
/// a whole". In custom resources, in CRD schemas and in `resource.k8s.io` it can also mean that the key is ours while its
/// content is another manager's.
const CLOSED_GROUPS: [&str; 17] = [
    "",
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// `true` for an API group in which an empty node always means "owned as a whole".
pub(crate) fn is_closed(group: &str) -> bool {
    CLOSED_GROUPS.contains(&group)
}

/// `true` for an API group whose types are structs of the API server: it does not store empty values of most of their fields, and
/// the empty node of a list that is not empty always means "owned as a whole".
pub(crate) fn is_built_in(group: &str) -> bool {
    const OPEN_GROUPS: [&str; 4] =
        ["apiextensions.k8s.io", "internal.apiserver.k8s.io", "resource.k8s.io", "storagemigration.k8s.io"];
    is_closed(group) || OPEN_GROUPS.contains(&group)
}
