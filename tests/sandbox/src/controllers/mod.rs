//! The controllers: the API server's own ones for CustomResourceDefinitions, and those that every cluster runs. They see the
//! history as watches do, and act at once.

mod accounts;
mod definitions;
mod deployments;
mod endpoints;
mod garbage;
mod hand;
mod namespaces;
mod news;
mod replicasets;
mod roles;
mod rollout;
mod rollout_status;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::clock::Time;
use crate::object;
use crate::state::{CRDS, State};
use crate::store::{Change, Event, Key};

use garbage::Garbage;
use hand::Hand;
pub(crate) use hand::condition;

/// The revision up to which the controllers have seen the history, and the objects that they still have to look at.
#[derive(Debug, Clone, Default)]
pub struct Controllers {
    /// `true` if Deployments, ReplicaSets and Services are left alone.
    without_workloads: bool,
    seen: u64,
    namespaces: BTreeSet<String>,
    definitions: BTreeSet<String>,
    roles: bool,
    garbage: Garbage,
    deployments: BTreeSet<Key>,
    sets: BTreeSet<Key>,
    /// Namespace and name.
    services: BTreeSet<(String, String)>,
}

impl Controllers {
    /// Only the controllers that complete requests of clients. The others write without a request.
    pub fn without_workloads() -> Self {
        Self { without_workloads: true, ..Self::default() }
    }

    /// Reacts to what has changed, and to what comes of that, until nothing is left to do.
    pub fn react(&mut self, state: &mut State, now: Time) {
        loop {
            self.look(state);
            let mut hand = Hand { state, now };
            if !self.work(&mut hand) {
                return;
            }
        }
    }

    /// Notes what has to be done because of new events.
    fn look(&mut self, state: &State) {
        match state.store.events_after(self.seen) {
            Some(events) => events.for_each(|event| self.note(state, event)),
            None => self.look_at_everything(state),
        }
        self.seen = state.store.revision();
    }

    /// Looks at all objects, because events that it has not seen are forgotten.
    fn look_at_everything(&mut self, state: &State) {
        self.garbage = Garbage::default();
        for (key, object) in state.store.all() {
            let event =
                Event { revision: 0, change: Change::Added, key: key.clone(), object: object.clone(), before: None };
            self.note(state, &event);
        }
    }

    fn note(&mut self, state: &State, event: &Event) {
        self.garbage.note(event);
        let namespace = object::namespace(&event.object);
        match event.key.collection() {
            "namespaces" => {
                self.namespaces.insert(object::name(&event.object).to_owned());
            }
            CRDS => self.definitions.extend(definitions::concerned(state, &event.object)),
            "clusterroles.rbac.authorization.k8s.io" => self.roles = true,
            _ if self.without_workloads => {}
            _ => self.note_workload(state, event),
        }
        if event.change == Change::Deleted {
            if !namespace.is_empty() {
                self.namespaces.insert(namespace.to_owned());
            }
            self.definitions.extend(definitions::of_collection(state, event.key.collection()));
        }
    }

    fn note_workload(&mut self, state: &State, event: &Event) {
        let object = &event.object;
        let namespace = object::namespace(object).to_owned();
        match event.key.collection() {
            deployments::DEPLOYMENTS => {
                self.deployments.insert(event.key.clone());
            }
            replicasets::SETS => {
                self.sets.insert(event.key.clone());
                self.deployments.extend(self.garbage.place(replicasets::controller(object)));
            }
            "pods" => {
                self.sets.extend(self.garbage.place(replicasets::controller(object)));
                let services = state.store.list("services", &namespace);
                self.services.extend(services.map(|(_, one)| (namespace.clone(), object::name(one).to_owned())));
            }
            "services" | "endpoints" => {
                self.services.insert((namespace, object::name(object).to_owned()));
            }
            "endpointslices.discovery.k8s.io" => {
                let service = object::text(object, "/metadata/labels/kubernetes.io~1service-name");
                self.services.insert((namespace, service.to_owned()));
            }
            "nodes" => {
                let services = state.store.list("services", "");
                let place = |one: &Value| (object::namespace(one).to_owned(), object::name(one).to_owned());
                self.services.extend(services.map(|(_, one)| place(one)));
            }
            _ => {}
        }
    }

    /// Does a part of what has to be done, and says whether there was any.
    fn work(&mut self, hand: &mut Hand<'_>) -> bool {
        if let Some(name) = self.definitions.pop_first() {
            definitions::tend(hand, &name);
        } else if let Some(name) = self.namespaces.pop_first() {
            accounts::tend(hand, &name);
            namespaces::tend(hand, &name);
        } else if std::mem::take(&mut self.roles) {
            roles::tend(hand);
        } else if let Some(key) = self.deployments.pop_first() {
            deployments::tend(hand, &key);
        } else if let Some(key) = self.sets.pop_first() {
            replicasets::tend(hand, &key);
        } else if let Some((namespace, name)) = self.services.pop_first() {
            endpoints::tend(hand, &namespace, &name);
        } else {
            return self.garbage.tend(hand);
        }
        true
    }
}

/// The places of all objects of a collection in a namespace.
fn places(state: &State, collection: &str, namespace: &str) -> Vec<Key> {
    state.store.list(collection, namespace).map(|(key, _)| key.clone()).collect()
}
