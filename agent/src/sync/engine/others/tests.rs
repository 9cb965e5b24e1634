//! Objects that move to another sync, and Namespaces with objects of another one.

mod moved_late;
mod shared;

use serde_json::json;

use super::super::tests::{applied, begin_sync, declared, deleted, live, recorded};
use super::*;
use crate::model::metadata::annotation;
use crate::sync::engine::{ApplyMode, Event, Outcome};
use crate::sync::live::Observed;

const FIRST: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const SECOND: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const MINE: &str = ":root";
const OTHER: &str = ":root_other";

fn config_map(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: shop}}\n")
}

fn namespace(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
}

/// A sync whose objects are applied, beside one other.
struct Scene {
    state: State,
    now: Instant,
    commands: Vec<Command>,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn new(manifests: &str, other: Holdings) -> Self {
        let (set, now) = (declared(manifests), Instant::now());
        let (state, commands) = begin_sync(&set, Duration::from_secs(300), now);
        let mut scene = Self { state, now, commands };
        scene.tell(other);
        scene.answer(&set);
        assert!(scene.state.is_synced(), "{:#?}", scene.state.last_report());
        scene
    }

    fn step(&mut self, event: Event) {
        let commands = self.state.step(event, self.now);
        self.commands.extend(commands);
    }

    fn tell(&mut self, other: Holdings) {
        self.tell_all([(OTHER.to_owned(), other)].into());
    }

    fn tell_all(&mut self, mut syncs: AllSyncs) {
        let mine = self.commands.iter().rev().find_map(|command| match command {
            Command::Share(held) => Some(Holdings::Known(Arc::clone(held))),
            _ => None,
        });
        syncs.insert(MINE.to_owned(), mine.unwrap_or_default());
        self.step(Event::Syncs(Arc::new(syncs)));
    }

    /// All objects are applied, and every record is written.
    fn answer(&mut self, set: &DeclaredSet) {
        while let Some(at) = self.commands.iter().position(|command| matches!(command, Command::Apply(..))) {
            let Command::Apply(object, ..) = self.commands.remove(at) else { continue };
            let status = json!({"phase": "Active"});
            self.step(Event::Finished(object.id.clone(), applied(&live(set, &object.id, 5, status))));
        }
        self.commands.extend(recorded(&mut self.state, self.now));
    }

    fn commit(&mut self, commit: &str, manifests: &str) {
        let set = declared(manifests);
        self.compile(commit, &set);
        self.answer(&set);
    }

    fn compile(&mut self, commit: &str, set: &Arc<DeclaredSet>) {
        let (commit, declared) = (commit.to_owned(), Some(Arc::clone(set)));
        self.step(Event::Compiled { commit, declared, findings: Vec::new() });
    }

    /// `true` if the others know of the object as one that this sync declares or has.
    fn is_shared(&self, id: &ObjectId) -> bool {
        let shared = self.commands.iter().rev().find_map(|command| match command {
            Command::Share(held) => Some(held.has(id)),
            _ => None,
        });
        shared == Some(true)
    }

    fn deleted(&self) -> Vec<String> {
        deleted(&self.commands).iter().map(|id| id.name().to_owned()).collect()
    }

    fn released(&self) -> Vec<&str> {
        let ids = self.commands.iter().filter_map(|command| match command {
            Command::Abandon(id) => Some(id.name()),
            _ => None,
        });
        ids.collect()
    }

    fn findings(&self) -> Vec<String> {
        let findings = self.state.last_report().sync.findings;
        findings.into_iter().map(|finding| format!("{} {}", finding.code, finding.message)).collect()
    }
}

fn held(commit: &str, repo: &str, manifests: &str) -> Holdings {
    let git = Arc::new(GitStatus { repo: repo.to_owned(), ..GitStatus::default() });
    let (commit, declared, left) = (commit.to_owned(), vec![declared(manifests)], BTreeSet::new());
    Holdings::Known(Arc::new(HeldObjects { git, commits: vec![commit.clone()], commit, declared, left }))
}

