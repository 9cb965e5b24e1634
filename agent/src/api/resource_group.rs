//! ResourceGroup: the inventory of a sync, with the status of each object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Time, is_default};
use crate::model::object::ObjectId;

/// The objects of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cluster", derive(kube::CustomResource))]
#[cfg_attr(
    feature = "cluster",
    kube(
        group = "kpt.dev",
        version = "v1alpha1",
        kind = "ResourceGroup",
        namespaced,
        status = "ResourceGroupStatus",
        doc = "ResourceGroup lists the objects that a sync manages, with their status."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroupSpec {
    /// The objects.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Vec<ResourceId>,
    /// Further groups. A sync writes none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subgroups: Vec<GroupRef>,
    /// Description of the group. A sync writes none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(with = "Option<Descriptor>")]
    pub descriptor: Descriptor,
}

/// The identity of an object without its API version. An empty field is written too.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ResourceId {
    /// API group, empty for the core group.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl From<&ObjectId> for ResourceId {
    fn from(id: &ObjectId) -> Self {
        let [group, kind, namespace, name] = [id.group(), id.kind(), id.namespace(), id.name()].map(str::to_owned);
        Self { group, kind, namespace, name }
    }
}

impl From<ResourceId> for ObjectId {
    fn from(id: ResourceId) -> Self {
        Self::from_parts([&id.group, &id.kind, &id.namespace, &id.name])
    }
}

/// The name of another ResourceGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct GroupRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Description of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Descriptor {
    /// Kind of application.
    #[serde(default, rename = "type", skip_serializing_if = "is_default")]
    pub kind: String,
    /// Revision of the group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub revision: String,
    /// Text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub description: String,
    /// Links.
    #[serde(default, skip_serializing_if = "is_default")]
    pub links: Vec<Link>,
}

/// A link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// Title of the link.
    pub description: String,
    /// URL.
    pub url: String,
}

/// Status of a group and of each of its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroupStatus {
    /// Generation of the spec that the status describes.
    #[serde(default)]
    pub observed_generation: i64,
    /// Status of each object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resource_statuses: Vec<ResourceStatus>,
    /// Status of each further group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub subgroup_statuses: Vec<GroupStatus>,
    /// Conditions of the group: Reconciling first, Stalled second, others by type.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<GroupCondition>,
}

/// Status of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// The object.
    #[serde(flatten)]
    pub id: ResourceId,
    /// InProgress, Failed, Current, Terminating, NotFound or Unknown.
    #[schemars(extend("enum" = ["InProgress", "Failed", "Current", "Terminating", "NotFound", "Unknown"]))]
    pub status: String,
    /// First seven characters of the commit that last changed the object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source_hash: String,
    /// Conditions of the object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<GroupCondition>,
    /// Last action on the object: Apply or Delete.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: String,
    /// Result of the action: Pending, Succeeded, Skipped or Failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub actuation: String,
    /// Result of waiting until the object is ready: Pending, Succeeded, Skipped, Timeout or Failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reconcile: String,
}

/// Status of a further group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct GroupStatus {
    /// The group.
    #[serde(flatten)]
    pub group: GroupRef,
    /// InProgress, Failed, Current, Terminating, NotFound or Unknown.
    pub status: String,
    /// Conditions of the group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<GroupCondition>,
}

/// A condition of a group or an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupCondition {
    /// Reconciling, Stalled or OwnershipOverlap.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Reason in one word.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// Reason as text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// Time of the last change of the status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_in_full() {
        let id = ObjectId::from_parts(["", "Namespace", "", "a"]);
        let status = ResourceStatus { id: ResourceId::from(&id), status: "Current".into(), ..Default::default() };
        let text = serde_json::to_string(&status).expect("plain data");
        assert_eq!(text, r#"{"group":"","kind":"Namespace","namespace":"","name":"a","status":"Current"}"#);
        assert_eq!(ObjectId::from(status.id), id);
    }
}
