//! Requests of controllers. They are handled like those of clients, and no right is missing for them.

use std::sync::Arc;

use serde_json::Value;

use crate::clock::Time;
use crate::merge;
use crate::object;
use crate::resource::Resource;
use crate::state::State;
use crate::store::Key;
use crate::write::{self, Ownership, Wish, Write};

/// The manager of most of them.
pub(super) const MANAGER: &str = "kube-controller-manager";

/// The state in the hand of a controller.
pub(super) struct Hand<'a> {
    pub(super) state: &'a mut State,
    pub(super) now: Time,
}

impl Hand<'_> {
    /// A built-in object.
    pub(super) fn find(&self, collection: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.state.find(collection, namespace, name).cloned()
    }

    fn write(&self, key: &Key, object: &Value, subresource: &str, manager: &str) -> Option<Write> {
        Some(Write {
            resource: self.resource(key.collection())?,
            namespace: object::namespace(object).to_owned(),
            name: object::name(object).to_owned(),
            subresource: subresource.to_owned(),
            manager: manager.to_owned(),
            dry_run: false,
            now: self.now,
        })
    }

    fn resource(&self, collection: &str) -> Option<Arc<Resource>> {
        self.state.resources.of_collection(collection).cloned()
    }

    /// Changes an object, if it is still there and takes the change.
    pub(super) fn change(&mut self, key: &Key, subresource: &str, manager: &str, edit: impl FnOnce(&mut Value)) {
        let Some(live) = self.state.store.get(key).cloned() else { return };
        let Some(write) = self.write(key, &live, subresource, manager) else { return };
        let before = self.state.reading(&write.resource, key, &live);
        let mut new = Value::clone(&before);
        edit(&mut new);
        // Mostly a controller finds everything as it should be.
        if new != *before {
            // An object that breaks rules that came after it stays as it is.
            let _ = write::update(self.state, &write, &live, &before, new, Ownership::ToCompute);
        }
    }

    /// Applies a configuration to an object that is there.
    pub(super) fn apply(&mut self, key: &Key, manager: &str, edit: impl FnOnce(&mut Value)) {
        let Some(live) = self.state.store.get(key).cloned() else { return };
        let Some(write) = self.write(key, &live, "", manager) else { return };
        let before = self.state.reading(&write.resource, key, &live);
        let mut config = serde_json::json!({
            "apiVersion": before["apiVersion"], "kind": before["kind"], "metadata": {"name": object::name(&live)},
        });
        object::set(&mut config, "namespace", object::namespace(&live));
        edit(&mut config);
        let applied = write::merging(self.state, &write, |merging| merge::apply(merging, Some(&before), &config, true));
        if let Ok(new) = applied {
            let _ = write::update(self.state, &write, &live, &before, new, Ownership::Computed);
        }
    }

    /// Makes an object, if there is none of its name and its namespace takes it.
    pub(super) fn create(&mut self, collection: &str, manager: &str, mut object: Value) -> Option<Arc<Value>> {
        let resource = self.resource(collection)?;
        object["apiVersion"] = resource.api_version().into();
        object["kind"] = resource.kind.as_str().into();
        crate::schema::decode(&resource.ty, &mut object).ok()?;
        crate::schema::default(&resource.ty, &mut object);
        crate::kinds::default(&resource, &mut object);
        let key = Key::new(collection, object::namespace(&object), object::name(&object));
        let write = self.write(&key, &object, "", manager)?;
        write::create(self.state, &write, object, Ownership::ToCompute).ok().map(|written| written.object)
    }

    /// Deletes an object, if it is still there.
    pub(super) fn delete(&mut self, key: &Key, wish: &Wish) {
        let Some(live) = self.state.store.get(key).cloned() else { return };
        let Some(write) = self.write(key, &live, "", MANAGER) else { return };
        let _ = write::delete(self.state, &write, wish);
    }
}

/// Sets a condition, and the time of its transition when its status changes. Keeps what has been said already.
pub(crate) fn condition(object: &mut Value, now: Time, condition: [&str; 4]) {
    let [kind, status, reason, message] = condition;
    let conditions = object::map_at(object, "status").entry("conditions").or_insert_with(|| Value::Array(Vec::new()));
    if !conditions.is_array() {
        *conditions = Value::Array(Vec::new());
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    let mut new = serde_json::json!({
        "type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now.to_string(),
    });
    match conditions.iter_mut().find(|one| one["type"] == kind) {
        Some(old) => {
            if old["status"] == status {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}
