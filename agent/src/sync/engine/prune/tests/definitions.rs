//! CRDs, whose deletion takes along the objects of their kind.

use super::*;
use crate::sync::engine::{Failure, Retry};

fn gears() -> ObjectId {
    ObjectId::new(&GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"), "", "gears.example.com")
}

/// The API server refuses a deletion.
fn refused() -> Outcome {
    let finding = Finding::new(Code::InsufficientPermission, "403");
    Outcome::Failed(Failure { finding, retry: Retry::Object, refused: true })
}

fn with_gears() -> Arc<DeclaredSet> {
    let manifest = "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: gears.example.com}\nspec:\n  \
        group: example.com\n  scope: Namespaced\n  names: {kind: Gear, plural: gears}\n  versions:\n  - {name: v1, served: true, \
        storage: true, schema: {openAPIV3Schema: {type: object}}}\n";
    declared(&(manifests(0..20) + manifest))
}

/// A sync that had the CRD, and a commit without it: the objects are being counted.
fn without_gears() -> Scene {
    let mut scene = Scene::new();
    scene.commit('b', &with_gears());
    scene.step(Event::Listing(gears().group_kind(), 1));
    scene.step(Event::Listed(gears().group_kind(), 1));
    scene.settle();
    scene.commit('c', &config_maps(0..20));
    scene
}

#[test]
fn a_crd_that_takes_objects_of_others_along_waits_for_an_approval() {
    let (mut scene, crd, with_crd) = (without_gears(), gears(), with_gears());
    scene.step(Event::Counted(crd.clone(), Some(3)));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.held()[0].contains("with 3 gears.example.com that are not of this sync"), "{:?}", scene.held());
    scene.step(Event::Approved(Some(offered(&scene.commands))));
    scene.step(Event::Counted(crd.clone(), Some(4)));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1), "the approval was for three");
    scene.step(Event::Approved(Some(offered(&scene.commands))));
    scene.step(Event::Counted(crd.clone(), Some(4)));
    assert_eq!((scene.deletions(), scene.held().len()), (1, 0));
    // One that no other object goes with is deleted as any object.
    scene.commit('d', &with_crd);
    scene.settle();
    scene.commit('e', &config_maps(0..20));
    scene.step(Event::Counted(crd.clone(), Some(0)));
    assert_eq!((scene.deletions(), scene.held().len()), (1, 0));
}

/// Its deletion is refused, and others make objects of its kind before it is tried again.
#[test]
fn the_objects_of_a_crd_are_counted_again_before_its_deletion_is_tried_again() {
    for others in [0, 100] {
        let mut scene = without_gears();
        scene.step(Event::Counted(gears(), Some(0)));
        scene.answer();
        assert_eq!(deleted(&scene.commands), [gears()]);
        scene.commands.clear();
        scene.step(Event::Finished(gears(), refused()));
        scene.now += Duration::from_secs(60);
        scene.step(Event::Woken);
        assert_eq!(deleted(&scene.commands), [], "it is counted first");
        assert!(scene.commands.iter().any(|command| matches!(command, Command::Count(_))), "{:?}", scene.commands);
        scene.step(Event::Counted(gears(), Some(others)));
        scene.answer();
        let (deletions, held) = if others == 0 { (1, 0) } else { (0, 1) };
        assert_eq!((scene.deletions(), scene.held().len()), (deletions, held), "{others}");
    }
}

#[test]
fn an_approval_is_not_for_objects_that_others_made_since() {
    let mut scene = without_gears();
    scene.step(Event::Counted(gears(), Some(3)));
    scene.step(Event::Approved(Some(offered(&scene.commands))));
    scene.step(Event::Counted(gears(), Some(3)));
    scene.answer();
    assert_eq!(deleted(&scene.commands), [gears()]);
    scene.commands.clear();
    scene.step(Event::Finished(gears(), refused()));
    scene.now += Duration::from_secs(60);
    scene.step(Event::Woken);
    scene.step(Event::Counted(gears(), Some(100)));
    scene.answer();
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
}

/// The object may be there, and stay for a reason.
#[test]
fn a_crd_waits_for_recorded_objects_of_its_kind_that_no_list_shows() {
    let (mut scene, gear) = (Scene::new(), GroupKind::new("example.com", "Gear"));
    let one = ObjectId::new(&gear, "default", "one");
    let crd = live(&with_gears(), &gears(), 100, json!({}));
    scene.state = State::new(Settings {
        recorded: [gears(), one.clone(), config_map("kept")].into(),
        kinds: [gear.clone(), gears().group_kind()].into(),
        memory: GuardMemory::default(),
        ..scene.state.settings
    });
    scene.commands.clear();
    scene.commit('b', &config_maps(0..0));
    scene.step(Event::Served(gear.clone(), "gears".into(), Default::default()));
    for kind in [gears().group_kind(), config_map("kept").group_kind()] {
        scene.step(Event::Listing(kind.clone(), 1));
        if kind == gears().group_kind() {
            scene.step(Event::Seen(gears(), Box::new(crate::sync::live::Observed::of(&crd))));
        }
        scene.step(Event::Listed(kind, 1));
    }
    scene.step(Event::Unlistable(gear.clone(), Finding::new(Code::ApiServer, "no answer")));
    scene.answer();
    let asks = |scene: &Scene| scene.commands.iter().any(|it| matches!(it, Command::Count(_) | Command::Delete(..)));
    assert!(scene.state.in_force.declared.is_some() && !asks(&scene), "{:?}", scene.commands);
    scene.step(Event::Listing(gear.clone(), 2));
    scene.step(Event::Listed(gear, 2));
    scene.step(Event::Finished(one, Outcome::Absent(0)));
    scene.answer();
    assert!(asks(&scene), "{:?}", scene.commands);
}
