//! Creating, changing and deleting objects, for clients and controllers alike.

mod create;
mod delete;
mod metadata;
mod update;

use std::sync::Arc;

use serde_json::Value;

pub use create::create;
pub use delete::{Propagation, Wish, delete};
pub use update::{expect_uid, update};

use crate::clock::Time;
use crate::convert;
use crate::failure::Failure;
use crate::merge;
use crate::resource::{Resource, group_version};
use crate::schema;
use crate::state::State;
use crate::store::Key;

/// A write: the object, the client, and the options.
#[derive(Debug, Clone)]
pub struct Write {
    /// In the version of the request.
    pub resource: Arc<Resource>,
    /// Empty for what is cluster-scoped.
    pub namespace: String,
    /// Empty when the object itself says it.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// The field manager.
    pub manager: String,
    /// `true` if nothing is stored.
    pub dry_run: bool,
    /// The time of the request.
    pub now: Time,
}

impl Write {
    /// Where the object is stored.
    pub fn key(&self) -> Key {
        Key::new(&self.resource.collection, &self.namespace, &self.name)
    }

    /// A stored object in the version of the request.
    fn answer(&self, stored: &Arc<Value>) -> Arc<Value> {
        convert::from_stored(&self.resource, stored)
    }
}

/// The ownership of the fields of a new object: already set, or to be set for the fields that the writer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// An apply has computed it.
    Computed,
    /// By comparison with the live object.
    ToCompute,
}

/// The result of a write.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The object in the version of the request.
    pub object: Arc<Value>,
    /// `true` if the object is new.
    pub created: bool,
    /// Warnings for the client.
    pub warnings: Vec<String>,
}

/// Computes the ownership of what was written, unless that has been done.
fn own(state: &State, write: &Write, live: Option<&Value>, new: Value, ownership: Ownership) -> Value {
    match ownership {
        Ownership::ToCompute => merging(state, write, |merging| merge::update(merging, live, new)),
        Ownership::Computed => new,
    }
}

/// An object that has been found good in the form in which it is stored.
fn settle(resource: &Resource, new: Value) -> Result<Value, Failure> {
    let mut stored = convert::to_stored(resource, new);
    // These are stored as JSON, which knows empty lists. Custom resources are looked at again when they are read.
    let verbatim = ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&resource.group.as_str());
    if !verbatim && resource.custom.is_none() {
        schema::store(&resource.ty, &mut stored).map_err(|error| Failure::new(500, "", error))?;
    }
    Ok(stored)
}

/// Calls `act` with a write as [`crate::merge`] sees it.
pub fn merging<T>(state: &State, write: &Write, act: impl FnOnce(&merge::Write<'_>) -> T) -> T {
    let resource = &write.resource;
    let other_versions = |api_version: &str| {
        let (group, version) = group_version(api_version);
        state.resources.get(group, version, &resource.plural).map(|other| other.ty.clone())
    };
    act(&merge::Write {
        kind: &resource.ty,
        api_version: &resource.api_version(),
        manager: &write.manager,
        subresource: &write.subresource,
        now: &write.now.to_string(),
        reset_fields: update::reset_fields(resource, &write.subresource),
        other_versions: &other_versions,
    })
}
