//! Putting an applied configuration into an object, and taking fields out of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map as Fields, Value};

use super::path::Step;
use super::set::Set;
use super::shape::{Shape, Shapes, field, shape, step};
use crate::schema::{List, ListKind, Map, Ref};

/// `live` with all that `applied` says.
pub(crate) fn merged(kind: &Ref, live: &Value, applied: &Value) -> Value {
    merge(Some(kind), Some(live), Some(applied)).unwrap_or(Value::Null)
}

fn merge<'a>(kind: Option<&Ref>, live: Option<&'a Value>, applied: Option<&'a Value>) -> Option<Value> {
    let shapes = Shapes::of(kind, if applied.is_some() { applied } else { live });
    let leaf = || applied.or(live).cloned();
    match shapes.shape() {
        Shape::Map { map, atomic } => {
            let none = Fields::new();
            let live_fields = live.and_then(Value::as_object).unwrap_or(&none);
            let applied_fields = applied.and_then(Value::as_object).unwrap_or(&none);
            match atomic || (live_fields.is_empty() && applied_fields.is_empty()) {
                true => leaf(),
                false => merge_maps(map, live_fields, applied_fields),
            }
        }
        Shape::List(list) => {
            let items =
                |value: Option<&'a Value>| value.and_then(Value::as_array).map_or(&[] as &[Value], Vec::as_slice);
            let (live_items, applied_items) = (items(live), items(applied));
            match list.kind == ListKind::Atomic || (live_items.is_empty() && applied_items.is_empty()) {
                true => leaf(),
                false => merge_lists(list, live_items, applied_items),
            }
        }
        Shape::Scalar(_) | Shape::Nothing => leaf(),
    }
}

fn merge_maps(map: &Map, live: &Fields<String, Value>, applied: &Fields<String, Value>) -> Option<Value> {
    let own = live.iter().map(|(name, value)| (name, Some(value), applied.get(name)));
    let new =
        applied.iter().filter(|(name, _)| !live.contains_key(*name)).map(|(name, value)| (name, None, Some(value)));
    let merged = own
        .chain(new)
        .filter_map(|(name, live, applied)| merge(field(map, name), live, applied).map(|value| (name.clone(), value)));
    Some(merged.collect::<Fields<_, _>>()).filter(|fields| !fields.is_empty()).map(Value::Object)
}

/// Items keep the order of `live`, but those of `applied` come in the order in which it has them.
fn merge_lists(list: &List, live: &[Value], applied: &[Value]) -> Option<Value> {
    fn named<'a>(list: &List, items: &'a [Value]) -> Vec<(Step, &'a Value)> {
        items.iter().filter_map(|item| Some((step(list, item).ok()?, item))).collect()
    }
    let (live, applied) = (named(list, live), named(list, applied));
    let mut of_live: BTreeMap<&Step, &Value> = BTreeMap::new();
    for (step, item) in &live {
        // An item that occurs more than once is not merged.
        of_live.entry(step).and_modify(|found| *found = &Value::Null).or_insert(item);
    }
    let of_applied: BTreeMap<&Step, &Value> = applied.iter().map(|(step, item)| (step, *item)).collect();
    let mut shared: VecDeque<&Step> =
        applied.iter().map(|(step, _)| step).filter(|step| of_live.contains_key(step)).collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&Step> = BTreeSet::new();
    let mut out = Vec::new();
    let (mut l, mut a) = (0, 0);
    while l < live.len() || a < applied.len() {
        if let (Some((own, _)), Some((theirs, item))) = (live.get(l), applied.get(a)) {
            if own == theirs {
                done.insert(own);
                out.extend(merge(Some(&list.items), of_live.get(own).copied(), Some(*item)));
                (l, a) = (l + 1, a + 1);
                next_shared = shared.pop_front();
                continue;
            }
            if of_applied.contains_key(own) && next_shared.is_some_and(|next| next != own) {
                // Shared, but not the one whose turn it is.
                l += 1;
                continue;
            }
        }
        if let Some((own, item)) = live.get(l) {
            if !of_applied.contains_key(own) {
                out.extend(merge(Some(&list.items), Some(*item), None));
                l += 1;
                continue;
            }
            if done.contains(own) {
                l += 1;
            }
        }
        if let Some((theirs, item)) = applied.get(a) {
            done.insert(theirs);
            out.extend(merge(Some(&list.items), of_live.get(theirs).copied(), Some(*item)));
            a += 1;
            if next_shared == Some(theirs) {
                next_shared = shared.pop_front();
            }
        }
    }
    Some(out).filter(|items| !items.is_empty()).map(Value::Array)
}

/// `value` without the fields and items of `set`. What is one value goes as a whole when a part of it would; what
/// becomes empty is null.
pub(crate) fn removed(kind: Option<&Ref>, value: &Value, set: &Set) -> Value {
    match (shape(kind, value), value) {
        (Shape::Scalar(_), _) => value.clone(),
        (Shape::Map { map, atomic: false }, Value::Object(fields)) => {
            let kept = fields.iter().filter_map(|(name, value)| {
                let here = Step::field(name);
                kept(field(map, name), value, set, &here).map(|value| (name.clone(), value))
            });
            Some(kept.collect::<Fields<_, _>>()).filter(|fields| !fields.is_empty()).map_or(Value::Null, Value::Object)
        }
        (Shape::List(list), Value::Array(items)) if list.kind != ListKind::Atomic => {
            let kept = items.iter().filter_map(|item| match step(list, item) {
                Ok(here) => kept(Some(&list.items), item, set, &here),
                Err(_) => Some(item.clone()),
            });
            Some(kept.collect::<Vec<_>>()).filter(|items| !items.is_empty()).map_or(Value::Null, Value::Array)
        }
        _ => Value::Null,
    }
}

fn kept(kind: Option<&Ref>, value: &Value, set: &Set, here: &Step) -> Option<Value> {
    if set.has_here(here) {
        return None;
    }
    Some(match set.below(here) {
        Some(below) => removed(kind, value, below),
        None => value.clone(),
    })
}
