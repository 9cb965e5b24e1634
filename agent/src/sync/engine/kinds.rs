//! The kinds that a sync watches: each is in one state, which says how much is known of its objects.

mod audits;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::backoff::Backoff;
use crate::model::finding::Finding;
use crate::model::object::{GroupKind, ObjectId};
use crate::sync::plan::{Action, Declared};

use audits::Audit;

use super::objects::{Deferred, Mark, Tracked};
use super::queue::{QueuePlace, WorkClass};
use super::{Command, Notice, State};

/// Pause before a kind that is not served is looked for again; it doubles.
const FIRST_SEARCH: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const LONGEST_SEARCH: Duration = Duration::from_secs(300);
/// The knowledge about the objects of a kind.
pub(super) enum KindState {
    /// No watch was asked for.
    NotWatched,
    /// A watch was asked for, or it lists the kind again.
    Listing(Listing),
    /// The list is complete, and the watch shows every change.
    Listed,
    /// The list failed: the API server refused it, or did not answer. The watch goes on trying.
    Unlistable(Finding),
    /// The API server does not serve the kind. With a time, the kind is looked for then, because recorded objects of it may
    /// exist.
    Unserved(Option<Instant>),
}

/// A list that is not complete yet.
#[derive(Default)]
pub(super) struct Listing {
    /// Known objects that the list has not shown so far.
    missing: BTreeSet<ObjectId>,
    /// Objects that the sync has written meanwhile, and that the list has not shown since.
    written: BTreeSet<ObjectId>,
    /// The highest resource version that the list has shown: the list is at least as new.
    newest: u64,
    /// `true` when the kind was listed or unlistable before: its state of before is relied on meanwhile.
    known: bool,
    /// The finding of the attempt before, which stays reported until the list is complete.
    failure: Option<Finding>,
}

/// One kind.
pub(super) struct Kind {
    pub(super) state: KindState,
    /// The kind has objects in the inventory's record.
    pub(super) recorded: bool,
    audit: Audit,
    /// The reason why no watch shows changes, only lists.
    unwatched: Option<Finding>,
    /// The plural under which the API server serves the kind: its CRD is named `<plural>.<group>`. `None` until a watch
    /// begins.
    pub(super) plural: Option<Box<str>>,
    /// The versions in which it is served; none until a watch begins.
    pub(super) versions: BTreeSet<String>,
    /// Number of the newest list that began. Events of an older list come from a watch that was replaced.
    session: u64,
    searches: Backoff,
    /// The pauses after audits that failed.
    audits: Backoff,
}

impl Default for Kind {
    fn default() -> Self {
        Self {
            state: KindState::NotWatched,
            recorded: false,
            audit: Audit::None,
            unwatched: None,
            plural: None,
            versions: BTreeSet::new(),
            session: 0,
            searches: Backoff::new(FIRST_SEARCH, LONGEST_SEARCH),
            audits: audits::pauses(),
        }
    }
}

impl Kind {
    /// `true` when all objects of the kind that exist are known, or cannot be known.
    fn is_known(&self) -> bool {
        match &self.state {
            KindState::NotWatched => false,
            KindState::Listing(listing) => listing.known,
            KindState::Listed | KindState::Unlistable(_) | KindState::Unserved(_) => true,
        }
    }

    fn is_watched(&self) -> bool {
        !matches!(self.state, KindState::NotWatched | KindState::Unserved(_))
    }

    /// `true` when objects of the kind may exist that nothing shows.
    fn is_blind(&self) -> bool {
        match &self.state {
            KindState::Unserved(_) | KindState::Unlistable(_) => true,
            KindState::Listing(listing) => listing.failure.is_some(),
            KindState::NotWatched | KindState::Listed => false,
        }
    }

    /// The reason why the API server did not list the kind at the last attempt.
    fn failure(&self) -> Option<&Finding> {
        match &self.state {
            KindState::Unlistable(finding) => Some(finding),
            KindState::Listing(listing) => listing.failure.as_ref(),
            _ => None,
        }
    }

    /// The state in words, for people.
    pub(super) fn state_name(&self) -> &'static str {
        match &self.state {
            KindState::NotWatched => "not watched",
            KindState::Listing(_) => "listing",
            KindState::Listed => "listed",
            KindState::Unlistable(_) => "unlistable",
            KindState::Unserved(_) => "unserved",
        }
    }
}

/// All kinds that the inventory's record or a commit names.
#[derive(Default)]
pub(super) struct Kinds(BTreeMap<GroupKind, Kind>);

impl Kinds {
    /// The kinds of the inventory's record; none of them is watched yet.
    pub(super) fn recorded(kinds: BTreeSet<GroupKind>) -> Self {
        Self(kinds.into_iter().map(|kind| (kind, Kind { recorded: true, ..Kind::default() })).collect())
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&GroupKind, &Kind)> {
        self.0.iter()
    }