#[test]
fn an_object_that_another_sync_declares_is_released_and_not_deleted() {
    let both = config_map("stays") + &config_map("moves") + &config_map("goes");
    let mut scene = Scene::new(&both, held(FIRST, "elsewhere", &config_map("moves")));
    scene.commit(SECOND, &config_map("stays"));
    assert_eq!((scene.deleted(), scene.released()), (vec!["goes".to_owned()], vec!["moves"]));
}

/// The other sync goes with the agent too: an object that goes over to it at that moment would be left in the cluster.
#[test]
fn a_sync_that_goes_with_the_agent_leaves_nothing_to_others() {
    for (undeclared, deleted) in [(Undeclared::Deleted, vec![]), (Undeclared::Uninstalled, vec!["both".to_owned()])] {
        let mut scene = Scene::new(&config_map("both"), held(FIRST, "elsewhere", &config_map("both")));
        let tenant = SyncId::repo("shop", "repo-sync").manager();
        let others = [OTHER.to_owned(), tenant].map(|sync| (sync, held(FIRST, "elsewhere", &config_map("both"))));
        scene.tell_all(others.into());
        let declared = Some(Arc::new(DeclaredSet { undeclared, ..DeclaredSet::default() }));
        scene.step(Event::Compiled { commit: FIRST.to_owned(), declared, findings: Vec::new() });
        scene.commands.extend(recorded(&mut scene.state, scene.now));
        assert_eq!(scene.deleted(), deleted, "{undeclared:?}");
        let heirs = scene
            .commands
            .iter()
            .any(|command| matches!(command, Command::Delete(_, _, _, heirs) if !heirs.is_empty()));
        assert!(!heirs, "{undeclared:?}");
    }
}

/// An object with owners is not deleted, since it goes with them. Another sync that declares it has it all the same.
#[test]
fn an_object_with_owners_is_released_to_another_sync() {
    let both = config_map("stays") + &config_map("moves");
    let mut scene = Scene::new(&both, held(FIRST, "elsewhere", ""));
    let moves = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "moves");
    let mut object = live(&declared(&both), &moves, 6, json!({}));
    object.metadata_mut().insert("ownerReferences".into(), json!([{"uid": "x"}]));
    scene.step(Event::Seen(moves, Box::new(Observed::of(&object))));
    scene.commit(SECOND, &config_map("stays"));
    assert_eq!((scene.deleted(), scene.released()), (vec![], vec![]));
    assert!(scene.findings()[0].contains("ownerReferences"), "{:?}", scene.findings());
    scene.tell(held(FIRST, "elsewhere", &config_map("moves")));
    assert_eq!((scene.deleted(), scene.released()), (vec![], vec!["moves"]));
}

/// While the sync puts the label back that another client took off, a commit comes that does not declare the object any more: it is
/// not the sync's then, and other syncs hear of that.
#[test]
fn an_object_that_lost_its_label_and_is_not_declared_any_more_is_free_for_others() {
    let both = config_map("stays") + &config_map("moves");
    let mut scene = Scene::new(&both, held(FIRST, "elsewhere", ""));
    let moves = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "moves");
    scene.step(Event::Gone(moves.clone(), 9));
    let (set, mut unlabelled) = (declared(&config_map("stays")), live(&declared(&both), &moves, 9, json!({})));
    unlabelled.metadata_mut().remove("labels");
    scene.step(Event::Compiled { commit: SECOND.to_owned(), declared: Some(set), findings: Vec::new() });
    scene.step(Event::Finished(moves.clone(), Outcome::Read(Box::new(unlabelled))));
    let shared = scene.commands.iter().rev().find_map(|command| match command {
        Command::Share(held) => Some(held.has(&moves)),
        _ => None,
    });
    assert_eq!(shared, Some(false));
}

