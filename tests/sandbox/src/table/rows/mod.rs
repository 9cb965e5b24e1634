//! The cells of built-in kinds, in the order of their published columns.

mod network;
mod others;
mod storage;
mod workloads;

use serde_json::Value;

use crate::clock::Time;
use crate::object;

/// All cells of an object.
pub(super) fn cells(collection: &str, one: &Value, now: Time) -> Vec<Value> {
    if collection == "events" {
        return others::event(one, now); // The only table that does not begin with the name.
    }
    let kinds = [workloads::cells, network::cells, storage::cells, others::cells];
    let own = kinds.into_iter().find_map(|kind| kind(collection, one, now));
    // Kinds without cells of their own show the time of creation.
    let own = own.unwrap_or_else(|| vec![one["metadata"]["creationTimestamp"].clone()]);
    std::iter::once(object::name(one).into()).chain(own).collect()
}
