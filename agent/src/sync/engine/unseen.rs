//! Objects of the inventory that may exist although nothing shows them: their kind is not served, cannot be listed, or was
//! not listed yet. They stay in the record, and their kind is looked for, or they would never be pruned.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Command, State};
use crate::model::object::{GroupKind, ObjectId};

/// Time until a kind is looked for again, doubled each time.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// The longest that time becomes.
const LAST_LOOK: Duration = Duration::from_secs(300);

#[derive(Default)]
pub(super) struct Unseen {
    objects: BTreeSet<ObjectId>,
    /// Kinds that are not served, with when to look for them and how long to wait after that.
    looks: BTreeMap<GroupKind, (Instant, Duration)>,
}

impl Unseen {
    /// What is recorded when nothing is listed yet.
    pub(super) fn new(recorded: BTreeSet<ObjectId>) -> Self {
        Self { objects: recorded, looks: BTreeMap::new() }
    }

    /// In order.
    pub(super) fn objects(&self) -> impl Iterator<Item = &ObjectId> {
        self.objects.iter()
    }

    /// The kind is listed: what exists of it is known. `true` when that was not so before.
    pub(super) fn shown(&mut self, kind: &GroupKind) -> bool {
        let before = self.objects.len();
        self.objects.retain(|id| !id.is_of(kind));
        self.looks.remove(kind);
        self.objects.len() < before
    }

    /// The kind is not served. These objects of it were there last.
    pub(super) fn hidden(&mut self, kind: &GroupKind, last: BTreeSet<ObjectId>, now: Instant) {
        self.objects.extend(last);
        if self.objects.iter().any(|id| id.is_of(kind)) {
            let (at, pause) = self.looks.entry(kind.clone()).or_insert((now, FIRST_LOOK));
            *at = now + *pause;
            *pause = (*pause * 2).min(LAST_LOOK);
        }
    }

    pub(super) fn next_look(&self) -> Option<Instant> {
        self.looks.values().map(|(at, _)| *at).min()
    }
}

impl State {
    /// Watches kinds again that were not served.
    pub(super) fn look_for_kinds(&mut self, now: Instant, out: &mut Vec<Command>) {
        if self.stopping || self.unseen.next_look().is_none_or(|at| at > now) {
            return;
        }
        let mut kinds = BTreeSet::new();
        for (kind, (at, pause)) in self.unseen.looks.iter_mut().filter(|(_, (at, _))| *at <= now) {
            // Until there is an answer.
            *at = now + *pause;
            kinds.insert(kind.clone());
        }
        self.watch_kinds(kinds, out);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::compile::declared::DeclaredSet;
    use crate::model::finding::Code;
    use crate::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
    use crate::sync::engine::{Event, Notice, Report, Settings};

    fn reported(commands: Vec<Command>) -> Option<Report> {
        commands.into_iter().find_map(|command| match command {
            Command::Report(report) => Some(*report),
            _ => None,
        })
    }

    fn widget() -> GroupKind {
        GroupKind::new("example.com", "Widget")
    }

    /// A sync that declares nothing, with these Widgets in its record.
    fn sync_of(recorded: BTreeSet<ObjectId>) -> State {
        State::new(Settings {
            sync: SyncId::root("root-sync"),
            in_flight: 1,
            approved: None,
            how_to_approve: String::new(),
            kinds: BTreeSet::from([widget()]),
            recorded,
            last_in_force: None,
        })
    }

    fn nothing(commit: &str) -> Event {
        let declared = Some(Arc::new(DeclaredSet::default()));
        Event::Compiled { commit: commit.to_owned(), declared, findings: Vec::new() }
    }

    fn ours(id: &ObjectId, version: u64) -> Event {
        let sync = SyncId::root("root-sync");
        let seen = serde_json::from_value(json!({
            "name": id.name(),
            "namespace": id.namespace(),
            "uid": id.name(),
            "resourceVersion": version.to_string(),
            "labels": {label::PART_OF: sync.part_of()},
            "annotations": {
                annotation::MANAGED: "enabled",
                annotation::MANAGER: sync.manager(),
                annotation::RESOURCE_ID: id.resource_id(),
            },
            "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {}}],
        }));
        Event::Seen(id.clone(), Box::new(seen.expect("metadata")))
    }

    #[test]
    fn what_a_kind_that_comes_back_would_lose_is_held() {
        let ids: Vec<ObjectId> = (0..12).map(|n| ObjectId::new(&widget(), "ns", &n.to_string())).collect();
        let mut state = sync_of(ids.iter().cloned().collect());
        let (now, commit) = (Instant::now(), "a".repeat(40));
        state.step(nothing(&commit), now);
        state.step(Event::Unserved(widget()), now);
        let later = state.next_wake().expect("the kind is looked for");
        let mut commands = state.step(Event::Woken, later);
        commands.extend(state.step(Event::Listing(widget()), later));
        for id in &ids {
            commands.extend(state.step(ours(id, 1), later));
        }
        commands.extend(state.step(Event::Listed(widget()), later));
        for id in &ids {
            commands.extend(state.step(ours(id, 2), later));
        }
        let held = |command: &Command| matches!(command, Command::Notice(Notice::Failed(finding)) if finding.code == Code::EmptySource);
        assert_eq!(commands.iter().filter(|command| held(command)).count(), 1, "{commands:?}");
        assert!(!commands.iter().any(|command| matches!(command, Command::Delete(..))), "{commands:?}");
        let commands = state.step(Event::Approved(commit), later);
        assert!(commands.iter().any(|command| matches!(command, Command::Delete(..))), "{commands:?}");
    }

    #[test]
    fn what_is_recorded_stays_so_until_its_kind_is_listed() {
        let kind = widget();
        let id = ObjectId::new(&kind, "ns", "wheel");
        let mut state = sync_of(BTreeSet::from([id.clone()]));
        let now = Instant::now();
        assert!(
            matches!(state.step(nothing(&"a".repeat(40)), now).as_slice(), [Command::Watch(kinds)] if kinds.contains(&kind))
        );
        let report = reported(state.step(Event::Unserved(kind.clone()), now)).expect("it is at rest");
        let resources = report.resources.expect("they are new");
        assert!(matches!(resources.as_slice(), [resource] if resource.id == id && resource.pruning), "{resources:?}");

        let later = state.next_wake().expect("the kind is looked for");
        assert!(matches!(state.step(Event::Woken, later).as_slice(), [Command::Watch(kinds)] if kinds.contains(&kind)));
        state.step(Event::Listing(kind.clone()), later);
        let report = reported(state.step(Event::Listed(kind), later + Duration::from_secs(1))).or_else(|| {
            let due = state.next_wake()?;
            reported(state.step(Event::Woken, due))
        });
        assert_eq!(report.and_then(|report| report.resources), Some(Vec::new()));
        assert_eq!(state.next_wake(), None);
    }
}
