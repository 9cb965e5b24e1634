//! Kinds that a repository declares and no cluster acts on. Their CRDs exist so that `kubectl` accepts them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_default;

/// Which clusters: those whose Cluster object has fitting labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "configmanagement.gke.io",
        version = "v1",
        kind = "ClusterSelector",
        doc = "ClusterSelector chooses the clusters that a manifest is for, by the labels of their Cluster objects."
    )
)]
pub struct ClusterSelectorSpec {
    /// Labels of the clusters.
    pub selector: LabelSelector,
}

/// Which Namespaces: those with fitting labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "configmanagement.gke.io",
        version = "v1",
        kind = "NamespaceSelector",
        doc = "NamespaceSelector chooses the Namespaces that a manifest is for, by their labels."
    )
)]
pub struct NamespaceSelectorSpec {
    /// Labels of the Namespaces.
    pub selector: LabelSelector,
    /// static: Namespaces of the source. dynamic: those of the cluster too.
    #[serde(default = "static_mode")]
    #[schemars(regex(pattern = "^(static|dynamic)$"))]
    pub mode: String,
}

fn static_mode() -> String {
    "static".to_owned()
}

/// How kinds are inherited in a hierarchical repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "configmanagement.gke.io",
        version = "v1",
        kind = "HierarchyConfig",
        doc = "HierarchyConfig says which kinds a Namespace inherits from the directories above it."
    )
)]
pub struct HierarchyConfigSpec {
    /// Kinds and how each is inherited.
    pub resources: Vec<HierarchyResource>,
}

/// Kinds of one group and how they are inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HierarchyResource {
    /// API group, empty for the core group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: String,
    /// Kinds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kinds: Vec<String>,
    /// inherit (default) or none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hierarchy_mode: String,
}

/// A Kubernetes label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with these values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements, all of which must hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelectorRequirement {
    /// Label key.
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: String,
    /// Values, for In and NotIn.
    #[serde(default, skip_serializing_if = "is_default")]
    pub values: Vec<String>,
}

/// A cluster of the registry. Only its name and labels matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "clusterregistry.k8s.io",
        version = "v1alpha1",
        kind = "Cluster",
        namespaced,
        annotation("api-approved.kubernetes.io", "unapproved, read from repositories only"),
        doc = "Cluster names a cluster and its labels, which ClusterSelectors choose by."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// How to log in; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub auth_info: Option<Value>,
    /// Where the API server is; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub kubernetes_api_endpoints: Option<Value>,
}
