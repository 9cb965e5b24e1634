//! The commits of the simulated repository. They declare a few objects, which can depend on each other, objects of a kind that is
//! not always served, and so many further objects that a commit without them needs approval.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::compile::declared::DeclaredSet;
use agent::compile::kind_scopes::Scope;
use agent::compile::parse::{SourceFile, parse};
use agent::compile::{CompileOptions, NamespaceStrategy, SourceFormat, compile};
use agent::model::metadata::{ROOT_SYNC, SyncId};
use agent::model::object::{GroupKind, ObjectId};

/// The number of objects that other clients change and delete.
pub(crate) const OBJECTS: u8 = 6;
/// The object that another sync manages from the beginning.
pub(crate) const TAKEN: u8 = 5;
/// The object that a user has created by hand before the sync starts.
pub(crate) const ADOPTED: u8 = 4;
/// The number of objects that only commits change: more than a commit may delete without approval.
const ANCHORS: u8 = 12;

/// The content of a commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Repository {
    /// The version of each declared object.
    pub(crate) objects: BTreeMap<u8, u8>,
    /// The version of each declared Widget.
    pub(crate) widgets: BTreeMap<u8, u8>,
    /// `true` if each object depends on the one before it.
    pub(crate) chained: bool,
    /// `true` if a finding blocks the commit.
    pub(crate) broken: bool,
    /// `true` if the commit does not declare the further objects.
    pub(crate) wiped: bool,
    /// `true` if what it declares follows the Namespaces of the cluster.
    pub(crate) dynamic: bool,
}

impl Repository {
    pub(crate) fn new<const N: usize>(objects: [(u8, u8); N]) -> Self {
        Self { objects: objects.into(), ..Self::default() }
    }

    pub(crate) fn wiped() -> Self {
        Self { wiped: true, ..Self::default() }
    }

    /// `None` when it is broken.
    pub(crate) fn compile(&self, widgets_are_known: bool) -> Option<Arc<DeclaredSet>> {
        if self.broken {
            return None;
        }
        let file = SourceFile { path: "all.yaml".into(), content: self.text().into_bytes().into() };
        let mut settings = CompileOptions {
            sync: Some(sync()),
            namespaces: NamespaceStrategy::Explicit,
            ..CompileOptions::offline(SourceFormat::Unstructured)
        };
        if let (Ok(kinds), true) = (&mut settings.kinds, widgets_are_known) {
            kinds.insert("example.com", "Widget", Scope::Namespaced);
        }
        let compiled = compile(&[Arc::new(parse(&file))], &settings);
        let declared = compiled.declared.unwrap_or_else(|| panic!("{:?}", compiled.findings));
        Some(Arc::new(DeclaredSet { dynamic: self.dynamic, ..declared }))
    }

    fn text(&self) -> String {
        let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: ns}\n".to_owned();
        let mut add = |api: &str, kind: &str, name: &str, annotations: &str, version: u8| {
            text.push_str(&format!(
                "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: ns{annotations}}}\n\
                 data: {{v: \"{version}\"}}\n"
            ));
        };
        let mut before: Option<u8> = None;
        for (index, version) in &self.objects {
            let annotations = before.filter(|_| self.chained).map_or_else(String::new, |before| {
                let on = format!("/namespaces/ns/ConfigMap/object-{before}");
                format!(", annotations: {{config.kubernetes.io/depends-on: {on}}}")
            });
            add("v1", "ConfigMap", &format!("object-{index}"), &annotations, *version);
            before = Some(*index);
        }
        for (index, version) in &self.widgets {
            add("example.com/v1", "Widget", &format!("widget-{index}"), "", *version);
        }
        for index in 0..if self.wiped { 0 } else { ANCHORS } {
            add("v1", "ConfigMap", &format!("anchor-{index}"), "", 0);
        }
        text
    }
}

pub(crate) fn sync() -> SyncId {
    SyncId::root(ROOT_SYNC)
}

pub(crate) fn object(index: u8) -> ObjectId {
    ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", &format!("object-{index}"))
}

pub(crate) fn widget(index: u8) -> ObjectId {
    ObjectId::new(&widgets(), "ns", &format!("widget-{index}"))
}

/// The kind that is not always served.
pub(crate) fn widgets() -> GroupKind {
    GroupKind::new("example.com", "Widget")
}
