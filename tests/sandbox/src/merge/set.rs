//! Sets of fields, and their form `fieldsV1` in `metadata.managedFields`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::{Key, Path, Step};
use crate::schema::Ref;

/// Some fields of an object. That a field is in it says nothing of the fields below and above.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) members: BTreeSet<Step>,
    /// Never holds an empty set.
    pub(crate) below: BTreeMap<Step, Set>,
}

impl Set {
    pub(crate) fn of(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            set.insert(&path.iter().map(|name| Step::Field((*name).to_owned())).collect::<Vec<_>>());
        }
        set
    }

    /// Adds the field at `path`. The whole object is no field.
    pub(crate) fn insert(&mut self, path: &[Step]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.below.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub(crate) fn has(&self, path: &[Step]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.below.get(first).is_some_and(|set| set.has(rest)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty() && self.below.values().all(Self::is_empty)
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.members.extend(other.members.iter().cloned());
        for (step, set) in &other.below {
            let merged = all.below.get(step).map_or_else(|| set.clone(), |own| own.union(set));
            all.below.insert(step.clone(), merged);
        }
        all
    }

    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let below = self.below.iter().filter_map(|(step, set)| Some((step, set.intersection(other.below.get(step)?))));
        Self { members: &self.members & &other.members, below: filled(below) }
    }

    /// Without the fields of `other`, but with those below them.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let below = self.below.iter().map(|(step, set)| {
            let left = other.below.get(step).map_or_else(|| set.clone(), |other| set.difference(other));
            (step, left)
        });
        Self { members: &self.members - &other.members, below: filled(below) }
    }

    /// Without the fields of `other` and all that is below them.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let below = self.below.iter().filter(|(step, _)| !other.members.contains(step)).map(|(step, set)| {
            let left = other.below.get(step).map_or_else(|| set.clone(), |other| set.without(other));
            (step, left)
        });
        Self { members: &self.members - &other.members, below: filled(below) }
    }

    /// With every field that has a name in the type and something of the set below it.
    pub(crate) fn with_named(&self, kind: Option<&Ref>) -> Self {
        let node = kind.map(Ref::node);
        let map = node.and_then(|node| node.map.as_ref());
        let list = node.and_then(|node| node.list.as_ref());
        let named =
            |step: &Step| matches!((step, map), (Step::Field(name), Some(map)) if map.fields.contains_key(name));
        let mut members = self.members.clone();
        members.extend(self.below.keys().filter(|step| named(step)).cloned());
        let below = self.below.iter().map(|(step, set)| {
            let next = match step {
                Step::Field(name) => map.and_then(|map| map.fields.get(name).or(map.others.as_ref())),
                Step::Key(_) => list.map(|list| &list.items),
                Step::Item(_) | Step::Index(_) => None,
            };
            (step.clone(), set.with_named(next))
        });
        Self { members, below: below.collect() }
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
            if let (true, Value::Object(below)) = (self.members.contains(step), &mut below) {
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
                set.members.insert(step.clone());
            }
            if !below_set.is_empty() {
                set.below.insert(step, below_set);
            }
        }
        Some(set)
    }
}

fn filled<'a>(sets: impl Iterator<Item = (&'a Step, Set)>) -> BTreeMap<Step, Set> {
    sets.filter(|(_, set)| !set.is_empty()).map(|(step, set)| (step.clone(), set)).collect()
}

fn written(step: &Step) -> String {
    match step {
        Step::Field(name) => format!("f:{name}"),
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
        "f:" => Step::Field(rest.to_owned()),
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
