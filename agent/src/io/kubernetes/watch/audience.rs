//! The syncs that follow one kind, and which of them is told of an object. This is without I/O.
//!
//! An object belongs to the follower that its label `part-of` names. Followers that declare the object are told of it too: they
//! leave it to the other one for as long as it has it. All others hear nothing of it, so that the cost of an object does not
//! grow with the number of syncs. If the label names another follower than before, the object is gone for the one before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::io::kubernetes::pages::{NAMED, part_of_one};
use crate::model::metadata::{SyncId, label};
use crate::model::object::ObjectId;

/// One sync that follows kinds.
pub(super) type FollowerId = u64;

/// News of an object for one follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// The object is new, changed or listed.
    Shown,
    /// The object was deleted, or its label is the follower's no more.
    Gone,
}

/// A keyed hash of the identity of an object.
type ObjectKey = u64;

/// The followers of one kind.
#[derive(Default)]
pub(super) struct Audience {
    followers: BTreeMap<FollowerId, Member>,
    labels: BTreeMap<Arc<str>, FollowerId>,
    /// The follower that was last shown an object because of its label, by the key of the object: others can give any number of objects a
    /// label.
    shown: HashMap<ObjectKey, FollowerId>,
    keys: RandomState,
    list: Option<OpenList>,
}

struct Member {
    own: Own,
    /// `true` once a list for this follower was complete.
    listed: bool,
}

/// The objects that are a follower's own.
#[derive(Clone)]
pub(super) struct Own {
    /// Their value of the label `part-of`.
    pub(super) part_of: Arc<str>,
    /// The follower, which is told of no other object. Every client can write a label.
    pub(super) sync: Arc<SyncId>,
}

/// A list that is not complete yet.
struct OpenList {
    members: BTreeSet<FollowerId>,
    /// The next [`Audience::shown`]; `None` if the list is not for all followers.
    shown: Option<HashMap<ObjectKey, FollowerId>>,
    /// Objects of which the watch has told since the list began. The list may be older, so it says nothing about them: the watch
    /// tells of whatever comes.
    told: HashSet<ObjectKey>,
}

impl Audience {
    /// A sync follows the kind from now on, or wants it to be listed anew. It is told of nothing until its list begins.
    pub(super) fn join(&mut self, id: FollowerId, own: Own) {
        if let Some(list) = &mut self.list {
            list.members.remove(&id);
        }
        self.labels.insert(Arc::clone(&own.part_of), id);
        self.followers.insert(id, Member { own, listed: false });
    }

    /// A sync does not follow the kind any more.
    pub(super) fn leave(&mut self, id: FollowerId) {
        let Some(member) = self.followers.remove(&id) else { return };
        // Its successor may have the label already.
        if self.labels.get(&member.own.part_of) == Some(&id) {
            self.labels.remove(&member.own.part_of);
        }
        self.shown.retain(|_, follower| *follower != id);
        if let Some(list) = &mut self.list {
            list.members.remove(&id);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.followers.is_empty()
    }

    pub(super) fn followers(&self) -> impl Iterator<Item = FollowerId> {
        self.followers.keys().copied()
    }

    /// Begins a list for all followers, or for those that were not listed yet, and returns its label selector; `None` if it
    /// would be for no follower. A list that is going on is given up.
    pub(super) fn begin_list(&mut self, whole: bool) -> Option<String> {
        let members = self.followers.iter().filter(|(_, member)| whole || !member.listed);
        let members: BTreeSet<FollowerId> = members.map(|(id, _)| *id).collect();
        if members.is_empty() {
            return None;
        }
        // A follower that was listed may know of objects of other labels.
        let known = members.iter().any(|id| self.followers[id].listed);
        let names: Vec<&str> = members.iter().map(|id| &*self.followers[id].own.part_of).collect();
        let selector = if known || names.len() > NAMED { label::PART_OF.to_owned() } else { part_of_one(&names) };
        self.list = Some(OpenList { members, shown: whole.then(HashMap::new), told: HashSet::new() });
        Some(selector)
    }

    /// The followers for which the list is that is going on.
    pub(super) fn members(&self) -> Vec<FollowerId> {
        self.list.iter().flat_map(|list| &list.members).copied().collect()
    }

    /// The list is complete: the followers for which it was.
    pub(super) fn end_list(&mut self) -> Vec<FollowerId> {
        let Some(list) = self.list.take() else { return Vec::new() };
        self.shown = list.shown.unwrap_or_else(|| std::mem::take(&mut self.shown));
        for id in &list.members {
            if let Some(member) = self.followers.get_mut(id) {
                member.listed = true;
            }
        }
        list.members.into_iter().collect()
    }

    /// The list came to no end.
    pub(super) fn give_list_up(&mut self) {
        self.list = None;
    }

    /// The list shows an object: the followers that are told of it. `declaring` are those that declare it.
    pub(super) fn listed(&mut self, id: &ObjectId, part_of: &str, declaring: &[FollowerId]) -> Vec<FollowerId> {
        let (owner, key) = (self.owner(id, part_of), self.keys.hash_one(id));
        let Some(list) = &mut self.list else { return Vec::new() };
        if list.told.contains(&key) {
            return Vec::new();
        }
        if let Some(owner) = owner.filter(|owner| list.members.contains(owner)) {
            // If the label named another follower, the watch will tell that one.
            list.shown.as_mut().unwrap_or(&mut self.shown).entry(key).or_insert(owner);
        }
        let told: BTreeSet<FollowerId> = owner.iter().chain(declaring).copied().collect();
        told.into_iter().filter(|follower| list.members.contains(follower)).collect()
    }

    /// The watch shows an object, with its label; without one it was deleted or lost the label. Returns who is told what.
    pub(super) fn changed(
        &mut self,
        id: &ObjectId,
        part_of: Option<&str>,
        declaring: &[FollowerId],
    ) -> Vec<(FollowerId, News)> {
        let key = self.keys.hash_one(id);
        if let Some(list) = &mut self.list {
            list.told.insert(key);
        }
        let owner = part_of.and_then(|part_of| self.owner(id, part_of));
        let before = match owner.filter(|owner| self.hears(*owner)) {
            Some(owner) => self.shown.insert(key, owner),
            None => self.shown.remove(&key),
        };
        let news = if part_of.is_some() { News::Shown } else { News::Gone };
        let mut told: BTreeMap<FollowerId, News> = before.into_iter().map(|before| (before, News::Gone)).collect();
        told.extend(owner.iter().chain(declaring).map(|follower| (*follower, news)));
        told.into_iter().filter(|(follower, _)| self.hears(*follower)).collect()
    }

    /// The follower whose own an object with this label is.
    fn owner(&self, id: &ObjectId, part_of: &str) -> Option<FollowerId> {
        let owner = *self.labels.get(part_of)?;
        self.followers.get(&owner)?.own.sync.covers(id).then_some(owner)
    }

    /// `true` if the follower is told of changes: its list is complete or going on.
    fn hears(&self, id: FollowerId) -> bool {
        self.followers.get(&id).is_some_and(|member| member.listed)
            || self.list.as_ref().is_some_and(|list| list.members.contains(&id))
    }
}

#[cfg(test)]
mod tests;
