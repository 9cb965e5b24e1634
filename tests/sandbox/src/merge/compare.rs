//! The fields that differ between two objects, and the fields of an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::path::{Path, Step, same};
use super::set::Set;
use super::shape::{Shape, Shapes, field, shape, step};
use crate::schema::{List, ListKind, Map, Ref};

/// The fields that a write changes. The sets have no field in common.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) removed: Set,
    pub(crate) modified: Set,
    pub(crate) added: Set,
}

impl Comparison {
    pub(crate) fn without(&self, fields: &Set) -> Self {
        Self {
            removed: self.removed.without(fields),
            modified: self.modified.without(fields),
            added: self.added.without(fields),
        }
    }
}

/// The changes from `before` to `after`.
pub(crate) fn compare(kind: &Ref, before: &Value, after: &Value) -> Comparison {
    let mut walk = Walk { path: Path::new(), found: Comparison::default() };
    walk.value(Some(kind), Some(before), Some(after));
    walk.found
}

struct Walk {
    path: Path,
    found: Comparison,
}

impl Walk {
    fn below(&mut self, to: Step, kind: Option<&Ref>, before: Option<&Value>, after: Option<&Value>) {
        self.path.push(to);
        self.value(kind, before, after);
        self.path.pop();
    }

    fn value(&mut self, kind: Option<&Ref>, before: Option<&Value>, after: Option<&Value>) {
        let (was, is) = (Shapes::of(kind, before), Shapes::of(kind, after));
        let leaf = match (before, after) {
            (_, None) => self.shaped(was.shape(), before, after),
            (None, _) => self.shaped(is.shape(), before, after),
            _ if was.same(&is) => self.shaped(is.shape(), before, after),
            _ => {
                self.shaped(was.shape(), before, after);
                self.shaped(is.shape(), before, after)
            }
        };
        match (before, after) {
            _ if leaf => {}
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            _ => {}
        }
    }

    /// Returns whether it was compared as one value.
    fn shaped(&mut self, shape: Shape<'_>, before: Option<&Value>, after: Option<&Value>) -> bool {
        match shape {
            Shape::Map { map, atomic } => {
                let empty = |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(|map| map.is_empty());
                if atomic || (empty(before) && empty(after)) {
                    return self.leaf(before, after);
                }
                self.map(map, before, after);
                false
            }
            Shape::List(list) => {
                let empty = |value: Option<&Value>| value.and_then(Value::as_array).is_none_or(Vec::is_empty);
                if list.kind == ListKind::Atomic || (empty(before) && empty(after)) {
                    return self.leaf(before, after);
                }
                self.list(list, before, after);
                false
            }
            Shape::Scalar(_) | Shape::Nothing => self.leaf(before, after),
        }
    }

    fn leaf(&mut self, before: Option<&Value>, after: Option<&Value>) -> bool {
        match (before, after) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            (Some(before), Some(after)) if !same(before, after) => self.found.modified.insert(&self.path),
            _ => {}
        }
        true
    }

    fn map<'a>(&mut self, map: &Map, before: Option<&'a Value>, after: Option<&'a Value>) {
        let (before, after) = (before.and_then(Value::as_object), after.and_then(Value::as_object));
        let own = before
            .into_iter()
            .flatten()
            .map(|(name, value)| (name, Some(value), after.and_then(|after| after.get(name))));
        let is_new = |name: &String| before.is_none_or(|before| !before.contains_key(name));
        let new =
            after.into_iter().flatten().filter(|(name, _)| is_new(name)).map(|(name, value)| (name, None, Some(value)));
        for (name, before, after) in own.chain(new) {
            // What is equal has neither changed nor come nor gone, whatever its type.
            if before != after {
                self.below(Step::field(name), field(map, name), before, after);
            }
        }
    }

    fn list(&mut self, list: &List, before: Option<&Value>, after: Option<&Value>) {
        let (before, after) = (by_step(list, before), by_step(list, after));
        let steps: BTreeSet<&Step> = before.keys().chain(after.keys()).collect();
        for to in steps {
            let none = Vec::new();
            let (was, is) = (before.get(to).unwrap_or(&none), after.get(to).unwrap_or(&none));
            let here = |path: &Path| path.iter().chain([to]).cloned().collect::<Path>();
            match (was.as_slice(), is.as_slice()) {
                ([] | [_], [] | [_]) => {
                    let (was, is) = (was.first().copied(), is.first().copied());
                    if was != is {
                        self.below(to.clone(), Some(&list.items), was, is);
                    }
                }
                // Items that are there more than once are one value together.
                ([_, _, ..], [_, _, ..]) => {
                    if was.len() != is.len() || !was.iter().zip(is).all(|(was, is)| same(was, is)) {
                        self.found.modified.insert(&here(&self.path));
                    }
                }
                (_, [] | [_]) => {
                    if let [only] = is.as_slice() {
                        self.below(to.clone(), Some(&list.items), None, Some(only));
                    }
                    self.found.removed.insert(&here(&self.path));
                }
                _ => {
                    if let [only] = was.as_slice() {
                        self.below(to.clone(), Some(&list.items), Some(only), None);
                    }
                    self.found.added.insert(&here(&self.path));
                }
            }
        }
    }
}

fn by_step<'a>(list: &List, value: Option<&'a Value>) -> BTreeMap<Step, Vec<&'a Value>> {
    let mut found: BTreeMap<Step, Vec<&Value>> = BTreeMap::new();
    for item in value.and_then(Value::as_array).into_iter().flatten() {
        if let Ok(step) = step(list, item) {
            found.entry(step).or_default().push(item);
        }
    }
    found
}

/// The fields that an object has: the scalars, what is one value, the items of lists, and what is empty.
pub(crate) fn fields(kind: &Ref, value: &Value) -> Set {
    let mut set = Set::default();
    collect(Some(kind), value, &mut Path::new(), &mut set);
    set
}

fn collect(kind: Option<&Ref>, value: &Value, path: &mut Path, set: &mut Set) {
    match shape(kind, value) {
        Shape::Map { atomic: true, .. } => set.insert(path),
        Shape::Map { map, .. } => {
            for (name, value) in value.as_object().into_iter().flatten() {
                path.push(Step::field(name));
                collect(field(map, name), value, path, set);
                let empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                if empty || !map.fields.contains_key(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Shape::List(List { kind: ListKind::Atomic, .. }) => set.insert(path),
        Shape::List(list) => {
            for (to, items) in by_step(list, Some(value)) {
                path.push(to);
                if let [only] = items.as_slice() {
                    collect(Some(&list.items), only, path, set);
                }
                set.insert(path);
                path.pop();
            }
        }
        Shape::Scalar(_) => set.insert(path),
        Shape::Nothing => {}
    }
}
