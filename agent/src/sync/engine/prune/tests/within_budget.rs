//! The deletions that may be sent, as data.

use std::collections::BTreeSet;

use super::super::budget::along;
use super::*;
use crate::sync::plan::guard::ObjectCounts;
use crate::sync::plan::memory::PruneMark;

const BEFORE: InventoryBefore = InventoryBefore { now: 20, first: None };

fn deletion(number: usize) -> (ObjectId, Box<str>) {
    (config_map(&format!("c{number:02}")), format!("uid-{number}").into())
}

fn deletions(numbers: std::ops::Range<usize>) -> Deletions {
    numbers.map(deletion).collect()
}

fn prune(numbers: std::ops::Range<usize>) -> Prune {
    let one = ObjectCounts { objects: 1, namespaces: 0 };
    Prune { inventory: one, kept: one, deletions: deletions(numbers), ..Prune::default() }
}

fn crd(name: &str) -> ObjectId {
    ObjectId::new(&GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"), "", name)
}

fn offer(deletions: Deletions, taking_along: &[(ObjectId, ObjectCount)]) -> Offer {
    Offer { approval: format!("{}.12345678", commit('a')), deletions, taking_along: taking_along.to_vec() }
}

#[test]
fn an_approval_is_for_no_more_than_it_names() {
    let (name, other) = (crd("widgets.example.com"), crd("gadgets.example.com"));
    let all: Deletions = [(name.clone(), "uid".into()), deletion(0)].into();
    let fewer: Deletions = [(name.clone(), "uid".into())].into();
    let of = |deletions: &Deletions, definition: &ObjectId, objects| Prune {
        deletions: deletions.clone(),
        taking_along: vec![(definition.clone(), objects)],
        ..Prune::default()
    };
    let counted = offer(all.clone(), &[(name.clone(), Some(5))]);
    assert!(counted.covers(&commit('a'), &of(&all, &name, Some(5))));
    assert!(counted.covers(&commit('a'), &of(&fewer, &name, Some(4))));
    assert!(!counted.covers(&commit('b'), &of(&fewer, &name, Some(4))), "another commit");
    assert!(!counted.covers(&commit('a'), &of(&fewer, &name, Some(6))), "more of others go with it");
    assert!(!counted.covers(&commit('a'), &of(&fewer, &name, None)), "nobody knows how many go with it now");
    assert!(!counted.covers(&commit('a'), &of(&fewer, &other, Some(4))), "another definition");
    assert!(!counted.covers(&commit('a'), &prune(0..2)), "another object");
    let uncounted = offer(all.clone(), &[(name.clone(), None)]);
    assert!(uncounted.covers(&commit('a'), &of(&all, &name, Some(9))));
    assert!(uncounted.covers(&commit('a'), &of(&all, &name, None)));
    assert!(!uncounted.covers(&commit('a'), &of(&all, &other, None)));
    let taking_along = [(other.clone(), Some(7)), (name.clone(), Some(5))];
    assert_eq!((along(&taking_along, &name), along(&taking_along, &crd("a"))), (5, 0));
    assert_eq!(along(&[(name.clone(), None)], &name), usize::MAX);
}

#[test]
fn a_deletion_that_is_sent_is_not_judged_again_unless_it_is_refused() {
    let now = begin();
    let later = now + Duration::from_secs(100);
    let mut prunes = Prunes::default();
    assert!(prunes.let_pass(&prune(0..4), BEFORE, now));
    prunes.sent(&deletion(1), later);
    prunes.sent(&deletion(2), later);
    assert_eq!(prunes.take_back(), BTreeSet::from([deletion(0), deletion(3)]));
    assert_eq!(prunes.memory.recent.number(now + Duration::from_secs(3700)), 2, "they count from when they were sent");
    prunes.refused(&deletion(2).0);
    assert_eq!(prunes.take_back(), BTreeSet::from([deletion(2)]));
    assert!(prunes.allows(&deletion(1)) && !prunes.allows(&deletion(2)));
    assert_eq!(prunes.memory.recent.number(later), 1);
}

/// The API server may have carried out the first request, whose answer did not come.
#[test]
fn a_deletion_that_is_withdrawn_before_it_is_sent_again_counts_on() {
    let now = begin();
    let mut prunes = Prunes::default();
    assert!(prunes.let_pass(&prune(0..2), BEFORE, now));
    prunes.sent(&deletion(0), now);
    prunes.sent(&deletion(0), now);
    prunes.sent(&deletion(1), now);
    prunes.withdrawn(&deletion(0).0);
    prunes.withdrawn(&deletion(1).0);
    assert_eq!(prunes.take_back(), BTreeSet::from([deletion(1)]));
}

#[test]
fn a_deletion_that_is_carried_out_counts_on() {
    let now = begin();
    let mut prunes = Prunes::default();
    assert!(prunes.let_pass(&prune(0..2), BEFORE, now));
    prunes.carried_out(&config_map("c"));
    assert!(prunes.allows(&deletion(0)), "it was another object");
    prunes.carried_out(&deletion(0).0);
    assert!(!prunes.allows(&deletion(0)) && prunes.allows(&deletion(1)));
    assert_eq!(prunes.take_back(), BTreeSet::from([deletion(1)]));
    assert_eq!(prunes.memory.recent.number(now), 1);
}

#[test]
fn what_is_found_beside_held_deletions_joins_them() {
    let now = begin();
    let held = || Prunes { held: deletions(0..12), ..Prunes::default() };
    let judge = |prunes: &mut Prunes, occasion, waiting: &Deletions| {
        prunes.let_pass_within_budget(prune(0..13), (occasion, waiting), BEFORE, now).deletions
    };
    let mut prunes = held();
    assert_eq!(judge(&mut prunes, Occasion::Found, &Deletions::new()), deletions(0..13));
    assert!(!prunes.allows(&deletion(12)));
    let mut prunes = held();
    assert_eq!(judge(&mut prunes, Occasion::Found, &deletions(12..13)), deletions(0..12));
    assert!(prunes.allows(&deletion(12)), "it was let pass before");
    let mut prunes = held();
    assert_eq!(judge(&mut prunes, Occasion::SameCommit, &Deletions::new()), deletions(0..12));
    assert!(prunes.allows(&deletion(12)) && !prunes.allows(&deletion(11)));
    let mut prunes = held();
    assert_eq!(judge(&mut prunes, Occasion::NewCommit, &Deletions::new()), Deletions::new());
    assert!(prunes.allows(&deletion(12)) && !prunes.allows(&deletion(11)), "they are judged when it is in force");
    let mut prunes = Prunes::default();
    assert_eq!(judge(&mut prunes, Occasion::Found, &Deletions::new()), deletions(0..13));
    assert!(!prunes.allows(&deletion(12)));
}

#[test]
fn approvals_end_with_their_commit_and_their_source() {
    let granted = || Prunes { granted: Some(offer(deletions(0..1), &[])), ..Prunes::default() };
    let mut prunes = granted();
    prunes.begin_commit(&commit('a'), 20);
    assert!(prunes.allows(&deletion(0)));
    assert_eq!(prunes.before, 20);
    prunes.begin_commit(&commit('b'), 15);
    assert!(!prunes.allows(&deletion(0)));
    assert_eq!(prunes.before, 15);
    prunes.held = deletions(0..2);
    prunes.begin_commit(&commit('c'), 30);
    assert_eq!(prunes.before, 15, "more objects make no larger budget for what is held");
    let mut prunes = granted();
    prunes.offered = Some(offer(deletions(0..1), &[]));
    prunes.inherited = [PruneMark::new(&deletion(1), 0, "")].into();
    assert_eq!(prunes.offered_deletions().cloned().collect::<Vec<_>>(), [deletion(0).0]);
    prunes.forget_approvals();
    assert!(!prunes.allows(&deletion(0)) && prunes.offered.is_none() && prunes.is_judging());
    prunes.inherit(&prune(0..2), None, begin());
    assert!(!prunes.allows(&deletion(1)), "another source declares other objects");
}

#[test]
fn a_process_takes_up_what_the_one_before_let_pass() {
    let now = begin();
    let (name, other) = (crd("widgets.example.com"), crd("gadgets.example.com"));
    let of = |crd: &ObjectId| (crd.clone(), Box::from("uid"));
    let approval = format!("{}.12345678", commit('a'));
    let passed = [
        PruneMark::new(&deletion(0), 0, ""),
        PruneMark::new(&of(&name), 5, &approval),
        PruneMark::new(&of(&other), 6, &approval),
    ];
    let memory = GuardMemory { passed: passed.into(), ..GuardMemory::default() };
    let mut both = prune(0..2);
    both.deletions.extend([of(&name), of(&other)]);
    both.taking_along = vec![(name.clone(), Some(5)), (other.clone(), Some(7))];
    let mut prunes = Prunes::after(memory.clone());
    prunes.inherit(&both, Some(&approval), now);
    let granted = prunes.granted.as_ref().expect("the approval is set");
    assert_eq!(granted.deletions, Deletions::from([of(&name)]), "more objects go with the other one now");
    assert_eq!(granted.taking_along, [(name.clone(), Some(5))]);
    assert!(prunes.allows(&deletion(0)) && !prunes.allows(&deletion(1)));
    assert_eq!(prunes.marks(), BTreeSet::from([passed[0], passed[1]]));
    let mut prunes = Prunes::after(memory);
    prunes.inherit(&both, None, now);
    assert!(prunes.granted.is_none() && prunes.allows(&deletion(0)));
}
