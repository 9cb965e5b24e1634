//! The facts of one sync object, or of the flags, by which a sync is served, and the reason why it ended.

use std::time::Duration;

use crate::api::{GitSpec, Removal};
use crate::compile::{NamespaceStrategy, SourceFormat, SourceLayout};
use crate::io::kubernetes::client::Cluster;
use crate::io::reports::SyncObject;
use crate::model::metadata::SyncId;
use crate::sync::accounts::Rights;
use crate::sync::reporting::SpecFacts;

/// The facts from which a sync is started.
#[derive(Clone)]
pub(super) struct SyncTask {
    pub(super) sync: SyncId,
    pub(super) git: GitSpec,
    /// Name of the cluster, for cluster selectors.
    pub(super) cluster_name: String,
    pub(super) format: SourceFormat,
    /// Time between two polls of the repository.
    pub(super) period: Duration,
    /// The sync object; `None` where flags give the source.
    pub(super) object: Option<SyncObject>,
    /// The generation of the spec; 0 without an object.
    pub(super) generation: i64,
    /// The rights of the sync's account; `None` without a sync object, and where its spec cannot be read.
    pub(super) rights: Option<Rights>,
    /// A command line that approves held deletions, in which [`APPROVAL`](crate::sync::plan::guard::APPROVAL) stands for the
    /// approval.
    pub(super) how_to_approve: String,
    /// `true` if the status of each object is written to the ResourceGroups.
    pub(super) resource_status: bool,
    /// `true` if Namespaces that are only referred to are created.
    pub(super) implicit_namespaces: bool,
    /// Time that an object waits for another one to become ready before this is reported as an error.
    pub(super) reconcile_timeout: Duration,
    /// Time that one request about an object may take.
    pub(super) api_server_timeout: Duration,
    /// The end of the sync's objects, if the sync object is being deleted. Nothing is read of the repository then.
    pub(super) removal: Option<Removal>,
}

impl SyncTask {
    /// The API server for requests about the sync's objects. A sync object acts as its account, flags as the kubeconfig says.
    pub(super) fn cluster(&self, cluster: &Cluster) -> Cluster {
        let cluster = cluster.with_time_limit(self.api_server_timeout);
        if self.object.is_some() { cluster.acting_as(&self.sync) } else { cluster }
    }

    /// The rules by which files become objects.
    pub(super) fn layout(&self) -> SourceLayout {
        let namespaces = match self.implicit_namespaces {
            true => NamespaceStrategy::Implicit,
            false => NamespaceStrategy::Explicit,
        };
        SourceLayout { format: self.format, namespaces }
    }

    /// The part of the spec that reports depend on.
    pub(super) fn facts(&self) -> SpecFacts {
        SpecFacts { generation: self.generation, resource_status: self.resource_status }
    }
}

/// The reason why a sync ended.
pub(super) enum ExitReason {
    /// The newest commit is applied, or nothing is left of a sync that goes.
    Synced,
    /// The newest commit cannot be applied.
    NotSynced,
    /// The sync was told to stop.
    Stopped,
    /// The cluster was restored from a backup: the sync begins anew with what its record says.
    Restored,
}

/// The reason of [`ExitReason::Restored`].
pub(super) const RESTORED: &str =
    "the record of the sync is older than the one that was written last: the cluster was restored from a backup";

#[cfg(test)]
impl SyncTask {
    /// A task that is only told apart by its generation.
    pub(super) fn for_tests(generation: i64) -> Self {
        Self {
            sync: SyncId::root("root-sync"),
            git: GitSpec::default(),
            cluster_name: String::new(),
            format: SourceFormat::Unstructured,
            period: Duration::from_secs(15),
            object: None,
            generation,
            rights: None,
            how_to_approve: String::new(),
            resource_status: true,
            implicit_namespaces: true,
            reconcile_timeout: crate::api::RECONCILE_TIMEOUT,
            api_server_timeout: crate::api::API_SERVER_TIMEOUT,
            removal: None,
        }
    }
}
