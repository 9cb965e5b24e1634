//! Approvals that are set, replayed and taken back, and deletions of several commits within an hour.

mod definitions;
mod measured;
mod other_namespaces;
mod restarts;
mod syncs;
mod withdrawn;
mod within_budget;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::tests::{applied, declared, deleted, live, offered, recorded};
use super::*;
use crate::api::GitStatus;
use crate::compile::declared::DeclaredObject;
use crate::model::finding::Code;
use crate::model::metadata::SyncId;
use crate::model::object::GroupKind;
use crate::sync::engine::{Event, Outcome, Settings, SpecChange};
use crate::sync::plan::guard::APPROVAL;
use crate::sync::plan::memory::GuardMemory;

fn config_map(name: &str) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", name)
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn begin() -> Instant {
    Instant::now()
}

/// A sync with ConfigMaps that are applied and deleted at once.
struct Scene {
    state: State,
    now: Instant,
    commands: Vec<Command>,
    version: u64,
    /// The guard's facts in the record that was written last.
    record: GuardMemory,
    deletions: usize,
}

fn config_maps(names: std::ops::Range<usize>) -> Arc<DeclaredSet> {
    declared(&manifests(names))
}

fn manifests(names: std::ops::Range<usize>) -> String {
    let manifest =
        |n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}, namespace: default}}\ndata: {{}}\n");
    let kept = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: default}\n";
    kept.to_owned() + &names.map(manifest).collect::<String>()
}

fn commit(name: char) -> String {
    name.to_string().repeat(40)
}

impl Scene {
    fn new() -> Self {
        Self::of(&config_maps(0..20))
    }

    /// One that is synced at commit `a` with these objects.
    fn of(set: &Arc<DeclaredSet>) -> Self {
        let state = State::new(Settings {
            sync: SyncId::root("root-sync"),
            in_flight: 100,
            reconcile_timeout: Duration::from_secs(300),
            approval: None,
            how_to_approve: APPROVAL.to_owned(),
            kinds: Default::default(),
            recorded: Default::default(),
            memory: Default::default(),
            git: Default::default(),
            layout: Default::default(),
            last_in_force: None,
        });
        let (commands, record) = (Vec::new(), GuardMemory::default());
        let mut scene = Self { state, now: begin(), commands, version: 1, record, deletions: 0 };
        scene.commit('a', set);
        let kinds = [GroupKind::new("", "ConfigMap"), GroupKind::new("", "Namespace")];
        for kind in kinds {
            scene.step(Event::Listing(kind.clone(), 1));
            scene.step(Event::Listed(kind, 1));
        }
        scene.settle();
        assert!(scene.state.is_synced(), "{:#?}", scene.state.last_report());
        scene
    }

    fn step(&mut self, event: Event) {
        let commands = self.state.step(event, self.now);
        self.commands.extend(commands);
    }

    fn commit(&mut self, name: char, set: &Arc<DeclaredSet>) {
        let declared = Some(Arc::clone(set));
        self.step(Event::Compiled { commit: commit(name), declared, findings: Vec::new() });
    }

    /// Answers all commands but deletions.
    fn answer(&mut self) {
        let mut at = 0;
        while at < self.commands.len() {
            let answer = match &self.commands[at] {
                // The Namespace was there before, and no sync has it.
                Command::Apply(object, ..) if object.implicit => {
                    let there = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
                        "name": object.id.name(), "uid": "before", "resourceVersion": "1",
                    }});
                    let there = serde_json::from_value(there).expect("an object");
                    Event::Finished(object.id.clone(), Outcome::Read(Box::new(there)))
                }
                Command::Apply(object, ..) => {
                    self.version += 1;
                    let set = self.state.in_force.declared.clone().expect("a commit is in force");
                    let mut object = live(&set, &object.id, self.version, json!({}));
                    object.metadata_mut().insert("uid".into(), format!("uid-{}", self.version).into());
                    Event::Finished(object.id(), applied(&object))
                }
                Command::Record(record) => {
                    self.record = record.memory.clone();
                    Event::Recorded(record.number)
                }
                _ => {
                    at += 1;
                    continue;
                }
            };
            self.commands.remove(at);
            self.step(answer);
        }
    }

    /// Answers everything.
    fn settle(&mut self) {
        self.answer();
        while let Some(id) = deleted(&self.commands).first().cloned() {
            self.commands.retain(|command| !matches!(command, Command::Delete(other, ..) if *other == id));
            self.deletions += 1;
            self.version += 1;
            self.step(Event::Finished(id.clone(), Outcome::Deleted));
            self.step(Event::Gone(id, self.version));
            self.answer();
        }
    }

    fn approve(&mut self, approval: &str) {
        self.step(Event::Approved(Some(approval.to_owned())));
        self.settle();
    }

    fn deletions(&mut self) -> usize {
        self.settle();
        std::mem::take(&mut self.deletions)
    }

    fn held(&self) -> Vec<String> {
        let findings = self.state.last_report().sync.findings;
        findings.into_iter().filter(|f| f.code == Code::EmptySource).map(|f| f.message).collect()
    }
}

