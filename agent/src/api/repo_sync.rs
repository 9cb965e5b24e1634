//! RepoSync: the sync of one namespace.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SyncSpec;
#[cfg(feature = "cluster")]
use super::SyncStatus;

/// The source of a RepoSync, and how its objects are applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "configsync.gke.io",
        version = "v1beta1",
        kind = "RepoSync",
        namespaced,
        status = "SyncStatus",
        doc = "RepoSync keeps a namespace as a source of truth declares it."
    )
)]
#[serde(transparent)]
#[schemars(transform = without_root_fields)]
pub struct RepoSyncSpec(pub SyncSpec);

/// Removes the fields that only a RootSync has.
fn without_root_fields(schema: &mut Schema) {
    for (block, field) in [
        ("helm", "namespace"),
        ("helm", "deployNamespace"),
        ("override", "namespaceStrategy"),
        ("override", "roleRefs"),
    ] {
        if let Some(Value::Object(properties)) = schema.pointer_mut(&format!("/properties/{block}/properties")) {
            properties.remove(field);
        }
    }
    if let Some(format) = schema.pointer_mut("/properties/sourceFormat") {
        format["pattern"] = "^(unstructured|)$".into();
        format["description"] = "Layout of the source: unstructured, the only one and the default.".into();
    }
}
