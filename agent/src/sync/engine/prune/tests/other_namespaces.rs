//! A commit that declares other objects because other Namespaces are there, or have other labels.

use super::*;

#[test]
fn a_commit_that_selects_other_namespaces_is_in_force_without_too_many_deletions() {
    let mut scene = Scene::new();
    // The Namespace of most objects has other labels, and another Namespace begins to match.
    scene.commit('a', &config_maps(15..25));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(
        scene.held()[0].contains("None of them is deleted; the rest of the commit is in force"),
        "{:?}",
        scene.held()
    );
    assert!(scene.state.objects.live(&config_map("c24")).is_some(), "new objects do not wait");
    assert!(!scene.state.is_synced());
    scene.settle();
    scene.commands.clear();
    scene.step(Event::Woken);
    assert!(scene.state.is_idle() && scene.commands.is_empty(), "what is held is judged once: {:?}", scene.commands);
    // The labels are put back.
    scene.commit('a', &config_maps(0..20));
    assert_eq!((scene.deletions(), scene.held().len()), (5, 0));
    assert!(scene.state.is_synced(), "{:#?}", scene.state.last_report());
}

#[test]
fn deletions_that_are_held_already_hold_no_other_commit() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..60));
    scene.settle();
    // The Namespace of 14 objects has other labels.
    scene.commit('b', &config_maps(14..60));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    let first = offered(&scene.commands);
    // A commit that makes one object and deletes one: it comes in force, and the labels are another matter.
    scene.commit('c', &config_maps(15..61));
    assert!(!scene.state.is_synced());
    assert_eq!((scene.deletions(), scene.held().len()), (1, 1));
    assert!(
        scene.held()[0].contains(&format!("the deletions of commit {} are held: they would delete 14 of", commit('c'))),
        "{:?}",
        scene.held()
    );
    assert!(scene.state.objects.live(&config_map("c60")).is_some(), "new objects do not wait");
    assert!(scene.state.objects.live(&config_map("c0")).is_some() && !scene.state.is_synced());
    scene.approve(&first);
    assert_eq!(scene.deletions(), 0, "the approval was for another commit");
    // However many objects come, those that were held do not pass by themselves.
    scene.commit('d', &config_maps(15..300));
    scene.settle();
    scene.commit('e', &config_maps(16..300));
    assert_eq!((scene.deletions(), scene.held().len()), (1, 1));
    // A commit that would delete too much itself is held whole, with all that it would delete.
    scene.commit('f', &config_maps(80..301));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.held()[0].contains("delete 78 of") && scene.held()[0].contains("Nothing of it is applied"));
    assert!(scene.state.objects.live(&config_map("c300")).is_none());
    // A broken one changes nothing about that.
    let findings = vec![Finding::new(Code::NameCollision, "twice")];
    scene.step(Event::Compiled { commit: commit('g'), declared: None, findings });
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    scene.commit('h', &config_maps(17..300));
    assert_eq!((scene.deletions(), scene.held().len()), (1, 1));
    // The labels are put back in two steps.
    scene.commit('h', &config_maps(0..3));
    scene.commit('h', &config_maps(0..300));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 0));
    assert!(scene.state.is_synced(), "{:#?}", scene.state.last_report());
}

#[test]
fn objects_that_go_with_their_namespace_are_held_no_more() {
    let mut scene = Scene::new();
    scene.commit('a', &config_maps(15..20));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    for n in 0..15 {
        scene.version += 1;
        let id = config_map(&format!("c{n}"));
        scene.step(Event::Gone(id.clone(), scene.version));
        scene.step(Event::Finished(id, Outcome::Absent(0)));
    }
    assert_eq!((scene.deletions(), scene.held().len()), (0, 0));
    assert!(scene.state.is_synced() && scene.state.objects.live(&config_map("c0")).is_none());
}

/// Another client deletes a Namespace with many objects of the sync, which match no selector from then on.
#[test]
fn objects_in_a_namespace_that_is_deleted_count_for_nothing() {
    let mut scene = Scene::new();
    let set = config_maps(20..21);
    let set = Arc::new(DeclaredSet { going: ["default".to_owned()].into(), objects: [].into(), ..(*set).clone() });
    scene.commit('a', &set);
    assert_eq!((scene.deletions(), scene.held()), (0, Vec::new()));
    assert!(!scene.state.is_synced() && scene.state.last_report().syncing, "they are still there");
    let ids: Vec<ObjectId> = scene.state.objects.lives().map(|(id, _)| id.clone()).collect();
    for id in ids {
        scene.version += 1;
        scene.step(Event::Gone(id, scene.version));
    }
    assert!(scene.state.is_synced(), "{:#?}", scene.state.last_report());
    assert_eq!(scene.state.prunes.memory().recent.number(scene.now), 0);
}

