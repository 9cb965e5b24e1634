//! What a sync has to know before it begins: what it wrote in an earlier run, and so which kinds are to be listed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, DynamicObject, ListParams};
use tokio::sync::oneshot;

use super::Shared;
use crate::io::kubernetes::client::{ApiError, Served, in_time};
use crate::io::report::{Reporter, SyncObject, WrittenGroups, read_groups};
use crate::model::metadata::{SyncId, label};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::status::About;

/// What is known of the inventory before anything is listed.
pub(super) struct Known {
    pub(super) kinds: BTreeSet<GroupKind>,
    pub(super) recorded: BTreeSet<ObjectId>,
}

/// Reads what an earlier run wrote, and so which kinds have to be listed.
pub(super) async fn start(
    shared: &Shared,
    sync: &SyncId,
    about: About,
    object: Option<SyncObject>,
    resource_status: bool,
    defined: oneshot::Sender<BTreeSet<GroupKind>>,
) -> Result<(Reporter, Known), ApiError> {
    let groups = patiently(|| read_groups(&shared.cluster, sync)).await?;
    let known = match groups.as_ref().and_then(WrittenGroups::objects) {
        Some(recorded) => Known { kinds: recorded.iter().map(ObjectId::group_kind).collect(), recorded },
        None => {
            let kinds = patiently(|| kinds_in_use(shared, sync)).await?;
            let crd = GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition");
            let recorded = match kinds.contains(&crd) {
                true => patiently(|| of_kind(shared, sync, &crd)).await?,
                false => BTreeSet::new(),
            };
            Known { kinds, recorded }
        }
    };
    // The source has ended when nobody takes them, and so will this sync.
    let _ = defined.send(defined_kinds(shared, &known.recorded));
    Ok((Reporter::new(Arc::clone(&shared.cluster), sync.clone(), about, object, groups, resource_status), known))
}

/// The kinds whose CRDs are in the inventory. A kind that the cluster does not serve any more has no objects either.
fn defined_kinds(shared: &Shared, recorded: &BTreeSet<ObjectId>) -> BTreeSet<GroupKind> {
    let crds: BTreeSet<&str> = recorded.iter().filter(|id| id.is_crd()).map(ObjectId::name).collect();
    if crds.is_empty() {
        return BTreeSet::new();
    }
    let of_ours = |(kind, served): (GroupKind, Served)| {
        crds.contains(format!("{}.{}", served.resource.plural, kind.group).as_str()).then_some(kind)
    };
    shared.cluster.kinds().into_iter().filter_map(of_ours).collect()
}

/// Asks again while the API server is away or busy.
async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(mut ask: impl FnMut() -> F) -> Result<T, ApiError> {
    let mut wait = Duration::from_millis(250);
    loop {
        match ask().await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the API server cannot be asked; trying again")
            }
            answer => return answer,
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(30));
    }
}

/// Kinds of which objects of this sync exist, where no record tells: every kind is listed once.
async fn kinds_in_use(shared: &Shared, sync: &SyncId) -> Result<BTreeSet<GroupKind>, ApiError> {
    let kinds = shared.cluster.kinds().into_iter().filter(|(_, served)| served.watchable);
    let asked = kinds
        .map(|(kind, served)| async move { is_in_use(shared, sync, &served).await.map(|used| used.then_some(kind)) });
    let found: Vec<Option<GroupKind>> = futures::stream::iter(asked).buffer_unordered(8).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

async fn is_in_use(shared: &Shared, sync: &SyncId, served: &Served) -> Result<bool, ApiError> {
    match names(shared, sync, served, Some(1)).await {
        Ok(names) => Ok(!names.is_empty()),
        // What cannot be listed is not ours to delete.
        Err(error) if matches!(error.code(), 403..=405) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The cluster-scoped objects of a kind that have this sync's label.
async fn of_kind(shared: &Shared, sync: &SyncId, kind: &GroupKind) -> Result<BTreeSet<ObjectId>, ApiError> {
    let served = shared.cluster.served(kind).await?;
    let names = names(shared, sync, &served, None).await?;
    Ok(names.iter().map(|name| ObjectId::new(kind, "", name)).collect())
}

/// Names of the objects of a kind that have this sync's label, so many at the most.
async fn names(shared: &Shared, sync: &SyncId, served: &Served, limit: Option<u32>) -> Result<Vec<String>, ApiError> {
    let api: Api<DynamicObject> = Api::all_with(shared.cluster.client.clone(), &served.resource);
    let labels = format!("{}={}", label::PART_OF, sync.part_of());
    let list = in_time(api.list_metadata(&ListParams { limit, ..ListParams::default().labels(&labels) })).await?;
    Ok(list.items.into_iter().filter_map(|item| item.metadata.name).collect())
}
