//! A process that ends in the middle of its work, and the next one, which knows what the record says.

use super::*;
use crate::compile::declared::Undeclared;
use crate::model::object::Object;
use crate::sync::engine::SourceCommit;
use crate::sync::live::Observed;

impl Scene {
    /// The objects as they are.
    fn lives(&self) -> Vec<Object> {
        let set = config_maps(0..20);
        let object = |(id, known): (&ObjectId, &Live)| {
            let mut object = live(&set, id, known.version, json!({}));
            object.metadata_mut().insert("uid".into(), known.uid.to_string().into());
            object
        };
        self.state.objects.lives().map(object).collect()
    }

    /// Another process begins at this commit, which was in force before, with a record of these facts. `recorded` is `false` when
    /// the record has no objects.
    fn restart(&mut self, name: char, set: &Arc<DeclaredSet>, memory: GuardMemory, recorded: bool) {
        self.restart_at((name, name), set, memory, recorded);
    }

    /// As `restart`, where the newest commit is perhaps another one than that before.
    fn restart_at(
        &mut self,
        (before, name): (char, char),
        set: &Arc<DeclaredSet>,
        memory: GuardMemory,
        recorded: bool,
    ) {
        let lives = self.lives();
        let settings = self.state.settings.clone();
        let last_in_force =
            Some(SourceCommit { commit: commit(before), git: Default::default(), ..Default::default() });
        let recorded = lives.iter().filter(|_| recorded).map(Object::id).collect();
        let kinds = [GroupKind::new("", "ConfigMap")].into();
        self.commands.clear();
        self.state = State::new(Settings { recorded, kinds, last_in_force, memory, ..settings });
        self.commit(name, set);
        for kind in [GroupKind::new("", "ConfigMap"), GroupKind::new("", "Namespace")] {
            self.step(Event::Listing(kind.clone(), 1));
            for object in lives.iter().filter(|object| object.group_kind() == kind) {
                self.step(Event::Seen(object.id(), Box::new(Observed::of(object))));
            }
            self.step(Event::Listed(kind, 1));
        }
    }

    /// So many of the deletions that were sent are carried out.
    fn delete(&mut self, number: usize) {
        for id in deleted(&self.commands).into_iter().take(number) {
            self.version += 1;
            self.step(Event::Finished(id.clone(), Outcome::Deleted));
            self.step(Event::Gone(id, self.version));
        }
    }
}

#[test]
fn a_commit_that_was_in_force_before_a_restart_is_so_without_its_deletions() {
    let mut scene = Scene::new();
    scene.restart('b', &config_maps(0..5), GuardMemory::default(), true);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.held()[0].contains("the rest of the commit is in force"), "{:?}", scene.held());
    assert!(scene.state.in_force.declared.is_some(), "drift is put back");
}

