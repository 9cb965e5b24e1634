//! The few built-in kinds that are stored in another version than they may be asked for in, and versions of custom
//! resources, which differ by name alone.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::{remove, replace};
use crate::resource::{Resource, group_version};
use crate::schema::{self, Type};

/// A stored object in the version of a resource. Most are read as they are stored.
pub fn from_stored(resource: &Resource, stored: &Arc<Value>) -> Arc<Value> {
    if resource.custom.is_none() && is_of(resource, stored) && !is_without_bytes(resource, stored) {
        return Arc::clone(stored);
    }
    let mut object = Value::clone(stored);
    if resource.custom.is_some() {
        // The definition may say more or less than when this was stored.
        let is_read = custom(&mut object, resource, &resource.stored_as, &resource.stored_ty);
        let is_filled = schema::default(&resource.stored_ty, &mut object);
        // What was read so is read so again.
        if !is_read || is_filled || resource.api_version() != resource.stored_as {
            custom(&mut object, resource, &resource.api_version(), &resource.ty);
        }
    } else {
        convert(&mut object, &resource.api_version());
        if is_without_bytes(resource, &object) {
            some_bytes(&mut object);
        }
    }
    Arc::new(object)
}

/// `true` if an object is in the version of a resource.
fn is_of(resource: &Resource, object: &Value) -> bool {
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    group_version(api_version) == (resource.group.as_str(), resource.version.as_str())
}

/// The fields of Secrets and ConfigMaps that hold bytes.
const BYTES: [&str; 2] = ["data", "binaryData"];

/// `true` for a Secret or ConfigMap with a value of no bytes.
fn is_without_bytes(resource: &Resource, object: &Value) -> bool {
    let values = || BYTES.iter().filter_map(|field| object.get(field)?.as_object()).flat_map(|values| values.values());
    ["secrets", "configmaps"].contains(&resource.collection.as_str()) && values().any(Value::is_null)
}

/// No bytes are stored otherwise than none at all, but read as the same.
fn some_bytes(object: &mut Value) {
    for field in BYTES {
        let values = object.get_mut(field).and_then(Value::as_object_mut);
        for value in values.into_iter().flat_map(|values| values.values_mut()).filter(|value| value.is_null()) {
            *value = "".into();
        }
    }
}

/// Makes an object one of another version: its fields stay if that knows them. `false` if it cannot be read.
fn custom(object: &mut Value, resource: &Resource, api_version: &str, ty: &Type) -> bool {
    object["apiVersion"] = api_version.into();
    // An object that was valid when it was written can be read.
    let is_read = schema::decode(ty, object).is_ok();
    if object["kind"] != resource.kind {
        object["kind"] = resource.kind.as_str().into();
    }
    is_read
}

/// An object of a resource's version as it is stored.
pub fn to_stored(resource: &Resource, mut object: Value) -> Value {
    if resource.custom.is_none() {
        convert(&mut object, &resource.stored_as);
    } else if resource.api_version() != resource.stored_as {
        custom(&mut object, resource, &resource.stored_as, &resource.stored_ty);
    }
    object
}

fn convert(object: &mut Value, to: &str) {
    let from = object["apiVersion"].as_str().unwrap_or_default().to_owned();
    if from == to {
        return;
    }
    match (from.as_str(), to) {
        ("v1", "events.k8s.io/v1") => rename(object, &EVENT),
        ("events.k8s.io/v1", "v1") => {
            let back: Vec<(&str, &str)> = EVENT.iter().map(|(core, new)| (*new, *core)).collect();
            rename(object, &back);
        }
        ("autoscaling/v1", "autoscaling/v2") => autoscaler_to_v2(object),
        ("autoscaling/v2", "autoscaling/v1") => autoscaler_to_v1(object),
        _ => {}
    }
    object["apiVersion"] = to.into();
}

/// Fields of an Event in the core group, and what they are called in its own.
const EVENT: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn rename(object: &mut Value, names: &[(&str, &str)]) {
    for (from, to) in names {
        if let Some(value) = remove(object, from) {
            replace(object, to, Some(value));
        }
    }
    // The reporter's name differs where the core group has the older word.
    let reporter = [("reportingComponent", "reportingController")];
    let forth = object.get("regarding").is_some();
    for (core, new) in reporter {
        let (from, to) = if forth { (core, new) } else { (new, core) };
        if let Some(value) = remove(object, from) {
            replace(object, to, Some(value));
        }
    }
}

fn autoscaler_to_v2(object: &mut Value) {
    let target = remove(&mut object["spec"], "targetCPUUtilizationPercentage");
    if let Some(percent) = target {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        object["spec"]["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
    }
    if object["status"].is_object() {
        let current = remove(&mut object["status"], "currentCPUUtilizationPercentage");
        if let Some(percent) = current {
            let current = json!({"averageUtilization": percent, "averageValue": "0"});
            object["status"]["currentMetrics"] =
                json!([{"type": "Resource", "resource": {"name": "cpu", "current": current}}]);
        }
    }
}

fn autoscaler_to_v1(object: &mut Value) {
    let metrics = remove(&mut object["spec"], "metrics");
    let cpu = |metric: &&Value| metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    let percent = metrics.as_ref().and_then(Value::as_array).into_iter().flatten().find(cpu);
    if let Some(percent) = percent.and_then(|metric| metric.pointer("/resource/target/averageUtilization")) {
        object["spec"]["targetCPUUtilizationPercentage"] = percent.clone();
    }
    if object["status"].is_object() {
        remove(&mut object["status"], "currentMetrics");
        remove(&mut object["status"], "conditions");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_their_words_and_back() {
        let event =
            json!({"apiVersion": "v1", "involvedObject": {"name": "x"}, "message": "m", "reportingComponent": "c"});
        let mut other = event.clone();
        convert(&mut other, "events.k8s.io/v1");
        assert_eq!(
            other,
            json!({"apiVersion": "events.k8s.io/v1", "regarding": {"name": "x"}, "note": "m", "reportingController": "c"})
        );
        convert(&mut other, "v1");
        assert_eq!(other, event);
    }

    #[test]
    fn autoscalers_keep_their_target() {
        let v1 = json!({"apiVersion": "autoscaling/v1", "spec": {"targetCPUUtilizationPercentage": 50}});
        let mut object = v1.clone();
        convert(&mut object, "autoscaling/v2");
        assert_eq!(object["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
        convert(&mut object, "autoscaling/v1");
        assert_eq!(object, v1);
    }
}
