//! All objects in one ordered map with one global revision, and their last events.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use crate::object;

/// The number of events that are kept. A watch that needs older ones must list again.
const REMEMBERED: usize = 20_000;

/// The change of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It was there and is now different.
    Modified,
    /// It is gone.
    Deleted,
}

/// A change of one object.
#[derive(Debug, Clone)]
pub struct Event {
    /// The store's revision after it. No two events share one.
    pub revision: u64,
    /// The change.
    pub change: Change,
    /// The object.
    pub key: Key,
    /// The object after it; what is deleted as it was, with the revision of its deletion.
    pub object: Arc<Value>,
    /// The object before it.
    pub before: Option<Arc<Value>>,
}

/// Where an object is stored. Orders as the paths that a real store has, since clients see that order in lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The place of one object. The collection is that of [`crate::resource::Resource::collection`].
    pub fn new(collection: &str, namespace: &str, name: &str) -> Self {
        match namespace {
            "" => Self(format!("{collection}/{name}")),
            _ => Self(format!("{collection}/{namespace}/{name}")),
        }
    }

    /// `true` if it lies in this collection, and in this namespace if one is given.
    pub fn is_in(&self, collection: &str, namespace: &str) -> bool {
        let within = |text: &str, part: &str| text.strip_prefix(part)?.strip_prefix('/').map(str::len);
        match within(&self.0, collection) {
            None => false,
            Some(_) if namespace.is_empty() => true,
            Some(length) => within(&self.0[self.0.len() - length..], namespace).is_some(),
        }
    }

    /// The collection that it lies in.
    pub fn collection(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The part after the collection: namespace and name.
    pub fn place(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, place)| place)
    }
}

/// The objects and their recent history.
#[derive(Debug, Clone)]
pub struct Store {
    objects: BTreeMap<Key, Arc<Value>>,
    revision: u64,
    history: VecDeque<Event>,
    /// Events up to this revision may have been forgotten.
    forgotten: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), revision: 1, history: VecDeque::new(), forgotten: 1 }
    }
}

impl Store {
    /// The revision of the latest change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Up to which revision events may have been forgotten.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// The objects of a collection, in one namespace or in all, in the order of lists.
    pub fn list<'a>(
        &'a self,
        collection: &str,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
        range(&self.objects, collection, namespace)
    }

    /// Everything there is.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        self.objects.iter()
    }

    /// A collection as it was after `revision`, or `None` when that has been forgotten.
    pub fn list_at(&self, revision: u64, collection: &str, namespace: &str) -> Option<Vec<(Key, Arc<Value>)>> {
        if revision < self.forgotten {
            return None;
        }
        let mut then: BTreeMap<Key, Arc<Value>> =
            self.list(collection, namespace).map(|(key, object)| (key.clone(), object.clone())).collect();
        for event in self.history.iter().rev().take_while(|event| event.revision > revision) {
            if event.key.is_in(collection, namespace) {
                match &event.before {
                    Some(before) => then.insert(event.key.clone(), before.clone()),
                    None => then.remove(&event.key),
                };
            }
        }
        Some(then.into_iter().collect())
    }

    /// The events after `revision`, or `None` when some of them may have been forgotten.
    pub fn events_after(&self, revision: u64) -> Option<impl Iterator<Item = &Event>> {
        if revision < self.forgotten {
            return None;
        }
        let start = self.history.partition_point(|event| event.revision <= revision);
        Some(self.history.range(start..))
    }

    /// Stores an object, which gets the next revision, and returns it.
    pub fn put(&mut self, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object::set(&mut object, "resourceVersion", self.revision.to_string());
        let object = Arc::new(object);
        let before = self.objects.insert(key.clone(), object.clone());
        let change = if before.is_some() { Change::Modified } else { Change::Added };
        self.remember(Event { revision: self.revision, change, key, object: object.clone(), before });
        object
    }

    /// Takes an object out and returns it as it was, with the revision of its deletion.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let before = self.objects.remove(key)?;
        self.revision += 1;
        let mut object = Value::clone(&before);
        object::set(&mut object, "resourceVersion", self.revision.to_string());
        let object = Arc::new(object);
        let event = Event {
            revision: self.revision,
            change: Change::Deleted,
            key: key.clone(),
            object: object.clone(),
            before: Some(before),
        };
        self.remember(event);
        Some(object)
    }

    fn remember(&mut self, event: Event) {
        self.history.push_back(event);
        if self.history.len() > REMEMBERED
            && let Some(oldest) = self.history.pop_front()
        {
            self.forgotten = oldest.revision;
        }
    }

    /// Forgets all that happened, as a compaction does.
    pub fn forget(&mut self) {
        self.history.clear();
        self.forgotten = self.revision;
    }
}

fn range<'a>(
    objects: &'a BTreeMap<Key, Arc<Value>>,
    collection: &str,
    namespace: &str,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> + use<'a> {
    let prefix = Key::new(collection, namespace, "").0;
    let mut end = prefix.clone();
    // The letter after the slash that the prefix ends with.
    end.pop();
    end.push('0');
    objects.range((Bound::Included(Key(prefix)), Bound::Excluded(Key(end))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(namespace: &str, name: &str) -> Key {
        Key::new("configmaps", namespace, name)
    }

    fn names(found: impl IntoIterator<Item = Key>) -> Vec<String> {
        found.into_iter().map(|key| key.place().to_owned()).collect()
    }

    #[test]
    fn lists_are_ordered_as_paths_and_bounded() {
        let mut store = Store::default();
        for (namespace, name) in [("a-b", "x"), ("a", "y"), ("a", "x")] {
            store.put(key(namespace, name), json!({}));
        }
        store.put(Key::new("configmaps.x", "a", "no"), json!({}));
        let list = |namespace: &str| names(store.list("configmaps", namespace).map(|(key, _)| key.clone()));
        assert_eq!(list(""), ["a-b/x", "a/x", "a/y"]);
        assert_eq!(list("a"), ["a/x", "a/y"]);
        assert!(key("a-b", "x").is_in("configmaps", "a-b"));
        assert!(!key("a-b", "x").is_in("configmaps", "a"));
    }

    #[test]
    fn the_past_can_be_listed_until_it_is_forgotten() {
        let mut store = Store::default();
        store.put(key("a", "x"), json!({"v": 1}));
        let then = store.revision();
        store.put(key("a", "x"), json!({"v": 2}));
        store.put(key("a", "y"), json!({}));
        store.remove(&key("a", "x"));
        let past = store.list_at(then, "configmaps", "").unwrap();
        assert_eq!(past.len(), 1);
        assert_eq!(past[0].1["v"], 1);
        assert_eq!(store.events_after(then).unwrap().count(), 3);
        store.forget();
        assert!(store.list_at(then, "configmaps", "").is_none());
        assert!(store.events_after(then).is_none());
        assert_eq!(store.events_after(store.revision()).unwrap().count(), 0);
    }
}