    pub(super) fn of_mut(&mut self, kind: &GroupKind) -> &mut Kind {
        if !self.0.contains_key(kind) {
            self.0.insert(kind.clone(), Kind::default());
        }
        self.0.get_mut(kind).expect("inserted above")
    }

    /// The versions in which the kind is served, if they are known.
    pub(super) fn versions(&self, kind: &GroupKind) -> Option<&BTreeSet<String>> {
        self.0.get(kind).map(|kind| &kind.versions).filter(|versions| !versions.is_empty())
    }

    /// The plural of an object's kind, if it is known.
    pub(super) fn plural(&self, id: &ObjectId) -> Option<&str> {
        self.0.get(&id.group_kind())?.plural.as_deref()
    }

    fn is_watched(&self, kind: &GroupKind) -> bool {
        self.0.get(kind).is_some_and(Kind::is_watched)
    }

    /// `true` when all objects of the kind are known, so that the guard can judge deletions of them.
    pub(super) fn is_countable(&self, id: &ObjectId) -> bool {
        self.0.get(&id.group_kind()).is_none_or(|kind| kind.is_known() && !kind.is_blind())
    }

    /// `true` when objects of the kind may exist that nothing has shown. A kind that is not served has none.
    pub(super) fn may_exist(&self, id: &ObjectId) -> bool {
        self.0.get(&id.group_kind()).is_none_or(|kind| !matches!(kind.state, KindState::Unserved(_)))
    }

    /// `true` when all of `kinds` and all recorded kinds are known.
    pub(super) fn are_known(&self, kinds: &BTreeSet<GroupKind>) -> bool {
        self.0.values().filter(|kind| kind.recorded).all(Kind::is_known)
            && kinds.iter().all(|kind| self.0.get(kind).is_some_and(Kind::is_known))
    }

    /// Those of `kinds` and of the recorded kinds that have no watch.
    fn unwatched(&self, kinds: &BTreeSet<GroupKind>) -> BTreeSet<GroupKind> {
        let recorded = self.0.iter().filter(|(_, kind)| kind.recorded).map(|(name, _)| name);
        recorded.chain(kinds).filter(|kind| !self.is_watched(kind)).cloned().collect()
    }

    /// A commit of these kinds comes in force.
    pub(super) fn begin_commit(&mut self, kinds: BTreeSet<GroupKind>) {
        for kind in &kinds {
            self.of_mut(kind).recorded = true;
        }
    }

    /// `true` when every object of every kind has been shown.
    pub(super) fn are_shown(&self) -> bool {
        self.0.values().all(|kind| kind.is_known() && kind.failure().is_none())
    }

    /// The reasons why kinds cannot be listed or watched.
    pub(super) fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.0.values().filter_map(|kind| kind.failure().or(kind.unwatched.as_ref()))
    }

    /// The kinds of which it is not known what changes.
    pub(super) fn lost(&self) -> BTreeSet<&GroupKind> {
        self.0.iter().filter(|(_, it)| it.failure().is_some() || it.unwatched.is_some()).map(|(kind, _)| kind).collect()
    }

    /// When a kind is looked for that is not served.
    pub(super) fn next_search(&self) -> Option<Instant> {
        let search_at = |kind: &Kind| match kind.state {
            KindState::Unserved(at) => at,
            _ => None,
        };
        self.0.values().filter_map(search_at).min()
    }

    /// The list that is going on, if any.
    fn listing_of(&mut self, id: &ObjectId) -> Option<&mut Listing> {
        match &mut self.0.get_mut(&id.group_kind())?.state {
            KindState::Listing(listing) => Some(listing),
            _ => None,
        }
    }

    /// `true` when the object's kind is listed, and a watch shows its changes.
    pub(super) fn is_listed(&self, id: &ObjectId) -> bool {
        matches!(self.0.get(&id.group_kind()), Some(Kind { state: KindState::Listed, .. }))
    }

    /// `true` while the object's kind is being listed.
    pub(super) fn is_listing(&self, id: &ObjectId) -> bool {
        matches!(self.0.get(&id.group_kind()), Some(Kind { state: KindState::Listing(_), .. }))
    }

    /// The kinds that were listed before and are being listed again.
    pub(super) fn listed_again(&self) -> impl Iterator<Item = &GroupKind> {
        let is_again =
            |kind: &Kind| matches!(&kind.state, KindState::Listing(list) if list.known && list.failure.is_none());
        self.0.iter().filter(move |(_, kind)| is_again(kind)).map(|(name, _)| name)
    }

    /// A list shows the object.
    pub(super) fn shown(&mut self, id: &ObjectId, version: u64) {
        if let Some(listing) = self.listing_of(id) {
            listing.missing.remove(id);
            listing.written.remove(id);
            listing.newest = listing.newest.max(version);
        }
    }

    /// The sync has written the object. A list that is going on may be made before that, or after another client has deleted it again.
    pub(super) fn written(&mut self, id: &ObjectId) {
        if let Some(listing) = self.listing_of(id) {
            listing.missing.remove(id);
            listing.written.insert(id.clone());
        }
    }
}

