//! Properties of the engine, tried with random events on a simulated API server: after any events in any order the cluster is as
//! the commit in force declares, and the engine never writes to an object that is not its own.
#![expect(clippy::disallowed_methods, reason = "a property test needs some instant to begin with")]

mod repository;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use agent::sync::engine::{Event, Retry};
use proptest::prelude::*;
use serde_json::json;

use repository::{OBJECTS, Repository, TAKEN, object, widget};
use world::World;
use world::api_server::{is_selected, is_taken};

/// An event that the simulated world causes.
#[derive(Clone, Debug)]
enum Happening {
    /// A commit. If it deletes many objects, the user has approved that.
    Commit(Repository),
    /// The newest commit declares other objects, because the cluster has other Namespaces and the commit follows them. If many are
    /// deleted, the user has approved that.
    Reselect(Repository),
    /// A commit that declares no object but a Namespace, without approval.
    Wipe,
    /// The user approves the newest commit.
    Approve,
    /// The repository cannot be read.
    Unreadable,
    /// Another client deletes an object.
    Delete(u8),
    /// Another client changes a field of an object.
    Change(u8),
    /// Another client removes the part-of label of an object.
    Unlabel(u8),
    /// The API server stops serving the kind Widget, or serves it again.
    Serve(bool),
    /// The oldest command is answered.
    Answer,
    /// The oldest command fails.
    Fail,
    /// The API server does not answer the oldest command.
    Away,
    /// The watches deliver their oldest event.
    Deliver,
    /// Every watch breaks and lists its kind again.
    Relist,
    /// The audit is due: the engine compares whole objects.
    Audit,
    /// A second passes.
    Wait,
    /// The agent ends, and a new one starts.
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => repository().prop_map(Happening::Commit),
        3 => repository().prop_map(|it| Happening::Reselect(Repository { broken: false, dynamic: true, ..it })),
        1 => Just(Happening::Wipe),
        1 => Just(Happening::Approve),
        1 => Just(Happening::Unreadable),
        4 => (0..OBJECTS).prop_map(Happening::Delete),
        6 => (0..OBJECTS).prop_map(Happening::Change),
        2 => (0..OBJECTS).prop_map(Happening::Unlabel),
        2 => any::<bool>().prop_map(Happening::Serve),
        20 => Just(Happening::Answer),
        2 => Just(Happening::Fail),
        2 => Just(Happening::Away),
        20 => Just(Happening::Deliver),
        2 => Just(Happening::Relist),
        2 => Just(Happening::Audit),
        4 => Just(Happening::Wait),
        2 => Just(Happening::Restart),
    ]
}

fn repository() -> impl Strategy<Value = Repository> {
    let objects = prop::collection::btree_map(0..OBJECTS, 0..3u8, 1..5);
    let widgets = prop::collection::btree_map(0..2u8, 0..3u8, 0..2);
    (objects, widgets, any::<bool>(), prop::bool::weighted(0.15), any::<bool>()).prop_map(
        |(objects, widgets, chained, broken, dynamic)| Repository {
            objects,
            widgets,
            chained,
            broken,
            wiped: false,
            dynamic,
        },
    )
}

fn happen(world: &mut World, happening: Happening) {
    match happening {
        Happening::Commit(repository) => world.commit(repository, true),
        Happening::Reselect(repository) => world.reselect(repository),
        Happening::Wipe => world.commit(Repository::wiped(), false),
        Happening::Approve => world.approve(),
        Happening::Unreadable => world.unreadable(),
        Happening::Delete(index) => world.remove(&object(index)),
        Happening::Change(index) => world.change(&object(index)),
        Happening::Unlabel(index) => world.unlabel(&object(index)),
        Happening::Serve(served) => world.serve(served),
        Happening::Answer => world.answer(),
        Happening::Fail => world.fail(Retry::Object),
        Happening::Away => world.fail(Retry::Server(Duration::ZERO)),
        Happening::Deliver => world.deliver(),
        Happening::Relist => world.relist(),
        Happening::Audit => world.step(Event::AuditDue),
        Happening::Wait => world.wait(Duration::from_secs(1)),
        Happening::Restart => world.restart(),
    }
}