/// The first list that shows an object again after others could not be read says that another client has given it to another sync.
#[test]
fn an_object_that_was_given_away_while_nothing_was_listed_is_free_for_others() {
    let both = config_map("stays") + &config_map("moves");
    let mut scene = Scene::new(&both, held(FIRST, "elsewhere", ""));
    let kind = GroupKind::new("", "ConfigMap");
    let moves = ObjectId::new(&kind, "shop", "moves");
    scene.step(Event::Listing(kind.clone(), 2));
    scene.step(Event::Unlistable(kind.clone(), Finding::new(Code::ApiServer, "no")));
    scene.commit(SECOND, &config_map("stays"));
    assert!(scene.is_shared(&moves));
    let mut given = live(&declared(&both), &moves, 9, json!({}));
    given.metadata_mut()["annotations"][annotation::MANAGER] = OTHER.into();
    scene.step(Event::Listing(kind, 3));
    scene.step(Event::Seen(moves.clone(), Box::new(Observed::of(&given))));
    assert!(!scene.is_shared(&moves), "{:?}", scene.commands);
}

/// A sync that takes an object over, which a commit declares beside another one. The apply is unanswered.
fn taking_over() -> (Scene, Arc<DeclaredSet>, ObjectId) {
    let mut scene = Scene::new(&config_map("stays"), held(FIRST, "elsewhere", &config_map("moves")));
    let set = declared(&(config_map("stays") + &config_map("moves")));
    let moves = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "moves");
    scene.compile(SECOND, &set);
    scene.commands.extend(recorded(&mut scene.state, scene.now));
    let mut of_nobody = live(&set, &moves, 6, json!({}));
    of_nobody.metadata_mut().remove("labels");
    scene.step(Event::Finished(moves.clone(), Outcome::Read(Box::new(of_nobody))));
    assert!(
        matches!(scene.commands.last(), Some(Command::Apply(_, _, ApplyMode::TakeOver(6)))),
        "{:?}",
        scene.commands
    );
    (scene, set, moves)
}

/// The other sync would take it for one that names a sync that does not have it.
#[test]
fn an_object_that_is_just_taken_over_stays_known_to_the_others_when_a_commit_comes_without_it() {
    let (mut scene, set, moves) = taking_over();
    scene.compile(FIRST, &declared(&config_map("stays")));
    assert!(scene.is_shared(&moves));
    scene.step(Event::Finished(moves.clone(), applied(&live(&set, &moves, 7, json!({})))));
    assert!(scene.is_shared(&moves));
    scene.commands.extend(recorded(&mut scene.state, scene.now));
    assert_eq!(scene.released(), ["moves"]);
}

#[test]
fn an_object_that_was_taken_over_by_an_apply_without_an_answer_is_made_known_to_the_others() {
    let (mut scene, set, moves) = taking_over();
    let finding = Finding::new(Code::ApiServer, "no answer");
    let failure = Failure { finding, retry: Retry::Object, refused: false };
    scene.step(Event::Finished(moves.clone(), Outcome::Failed(failure)));
    scene.compile(FIRST, &declared(&config_map("stays")));
    assert!(scene.is_shared(&moves), "it may be the sync's");
    scene.step(Event::Seen(moves.clone(), Box::new(Observed::of(&live(&set, &moves, 7, json!({}))))));
    assert!(scene.is_shared(&moves));
}

/// Every client can apply an object under the field manager of all syncs, and name one that has nothing to do with it.
#[test]
fn an_object_that_names_a_sync_that_does_not_have_it_is_free() {
    let scene = Scene::new(&config_map("mine"), held(FIRST, "elsewhere", &config_map("theirs")));
    let is_ownerless = |name: &str, manager: &str| {
        let set = declared(&config_map(name));
        let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", name);
        let mut other =
            Live::observe(&Observed::of(&live(&set, &id, 7, json!({}))), &id, &SyncId::root("x"), None, None);
        other.owner = Owner::Other(manager.into());
        scene.state.is_ownerless(&id, &other)
    };
    assert_eq!(
        [is_ownerless("theirs", OTHER), is_ownerless("mine", OTHER), is_ownerless("mine", "tenant")],
        [false, true, true]
    );
}

