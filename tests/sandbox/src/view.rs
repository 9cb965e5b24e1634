//! Objects, lists and events in the form that a client takes.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::accept::Form;
use crate::object::{self, remove};
use crate::resource::Resource;
use crate::route::Query;
use crate::table;

/// One object.
pub fn one(resource: &Resource, form: Form, query: &Query, object: Arc<Value>) -> Arc<Value> {
    match form {
        Form::Whole => object,
        Form::Metadata => metadata(object.get("metadata").cloned()).into(),
        Form::Table => one_row(resource, query, &object, true).into(),
    }
}

fn one_row(resource: &Resource, query: &Query, object: &Value, columns: bool) -> Value {
    let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    table::table(resource, query, metadata, std::slice::from_ref(object), columns)
}

/// A list. `metadata` is that of the list.
pub fn list(resource: &Resource, form: Form, query: &Query, mut metadata: Value, mut objects: Vec<Value>) -> Value {
    match form {
        Form::Whole => {
            if resource.custom.is_none() {
                for object in &mut objects {
                    remove(object, "apiVersion");
                    remove(object, "kind");
                }
            }
            if resource.custom.is_some() && metadata.get("continue").is_none() {
                metadata["continue"] = "".into();
            }
            let (kind, api_version) = (resource.list_kind(), resource.api_version());
            object::of([
                ("kind", kind.into()),
                ("apiVersion", api_version.into()),
                ("metadata", metadata),
                ("items", objects.into()),
            ])
        }
        Form::Metadata => {
            // As a Go server writes a list that it never made.
            let items: Option<Vec<Value>> =
                (!objects.is_empty()).then(|| objects.into_iter().map(metadata_of).collect());
            object::of([
                ("kind", "PartialObjectMetadataList".into()),
                ("apiVersion", "meta.k8s.io/v1".into()),
                ("metadata", metadata),
                ("items", items.into()),
            ])
        }
        Form::Table => table::table(resource, query, metadata, &objects, true),
    }
}

/// The object of an event. The columns of a table are told with the first one.
pub fn event(resource: &Resource, form: Form, query: &Query, object: Value, first: bool) -> Value {
    match form {
        Form::Whole => object,
        Form::Metadata => metadata_of(object),
        Form::Table => one_row(resource, query, &object, first),
    }
}

fn metadata_of(mut object: Value) -> Value {
    metadata(remove(&mut object, "metadata"))
}

/// Metadata as an object of its own.
pub fn metadata(metadata: Option<Value>) -> Value {
    object::of([
        ("kind", "PartialObjectMetadata".into()),
        ("apiVersion", "meta.k8s.io/v1".into()),
        ("metadata", metadata.into()),
    ])
}
