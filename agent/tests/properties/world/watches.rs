//! The watches of the simulated API server, and the kind Widget, which it does not always serve.

use agent::model::object::{GroupKind, Object};
use agent::sync::engine::Event;
use agent::sync::live::Observed;

use super::api_server::is_selected;
use super::{World, number};
use crate::repository::widgets;

impl World {
    pub(super) fn watch(&mut self, kind: &GroupKind) {
        if *kind == widgets() && !self.served {
            self.events.push_back(Event::Unserved(kind.clone()));
        } else {
            self.watched.insert(kind.clone());
            self.list(kind);
        }
    }

    fn list(&mut self, kind: &GroupKind) {
        self.session += 1;
        self.events.push_back(Event::Listing(kind.clone(), self.session));
        let shown = |object: &&Object| object.group_kind() == *kind && is_selected(object);
        for object in self.live.values().filter(shown) {
            self.events.push_back(Event::Seen(object.id(), Box::new(Observed::of(object))));
        }
        self.events.push_back(Event::Listed(kind.clone(), self.session));
    }

    pub(crate) fn relist(&mut self) {
        let kinds = self.watched.clone();
        kinds.iter().for_each(|kind| self.list(kind));
    }

    pub(crate) fn deliver(&mut self) {
        match self.events.pop_front() {
            // One task compiles all commits, one after the other: no answer is of older Namespaces than a commit that came before it.
            Some(Event::Restored { commit, .. }) => {
                let declared = self.compiled(number(&commit));
                self.step(Event::Restored { commit, declared });
            }
            Some(event) => self.step(event),
            None => {}
        }
    }

    pub(crate) fn serve(&mut self, served: bool) {
        if self.served == served {
            return;
        }
        self.served = served;
        if served {
            // A commit with an unknown kind is compiled again until there is none.
            self.compile_newest();
        } else if self.watched.remove(&widgets()) {
            self.events.push_back(Event::Unserved(widgets()));
        }
    }
}