/// The newest commit was in force, and cannot be used any more: its sealed files need a key that is gone.
#[test]
fn a_commit_that_was_in_force_is_so_without_what_is_left_alone() {
    let mut scene = Scene::new();
    let (lives, settings) = (scene.lives(), scene.state.settings.clone());
    let last_in_force = Some(SourceCommit { commit: commit('b'), git: Default::default(), ..Default::default() });
    let recorded = lives.iter().map(Object::id).collect();
    let kinds = [GroupKind::new("", "ConfigMap")].into();
    scene.commands.clear();
    scene.state = State::new(Settings { recorded, kinds, last_in_force, ..settings });
    let broken = Finding::new(Code::Path, "SOPS sealed it");
    let compiled = || Event::Compiled { commit: commit('b'), declared: None, findings: vec![broken.clone()] };
    scene.step(compiled());
    assert!(scene.commands.iter().any(|command| matches!(command, Command::Restore(_))));
    let (some, all) = (config_maps(0..15), config_maps(0..20));
    let left = all.objects.iter().filter(|(id, _)| !some.objects.contains_key(id));
    let withheld = left.map(|(id, object)| (id.clone(), Arc::clone(object))).collect();
    let partial = Arc::new(DeclaredSet { withheld, partial: true, ..(*some).clone() });
    scene.step(Event::Restored { commit: commit('b'), declared: Some(Arc::clone(&partial)) });
    for kind in [GroupKind::new("", "ConfigMap"), GroupKind::new("", "Namespace")] {
        scene.step(Event::Listing(kind.clone(), 1));
        for object in lives.iter().filter(|object| object.group_kind() == kind) {
            scene.step(Event::Seen(object.id(), Box::new(Observed::of(object))));
        }
        scene.step(Event::Listed(kind, 1));
    }
    assert_eq!((scene.deletions(), scene.held().len()), (0, 0));
    assert!(scene.state.in_force.declared.is_some(), "drift is put back");
    let report = scene.state.last_report();
    assert_eq!(report.source.findings.len(), 1);
    assert!(report.resources.unwrap_or_default().iter().all(|resource| !resource.pruning), "they are declared");
    // Other keys are tried, and the same set is no change.
    scene.commands.clear();
    scene.step(compiled());
    assert!(scene.commands.iter().any(|command| matches!(command, Command::Restore(_))));
    scene.step(Event::Restored { commit: commit('b'), declared: Some(partial) });
    scene.commit('b', &all);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 0));
    assert!(
        scene
            .state
            .in_force
            .declared
            .as_ref()
            .is_some_and(|set| !set.partial && set.objects.len() == all.objects.len())
    );
}

#[test]
fn deletions_that_were_held_before_a_restart_hold_no_other_commit() {
    let mut scene = Scene::new();
    let memory = scene.record.clone();
    // With the commit before, the labels of Namespaces were others, so that 12 deletions were held.
    scene.restart_at(('b', 'c'), &config_maps(13..21), memory, true);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.commands.iter().any(|command| matches!(command, Command::Restore(_))));
    scene.step(Event::Restored { commit: commit('b'), declared: Some(config_maps(12..20)) });
    assert_eq!((scene.deletions(), scene.held().len()), (1, 1));
    assert!(
        scene.held()[0].contains(&format!("the deletions of commit {} are held: they would delete 12 of", commit('c'))),
        "{:?}",
        scene.held()
    );
    assert!(scene.state.objects.live(&config_map("c20")).is_some());
}

#[test]
fn a_restart_in_the_middle_of_a_prune_counts_nothing_twice() {
    let mut scene = Scene::new();
    scene.state.settings.in_flight = 4;
    scene.commit('b', &config_maps(8..20));
    scene.answer();
    scene.state.settings.in_flight = 0;
    scene.delete(4);
    let memory = scene.record.clone();
    assert_eq!((memory.recent.number(scene.now), memory.passed.len()), (8, 8));
    scene.state.settings.in_flight = 100;
    scene.restart('b', &config_maps(8..20), memory, true);
    assert_eq!((scene.deletions(), scene.held().len()), (4, 0));
    assert_eq!(scene.state.prunes.memory().recent.number(scene.now), 8);
    // Deletions of another commit count as ever.
    scene.commit('c', &config_maps(11..20));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
}

#[test]
fn an_approval_in_use_is_for_the_rest_after_a_restart() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    scene.state.settings.in_flight = 2;
    scene.step(Event::Approved(Some(offered(&scene.commands))));
    scene.answer();
    scene.state.settings.in_flight = 0;
    scene.delete(2);
    let (memory, approval) = (scene.record.clone(), scene.state.settings.approval.clone());
    scene.state.settings.in_flight = 100;
    // Taken back while no process ran.
    scene.state.settings.approval = None;
    scene.restart('b', &config_maps(0..5), memory.clone(), true);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    scene.state.settings.approval = approval;
    scene.restart('b', &config_maps(0..5), memory, true);
    assert_eq!((scene.deletions(), scene.held().len()), (13, 0));
    assert!(scene.state.is_synced());
}

