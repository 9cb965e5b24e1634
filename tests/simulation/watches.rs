//! The watches of the agent: one for each kind, shared by all syncs. They take their events from the sandbox's own watches.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent::io::kubernetes::client::ApiError;
use agent::model::metadata::label;
use agent::model::object::{GroupKind, Object, ObjectId};
use agent::sync::engine::Event;
use agent::sync::live::Observed;
use sandbox::answer::{Answer, Incoming};
use sandbox::route::Query;
use sandbox::verbs::Watch;
use serde_json::Value;

use crate::server::Server;

/// The pause after a list that was refused.
const PAUSE: Duration = Duration::from_secs(30);

/// The running watches.
#[derive(Default)]
pub(crate) struct Watches {
    pub(crate) kinds: BTreeMap<GroupKind, KindWatch>,
    sessions: u64,
}

/// The watch of one kind.
#[derive(Default)]
pub(crate) struct KindWatch {
    subscribers: BTreeSet<usize>,
    session: u64,
    told_served: bool,
    /// `None` before the list.
    stream: Option<Box<Watch>>,
    /// The revision up to which it has told.
    pub(crate) told: u64,
    /// A list that was refused is not tried again before this time.
    again_at: Option<Duration>,
}

/// An event for one sync.
pub(crate) type Delivery = (usize, Event);

impl Watches {
    pub(crate) fn subscribe(&mut self, kind: &GroupKind, sync: usize) {
        self.sessions += 1;
        let watch = self.kinds.entry(kind.clone()).or_default();
        watch.subscribers.insert(sync);
        watch.session = self.sessions << 32;
        (watch.stream, watch.told_served) = (None, false);
    }

    /// `true` if the watch of this kind has told every change up to `revision`.
    pub(crate) fn has_told(&self, kind: &GroupKind, revision: u64) -> bool {
        self.kinds.get(kind).is_some_and(|watch| watch.stream.is_some() && watch.told >= revision)
    }

    /// The next kind list begins again.
    pub(crate) fn expire(&mut self, pick: usize) {
        let count = self.kinds.len().max(1);
        if let Some(watch) = self.kinds.values_mut().nth(pick % count) {
            watch.stream = None;
        }
    }

    pub(crate) fn expire_all(&mut self) {
        self.kinds.values_mut().for_each(|watch| watch.stream = None);
    }

    /// The kinds that have something to tell.
    pub(crate) fn behind(&self, server: &Server) -> Vec<GroupKind> {
        let revision = server.state.store.revision();
        let behind = |watch: &KindWatch| match &watch.stream {
            None => watch.again_at.is_none_or(|at| at <= server.time),
            Some(_) => watch.told < revision,
        };
        self.kinds.iter().filter(|(_, watch)| behind(watch)).map(|(kind, _)| kind.clone()).collect()
    }

    /// When the next list is tried again.
    pub(crate) fn next_wake(&self) -> Option<Duration> {
        self.kinds.values().filter_map(|watch| watch.again_at).min()
    }

    /// Takes what is new of a kind from the server.
    pub(crate) fn pump(&mut self, kind: &GroupKind, server: &mut Server) -> Vec<Delivery> {
        let Some(watch) = self.kinds.get_mut(kind) else { return Vec::new() };
        let resource = server.state.resources.iter().find(|one| *one.kind == *kind.kind && *one.group == *kind.group);
        let Some(resource) = resource.cloned() else {
            return self.ended(kind);
        };
        let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
        let path = format!("{root}/{}/{}", resource.version, resource.plural);
        let mut events = Vec::new();
        if watch.stream.is_none() {
            if !std::mem::replace(&mut watch.told_served, true) {
                events.push(Event::Served(kind.clone(), resource.plural.as_str().into()));
            }
            watch.list(kind, &path, resource.namespaced, server, &mut events);
        } else if watch.follow(kind, resource.namespaced, server, &mut events).is_none() {
            return self.ended(kind);
        }
        watch.for_all(events)
    }