#[test]
fn an_approval_names_what_goes_and_works_once() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    let approval = offered(&scene.commands);
    scene.approve(&commit('b'));
    assert_eq!(scene.deletions(), 0, "the commit alone is no approval");
    assert!(scene.held()[0].contains("is not for these deletions"), "{:?}", scene.held());
    scene.approve(&format!("{}.00000000", commit('b')));
    assert_eq!(scene.deletions(), 0);
    scene.approve(&approval);
    assert_eq!((scene.deletions(), scene.held().len()), (15, 0));
    assert!(scene.state.is_synced());

    // The branch is rewound, and comes back: the objects are others now.
    scene.commit('a', &config_maps(0..20));
    scene.settle();
    scene.commit('b', &config_maps(0..5));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
}

#[test]
fn an_implicit_namespace_that_was_there_before_is_no_object_of_the_sync() {
    let set = |names: std::ops::Range<usize>| {
        let maps = manifests(names).replace("name: kept, ", "name: c0, ");
        let mut set =
            (*declared(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: default}}\n---\n{maps}"))).clone();
        set.objects.values_mut().filter(|object| object.id.is_namespace()).for_each(|object| {
            let mut needed = DeclaredObject::new(object.body());
            needed.implicit = true;
            *object = Arc::new(needed);
        });
        Arc::new(set)
    };
    let renamed = |from: &Arc<DeclaredSet>| {
        let mut set = (**from).clone();
        set.objects.retain(|id, _| id.is_namespace());
        set.objects.extend(declared(&manifests(0..0)).objects.clone());
        Arc::new(set)
    };
    for (names, held) in [(0..0, 0), (1..2, 1)] {
        let first = set(names);
        let mut scene = Scene::of(&first);
        scene.commit('b', &renamed(&first));
        scene.settle();
        assert_eq!(scene.held().len(), held, "{:?}", scene.held());
    }
}

#[test]
fn an_approved_commit_of_another_directory_is_held_and_the_state_before_stays() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    let approval = offered(&scene.commands);
    scene.approve(&approval);
    assert_eq!(scene.deletions(), 15);
    let before = Arc::clone(&scene.state.last_report().sync.git);
    let git = Arc::new(GitStatus { dir: "mistyped".to_owned(), ..GitStatus::default() });
    let reconcile_timeout = Duration::from_secs(300);
    scene.step(Event::SpecChanged(Box::new(SpecChange {
        git: Arc::clone(&git),
        layout: Default::default(),
        reconcile_timeout,
    })));
    scene.commit('b', &declared(""));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    let report = scene.state.last_report();
    assert_eq!((&report.source.git, &report.sync.git), (&git, &before));
    scene.version += 1;
    let kept = ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", "kept");
    scene.step(Event::Gone(kept.clone(), scene.version));
    scene.settle();
    assert!(scene.state.objects.live(&kept).is_some(), "drift of the state before is put back");
}

#[test]
fn a_commit_of_another_spec_is_held_whole() {
    let mut scene = Scene::new();
    let git = Arc::clone(&scene.state.settings.git);
    // The name of the cluster is another, so that the same commit declares other objects.
    let change = SpecChange { git, layout: Default::default(), reconcile_timeout: Duration::from_secs(300) };
    scene.step(Event::SpecChanged(Box::new(change)));
    scene.commit('a', &config_maps(15..25));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.state.objects.live(&config_map("c24")).is_none(), "the state before stays in force");
}

#[test]
fn a_smaller_set_needs_no_new_approval() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    let approval = offered(&scene.commands);
    scene.version += 1;
    let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", "c7");
    let mut going = live(&config_maps(0..20), &id, scene.version, json!({}));
    going.metadata_mut().insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
    scene.step(Event::Seen(id, Box::new(crate::sync::live::Observed::of(&going))));
    scene.approve(&approval);
    assert_eq!((scene.deletions(), scene.held().len()), (14, 0));
}

