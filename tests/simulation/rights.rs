//! The rights of the accounts that syncs act as, in a simple form: that of a RootSync may do everything, that of a tenant everything in
//! its Namespace, but for what is withdrawn.

use std::collections::{BTreeMap, BTreeSet};

use agent::model::metadata::SyncId;
use sandbox::answer::Incoming;
use sandbox::route::Place;

use crate::source::{OBJECTS, Template};

/// Rights that an account does not have: on the objects of a kind in a Namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Withdrawn {
    sync: usize,
    resource: String,
    namespace: String,
}

#[derive(Clone, Default)]
pub(crate) struct Rights {
    /// By the user that a sync acts as.
    syncs: BTreeMap<String, (usize, SyncId)>,
    /// `true` where the objects may still be read.
    withdrawn: BTreeMap<Withdrawn, bool>,
}

impl Withdrawn {
    fn of(sync: usize, template: &Template) -> Self {
        Self { sync, resource: template.plural(), namespace: template.2.to_owned() }
    }
}

impl Rights {
    pub(crate) fn of(syncs: &[SyncId]) -> Self {
        let users = syncs.iter().enumerate().map(|(index, sync)| (sync.user(), (index, sync.clone())));
        Self { syncs: users.collect(), withdrawn: BTreeMap::new() }
    }

    /// `true` if the user that the request is made as may do this. The agent itself may do everything.
    pub(crate) fn allow(&self, incoming: &Incoming, place: &Place) -> bool {
        if incoming.impersonated.is_empty() || place.resource.is_empty() {
            return true;
        }
        let Some((sync, id)) = self.syncs.get(&incoming.impersonated) else { return false };
        let withdrawn = Withdrawn { sync: *sync, resource: place.resource.clone(), namespace: place.namespace.clone() };
        let is_in_scope = id.scope().is_none_or(|scope| scope == withdrawn.namespace);
        let may_read = || incoming.method == "GET";
        is_in_scope && self.withdrawn.get(&withdrawn).is_none_or(|readable| *readable && may_read())
    }

    /// The account of a sync has no rights any more on the kind of this object in its Namespace, but perhaps to read it.
    pub(crate) fn withdraw(&mut self, sync: usize, index: u8, readable: bool) {
        self.withdrawn.insert(Withdrawn::of(sync, &OBJECTS[usize::from(index)]), readable);
    }

    /// The account of a sync has all of its rights again.
    pub(crate) fn give(&mut self, sync: usize) {
        self.withdrawn.retain(|withdrawn, _| withdrawn.sync != sync);
    }

    /// The syncs that lack rights on an object, by its index in [`OBJECTS`].
    pub(crate) fn lacking(&self, index: u8) -> BTreeSet<usize> {
        let template = &OBJECTS[usize::from(index)];
        let lacks = |sync: &usize| self.withdrawn.contains_key(&Withdrawn::of(*sync, template));
        (0..self.syncs.len()).filter(lacks).collect()
    }

    /// `true` if no account lacks any.
    pub(crate) fn are_complete(&self) -> bool {
        self.withdrawn.is_empty()
    }
}
