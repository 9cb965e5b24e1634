//! Fields that leave the repository to be set by another controller from then on, such as the replicas of a Deployment that gets
//! an autoscaler.
//!
//! When an apply leaves a field out that was applied before, the API server takes it away, and what follows is the default: one
//! replica. So the sync [gives such a field up](https://kubernetes.io/docs/reference/using-api/server-side-apply/#transferring-ownership)
//! first, and the value that runs stays.

use serde_json::Value;

use super::entry::{ManagedFieldsEntry, our_entry_mut};
use crate::model::object::Object;

/// The fields, each in `spec`.
pub(super) const RUNNING: [&str; 2] = ["replicas", "parallelism"];

/// The one of these fields that the entry has. No kind has two of them.
pub fn running_field(entry: &ManagedFieldsEntry) -> Option<&'static str> {
    let spec = entry.fields.get("f:spec")?;
    RUNNING.into_iter().find(|field| spec.get(format!("f:{field}")).is_some())
}

/// `true` if the field is declared.
pub fn is_running_field_declared(declared: &Object, field: &str) -> bool {
    declared.0.get("spec").and_then(|spec| spec.get(field)).is_some_and(|value| !value.is_null())
}

/// Takes those of these fields that are not declared out of our entry, so that the next apply leaves them as they are. `entries`
/// is `metadata.managedFields` as JSON.
pub fn release_running(declared: &Object, entries: &mut [Value]) {
    let Some(ours) = our_entry_mut(entries) else { return };
    let Some(fields) = ours.get_mut("fieldsV1").and_then(Value::as_object_mut) else { return };
    let Some(spec) = fields.get_mut("f:spec").and_then(Value::as_object_mut) else { return };
    for field in RUNNING.iter().filter(|field| !is_running_field_declared(declared, field)) {
        spec.remove(&format!("f:{field}"));
    }
    // An empty node would mean all of `spec`.
    if spec.keys().all(|key| key == ".") {
        fields.remove("f:spec");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::object;
    use super::*;
    use crate::model::metadata::FIELD_MANAGER;

    #[test]
    fn a_field_that_is_not_declared_any_more_is_given_up() {
        let deployment = |spec: Value| object(json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec}));
        let entry = |manager: &str, spec: Value| json!({"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": spec}});
        let fields = json!({"f:paused": {}, "f:replicas": {}});
        let mut entries = vec![entry("other", fields.clone()), entry(FIELD_MANAGER, fields.clone())];
        let before = entries.clone();
        let declared = deployment(json!({"replicas": 2, "parallelism": 1}));
        release_running(&declared, &mut entries);
        assert!(entries == before && is_running_field_declared(&declared, "replicas"), "{entries:?}");
        let declared = deployment(json!({"paused": true}));
        release_running(&declared, &mut entries);
        assert_eq!(entries, [before[0].clone(), entry(FIELD_MANAGER, json!({"f:paused": {}}))]);
        assert!(!is_running_field_declared(&declared, "replicas"));
        let mut entries = vec![entry(FIELD_MANAGER, json!({"f:replicas": {}}))];
        release_running(&deployment(json!({})), &mut entries);
        assert_eq!(entries[0]["fieldsV1"], json!({}), "nothing else of spec");
        let parsed = |entry: &Value| serde_json::from_value::<ManagedFieldsEntry>(entry.clone()).expect("an entry");
        assert_eq!([&before[1], &entries[0]].map(|entry| running_field(&parsed(entry))), [Some("replicas"), None]);
    }
}
