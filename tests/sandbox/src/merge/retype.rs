//! Entries that were written when the type said something else of what is one value.

use super::path::{Path, Step};
use super::set::Set;
use super::shape::{Shape, Shapes};
use crate::schema::{ListKind, Map, Ref};

/// `set` as it is by today's type: what is one value is owned as a whole.
pub(crate) fn retyped(kind: &Ref, set: &Set) -> Set {
    let mut whole = Set::default();
    walk(kind, Some(set), false, &mut Path::new(), &mut whole);
    if whole.is_empty() { set.clone() } else { set.without(&whole).union(&whole) }
}

/// `leaf`: the field here is in the set and none below it.
fn walk(kind: &Ref, set: Option<&Set>, leaf: bool, path: &mut Path, whole: &mut Set) {
    match Shapes::of(Some(kind), None).shape() {
        Shape::Map { map, .. } if only_deduced(map) => {}
        Shape::Map { atomic: true, .. } => {
            if !leaf && set.is_some_and(|set| !set.is_empty()) {
                whole.insert(path);
            }
        }
        Shape::Map { map, .. } => {
            each(set, path, whole, |step| match step {
                Step::Field(name) => map.fields.get(&**name).or(map.others.as_ref()),
                _ => map.others.as_ref(),
            });
        }
        Shape::List(list) if list.kind == ListKind::Atomic => {
            if !leaf {
                whole.insert(path);
            }
        }
        Shape::List(list) => each(set, path, whole, |_| Some(&list.items)),
        Shape::Scalar(_) | Shape::Nothing => {}
    }
}

fn each<'a>(set: Option<&Set>, path: &mut Path, whole: &mut Set, kind: impl Fn(&Step) -> Option<&'a Ref>) {
    let Some(set) = set else { return };
    for step in set.here() {
        let Some(kind) = kind(step) else { continue };
        let below = set.below(step);
        path.push(step.clone());
        walk(kind, below, set.has_here(step) && below.is_none(), path, whole);
        path.pop();
    }
}

/// A map of which nothing is known.
fn only_deduced(map: &Map) -> bool {
    map.fields.is_empty() && map.others.as_ref().is_some_and(Ref::is_deduced)
}