#[test]
fn deletions_wait_for_an_approval_after_the_record_was_lost() {
    let (mut scene, set) = (Scene::new(), config_maps(0..19));
    scene.restart('b', &set, GuardMemory { proof: Proof::Approval, ..GuardMemory::default() }, false);
    assert_eq!((scene.deletions(), scene.held().len(), scene.record.proof), (0, 1, Proof::Approval));
    assert!(scene.held()[0].contains("was lost") && scene.held()[0].contains("c19"), "{:?}", scene.held());
    // The loss is remembered over another restart.
    scene.restart('b', &set, scene.record.clone(), true);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    scene.approve(&offered(&scene.commands));
    assert_eq!((scene.deletions(), scene.held().len(), scene.record.proof), (1, 0, Proof::Record));
    // From now on the record names the sync's objects.
    scene.commit('c', &config_maps(0..18));
    assert_eq!((scene.deletions(), scene.held().len()), (1, 0));
}

#[test]
fn a_sync_that_never_had_a_record_begins_one() {
    let mut scene = Scene::new();
    let memory = GuardMemory { proof: Proof::Approval, ..GuardMemory::default() };
    scene.state = State::new(Settings { memory, ..scene.state.settings.clone() });
    scene.commit('a', &config_maps(0..3));
    for kind in [GroupKind::new("", "ConfigMap"), GroupKind::new("", "Namespace")] {
        scene.step(Event::Listing(kind.clone(), 1));
        scene.step(Event::Listed(kind, 1));
    }
    scene.settle();
    assert_eq!((scene.record.proof, scene.state.is_synced()), (Proof::Record, true));
}

#[test]
fn a_namespace_waits_for_recorded_objects_in_it_that_no_list_shows() {
    let mut scene = Scene::new();
    let namespaces = "apiVersion: v1\nkind: Namespace\nmetadata: {name: one}\n---\n\
        apiVersion: v1\nkind: Namespace\nmetadata: {name: two}\n";
    let set = declared(namespaces);
    let (one, kind) = (ObjectId::new(&GroupKind::new("", "Namespace"), "", "one"), GroupKind::new("", "ConfigMap"));
    let inside = ObjectId::new(&kind, "one", "inside");
    let lives: Vec<_> = set.objects.keys().map(|id| live(&set, id, 100, json!({}))).collect();
    scene.state = State::new(Settings {
        recorded: set.objects.keys().cloned().chain([inside.clone()]).collect(),
        kinds: [kind.clone(), one.group_kind()].into(),
        memory: Default::default(),
        ..scene.state.settings
    });
    scene.commit('b', &declared("apiVersion: v1\nkind: Namespace\nmetadata: {name: two}\n"));
    scene.step(Event::Listing(one.group_kind(), 1));
    for object in &lives {
        scene.step(Event::Seen(object.id(), Box::new(crate::sync::live::Observed::of(object))));
    }
    scene.step(Event::Listed(one.group_kind(), 1));
    scene.step(Event::Unlistable(kind.clone(), Finding::new(Code::ApiServer, "no answer")));
    assert_eq!(scene.deletions(), 0, "the ConfigMap in it may stay for a reason");
    scene.step(Event::Listing(kind.clone(), 2));
    scene.step(Event::Listed(kind, 2));
    assert_eq!(scene.deletions(), 0, "without the label no list shows it");
    scene.step(Event::Finished(inside, Outcome::Absent(0)));
    assert_eq!(scene.deletions(), 1);
}

/// The number of objects that are to be abandoned.
fn abandoned(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::Abandon(_))).count()
}

#[test]
fn a_sync_that_goes_takes_along_what_its_record_names() {
    let goes = |undeclared| Arc::new(DeclaredSet { undeclared, ..DeclaredSet::default() });
    let mut scene = Scene::new();
    scene.restart('a', &goes(Undeclared::Deleted), GuardMemory::default(), true);
    assert_eq!((scene.deletions(), scene.held().len()), (21, 0));
    assert!(scene.state.is_synced(), "nothing is left");

    let mut scene = Scene::new();
    let lost = GuardMemory { proof: Proof::Approval, ..GuardMemory::default() };
    scene.restart('a', &goes(Undeclared::Deleted), lost, false);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1), "nothing proves that the objects are the sync's");
    let approval = offered(&scene.commands);
    scene.approve(&approval);
    assert_eq!(scene.deletions(), 21);

    let mut scene = Scene::new();
    scene.restart('a', &goes(Undeclared::GivenUp), GuardMemory::default(), true);
    assert_eq!((scene.deletions(), abandoned(&scene.commands)), (0, 21));
}

