//! The API types that users and other tools know: RootSync, RepoSync, ResourceGroup and the source-only kinds.
//!
//! Field names, defaults and what is left out when empty are contracts. The `kube` derives exist only with the feature
//! `cluster`; without it the same structs are plain data.

#[cfg(feature = "cluster")]
mod crds;
mod invalid;
mod overrides;
mod repo_sync;
mod resource_group;
mod root_sync;
mod source;
mod source_only;
mod status;
mod sync;
mod time;

pub use crate::model::duration::{format_duration, parse_duration};
#[cfg(feature = "cluster")]
pub use crds::{crds, yaml as crd_yaml};
pub use invalid::{invalid, unreadable};
pub use overrides::{ContainerResources, LogLevel, Overrides, Quantity, RoleRef};
#[cfg(feature = "cluster")]
pub use repo_sync::RepoSync;
pub use repo_sync::RepoSyncSpec;
#[cfg(feature = "cluster")]
pub use resource_group::ResourceGroup;
pub use resource_group::{
    Descriptor, GroupCondition, GroupRef, GroupStatus, Link, ResourceGroupSpec, ResourceGroupStatus, ResourceId,
    ResourceStatus,
};
#[cfg(feature = "cluster")]
pub use root_sync::RootSync;
pub use root_sync::RootSyncSpec;
pub use source::{Auth, GitSpec, HelmSpec, OciSpec, SecretRef, ValuesFileRef};
#[cfg(feature = "cluster")]
pub use source_only::{Cluster, ClusterSelector, HierarchyConfig, NamespaceSelector};
pub use source_only::{
    ClusterSelectorSpec, ClusterSpec, HierarchyConfigSpec, HierarchyResource, LabelSelector, NamespaceSelectorSpec,
    SelectorRequirement,
};
pub use status::{
    ErrorResource, ErrorSummary, GitStatus, Gvk, HelmStatus, OciStatus, Stage, SyncCondition, SyncError, SyncStatus,
};
pub use sync::{Source, SourceType, SyncSpec};
pub use time::Time;

/// Whether a field holds nothing and is left out when written, as Go's `omitempty` does.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
