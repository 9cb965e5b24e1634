//! The task of one kind: it lists for the syncs that follow the kind, watches, and tells each of what concerns it.

mod versions;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kube::core::Status;
use tokio::sync::broadcast::error::RecvError::Lagged;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::alive::Alive;
use super::audience::{Audience, FollowerId, News, Own};
use super::frames::{Frame, Frames, number, observed, part_of};
use super::{Sender, Watches};
use crate::io::kubernetes::client::{ApiError, Served};
use crate::io::kubernetes::pages::{ListForm, Page, Pages};
use crate::model::backoff::Backoff;
use crate::model::finding::{Code, Finding};
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::engine::Event;
use crate::sync::live::Observed;

/// The pause before another attempt, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
/// Time in which the API server accepts a watch.
const PATIENCE: Duration = Duration::from_secs(40);
/// After a watch that was open for a shorter time there is a pause, which grows.
const LASTING: Duration = Duration::from_secs(5);
/// Syncs that join a watch within this time share a list.
const GATHERING: Duration = Duration::from_millis(50);
/// A watch that has shown nothing for this long is opened anew: its connection may be dead. An API server sends a bookmark
/// every 60 to 75 seconds.
const SILENCE: Duration = Duration::from_secs(90);
/// A watch that is away for this long is told of. A refusal that will not pass by itself is told of at once.
const LOST: Duration = Duration::from_secs(60);

/// Something that a sync wants of the task.
pub(super) enum Message {
    /// It follows the kind from now on.
    Join(FollowerId, Own, Sender),
    /// It has ended.
    Leave(FollowerId),
}

/// The reason why the task ends.
pub(super) enum End {
    /// The API server does not serve the kind.
    Unserved,
    /// No sync follows the kind any more.
    Deserted,
}

/// The reason why a watch ended.
enum Closed {
    /// It goes on from its position.
    Ended,
    /// The API server sent nothing for too long. It goes on from its position.
    Silent,
    /// The API server does not have the position any more: the kind is listed anew.
    Expired,
    Failed(ApiError),
}

impl Closed {
    fn by(error: ApiError) -> Self {
        // After a restore of etcd, a position may be ahead of all that there is.
        let ahead = |status: &Status| {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            causes.into_iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
        };
        match &error {
            ApiError::Refused(status) if status.code == 410 || ahead(status) => Self::Expired,
            _ => Self::Failed(error),
        }
    }
}

/// A list for those that joined, which is read beside the watch.
type Joining = Pin<Box<dyn Future<Output = (Pages, Result<Option<Page>, ApiError>)> + Send>>;

pub(super) struct Feed {
    pub(super) watches: Arc<Watches>,
    pub(super) kind: GroupKind,
    messages: mpsc::UnboundedReceiver<Message>,
    audience: Audience,
    senders: BTreeMap<FollowerId, Sender>,
    /// The kind as it is served; `None` until that is known.
    served: Option<Served>,
    /// The session of the newest list.
    session: u64,
    retry: Backoff,
    /// When the watch was last open.
    open_at: Instant,
    pub(super) alive: Alive,
    /// The followers were told that the watch is away.
    lost: Option<Finding>,
    /// The highest version that was told.
    newest: u64,
    restores: broadcast::Receiver<()>,
    discoveries: broadcast::Receiver<()>,
    /// A watch has ended before its time, so that discovery is to be asked.
    interrupted: bool,
}

impl Feed {
    pub(super) fn new(watches: Arc<Watches>, kind: GroupKind, messages: mpsc::UnboundedReceiver<Message>) -> Self {
        let (restores, discoveries) = (watches.restores.subscribe(), watches.cluster.discoveries());
        Self {
            watches,
            kind,
            messages,
            audience: Audience::default(),
            senders: BTreeMap::new(),
            served: None,
            session: 0,
            retry: RETRY,
            open_at: Instant::now(),
            alive: Alive::new(),
            lost: None,
            newest: 0,
            restores,
            discoveries,
            interrupted: false,
        }
    }

    /// Follows the kind until it is not served any more or no sync follows it. If the task breaks down, the kind is listed and
    /// watched anew, and the syncs hear that it was not watched.
    pub(super) async fn run(mut self) {
        self.run_supervised(|feed| feed.follow_to_the_end().boxed()).await;
    }

