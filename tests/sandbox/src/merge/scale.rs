//! The owners of the number of replicas after a write to `scale`.
//!
//! The API server tells the owners of a scale from those of the object by their version, `autoscaling/v1`, and brings the
//! two together again. On the way entries of updates lose their times, and one manager may get two entries.

use serde_json::{Value, json};

use super::managed::{self, Managed, Operation, Owned, Owner};
use super::path::{Path, Step};
use super::set::Set;
use super::{Refusal, Write};
use crate::schema;

const VERSION: &str = "autoscaling/v1";

/// `new` with the entries that a write to its scale leaves. `replicas` is where the object has their number, as in
/// `["spec", "replicas"]`.
#[must_use]
pub fn scale(write: &Write<'_>, live: &Value, mut new: Value, replicas: &[&str]) -> Value {
    let place = place(replicas);
    let parents = parents(write, live);
    let before = of_scale(&parents, &place);
    let of_scale = owners(write, &scale_of(live, replicas), &scale_of(&new, replicas), before);
    managed::encode(&mut new, of_parent(write, &parents, &of_scale, &place));
    new
}

/// Applies `config` to the scale of `live`. The result is the scale and the object with the entries that this leaves.
///
/// # Errors
/// When it is not of its type, or changes what others own and `force` is not set.
pub fn apply_scale(
    write: &Write<'_>,
    live: &Value,
    scale: &Value,
    config: &Value,
    replicas: &[&str],
    force: bool,
) -> Result<(Value, Value), Refusal> {
    let kind = schema::kind("autoscaling", "v1", "Scale");
    let kind = kind.ok_or_else(|| Refusal::Failed("no type of scales is known".to_owned()))?;
    let place = place(replicas);
    let parents = parents(write, live);
    let of_scale = of_scale(&parents, &place);
    // A change of the scale is converted to a version of the object. The scale of a custom resource has no such version.
    let custom = write.kind.custom.is_some();
    let why = "request to convert CR to an invalid group/version: autoscaling/v1";
    let lost = || Refusal::Failed(format!("failed to convert object to proper version: {why}"));
    if custom && of_scale.is_empty() {
        return Err(lost());
    }
    let mut before = scale.clone();
    managed::encode(&mut before, of_scale);
    let of_the_scale =
        Write { kind: &kind, api_version: VERSION, reset_fields: &[], other_versions: &|_| None, ..*write };
    let mut scale = super::apply(&of_the_scale, Some(&before), config, force)?;
    if custom && scale["spec"] != before["spec"] {
        return Err(lost());
    }
    let after = managed::decode(&scale).unwrap_or_default();
    managed::strip(&mut scale);
    let mut new = live.clone();
    managed::encode(&mut new, of_parent(write, &parents, &after, &place));
    Ok((scale, new))
}

fn place(replicas: &[&str]) -> Path {
    replicas.iter().map(|name| Step::field(name)).collect()
}

/// The entries of an object whose versions are known.
fn parents(write: &Write<'_>, live: &Value) -> Managed {
    let mut parents = managed::decode(live).unwrap_or_default();
    parents.retain(|_, owned| {
        owned.api_version == write.api_version || (write.other_versions)(&owned.api_version).is_some()
    });
    parents
}

/// The entries of a scale, by those of its object.
fn of_scale(parents: &Managed, place: &[Step]) -> Managed {
    let owning = parents.iter().filter(|(_, owned)| owned.set.has(place));
    let of_scale = owning.map(|(owner, owned)| {
        let owned = Owned { api_version: VERSION.to_owned(), set: Set::of(&[&["spec", "replicas"]]), ..owned.clone() };
        let version = if owner.operation == Operation::Apply { "" } else { VERSION };
        (Owner { api_version: version.to_owned(), ..owner.clone() }, owned)
    });
    of_scale.collect()
}

/// The entries of an object, by those of its scale.
fn of_parent(write: &Write<'_>, parents: &Managed, of_scale: &Managed, place: &[Step]) -> Managed {
    let number = [Step::field("spec"), Step::field("replicas")];
    let mut all = Managed::new();
    let mut own = Set::default();
    own.insert(place);
    for (owner, owned) in parents {
        let kept = of_scale.contains_key(owner) || !owned.set.has(place);
        let set = if kept { owned.set.clone() } else { owned.set.difference(&own) };
        if !set.is_empty() {
            all.insert(owner.clone(), Owned { set, ..owned.clone() });
        }
    }
    let new = of_scale.iter().filter(|(owner, owned)| !parents.contains_key(owner) && owned.set.has(&number));
    for (owner, _) in new {
        let owned = Owned { api_version: write.api_version.to_owned(), time: None, set: own.clone() };
        all.insert(owner.clone(), owned);
    }
    all
}

/// The owners of the scale's replicas after an update.
fn owners(write: &Write<'_>, live: &Value, new: &Value, before: Managed) -> Managed {
    let Some(kind) = schema::kind("autoscaling", "v1", "Scale").filter(|_| !before.is_empty()) else {
        // A number of replicas without an owner gets none.
        return before;
    };
    let write = Write { kind: &kind, api_version: VERSION, reset_fields: &[], other_versions: &|_| None, ..*write };
    let mut after = write.updated(live, new, before, write.manager);
    managed::cap(&mut after);
    after
}

fn scale_of(object: &Value, replicas: &[&str]) -> Value {
    let number = object.pointer(&format!("/{}", replicas.join("/"))).filter(|number| **number != 0);
    let spec = number.map_or_else(|| json!({}), |number| json!({"replicas": number}));
    json!({"metadata": {}, "spec": spec})
}
