//! Who owns the number of replicas after a write to `scale`.
//!
//! The API server tells the owners of a scale from those of the object by their version, `autoscaling/v1`, and brings the
//! two together again. On the way entries of updates lose their times, and one manager may get two entries.

use serde_json::{Value, json};

use super::Write;
use super::managed::{self, Managed, Operation, Owned, Owner};
use super::path::{Path, Step};
use super::set::Set;
use crate::schema;

const VERSION: &str = "autoscaling/v1";

/// `new` with the entries that a write to its scale leaves. `replicas` is where the object has their number, as in
/// `["spec", "replicas"]`.
#[must_use]
pub fn scale(write: &Write<'_>, live: &Value, mut new: Value, replicas: &[&str]) -> Value {
    let place: Path = replicas.iter().map(|name| Step::Field((*name).to_owned())).collect();
    let mut parents = managed::decode(live).unwrap_or_default();
    parents.retain(|_, owned| {
        owned.api_version == write.api_version || (write.other_versions)(&owned.api_version).is_some()
    });
    let of_scale = owners(write, &scale_of(live, replicas), &scale_of(&new, replicas), &parents, &place);
    let mut all = Managed::new();
    for (owner, owned) in &parents {
        let kept = of_scale.contains_key(owner) || !owned.set.has(&place);
        let mut set = owned.set.clone();
        if !kept {
            let mut given = Set::default();
            given.insert(&place);
            set = set.difference(&given);
        }
        if !set.is_empty() {
            all.insert(owner.clone(), Owned { set, ..owned.clone() });
        }
    }
    for owner in of_scale.keys().filter(|owner| !parents.contains_key(owner)) {
        let mut set = Set::default();
        set.insert(&place);
        all.insert(owner.clone(), Owned { api_version: write.api_version.to_owned(), time: None, set });
    }
    managed::encode(&mut new, all);
    new
}

/// The owners of the scale's replicas after the write.
fn owners(write: &Write<'_>, live: &Value, new: &Value, parents: &Managed, place: &[Step]) -> Managed {
    let owning = parents.iter().filter(|(_, owned)| owned.set.has(place));
    let before = owning.map(|(owner, owned)| {
        let owned = Owned { api_version: VERSION.to_owned(), set: Set::of(&[&["spec", "replicas"]]), ..owned.clone() };
        let version = if owner.operation == Operation::Apply { "" } else { VERSION };
        (Owner { api_version: version.to_owned(), ..owner.clone() }, owned)
    });
    let before: Managed = before.collect();
    let Some(kind) = schema::kind("autoscaling", "v1", "Scale").filter(|_| !before.is_empty()) else {
        // Where nobody owns it nobody comes to own it.
        return before;
    };
    let write = Write { kind: &kind, api_version: VERSION, reset_fields: &[], other_versions: &|_| None, ..*write };
    let mut after = write.updated(live, new, before, write.manager);
    managed::cap(&mut after);
    let number = [Step::Field("spec".into()), Step::Field("replicas".into())];
    after.retain(|_, owned| owned.set.has(&number));
    after
}

fn scale_of(object: &Value, replicas: &[&str]) -> Value {
    let number = object.pointer(&format!("/{}", replicas.join("/"))).filter(|number| **number != 0);
    let spec = number.map_or_else(|| json!({}), |number| json!({"replicas": number}));
    json!({"metadata": {}, "spec": spec})
}
