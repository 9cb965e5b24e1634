//! All annotation keys, label keys, prefixes and reserved names that users and other tools rely on. Keys and values must never
//! change. Most are those of Config Sync:
//! <https://docs.cloud.google.com/kubernetes-engine/config-sync/docs/reference/labels-and-annotations>.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::object::{Object, ObjectId};

/// The field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "configsync.gke.io";
/// The prefixes of annotation and label keys that belong to the system.
pub const SYSTEM_PREFIXES: [&str; 2] = ["configmanagement.gke.io/", "configsync.gke.io/"];
/// The suffix of the labels that tell how far above a Namespace a directory is.
pub const DEPTH_SUFFIX: &str = ".tree.hnc.x-k8s.io/depth";

/// The Namespace of the agent, the RootSyncs and their inventories, and the accounts of all syncs.
pub const CONTROLLER_NAMESPACE: &str = "config-management-system";
/// The Namespaces that no repository may declare (KNV1034).
pub const CONTROLLER_NAMESPACES: [&str; 3] =
    [CONTROLLER_NAMESPACE, "resource-group-system", "config-management-monitoring"];
/// The Namespaces that are never deleted. When a repository removes one, the sync stops managing it and leaves it in the
/// cluster.
pub const SPECIAL_NAMESPACES: [&str; 5] =
    ["default", "kube-system", "kube-public", "kube-node-lease", "gatekeeper-system"];

/// The name of the Deployment in [`CONTROLLER_NAMESPACE`] that serves all syncs in Config Sync, by a Deployment for each.
pub const RECONCILER_MANAGER: &str = "reconciler-manager";

/// The name of the default RootSync.
pub const ROOT_SYNC: &str = "root-sync";
/// The beginning of [`SyncId::manager`] of all RootSyncs.
pub const ROOT_SCOPE: &str = ":root";
/// The name of the default RepoSync.
pub const REPO_SYNC: &str = "repo-sync";

/// The finalizers that Config Sync sets on RootSyncs and RepoSyncs. The agent sets the first, and takes off both when it has done
/// what the deletion of the sync asks for.
pub const SYNC_FINALIZERS: [&str; 2] = ["configsync.gke.io/reconciler", "configsync.gke.io/reconciler-manager"];

