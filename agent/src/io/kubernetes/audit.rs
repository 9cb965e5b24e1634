//! The audit of a kind: reads its whole objects page by page and keeps none of them.

use serde::Deserialize;
use tokio::sync::mpsc;

use super::client::{ApiError, Cluster, collection};
use super::path::with_query;
use crate::model::metadata::label;
use crate::model::object::{GroupKind, Object};
use crate::sync::engine::Event;

/// Number of objects in a page.
const PAGE: &str = "500";

#[derive(Deserialize)]
struct AuditPage {
    #[serde(default)]
    metadata: Continuation,
    #[serde(default)]
    items: Vec<Object>,
}

/// Where the next page begins.
#[derive(Default, Deserialize)]
struct Continuation {
    /// Empty on the last page.
    #[serde(default, rename = "continue")]
    next: String,
}

/// Sends every object of `kind` whose label `part-of` is `part_of` to `events`, as [`Event::Audited`].
///
/// # Errors
/// When the API server refuses a page or cannot be reached. The objects before it have been sent.
pub async fn audit(
    cluster: &Cluster,
    kind: &GroupKind,
    part_of: &str,
    events: &mpsc::Sender<Event>,
) -> Result<(), ApiError> {
    let served = cluster.served(kind).await?;
    let objects = collection(&served, "", "");
    let selector = format!("{}={part_of}", label::PART_OF);
    let mut next = String::new();
    loop {
        let path = with_query(&objects, &[("limit", PAGE), ("labelSelector", &selector), ("continue", &next)]);
        let page: AuditPage = cluster.get(&path).await?;
        for mut object in page.items {
            // The API server leaves these out of the items of a list.
            object.0.insert("apiVersion".to_owned(), served.resource.api_version.clone().into());
            object.0.insert("kind".to_owned(), kind.kind.clone().into());
            if events.send(Event::Audited(Box::new(object))).await.is_err() {
                return Ok(());
            }
        }
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(());
        }
    }
}
