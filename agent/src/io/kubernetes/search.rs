//! The search for objects of syncs without a record, over every kind of the cluster: once for all syncs that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use tokio::sync::oneshot;

use super::client::{ApiError, Cluster, Served};
use super::pages::{ListForm, NAMED, Pages, part_of_one};
use crate::model::backoff::Backoff;
use crate::model::metadata::label;
use crate::model::object::{GroupKind, ObjectId};
use crate::model::shared::lock;

/// Kinds that are searched at the same time.
const AT_ONCE: usize = 8;

/// The objects that have the label of one sync.
#[derive(Clone, Debug, Default)]
pub struct FoundObjects {
    /// The kinds of which it has any.
    pub kinds: BTreeSet<GroupKind>,
    /// Its CRDs.
    pub crds: BTreeSet<ObjectId>,
}

/// The search of all syncs.
pub struct Search {
    cluster: Arc<Cluster>,
    waiting: Mutex<Vec<SearchRequest>>,
    /// Held by the sync that searches for all.
    turn: tokio::sync::Mutex<()>,
}

/// A sync that waits for the search: the value of its label `part-of`.
struct SearchRequest {
    part_of: String,
    answer: oneshot::Sender<Result<FoundObjects, ApiError>>,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: LabelledMetadata,
}

#[derive(Deserialize)]
struct LabelledMetadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Search {
    /// Nothing is searched for yet.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster, waiting: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The objects whose label `part-of` has this value. One search answers all syncs that wait when it begins.
    ///
    /// # Errors
    /// When the API server cannot be reached. Kinds that it does not list are left out: nothing of them is deleted.
    pub async fn find(&self, part_of: &str) -> Result<FoundObjects, ApiError> {
        loop {
            let (answer, mut found) = oneshot::channel();
            self.waiting().push(SearchRequest { part_of: part_of.to_owned(), answer });
            let _turn = self.turn.lock().await;
            match found.try_recv() {
                Ok(found) => return found,
                Err(oneshot::error::TryRecvError::Empty) => {
                    let wanted = std::mem::take(&mut *self.waiting());
                    self.find_all(wanted).await;
                    if let Ok(found) = found.try_recv() {
                        return found;
                    }
                }
                // The sync that searched has ended before its search.
                Err(oneshot::error::TryRecvError::Closed) => {}
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<SearchRequest>> {
        lock(&self.waiting)
    }

    async fn find_all(&self, wanted: Vec<SearchRequest>) {
        let labels: Vec<&str> = wanted.iter().map(|wanted| wanted.part_of.as_str()).collect();
        let found = search(&self.cluster, &labels).await;
        for SearchRequest { part_of, answer } in wanted {
            let found = match &found {
                Ok(found) => Ok(found.get(&part_of).cloned().unwrap_or_default()),
                Err(error) => Err(error.clone()),
            };
            // It fails when that sync has ended.
            let _ = answer.send(found);
        }
    }
}

/// The pauses before a kind is asked for again that is not listed, while the API server answers for others.
const ONCE_MORE: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
/// The number of tries after which it is left out.
const TRIES: u32 = 5;

/// `true` for an answer that says nothing about the API server: a webhook for conversions is dead, or the server of an API is away.
async fn is_of_the_kind(cluster: &Cluster, error: &ApiError) -> bool {
    // The API server has not read the objects of the kind yet, and may never do so.
    let is_initializing = error.code() == 429 && error.to_string().contains("storage is (re)initializing");
    (matches!(error.code(), 500 | 503) || is_initializing) && cluster.outage().await.is_none()
}

/// Searches every kind for objects with these values of the label `part-of`.
async fn search(cluster: &Cluster, labels: &[&str]) -> Result<BTreeMap<String, FoundObjects>, ApiError> {
    let selectors: Vec<(String, usize)> =
        labels.chunks(NAMED).map(|labels| (part_of_one(labels), labels.len())).collect();
    let kinds = cluster.kinds().into_iter().filter(|(_, served)| served.watchable);
    let searched = kinds.flat_map(|(kind, served)| {
        selectors.clone().into_iter().map(move |(selector, labels)| (kind.clone(), served.clone(), selector, labels))
    });
    let asked = searched.map(|(kind, served, selector, labels)| async move {
        let found = search_kind(cluster, &kind, &served, selector, labels).await?;
        Ok::<_, ApiError>((kind, found))
    });
    let of_kinds: Vec<_> = futures::stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await?;
    let mut all: BTreeMap<String, FoundObjects> = BTreeMap::new();
    for (kind, found) in of_kinds {
        for (part_of, crds) in found {
            let of_sync = all.entry(part_of).or_default();
            of_sync.kinds.insert(kind.clone());
            of_sync.crds.extend(crds);
        }
    }
    Ok(all)
}

/// The values of the label that objects of this kind have, each with the CRDs among the objects. `selector` takes so many values.
async fn search_kind(
    cluster: &Cluster,
    kind: &GroupKind,
    served: &Served,
    selector: String,
    labels: usize,
) -> Result<BTreeMap<String, BTreeSet<ObjectId>>, ApiError> {
    let are_crds = kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
    let mut pages = Pages::new(served, "", selector.clone(), ListForm::Metadata);
    let mut found: BTreeMap<String, BTreeSet<ObjectId>> = BTreeMap::new();
    let mut pauses = ONCE_MORE;
    // One object of each sync is enough, but of CRDs all are wanted.
    while are_crds || found.len() < labels {
        let page = match pages.next(cluster).await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            // The agent deletes nothing of a kind that it may not list.
            Err(error) if matches!(error.code(), 403..=405) => break,
            Err(error) if is_of_the_kind(cluster, &error).await => {
                if pauses.attempts() + 1 < TRIES {
                    tokio::time::sleep(pauses.next_pause()).await;
                    pages = Pages::new(served, "", selector.clone(), ListForm::Metadata);
                    continue;
                }
                tracing::warn!(%error, "cannot look for objects of {kind}: those that no commit declares stay");
                break;
            }
            Err(error) => return Err(error),
        };
        for item in page.items {
            let Ok(Labelled { metadata }) = serde_json::from_str(item.get()) else { continue };
            let Some(part_of) = metadata.labels.get(label::PART_OF) else { continue };
            let crds = found.entry(part_of.clone()).or_default();
            if are_crds {
                crds.insert(ObjectId::new(kind, "", &metadata.name));
            }
        }
    }
    Ok(found)
}