    async fn run_supervised(&mut self, mut work: impl for<'a> FnMut(&'a mut Self) -> BoxFuture<'a, ()>) {
        while AssertUnwindSafe(work(self)).catch_unwind().await.is_err() {
            // The panic is in the log and counted; what the task knew of a list is not to be relied on.
            self.audience.give_list_up();
            let message = format!("the watch of {} broke down; the log of the agent says where", self.kind);
            let finding = Finding::new(Code::Internal, message)
                .hint("the agent watches again by itself; please report what the log says");
            self.lost = Some(finding.clone());
            self.tell_all(|kind| Event::Unwatched(kind.clone(), finding.clone())).await;
            // If no sync is left, the task ends by itself.
            let _ = self.pause().await;
        }
    }

    async fn follow_to_the_end(&mut self) {
        loop {
            let end = match self.follow().await {
                Ok(never) => match never {},
                Err(end) => end,
            };
            let Some(late) = self.watches.close(&self.kind, &mut self.messages, &end) else {
                // A sync has joined meanwhile.
                continue;
            };
            for message in late {
                self.hear(message).await;
            }
            self.tell_all(|kind| Event::Unserved(kind.clone())).await;
            return;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        self.hear_all().await?;
        let served = self.find().await?;
        self.tell_served(served.clone()).await;
        let mut position = None;
        loop {
            self.hear_all().await?;
            let mut from = match position.take() {
                Some(position) => position,
                None => match self.list_whole(&served).await {
                    Ok(version) => version,
                    Err(error) => {
                        self.list_failed(&error).await?;
                        self.pause().await?;
                        continue;
                    }
                },
            };
            let opened = Instant::now();
            let closed = self.watch(&served, &mut from).await?;
            self.ended_after(opened.elapsed(), &closed);
            self.audience.give_list_up();
            match closed {
                Closed::Expired => {}
                Closed::Ended | Closed::Silent => position = Some(from),
                Closed::Failed(error) => {
                    self.ends_with(&error)?;
                    tracing::debug!(kind = %self.kind, %error, "the watch broke off and starts again");
                    self.away(&error).await;
                    // While the watch is away, lists show what changes.
                    position = Some(from).filter(|_| self.lost.is_none());
                }
            }
            match opened.elapsed() {
                short if short < LASTING => self.pause().await?,
                _ => self.retry.reset(),
            }
        }
    }

    /// The kind as it is served.
    async fn find(&mut self) -> Result<Served, End> {
        loop {
            match self.watches.cluster.served(&self.kind).await {
                Ok(served) => return Ok(served),
                Err(ApiError::Unserved(_)) => return Err(End::Unserved),
                Err(error) => {
                    tracing::warn!(kind = %self.kind, %error, "cannot find out where the kind is served; trying again");
                    self.pause().await?;
                }
            }
        }
    }

    fn ends_with(&self, error: &ApiError) -> Result<(), End> {
        if error.is_unserved() {
            self.watches.cluster.doubt(&self.kind);
            return Err(End::Unserved);
        }
        Ok(())
    }

    /// Lists the kind for all followers, and returns the version of the list.
    async fn list_whole(&mut self, served: &Served) -> Result<String, ApiError> {
        let Some(mut pages) = self.begin_list(served, true).await else { return Ok(String::new()) };
        let mut version = String::new();
        let cluster = Arc::clone(&self.watches.cluster);
        self.restores = self.restores.resubscribe();
        while let Some(page) = pages.next(&cluster).await? {
            version.clone_from(&page.version);
            self.show(page).await;
        }
        self.listed_at(&version);
        self.end_list().await;
        Ok(version)
    }

    /// A whole list is complete. If it is older than what the watch has told before, etcd was restored.
    fn listed_at(&mut self, version: &str) {
        let before = std::mem::replace(&mut self.newest, number(version));
        if self.newest < before && is_in_etcd(&self.kind) {
            tracing::warn!(kind = %self.kind, "the resource versions have fallen, as after a restore of etcd");
            let _ = self.watches.restores.send(());
            self.restores = self.restores.resubscribe();
        }
    }

    /// Begins a list; `None` if it would be for no follower.
    async fn begin_list(&mut self, served: &Served, whole: bool) -> Option<Pages> {
        let selector = self.audience.begin_list(whole)?;
        self.session = self.watches.next_session();
        for member in self.audience.members() {
            self.tell(member, Event::Listing(self.kind.clone(), self.session)).await;
        }
        Some(Pages::new(served, "", selector, ListForm::Metadata))
    }

    async fn end_list(&mut self) {
        for member in self.audience.end_list() {
            self.tell(member, Event::Listed(self.kind.clone(), self.session)).await;
            if let Some(finding) = &self.lost {
                let lost = Event::Unwatched(self.kind.clone(), finding.clone());
                self.tell(member, lost).await;
            }
        }
    }

    /// Tells of the objects of a page, one after the other.
    async fn show(&mut self, page: Page) {
        for item in page.items {
            let seen = observed(&item);
            drop(item);
            let (id, declaring) = self.identify(&seen);
            let followers = self.audience.listed(&id, part_of(&seen).unwrap_or_default(), &declaring);
            self.tell_of(followers, &id, seen).await;
        }
    }

    /// The identity of an object, and the followers that declare it.
    fn identify(&self, seen: &Observed) -> (ObjectId, Vec<FollowerId>) {
        let namespaced = self.served.as_ref().is_some_and(|served| served.namespaced);
        let id = ObjectId::new(&self.kind, if namespaced { &seen.namespace } else { "" }, &seen.name);
        self.watches.declared(id)
    }

    /// The list that is going on failed. It is begun anew after a pause.
    async fn list_failed(&mut self, error: &ApiError) -> Result<(), End> {
        self.ends_with(error)?;
        let members = self.audience.members();
        self.audience.give_list_up();
        // A list that took too long for its pages to fit together is no failure.
        if error.code() == 410 {
            return Ok(());
        }
        let finding = error.finding(&format!("list {}", self.kind));
        for member in members {
            self.tell(member, Event::Unlistable(self.kind.clone(), finding.clone())).await;
        }
        Ok(())
    }

    /// Watches from a version on, which moves on, and lists beside that for those that join.
    async fn watch(&mut self, served: &Served, from: &mut String) -> Result<Closed, End> {
        let cluster = Arc::clone(&self.watches.cluster);
        let mut frames = match timeout(PATIENCE, Frames::open(&cluster, served, from)).await {
            Ok(Ok(frames)) => frames,
            Ok(Err(error)) => return Ok(Closed::by(error)),
            Err(_) => return Ok(Closed::Failed(ApiError::Unreachable("the watch is not answered".to_owned()))),
        };
        self.opened().await;
        let mut joining: Option<Joining> = None;
        let mut join_at = Instant::now();
        // Pages of the list beside the watch are as new as this, or etcd was restored. The list says nothing of what the watch tells meanwhile.
        let mut began_at = 0;
        loop {
            if joining.is_none()
                && join_at <= Instant::now()
                && let Some(pages) = self.begin_list(served, false).await
            {
                (joining, began_at) = (Some(next_page(Arc::clone(&cluster), pages)), self.newest);
            }
            let waiting = joining.is_none() && join_at > Instant::now();
            tokio::select! {
                // Always in the same order, so that a simulation can repeat a run. Messages and pages are few.
                biased;
                message = self.messages.recv() => {
                    if let Some(message) = message {
                        self.hear(message).await;
                    }
                    self.hear_all().await?;
                    join_at = join_at.max(Instant::now() + GATHERING);
                }
                (pages, page) = async { joining.as_mut().expect("checked below").await }, if joining.is_some() => {
                    joining = match page {
                        Ok(Some(page)) if number(&page.version) < began_at => return Ok(Closed::Expired),
                        Ok(Some(page)) => {
                            self.show(page).await;
                            Some(next_page(Arc::clone(&cluster), pages))
                        }
                        Ok(None) => {
                            self.end_list().await;
                            None
                        }
                        Err(error) => {
                            self.list_failed(&error).await?;
                            join_at = Instant::now() + self.retry.next_pause();
                            None
                        }
                    };
                }
                frame = timeout_at(self.open_at + SILENCE, frames.next()) => match frame {
                    Ok(Ok(Some(frame))) => if let Some(closed) = self.take(frame, from).await { return Ok(closed) },
                    Ok(Ok(None)) => return Ok(Closed::Ended),
                    Err(_) => return Ok(Closed::Silent),
                    Ok(Err(error)) => return Ok(Closed::Failed(error)),
                },
                // It does not fail while the watches are there.
                Ok(()) | Err(Lagged(_)) = self.restores.recv() => return Ok(Closed::Expired),
                Ok(()) | Err(Lagged(_)) = self.discoveries.recv() => self.compare_versions().await,
                () = sleep_until(join_at), if waiting => {}
            }
        }
    }

    /// The API server has accepted the watch.
    async fn opened(&mut self) {
        self.alive();
        self.ask_for_versions();
        if self.lost.take().is_some() {
            self.tell_all(|kind| Event::Watched(kind.clone())).await;
        }
    }

    fn alive(&mut self) {
        self.open_at = Instant::now();
        self.alive.set(self.open_at);
    }

    /// Takes in an event of the watch. Returns the reason if the watch is over.
    async fn take(&mut self, frame: Frame, from: &mut String) -> Option<Closed> {
        self.alive();
        match frame {
            Frame::Refused(status) => return Some(Closed::by(ApiError::Refused(status))),
            Frame::Bookmark(version) => *from = version,
            Frame::Shown(seen) => {
                from.clone_from(&seen.resource_version);
                self.changed(*seen, false).await;
            }
            Frame::Gone(seen) => {
                from.clone_from(&seen.resource_version);
                self.changed(*seen, true).await;
            }
        }
        self.newest = self.newest.max(number(from));
        None
    }

    async fn changed(&mut self, seen: Observed, gone: bool) {
        let (id, declaring) = self.identify(&seen);
        let version = seen.version();
        let news = self.audience.changed(&id, part_of(&seen).filter(|_| !gone), &declaring);
        let mut shown = Vec::new();
        for (follower, news) in news {
            match news {
                News::Shown => shown.push(follower),
                News::Gone => self.tell(follower, Event::Gone(id.clone(), version)).await,
            }
        }
        self.tell_of(shown, &id, seen).await;
    }

    /// The watch failed. The followers hear of it if it is away for long, or will not come back by itself.
    async fn away(&mut self, error: &ApiError) {
        if error.is_transient() && self.open_at.elapsed() < LOST {
            return;
        }
        let finding = error.finding(&format!("watch {}", self.kind));
        if self.lost.as_ref() != Some(&finding) {
            self.lost = Some(finding.clone());
            self.tell_all(|kind| Event::Unwatched(kind.clone(), finding.clone())).await;
        }
    }

    /// Waits before another attempt, or until a sync joins.
    async fn pause(&mut self) -> Result<(), End> {
        let until = Instant::now() + self.retry.next_pause();
        if let Ok(Some(message)) = timeout_at(until, self.messages.recv()).await {
            self.hear(message).await;
        }
        self.hear_all().await
    }

    async fn hear_all(&mut self) -> Result<(), End> {
        while let Ok(message) = self.messages.try_recv() {
            self.hear(message).await;
        }
        if self.audience.is_empty() { Err(End::Deserted) } else { Ok(()) }
    }

    async fn hear(&mut self, message: Message) {
        match message {
            Message::Join(id, own, sender) => {
                self.senders.insert(id, sender);
                self.audience.join(id, own);
                if let Some(served) = &self.served {
                    self.tell(id, versions::served_as(&self.kind, served)).await;
                }
            }
            Message::Leave(id) => {
                self.senders.remove(&id);
                self.audience.leave(id);
            }
        }
    }

    async fn tell_of(&self, followers: Vec<FollowerId>, id: &ObjectId, seen: Observed) {
        let Some((last, others)) = followers.split_last() else { return };
        for follower in others {
            self.tell(*follower, Event::Seen(id.clone(), Box::new(seen.clone()))).await;
        }
        self.tell(*last, Event::Seen(id.clone(), Box::new(seen))).await;
    }

    async fn tell_all(&self, event: impl Fn(&GroupKind) -> Event) {
        for follower in self.audience.followers() {
            self.tell(follower, event(&self.kind)).await;
        }
    }

    async fn tell(&self, follower: FollowerId, event: Event) {
        if let Some(sender) = self.senders.get(&follower) {
            // A sync that has ended takes no events, and leaves.
            let _ = sender.send(event).await;
        }
    }
}

