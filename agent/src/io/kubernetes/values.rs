//! Reads the live objects of which values are copied into a declared one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::apply::read_failure;
use super::client::Cluster;
use crate::compile::declared::DeclaredObject;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;
use crate::model::object::{Object, ObjectId};
use crate::sync::engine::{Failure, FilledForm, Outcome, Retry, SourceVersion};
use crate::sync::live::Observed;

/// The declared object with the values of its sources, one for each of its substitutions.
pub async fn fill(cluster: &Cluster, declared: &DeclaredObject, sources: &[ObjectId]) -> Outcome {
    let substitutions = match declared.substitutions() {
        Ok(substitutions) => substitutions,
        Err(reason) => return missing(declared, &reason),
    };
    let mut read: BTreeMap<(&ObjectId, &str), (SourceVersion, Value)> = BTreeMap::new();
    for (source, substitution) in sources.iter().zip(&substitutions) {
        let key = (source, substitution.version.as_str());
        if read.contains_key(&key) {
            continue;
        }
        let object = async { cluster.get::<Object>(&cluster.path(source, key.1).await?).await };
        match object.await {
            Ok(object) => _ = read.insert(key, (version(source, &object), Value::Object(object.0))),
            Err(error) => return read_failure(cluster, declared, source, &error),
        }
    }
    let of_each =
        sources.iter().zip(&substitutions).filter_map(|(source, it)| read.get(&(source, it.version.as_str())));
    let of_each: Vec<&Value> = of_each.map(|(_, object)| object).collect();
    match declared.filled(&of_each) {
        Ok(filled) => {
            let sources = read.into_values().map(|(version, _)| version).collect();
            Outcome::Filled(Box::new(FilledForm { declared: Arc::new(filled), of: declared.hash, sources }))
        }
        Err(reason) => missing(declared, &reason),
    }
}

fn version(id: &ObjectId, object: &Object) -> SourceVersion {
    let seen = Observed::of(object);
    SourceVersion { id: id.clone(), uid: seen.uid.as_str().into(), version: seen.version() }
}

fn missing(declared: &DeclaredObject, reason: &str) -> Outcome {
    let message = format!("{} of {}: {reason}", annotation::APPLY_TIME_MUTATION, declared.id);
    let hint = "it is applied when the value is there; correct the annotation if it never will be";
    let finding = Finding::new(Code::Applier, message).hint(hint).at(declared.place());
    Outcome::Failed(Failure { finding, retry: Retry::Object, refused: true })
}