impl State {
    /// Watches the kinds that the candidate or the inventory's record names.
    pub(super) fn watch_needed_kinds(&mut self) {
        let kinds = self.candidate.as_ref().map(|candidate| candidate.kinds.clone()).unwrap_or_default();
        let new = self.kinds.unwatched(&kinds);
        self.watch_kinds(new);
    }

    /// Watches a kind of which an object was applied: it may not have been served when the commit came in force.
    pub(super) fn watch_kind_of(&mut self, id: &ObjectId) {
        let kind = id.group_kind();
        if !self.kinds.is_watched(&kind) {
            self.watch_kinds(BTreeSet::from([kind]));
        }
    }

    /// Until they are listed, nothing is known of these kinds.
    fn watch_kinds(&mut self, kinds: BTreeSet<GroupKind>) {
        if kinds.is_empty() {
            return;
        }
        for kind in &kinds {
            self.kinds.of_mut(kind).state = KindState::Listing(Listing::default());
        }
        self.commands.push(Command::Watch(kinds));
    }

    /// Watches kinds again that were not served, when their time has come.
    pub(super) fn search_kinds(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        let due = |kind: &Kind| matches!(kind.state, KindState::Unserved(Some(at)) if at <= now);
        let kinds = self.kinds.all().filter(|(_, kind)| due(kind)).map(|(name, _)| name.clone()).collect();
        self.watch_kinds(kinds);
    }

    pub(super) fn listing_starts(&mut self, kind: &GroupKind, session: u64) {
        let shown = self.objects.of_kind(kind).filter(|(_, tracked)| tracked.is_shown());
        let missing = shown.map(|(id, _)| id.clone()).collect();
        let kind = self.kinds.of_mut(kind);
        if session < kind.session {
            return;
        }
        kind.session = session;
        let (known, failure) = match std::mem::replace(&mut kind.state, KindState::NotWatched) {
            KindState::NotWatched | KindState::Unserved(_) => (false, None),
            KindState::Listed => (true, None),
            KindState::Unlistable(finding) => (true, Some(finding)),
            KindState::Listing(before) => (before.known, before.failure),
        };
        kind.state = KindState::Listing(Listing { missing, known, failure, ..Listing::default() });
    }

    /// The list is complete: objects that it did not show are gone.
    pub(super) fn list_completed(&mut self, kind: &GroupKind, session: u64, now: Instant) {
        let entry = self.kinds.of_mut(kind);
        let Listing { missing, written, newest, failure, .. } = match &mut entry.state {
            // A watch that was replaced says the end of its own list: the list of its successor is not complete.
            KindState::Listing(listing) if session == entry.session => std::mem::take(listing),
            _ => return,
        };
        entry.state = KindState::Listed;
        entry.searches.reset();
        if failure.is_some() {
            self.report.status_changed();
            self.report.resources_changed();
        }
        self.is_shown(kind, now);
        self.others.listed();
        self.prunes.found();
        // Objects that are just being made are not known yet.
        let unanswered = self.objects.marked(Mark::InFlight).filter(|id| id.is_of(kind));
        let made = unanswered.filter(|id| missing.contains(*id) || self.objects.live(id).is_none());
        for id in made.cloned().collect::<Vec<_>>() {
            self.not_listed_in_flight(&id, newest, missing.contains(&id));
        }
        self.not_listed(missing, newest, now);
        for id in written {
            self.doubt(&id);
            self.evaluate(&id, now);
        }
        self.read_unserved(kind, now);
    }

    /// A complete list did not show an object about which a command is unanswered: the answer may be older than the list. An event of the
    /// watch is newer than the list, unless the object `is_missing` since then.
    fn not_listed_in_flight(&mut self, id: &ObjectId, newest: u64, is_missing: bool) {
        self.objects.change(id, |tracked| {
            if let Some(command) = tracked.in_flight_mut()
                && (is_missing || command.deferred.is_none())
            {
                command.deferred = Some(Deferred::Gone(newest));
            }
        });
    }

    /// Only a request tells if the object is there.
    pub(super) fn doubt(&mut self, id: &ObjectId) {
        self.objects.change(id, |tracked| {
            if let Some(live) = &mut tracked.live {
                live.in_doubt = true;
            }
        });
    }

