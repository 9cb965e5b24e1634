//! Sets of fields, and their form `fieldsV1` in `metadata.managedFields`.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::path::{Key, Path, Step};
use crate::schema::Ref;

/// Some fields of an object. That a field is in it says nothing of the fields below and above. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// In order.
    members: Vec<Step>,
    /// In order. Never holds an empty set.
    below: Vec<(Step, Arc<Set>)>,
}

impl Set {
    pub(crate) fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(&path.iter().map(|name| Step::field(name)).collect::<Vec<_>>());
        }
        set
    }

    /// Adds the field at `path`. The whole object is no field.
    pub(crate) fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => self.add(last.clone()),
            [first, rest @ ..] => Arc::make_mut(self.below_mut(first.clone())).insert(rest),
        }
    }

    /// The set below a field, which must not stay empty.
    fn below_mut(&mut self, step: Step) -> &mut Arc<Self> {
        let at = self.below.binary_search_by(|(other, _)| other.cmp(&step)).unwrap_or_else(|at| {
            self.below.insert(at, (step, Arc::default()));
            at
        });
        &mut self.below[at].1
    }

    fn add(&mut self, step: Step) {
        match self.members.last() {
            // Mostly they come in order.
            Some(last) if *last >= step => {
                if let Err(at) = self.members.binary_search(&step) {
                    self.members.insert(at, step);
                }
            }
            _ => self.members.push(step),
        }
    }

    pub(crate) fn has(&self, path: &[Step]) -> bool {
        match path {
            [] => false,
            [last] => self.has_here(last),
            [first, rest @ ..] => self.below(first).is_some_and(|set| set.has(rest)),
        }
    }

    /// `true` if a field of this level is in it.
    pub(crate) fn has_here(&self, step: &Step) -> bool {
        self.members.binary_search(step).is_ok()
    }

    /// Its fields below a field of this level; none is empty.
    pub(crate) fn below(&self, step: &Step) -> Option<&Self> {
        let at = self.below.binary_search_by(|(other, _)| other.cmp(step)).ok()?;
        Some(&self.below[at].1)
    }

    /// The fields of this level that have others below them, and then those that are in it and have none.
    pub(crate) fn here(&self) -> impl Iterator<Item = &Step> {
        let leaves = self.members.iter().filter(|step| self.below(step).is_none());
        self.below.iter().map(|(step, _)| step).chain(leaves)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.below.is_empty()
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other.clone() } else { self.clone() };
        }
        let members = pairs(&self.members, &other.members, |step| step);
        let below = pairs(&self.below, &other.below, |(step, _)| step).filter_map(|pair| match pair {
            (Some((step, own)), Some((_, other))) => Some((step.clone(), Arc::new(own.union(other)))),
            (own, other) => own.or(other).cloned(),
        });
        Self { members: members.filter_map(|(own, other)| own.or(other).cloned()).collect(), below: below.collect() }
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return Self::default();
        }
        let members = pairs(&self.members, &other.members, |step| step);
        let below = pairs(&self.below, &other.below, |(step, _)| step).filter_map(|pair| match pair {
            (Some((step, own)), Some((_, other))) => filled(step, own.intersection(other)),
            _ => None,
        });
        Self {
            members: members.filter_map(|(own, other)| own.filter(|_| other.is_some()).cloned()).collect(),
            below: below.collect(),
        }
    }

    /// Without the fields of `other`, but with those below them.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return self.clone();
        }
        let below = pairs(&self.below, &other.below, |(step, _)| step).filter_map(|pair| match pair {
            (Some((step, own)), Some((_, other))) => filled(step, own.difference(other)),
            (own, _) => own.cloned(),
        });
        Self { members: self.members_without(other), below: below.collect() }
    }

    /// Without the fields of `other` and all that is below them.
    pub(crate) fn without(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return self.clone();
        }
        let below = pairs(&self.below, &other.below, |(step, _)| step).filter_map(|(own, theirs)| {
            let (step, own) = own.filter(|(step, _)| !other.has_here(step))?;
            theirs
                .map_or_else(|| Some((step.clone(), Arc::clone(own))), |(_, theirs)| filled(step, own.without(theirs)))
        });
        Self { members: self.members_without(other), below: below.collect() }
    }

    fn members_without(&self, other: &Self) -> Vec<Step> {
        let members = pairs(&self.members, &other.members, |step| step);
        members.filter_map(|(own, other)| own.filter(|_| other.is_none()).cloned()).collect()
    }

    /// With every field that has a name in the type and something of the set below it.
    pub(crate) fn with_named(&self, kind: Option<&Ref>) -> Self {
        let node = kind.map(Ref::node);
        let map = node.and_then(|node| node.map.as_ref());
        let list = node.and_then(|node| node.list.as_ref());
        let named =
            |step: &Step| matches!((step, map), (Step::Field(name), Some(map)) if map.fields.contains_key(&**name));
        let above: Vec<Step> = self.below.iter().map(|(step, _)| step).filter(|step| named(step)).cloned().collect();
        let members = pairs(&self.members, &above, |step| step);
        let below = self.below.iter().map(|(step, set)| {
            let next = match step {
                Step::Field(name) => map.and_then(|map| map.fields.get(&**name).or(map.others.as_ref())),
                Step::Key(_) => list.map(|list| &list.items),
                Step::Item(_) | Step::Index(_) => None,
            };
            // Nothing below it has a name.
            (step.clone(), next.map_or_else(|| Arc::clone(set), |next| Arc::new(set.with_named(Some(next)))))
        });
        Self { members: members.filter_map(|(own, other)| own.or(other).cloned()).collect(), below: below.collect() }
    }

    /// Every field: those of a level in order, then those below.
    pub(crate) fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.walk(&mut Vec::new(), &mut paths);
        paths
    }

    fn walk(&self, prefix: &mut Path, paths: &mut Vec<Path>) {
        for step in &self.members {
            paths.push(prefix.iter().chain([step]).cloned().collect());
        }
        for (step, set) in &self.below {
            prefix.push(step.clone());
            set.walk(prefix, paths);
            prefix.pop();
        }
    }

    /// The form in `managedFields`.
    pub(crate) fn to_fields(&self) -> Value {
        let mut fields = Map::new();
        for step in &self.members {
            fields.insert(written(step), Value::Object(Map::new()));
        }
        for (step, set) in &self.below {
            let mut below = set.to_fields();
            if let (true, Value::Object(below)) = (self.has_here(step), &mut below) {
                below.insert(".".into(), Value::Object(Map::new()));
            }
            fields.insert(written(step), below);
        }
        Value::Object(fields)
    }

    /// Reads the form in `managedFields`. None if it is not that form.
    pub(crate) fn from_fields(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (name, below) in fields.as_object()?.iter().filter(|(name, _)| *name != ".") {
            let Some(step) = read(name)? else { continue };
            let below_set = Self::from_fields(below)?;
            // A node without anything below is a field itself.
            if below_set.is_empty() || below.get(".").is_some() {
                set.add(step.clone());
            }
            if !below_set.is_empty() {
                *set.below_mut(step) = Arc::new(below_set);
            }
        }
        Some(set)
    }
}