    /// The kind is not served any more.
    fn ended(&mut self, kind: &GroupKind) -> Vec<Delivery> {
        let Some(watch) = self.kinds.remove(kind) else { return Vec::new() };
        watch.for_all(vec![Event::Unserved(kind.clone())])
    }
}

impl KindWatch {
    fn list(&mut self, kind: &GroupKind, path: &str, namespaced: bool, server: &mut Server, events: &mut Vec<Event>) {
        self.session += 1;
        self.again_at = None;
        events.push(Event::Listing(kind.clone(), self.session));
        if let Some(code) = server.refused_list(path) {
            self.again_at = Some(server.time + PAUSE);
            let error = ApiError::Unreachable(format!("refused with {code}"));
            events.push(Event::Unlistable(kind.clone(), error.finding(&format!("list {kind}"))));
            return;
        }
        let list = server.ask("GET", &format!("{path}?labelSelector={}", label::PART_OF), "", &Value::Null);
        let Ok(mut list) = list else { return };
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        for item in list["items"].as_array_mut().into_iter().flatten() {
            events.push(seen(kind, namespaced, item.take()));
        }
        events.push(Event::Listed(kind.clone(), self.session));
        let incoming = Incoming {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: Query::parse(&format!("watch=true&resourceVersion={revision}&labelSelector={}", label::PART_OF)),
            ..Incoming::default()
        };
        self.told = revision.parse().unwrap_or(0);
        if let Answer::Watch(stream) = server.answer(&incoming) {
            self.stream = Some(stream);
        }
    }

    /// `None` when the kind is not served any more.
    fn follow(&mut self, kind: &GroupKind, namespaced: bool, server: &Server, events: &mut Vec<Event>) -> Option<()> {
        let stream = self.stream.as_mut().filter(|stream| stream.is_served(&server.state))?;
        match stream.events(&server.state) {
            Ok(news) => {
                events.extend(news.into_iter().filter_map(|event| of_watch(kind, namespaced, event)));
                self.told = server.state.store.revision();
            }
            Err(_) => self.stream = None,
        }
        Some(())
    }

    fn for_all(&self, events: Vec<Event>) -> Vec<Delivery> {
        let copies = |event: Event| self.subscribers.iter().filter_map(move |sync| Some((*sync, copy(&event)?)));
        events.into_iter().flat_map(copies).collect()
    }
}

/// Events of watches can be told to several syncs.
pub(crate) fn copy(event: &Event) -> Option<Event> {
    Some(match event {
        Event::Served(kind, plural) => Event::Served(kind.clone(), plural.clone()),
        Event::Listing(kind, session) => Event::Listing(kind.clone(), *session),
        Event::Listed(kind, session) => Event::Listed(kind.clone(), *session),
        Event::Unserved(kind) => Event::Unserved(kind.clone()),
        Event::Unlistable(kind, finding) => Event::Unlistable(kind.clone(), finding.clone()),
        Event::Seen(id, seen) => Event::Seen(id.clone(), seen.clone()),
        Event::Gone(id, version) => Event::Gone(id.clone(), *version),
        _ => return None,
    })
}

fn of_watch(kind: &GroupKind, namespaced: bool, mut event: Value) -> Option<Event> {
    match event["type"].as_str()? {
        "ADDED" | "MODIFIED" => Some(seen(kind, namespaced, event["object"].take())),
        "DELETED" => match seen(kind, namespaced, event["object"].take()) {
            Event::Seen(id, seen) => Some(Event::Gone(id, seen.version())),
            _ => None,
        },
        _ => None,
    }
}

fn seen(kind: &GroupKind, namespaced: bool, object: Value) -> Event {
    let object: Object = serde_json::from_value(object).unwrap_or_default();
    let seen = Observed::of(&object);
    let id = ObjectId::new(kind, if namespaced { &seen.namespace } else { "" }, &seen.name);
    Event::Seen(id, Box::new(seen))
}
