//! The objects that the other syncs hear of, and those that this sync hears of.

use super::*;
use crate::sync::engine::prune::Prunes;
use crate::sync::engine::{Settings, SourceCommit};
use crate::sync::plan::memory::GuardMemory;

fn shares(commands: &[Command]) -> usize {
    commands.iter().filter(|command| matches!(command, Command::Share(_))).count()
}

#[test]
fn a_sync_tells_nothing_before_it_has_read_its_source_and_knows_of_others() {
    let now = Scene::new(&config_map("mine"), held(FIRST, "elsewhere", "")).now;
    let settings = || begin_sync(&Arc::default(), Duration::from_secs(300), now).0.settings;
    let failed = || Event::SourceFailed(Finding::new(Code::Source, "no"));
    let syncs = || Event::Syncs(Arc::new([(OTHER.to_owned(), Holdings::Untold)].into()));
    let mut state = State::new(settings());
    assert_eq!((shares(&state.step(syncs(), now)), shares(&state.step(failed(), now))), (0, 1));
    let mut state = State::new(settings());
    assert_eq!((shares(&state.step(failed(), now)), shares(&state.step(syncs(), now))), (0, 1));
}

/// Its deletions are approved or not, and it may give objects to others when it comes in force.
#[test]
fn a_commit_that_is_held_is_not_refused() {
    let maps = |numbers: std::ops::Range<usize>| numbers.map(|n| config_map(&format!("c{n}"))).collect::<String>();
    let mut scene = Scene::new(&maps(0..30), held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &maps(20..30));
    assert!(scene.findings()[0].starts_with("KNV2006"), "{:?}", scene.findings());
    let source = SourceCommit { commit: SECOND.to_owned(), git: Arc::default(), ..Default::default() };
    assert!(scene.state.others.shared.as_ref().is_some_and(|shared| !shared.refuses(&source)));
}

/// A list may show many objects: the others hear of all at once.
#[test]
fn objects_that_a_list_finds_are_told_when_it_is_complete() {
    let mut scene = Scene::new(&config_map("stays"), held(FIRST, "elsewhere", ""));
    scene.state.prunes = Prunes::after(GuardMemory::without_record());
    let set = declared(&(config_map("found") + &config_map("watched")));
    let ids: Vec<ObjectId> = set.objects.keys().cloned().collect();
    let seen = |id: &ObjectId| {
        let object = live(&set, id, 9, json!({}));
        Event::Seen(id.clone(), Box::new(Observed::of(&object)))
    };
    scene.step(Event::Listing(ids[0].group_kind(), 2));
    scene.step(seen(&ids[0]));
    let stays =
        live(&declared(&config_map("stays")), &ObjectId::new(&ids[0].group_kind(), "shop", "stays"), 8, json!({}));
    scene.step(Event::Seen(stays.id(), Box::new(Observed::of(&stays))));
    assert!(!scene.is_shared(&ids[0]));
    scene.step(Event::Listed(ids[0].group_kind(), 2));
    assert!(scene.is_shared(&ids[0]), "{:?}", scene.commands);
    scene.step(seen(&ids[1]));
    assert!(scene.is_shared(&ids[1]), "a watch shows one after the other");
}

/// RepoSyncs of different namespaces have nothing to do with each other.
#[test]
fn a_repo_sync_heeds_root_syncs_and_those_of_its_namespace() {
    let mut scene = Scene::new(&config_map("mine"), held(FIRST, "elsewhere", ""));
    scene.state = State::new(Settings { sync: SyncId::repo("shop", "repo-sync"), ..scene.state.settings.clone() });
    let mine = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "mine");
    let cases =
        [(SyncId::root("root"), true), (SyncId::repo("shop", "other"), true), (SyncId::repo("bank", "other"), false)];
    for (sync, is_heeded) in cases {
        scene.step(Event::Syncs(Arc::new([(sync.manager(), held(FIRST, "", &config_map("mine")))].into())));
        assert_eq!(scene.state.is_of_another(&mine), is_heeded, "{sync:?}");
    }
}