#[test]
fn an_object_that_another_sync_gives_up_is_taken_over() {
    let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "both");
    let theirs = || held(FIRST, "elsewhere", &config_map("both"));
    let applies = |scene: &Scene| scene.commands.iter().any(|command| matches!(command, Command::Apply(..)));
    let gone: AllSyncs = AllSyncs::new();
    let given_up: AllSyncs = [(OTHER.to_owned(), held(SECOND, "elsewhere", ""))].into();
    for syncs in [gone, given_up] {
        let mut scene = Scene::new(&config_map("both"), theirs());
        let mut object = live(&declared(&config_map("both")), &id, 6, json!({}));
        object.0["metadata"]["annotations"]["configsync.gke.io/manager"] = OTHER.into();
        let named = json!({"f:metadata": {"f:annotations": {"f:configsync.gke.io/manager": {}}}});
        object.0["metadata"]["managedFields"][0]["fieldsV1"] = named;
        scene.step(Event::Seen(id.clone(), Box::new(Observed::of(&object))));
        assert!(!applies(&scene) && scene.findings()[0].starts_with("KNV1060"), "{:?}", scene.findings());
        scene.tell(theirs());
        assert!(!applies(&scene));
        scene.tell_all(syncs);
        assert!(applies(&scene), "{:?}", scene.commands);
    }
}

/// The failed attempt is not made again.
#[test]
fn an_object_that_goes_to_another_sync_is_told_once() {
    let id = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "both");
    let mut scene = Scene::new(&config_map("stays"), held(FIRST, "elsewhere", &config_map("both")));
    let set = declared(&(config_map("stays") + &config_map("both")));
    scene.compile(SECOND, &set);
    scene.commands.extend(recorded(&mut scene.state, scene.now));
    let finding = Finding::new(Code::InsufficientPermission, "forbidden");
    let failure = Failure { finding, retry: Retry::Object, refused: true };
    scene.step(Event::Finished(id.clone(), Outcome::Failed(failure)));
    assert_eq!(scene.findings(), ["KNV2013 forbidden"]);
    let mut object = live(&set, &id, 6, json!({}));
    object.metadata_mut()["annotations"][annotation::MANAGER] = OTHER.into();
    object.metadata_mut()["managedFields"][0]["fieldsV1"] =
        json!({"f:metadata": {"f:annotations": {"f:configsync.gke.io/manager": {}}}});
    scene.step(Event::Seen(id, Box::new(Observed::of(&object))));
    let findings = scene.findings();
    assert!(findings.len() == 1 && findings[0].starts_with("KNV1060"), "{findings:?}");
}

/// The others wait for what a sync has before they delete a Namespace, and take over what it has no more.
#[test]
fn the_others_hear_which_objects_a_sync_declares_or_still_has() {
    let both = config_map("stays") + &config_map("goes");
    let mut scene = Scene::new(&both, held(FIRST, "elsewhere", ""));
    let id = |name: &str| ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", name);
    let shared = |scene: &mut Scene| {
        let commands = std::mem::take(&mut scene.commands);
        let shared = commands.into_iter().filter_map(|command| match command {
            Command::Share(held) => Some([held.has(&id("stays")), held.has(&id("goes"))]),
            _ => None,
        });
        shared.collect::<Vec<_>>()
    };
    assert_eq!(shared(&mut scene).last(), Some(&[true, true]));
    scene.step(Event::Woken);
    assert_eq!(shared(&mut scene), [[false; 2]; 0], "nothing is new");
    scene.commit(SECOND, &config_map("stays"));
    assert_eq!(shared(&mut scene).last(), Some(&[true, true]), "it is still there");
    scene.step(Event::Finished(id("goes"), Outcome::Deleted));
    assert_eq!(shared(&mut scene), [[false; 2]; 0]);
    scene.step(Event::Gone(id("goes"), 9));
    assert_eq!(shared(&mut scene), [[true, false]]);
}

/// An object that moves is not deleted, so that it does not count for the guard.
#[test]
fn objects_that_move_are_not_held_by_the_guard() {
    let maps = |numbers: std::ops::Range<usize>| numbers.map(|n| config_map(&format!("c{n}"))).collect::<String>();
    let mut scene = Scene::new(&maps(0..30), held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &maps(20..30));
    assert!(scene.findings()[0].starts_with("KNV2006"), "{:?}", scene.findings());
    scene.commands.clear();
    scene.tell(held(SECOND, "elsewhere", ""));
    assert!(scene.commands.is_empty(), "nothing is judged again: {:?}", scene.commands);
    scene.tell(held(SECOND, "elsewhere", &maps(0..20)));
    scene.answer(&declared(&maps(20..30)));
    assert_eq!((scene.deleted(), scene.released().len()), (vec![], 20));
    assert_eq!(scene.findings(), [""; 0]);
}