/// A commit takes the objects out of a Namespace that the sync declares and another client deletes.
#[test]
fn objects_in_a_declared_namespace_that_is_deleted_count_for_nothing() {
    let mut scene = Scene::new();
    let shop = |number: usize| {
        let manifest = |n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: s{n}, namespace: shop}}\n");
        let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
        declared(&(manifests(0..20) + namespace + &(0..number).map(manifest).collect::<String>()))
    };
    scene.commit('b', &shop(15));
    scene.settle();
    assert!(scene.state.is_synced());
    scene.commit('c', &shop(0));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    let id = ObjectId::new(&GroupKind::new("", "Namespace"), "", "shop");
    scene.version += 1;
    let mut namespace = live(&shop(0), &id, scene.version, json!({}));
    let uid = scene.state.objects.live(&id).expect("it is there").uid.to_string();
    namespace.metadata_mut().insert("uid".into(), uid.into());
    namespace.metadata_mut().insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
    scene.step(Event::Seen(id, Box::new(crate::sync::live::Observed::of(&namespace))));
    assert_eq!((scene.deletions(), scene.held()), (0, Vec::new()), "they go, whoever approves it");
    assert_eq!(scene.state.in_force.source.commit, commit('c'));
}

/// Its labels change while the newest commit is broken, or held.
#[test]
fn a_commit_in_force_that_follows_namespaces_is_compiled_again_while_the_newest_one_is_not_in_force() {
    let dynamic = |names| Arc::new(DeclaredSet { dynamic: true, ..(*config_maps(names)).clone() });
    let wanted = |scene: &mut Scene| {
        let is_wanted = |command: &Command| matches!(command, Command::Restore(last) if last.commit == commit('b'));
        let before = scene.commands.len();
        scene.commands.retain(|command| !is_wanted(command));
        before - scene.commands.len()
    };
    let restored = |names| Event::Restored { commit: commit('b'), declared: Some(dynamic(names)) };
    let mut scene = Scene::new();
    scene.commit('b', &dynamic(0..20));
    assert_eq!(wanted(&mut scene), 0);
    let findings = vec![Finding::new(Code::NameCollision, "twice")];
    scene.step(Event::Compiled { commit: commit('c'), declared: None, findings });
    assert_eq!(wanted(&mut scene), 1);
    scene.step(restored(0..20));
    assert!(scene.state.is_idle());
    // Another Namespace matches, then no more.
    scene.step(restored(0..22));
    scene.settle();
    assert!(scene.state.objects.live(&config_map("c21")).is_some() && !scene.state.is_synced());
    assert_eq!(scene.state.last_report().source.commit, commit('c'));
    scene.step(restored(0..20));
    assert_eq!((scene.deletions(), scene.held().len()), (2, 0));

    // A commit that is held.
    scene.commit('d', &config_maps(19..20));
    assert_eq!((scene.deletions(), scene.held().len(), wanted(&mut scene)), (0, 1, 1));
    scene.step(restored(0..21));
    scene.settle();
    assert!(scene.state.objects.live(&config_map("c20")).is_some());
    assert!(scene.held()[0].contains(&format!("commit {}", commit('d'))), "{:?}", scene.held());
    scene.approve(&offered(&scene.commands));
    assert_eq!((scene.deletions(), scene.state.is_synced()), (20, true));
    scene.step(restored(0..20));
    assert!(scene.state.is_synced() && scene.state.in_force.source.commit == commit('d'), "it comes too late");
}

/// The budget follows from the objects that are there, not from those before the commit.
#[test]
fn namespaces_that_match_no_more_have_the_budget_of_all_objects() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..100));
    scene.settle();
    scene.commit('b', &config_maps(15..100));
    scene.settle();
    assert_eq!(scene.deletions, 15, "{:#?}", scene.state.last_report().sync.findings);
}
