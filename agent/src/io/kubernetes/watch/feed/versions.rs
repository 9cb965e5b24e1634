//! The versions in which the kind of a watch is served, as they change.
//!
//! The API server ends the watches of a kind when its CRD changes. So discovery is asked after a watch that has ended before its
//! time, as soon as the next one is accepted. A discovery for another purpose shows other versions as well.

use std::sync::Arc;
use std::time::Duration;

use super::{Closed, Feed};
use crate::io::kubernetes::client::Served;
use crate::model::object::GroupKind;
use crate::sync::engine::Event;

/// A watch that ends by itself was open for longer than this, see `frames`.
const WHOLE: Duration = Duration::from_secs(280);
/// Discovery shows the change of a CRD a moment after the watches end.
const SETTLING: Duration = Duration::from_secs(3);

impl Feed {
    /// A watch has ended so that was open for so long.
    pub(super) fn ended_after(&mut self, open: Duration, closed: &Closed) {
        // The agent itself ends one that is silent.
        self.interrupted |= open < WHOLE && !matches!(closed, Closed::Silent);
    }

    /// Asks discovery beside the watch, if the one before has ended before its time.
    pub(super) fn ask_for_versions(&mut self) {
        if !std::mem::take(&mut self.interrupted) {
            return;
        }
        let (cluster, kind) = (Arc::clone(&self.watches.cluster), self.kind.clone());
        tokio::spawn(async move {
            tokio::time::sleep(SETTLING).await;
            if let Err(error) = cluster.discover().await {
                tracing::debug!(%kind, %error, "cannot ask for the versions of the kind");
            }
        });
    }

    /// Tells the followers if the kind is served in other versions than before. If it is not served at all, the watch finds out.
    pub(super) async fn compare_versions(&mut self) {
        let Some(served) = self.watches.cluster.known(&self.kind) else { return };
        if self.served.as_ref().is_some_and(|before| before.versions() != served.versions()) {
            self.tell_served(served).await;
        }
    }

    /// Tells the followers how the kind is served.
    pub(super) async fn tell_served(&mut self, served: Served) {
        self.tell_all(|kind| served_as(kind, &served)).await;
        self.served = Some(served);
    }
}

/// The event that tells how the kind is served.
pub(super) fn served_as(kind: &GroupKind, served: &Served) -> Event {
    Event::Served(kind.clone(), served.resource.plural.as_str().into(), served.versions())
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::{Message, Own, Watches};
    use super::*;
    use crate::io::kubernetes::client::Cluster;
    use crate::model::metadata::SyncId;

    fn feed(cluster: &Arc<Cluster>, kind: &GroupKind) -> Feed {
        let (_, inbox) = mpsc::unbounded_channel();
        Feed::new(Arc::new(Watches::new(Arc::clone(cluster))), kind.clone(), inbox)
    }

    #[tokio::test]
    async fn other_versions_are_told_once() {
        let (cluster, kind) = (Arc::new(Cluster::unreachable()), GroupKind::new("example.com", "Widget"));
        let (events, mut told) = mpsc::channel(10);
        let mut feed = feed(&cluster, &kind);
        feed.hear(Message::Join(7, Own { part_of: "me".into(), sync: SyncId::root("me").into() }, events)).await;
        cluster.found(&kind, &["v1", "v1alpha1"]);
        feed.tell_served(cluster.known(&kind).expect("it was found")).await;
        feed.discoveries = feed.discoveries.resubscribe();
        for versions in [&["v1", "v1alpha1"][..], &["v1"], &["v1"], &["v1", "v1alpha1"]] {
            cluster.found(&kind, versions);
            assert!(feed.discoveries.recv().await.is_ok());
            feed.compare_versions().await;
        }
        let mut all = Vec::new();
        while let Ok(Event::Served(_, plural, versions)) = told.try_recv() {
            all.push((plural.to_string(), Vec::from_iter(versions).join(" ")));
        }
        let expected = ["v1 v1alpha1", "v1", "v1 v1alpha1"].map(|versions| ("widgets".to_owned(), versions.to_owned()));
        assert_eq!(all, expected);
    }

    #[tokio::test]
    async fn discovery_is_asked_after_a_watch_that_ended_before_its_time() {
        let (cluster, kind) = (Arc::new(Cluster::unreachable()), GroupKind::new("example.com", "Widget"));
        let mut feed = feed(&cluster, &kind);
        for (seconds, asks) in [(290, false), (3, true)] {
            feed.ended_after(Duration::from_secs(90), &Closed::Silent);
            feed.ended_after(Duration::from_secs(seconds), &Closed::Ended);
            assert_eq!(feed.interrupted, asks, "{seconds}");
        }
        feed.ended_after(Duration::from_secs(290), &Closed::Ended);
        assert!(feed.interrupted, "it was not asked yet");
        feed.ask_for_versions();
        assert!(!feed.interrupted);
    }
}