#[test]
fn a_namespace_with_objects_of_another_sync_stays_until_they_leave() {
    let all = namespace("shop") + &namespace("other") + &config_map("mine");
    let mut scene = Scene::new(&all, held(FIRST, "elsewhere", &config_map("theirs")));
    scene.commit(SECOND, &namespace("other"));
    assert_eq!(scene.deleted(), ["mine"]);
    let mine = deleted(&scene.commands).remove(0);
    scene.step(Event::Finished(mine.clone(), Outcome::Deleted));
    scene.step(Event::Gone(mine, 9));
    for _ in 0..5 {
        scene.now = scene.state.next_wake().expect("it is tried again");
        scene.step(Event::Woken);
    }
    assert_eq!(scene.deleted(), ["mine"]);
    let told = scene.findings();
    assert!(told[0].starts_with("KNV2009 skipped delete of namespace/shop: the sync \":root_other\" has "), "{told:?}");
    scene.tell(held(SECOND, "elsewhere", ""));
    assert_eq!(scene.deleted(), ["mine", "shop"]);
}

#[test]
fn a_namespace_goes_after_the_objects_in_it() {
    let all = namespace("shop") + &namespace("other") + &config_map("mine");
    let mut scene = Scene::new(&all, held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &namespace("other"));
    assert_eq!(scene.deleted(), ["mine"]);
    let mine = deleted(&scene.commands).remove(0);
    scene.step(Event::Finished(mine.clone(), Outcome::Deleted));
    assert_eq!(scene.deleted(), ["mine"], "it may have finalizers");
    scene.step(Event::Gone(mine, 9));
    assert_eq!(scene.deleted(), ["mine", "shop"]);
}

#[test]
fn a_namespace_with_a_declared_object_stays() {
    let all = namespace("shop") + &namespace("other") + &config_map("mine");
    let mut scene = Scene::new(&all, held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &(namespace("other") + &config_map("mine")));
    assert_eq!(scene.deleted(), Vec::<String>::new());
    let told = scene.findings();
    let expected = "KNV2009 skipped delete of namespace/shop: configmap/shop/mine is still declared in it";
    assert_eq!(told, [expected]);
}

#[test]
fn nothing_is_deleted_before_every_sync_has_told_its_objects() {
    let mut scene = Scene::new(&(config_map("stays") + &config_map("goes")), Holdings::Untold);
    scene.commit(SECOND, &config_map("stays"));
    assert!(scene.deleted().is_empty() && !scene.state.is_idle());
    scene.tell(Holdings::Unreadable);
    assert_eq!(scene.deleted(), ["goes"]);
}

#[test]
fn deletions_wait_for_the_other_syncs_of_the_repository_to_read_the_commit() {
    let both = config_map("stays") + &config_map("moves");
    let begin = || {
        let mut scene = Scene::new(&both, held(FIRST, "", ""));
        scene.commit(SECOND, &config_map("stays"));
        assert!(scene.deleted().is_empty() && scene.released().is_empty());
        scene
    };
    let mut moved = begin();
    moved.tell(held(SECOND, "", &config_map("moves")));
    assert_eq!((moved.deleted(), moved.released()), (vec![], vec!["moves"]));
    moved.now += READ_TOO * 2;
    moved.step(Event::Woken);
    assert!(moved.state.next_wake().is_none_or(|wake| wake > moved.now), "nothing waits any more");

    let mut late = begin();
    let began = late.now;
    while late.deleted().is_empty() && late.now < began + Duration::from_secs(60) {
        late.now = late.state.next_wake().expect("it does not wait for ever");
        late.step(Event::Woken);
    }
    assert_eq!((late.deleted(), late.now), (vec!["moves".to_owned()], began + READ_TOO));
}

