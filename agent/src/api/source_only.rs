//! Kinds that only a repository uses: the agent reads them from its files and applies none. The CRDs exist so that `kubectl`
//! accepts them too.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_default;

/// The labels that choose clusters.
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
    /// Labels that the Cluster object of a chosen cluster has.
    pub selector: LabelSelector,
}

/// The labels that choose Namespaces.
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
    /// Labels that a chosen Namespace has.
    pub selector: LabelSelector,
    /// Namespaces to choose from: static for those of the source, dynamic for those of the cluster too. Default:
    /// static.
    #[serde(default = "static_mode")]
    #[schemars(regex(pattern = "^(static|dynamic)$"))]
    pub mode: String,
}

fn static_mode() -> String {
    "static".to_owned()
}

/// The kinds that Namespaces inherit in a hierarchical repository.
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
    /// The kinds, each with a mode of inheritance.
    pub resources: Vec<HierarchyResource>,
}

/// Kinds of one API group with their mode of inheritance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HierarchyResource {
    /// API group, empty for the core group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: String,
    /// Kinds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kinds: Vec<String>,
    /// Mode of inheritance: inherit or none. Default: inherit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hierarchy_mode: String,
}

/// A Kubernetes label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that a chosen object has with exactly these values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements. A chosen object meets all of them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub match_expressions: Vec<SelectorRequirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelectorRequirement {
    /// Label key.
    pub key: String,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: String,
    /// Values for In and NotIn.
    #[serde(default, skip_serializing_if = "is_default")]
    pub values: Vec<String>,
}

/// A cluster of the cluster registry. The agent reads its name and labels only.
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
    /// Login to the cluster. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub auth_info: Option<Value>,
    /// Addresses of the API server. They have no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::source::any_object")]
    pub kubernetes_api_endpoints: Option<Value>,
}
