//! RootSync: the sync of a whole cluster.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SyncSpec;
#[cfg(feature = "cluster")]
use super::SyncStatus;

/// The source of a RootSync, and how its objects are applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "configsync.gke.io",
        version = "v1beta1",
        kind = "RootSync",
        namespaced,
        status = "SyncStatus",
        doc = "RootSync keeps a cluster as a source of truth declares it."
    )
)]
#[serde(transparent)]
pub struct RootSyncSpec(pub SyncSpec);
