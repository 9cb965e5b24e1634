//! Field ownership: which declared fields of an object are still ours. It is read from `metadata.managedFields` and compared
//! with the declared form, without the kind's schema.
//!
//! The agent writes by server-side applies with one field manager, and patches an object before only where the apply is refused. So the
//! API server keeps, in the `Apply` entry of that manager, exactly those fields that no other client has changed or removed since. An
//! entry is written in
//! [FieldsV1](https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management): `f:` is a field, `k:` a
//! list item by its keys, `v:` a member of a set, `.` the item itself, and an empty node is something owned as a whole.
//!
//! - `built_in`: facts about the types of the API server itself;
//! - `entry`: one entry, and digests that tell when entries change;
//! - `coverage`: the declared fields that our entry lacks;
//! - `reclaim`: list items that another client put in the place of ours;
//! - `adopt`: the declared fields that tools own that wrote an object before;
//! - `overwrite`: the patch that writes a declared object over a live one, where the API server refuses to apply it;
//! - `unions`: fields that other clients own and that cannot be beside a declared one;
//! - `running`: fields that stay as they run when they are not declared any more;
//! - `compare`: the declared fields whose live value is another, for when an entry cannot tell;
//! - `projection`: the part of an object that our entry covers, to be compared with itself;
//! - `unfinished`: what the API server does not do with the first apply, and does with the next.

mod built_in;
mod entry;
mod coverage;
mod reclaim;
mod adopt;
mod overwrite;
mod unions;
mod running;
mod spelling;
mod compare;
mod projection;
mod unfinished;

pub use adopt::{FormerWriter, adopt, has_former_writer, keep_proof};
pub use compare::{Basis, differences};
pub use coverage::{Coverage, coverage, is_list_item, may_vanish};
pub use entry::{ManagedFieldsEntry, digest_of_others, digest_of_value, our_entry};
pub use overwrite::{RefusedApply, begin_anew, leave_version, overwrite};
pub use projection::{declared_projection, projection};
pub use reclaim::reclaim;
pub use running::{is_running_field_declared, release_running, running_field};
pub use unfinished::is_unfinished;
pub use unions::take_members;

/// A Service and the entry that an apply of it leaves, for the tests of this module.
#[cfg(test)]
mod fixture {
    use serde_json::{Map, Value, json};

    use crate::compile::declared::DeclaredObject;
    use crate::model::object::Object;

    pub(super) fn object(value: Value) -> Object {
        serde_json::from_value(value).expect("a map")
    }

    pub(super) fn declared(value: Value) -> DeclaredObject {
        DeclaredObject::new(object(value))
    }

    pub(super) fn service() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "a", "namespace": "b", "labels": {"x": "1"}},
            "spec": {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}], "selector": {"app": "a"}, "externalIPs": []},
        })
    }

    pub(super) fn fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:x": {}}},
            "f:spec": {
                "f:externalIPs": {},
                "f:selector": {},
                "f:ports": {
                    "k:{\"port\":53,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
                    "k:{\"port\":53,\"protocol\":\"UDP\"}": {".": {}, "f:port": {}, "f:protocol": {}},
                },
            },
        })
    }

    /// These fields with the annotations that every apply adds.
    pub(super) fn applied(mut fields: Value) -> Map<String, Value> {
        let added = json!({
            "f:configmanagement.gke.io/token": {},
            "f:configsync.gke.io/declared-hash": {},
            "f:configsync.gke.io/git-context": {},
        });
        fields["f:metadata"]["f:annotations"] = added;
        serde_json::from_value(fields).expect("a map")
    }
}