#[test]
fn a_sync_that_goes_deletes_no_namespace_with_objects_that_nothing_shows() {
    let secret = ObjectId::new(&GroupKind::new("", "Secret"), "ns", "a");
    let namespace = ObjectId::new(&GroupKind::new("", "Namespace"), "", "ns");
    let set = declared("apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n");
    let mut scene = Scene::new();
    let settings = scene.state.settings.clone();
    let recorded = [secret.clone(), namespace.clone()];
    let kinds = recorded.iter().map(ObjectId::group_kind).collect();
    scene.state = State::new(Settings { recorded: recorded.into(), kinds, ..settings });
    scene.commands.clear();
    scene.commit('a', &Arc::new(DeclaredSet { undeclared: Undeclared::Deleted, ..DeclaredSet::default() }));
    let mut object = live(&set, &namespace, 5, json!({}));
    object.metadata_mut().insert("uid".into(), "uid".into());
    scene.step(Event::Listing(namespace.group_kind(), 1));
    scene.step(Event::Seen(namespace.clone(), Box::new(Observed::of(&object))));
    scene.step(Event::Listed(namespace.group_kind(), 1));
    let refused = crate::model::finding::Finding::new(Code::InsufficientPermission, "it may not be listed");
    scene.step(Event::Unlistable(secret.group_kind(), refused));
    assert_eq!(scene.deletions(), 0);
    assert!(!scene.state.is_synced() && !scene.state.last_report().sync.findings.is_empty());
    scene.step(Event::Listing(secret.group_kind(), 2));
    scene.step(Event::Listed(secret.group_kind(), 2));
    scene.step(Event::Finished(secret, Outcome::Absent(0)));
    assert_eq!(scene.deletions(), 1);
    assert!(scene.state.is_synced());
}

/// The commit before declares all objects, and is in force again while the newest one is held.
#[test]
fn a_lost_record_is_not_proven_by_the_commit_before() {
    let mut scene = Scene::new();
    let lost = GuardMemory { proof: Proof::Approval, ..GuardMemory::default() };
    scene.restart_at(('a', 'b'), &config_maps(1..20), lost, false);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.commands.iter().any(|command| matches!(command, Command::Restore(_))));
    scene.step(Event::Restored { commit: commit('a'), declared: Some(config_maps(0..20)) });
    scene.settle();
    assert_eq!(scene.state.in_force.source.commit, commit('a'), "drift is put back");
    assert_eq!((scene.deletions(), scene.held().len(), scene.record.proof), (0, 1, Proof::Approval));
    let approval = offered(&scene.commands);
    scene.approve(&approval);
    assert_eq!((scene.held().len(), scene.state.in_force.source.commit.clone()), (0, commit('b')));
    assert_eq!(scene.record.proof, Proof::Record);
}

/// A process that begins with this record, and one commit that is held because the record was lost; nothing is in force.
fn held_at_the_beginning() -> Scene {
    let mut scene = Scene::new();
    let lost = GuardMemory { proof: Proof::Approval, ..GuardMemory::default() };
    let lives = scene.lives();
    let kinds = [GroupKind::new("", "ConfigMap")].into();
    scene.commands.clear();
    scene.state = State::new(Settings { kinds, memory: lost, ..scene.state.settings.clone() });
    scene.commit('b', &config_maps(2..20));
    for kind in [GroupKind::new("", "ConfigMap"), GroupKind::new("", "Namespace")] {
        scene.step(Event::Listing(kind.clone(), 1));
        for object in lives.iter().filter(|object| object.group_kind() == kind && object.id() != config_map("c1")) {
            scene.step(Event::Seen(object.id(), Box::new(Observed::of(object))));
        }
        scene.step(Event::Listed(kind, 1));
    }
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.held()[0].contains("delete 1 of"), "{:?}", scene.held());
    scene
}

