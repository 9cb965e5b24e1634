//! The garbage collector: objects whose owners are gone go too, owners that are deleted in the foreground wait for their
//! dependents, and those that leave orphans are taken from their references.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::object::{self, list, text};
use crate::store::{Change, Event, Key};
use crate::write::{Propagation, Wish};

use super::hand::{Hand, MANAGER};

/// The owners of objects, and the objects to look at.
#[derive(Debug, Clone, Default)]
pub(super) struct Garbage {
    /// The objects that are there, by uid.
    present: BTreeMap<String, Key>,
    /// The objects that name an owner, by its uid.
    dependents: BTreeMap<String, BTreeSet<Key>>,
    /// Objects that may have to go or to lose references or finalizers.
    pending: BTreeSet<Key>,
}

impl Garbage {
    /// Takes an event into account.
    pub(super) fn note(&mut self, event: &Event) {
        let key = &event.key;
        if let Some(before) = &event.before {
            for owner in owners(before) {
                self.forget(owner, key);
            }
        }
        let uid = object::uid(&event.object).to_owned();
        if event.change == Change::Deleted {
            self.present.remove(&uid);
            self.pending.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
            // Its owners may have waited for it.
            self.pending.extend(owners(&event.object).filter_map(|owner| self.present.get(owner)).cloned());
            return;
        }
        self.present.insert(uid, key.clone());
        for owner in owners(&event.object) {
            self.dependents.entry(owner.to_owned()).or_default().insert(key.clone());
            self.pending.insert(key.clone());
        }
        if object::is_deleting(&event.object) {
            self.pending.insert(key.clone());
            self.pending.extend(owners(&event.object).filter_map(|owner| self.present.get(owner)).cloned());
        }
    }

    /// Where the object of a uid is.
    pub(super) fn place(&self, uid: &str) -> Option<Key> {
        self.present.get(uid).cloned()
    }

    fn forget(&mut self, owner: &str, key: &Key) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(key);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// Looks at one object, and says whether there was one to look at.
    pub(super) fn tend(&mut self, hand: &mut Hand<'_>) -> bool {
        let Some(key) = self.pending.pop_first() else { return false };
        let Some(live) = hand.state.store.get(&key).cloned() else { return true };
        if object::is_deleting(&live) {
            if has_finalizer(&live, "foregroundDeletion") {
                self.delete_dependents(hand, &key, &live);
                return true;
            }
            if has_finalizer(&live, "orphan") {
                self.release_dependents(hand, &key, &live);
                return true;
            }
        }
        self.check_owners(hand, &key, &live);
        true
    }

    fn dependents_of(&self, live: &Value) -> Vec<Key> {
        self.dependents.get(object::uid(live)).into_iter().flatten().cloned().collect()
    }

    /// Deletes the dependents of an owner that waits for them, and lets it go when none blocks it.
    fn delete_dependents(&mut self, hand: &mut Hand<'_>, key: &Key, live: &Value) {
        let dependents = self.dependents_of(live);
        let uid = object::uid(live);
        let blocks = |dependent: &Key| {
            let references = hand.state.store.get(dependent).map(|one| list(one, "/metadata/ownerReferences"));
            references
                .unwrap_or_default()
                .iter()
                .any(|one| text(one, "/uid") == uid && one["blockOwnerDeletion"] == true)
        };
        if !dependents.iter().any(blocks) {
            remove_finalizer(hand, key, "foregroundDeletion");
        }
        for dependent in dependents {
            if let Some(live) = hand.state.store.get(&dependent).cloned() {
                self.check_owners(hand, &dependent, &live);
            }
        }
    }

    /// Takes the references to an owner from its dependents, and lets it go.
    fn release_dependents(&mut self, hand: &mut Hand<'_>, key: &Key, live: &Value) {
        for dependent in self.dependents_of(live) {
            drop_references(hand, &dependent, &[object::uid(live).to_owned()]);
        }
        remove_finalizer(hand, key, "orphan");
    }

    /// Deletes an object whose owners are all gone or waiting for it, and takes references to such owners from one that
    /// has others.
    fn check_owners(&mut self, hand: &mut Hand<'_>, key: &Key, live: &Value) {
        if object::is_deleting(live) {
            return;
        }
        let (mut solid, mut gone, mut waiting) = (0, Vec::new(), Vec::new());
        for owner in owners(live) {
            let found = self.present.get(owner).and_then(|key| hand.state.store.get(key));
            match found {
                Some(found) if can_own(found, live) => {
                    if object::is_deleting(found) && has_finalizer(found, "foregroundDeletion") {
                        waiting.push(owner.to_owned());
                    } else {
                        solid += 1;
                    }
                }
                _ => gone.push(owner.to_owned()),
            }
        }
        if gone.is_empty() && waiting.is_empty() {
            return;
        }
        if solid > 0 {
            gone.extend(waiting);
            drop_references(hand, key, &gone);
            return;
        }
        let propagation = if !waiting.is_empty() && !self.dependents_of(live).is_empty() {
            Propagation::Foreground
        } else if has_finalizer(live, "orphan") {
            Propagation::Orphan
        } else if has_finalizer(live, "foregroundDeletion") {
            Propagation::Foreground
        } else {
            Propagation::Background
        };
        let wish = Wish { propagation: Some(propagation), uid: Some(object::uid(live).to_owned()), ..Wish::default() };
        hand.delete(key, &wish);
    }
}

/// The uids of an object's owners.
fn owners(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "/metadata/ownerReferences").iter().map(|owner| text(owner, "/uid"))
}

/// Owners are cluster-scoped or in the same namespace.
fn can_own(owner: &Value, dependent: &Value) -> bool {
    let namespace = object::namespace(owner);
    namespace.is_empty() || namespace == object::namespace(dependent)
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object::finalizers(object).any(|one| one == name)
}

fn remove_finalizer(hand: &mut Hand<'_>, key: &Key, name: &str) {
    hand.change(key, "", MANAGER, |object| {
        let left: Vec<String> = object::finalizers(object).filter(|one| *one != name).map(ToOwned::to_owned).collect();
        object::set(object, "finalizers", left);
    });
}

fn drop_references(hand: &mut Hand<'_>, key: &Key, uids: &[String]) {
    hand.change(key, "", MANAGER, |object| {
        let references = list(object, "/metadata/ownerReferences");
        let left: Vec<Value> =
            references.iter().filter(|one| uids.iter().all(|uid| uid != text(one, "/uid"))).cloned().collect();
        object::set(object, "ownerReferences", left);
    });
}