    /// The kind is listed: recorded objects that it does not show are gone, but for those that nothing has shown before. Without the
    /// ApplySet label no list shows them, or they are made by a request that is still on its way: they are read.
    fn is_shown(&mut self, kind: &GroupKind, now: Instant) {
        let not_shown = |tracked: &Tracked| tracked.recorded && tracked.live.is_none();
        let not_shown = self.objects.of_kind(kind).filter(|(_, tracked)| not_shown(tracked));
        let not_shown: Vec<(ObjectId, bool)> = not_shown.map(|(id, it)| (id.clone(), it.unlisted)).collect();
        for (id, unlisted) in &not_shown {
            match unlisted {
                true => self.evaluate(id, now),
                false => self.forget_record(id),
            }
            self.report.resources_changed();
        }
    }

    /// Known objects that a complete list did not show; the list is at least as new as `newest`.
    fn not_listed(&mut self, missing: BTreeSet<ObjectId>, newest: u64, now: Instant) {
        for id in missing {
            if self.objects.is_in_flight(&id) {
                continue;
            }
            // The sync may have written the object after the list was made.
            let newer = self.objects.live(&id).is_some_and(|live| live.version > newest && !live.terminating);
            let is_declared = matches!(self.declared(&id), Declared::Object(_));
            if newer && is_declared {
                self.doubt(&id);
                self.objects.queue(&id, QueuePlace::of(WorkClass::Repair, &id, &self.in_force.order));
            } else if newer && matches!(self.action(&id), Action::Delete | Action::Abandon) {
                self.doubt(&id);
                self.evaluate(&id, now);
            } else {
                self.gone(&id, u64::MAX, now);
            }
        }
    }

    /// The list of the kind failed. Its objects that are not declared stay, because nothing shows them.
    pub(super) fn unlistable(&mut self, kind: &GroupKind, finding: Finding) {
        let kind = self.kinds.of_mut(kind);
        let told = kind.failure().filter(|told| told.is_like(&finding)).cloned();
        if told.is_none() {
            self.commands.push(Command::Notice(Notice::Failed(finding.clone())));
            self.report.status_changed();
            self.report.resources_changed();
        }
        kind.state = KindState::Unlistable(told.unwrap_or(finding));
    }

    /// The kind cannot be watched. Lists go on to show its objects.
    pub(super) fn unwatched(&mut self, kind: &GroupKind, finding: Finding) {
        let unwatched = &mut self.kinds.of_mut(kind).unwatched;
        if unwatched.as_ref().is_none_or(|told| !told.is_like(&finding)) {
            *unwatched = Some(finding.clone());
            self.commands.push(Command::Notice(Notice::Failed(finding)));
            self.report.status_changed();
            self.report.resources_changed();
        }
    }

    pub(super) fn watched(&mut self, kind: &GroupKind) {
        if self.kinds.of_mut(kind).unwatched.take().is_some() {
            self.report.status_changed();
            self.report.resources_changed();
        }
    }

    /// The API server does not serve the kind: no object of it exists now, but recorded ones may exist again.
    pub(super) fn unserved(&mut self, kind: &GroupKind, now: Instant) {
        // The watch that failed is over.
        self.watched(kind);
        let of_kind: Vec<(ObjectId, bool, bool)> = self
            .objects
            .of_kind(kind)
            .filter_map(|(id, tracked)| {
                let live = tracked.live.as_ref();
                let ours = tracked.own().is_some();
                let watched = live.is_some_and(|live| live.watched);
                (ours || watched || tracked.unlisted).then(|| (id.clone(), ours || tracked.unlisted, watched))
            })
            .collect();
        for (id, ..) in of_kind.iter().filter(|(_, recorded, _)| *recorded) {
            self.objects.change(id, |tracked| tracked.unlisted = true);
        }
        let recorded = of_kind.iter().any(|(_, recorded, _)| *recorded);
        let kind = self.kinds.of_mut(kind);
        if kind.failure().is_some() {
            self.report.status_changed();
            self.report.resources_changed();
        }
        let before =
            std::mem::replace(&mut kind.state, KindState::Unserved(recorded.then(|| now + kind.searches.next_pause())));
        // Its objects keep no Namespace any more.
        if recorded && !matches!(before, KindState::Unserved(_)) {
            self.prunes.found();
        }
        let watched = of_kind.into_iter().filter(|(.., watched)| *watched).map(|(id, ..)| id).collect();
        self.not_listed(watched, u64::MAX, now);
    }

    /// Objects in the record that no list has shown yet.
    pub(super) fn unlisted(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.marked(Mark::Unlisted)
    }
}

#[cfg(test)]
mod tests;
