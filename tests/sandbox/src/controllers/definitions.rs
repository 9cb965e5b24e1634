//! The life of CustomResourceDefinitions: their names are accepted, they are established, and when they are deleted
//! their objects go first.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::{self, list, text};
use crate::state::{CRDS, State};
use crate::store::Key;
use crate::write::Wish;

use super::hand::{Hand, condition};
use super::places;

/// As which the API server writes.
const MANAGER: &str = "kube-apiserver";
/// The finalizer that keeps a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The definitions that a change of one concerns: it may have freed names that others of its group want.
pub(super) fn concerned(state: &State, crd: &Value) -> Vec<String> {
    let of_group = |other: &&Value| text(other, "/spec/group") == text(crd, "/spec/group");
    let others = state.store.list(CRDS, "").map(|(_, other)| &**other).filter(of_group);
    others.map(|other| object::name(other).to_owned()).collect()
}

/// The definition that the objects of a collection wait for, or that waits for them.
pub(super) fn of_collection(state: &State, collection: &str) -> Option<String> {
    let crd = state.find(CRDS, "", collection)?;
    object::is_deleting(crd).then(|| collection.to_owned())
}

/// Takes a definition a step further.
pub(super) fn tend(hand: &mut Hand<'_>, name: &str) {
    let Some(crd) = hand.find(CRDS, "", name) else { return };
    let key = Key::new(CRDS, "", name);
    if object::is_deleting(&crd) && object::finalizers(&crd).any(|one| one == CLEANUP) {
        end(hand, &key, &crd);
        return;
    }
    let now = hand.now;
    if crd["spec"]["names"] != crd["status"]["acceptedNames"] {
        let (accepted, refused) = names(hand.state, &crd);
        hand.change(&key, "status", MANAGER, |crd| {
            crd["status"]["acceptedNames"] = accepted;
            match &refused {
                Some((reason, message)) => condition(crd, now, ["NamesAccepted", "False", reason, message]),
                None => condition(crd, now, ["NamesAccepted", "True", "NoConflicts", "no conflicts found"]),
            }
            if !is_true(crd, "Established") {
                let waiting = match &refused {
                    Some(_) => ["Established", "False", "NotAccepted", "not all names are accepted"],
                    None => ["Established", "False", "Installing", "the initial names have been accepted"],
                };
                condition(crd, now, waiting);
            }
        });
    } else if is_true(&crd, "NamesAccepted") && !is_true(&crd, "Established") {
        hand.change(&key, "status", MANAGER, |crd| {
            let message = "the initial names have been accepted";
            condition(crd, now, ["Established", "True", "InitialNamesAccepted", message]);
        });
    }
}

/// `true` if a condition of a definition is true.
pub(super) fn is_true(crd: &Value, kind: &str) -> bool {
    list(crd, "/status/conditions").iter().any(|one| one["type"] == kind && one["status"] == "True")
}

/// Deletes the objects, and lets the definition go when there are none left.
fn end(hand: &mut Hand<'_>, key: &Key, crd: &Value) {
    let now = hand.now;
    let collection = object::name(crd);
    if is_true(crd, "Established") {
        let progress = ["Terminating", "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"];
        hand.change(key, "status", MANAGER, |crd| condition(crd, now, progress));
        for instance in places(hand.state, collection, "") {
            hand.delete(&instance, &Wish::default());
        }
        if hand.state.store.list(collection, "").next().is_some() {
            return;
        }
    }
    let ended = match is_true(crd, "Established") {
        true => ["Terminating", "False", "InstanceDeletionCompleted", "removed all instances"],
        false => ["Terminating", "False", "NeverEstablished", "resource was never established"],
    };
    hand.change(key, "status", MANAGER, |crd| {
        condition(crd, now, ended);
        let left: Vec<String> = object::finalizers(crd).filter(|one| *one != CLEANUP).map(ToOwned::to_owned).collect();
        object::set(crd, "finalizers", left);
    });
}

/// The names that a definition may have, and why it may not have others.
fn names(state: &State, crd: &Value) -> (Value, Option<(&'static str, String)>) {
    let (mut resources, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    let others = state.store.list(CRDS, "").map(|(_, other)| other);
    for other in others
        .filter(|other| other["spec"]["group"] == crd["spec"]["group"] && object::name(other) != object::name(crd))
    {
        let names = &other["status"]["acceptedNames"];
        let short = list(names, "/shortNames").iter().filter_map(Value::as_str);
        resources.extend([text(names, "/plural"), text(names, "/singular")].into_iter().chain(short));
        kinds.extend([text(names, "/kind"), text(names, "/listKind")]);
    }
    let (wanted, had) = (&crd["spec"]["names"], &crd["status"]["acceptedNames"]);
    let mut accepted = if had.is_object() { had.clone() } else { serde_json::json!({}) };
    let mut refused = None;
    let single = [
        ("plural", "PluralConflict", &resources),
        ("singular", "SingularConflict", &resources),
        ("shortNames", "ShortNamesConflict", &resources),
        ("kind", "KindConflict", &kinds),
        ("listKind", "ListKindConflict", &kinds),
    ];
    for (key, reason, taken) in single {
        let values = |names: &Value| match &names[key] {
            Value::String(name) => vec![name.clone()],
            Value::Array(all) => all.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
            _ => Vec::new(),
        };
        let own = values(had);
        let clashing: Vec<String> = values(wanted)
            .iter()
            .filter(|name| !own.contains(name) && taken.contains(name.as_str()))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        if clashing.is_empty() {
            object::replace(&mut accepted, key, wanted.get(key).cloned());
        } else {
            let message = if clashing.len() == 1 { clashing.concat() } else { format!("[{}]", clashing.join(", ")) };
            refused = Some((reason, message));
        }
    }
    object::replace(&mut accepted, "categories", wanted.get("categories").cloned());
    (accepted, refused)
}
