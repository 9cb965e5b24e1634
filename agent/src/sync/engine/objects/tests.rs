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
