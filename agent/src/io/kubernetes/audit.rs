//! The audit of a kind: reads its whole objects one by one and keeps none of them.

use tokio::sync::mpsc;

use super::client::{ApiError, Cluster};
use super::pages::{ListForm, Pages, part_of_one};
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, Object};
use crate::sync::engine::Event;

/// Sends every object of `kind` with the label of `sync` to `events`, as [`Event::Audited`], in this version.
///
/// # Errors
/// When the API server refuses a page or cannot be reached. The objects before it have been sent.
pub async fn audit(
    cluster: &Cluster,
    kind: &GroupKind,
    version: &str,
    sync: &SyncId,
    events: &mpsc::Sender<Event>,
) -> Result<(), ApiError> {
    let served = cluster.served_in(kind, version).await?;
    let mut pages =
        Pages::new(&served, sync.scope().unwrap_or_default(), part_of_one(&[&sync.part_of()]), ListForm::Whole);
    while let Some(page) = pages.next(cluster).await? {
        for item in page.items {
            let mut object: Object = match serde_json::from_str(item.get()) {
                Ok(object) => object,
                Err(error) => {
                    // Its text may be a secret.
                    tracing::warn!(%kind, category = ?error.classify(), "an object cannot be read");
                    continue;
                }
            };
            drop(item);
            // The API server leaves these out of the items of a list.
            object.0.insert("apiVersion".to_owned(), served.resource.api_version.clone().into());
            object.0.insert("kind".to_owned(), kind.kind.clone().into());
            if events.send(Event::Audited(Box::new(object))).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