fn next_page(cluster: Arc<super::Cluster>, mut pages: Pages) -> Joining {
    Box::pin(async move {
        let page = pages.next(&cluster).await;
        (pages, page)
    })
}

/// `false` if the kind may be served by another API server, whose resource versions are its own.
fn is_in_etcd(kind: &GroupKind) -> bool {
    !kind.group.contains('.') || kind.group.ends_with(".k8s.io")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::kubernetes::client::Cluster;
    use crate::model::metadata::SyncId;

    #[tokio::test]
    async fn a_watch_that_breaks_down_is_told_and_starts_again_with_its_followers() {
        let watches = Arc::new(Watches::new(Arc::new(Cluster::unreachable())));
        let (messages, inbox) = mpsc::unbounded_channel();
        let (events, mut told) = mpsc::channel(10);
        let mut feed = Feed::new(watches, GroupKind::new("", "Secret"), inbox);
        let _ = messages.send(Message::Join(7, Own { part_of: "me".into(), sync: SyncId::root("me").into() }, events));
        let (mut runs, woken) = (0, messages.clone());
        let work = supervised_work(|feed| {
            runs += 1;
            let (breaks, woken) = (runs < 3, woken.clone());
            async move {
                let _ = feed.hear_all().await;
                assert_eq!(feed.audience.followers().collect::<Vec<_>>(), [7]);
                // It ends the pause.
                let _ = woken.send(Message::Leave(8));
                assert!(!breaks, "as the test wants it");
            }
            .boxed()
        });
        feed.run_supervised(work).await;
        for _ in 0..2 {
            assert!(matches!(told.try_recv(), Ok(Event::Unwatched(_, finding)) if finding.code == Code::Internal));
        }
        assert!(told.try_recv().is_err());
        assert_eq!(runs, 3);
    }

    /// Gives the closure the lifetimes that it needs.
    fn supervised_work<F: for<'a> FnMut(&'a mut Feed) -> BoxFuture<'a, ()>>(work: F) -> F {
        work
    }
}
