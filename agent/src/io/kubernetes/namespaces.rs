//! The live Namespaces, for sources with dynamic NamespaceSelectors: one watch on their metadata for all of them, while there is
//! any.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{PartialObjectMeta, ResourceExt as _};
use kube::runtime::watcher::{self, Event as WatchEvent, Result as WatchResult, watcher};
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::pages::small_pages;
use crate::compile::NamespaceLabels;
use crate::model::backoff::Backoff;
use crate::model::error_chain::error_chain;
use crate::model::finding::{Code, Finding};
use crate::model::shared::lock;

/// Failures without a list between them after which the Namespaces count as unknown. A watch may break off.
const TOLERATED: u32 = 2;
/// The pause before a watch that broke off starts again, and the longest one.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
/// A watch that lasted so long worked.
const LASTING: Duration = Duration::from_secs(60);

/// The live Namespaces, as far as they are known.
#[derive(Clone, Debug, PartialEq)]
pub enum LiveNamespaces {
    /// All of them.
    Listed(Arc<ListedNamespaces>),
    /// They cannot be listed or watched (KNV2017).
    Unlistable(Finding),
}

/// The Namespaces of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedNamespaces {
    /// The labels of those that stay.
    pub labels: NamespaceLabels,
    /// Those that are being deleted.
    pub going: BTreeSet<String>,
}

/// The watch that all sources share. It runs while one of them follows it.
pub struct NamespaceWatch {
    client: Client,
    running: Mutex<Weak<RunningWatch>>,
}

struct RunningWatch {
    state: watch::Receiver<Option<LiveNamespaces>>,
    _task: JoinSet<()>,
}

/// The live Namespaces as one source follows them, until this is dropped.
pub struct FollowedNamespaces {
    /// `None` before they are listed.
    pub state: watch::Receiver<Option<LiveNamespaces>>,
    _watch: Arc<RunningWatch>,
}

impl NamespaceWatch {
    /// No watch runs yet.
    pub fn new(client: Client) -> Self {
        Self { client, running: Mutex::default() }
    }

    /// Follows the live Namespaces.
    pub fn follow(&self) -> FollowedNamespaces {
        let mut running = lock(&self.running);
        let watch = running.upgrade().unwrap_or_else(|| {
            let (told, state) = watch::channel(None);
            let mut task = JoinSet::new();
            task.spawn(follow(self.client.clone(), told));
            Arc::new(RunningWatch { state, _task: task })
        });
        *running = Arc::downgrade(&watch);
        let mut state = watch.state.clone();
        // The state that is known already is news for this source.
        state.mark_changed();
        FollowedNamespaces { state, _watch: watch }
    }
}

async fn follow(client: Client, told: watch::Sender<Option<LiveNamespaces>>) {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client);
    let (mut seen, mut pauses) = (SeenNamespaces::default(), PAUSES);
    loop {
        let begun = Instant::now();
        let mut events = std::pin::pin!(watcher(namespaces.clone(), small_pages()));
        while let Some(event) = events.next().await {
            let failed = event.is_err();
            if let Some(state) = seen.take(event) {
                told.send_if_modified(|before| before.replace(state.clone()) != Some(state));
            }
            if failed {
                break;
            }
        }
        if begun.elapsed() > LASTING {
            pauses.reset();
        }
        tokio::time::sleep(pauses.next_pause()).await;
    }
}

/// The Namespaces that the watch has shown.
#[derive(Default)]
struct SeenNamespaces {
    known: Arc<ListedNamespaces>,
    /// Those of a list that is not complete. What was known before counts until it is.
    listing: ListedNamespaces,
    listed: bool,
    /// Since the last list.
    failures: u32,
}

impl SeenNamespaces {
    /// Takes in an event, and returns what is known from now on, if that may have changed.
    fn take(&mut self, event: WatchResult<WatchEvent<PartialObjectMeta<Namespace>>>) -> Option<LiveNamespaces> {
        match event {
            Ok(WatchEvent::Init) => self.listing = ListedNamespaces::default(),
            Ok(WatchEvent::InitApply(namespace)) => self.listing.put(namespace),
            Ok(WatchEvent::InitDone) => {
                self.known = Arc::new(std::mem::take(&mut self.listing));
                (self.listed, self.failures) = (true, 0);
                return Some(LiveNamespaces::Listed(Arc::clone(&self.known)));
            }
            Ok(WatchEvent::Apply(namespace)) => {
                Arc::make_mut(&mut self.known).put(namespace);
                return Some(LiveNamespaces::Listed(Arc::clone(&self.known)));
            }
            Ok(WatchEvent::Delete(namespace)) => {
                Arc::make_mut(&mut self.known).remove(&namespace.name_any());
                return Some(LiveNamespaces::Listed(Arc::clone(&self.known)));
            }
            Err(error) => {
                tracing::debug!(%error, "the watch on Namespaces broke off and starts again");
                self.failures += 1;
                if !self.listed || self.failures > TOLERATED {
                    return Some(LiveNamespaces::Unlistable(unlistable(&error)));
                }
            }
        }
        None
    }
}