#[test]
fn an_object_whose_label_comes_back_counts_among_held_deletions() {
    let mut scene = held_at_the_beginning();
    let before = Scene::new().lives();
    let back = before.iter().find(|object| object.id() == config_map("c1")).expect("one of them");
    scene.step(Event::Seen(back.id(), Box::new(Observed::of(back))));
    assert!(scene.held()[0].contains("delete 2 of"), "{:?}", scene.held());
}

#[test]
fn a_commit_whose_held_deletions_are_done_by_hand_comes_in_force() {
    let mut scene = held_at_the_beginning();
    scene.version += 100;
    scene.step(Event::Gone(config_map("c0"), scene.version));
    scene.step(Event::Finished(config_map("c0"), Outcome::Absent(0)));
    scene.settle();
    assert_eq!((scene.held().len(), scene.state.in_force.source.commit.clone()), (0, commit('b')));
}

/// An object of the record is deleted by hand while no agent runs: its Namespace still counts among the deletions of the next commit.
#[test]
fn a_namespace_with_an_object_that_nothing_has_shown_is_judged_with_its_commit() {
    let set = declared("apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n");
    let secret = ObjectId::new(&GroupKind::new("", "Secret"), "ns", "a");
    let namespace = ObjectId::new(&GroupKind::new("", "Namespace"), "", "ns");
    let mut scene = Scene::new();
    let recorded = [secret.clone(), namespace.clone()];
    let kinds = recorded.iter().map(ObjectId::group_kind).collect();
    scene.commands.clear();
    scene.state = State::new(Settings { recorded: recorded.into(), kinds, ..scene.state.settings.clone() });
    scene.commit('b', &Arc::new(DeclaredSet::default()));
    scene.step(Event::Listing(secret.group_kind(), 1));
    scene.step(Event::Listed(secret.group_kind(), 1));
    scene.step(Event::Listing(namespace.group_kind(), 1));
    let object = live(&set, &namespace, 5, json!({}));
    scene.step(Event::Seen(namespace.clone(), Box::new(Observed::of(&object))));
    scene.step(Event::Listed(namespace.group_kind(), 1));
    assert!(scene.state.in_force.declared.is_none(), "the Secret is read first");
    scene.step(Event::Finished(secret, Outcome::Absent(0)));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.state.in_force.declared.is_none(), "nothing of it is applied: {:?}", scene.held());
}

/// A commit keeps nothing that it makes itself, when the deletions are found only after it came in force.
#[test]
fn deletions_that_are_found_late_are_measured_by_the_objects_that_the_commit_found() {
    let manifest = |kind: &str, name: &str| {
        format!("---\napiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: default}}\n")
    };
    let before = declared(&(manifest("ConfigMap", "a") + &manifest("ConfigMap", "b")));
    let (config_maps, secrets) = (GroupKind::new("", "ConfigMap"), GroupKind::new("", "Secret"));
    let held = |kept: &str| {
        let mut scene = Scene::new();
        let (settings, recorded) = (scene.state.settings.clone(), before.objects.keys().cloned().collect());
        let kinds = [config_maps.clone()].into();
        scene.state = State::new(Settings { recorded, kinds, ..settings });
        scene.commands.clear();
        scene.commit('b', &declared(&(manifest("Secret", "c") + &manifest("Secret", "d") + kept)));
        scene.step(Event::Unlistable(config_maps.clone(), Finding::new(Code::ApiServer, "504")));
        scene.step(Event::Listing(secrets.clone(), 1));
        scene.step(Event::Listed(secrets.clone(), 1));
        scene.settle();
        scene.step(Event::Listing(config_maps.clone(), 1));
        for id in before.objects.keys() {
            scene.step(Event::Seen(id.clone(), Box::new(Observed::of(&live(&before, id, 1, json!({}))))));
        }
        scene.step(Event::Listed(config_maps.clone(), 1));
        (scene.deletions(), scene.held().len())
    };
    assert_eq!(held(""), (0, 1), "they are all objects that the sync had");
    assert_eq!(held(&manifest("ConfigMap", "a")), (1, 0), "one stays");
}
