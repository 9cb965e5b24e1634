//! One metadata watch for each kind, whatever the number of syncs.
//!
//! A watch selects the objects with the ApplySet label, so neither memory nor traffic depends on the other objects in the
//! cluster. It asks for `PartialObjectMetadata`: it never receives a spec or the data of a Secret. What it shows goes to the
//! sync whose label the object has and to those that declare it, not to all (`audience`), so that events and memory are those
//! of the objects and not of syncs × objects.
//!
//! A sync that comes to a kind that is watched already joins the watch (`feed`): the objects with its own label are listed,
//! beside the watch and for all that join at that moment, and no other sync is told anything. No copy of the objects is kept
//! for that. The list is a consistent read that begins after the sync was put on the watch, so it is at least as new as all that
//! the watch has told before, and the watch tells of all that comes after. What the watch tells of an object meanwhile counts: the
//! list may be older.
//!
//! If the API server does not have the version any more at which a watch broke off, the kind is listed anew for all of its
//! syncs, with every object that has the ApplySet label, because they may know of objects of other labels. Each list has a
//! session: an object that a sync knows and that the list did not show is gone.
//!
//! If a list is older than what its watch has told before, etcd was restored from a backup. All kinds are listed anew then: a watch
//! from a version that is still to come would be silent until the cluster gets there.

mod alive;
mod audience;
mod frames;
mod feed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use super::client::Cluster;
use crate::compile::declared::DeclaredSet;
use crate::model::metadata::SyncId;
use crate::model::object::{GroupKind, ObjectId};
use crate::model::shared::lock;
use crate::sync::engine::Event;

use alive::Alive;
use audience::{FollowerId, Own};
use feed::{End, Feed, Message};

/// The queue of events of one sync.
pub type Sender = mpsc::Sender<Event>;

/// The running watches.
pub struct Watches {
    cluster: Arc<Cluster>,
    running: Mutex<BTreeMap<GroupKind, RunningFeed>>,
    declared: Mutex<BTreeSet<(ObjectId, FollowerId)>>,
    followers: AtomicU64,
    sessions: AtomicU64,
    /// Restores of etcd that were noticed.
    restores: broadcast::Sender<()>,
}

/// The task of one kind.
struct RunningFeed {
    messages: mpsc::UnboundedSender<Message>,
    alive: Alive,
}

/// The watches of one sync, until it is dropped.
pub struct Subscription {
    watches: Arc<Watches>,
    id: FollowerId,
    own: Own,
    events: Sender,
    /// The objects that the sync declares.
    declared: BTreeSet<ObjectId>,
}

impl Watches {
    /// No watch runs yet.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            running: Mutex::default(),
            declared: Mutex::default(),
            followers: AtomicU64::default(),
            sessions: AtomicU64::default(),
            restores: broadcast::Sender::new(1),
        }
    }

    /// A place for the watches of a sync.
    pub fn subscribe(self: &Arc<Self>, sync: &SyncId, events: Sender) -> Subscription {
        let id = self.followers.fetch_add(1, Ordering::Relaxed);
        let own = Own { part_of: sync.part_of().into(), sync: Arc::new(sync.clone()) };
        Subscription { watches: Arc::clone(self), id, own, events, declared: BTreeSet::new() }
    }

    /// The time since each watch was last seen to work: since it was accepted, or has shown an event or a bookmark.
    pub fn ages(&self) -> Vec<(GroupKind, Duration)> {
        let (running, now) = (lock(&self.running), Instant::now());
        running.iter().filter_map(|(kind, feed)| Some((kind.clone(), feed.alive.age(now)?))).collect()
    }

    /// The number of a new list: higher than those before.
    fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The identity of an object, with the text that the declared sets share, and the followers that declare it.
    fn declared(&self, id: ObjectId) -> (ObjectId, Vec<FollowerId>) {
        let declared = lock(&self.declared);
        let mut same = declared.range((id.clone(), 0)..=(id.clone(), FollowerId::MAX)).peekable();
        let id = same.peek().map_or(id, |(known, _)| known.clone());
        (id, same.map(|(_, follower)| *follower).collect())
    }

    /// Forgets the watch of a kind. Returns what was said to it too late; `None` if it has to go on, because a sync has joined.
    fn close(
        &self,
        kind: &GroupKind,
        messages: &mut mpsc::UnboundedReceiver<Message>,
        end: &End,
    ) -> Option<Vec<Message>> {
        let mut running = lock(&self.running);
        if matches!(end, End::Deserted) && !messages.is_empty() {
            return None;
        }
        running.remove(kind);
        messages.close();
        Some(std::iter::from_fn(|| messages.try_recv().ok()).collect())
    }
}

impl Subscription {
    /// Has the events of `kind` sent to the sync: [`Event::Served`], [`Event::Listing`], the objects, [`Event::Listed`], then
    /// every change. [`Event::Unserved`] ends it, if the API server does not serve the kind.
    pub fn watch(&self, kind: GroupKind) {
        let mut running = lock(&self.watches.running);
        let mut message = Message::Join(self.id, self.own.clone(), self.events.clone());
        if let Some(feed) = running.get(&kind) {
            match feed.messages.send(message) {
                Ok(()) => return,
                Err(ended) => message = ended.0,
            }
        }
        let (sender, messages) = mpsc::unbounded_channel();
        let _ = sender.send(message);
        let feed = Feed::new(Arc::clone(&self.watches), kind.clone(), messages);
        running.insert(kind, RunningFeed { messages: sender, alive: feed.alive.clone() });
        tokio::spawn(feed.run());
    }

    /// Has the sync told of these objects whatever label they have, in place of those of the call before.
    pub fn declares<'a>(&mut self, sets: impl IntoIterator<Item = &'a Arc<DeclaredSet>>) {
        let sets = sets.into_iter().flat_map(|set| set.objects.keys().chain(&set.disabled).chain(set.withheld.keys()));
        let before = std::mem::replace(&mut self.declared, sets.cloned().collect());
        let mut declared = lock(&self.watches.declared);
        for id in before.difference(&self.declared) {
            declared.remove(&(id.clone(), self.id));
        }
        declared.extend(self.declared.difference(&before).map(|id| (id.clone(), self.id)));
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut declared = lock(&self.watches.declared);
        for id in std::mem::take(&mut self.declared) {
            declared.remove(&(id, self.id));
        }
        drop(declared);
        for feed in lock(&self.watches.running).values() {
            // A watch that has ended has forgotten its followers.
            let _ = feed.messages.send(Message::Leave(self.id));
        }
    }
}
