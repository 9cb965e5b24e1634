//! Every annotation, label, prefix and reserved name that is a contract with users and other tools, in one place.
//!
//! Meanings: the project's `README.md` and the Config Sync documentation; keys and values must never change.

use std::fmt;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "configsync.gke.io";
/// Prefixes whose keys belong to the system.
pub const SYSTEM_PREFIXES: [&str; 2] = ["configmanagement.gke.io/", "configsync.gke.io/"];
/// Suffix of the labels that say how far above a Namespace a directory is.
pub const DEPTH_SUFFIX: &str = ".tree.hnc.x-k8s.io/depth";

/// Namespace of the controllers, RootSyncs and their inventories.
pub const CONTROLLER_NAMESPACE: &str = "config-management-system";
/// Namespaces that no repository may declare (KNV1034).
pub const CONTROLLER_NAMESPACES: [&str; 3] =
    [CONTROLLER_NAMESPACE, "resource-group-system", "config-management-monitoring"];
/// Namespaces that are only ever abandoned, never deleted.
pub const SPECIAL_NAMESPACES: [&str; 5] =
    ["default", "kube-system", "kube-public", "kube-node-lease", "gatekeeper-system"];

/// Name of the default RootSync.
pub const ROOT_SYNC: &str = "root-sync";
/// Name of the default RepoSync.
pub const REPO_SYNC: &str = "repo-sync";

/// Annotation keys.
pub mod annotation {
    /// User: `disabled`; system: `enabled`.
    pub const MANAGED: &str = "configmanagement.gke.io/managed";
    /// User: a ClusterSelector's name.
    pub const CLUSTER_SELECTOR: &str = "configmanagement.gke.io/cluster-selector";
    /// User: cluster names, comma separated.
    pub const CLUSTER_NAME_SELECTOR: &str = "configsync.gke.io/cluster-name-selector";
    /// User: a NamespaceSelector's name.
    pub const NAMESPACE_SELECTOR: &str = "configmanagement.gke.io/namespace-selector";
    /// User, on a sync: `Foreground` or `Orphan`.
    pub const DELETION_PROPAGATION: &str = "configsync.gke.io/deletion-propagation-policy";
    /// User, on a sync: the commit whose large prune is approved.
    pub const APPROVE_PRUNE: &str = "configsync.gke.io/approve-prune";
    /// User: `detach` abandons the object instead of deleting it. System: on special and implicit Namespaces.
    pub const DELETION: &str = "client.lifecycle.config.k8s.io/deletion";
    /// User: `ignore` creates the object and leaves later changes alone.
    pub const MUTATION: &str = "client.lifecycle.config.k8s.io/mutation";
    /// User: `keep`, the older form of [`DELETION`]`: detach`.
    pub const ON_REMOVE: &str = "cli-utils.sigs.k8s.io/on-remove";
    /// User: objects that must be applied and ready before this one.
    pub const DEPENDS_ON: &str = "config.kubernetes.io/depends-on";
    /// User: values copied from other objects at apply time.
    pub const APPLY_TIME_MUTATION: &str = "config.kubernetes.io/apply-time-mutation";
    /// User: hides a document of the source.
    pub const LOCAL_CONFIG: &str = "config.kubernetes.io/local-config";
    /// System: which cluster the object was compiled for.
    pub const CLUSTER_NAME: &str = "configmanagement.gke.io/cluster-name";
    /// System: path of the source file.
    pub const SOURCE_PATH: &str = "configmanagement.gke.io/source-path";
    /// System: the commit that last changed the object.
    pub const TOKEN: &str = "configmanagement.gke.io/token";
    /// System: repository, branch and revision as JSON.
    pub const GIT_CONTEXT: &str = "configsync.gke.io/git-context";
    /// System: which sync manages the object.
    pub const MANAGER: &str = "configsync.gke.io/manager";
    /// System: the object this annotation was written for; a copied annotation names another.
    pub const RESOURCE_ID: &str = "configsync.gke.io/resource-id";
    /// System: hash of the declared object without token, git-context and itself.
    pub const DECLARED_HASH: &str = "configsync.gke.io/declared-hash";
    /// System: kinds of unknown scope.
    pub const UNKNOWN_SCOPE: &str = "configsync.gke.io/unknown-scope";
    /// System: inventory of the sync, `<namespace>_<name>`.
    pub const OWNING_INVENTORY: &str = "config.k8s.io/owning-inventory";
    /// System, on Namespaces of hierarchical repositories.
    pub const HNC_MANAGED_BY: &str = "hnc.x-k8s.io/managed-by";
    /// System: the user's value of [`HNC_MANAGED_BY`].
    pub const ORIGINAL_HNC_MANAGED_BY: &str = "configsync.gke.io/original-hnc-managed-by-value";
    /// System, on ResourceGroups: whether resource status is written.
    pub const STATUS: &str = "configsync.gke.io/status";
}

