//! Objects that another sync declares late: after the deletion was decided, or when its source is mended.

use super::*;
use crate::sync::engine::SourceCommit;

/// A sync that refuses the second commit.
fn refusing(repo: &str) -> Holdings {
    let git = Arc::new(GitStatus { repo: repo.to_owned(), ..GitStatus::default() });
    Holdings::Known(Arc::new(HeldObjects { git, commit: SECOND.to_owned(), ..HeldObjects::default() }))
}

/// One commit moves a Namespace to another sync, and has a mistake in the directory of that one.
#[test]
fn a_namespace_that_may_move_to_a_sync_that_refuses_the_commit_is_not_deleted() {
    let begin = |other: Holdings| {
        let mut scene = Scene::new(&(config_map("stays") + &namespace("moves")), held(FIRST, "", ""));
        scene.commit(SECOND, &config_map("stays"));
        scene.tell(other);
        scene
    };
    let mut other = Scene::new(&(config_map("stays") + &config_map("moves")), held(FIRST, "", ""));
    other.commit(SECOND, &config_map("stays"));
    other.tell(refusing(""));
    assert_eq!(other.deleted(), ["moves"], "no data goes with it");
    assert_eq!(begin(refusing("elsewhere")).deleted(), ["moves"], "it follows another repository");
    for (mended, deleted, released) in
        [(namespace("moves"), vec![], vec!["moves"]), (String::new(), vec!["moves".to_owned()], vec![])]
    {
        let mut scene = begin(refusing(""));
        for _ in 0..5 {
            scene.now = scene.state.next_wake().expect("it is tried again");
            scene.step(Event::Woken);
        }
        assert!(scene.deleted().is_empty() && scene.released().is_empty() && !scene.state.is_synced());
        let told = scene.findings();
        let expected = "KNV2009 skipped delete of namespace/moves: the sync \":root_other\" may take it over, ";
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
        scene.tell(held("cccccccccccccccccccccccccccccccccccccccc", "", &mended));
        while scene.deleted().is_empty() && scene.released().is_empty() {
            scene.now = scene.state.next_wake().expect("it waits until the commit is read");
            scene.step(Event::Woken);
        }
        assert_eq!((scene.deleted(), scene.released()), (deleted, released));
    }
}

/// One commit drops a sync together with its directory, so that the sync refuses it.
#[test]
fn a_sync_that_goes_keeps_no_object() {
    let other = "---\napiVersion: configsync.gke.io/v1beta1\nkind: RootSync\n\
                 metadata: {name: other, namespace: config-management-system}\nspec: {}\n";
    let mut scene = Scene::new(&(config_map("stays") + other), held(FIRST, "", ""));
    scene.commit(SECOND, &config_map("stays"));
    scene.tell(refusing(""));
    assert_eq!(scene.deleted(), ["other"]);
}

#[test]
fn the_others_hear_that_a_sync_refuses_a_commit() {
    let mut scene = Scene::new(&config_map("mine"), held(FIRST, "", ""));
    let source = |commit: &str| SourceCommit { commit: commit.to_owned(), git: Arc::default(), ..Default::default() };
    let shared =
        |scene: &Scene, commit: &str| scene.state.others.shared.as_ref().map(|held| held.refuses(&source(commit)));
    scene.step(Event::Compiled { commit: SECOND.to_owned(), declared: None, findings: Vec::new() });
    assert_eq!([shared(&scene, FIRST), shared(&scene, SECOND)], [Some(false), Some(true)]);
    scene.commit(SECOND, &config_map("mine"));
    assert_eq!(shared(&scene, SECOND), Some(false));
}

#[test]
fn a_deletion_that_waits_is_not_sent_for_an_object_that_another_sync_declares_now() {
    let mut scene = Scene::new(&(config_map("stays") + &config_map("moves")), held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &config_map("stays"));
    assert_eq!(scene.deleted(), ["moves"]);
    scene.tell(held(FIRST, "elsewhere", &config_map("moves")));
    assert!(scene.commands.iter().any(|command| matches!(command, Command::Withdraw)), "{:?}", scene.commands);
    let moves = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "moves");
    scene.step(Event::Finished(moves, Outcome::Withdrawn));
    assert_eq!(scene.released(), ["moves"]);
}

/// A Namespace that the sync deletes, as it is asked for.
fn deleting(name: &str) -> Scene {
    let mut scene = Scene::new(&(config_map("stays") + &namespace(name)), held(FIRST, "", ""));
    scene.tell(held(SECOND, "", ""));
    scene.commit(SECOND, &config_map("stays"));
    assert_eq!(scene.deleted(), [name]);
    scene
}

#[test]
fn the_deletion_of_a_namespace_that_others_need_now_is_withdrawn() {
    let withdraws = |scene: &Scene| scene.commands.iter().any(|command| matches!(command, Command::Withdraw));
    let inside = config_map("theirs").replace("namespace: shop", "namespace: goes");
    let cases = [(held(SECOND, "", ""), false), (held(SECOND, "", &inside), true), (refusing(""), true)];
    for (other, is_withdrawn) in cases {
        let mut scene = deleting("goes");
        scene.tell(other);
        assert_eq!(withdraws(&scene), is_withdrawn, "{:?}", scene.commands);
    }
}

#[test]
fn a_sync_that_is_deleted_waits_for_no_sync_that_refuses_its_commit() {
    let mut scene = Scene::new(&(config_map("stays") + &namespace("goes")), held(FIRST, "", ""));
    scene.tell(refusing(""));
    let declared = Some(Arc::new(DeclaredSet { undeclared: Undeclared::Deleted, ..DeclaredSet::default() }));
    scene.step(Event::Compiled { commit: SECOND.to_owned(), declared, findings: Vec::new() });
    let stays = deleted(&scene.commands).remove(0);
    scene.step(Event::Finished(stays.clone(), Outcome::Deleted));
    scene.step(Event::Gone(stays, 9));
    assert_eq!(scene.deleted(), ["stays", "goes"]);
}

/// The sync declares the RepoSync and its directory in one repository. What tenants make for themselves keeps nothing.
#[test]
fn a_claim_that_may_move_to_a_declared_repo_sync_that_refuses_the_commit_is_not_deleted() {
    let claim = "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: moves, namespace: shop}\n\
                 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n";
    let sync = |name: &str, namespace: &str| {
        format!(
            "---\napiVersion: configsync.gke.io/v1beta1\nkind: RepoSync\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{git: {{repo: elsewhere}}}}\n"
        )
    };
    let cases = [
        (vec![("a", "shop")], ("a", "shop"), false),
        (vec![("a", "shop"), ("b", "shop")], ("b", "shop"), false),
        (vec![("a", "shop")], ("b", "shop"), true),
        (vec![("a", "bank")], ("a", "bank"), true),
    ];
    for (declared_syncs, (name, namespace), goes) in cases {
        let syncs: String = declared_syncs.iter().map(|(name, namespace)| sync(name, namespace)).collect();
        let stays = config_map("stays") + &syncs;
        let mut scene = Scene::new(&(stays.clone() + claim), held(FIRST, "elsewhere", ""));
        let managers = declared_syncs.iter().map(|(name, namespace)| SyncId::repo(namespace, name).manager());
        let mut others: AllSyncs = managers.map(|manager| (manager, held(SECOND, "elsewhere", ""))).collect();
        others.insert(SyncId::repo(namespace, name).manager(), refusing(""));
        scene.tell_all(others);
        scene.commit(SECOND, &stays);
        assert_eq!(scene.deleted() == ["moves"], goes, "{declared_syncs:?} {name}: {:?}", scene.findings());
    }
}