/// Annotation keys. `User` means that users set the annotation, `System` that the agent does.
pub mod annotation {
    /// User: `disabled` stops the management of the object. System: `enabled` on managed objects.
    pub const MANAGED: &str = "configmanagement.gke.io/managed";
    /// User: the name of the ClusterSelector that selects the clusters for the object.
    pub const CLUSTER_SELECTOR: &str = "configmanagement.gke.io/cluster-selector";
    /// User: the names of the clusters for the object, separated by commas.
    pub const CLUSTER_NAME_SELECTOR: &str = "configsync.gke.io/cluster-name-selector";
    /// User: the name of the NamespaceSelector that selects the Namespaces for the object.
    pub const NAMESPACE_SELECTOR: &str = "configmanagement.gke.io/namespace-selector";
    /// User, on a RootSync or RepoSync: `Foreground` or `Orphan`, for the managed objects of a sync that is deleted.
    pub const DELETION_PROPAGATION: &str = "configsync.gke.io/deletion-propagation-policy";
    /// `nomos uninstall`, on a RootSync or RepoSync: [`super::UNINSTALL_PRUNE`] before it is deleted. No repository can say otherwise.
    pub const UNINSTALL: &str = "configsync.gke.io/uninstall";
    /// User, on a RootSync or RepoSync: the held deletions that the user approves, as `<commit>.<digest>`.
    pub const APPROVE_PRUNE: &str = "configsync.gke.io/approve-prune";
    /// User, on a RootSync or RepoSync: `true` has the agent read and write nothing for the sync.
    pub const SUSPEND: &str = "configsync.gke.io/suspend";
    /// User, on a RootSync or RepoSync: each new value has the agent ask the git server, and try again what failed, at once.
    pub const SYNC_NOW: &str = "configsync.gke.io/sync-now";
    /// Agent, on a RootSync or RepoSync: the keys that servers showed at the first connection over ssh, as lines of a file
    /// `known_hosts`, where the Secret has none.
    pub const KNOWN_HOSTS: &str = "configsync.gke.io/ssh-known-hosts";
    /// Agent, on the first ResourceGroup of a sync: deletions of the last hour, as in `2026-01-02T03:04:05Z=12/100` for 12
    /// of 100 objects, with spaces between them.
    pub const RECENT_PRUNES: &str = "configsync.gke.io/recent-prunes";
    /// Agent, on the first ResourceGroup of a sync: digests of deletions that the guard let pass and that may not be carried out
    /// yet, with spaces between them.
    pub const PASSED_PRUNES: &str = "configsync.gke.io/passed-prunes";
    /// Agent, on the first ResourceGroup of a sync: `true` while deletions are held because the record before was lost.
    pub const RECORD_LOST: &str = "configsync.gke.io/record-lost";
    /// Agent, on the first ResourceGroup of a sync: the layout of the commit in force, as in `unstructured/explicit`.
    pub const LAYOUT_IN_FORCE: &str = "configsync.gke.io/layout-in-force";
    /// User: `detach` leaves the object in the cluster when its manifest is removed. System: `detach` on special and on implicit
    /// Namespaces.
    pub const DELETION: &str = "client.lifecycle.config.k8s.io/deletion";
    /// User: `ignore` lets the sync create the object and not correct later changes.
    pub const MUTATION: &str = "client.lifecycle.config.k8s.io/mutation";
    /// User: `keep`, the older form of `detach` in [`DELETION`].
    pub const ON_REMOVE: &str = "cli-utils.sigs.k8s.io/on-remove";
    /// User: the objects that must be applied and ready before this one.
    pub const DEPENDS_ON: &str = "config.kubernetes.io/depends-on";
    /// User: the values that are copied from other objects when the object is applied.
    pub const APPLY_TIME_MUTATION: &str = "config.kubernetes.io/apply-time-mutation";
    /// User: leaves a document of the source out, because it is for other tools.
    pub const LOCAL_CONFIG: &str = "config.kubernetes.io/local-config";
    /// Other tools: the manifest of the last `kubectl apply`, the values of a Secret included.
    pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
    /// System: the name of the cluster that the object was compiled for.
    pub const CLUSTER_NAME: &str = "configmanagement.gke.io/cluster-name";
    /// System: the path of the source file.
    pub const SOURCE_PATH: &str = "configmanagement.gke.io/source-path";
    /// System: the commit that last changed the object.
    pub const TOKEN: &str = "configmanagement.gke.io/token";
    /// System: the repository, branch and revision as JSON.
    pub const GIT_CONTEXT: &str = "configsync.gke.io/git-context";
    /// System: the sync that manages the object.
    pub const MANAGER: &str = "configsync.gke.io/manager";
    /// System: the identity of the object. On an object that copied the annotation from another it does not match.
    pub const RESOURCE_ID: &str = "configsync.gke.io/resource-id";
    /// System: the hash of the declared object without the annotations `token`, `git-context` and `declared-hash`.
    pub const DECLARED_HASH: &str = "configsync.gke.io/declared-hash";
    /// System: `true` on an object whose scope was unknown.
    pub const UNKNOWN_SCOPE: &str = "configsync.gke.io/unknown-scope";
    /// System: `true` on an object with a value that SOPS sealed in its file. On an object that copied the annotation from another it says
    /// too much.
    pub const SEALED: &str = "configsync.gke.io/sealed";
    /// System: the inventory of the sync, `<namespace>_<name>`.
    pub const OWNING_INVENTORY: &str = "config.k8s.io/owning-inventory";
    /// System, on Namespaces of hierarchical repositories: [`super::MANAGED_BY_VALUE`].
    pub const HNC_MANAGED_BY: &str = "hnc.x-k8s.io/managed-by";
    /// System: the user's value of [`HNC_MANAGED_BY`].
    pub const ORIGINAL_HNC_MANAGED_BY: &str = "configsync.gke.io/original-hnc-managed-by-value";
    /// System, on a RootSync or RepoSync: the tool that manages its ApplySet, with its version.
    pub const APPLY_SET_TOOLING: &str = "applyset.kubernetes.io/tooling";
    /// System, on a RootSync: `true` if its source has NamespaceSelectors with mode dynamic, `false` if it has none any more.
    pub const DYNAMIC_SELECTORS: &str = "configsync.gke.io/dynamic-ns-selector-enabled";
    /// System, on an account: the Google service account that it acts as.
    pub const GOOGLE_ACCOUNT: &str = "iam.gke.io/gcp-service-account";
    /// System, on ResourceGroups: `enabled` or `disabled`, for the status of the resources.
    pub const STATUS: &str = "configsync.gke.io/status";
}

