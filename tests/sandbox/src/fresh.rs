//! A new cluster, with the objects that a control plane creates by itself.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::clock::{self, Time};
use crate::object::{self, text};
use crate::resource::Resources;
use crate::state::State;
use crate::store::Key;

const OBJECTS: &[u8] = include_bytes!("../published/objects.json.gz");
/// Stands for the time of the start, and for its day, in the stored objects.
const START: (&str, &str) = ("1970-01-01T00:00:00Z", "1970-01-01");

/// Such a cluster, started at that time.
pub fn state(now: Time) -> State {
    state_with(Resources::new(std::iter::empty()), now)
}

/// Such a cluster that serves these resources, with the objects that are of them.
pub fn state_with(resources: Resources, now: Time) -> State {
    let mut state = State::new(resources);
    for mut object in objects(now) {
        let resource = state.resources.of_kind(text(&object, "/apiVersion"), text(&object, "/kind"));
        let Some(resource) = resource.cloned() else { continue };
        object::set(&mut object, "uid", clock::uuid());
        let key = Key::new(&resource.collection, object::namespace(&object), object::name(&object));
        state.put(key, object);
    }
    state
}

fn objects(now: Time) -> Vec<Value> {
    let mut json = String::new();
    GzDecoder::new(OBJECTS).read_to_string(&mut json).expect("published/objects.json.gz");
    let now = now.to_string();
    let json = json.replace(START.0, &now).replace(START.1, &now[..START.1.len()]);
    serde_json::from_str(&json).expect("published/objects.json.gz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_begins_with_its_namespaces_and_roles() {
        let now = Time::parse("2026-01-02T03:04:05Z").unwrap();
        let state = state(now);
        let found = |collection: &str, name: &str| state.find(collection, "", name).cloned().unwrap();
        let namespaces: Vec<&str> = state.store.list("namespaces", "").map(|(key, _)| key.place()).collect();
        assert_eq!(namespaces, ["default", "kube-node-lease", "kube-public", "kube-system"]);
        assert_eq!(object::field(&found("namespaces", "default"), "creationTimestamp"), now.to_string());
        let admin = found("clusterroles.rbac.authorization.k8s.io", "cluster-admin");
        assert!(!object::uid(&admin).is_empty());
        assert!(state.find("services", "default", "kubernetes").is_some());
    }
}
