//! Sync objects whose own objects are deleted with them.

use super::*;
use crate::sync::engine::{AllSyncs, HeldObjects, Holdings};

fn with_sync(policy: &str) -> Arc<DeclaredSet> {
    let manifest = format!(
        "---\napiVersion: configsync.gke.io/v1beta1\nkind: RootSync\nmetadata: {{name: shop, namespace: config-management-system, \
         annotations: {{configsync.gke.io/deletion-propagation-policy: {policy}}}}}\nspec: {{git: {{repo: x, auth: none}}}}\n"
    );
    declared(&(manifests(0..20) + &manifest))
}

/// The sync that goes has told of so many objects.
fn told(objects: usize) -> Holdings {
    Holdings::Known(Arc::new(HeldObjects::recorded((100..100 + objects).map(|n| config_map(&n.to_string())).collect())))
}

/// A sync that had another one, and a commit without that.
fn without_sync(policy: &str, holdings: Holdings) -> Scene {
    let mut scene = Scene::new();
    scene.tell(holdings);
    scene.commit('b', &with_sync(policy));
    let kind = GroupKind::new("configsync.gke.io", "RootSync");
    scene.step(Event::Listing(kind.clone(), 1));
    scene.step(Event::Listed(kind, 1));
    scene.settle();
    scene.commit('c', &config_maps(0..20));
    scene
}

impl Scene {
    fn tell(&mut self, holdings: Holdings) {
        let own = Holdings::Known(Arc::new(HeldObjects::default()));
        let syncs = [(SyncId::root("root-sync").manager(), own), (SyncId::root("shop").manager(), holdings)];
        self.step(Event::Syncs(Arc::new(AllSyncs::from(syncs))));
    }
}

#[test]
fn the_objects_that_a_sync_takes_along_count_for_the_budget() {
    let mut scene = without_sync("Foreground", told(30));
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
    assert!(scene.held()[0].contains("shop (with its 30 objects)"), "{:?}", scene.held());
    let approval = offered(&scene.commands);
    scene.tell(told(31));
    scene.approve(&approval);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1), "the approval was for thirty");
    scene.approve(&offered(&scene.commands));
    assert_eq!((scene.deletions(), scene.held().len()), (1, 0));

    let mut scene = without_sync("Foreground", told(5));
    assert_eq!((scene.deletions(), scene.held().len(), scene.counted()), (1, 0, 6));
    let mut scene = without_sync("Orphan", told(30));
    assert_eq!((scene.deletions(), scene.held().len(), scene.counted()), (1, 0, 1), "its objects stay");
}

#[test]
fn a_restart_takes_up_the_deletion_of_a_sync_that_was_let_pass() {
    let mut scene = without_sync("Foreground", told(8));
    scene.answer();
    let memory = scene.record.clone();
    assert_eq!((deleted(&scene.commands).len(), memory.recent.number(scene.now)), (1, 9));
    let mut prunes = Prunes::after(memory);
    let deletion = (
        deleted(&scene.commands)[0].clone(),
        scene.state.objects.live(&deleted(&scene.commands)[0]).expect("it is there").uid.clone(),
    );
    let taking_along = vec![(deletion.0.clone(), Some(7))];
    prunes.inherit(&Prune { deletions: [deletion.clone()].into(), taking_along, ..Prune::default() }, None, scene.now);
    assert!(prunes.allows(&deletion) && prunes.memory.recent.number(scene.now) == 9);
}

#[test]
fn a_sync_that_takes_its_objects_along_stays_until_their_number_is_known() {
    let mut scene = without_sync("Foreground", Holdings::Untold);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 0));
    scene.tell(told(3));
    assert_eq!((scene.deletions(), scene.counted()), (1, 4));

    let mut scene = without_sync("Foreground", Holdings::Unreadable);
    assert_eq!((scene.deletions(), scene.held().len()), (0, 1));
}
