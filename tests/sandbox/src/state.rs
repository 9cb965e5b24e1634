//! Everything that a restart keeps: the objects, and which resources are served because of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::convert;
use crate::failure::Failure;
use crate::object;
use crate::resource::{Resource, Resources, serve_the_same};
use crate::store::{Key, Store};

/// Where CustomResourceDefinitions are stored.
pub const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// The state of a cluster.
#[derive(Debug, Clone)]
pub struct State {
    /// Objects and their history.
    pub store: Store,
    /// The served resources.
    pub resources: Arc<Resources>,
    /// The custom resources as they were read last: their schemas are long.
    readings: BTreeMap<Key, ReadResource>,
}

/// A stored custom resource, and the form in which it is read.
#[derive(Debug, Clone)]
struct ReadResource {
    resource: Arc<Resource>,
    stored: Arc<Value>,
    read: Arc<Value>,
}

impl State {
    /// A cluster without objects.
    pub fn new(resources: Resources) -> Self {
        Self { store: Store::default(), resources: Arc::new(resources), readings: BTreeMap::new() }
    }

    /// Stores an object and serves what it defines.
    pub fn put(&mut self, key: Key, object: Value) -> Arc<Value> {
        let defined = (key.collection() == CRDS).then(|| self.store.get(&key).cloned());
        let stored = self.store.put(key, object);
        let same = |before: Arc<Value>| is_served(&before) == is_served(&stored) && serve_the_same(&before, &stored);
        if defined.is_some_and(|before| !before.is_some_and(same)) {
            self.serve();
        }
        stored
    }

    /// Removes an object and what it defines.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let removed = self.store.remove(key);
        self.readings.remove(key);
        if key.collection() == CRDS {
            self.serve();
        }
        removed
    }

    fn serve(&mut self) {
        let accepted = self.store.list(CRDS, "").map(|(_, crd)| crd).filter(|crd| is_served(crd));
        self.resources = Arc::new(self.resources.with(accepted));
    }

    /// An object by its resource and name, as it is stored.
    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.store.get(&Key::new(&resource.collection, namespace, name))
    }

    /// An object, converted to the version of the resource.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Value>, Failure> {
        let stored = self.get(resource, namespace, name).ok_or_else(|| Failure::not_found(resource.about(name)))?;
        Ok(convert::from_stored(resource, stored))
    }

    /// A stored object, converted to the version of the resource.
    pub fn reading(&mut self, resource: &Arc<Resource>, key: &Key, stored: &Arc<Value>) -> Arc<Value> {
        if resource.custom.is_none() {
            return convert::from_stored(resource, stored);
        }
        let known = self.readings.get(key);
        let known = known.filter(|one| Arc::ptr_eq(&one.resource, resource) && Arc::ptr_eq(&one.stored, stored));
        if let Some(known) = known {
            return Arc::clone(&known.read);
        }
        let read = convert::from_stored(resource, stored);
        let (resource, stored) = (Arc::clone(resource), Arc::clone(stored));
        self.readings.insert(key.clone(), ReadResource { resource, stored, read: Arc::clone(&read) });
        read
    }

    /// A built-in object by its collection and name.
    pub fn find(&self, collection: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.store.get(&Key::new(collection, namespace, name))
    }
}

/// `true` if the names of a CustomResourceDefinition are accepted, so that its objects can be read and written.
fn is_served(crd: &Value) -> bool {
    object::list(crd, "/status/conditions")
        .iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}