/// Label keys.
pub mod label {
    /// System: [`super::MANAGED_BY_VALUE`].
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// System: the ApplySet the object belongs to.
    pub const PART_OF: &str = "applyset.kubernetes.io/part-of";
    /// System, on a RootSync or RepoSync: the ApplySet of its objects.
    pub const APPLY_SET_ID: &str = "applyset.kubernetes.io/id";
    /// System: the API version of the object's manifest.
    pub const DECLARED_VERSION: &str = "configsync.gke.io/declared-version";
    /// System, on a RootSync: `config-management` if it was made from the ConfigManagement of that name.
    pub const MADE_FROM: &str = "configsync.gke.io/made-from";
    /// System, on ResourceGroups: the sync, `<namespace>_<name>`.
    pub const INVENTORY_ID: &str = "cli-utils.sigs.k8s.io/inventory-id";
    /// System, on ResourceGroups, accounts and their bindings: the namespace of the sync.
    pub const SYNC_NAMESPACE: &str = "configsync.gke.io/sync-namespace";
    /// System, on ResourceGroups, accounts and their bindings: the name of the sync.
    pub const SYNC_NAME: &str = "configsync.gke.io/sync-name";
    /// System, on ResourceGroups, accounts and their bindings: RootSync or RepoSync.
    pub const SYNC_KIND: &str = "configsync.gke.io/sync-kind";
    /// System, on accounts and their bindings: [`super::RECONCILER_MANAGER`], as Config Sync has it.
    pub const MADE_BY: &str = "configsync.gke.io/managed-by";
    /// Config Sync, on Pods that serve a sync: the Deployment that they are of.
    pub const DEPLOYMENT_NAME: &str = "configsync.gke.io/deployment-name";
}

/// The name of the Deployment that a Pod is of, by the labels that Config Sync gives its Pods, or else by the Pod's name: it begins with
/// that of the Deployment, before the ends that its ReplicaSet and the Pod have.
pub fn deployment_of<'a>(pod: &'a str, labels: &'a BTreeMap<String, String>) -> &'a str {
    match labels.get(label::DEPLOYMENT_NAME) {
        Some(deployment) => deployment,
        None => pod.rsplitn(3, '-').nth(2).unwrap_or(pod),
    }
}

/// The annotations with one of the [`SYSTEM_PREFIXES`] that users may set. Others give KNV1010.
pub const USER_ANNOTATIONS: [&str; 5] = [
    annotation::NAMESPACE_SELECTOR,
    annotation::CLUSTER_SELECTOR,
    annotation::MANAGED,
    annotation::CLUSTER_NAME_SELECTOR,
    annotation::DELETION_PROPAGATION,
];

/// The annotations with one of the [`SYSTEM_PREFIXES`] that users may set on a RootSync or RepoSync too.
pub const SYNC_ANNOTATIONS: [&str; 3] = [annotation::APPROVE_PRUNE, annotation::SUSPEND, annotation::SYNC_NOW];

/// The value of [`annotation::APPLY_SET_TOOLING`], as Config Sync writes it.
pub const TOOLING: &str = "configsync.gke.io/v1";

/// The value of [`annotation::UNINSTALL`] on a RootSync whose objects are deleted with it, whatever
/// [`annotation::DELETION_PROPAGATION`] says.
pub const UNINSTALL_PRUNE: &str = "prune";

/// The value of [`label::MANAGED_BY`] and [`annotation::HNC_MANAGED_BY`].
pub const MANAGED_BY_VALUE: &str = "configmanagement.gke.io";

/// `true` if a user wants an object with these annotations to stay in the cluster when its manifest is removed.
pub fn is_detached<'a>(value: impl Fn(&'static str) -> Option<&'a str>) -> bool {
    value(annotation::DELETION) == Some("detach") || value(annotation::ON_REMOVE) == Some("keep")
}

