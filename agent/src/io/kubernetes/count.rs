//! The number of objects that go with a CRD, from one request.

use kube::api::{Api, DynamicObject, ListParams};

use super::client::{ApiError, Cluster, Served, in_time};
use crate::model::object::{GroupKind, ObjectId};

/// The number of objects of the kind that the CRD named `crd` defines: 0 when the API server does not serve the kind, `None`
/// when it does not tell or may not be asked.
///
/// # Errors
/// When the API server cannot be reached, or is busy.
pub async fn count(cluster: &Cluster, crd: &ObjectId) -> Result<Option<usize>, ApiError> {
    let mut served = defined_kind(cluster, crd);
    if served.is_none() {
        cluster.discover().await?;
        served = defined_kind(cluster, crd);
    }
    let Some(served) = served else { return Ok(Some(0)) };
    let objects: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &served.resource);
    let list = match in_time(objects.list_metadata(&ListParams { limit: Some(1), ..ListParams::default() })).await {
        Ok(list) => list,
        Err(error) if error.code() == 404 => return Ok(Some(0)),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => {
            tracing::warn!(%crd, %error, "cannot count the objects of its kind");
            return Ok(None);
        }
    };
    let continues = list.metadata.continue_.is_some_and(|next| !next.is_empty());
    let remaining = match list.metadata.remaining_item_count {
        Some(remaining) => usize::try_from(remaining).ok(),
        None => (!continues).then_some(0),
    };
    Ok(remaining.map(|remaining| list.items.len() + remaining))
}

fn defined_kind(cluster: &Cluster, crd: &ObjectId) -> Option<Served> {
    let (plural, group) = crd.name().split_once('.')?;
    let is_defined = |(kind, served): &(GroupKind, Served)| kind.group == group && served.resource.plural == plural;
    cluster.kinds().into_iter().find(is_defined).map(|(_, served)| served)
}
