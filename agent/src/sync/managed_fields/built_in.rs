//! Facts about the types of the API server itself, which an entry does not tell.

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
pub(super) fn is_closed(group: &str) -> bool {
    CLOSED_GROUPS.contains(&group)
}

/// `true` for an API group whose types are structs of the API server: it does not store empty values of most of their fields, and
/// the empty node of a list that is not empty always means "owned as a whole".
pub(super) fn is_built_in(group: &str) -> bool {
    const OPEN_GROUPS: [&str; 4] =
        ["apiextensions.k8s.io", "internal.apiserver.k8s.io", "resource.k8s.io", "storagemigration.k8s.io"];
    is_closed(group) || OPEN_GROUPS.contains(&group)
}

/// Selectors of built-in kinds: they are owned as a whole. Empty, they mean everything, and the API server leaves them so.
pub(super) const SELECTORS: [&str; 8] = [
    "labelSelector",
    "matchLabels",
    "namespaceSelector",
    "nodeSelector",
    "objectSelector",
    "podSelector",
    "resourceSelector",
    "scopeSelector",
];

/// Maps of built-in kinds of which managers own single fields.
pub(super) const STRUCTS: [&str; 2] = ["spec", "template"];

/// `true` for a list of a built-in kind that managers own item by item: an apply of it leaves no trace in an entry when it is empty.
/// All others are owned as a whole. Lists within those do not count.
pub(super) fn is_list_of_items(kind: &str, path: &str) -> bool {
    const NAMES: [&str; 20] = [
        "claims",
        "containers",
        "drivers",
        "env",
        "ephemeralContainers",
        "hostAliases",
        "initContainers",
        "matchConditions",
        "ownerReferences",
        "podCIDRs",
        "resourceClaims",
        "schedulingGates",
        "secrets",
        "topologySpreadConstraints",
        "validationActions",
        "volumeDevices",
        "volumeLifecycleModes",
        "volumeMounts",
        "volumes",
        "webhooks",
    ];
    match path.rsplit('.').next().unwrap_or_default() {
        "finalizers" => kind != "Namespace",
        "imagePullSecrets" => kind != "ServiceAccount",
        "ports" => kind != "EndpointSlice",
        "variables" => kind != "MutatingAdmissionPolicy",
        name => NAMES.contains(&name),
    }
}

/// `true` for a list of a built-in kind to which the API server or admission adds items, or which it fills when it is empty.
pub(super) fn is_filled_list(path: &str) -> bool {
    const NAMES: [&str; 5] = ["clusterIPs", "ipFamilies", "metrics", "policyTypes", "volumeLifecycleModes"];
    // The tolerations of Pods, and the finalizer of Namespaces.
    const PATHS: [&str; 2] = [".spec.tolerations", ".spec.finalizers"];
    PATHS.contains(&path) || path.rsplit('.').next().is_some_and(|name| NAMES.contains(&name))
}

/// Numbers of built-in kinds that the API server replaces when they are 0.
pub(super) const FILLED_NUMBERS: [&str; 9] = [
    "count",
    "failureThreshold",
    "healthCheckNodePort",
    "hostPort",
    "nodePort",
    "periodSeconds",
    "successThreshold",
    "targetPort",
    "timeoutSeconds",
];

/// Fields that the API server sets when an apply changes another one, whatever the apply says of them: group, kind and path.
pub(super) const SET_WITH_OTHERS: [(&str, &str, &str); 1] =
    [("resource.k8s.io", "DeviceTaintRule", ".spec.taint.timeAdded")];

/// Fields whose empty text is a value.
pub(super) const KEPT_TEXTS: [&str; 3] = ["default", "storageClassName", "value"];

/// Maps of texts, which the API server stores as they are.
pub(super) const MAPS_OF_TEXTS: [&str; 10] = [
    "annotations",
    "data",
    "labels",
    "matchLabels",
    "nodeSelector",
    "options",
    "parameters",
    "selector",
    "volumeAttributes",
    "binaryData",
];
