//! The marks of a sync object, which the agent writes for other tools and for itself.

use kube::api::{DynamicObject, ResourceExt as _};
use serde_json::{Map, Value, json};

use crate::model::metadata::{SYNC_FINALIZERS, SyncId, TOOLING, annotation, label};

/// The marks of a sync object that is served: the ApplySet of the sync's objects, by which tools find them, and the finalizer, so that the
/// agent sees its deletion however long it was away. An annotation says if its source has dynamic NamespaceSelectors, or that it
/// has none any more.
pub(super) fn missing_marks(id: &SyncId, object: &DynamicObject, dynamic: Option<bool>) -> Option<Value> {
    if !id.is_in_place() {
        return None;
    }
    let (mut metadata, mut annotations) = (Map::new(), Map::new());
    let tool = object.annotations().get(annotation::APPLY_SET_TOOLING);
    let named = object.labels().get(label::APPLY_SET_ID).is_some_and(|set| *set == id.part_of());
    if let Some(tool) = tool.filter(|tool| *tool != TOOLING) {
        tracing::warn!(sync = %id, tool, "another tool manages the ApplySet of this object; it is left alone");
    } else if !named || tool.is_none() {
        metadata.insert("labels".to_owned(), json!({label::APPLY_SET_ID: id.part_of()}));
        annotations.insert(annotation::APPLY_SET_TOOLING.to_owned(), TOOLING.into());
    }
    let told = object.annotations().get(annotation::DYNAMIC_SELECTORS).is_some_and(|told| told == "true");
    if let Some(dynamic) = dynamic.filter(|dynamic| *dynamic != told) {
        annotations.insert(annotation::DYNAMIC_SELECTORS.to_owned(), dynamic.to_string().into());
    }
    if !annotations.is_empty() {
        metadata.insert("annotations".to_owned(), annotations.into());
    }
    let mut finalizers = object.finalizers().to_vec();
    if !finalizers.iter().any(|finalizer| finalizer == SYNC_FINALIZERS[0]) {
        finalizers.push(SYNC_FINALIZERS[0].to_owned());
        metadata.insert("finalizers".to_owned(), finalizers.into());
        // No finalizer is lost that another program adds meanwhile.
        metadata.insert("resourceVersion".to_owned(), object.resource_version().into());
    }
    (!metadata.is_empty()).then_some(metadata.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metadata::CONTROLLER_NAMESPACE;

    fn missing(annotations: Value, dynamic: Option<bool>) -> Option<Value> {
        let id = SyncId::root("a");
        let metadata = json!({
            "name": "a",
            "namespace": CONTROLLER_NAMESPACE,
            "labels": {label::APPLY_SET_ID: id.part_of()},
            "finalizers": [SYNC_FINALIZERS[0]],
            "annotations": annotations,
        });
        let object = json!({"apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync", "metadata": metadata});
        missing_marks(&id, &serde_json::from_value(object).expect("an object"), dynamic)
    }

    #[test]
    fn an_annotation_tells_of_dynamic_selectors_and_of_their_end() {
        let told = |value: &str| json!({annotation::APPLY_SET_TOOLING: TOOLING, annotation::DYNAMIC_SELECTORS: value});
        let never = || json!({annotation::APPLY_SET_TOOLING: TOOLING});
        let written = |value: &str| Some(json!({"annotations": {annotation::DYNAMIC_SELECTORS: value}}));
        assert_eq!(missing(never(), Some(true)), written("true"));
        assert_eq!(missing(told("true"), Some(true)), None);
        assert_eq!(missing(told("true"), Some(false)), written("false"));
        assert_eq!(missing(never(), Some(false)), None);
        assert_eq!(missing(told("true"), None), None, "nothing is compiled yet");
    }
}
