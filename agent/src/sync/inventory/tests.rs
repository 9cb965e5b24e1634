//! Groups of a large inventory, and the statuses of objects in them.

use super::*;
use crate::sync::plan::memory::Proof;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
fn now() -> Moment {
    Moment { instant: std::time::Instant::now(), time: Time::from_unix(1) }
}

fn ids(range: std::ops::Range<usize>) -> BTreeSet<ObjectId> {
    range.map(|i| ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", &format!("name-{i:06}"))).collect()
}

#[test]
fn fifty_thousand_objects_fit_and_stay_in_their_groups() {
    let mut groups = Groups::default();
    groups.assign(&ids(0..50_000));
    assert!(groups.0.iter().all(|group| group.iter().map(bytes).sum::<usize>() <= BYTES));
    assert_eq!(groups.0.iter().map(BTreeSet::len).sum::<usize>(), 50_000);
    let before = groups.clone();
    groups.assign(&ids(1..50_001));
    let moved = before.0.iter().zip(&groups.0).filter(|(a, b)| a != b).count();
    assert!(moved <= 2, "{moved} groups rewritten for one object less and one more");
}

#[test]
fn names_of_groups_are_those_that_a_sync_gives() {
    let sync = SyncId::root("root-sync");
    for index in [0, 1, 2, 41] {
        assert!(InventoryRecord::is_name(&sync, &group_name(&sync, index)), "{index}");
    }
    let second = group_name(&sync, 1);
    for other in ["", "root-sync-2", "root-sync-", "other", &second.replace("-2", "-1"), &second.replace("-2", "-02")] {
        assert!(!InventoryRecord::is_name(&sync, other), "{other}");
    }
}

#[test]
fn a_full_group_fits_into_etcd_whatever_its_messages_are() {
    /// As the API server stores it.
    fn stored(value: &Value) -> usize {
        let text = value.to_string();
        text.len() + 5 * text.matches(['<', '>', '&']).count()
    }
    let sync = SyncId::root("root-sync");
    for message in ["<", "\u{1}", "\"", "x", "é"] {
        let ids: BTreeSet<ObjectId> =
            (0..5_000).map(|i| ObjectId::new(&GroupKind::new("", "A"), "", &i.to_string())).collect();
        let mut inventory = InventoryRecord::new(&sync, BTreeMap::new());
        inventory.assign(&ids);
        let (index, spec) = inventory.next_spec(0, &sync, true).expect("the group is new");
        inventory.written(index, WrittenGroup::default());
        let state = |id: &ObjectId| ResourceState {
            id: id.clone(),
            health: Health::Failed(message.repeat(100_000).into()),
            token: "0123456789012345678901234567890123456789".to_owned(),
            failed: true,
            pruning: false,
            late: false,
            skipped: false,
            waits_for: Some(id.clone()),
            stale: false,
            other: None,
            rewritten: Box::new([message.repeat(1_000)]),
        };
        let states: Vec<ResourceState> = ids.iter().map(state).collect();
        let now = Time::from_unix(0);
        let (_, status) = inventory.next_status(0, &sync, &states, &now).expect("it changes");
        let bytes = stored(&spec.body) + stored(&status.body);
        assert!(bytes < 3 << 19, "{message:?}: {bytes}");
    }
}

#[test]
fn an_object_that_waits_has_a_condition_that_names_the_other() {
    let [id, other] = [0, 1].map(|number| ids(number..number + 1).pop_first().expect("one"));
    let state = ResourceState {
        id,
        health: Health::Unknown,
        token: String::new(),
        failed: false,
        pruning: false,
        late: false,
        skipped: false,
        waits_for: Some(other.clone()),
        stale: false,
        other: None,
        rewritten: Box::default(),
    };
    let status = resource_status(&state, &ResourceGroupStatus::default(), &Time::from_unix(0));
    let [condition] = status.conditions.as_slice() else { panic!("{status:?}") };
    assert_eq!((&*condition.kind, &*condition.status), ("Waiting", "True"));
    assert_eq!(condition.message, format!("it waits for {other}"));
}

#[test]
fn an_object_of_another_sync_has_the_condition_for_that() {
    let id = ids(0..1).pop_first().expect("one");
    let state = |other: Option<&str>| ResourceState {
        id: id.clone(),
        health: Health::Current,
        token: "abc".to_owned(),
        failed: false,
        pruning: false,
        late: false,
        skipped: other.is_some(),
        waits_for: None,
        stale: false,
        other: other.map(Into::into),
        rewritten: Box::default(),
    };
    let status = |other| resource_status(&state(other), &ResourceGroupStatus::default(), &Time::from_unix(0));
    let overlaps = status(Some(":root_x"));
    assert_eq!((&*overlaps.conditions[0].kind, &*overlaps.conditions[0].reason), ("OwnershipOverlap", "Overlap"));
    assert!(overlaps.conditions[0].message.contains(":root_x"), "{overlaps:?}");
    assert_eq!(
        (overlaps.source_hash, &*overlaps.actuation, &*overlaps.reconcile),
        (String::new(), "Skipped", "Skipped")
    );
    assert!(status(None).conditions.is_empty());
}

#[test]
fn fields_that_admission_changed_are_a_condition_of_an_object_that_is_as_declared() {
    let state = ResourceState {
        id: ids(0..1).pop_first().expect("one"),
        health: Health::Current,
        token: "abc".to_owned(),
        failed: false,
        pruning: false,
        late: false,
        skipped: false,
        waits_for: None,
        stale: false,
        other: None,
        rewritten: [".data.a", ".data.b"].map(str::to_owned).into(),
    };
    let status = resource_status(&state, &ResourceGroupStatus::default(), &Time::from_unix(0));
    let [condition] = status.conditions.as_slice() else { panic!("{status:?}") };
    assert_eq!((&*condition.kind, &*condition.status, &*condition.reason), (REWRITTEN, "True", "Admission"));
    assert!(condition.message.ends_with(": .data.a, .data.b"), "{condition:?}");
    assert_eq!((&*status.actuation, &*status.reconcile), ("Succeeded", "Succeeded"));
    let group = group_status(&ResourceGroupStatus::default(), &[&state], 1, &Time::from_unix(0));
    assert!(group.conditions.iter().all(|condition| condition.status == "False"), "{group:?}");
}

#[test]
fn an_inventory_without_objects_is_one_empty_group() {
    let mut groups = Groups::default();
    groups.assign(&BTreeSet::new());
    assert_eq!(groups.0, [BTreeSet::new()]);
}

#[test]
fn a_group_is_written_when_its_objects_change_and_not_otherwise() {
    let sync = SyncId::root("root-sync");
    let mut inventory = InventoryRecord::new(&sync, BTreeMap::new());
    assert_eq!((inventory.objects(), inventory.memory(&now()).proof), (BTreeSet::new(), Proof::Approval));
    inventory.assign(&ids(0..2));
    inventory.remember(&GuardMemory::default(), &now());
    let (index, document) = inventory.next_spec(0, &sync, true).expect("the group is new");
    assert_eq!((index, document.name.as_str()), (0, "root-sync"));
    let resources = serde_json::from_value(document.body["spec"]["resources"].clone()).expect("identities");
    inventory.written(
        index,
        WrittenGroup { resources, generation: 1, status_mode: "enabled".into(), ..WrittenGroup::default() },
    );
    assert_eq!(inventory.next_spec(0, &sync, true), None);
    inventory.assign(&ids(0..1));
    assert_eq!(inventory.next_spec(0, &sync, true).map(|(index, _)| index), Some(0));
    assert_eq!(inventory.next_spec(1, &sync, true), None);
}

#[test]
fn a_group_that_a_user_deleted_is_a_gap_and_is_written_again() {
    let sync = SyncId::root("root-sync");
    let group = |range| WrittenGroup {
        status_mode: "enabled".into(),
        resources: ids(range).iter().map(ResourceId::from).collect(),
        ..WrittenGroup::default()
    };
    let found = BTreeMap::from([(group_name(&sync, 0), group(0..1)), (group_name(&sync, 2), group(1..2))]);
    let mut inventory = InventoryRecord::new(&sync, found);
    assert_eq!((inventory.objects(), inventory.memory(&now()).proof), (ids(0..2), Proof::Approval));
    inventory.assign(&ids(0..2));
    let (index, document) = inventory.next_spec(0, &sync, true).expect("the loss is written");
    assert_eq!((index, &document.body["metadata"]["annotations"][annotation::RECORD_LOST]), (0, &json!("true")));
    inventory.remember(&GuardMemory::default(), &now());
    assert_eq!(inventory.next_spec(0, &sync, true), None);
}