#[test]
fn the_finding_asks_for_an_approval_of_the_objects_that_are_there() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    let before = offered(&scene.commands);
    scene.version += 1;
    scene.step(Event::Gone(ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", "c7"), scene.version));
    scene.settle();
    assert_ne!(offered(&scene.commands), before, "c7 was made anew");
    scene.approve(&offered(&scene.commands));
    assert_eq!((scene.deletions(), scene.held().len()), (15, 0));
}

#[test]
fn an_approval_that_is_taken_back_stops_what_is_not_sent() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    let approval = offered(&scene.commands);
    scene.state.settings.in_flight = 2;
    scene.step(Event::Approved(Some(approval)));
    scene.answer();
    assert_eq!(deleted(&scene.commands).len(), 2);
    scene.step(Event::Approved(None));
    assert_eq!((scene.deletions(), scene.held().len()), (2, 1));
    scene.approve(&offered(&scene.commands));
    assert_eq!((scene.deletions(), scene.held().len()), (13, 0));
}

#[test]
fn deletions_of_an_hour_count_together_and_over_restarts() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(6..20));
    assert_eq!(scene.deletions(), 6);
    assert_eq!(scene.record.recent.number(scene.now), 6, "they are recorded before they are sent");
    scene.commit('c', &config_maps(12..20));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.held()[0].contains("after 6 in the last hour"), "{:?}", scene.held());
    let begin = scene.now;
    while scene.deletions() == 0 {
        let wake = scene.state.next_wake().expect("what is held is judged again");
        assert!(wake <= begin + Duration::from_secs(3660));
        scene.now = scene.now.max(wake);
        scene.step(Event::Woken);
        scene.settle();
    }
    assert_eq!(scene.now, begin + Duration::from_secs(3660));
    assert!(scene.held().is_empty());
}

#[test]
fn an_object_that_the_record_does_not_name_is_no_object_of_the_sync() {
    let mut scene = Scene::new();
    let strangers = config_maps(20..60);
    for id in strangers.objects.keys().filter(|id| id.name() != "kept" && !id.is_namespace()) {
        scene.version += 1;
        let object = live(&strangers, id, scene.version, json!({}));
        scene.step(Event::Seen(id.clone(), Box::new(crate::sync::live::Observed::of(&object))));
    }
    scene.commit('b', &config_maps(0..9));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1), "eleven of twenty-two, not of sixty-two");
    let resources = scene.state.last_report().resources.expect("a last report has them");
    assert!(
        resources.iter().all(|resource| !strangers.objects.contains_key(&resource.id) || resource.id.name() == "kept")
    );
    scene.approve(&offered(&scene.commands));
    assert_eq!((scene.deletions(), scene.state.is_synced()), (11, true));
    assert!(scene.state.objects.get(&config_map("c30")).is_none(), "nothing is kept of it");
}

#[test]
fn a_commit_is_not_applied_before_what_it_deletes_is_gone() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..19));
    scene.answer();
    assert_eq!(deleted(&scene.commands), [config_map("c19")]);
    scene.step(Event::Finished(config_map("c19"), Outcome::Deleted));
    assert!(!scene.state.is_synced() && scene.state.last_report().syncing, "a finalizer keeps it");
    assert_eq!(scene.state.last_report().sync.findings, []);
    scene.now = scene.state.next_wake().expect("users are told");
    while scene.state.last_report().sync.findings.is_empty() {
        scene.step(Event::Woken);
        scene.now = scene.now.max(scene.state.next_wake().unwrap_or(scene.now));
    }
    let told = scene.state.last_report();
    assert!(told.sync.findings[0].message.contains("does not come to its end") && !told.syncing, "{told:?}");
    scene.version += 1;
    scene.step(Event::Gone(config_map("c19"), scene.version));
    assert!(scene.state.is_synced() && scene.state.objects.get(&config_map("c19")).is_none());
}

#[test]
fn nothing_is_sent_before_the_record_is_written() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(6..21));
    let sent = |commands: &[Command]| {
        commands.iter().filter(|command| matches!(command, Command::Apply(..) | Command::Delete(..))).count()
    };
    assert_eq!(sent(&scene.commands), 0);
    let refused = Finding::new(Code::ApiServer, "413");
    scene.step(Event::Unrecorded(refused.clone()));
    assert!(scene.state.last_report().sync.findings.contains(&refused));
    assert_eq!(sent(&scene.commands), 0);
    // Drift is put back meanwhile.
    scene.version += 1;
    let kept = ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", "kept");
    scene.step(Event::Gone(kept, scene.version));
    assert_eq!(sent(&scene.commands), 1);
    let commands = recorded(&mut scene.state, scene.now);
    assert!(scene.state.last_report().sync.findings.is_empty());
    assert!(sent(&commands) > 0);
}