fn unlistable(error: &watcher::Error) -> Finding {
    let message = format!(
        "the Namespaces, among which a NamespaceSelector with mode dynamic selects, cannot be listed: {}",
        error_chain(error)
    );
    Finding::new(Code::ListNamespace, message)
        .hint("let the agent list and watch Namespaces, or use mode static; the agent tries again by itself")
}

impl ListedNamespaces {
    fn put(&mut self, namespace: PartialObjectMeta<Namespace>) {
        let name = namespace.name_any();
        self.remove(&name);
        if namespace.metadata.deletion_timestamp.is_some() {
            self.going.insert(name);
        } else {
            self.labels.insert(name, namespace.metadata.labels.unwrap_or_default());
        }
    }

    fn remove(&mut self, name: &str) {
        self.labels.remove(name);
        self.going.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn namespace(name: &str, labels: Value, deleted: Option<&str>) -> PartialObjectMeta<Namespace> {
        let metadata = json!({ "name": name, "labels": labels, "deletionTimestamp": deleted });
        serde_json::from_value(json!({ "metadata": metadata })).expect("a Namespace")
    }

    fn names(state: Option<LiveNamespaces>) -> Option<Vec<String>> {
        match state? {
            LiveNamespaces::Listed(known) => {
                let going = known.going.iter().map(|name| format!("{name} goes"));
                Some(known.labels.keys().cloned().chain(going).collect())
            }
            LiveNamespaces::Unlistable(finding) => Some(vec![finding.code.to_string()]),
        }
    }

    #[test]
    fn what_was_listed_counts_until_lists_fail_again_and_again() {
        let mut seen = SeenNamespaces::default();
        let mut take = |event| names(seen.take(event));
        let a = || namespace("a", json!({ "team": "x" }), None);
        let broken = || Err(watcher::Error::NoResourceVersion);
        assert_eq!(take(broken()), Some(vec!["KNV2017".to_owned()]), "nothing is known");
        assert_eq!(take(Ok(WatchEvent::Init)), None);
        assert_eq!(take(Ok(WatchEvent::InitApply(a()))), None, "the list is not complete");
        assert_eq!(take(Ok(WatchEvent::InitDone)), Some(vec!["a".to_owned()]));
        let b = || namespace("b", json!({}), None);
        assert_eq!(take(Ok(WatchEvent::Apply(b()))), Some(vec!["a".to_owned(), "b".to_owned()]));
        for _ in 0..TOLERATED {
            assert_eq!(take(broken()), None);
        }
        assert_eq!(take(broken()), Some(vec!["KNV2017".to_owned()]));
        assert_eq!(take(Ok(WatchEvent::Init)), None);
        assert_eq!(take(Ok(WatchEvent::InitApply(b()))), None);
        assert_eq!(take(Ok(WatchEvent::InitDone)), Some(vec!["b".to_owned()]), "a went meanwhile");
    }

    #[test]
    fn a_namespace_that_goes_has_no_labels() {
        let mut seen = SeenNamespaces::default();
        seen.take(Ok(WatchEvent::Init));
        for deleted in [None, Some("2026-01-01T00:00:00Z")] {
            let name = if deleted.is_some() { "going" } else { "a" };
            seen.take(Ok(WatchEvent::InitApply(namespace(name, json!({}), deleted))));
        }
        assert_eq!(names(seen.take(Ok(WatchEvent::InitDone))), Some(vec!["a".to_owned(), "going goes".to_owned()]));
        let going = namespace("a", json!({}), Some("2026-01-01T00:00:00Z"));
        assert_eq!(
            names(seen.take(Ok(WatchEvent::Apply(going)))),
            Some(vec!["a goes".to_owned(), "going goes".to_owned()])
        );
        for left in [vec!["going goes".to_owned()], vec![]] {
            let name = if left.is_empty() { "going" } else { "a" };
            let gone = namespace(name, json!({}), Some("2026-01-01T00:00:00Z"));
            assert_eq!(names(seen.take(Ok(WatchEvent::Delete(gone)))), Some(left));
        }
    }
}