/// Checks that the cluster has every object that the commit in force declares, and no other object of the sync.
fn is_as_in_force(world: &World) -> Result<(), TestCaseError> {
    let Some((in_force, with_widgets)) = world.in_force() else { return Ok(()) };
    let ids = (0..OBJECTS).map(|index| (object(index), in_force.objects.get(&index)));
    let widgets = (0..if with_widgets { 2 } else { 0 }).map(|index| (widget(index), in_force.widgets.get(&index)));
    for (id, declared) in ids.chain(widgets) {
        let live = world.live.get(&id);
        if live.is_some_and(is_taken) {
            continue;
        }
        // An object without the part-of label does not belong to the sync: it stays when it is not declared any more.
        let live = live.filter(|live| declared.is_some() || is_selected(live));
        let declared = declared.map(|version| json!(version.to_string()));
        prop_assert_eq!(live.map(|live| live.0["data"]["v"].clone()), declared, "{} of {:?}", id, in_force);
    }
    Ok(())
}

/// The number of random sequences. One takes some milliseconds, and CI has time for more of them.
fn cases() -> u32 {
    if std::env::var_os("CI").is_some() { 2000 } else { 250 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_rest_as_declared(happenings in prop::collection::vec(happening(), 1..60)) {
        let mut world = World::new();
        let strangers = world.strangers();
        for happening in happenings {
            happen(&mut world, happening);
        }
        world.serve(true);
        // Long enough for the last wait of anything that is tried again and again.
        world.rest_for(Duration::from_secs(3600));
        is_as_in_force(&world)?;

        world.remove(&object(TAKEN));
        world.commit(Repository::new([(0, 0), (1, 1), (2, 2), (TAKEN, 0)]), true);
        world.rest();
        prop_assert!(world.state.is_synced(), "{:#?}", world.state.last_report());
        is_as_in_force(&world)?;
        prop_assert_eq!(world.strangers(), strangers);

        // The same commit again needs no write.
        let writes = world.writes;
        world.commit(world.newest().clone(), true);
        world.relist();
        world.rest();
        prop_assert_eq!(world.writes, writes);
    }

    #[test]
    fn a_restart_writes_nothing(objects in prop::collection::btree_map(0..OBJECTS, 0..3u8, 1..6), chained in any::<bool>()) {
        let mut world = World::new();
        world.remove(&object(TAKEN));
        world.commit(Repository { objects, chained, widgets: BTreeMap::from([(0, 0)]), ..Repository::default() }, true);
        world.rest();
        let writes = world.writes;
        world.restart();
        world.rest();
        prop_assert!(world.state.is_synced());
        prop_assert_eq!(world.writes, writes);
    }
}

/// A commit is compiled for other Namespaces while an object is made that it does not declare any more, and then a commit comes that is
/// held.
#[test]
fn what_follows_namespaces_comes_in_force_beside_a_held_commit() {
    let repository = |version, widgets: bool| Repository {
        objects: BTreeMap::from([(0, version)]),
        widgets: widgets.then_some((0, 0)).into_iter().collect(),
        dynamic: true,
        ..Repository::default()
    };
    let mut world = World::new();
    world.commit(repository(0, true), true);
    (0..3).for_each(|_| world.deliver());
    world.serve(false);
    (0..5).for_each(|_| world.deliver());
    world.reselect(repository(1, false));
    world.commit(Repository::wiped(), false);
    world.serve(true);
    world.rest_for(Duration::from_secs(3600));
    is_as_in_force(&world).unwrap();
    assert_eq!(world.in_force().map(|(in_force, _)| in_force.wiped), Some(false));
}

/// The apply of an object that another sync had is under way while the commit is compiled for other Namespaces without it, and the
/// other sync's object goes.
#[test]
fn an_object_that_was_applied_for_the_namespaces_of_before_is_deleted() {
    let repository = |objects: &[u8], widgets: bool, dynamic| Repository {
        objects: objects.iter().map(|index| (*index, 0)).collect(),
        widgets: widgets.then_some((0, 0)).into_iter().collect(),
        dynamic,
        ..Repository::default()
    };
    let mut world = World::new();
    world.commit(repository(&[0], false, false), true);
    world.deliver();
    world.commit(repository(&[TAKEN], false, true), true);
    (0..4).for_each(|_| world.deliver());
    world.step(Event::AuditDue);
    world.answer();
    world.approve();
    world.reselect(repository(&[0], true, true));
    world.remove(&object(TAKEN));
    world.rest_for(Duration::from_secs(3600));
    is_as_in_force(&world).unwrap();
}
