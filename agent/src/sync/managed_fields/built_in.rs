//! Facts about the types of the API server itself, which an entry does not tell.

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
