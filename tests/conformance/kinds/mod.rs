//! The kinds that logs deal with, and what their objects look like.

mod core;
mod crds;
mod custom;
mod rbac;
mod workloads;

use serde_json::{Value, json};

use crate::log::Until;
use crate::shape::{Shape, any, list, map, object};

pub(crate) use custom::definitions;

/// A kind.
pub(crate) struct Kind {
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) names: Names,
    /// The fields of objects beside `apiVersion`, `kind` and `metadata`.
    pub(crate) body: Shape,
    /// The fields of the status subresource, if there is one.
    pub(crate) status: Option<Shape>,
    pub(crate) scale: bool,
    /// `true` if the kind accepts strategic merge patches.
    pub(crate) strategic: bool,
    /// The state to wait for after each write, if there is one.
    pub(crate) until: Option<Until>,
}

/// The form of names. Names of cluster-scoped objects must differ from those of other logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// As it is said, in the log's namespace.
    Namespaced,
    /// With the log's tag, without a namespace.
    Cluster,
    /// With the log's API group, without a namespace.
    Definitions,
}

impl Kind {
    /// `true` if objects are in a namespace.
    pub(crate) fn namespaced(&self) -> bool {
        self.names == Names::Namespaced
    }

    /// The path of all objects of the kind in the log's namespace.
    pub(crate) fn collection(&self) -> String {
        let root = if self.api_version.contains('/') { "/apis" } else { "/api" };
        let namespace = if self.namespaced() { "/namespaces/t-<tag>" } else { "" };
        format!("{root}/{}{namespace}/{}", self.api_version, self.plural)
    }

    /// The full name of an object.
    pub(crate) fn name(&self, name: &str) -> String {
        match self.names {
            Names::Namespaced => name.to_owned(),
            Names::Cluster => format!("t-<tag>-{name}"),
            Names::Definitions => format!("{name}.t-<tag>.example.org"),
        }
    }

    /// The path of an object.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{}", self.collection(), self.name(name))
    }

    /// The `apiVersion`, `kind` and `metadata` of an object. Cluster-scoped objects have a label by which the log finds its own.
    pub(crate) fn head(&self, name: &str) -> Value {
        let mut metadata = json!({"name": self.name(name)});
        if !self.namespaced() {
            metadata["labels"] = json!({"run": "<tag>"});
        }
        json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata})
    }
}

/// Labels, annotations and finalizers.
pub(crate) fn metadata() -> Shape {
    object([
        ("labels", 60, map("app tier example.com/part", any("web db api \"\""))),
        ("annotations", 40, map("note example.com/owner", any("one two three"))),
        ("finalizers", 8, list("", any("example.com/hold example.com/keep"))),
    ])
}

/// All kinds.
pub(crate) fn all() -> Vec<Kind> {
    let built_in = [core::kinds(), workloads::kinds(), rbac::kinds()].into_iter().flatten();
    built_in.chain(custom::kinds()).chain([crds::kind()]).collect()
}