/// `true` if `key` has one of the [`SYSTEM_PREFIXES`].
pub fn is_system_key(key: &str) -> bool {
    SYSTEM_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

impl Object {
    /// `true` if the values of a live or declared object are not to be shown: it is a Secret, or [any of them](Self::hides_values) may be
    /// secret.
    pub fn is_confidential(&self) -> bool {
        self.is_kind("", "Secret") || self.hides_values()
    }

    /// `true` if a value at any place may be secret: the object takes values of others, which may have them of a Secret, or SOPS sealed it
    /// in its file.
    pub fn hides_values(&self) -> bool {
        [annotation::APPLY_TIME_MUTATION, annotation::SEALED].iter().any(|key| self.annotation(key).is_some())
    }
}

/// The kind of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SyncKind {
    /// A sync that may declare objects in the whole cluster.
    RootSync,
    /// A sync that may declare objects in its own namespace.
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

/// The identity of a sync. The labels and annotations that name the sync on its objects follow from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SyncId {
    /// RootSync or RepoSync.
    pub kind: SyncKind,
    /// The namespace of the sync object.
    pub namespace: String,
    /// The name of the sync object.
    pub name: String,
}

impl SyncId {
    /// The RootSync `name` in [`CONTROLLER_NAMESPACE`].
    pub fn root(name: &str) -> Self {
        Self { kind: SyncKind::RootSync, namespace: CONTROLLER_NAMESPACE.to_owned(), name: name.to_owned() }
    }

    /// The RepoSync `name` in `namespace`.
    pub fn repo(namespace: &str, name: &str) -> Self {
        Self { kind: SyncKind::RepoSync, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The RepoSync with this value of the annotation [`annotation::MANAGER`]; `None` for that of a RootSync.
    pub fn repo_of(manager: &str) -> Option<Self> {
        let (namespace, name) = manager.split_once('_').unwrap_or((manager, REPO_SYNC));
        (!manager.starts_with(ROOT_SCOPE)).then(|| Self::repo(namespace, name))
    }

    /// The sync that this object is; `None` for other objects, and for a sync object that is in the wrong namespace for its kind.
    pub fn of_object(id: &ObjectId) -> Option<Self> {
        let sync = match (id.group(), id.kind()) {
            ("configsync.gke.io", "RootSync") => Self { namespace: id.namespace().to_owned(), ..Self::root(id.name()) },
            ("configsync.gke.io", "RepoSync") => Self::repo(id.namespace(), id.name()),
            _ => return None,
        };
        sync.is_in_place().then_some(sync)
    }

    /// `true` if the sync object is in a namespace in which its kind is served: RootSyncs in [`CONTROLLER_NAMESPACE`], RepoSyncs in any
    /// other.
    pub fn is_in_place(&self) -> bool {
        (self.kind == SyncKind::RootSync) == (self.namespace == CONTROLLER_NAMESPACE)
    }

    /// The namespace that all objects of a RepoSync are in; `None` for a RootSync.
    pub fn scope(&self) -> Option<&str> {
        (self.kind == SyncKind::RepoSync).then_some(&self.namespace)
    }

    /// `true` if the sync may have this object, whatever labels the object has.
    pub fn covers(&self, id: &ObjectId) -> bool {
        self.scope().is_none_or(|namespace| namespace == id.namespace())
    }

    /// The value of the label [`label::PART_OF`]: the id of an ApplySet with the sync as its parent, see
    /// <https://github.com/kubernetes/enhancements/tree/master/keps/sig-cli/3659-kubectl-apply-prune>.
    pub fn part_of(&self) -> String {
        let digest =
            Sha256::digest(format!("{}.{}.{}.configsync.gke.io", self.name, self.namespace, self.kind).as_bytes());
        format!("applyset-{}-v1", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest))
    }

    /// The value of the annotation [`annotation::MANAGER`].
    pub fn manager(&self) -> String {
        let (scope, default) = match self.kind {
            SyncKind::RootSync => (ROOT_SCOPE, ROOT_SYNC),
            SyncKind::RepoSync => (self.namespace.as_str(), REPO_SYNC),
        };
        if self.name == default { scope.to_owned() } else { format!("{scope}_{}", self.name) }
    }

    /// The name of the ServiceAccount in [`CONTROLLER_NAMESPACE`] that the sync acts as, and in Config Sync of the Deployment that
    /// serves the sync too.
    pub fn reconciler(&self) -> String {
        let (namespace, name) = (&self.namespace, &self.name);
        match self.kind {
            SyncKind::RootSync if name == ROOT_SYNC => "root-reconciler".to_owned(),
            SyncKind::RootSync => format!("root-reconciler-{name}"),
            SyncKind::RepoSync if name == REPO_SYNC => format!("ns-reconciler-{namespace}"),
            SyncKind::RepoSync => format!("ns-reconciler-{namespace}-{name}-{}", name.len()),
        }
    }

    /// The user name of the ServiceAccount that the sync acts as.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{CONTROLLER_NAMESPACE}:{}", self.reconciler())
    }

