//! The API types that users and other tools know: RootSync, RepoSync, ResourceGroup, ConfigManagement and the kinds that only
//! repositories use.
//!
//! Field names, defaults and the fields that are left out when empty are contracts. The `kube` derives exist only with the
//! feature `cluster`; without it the same structs are plain data.

mod time;
mod status;
mod source;
mod overrides;
mod sync;
mod root_sync;
mod repo_sync;
mod resource_group;
mod source_only;
mod config_management;
#[cfg(feature = "cluster")]
mod crds;
mod invalid;
mod removal;
mod supported;

pub use crate::model::duration::{format_duration, parse_duration};
#[cfg(feature = "cluster")]
pub use config_management::ConfigManagement;
pub use config_management::{
    CONFIG_MANAGEMENT, CONFIG_MANAGEMENT_NO_EFFECT, ConfigManagementGit, ConfigManagementProxy, ConfigManagementSpec,
    ConfigManagementStatus,
};
#[cfg(feature = "cluster")]
pub use crds::{crds, yaml as crd_yaml};
#[cfg(feature = "cluster")]
pub(crate) use invalid::sync_resource;
pub use overrides::{
    API_SERVER_TIMEOUT, ContainerResources, LogLevel, Overrides, Quantity, RECONCILE_TIMEOUT, RoleRef,
};
pub use removal::Removal;
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
pub use source::{Auth, GitSpec, GitVerification, HelmSpec, OciSpec, SHORTEST_PERIOD, SecretRef, ValuesFileRef};
#[cfg(feature = "cluster")]
pub use source_only::{Cluster, ClusterSelector, HierarchyConfig, NamespaceSelector};
pub use source_only::{
    ClusterSelectorSpec, ClusterSpec, HierarchyConfigSpec, HierarchyResource, LabelSelector, NamespaceSelectorSpec,
    SelectorRequirement,
};
pub use status::{
    ErrorResource, ErrorSummary, GitStatus, Gvk, HelmStatus, OciStatus, PastCommit, StageStatus, SyncCondition,
    SyncError, SyncStatus,
};
pub use supported::{LocalRepositories, NO_EFFECT, SupportedSpec, supported};
pub use sync::{SourceType, SyncSource, SyncSpec};
pub use time::Time;

/// `true` if the value is its type's default. Such a field is left out when written, as by Go's `omitempty`.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
