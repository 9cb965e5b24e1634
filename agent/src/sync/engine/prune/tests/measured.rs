//! The objects by which deletions are measured.

use super::*;

/// The numbers of objects in the inventory, and among them of those that stay declared, and in the record.
fn measured(scene: &Scene, set: &DeclaredSet, occasion: Occasion) -> (usize, usize, usize) {
    let prune = scene.state.prune_of(set, occasion);
    (prune.inventory.objects, prune.kept.objects, prune.recorded.objects)
}

fn edit(scene: &mut Scene, name: &str, edit: impl FnOnce(&mut Live)) {
    scene.state.objects.change(&config_map(name), |tracked| edit(tracked.live.as_mut().expect("it is there")));
}

#[test]
fn deletions_are_measured_by_the_objects_that_are_the_sync_s_and_stay() {
    let mut scene = Scene::new();
    let next = config_maps(0..10);
    scene.step(Event::Compiled { commit: commit('b'), declared: None, findings: Vec::new() });
    scene.state.objects.begin_commit();
    let commit = Occasion::NewCommit;
    assert_eq!(measured(&scene, &next, commit), (21, 11, 21));
    edit(&mut scene, "c3", |live| live.terminating = true);
    assert_eq!(measured(&scene, &next, commit), (20, 10, 21));
    edit(&mut scene, "c4", |live| live.applied = false);
    assert_eq!(measured(&scene, &next, commit), (19, 9, 21));
    let going = DeclaredSet { going: ["default".to_owned()].into(), ..(*next).clone() };
    assert_eq!(measured(&scene, &going, commit), (0, 0, 21));
    for (occasion, expected) in [(Occasion::Found, (18, 8, 20)), (Occasion::NewCommit, (19, 9, 21))] {
        scene.state.objects.change(&config_map("c5"), |tracked| tracked.newer = true);
        assert_eq!(measured(&scene, &next, occasion), expected);
    }
    scene.state.objects.change(&config_map("c6"), |tracked| tracked.recorded = false);
    assert_eq!(measured(&scene, &next, Occasion::Found), (17, 7, 19));
}

/// Another client has deleted the object and made another one, which the answer to the next apply shows.
#[test]
fn an_approval_is_not_for_an_object_that_was_made_anew_unseen() {
    let mut scene = Scene::new();
    scene.commit('b', &config_maps(0..5));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    let before = offered(&scene.commands);
    let set = config_maps(0..20);
    let mut drifted = live(&set, &config_map("c7"), 900, json!({}));
    let uid = scene.state.objects.live(&config_map("c7")).map(|live| live.uid.to_string());
    drifted.metadata_mut().insert("uid".into(), uid.into());
    drifted.metadata_mut()["managedFields"] = json!([]);
    scene.version = 900;
    scene.step(Event::Seen(drifted.id(), Box::new(crate::sync::live::Observed::of(&drifted))));
    scene.answer();
    assert_ne!(offered(&scene.commands), before);
}

/// They are judged by the next process.
#[test]
fn a_sync_that_stops_judges_no_deletions() {
    for stops in [false, true] {
        let mut scene = Scene::new();
        scene.commands.clear();
        scene.state.in_force.declared = Some(config_maps(15..20));
        scene.state.prunes.found();
        if stops {
            scene.state.stop();
        }
        scene.step(Event::Woken);
        assert_eq!(scene.held().is_empty(), stops, "{:?}", scene.commands);
    }
}
