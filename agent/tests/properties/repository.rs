//! What the commits of a property declare: a few objects, some that depend on others, some of a kind that is not always served,
//! and enough besides that declaring nothing is a large prune.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::compile::declared::DeclaredSet;
use agent::compile::parse::{SourceFile, parse};
use agent::compile::scope::Scope;
use agent::compile::{NamespaceStrategy, Settings, SourceFormat, compile};
use agent::model::metadata::{ROOT_SYNC, SyncId};
use agent::model::object::{GroupKind, ObjectId};

/// Objects that something happens to.
pub(crate) const OBJECTS: u8 = 6;
/// The one that another sync has from the beginning.
pub(crate) const TAKEN: u8 = 5;
/// The one that somebody has made by hand before.
pub(crate) const ADOPTED: u8 = 4;
/// Objects that nothing happens to but commits: more than may be deleted without approval.
const ANCHORS: u8 = 12;

/// What a commit declares.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Repository {
    /// The versions of objects.
    pub(crate) objects: BTreeMap<u8, u8>,
    /// The versions of Widgets.
    pub(crate) widgets: BTreeMap<u8, u8>,
    /// Whether each object depends on the one before it.
    pub(crate) chained: bool,
    /// Whether something in it blocks.
    pub(crate) broken: bool,
    /// Whether nothing else is declared either.
    pub(crate) wiped: bool,
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
        let mut settings = Settings {
            sync: Some(sync()),
            namespaces: NamespaceStrategy::Explicit,
            ..Settings::offline(SourceFormat::Unstructured)
        };
        if let (Ok(kinds), true) = (&mut settings.kinds, widgets_are_known) {
            kinds.insert("example.com", "Widget", Scope::Namespaced);
        }
        let compiled = compile(&[Arc::new(parse(&file))], &settings);
        Some(Arc::new(compiled.declared.unwrap_or_else(|| panic!("{:?}", compiled.findings))))
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
