//! `/debug/syncs`: the state of every sync, as text or as JSON (`?o=json`, or `Accept: application/json`).
//!
//! The state belongs to the task that drives the engine, so each task is asked for it through a channel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::header;
use axum::http::request::Parts;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::model::metadata::SyncId;
use crate::model::shared::lock;
use crate::sync::engine::{Dump, SyncSummary, SyncView};

/// The longest time that a sync may take to answer. A sync that is starting does not answer yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// A request for the state of one sync: the task of the sync sends it into the channel.
pub enum StateRequest {
    /// For `/debug/syncs`.
    Dump(oneshot::Sender<Dump>),
    /// For the page, without objects.
    Summary(oneshot::Sender<SyncSummary>),
    /// For the page, with every object.
    View(oneshot::Sender<SyncView>),
}

/// The requests to one sync.
pub type StateRequests = mpsc::Receiver<StateRequest>;

type StateRequester = mpsc::Sender<StateRequest>;

/// The syncs whose state can be asked for.
#[derive(Default)]
pub struct ServedSyncs(Mutex<BTreeMap<SyncId, StateRequester>>);

/// The place of one sync in [`ServedSyncs`]. The sync is shown for as long as this lives.
pub struct Registration {
    syncs: Arc<ServedSyncs>,
    sync: SyncId,
    requester: StateRequester,
}

/// One sync in the answer.
#[derive(Serialize)]
struct DumpedSync {
    kind: String,
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Dump>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

impl ServedSyncs {
    /// Shows `sync` from now on. The requests must be answered within a second.
    pub fn register(self: &Arc<Self>, sync: &SyncId) -> (Registration, StateRequests) {
        let (requester, requests) = mpsc::channel(1);
        self.all().insert(sync.clone(), requester.clone());
        (Registration { syncs: Arc::clone(self), sync: sync.clone(), requester }, requests)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<SyncId, StateRequester>> {
        lock(&self.0)
    }

    /// The syncs that run now, with the numbers of their objects. A sync that is starting, ending or busy has none.
    pub(super) async fn summaries(&self) -> BTreeMap<SyncId, Option<SyncSummary>> {
        let syncs = self.all().clone();
        let all = syncs.into_iter().map(async |(sync, requester)| (sync, ask(&requester, StateRequest::Summary).await));
        futures::future::join_all(all).await.into_iter().collect()
    }

    /// The objects of one sync; `None` if it does not run, or does not answer now.
    pub(super) async fn view(&self, sync: &SyncId) -> Option<SyncView> {
        let requester = self.all().get(sync)?.clone();
        ask(&requester, StateRequest::View).await
    }

    /// Asks every sync at the same time.
    async fn dump(&self) -> Vec<DumpedSync> {
        let syncs = self.all().clone();
        futures::future::join_all(syncs.into_iter().map(|(sync, requester)| dump(sync, requester))).await
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut all = self.syncs.all();
        // Its successor may have taken the place.
        if all.get(&self.sync).is_some_and(|requester| requester.same_channel(&self.requester)) {
            all.remove(&self.sync);
        }
    }
}

/// Asks one sync; `None` if it does not answer in time.
async fn ask<T>(requester: &StateRequester, request: impl FnOnce(oneshot::Sender<T>) -> StateRequest) -> Option<T> {
    let answer = async {
        let (answer, state) = oneshot::channel();
        requester.send(request(answer)).await.ok()?;
        state.await.ok()
    };
    tokio::time::timeout(PATIENCE, answer).await.ok().flatten()
}

async fn dump(sync: SyncId, requester: StateRequester) -> DumpedSync {
    let state = ask(&requester, StateRequest::Dump).await;
    let error = state.is_none().then_some("no answer within a second: the sync is starting, ending or busy");
    DumpedSync { kind: sync.kind.to_string(), namespace: sync.namespace, name: sync.name, state, error }
}

/// The content type and the text of `/debug/syncs`, as this request wants it.
pub(super) async fn syncs(syncs: &ServedSyncs, request: &Parts) -> (&'static str, String) {
    let dumps = syncs.dump().await;
    let accepts = request.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let in_query = request.uri.query().unwrap_or_default().split('&').any(|pair| pair == "o=json");
    if in_query || accepts.contains("application/json") {
        let json = serde_json::json!({ "syncs": dumps }).to_string();
        return ("application/json", json + "\n");
    }
    ("text/plain; charset=utf-8", text(&dumps))
}

fn text(dumps: &[DumpedSync]) -> String {
    if dumps.is_empty() {
        return "no syncs\n".to_owned();
    }
    let one = |DumpedSync { kind, namespace, name, state, error }: &DumpedSync| {
        let state = state.as_ref().map(ToString::to_string).unwrap_or_default();
        let lines: String = state.lines().chain(*error).map(|line| format!("  {line}\n")).collect();
        format!("{kind} {namespace}/{name}\n{lines}")
    };
    dumps.iter().map(one).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, accept: &str) -> Parts {
        let request = axum::http::Request::builder().uri(uri).header(header::ACCEPT, accept);
        request.body(()).unwrap().into_parts().0
    }

    #[tokio::test]
    async fn a_sync_that_does_not_answer_is_shown_as_such_beside_the_others() {
        let syncs = Arc::new(ServedSyncs::default());
        let (_silent, unanswered) = syncs.register(&SyncId::root("silent"));
        let (answering, mut requests) = syncs.register(&SyncId::root("talks"));
        tokio::spawn(async move {
            while let Some(StateRequest::Dump(request)) = requests.recv().await {
                request.send(Dump { newest_commit: "abc".to_owned(), ..Dump::default() }).unwrap();
            }
        });
        let (_, text) = super::syncs(&syncs, &request("/debug/syncs", "*/*")).await;
        let (silent, talks) = text.split_once("\n\n").unwrap();
        assert!(silent.starts_with("RootSync config-management-system/silent\n  no answer within a second"), "{text}");
        assert!(talks.contains("config-management-system/talks\n") && talks.contains("newest commit:   abc"), "{text}");

        // A sync that has ended is not waited for.
        drop((answering, unanswered));
        for (uri, accept) in [("/debug/syncs?o=json", "*/*"), ("/debug/syncs", "application/json")] {
            let (_, json) = super::syncs(&syncs, &request(uri, accept)).await;
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            assert_eq!(json["syncs"].as_array().unwrap().len(), 1, "{json}");
            assert_eq!(json["syncs"][0]["name"], "silent");
            assert!(json["syncs"][0]["error"].is_string() && json["syncs"][0]["state"].is_null(), "{json}");
        }
    }

    #[tokio::test]
    async fn the_successor_of_a_sync_keeps_its_place() {
        let syncs = Arc::new(ServedSyncs::default());
        let (first, _) = syncs.register(&SyncId::root("a"));
        let (second, _requests) = syncs.register(&SyncId::root("a"));
        drop(first);
        assert_eq!(syncs.all().len(), 1);
        drop(second);
        assert_eq!(syncs.all().len(), 0);
    }
}