#[test]
fn an_hour_that_ends_while_a_candidate_waits_wakes_the_sync_once() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(6..20));
    assert_eq!(scene.deletions(), 6);
    scene.commit('c', &config_maps(12..20));
    assert_eq!(scene.held().len(), 1);
    let wake = scene.state.next_wake().expect("what is held is judged again");
    // An object that is just being made keeps the commit waiting.
    scene.version += 1;
    scene.step(Event::Gone(ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", "c7"), scene.version));
    scene.now = scene.now.max(wake);
    scene.step(Event::Woken);
    assert!(scene.state.next_wake().is_none_or(|next| next > scene.now));
}

#[test]
fn namespaces_that_stay_with_detached_objects_are_no_deletions() {
    let mut scene = Scene::new();
    let detached = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n---\napiVersion: v1\nkind: ConfigMap\n\
             metadata: {{name: a, namespace: {name}, annotations: {{client.lifecycle.config.k8s.io/deletion: detach}}}}\n"
        )
    };
    scene.commit('b', &declared(&(manifests(0..20) + &detached("one") + &detached("two"))));
    scene.settle();
    scene.commit('c', &config_maps(0..20));
    assert_eq!((scene.deletions(), scene.held()), (0, Vec::new()));
    let abandoned = scene.commands.iter().filter(|command| matches!(command, Command::Abandon(_))).count();
    assert_eq!(abandoned, 2, "the Namespaces go before the objects in them");
    let told = scene.commands.iter().filter(|command| matches!(command, Command::Notice(Notice::Kept(..)))).count();
    assert_eq!(told, 2);
}

#[test]
fn a_namespace_that_stayed_for_an_object_goes_when_that_object_is_gone() {
    let mut scene = Scene::new();
    let detached = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: one}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: \
                    {name: a, namespace: one, annotations: {client.lifecycle.config.k8s.io/deletion: detach}}\n";
    scene.commit('b', &declared(&(manifests(0..20) + detached)));
    scene.settle();
    scene.commit('c', &config_maps(0..21));
    let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "one", "a");
    // Another client deletes it before the record is written and the Namespace is given up.
    scene.version += 1;
    scene.step(Event::Gone(id.clone(), scene.version));
    scene.step(Event::Finished(id, Outcome::Absent(0)));
    assert_eq!(scene.deletions(), 1);
    assert!(scene.state.is_synced());
}

#[test]
fn objects_that_a_commit_adds_do_not_make_its_budget_larger() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(6..500));
    assert_eq!((scene.deletions(), scene.held().len()), (6, 0));
    scene.commit('c', &config_maps(16..500));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1), "six of the hour's ten are used up");
}

#[test]
fn an_approval_is_for_no_later_commit() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    scene.state.settings.in_flight = 2;
    scene.step(Event::Approved(Some(offered(&scene.commands))));
    scene.answer();
    assert_eq!(deleted(&scene.commands).len(), 2);
    // The commit is taken back in the middle, and a later one loses some of the objects by mistake.
    scene.commit('a', &config_maps(0..20));
    scene.settle();
    scene.commit('c', &config_maps(0..7));
    assert_eq!((scene.deletions(), scene.held().len()), (2, 1));
}

#[test]
fn a_hold_of_the_commit_in_force_outlives_another_commit() {
    let mut scene = Scene::new();
    let set = config_maps(0..20);
    scene.commit('b', &config_maps(0..5));
    scene.approve(&offered(&scene.commands));
    scene.deletions();
    // Objects of the sync appear that the commit in force does not declare, and there is no record that says that they are not.
    scene.state.prunes.memory.proof = Proof::Metadata;
    for n in 5..17 {
        let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "default", &format!("c{n}"));
        scene.version += 1;
        let object = live(&set, &id, scene.version, json!({}));
        scene.step(Event::Seen(id, Box::new(crate::sync::live::Observed::of(&object))));
    }
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    let findings = vec![Finding::new(Code::NameCollision, "twice")];
    scene.step(Event::Compiled { commit: commit('c'), declared: None, findings });
    scene.commit('b', &config_maps(0..5));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(!scene.state.is_synced());
}