/// Two syncs that declare each other are deleted.
#[test]
fn a_sync_that_goes_after_this_one_is_not_waited_for() {
    let kind = GroupKind::new("configsync.gke.io", "RootSync");
    let manifest = |name: &str| {
        format!(
            "---\napiVersion: configsync.gke.io/v1beta1\nkind: RootSync\n\
             metadata: {{name: {name}, namespace: config-management-system}}\nspec: {{}}\n"
        )
    };
    let all = config_map("stays") + &manifest("other");
    let mut scene = Scene::new(&all, held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &config_map("stays"));
    let other = ObjectId::new(&kind, "config-management-system", "other");
    assert_eq!(scene.deleted(), ["other"]);
    scene.step(Event::Finished(other, Outcome::Deleted));
    scene.commands.extend(recorded(&mut scene.state, scene.now));
    assert!(!scene.state.is_synced(), "the other sync is there");
    // It has a third one, which has this one.
    let syncs = |last: &str| {
        let of = |name: &str| {
            let id = ObjectId::new(&kind, "config-management-system", name);
            Holdings::Known(Arc::new(HeldObjects::recorded([id].into())))
        };
        let mine = (MINE.to_owned(), Holdings::Known(Arc::default()));
        [mine, (OTHER.to_owned(), of("third")), (":root_third".to_owned(), of(last))]
    };
    scene.step(Event::Syncs(Arc::new(syncs("other").into_iter().collect())));
    assert!(!scene.state.is_synced(), "a circle that this sync is not in");
    let apart = [(":root_apart".to_owned(), syncs("root-sync")[2].1.clone())];
    scene.step(Event::Syncs(Arc::new(syncs("other").into_iter().chain(apart).collect())));
    assert!(!scene.state.is_synced(), "another sync has this one");
    scene.step(Event::Syncs(Arc::new(syncs("root-sync").into_iter().collect())));
    scene.commands.extend(recorded(&mut scene.state, scene.now));
    assert!(scene.state.is_synced(), "{:#?}", scene.state.last_report());
}

/// One commit makes a sync and moves an object to it, which that sync declares a moment later.
#[test]
fn an_object_that_moves_to_a_sync_of_the_same_commit_is_released() {
    let child = "---\napiVersion: configsync.gke.io/v1beta1\nkind: RootSync\n\
                 metadata: {name: child, namespace: config-management-system}\nspec: {}\n";
    let mut scene = Scene::new(&(config_map("stays") + &config_map("moves")), held(FIRST, "elsewhere", ""));
    scene.commit(SECOND, &(config_map("stays") + child));
    scene.step(Event::Served(GroupKind::new("configsync.gke.io", "RootSync"), "rootsyncs".into(), BTreeSet::new()));
    scene.step(Event::Listing(GroupKind::new("configsync.gke.io", "RootSync"), 2));
    scene.step(Event::Listed(GroupKind::new("configsync.gke.io", "RootSync"), 2));
    scene.commands.extend(recorded(&mut scene.state, scene.now));
    scene.answer(&declared(&(config_map("stays") + child)));
    assert!(scene.deleted().is_empty() && scene.released().is_empty());
    let syncs = |held| [(MINE.to_owned(), Holdings::Known(Arc::default())), (":root_child".to_owned(), held)];
    scene.step(Event::Syncs(Arc::new(syncs(Holdings::Untold).into_iter().collect())));
    assert!(scene.deleted().is_empty() && scene.released().is_empty());
    scene.step(Event::Syncs(Arc::new(syncs(held(SECOND, "", &config_map("moves"))).into_iter().collect())));
    assert_eq!((scene.deleted(), scene.released()), (vec![], vec!["moves"]));
}

