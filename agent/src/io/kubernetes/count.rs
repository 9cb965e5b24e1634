//! The number of objects that go with a CRD, from one request.

use kube::api::{Api, DynamicObject, ListParams};

use super::client::{ApiError, Cluster, in_time};
use crate::model::object::ObjectId;

/// The number of objects of the kind that the CRD named `crd` defines: 0 when the API server does not serve the kind, `None`
/// when it does not tell or may not be asked.
///
/// # Errors
/// When the API server cannot be reached, or is busy.
pub async fn count(cluster: &Cluster, crd: &ObjectId) -> Result<Option<usize>, ApiError> {
    // The CRD may serve other versions than when discovery was asked last: the answer to a version that is gone would be none. A kind
    // that discovery shows no more for a moment may have objects.
    let before = cluster.defined_by(crd.name());
    match cluster.discover().await {
        Err(error) if before.is_none() => return Err(error),
        _ => {}
    }
    let Some((_, served)) = cluster.defined_by(crd.name()) else { return Ok(before.is_none().then_some(0)) };
    let objects: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &served.resource);
    let list = match in_time(objects.list_metadata(&ListParams { limit: Some(1), ..ListParams::default() })).await {
        Ok(list) => list,
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