/// Label keys.
pub mod label {
    /// System: [`super::MANAGED_BY_VALUE`].
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// System: the ApplySet the object belongs to.
    pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
    /// System: API version the object was declared with.
    pub const DECLARED_VERSION: &str = "configsync.gke.io/declared-version";
    /// System, on ResourceGroups: `<namespace>_<name>` of the sync.
    pub const INVENTORY_ID: &str = "cli-utils.sigs.k8s.io/inventory-id";
    /// System, on objects that belong to a sync.
    pub const SYNC_NAMESPACE: &str = "configsync.gke.io/sync-namespace";
    /// System, on objects that belong to a sync.
    pub const SYNC_NAME: &str = "configsync.gke.io/sync-name";
    /// System, on objects that belong to a sync.
    pub const SYNC_KIND: &str = "configsync.gke.io/sync-kind";
}

/// Annotations under [`SYSTEM_PREFIXES`] that users may set (KNV1010 for every other).
pub const USER_ANNOTATIONS: [&str; 5] = [
    annotation::NAMESPACE_SELECTOR,
    annotation::CLUSTER_SELECTOR,
    annotation::MANAGED,
    annotation::CLUSTER_NAME_SELECTOR,
    annotation::DELETION_PROPAGATION,
];

/// Value of [`label::MANAGED_BY`] and [`annotation::HNC_MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "configmanagement.gke.io";

/// Whether `key` lies under one of the [`SYSTEM_PREFIXES`].
pub fn is_system_key(key: &str) -> bool {
    SYSTEM_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// RootSync or RepoSync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SyncKind {
    /// Syncs a whole cluster.
    RootSync,
    /// Syncs one namespace.
    RepoSync,
}

impl fmt::Display for SyncKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RootSync => "RootSync",
            Self::RepoSync => "RepoSync",
        })
    }
}

/// Which sync: everything that is stamped on its objects follows from this.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId {
    /// RootSync or RepoSync.
    pub kind: SyncKind,
    /// Namespace of the sync object.
    pub namespace: String,
    /// Name of the sync object.
    pub name: String,
}

impl SyncId {
    /// The RootSync `name` in the controllers' namespace.
    pub fn root(name: &str) -> Self {
        Self { kind: SyncKind::RootSync, namespace: CONTROLLER_NAMESPACE.to_owned(), name: name.to_owned() }
    }

    /// Value of the label [`label::PART_OF`]: an ApplySet id (KEP-3659) over the sync's name, namespace and kind.
    pub fn part_of(&self) -> String {
        let digest =
            Sha256::digest(format!("{}.{}.{}.configsync.gke.io", self.name, self.namespace, self.kind).as_bytes());
        format!("applyset-{}-v1", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest))
    }

    /// Value of the annotation [`annotation::MANAGER`].
    pub fn manager(&self) -> String {
        let (scope, default) = match self.kind {
            SyncKind::RootSync => (":root", ROOT_SYNC),
            SyncKind::RepoSync => (self.namespace.as_str(), REPO_SYNC),
        };
        if self.name == default { scope.to_owned() } else { format!("{scope}_{}", self.name) }
    }

    /// Value of [`annotation::OWNING_INVENTORY`] and [`label::INVENTORY_ID`].
    pub fn inventory_id(&self) -> String {
        format!("{}_{}", self.namespace, self.name)
    }
}

/// `RootSync config-management-system/root-sync`
impl fmt::Display for SyncId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_are_left_out_of_the_manager() {
        assert_eq!(SyncId::root("root-sync").manager(), ":root");
        assert_eq!(SyncId::root("x").manager(), ":root_x");
        let shop = |name: &str| SyncId { kind: SyncKind::RepoSync, namespace: "shop".into(), name: name.into() };
        assert_eq!(shop("repo-sync").manager(), "shop");
        assert_eq!(shop("x").manager(), "shop_x");
    }

    #[test]
    fn part_of_is_a_label_value() {
        let id = SyncId::root("root-sync").part_of();
        assert!(id.len() <= 63 && id.starts_with("applyset-") && id.ends_with("-v1"), "{id}");
    }
}