/// A set below a field, if it is not empty.
fn filled(step: &Step, set: Set) -> Option<(Step, Arc<Set>)> {
    (!set.is_empty()).then(|| (step.clone(), Arc::new(set)))
}

/// The items of two ordered lists side by side: those of one step are a pair.
fn pairs<'a, T>(
    one: &'a [T],
    other: &'a [T],
    step: impl Fn(&T) -> &Step,
) -> impl Iterator<Item = (Option<&'a T>, Option<&'a T>)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (one.peek(), other.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => step(a).cmp(step(b)),
        };
        Some((one.next_if(|_| order.is_le()), other.next_if(|_| order.is_ge())))
    })
}

fn written(step: &Step) -> String {
    match step {
        Step::Field(name) => ["f:", name].concat(),
        Step::Key(fields) => {
            let fields: Map<String, Value> = fields.iter().map(|(name, key)| (name.clone(), key.0.clone())).collect();
            format!("k:{}", Value::Object(fields))
        }
        Step::Item(key) => format!("v:{}", key.0),
        Step::Index(index) => format!("i:{index}"),
    }
}

/// `Some(None)` is a step of a kind that later versions may have.
fn read(name: &str) -> Option<Option<Step>> {
    let (kind, rest) = name.split_at_checked(2).filter(|(kind, _)| kind.ends_with(':'))?;
    Some(Some(match kind {
        "f:" => Step::field(rest),
        "v:" => Step::Item(Key(serde_json::from_str(rest).ok()?)),
        "i:" => Step::Index(rest.parse().ok()?),
        "k:" => {
            let fields: Map<String, Value> = serde_json::from_str(rest).ok()?;
            Step::Key(fields.into_iter().map(|(name, value)| (name, Key(value))).collect())
        }
        _ => return Some(None),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_read_and_written() {
        let fields = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}},
            "f:finalizers": {"v:\"a/b\"": {}},
        });
        let set = Set::from_fields(&fields).unwrap();
        assert_eq!(set.to_fields(), fields);
        assert_eq!(set.paths().len(), 5);
    }

    #[test]
    fn a_difference_keeps_what_is_below() {
        let set = Set::of(&[&["a"], &["a", "b"]]);
        assert_eq!(set.difference(&Set::of(&[&["a"]])), Set::of(&[&["a", "b"]]));
        assert!(set.without(&Set::of(&[&["a"]])).is_empty());
        assert_eq!(set.difference(&Set::of(&[&["a", "b"]])), Set::of(&[&["a"]]));
    }
}
