//! The declared set: what a repository says a cluster shall hold, ready to be planned. It exists only if nothing blocking
//! was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::finding::{Location, Place, Resource};
use crate::metadata::annotation;
use crate::object::{GroupKind, Object, ObjectId};

/// Everything one sync declares for one cluster.
#[derive(Clone, Debug, Default)]
pub struct DeclaredSet {
    /// Objects to apply.
    pub objects: BTreeMap<ObjectId, Arc<DeclaredObject>>,
    /// Objects declared `managed: disabled`: released, never applied.
    pub disabled: BTreeSet<ObjectId>,
}

/// One object to apply, with all metadata the system adds but the annotations `token`, `git-context` and
/// `declared-hash`: those are set when it is applied.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredObject {
    /// Identity.
    pub id: ObjectId,
    /// API version without its group.
    pub version: String,
    /// Hash of `body`, 32 hexadecimal digits: equal hashes mean there is nothing to apply.
    pub hash: String,
    /// Where the manifest starts; `None` for implicit Namespaces.
    pub source: Option<Location>,
    /// A Namespace that is only referenced: made when missing, left alone when it is somebody else's
    /// (repo-format §13.1).
    pub implicit: bool,
    /// The object as JSON text: a tenth of the memory of a tree of values.
    body: Box<str>,
}

impl DeclaredObject {
    /// Seals a compiled object. Nulls and `status` are dropped: an apply cannot own them.
    pub fn new(mut object: Object, source: Option<Location>, implicit: bool) -> Self {
        object.0.remove("status");
        object.0.values_mut().for_each(drop_nulls);
        object.0.retain(|_, value| !value.is_null());
        let body = serde_json::to_string(&object).expect("maps with string keys always serialise");
        let digest = Sha256::digest(body.as_bytes());
        let hash = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { id: object.id(), version: object.version().to_owned(), hash, source, implicit, body: body.into() }
    }

    /// The object itself.
    pub fn body(&self) -> Object {
        serde_json::from_str(&self.body).expect("made by serialising an object")
    }

    /// The object as it is sent: with the annotations that depend on the commit.
    pub fn applied(&self, token: &str, git_context: &str) -> Object {
        let mut object = self.body();
        object.set_annotation(annotation::TOKEN, token);
        object.set_annotation(annotation::GIT_CONTEXT, git_context);
        object.set_annotation(annotation::DECLARED_HASH, &self.hash);
        object
    }

    /// An annotation of the object.
    pub fn annotation(&self, key: &str) -> Option<String> {
        // The text is searched first: most objects have none of the annotations that are asked for.
        if !self.body.contains(key) {
            return None;
        }
        self.body().annotation(key).map(str::to_owned)
    }

    /// Whether users may change it once it exists.
    pub fn ignores_mutation(&self) -> bool {
        self.annotation(annotation::MUTATION).is_some_and(|value| value == "ignore")
    }

    /// The kind that this object defines, if it is a CRD.
    pub fn defined_kind(&self) -> Option<GroupKind> {
        let body = self.body();
        let spec = body.0.get("spec").filter(|_| self.id.is_crd())?;
        Some(GroupKind::new(spec.get("group")?.as_str()?, spec.get("names")?.get("kind")?.as_str()?))
    }

    /// Where it is declared and what it is, for findings.
    pub fn place(&self) -> Place {
        Place { location: self.source.clone(), resource: Some(Resource::named(&self.id, &self.version)) }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_nulls_do_not_count() {
        let object = |text: &str| serde_json::from_str::<Object>(text).expect("valid JSON");
        let plain = object(r#"{"kind":"X","apiVersion":"v1","spec":{"a":1}}"#);
        let noisy = object(r#"{"kind":"X","apiVersion":"v1","spec":{"a":1,"b":null},"status":{"c":1},"data":null}"#);
        assert_eq!(DeclaredObject::new(plain, None, false).hash, DeclaredObject::new(noisy, None, false).hash);
    }
}
