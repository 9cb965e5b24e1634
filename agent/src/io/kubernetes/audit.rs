//! Reads whole objects of a kind, page by page, keeping none of them.

use http::Method;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::client::{ApiError, Cluster, collection};
use crate::model::metadata::label;
use crate::model::object::{GroupKind, Object};
use crate::sync::engine::Event;

/// Objects a page.
const PAGE: usize = 500;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: Continuation,
    #[serde(default)]
    items: Vec<Object>,
}

#[derive(Default, Deserialize)]
struct Continuation {
    #[serde(default, rename = "continue")]
    next: String,
}

/// Sends every object of `kind` that has this part-of label to `events`.
///
/// # Errors
/// When a page cannot be read; what came before it was sent.
pub async fn audit(
    cluster: &Cluster,
    kind: &GroupKind,
    part_of: &str,
    events: &mpsc::Sender<Event>,
) -> Result<(), ApiError> {
    let served = cluster.served(kind).await?;
    let selector = format!("{}%3D{part_of}", label::PART_OF.replace('/', "%2F"));
    let mut next = String::new();
    loop {
        let path = format!("{}?limit={PAGE}&labelSelector={selector}&continue={next}", collection(&served, "", ""));
        let page: Page = cluster.request(Method::GET, &path, "application/json", Vec::new()).await?;
        for mut object in page.items {
            // Lists leave these out of their items.
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