/// A sync that goes may take its objects along, for which it needs its rights. One that does not come to its end does not keep them.
#[test]
fn rights_go_after_the_syncs_that_go_with_them() {
    let rights = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: tenant, namespace: shop}\nrules: []\n";
    let sync =
        "---\napiVersion: configsync.gke.io/v1beta1\nkind: RepoSync\nmetadata: {name: repo-sync, namespace: shop}\n";
    let all = config_map("stays") + rights + sync;
    for ends in [true, false] {
        let mut scene = Scene::new(&all, held(FIRST, "elsewhere", ""));
        scene.commit(SECOND, &config_map("stays"));
        assert_eq!(scene.deleted(), ["repo-sync"]);
        let sync = ObjectId::new(&sync_kind(SyncKind::RepoSync), "shop", "repo-sync");
        let mut going = live(&declared(&all), &sync, 6, json!({}));
        going.metadata_mut().insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
        scene.step(Event::Finished(sync.clone(), Outcome::Deleted));
        scene.step(Event::Seen(sync.clone(), Box::new(Observed::of(&going))));
        scene.now += Duration::from_secs(299);
        scene.step(Event::Woken);
        assert_eq!(scene.deleted(), ["repo-sync"], "it is still there");
        if ends {
            scene.step(Event::Gone(sync, 7));
        } else {
            scene.now += Duration::from_secs(2);
            scene.step(Event::Woken);
        }
        assert_eq!(scene.deleted(), ["repo-sync", "tenant"]);
    }
}

/// The API server says at the deletion if a RepoSync that declares the object may make it. Rights go over to no tenant.
#[test]
fn an_object_goes_over_to_a_repo_sync_that_may_make_it() {
    let rights = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: given, namespace: shop}\nrules: []\n";
    let moves = config_map("moves") + rights;
    let mut scene = Scene::new(&(config_map("stays") + &moves + &config_map("goes")), held(FIRST, "elsewhere", ""));
    let (repo, other) = (SyncId::repo("shop", "repo-sync"), SyncId::repo("bank", "repo-sync"));
    let tenant = || held(FIRST, "tenant", &moves);
    scene.tell_all([(repo.manager(), tenant()), (other.manager(), tenant())].into());
    scene.commit(SECOND, &config_map("stays"));
    let heirs = |name: &str| {
        let heirs = scene.commands.iter().filter_map(|command| match command {
            Command::Delete(id, _, _, heirs) if id.name() == name => Some(heirs.clone()),
            _ => None,
        });
        heirs.collect::<Vec<_>>()
    };
    assert_eq!((heirs("moves"), heirs("goes")), (vec![vec![repo]], vec![vec![]]));
    let given = ObjectId::new(&GroupKind::new("rbac.authorization.k8s.io", "Role"), "shop", "given");
    assert_eq!(scene.state.heirs(&given), []);
    let moves = ObjectId::new(&GroupKind::new("", "ConfigMap"), "shop", "moves");
    scene.step(Event::Finished(moves.clone(), Outcome::Abandoned));
    assert!(scene.state.objects.live(&moves).is_none(), "it is the other sync's");
}

/// One commit of one repository moves an object from a RootSync to a RepoSync that the RootSync declares. A RepoSync that a tenant has made
/// delays no deletion.
#[test]
fn deletions_wait_for_the_declared_repo_syncs_of_the_repository_to_read_the_commit() {
    let sync = "---\napiVersion: configsync.gke.io/v1beta1\nkind: RepoSync\nmetadata: {name: repo-sync, namespace: shop}\nspec: {git: {repo: ''}}\n";
    let tenant = |held: Holdings| AllSyncs::from([(SyncId::repo("shop", "repo-sync").manager(), held)]);
    for (declared_sync, then) in [(sync, None), (sync, Some("")), ("", Some("goes"))] {
        let stays = config_map("stays") + declared_sync;
        let mut scene = Scene::new(&(stays.clone() + &config_map("goes")), held(FIRST, "elsewhere", ""));
        scene.tell_all(tenant(then.map_or(Holdings::Untold, |_| held(FIRST, "", ""))));
        scene.commit(SECOND, &stays);
        assert_eq!(scene.deleted(), Vec::from_iter(then.filter(|name| !name.is_empty())), "{declared_sync} {then:?}");
        scene.tell_all(tenant(held(SECOND, "", &config_map("goes"))));
        assert_eq!(scene.deleted(), ["goes"]);
        let with_heir = |command: &Command| matches!(command, Command::Delete(.., heirs) if heirs.len() == 1);
        assert_eq!(scene.commands.iter().any(with_heir), !declared_sync.is_empty());
    }
}
