//! The indices follow from the objects, whatever is done to them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::sync::plan::order::Order;

fn id(number: u8) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", &number.to_string())
}

/// One change of an object, with the object and the time that it names.
#[derive(Clone, Debug)]
enum Change {
    Queue(WorkClass),
    Send,
    WaitFor(u8),
    BackOff,
    Terminate,
    Settle,
    Fail { attempts: u32, passing: bool },
    Forgive,
    Heat,
    ReadAt,
    Overdue,
    Unlist(bool),
    BeginCommit,
}

fn change() -> impl Strategy<Value = Change> {
    let class = prop_oneof![Just(WorkClass::Repair), Just(WorkClass::Sync), Just(WorkClass::Prune)];
    prop_oneof![
        class.prop_map(Change::Queue),
        Just(Change::Send),
        (0..4_u8).prop_map(Change::WaitFor),
        Just(Change::BackOff),
        Just(Change::Terminate),
        Just(Change::Settle),
        (0..6_u32, any::<bool>()).prop_map(|(attempts, passing)| Change::Fail { attempts, passing }),
        Just(Change::Forgive),
        Just(Change::Heat),
        Just(Change::ReadAt),
        Just(Change::Overdue),
        any::<bool>().prop_map(Change::Unlist),
        Just(Change::BeginCommit),
    ]
}

fn make(objects: &mut Objects, id: &ObjectId, change: Change, at: Instant) {
    let place = |class| QueuePlace::of(class, id, &Order::default());
    match change {
        Change::Queue(class) => objects.queue(id, place(class)),
        Change::Send => {
            let place = place(WorkClass::Sync);
            objects.set_phase(
                id,
                Phase::InFlight(Box::new(InFlight {
                    place,
                    sent: Sent::Other,
                    repair: None,
                    deferred: None,
                    recorded: false,
                })),
            );
        }
        Change::WaitFor(other) => objects.set_phase(id, Phase::Waiting(super::tests::id(other))),
        Change::BackOff => objects.set_phase(id, Phase::BackingOff(at)),
        Change::Terminate => objects.set_phase(id, Phase::Terminating(at)),
        Change::Settle => objects.set_phase(id, Phase::Settled),
        Change::Fail { attempts, passing } => {
            let finding = crate::model::finding::Finding::new(crate::model::finding::Code::Applier, "no");
            let failure = FailureRecord { finding, worded_at: at, attempts, passing };
            objects.change(id, |tracked| tracked.notes_mut().failure = Some(failure));
        }
        Change::Forgive => _ = objects.forgive(id),
        Change::Heat => objects.change(id, |tracked| {
            tracked.notes_mut().heat = Some(Heat::after_repair(tracked.notes_mut().heat, at, at))
        }),
        Change::ReadAt => objects.change(id, |tracked| tracked.notes_mut().read_at = Some(at)),
        Change::Overdue => objects.change(id, |tracked| {
            let notes = tracked.notes_mut();
            notes.overdue = notes.overdue_at.replace(at).is_some();
        }),
        Change::Unlist(unlisted) => objects.change(id, |tracked| tracked.unlisted = unlisted),
        Change::BeginCommit => objects.begin_commit(),
    }
}

/// The indices made anew from the objects.
fn rebuilt(objects: &Objects) -> Indices {
    let mut indices = Indices::default();
    for (id, tracked) in objects.all() {
        indices.replace(id, &Keys::default(), &Keys::of(tracked));
    }
    indices
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn indices_are_those_of_the_objects(changes in prop::collection::vec((0..4_u8, change(), 0..5_u64), 0..60)) {
        let (mut objects, begin) = (Objects::default(), Instant::now());
        for (number, change, seconds) in changes {
            make(&mut objects, &id(number), change, begin + Duration::from_secs(seconds));
            prop_assert_eq!(&objects.indices, &rebuilt(&objects));
            prop_assert!(objects.all().values().all(|tracked| !tracked.is_blank()));
        }
    }
}

#[test]
fn the_queue_tells_repairs_from_the_work_of_a_commit() {
    let (mut objects, order) = (Objects::default(), Order::default());
    let place = |class, number| QueuePlace::of(class, &id(number), &order);
    assert!(!objects.has_commit_work() && objects.queued_repairs().next().is_none());
    objects.queue(&id(1), place(WorkClass::Repair, 1));
    assert!(!objects.has_commit_work());
    objects.queue(&id(2), place(WorkClass::Prune, 2));
    assert!(objects.has_commit_work());
    assert_eq!(objects.queued_repairs().collect::<Vec<_>>(), [&id(1)]);
    objects.queue(&id(1), place(WorkClass::Sync, 1));
    assert_eq!(objects.queued_repairs().count(), 1, "it keeps its place before the work of the commit");
    objects.queue(&id(2), place(WorkClass::Repair, 2));
    assert_eq!(objects.queued_repairs().count(), 2, "it is moved forward");
    let sent =
        InFlight { place: place(WorkClass::Sync, 3), sent: Sent::Other, repair: None, deferred: None, recorded: false };
    objects.set_phase(&id(3), Phase::InFlight(Box::new(sent)));
    objects.queue(&id(3), place(WorkClass::Repair, 3));
    assert!(objects.is_in_flight(&id(3)), "its answer is awaited");
}

/// The heat of an object that is repaired so many times at once.
fn repaired(times: usize, before: Option<Heat>, now: Instant) -> Heat {
    (0..times).fold(before, |heat, _| Some(Heat::after_repair(heat, now, now))).expect("at least once")
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn repairs_are_counted_for_about_a_minute() {
    let begin = Instant::now();
    let heat = repaired(20, None, begin);
    assert_eq!((heat.frequency(), heat.pauses()), ("about 20 times a minute".to_owned(), 15));
    let later = repaired(1, Some(heat), begin + Duration::from_secs(60));
    assert_eq!(later.frequency(), "about 8 times a minute", "a third, and this one");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn a_fight_that_is_over_begins_again_with_the_next_repair() {
    let heat = repaired(20, None, Instant::now());
    let over = heat.cools_at();
    let cooled = heat.cooled(over).expect("its repairs are not forgotten yet");
    assert!(!cooled.is_fight());
    assert_eq!(repaired(1, Some(cooled), over).frequency(), "about 6 times a minute");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn new_rights_make_the_pauses_short_again_and_take_no_failure_back() {
    let finding = crate::model::finding::Finding::new(crate::model::finding::Code::Applier, "no");
    for (passing, attempts) in [(false, 1), (true, 4)] {
        let mut record = FailureRecord { finding: finding.clone(), worded_at: Instant::now(), attempts: 9, passing };
        record.begin_anew();
        assert!(record.is_told() && record.attempts == attempts);
    }
}

#[test]
fn what_holds_others_is_deleted_after_them() {
    let place = |group: &str, kind: &str| {
        let id = ObjectId::new(&GroupKind::new(group, kind), "", "a");
        QueuePlace::of(WorkClass::Prune, &id, &Order::default())
    };
    let definition = place("apiextensions.k8s.io", "CustomResourceDefinition");
    for (group, kind) in [("", "ConfigMap"), ("", "ResourceQuota"), ("storage.k8s.io", "StorageClass")] {
        assert!(place(group, kind) < definition && definition < place("", "Namespace"), "{kind}");
    }
}
