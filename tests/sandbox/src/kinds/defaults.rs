//! Values that the API server sets where nobody says otherwise and no published schema tells so.

use serde_json::Value;

use crate::object;
use crate::resource::Resource;

/// Sets them.
pub(super) fn set(resource: &Resource, object: &mut Value) {
    if resource.collection == crate::state::CRDS {
        super::definition::default(object);
    }
    if resource.collection == "namespaces" {
        let name = object::name(object).to_owned();
        if !name.is_empty() {
            let labels = object::metadata(object).entry("labels").or_insert_with(|| Value::Object(Default::default()));
            if let Some(labels) = labels.as_object_mut() {
                labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
            }
        }
    }
}
