//! A namespace that is deleted loses its content, and goes when there is none left.

use std::collections::{BTreeMap, BTreeSet};

use crate::object;
use crate::state::State;
use crate::store::Key;
use crate::write::Wish;

use super::hand::{Hand, MANAGER, condition};
use super::places;

/// Takes a deleted namespace a step further.
pub(super) fn tend(hand: &mut Hand<'_>, name: &str) {
    let Some(live) = hand.find("namespaces", "", name) else { return };
    if !object::is_deleting(&live) || object::list(&live, "/spec/finalizers").is_empty() {
        return;
    }
    for collection in collections(hand.state) {
        for key in places(hand.state, &collection, name) {
            hand.delete(&key, &Wish { propagation: Some(crate::write::Propagation::Background), ..Wish::default() });
        }
    }
    let left = left(hand.state, name);
    let key = Key::new("namespaces", "", name);
    let now = hand.now;
    hand.change(&key, "status", MANAGER, |namespace| {
        for one in conditions(&left) {
            condition(namespace, now, [one.0, one.1, one.2, &one.3]);
        }
    });
    if left.is_empty() {
        hand.change(&key, "finalize", MANAGER, |namespace| {
            if let Some(finalizers) = namespace.pointer_mut("/spec/finalizers").and_then(|list| list.as_array_mut()) {
                finalizers.retain(|one| one != "kubernetes");
            }
        });
    }
}

fn collections(state: &State) -> BTreeSet<String> {
    state.resources.iter().filter(|one| one.namespaced).map(|one| one.collection.clone()).collect()
}

/// The objects left in a namespace: for each collection, the finalizers of each object.
fn left(state: &State, namespace: &str) -> BTreeMap<String, Vec<Vec<String>>> {
    let of = |collection: String| {
        let objects = state.store.list(&collection, namespace);
        let finalizers = objects.map(|(_, one)| object::finalizers(one).map(ToOwned::to_owned).collect()).collect();
        (collection, finalizers)
    };
    collections(state).into_iter().map(of).filter(|(_, objects): &(_, Vec<_>)| !objects.is_empty()).collect()
}

fn conditions(left: &BTreeMap<String, Vec<Vec<String>>>) -> [(&'static str, &'static str, &'static str, String); 5] {
    let remaining: Vec<String> = left
        .iter()
        .map(|(collection, objects)| {
            let dot = if collection.contains('.') { "" } else { "." };
            format!("{collection}{dot} has {} resource instances", objects.len())
        })
        .collect();
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in left.values().flatten().flatten() {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    let waiting: Vec<String> =
        finalizers.iter().map(|(finalizer, count)| format!("{finalizer} in {count} resource instances")).collect();
    let found = ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered");
    let parsed = ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions");
    let deleted = ("NamespaceDeletionContentFailure", "False", "ContentDeleted");
    [
        (found.0, found.1, found.2, "All resources successfully discovered".to_owned()),
        (parsed.0, parsed.1, parsed.2, "All legacy kube types successfully parsed".to_owned()),
        (
            deleted.0,
            deleted.1,
            deleted.2,
            "All content successfully deleted, may be waiting on finalization".to_owned(),
        ),
        if remaining.is_empty() {
            ("NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed".to_owned())
        } else {
            let message = format!("Some resources are remaining: {}", remaining.join(", "));
            ("NamespaceContentRemaining", "True", "SomeResourcesRemain", message)
        },
        if waiting.is_empty() {
            let message = "All content-preserving finalizers finished".to_owned();
            ("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers", message)
        } else {
            let message = format!("Some content in the namespace has finalizers remaining: {}", waiting.join(", "));
            ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", message)
        },
    ]
}