/// The deletions of each commit wait for the others to read it.
#[test]
fn each_commit_waits_anew_for_the_others() {
    let all = config_map("stays") + &config_map("one") + &config_map("two");
    let mut scene = Scene::new(&all, held(FIRST, "", ""));
    scene.commit(SECOND, &(config_map("stays") + &config_map("one")));
    scene.now += READ_TOO - Duration::from_secs(1);
    scene.commit("cccccccccccccccccccccccccccccccccccccccc", &config_map("stays"));
    let began = scene.now;
    while scene.deleted().is_empty() {
        scene.now = scene.state.next_wake().expect("it does not wait for ever").max(scene.now);
        scene.step(Event::Woken);
    }
    assert_eq!(scene.now, began + READ_TOO);
}

#[test]
fn rights_in_another_namespace_wait_for_no_repo_sync() {
    let role = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: role, namespace: bank}\nrules: []\n";
    let sync =
        "---\napiVersion: configsync.gke.io/v1beta1\nkind: RepoSync\nmetadata: {name: repo-sync, namespace: shop}\n";
    let stays: String = (0..5).map(|n| config_map(&format!("stays{n}"))).collect();
    let mut scene = Scene::new(&(stays.clone() + role + sync), held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &stays);
    let mut gone = scene.deleted();
    let repo_sync = ObjectId::new(&sync_kind(SyncKind::RepoSync), "shop", "repo-sync");
    scene.step(Event::Finished(repo_sync.clone(), Outcome::Deleted));
    gone.extend(scene.deleted());
    assert!(gone.contains(&"role".to_owned()) && scene.state.objects.live(&repo_sync).is_some(), "{gone:?}");
}

/// Both have it in their records, so that each write has to find it as it is known.
#[test]
fn an_object_that_another_sync_has_too_is_written_at_its_version() {
    let mine = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "mine");
    for (theirs, is_shared) in [("theirs", false), ("mine", true)] {
        let mut scene = Scene::new(&config_map("mine"), held(FIRST, "elsewhere", &config_map(theirs)));
        let mut object = live(&declared(&config_map("mine")), &mine, 9, json!({}));
        object.metadata_mut()["managedFields"][0]["fieldsV1"] = json!({"f:data": {"f:other": {}}});
        scene.step(Event::Seen(mine.clone(), Box::new(Observed::of(&object))));
        let mode = scene.commands.iter().rev().find_map(|command| match command {
            Command::Apply(_, _, mode) => Some(mode.clone()),
            _ => None,
        });
        assert_eq!(mode == Some(ApplyMode::TakeOver(9)), is_shared, "{mode:?}");
    }
}

/// Whatever its labels say.
#[test]
fn an_object_that_the_record_does_not_have_is_not_given_up() {
    let on = "metadata: {name: web, namespace: shop, annotations: {config.kubernetes.io/depends-on: \
              /namespaces/shop/ConfigMap/folder}}";
    let web = config_map("web").replace("metadata: {name: web, namespace: shop}", on);
    let mut scene = Scene::new(&config_map("mine"), held(FIRST, "elsewhere", &config_map("folder")));
    scene.step(Event::Compiled {
        commit: SECOND.to_owned(),
        declared: Some(declared(&(config_map("mine") + &web))),
        findings: Vec::new(),
    });
    scene.commands.extend(recorded(&mut scene.state, scene.now));
    let folder = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "folder");
    let reads = |command: &Command| matches!(command, Command::Read(read) if read.id == folder);
    assert!(scene.commands.iter().any(reads), "{:?}", scene.commands);
    let object = live(&declared(&config_map("folder")), &folder, 7, json!({}));
    scene.step(Event::Finished(folder, Outcome::Read(Box::new(object))));
    scene.answer(&declared(&web));
    assert_eq!((scene.released(), scene.deleted(), scene.state.is_synced()), (vec![], vec![], true));
}