    /// The only other sync whose account has the name of this one's: `repo-sync` of the namespace `a-b-1` for `b` of the namespace `a`,
    /// and the other way round.
    pub fn twin(&self) -> Option<Self> {
        let account = self.reconciler();
        let rest = account.strip_prefix("ns-reconciler-").filter(|_| self.kind == SyncKind::RepoSync)?;
        if self.name != REPO_SYNC {
            return Some(Self::repo(rest, REPO_SYNC));
        }
        let (before, length) = rest.rsplit_once('-')?;
        let name = before.len().checked_sub(length.parse().ok()?)?;
        let namespace = before.get(..name)?.strip_suffix('-').filter(|namespace| !namespace.is_empty())?;
        let twin = Self::repo(namespace, before.get(name..)?);
        (twin.reconciler() == account && twin.name != REPO_SYNC).then_some(twin)
    }

    /// The value of [`annotation::OWNING_INVENTORY`] and [`label::INVENTORY_ID`].
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
    fn the_manager_of_a_default_sync_has_no_name() {
        assert_eq!(SyncId::root("root-sync").manager(), ":root");
        assert_eq!(SyncId::root("x").manager(), ":root_x");
        let shop = |name: &str| SyncId::repo("shop", name);
        assert_eq!(shop("repo-sync").manager(), "shop");
        assert_eq!(shop("x").manager(), "shop_x");
        for repo in [shop("repo-sync"), shop("x")] {
            assert_eq!(SyncId::repo_of(&repo.manager()), Some(repo));
        }
        assert_eq!(SyncId::repo_of(&SyncId::root("x").manager()), None);
    }

    #[test]
    fn reconcilers_are_named_as_by_config_sync() {
        let shop = |name: &str| SyncId::repo("shop", name);
        for (sync, reconciler) in [
            (SyncId::root("root-sync"), "root-reconciler"),
            (SyncId::root("x"), "root-reconciler-x"),
            (shop("repo-sync"), "ns-reconciler-shop"),
            (shop("team-a"), "ns-reconciler-shop-team-a-6"),
        ] {
            assert_eq!(sync.reconciler(), reconciler);
        }
    }

    #[test]
    fn two_repo_syncs_can_have_an_account_of_one_name() {
        for (one, other) in
            [(("a", "b"), ("a-b-1", "repo-sync")), (("shop-1", "api-v2"), ("shop-1-api-v2-6", "repo-sync"))]
        {
            let (one, other) = (SyncId::repo(one.0, one.1), SyncId::repo(other.0, other.1));
            assert_eq!(one.reconciler(), other.reconciler());
            assert_eq!((one.twin(), other.twin()), (Some(other.clone()), Some(one)));
        }
        let alone = ["a", "a-1", "a-b-2", "b-1", "-b-1", "a-b-99999999999999999999", "a-é-1"];
        for namespace in alone {
            assert_eq!(SyncId::repo(namespace, "repo-sync").twin(), None, "{namespace}");
        }
        assert_eq!(SyncId::root("root-sync").twin(), None);
    }

    #[test]
    fn part_of_is_a_label_value() {
        let id = SyncId::root("root-sync").part_of();
        assert!(id.len() <= 63 && id.starts_with("applyset-") && id.ends_with("-v1"), "{id}");
    }
}
