//! The repositories of the simulation: what a commit declares, as data, and the declared set that it compiles to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use agent::compile::declared::DeclaredSet;
use agent::compile::kind_scopes::Scope;
use agent::compile::parse::{SourceFile, parse};
use agent::compile::{CompileOptions, NamespaceStrategy, RepoScope, SourceFormat, compile};
use agent::model::finding::{Code, Finding};
use agent::model::metadata::SyncId;
use agent::model::object::{GroupKind, ObjectId};

/// An object that commits may declare: API version, kind, Namespace, name.
pub(crate) struct Template(
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
    pub(crate) &'static str,
);

/// All of them.
pub(crate) const OBJECTS: [Template; 14] = [
    Template("v1", "Namespace", "", "a"),
    Template("v1", "ConfigMap", "a", "one"),
    Template("v1", "ConfigMap", "a", "two"),
    Template("v1", "Secret", "a", "secret"),
    Template("apps/v1", "Deployment", "a", "web"),
    Template("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.example.com"),
    Template("example.com/v1", "Widget", "a", "gear"),
    Template("v1", "Namespace", "", "b"),
    Template("v1", "ConfigMap", "b", "three"),
    Template("rbac.authorization.k8s.io/v1", "ClusterRole", "", "odd (name)"),
    Template("v1", "ConfigMap", "t", "one"),
    Template("v1", "ConfigMap", "t", "two"),
    Template("v1", "Secret", "t", "secret"),
    Template("v1", "ConfigMap", "u", "one"),
];

/// So many of them, the first ones, are not in Namespaces of tenants.
pub(crate) const PLAIN: u8 = 10;

impl Template {
    pub(crate) fn id(&self) -> ObjectId {
        let group = self.0.split_once('/').map_or("", |(group, _)| group);
        ObjectId::new(&GroupKind::new(group, self.1), self.2, self.3)
    }

    /// The plural, as in paths.
    pub(crate) fn plural(&self) -> String {
        format!("{}s", self.1.to_lowercase())
    }

    /// The path of the collection.
    pub(crate) fn collection(&self) -> String {
        let root = if self.0.contains('/') { "/apis" } else { "/api" };
        let namespace = if self.2.is_empty() { String::new() } else { format!("/namespaces/{}", self.2) };
        format!("{root}/{}{namespace}/{}", self.0, self.plural())
    }

    /// The path of the object.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.3.replace(' ', "%20"))
    }
}

/// One declared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Form {
    /// Which values it has.
    pub(crate) version: u8,
    /// It depends on the declared object before it.
    pub(crate) chained: bool,
    pub(crate) special: Special,
}

/// A rare property of a declared object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Special {
    #[default]
    None,
    /// Later changes are not corrected.
    IgnoreMutation,
    /// It stays when it is not declared any more.
    Detach,
    /// The sync gives it up.
    Disabled,
}

/// The declared set of a commit, unless a finding blocks it, and its findings.
pub(crate) type Compiled = (Option<Arc<DeclaredSet>>, Vec<Finding>);

/// The content of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Content {
    /// By the index in [`OBJECTS`].
    pub(crate) objects: BTreeMap<u8, Form>,
    /// A finding blocks it.
    pub(crate) broken: bool,
}

impl Content {
    /// A commit that declares these objects, each in version 0.
    pub(crate) fn plain(objects: &[u8]) -> Self {
        let form = Form { version: 0, chained: false, special: Special::None };
        Self { objects: objects.iter().map(|index| (*index, form)).collect(), broken: false }
    }

    fn text(&self, sync: &SyncId) -> String {
        let mut text = String::new();
        let mut before: Option<&Template> = None;
        for (index, form) in &self.objects {
            let template = &OBJECTS[usize::from(*index)];
            // A repository of a tenant declares no other objects, or nothing of it comes in force.
            if sync.scope().is_some_and(|scope| scope != template.2) {
                continue;
            }
            let Template(api, kind, namespace, name) = template;
            let mut annotations = Vec::new();
            if let (true, Some(on)) = (form.chained, before) {
                annotations.push(format!("config.kubernetes.io/depends-on: {}", reference(on)));
            }
            match form.special {
                Special::None => {}
                Special::IgnoreMutation => {
                    annotations.push("client.lifecycle.config.k8s.io/mutation: ignore".to_owned())
                }
                Special::Detach => annotations.push("client.lifecycle.config.k8s.io/deletion: detach".to_owned()),
                Special::Disabled => annotations.push("configmanagement.gke.io/managed: disabled".to_owned()),
            }
            let namespace = if namespace.is_empty() { String::new() } else { format!(", namespace: {namespace}") };
            let _ = write!(
                text,
                "---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: \"{name}\"{namespace}, annotations: {{{}}}}}\n{}",
                annotations.join(", "),
                body(kind, form.version)
            );
            if form.special != Special::Disabled {
                before = Some(template);
            }
        }
        text
    }

    /// The declared set and the findings of a commit, where the cluster serves Widgets or not.
    pub(crate) fn compile(&self, sync: &SyncId, widgets: bool) -> Compiled {
        static PLAIN: Mutex<BTreeMap<(SyncId, Content, bool), Compiled>> = Mutex::new(BTreeMap::new());
        if self.broken {
            return (None, vec![Finding::new(Code::NameCollision, "twice")]);
        }
        let indices = self.objects.keys().copied().collect::<Vec<_>>();
        if *self != Self::plain(&indices) {
            return self.compile_anew(sync, widgets);
        }
        // Every world ends with a commit of this sort for each sync.
        let mut plain = PLAIN.lock().unwrap_or_else(PoisonError::into_inner);
        let compiled = plain.entry((sync.clone(), self.clone(), widgets));
        compiled.or_insert_with(|| self.compile_anew(sync, widgets)).clone()
    }

    fn compile_anew(&self, sync: &SyncId, widgets: bool) -> Compiled {
        let file = SourceFile { path: "all.yaml".into(), content: self.text(sync).into_bytes().into() };
        let mut options = CompileOptions {
            sync: Some(sync.clone()),
            scope: sync.scope().map_or(RepoScope::Root, |scope| RepoScope::Namespace(scope.to_owned())),
            namespaces: NamespaceStrategy::Explicit,
            report_unknown_kinds: true,
            ..CompileOptions::offline(SourceFormat::Unstructured)
        };
        if let (Ok(kinds), true) = (&mut options.kinds, widgets) {
            kinds.insert("example.com", "Widget", Scope::Namespaced);
        }
        let compiled = compile(&[Arc::new(parse(&file))], &options);
        let declared = compiled.declared.map(Arc::new);
        assert!(declared.is_some(), "{self:?} does not compile: {:?}", compiled.findings);
        (declared, compiled.findings)
    }
}

/// The objects without which an object cannot be there: its Namespace, or its CRD, by their index in [`OBJECTS`].
pub(crate) fn needs(index: u8) -> Vec<u8> {
    let Template(_, kind, namespace, _) = OBJECTS[usize::from(index)];
    let is_needed = |other: &Template| match other.1 {
        "Namespace" => other.3 == namespace,
        "CustomResourceDefinition" => kind == "Widget",
        _ => false,
    };
    (0_u8..).zip(&OBJECTS).filter(|(_, other)| is_needed(other)).map(|(other, _)| other).collect()
}

fn reference(template: &Template) -> String {
    let Template(api, kind, namespace, name) = template;
    let group = api.split_once('/').map_or("", |(group, _)| group);
    match *namespace {
        "" => format!("\"{group}/{kind}/{name}\""),
        namespace => format!("\"{group}/namespaces/{namespace}/{kind}/{name}\""),
    }
}

fn body(kind: &str, version: u8) -> String {
    match kind {
        "ConfigMap" => format!("data: {{v: \"{version}\", k{version}: x}}\n"),
        "Secret" => format!("stringData: {{v: \"{version}\"}}\n"),
        "Deployment" => format!(
            "spec:\n  replicas: {}\n  selector: {{matchLabels: {{app: web}}}}\n  template:\n    metadata: {{labels: {{app: web}}}}\n    \
             spec: {{containers: [{{name: web, image: \"web:{version}\"}}]}}\n",
            version % 2
        ),
        "CustomResourceDefinition" => format!(
            "spec:\n  group: example.com\n  scope: Namespaced\n  names: {{kind: Widget, plural: widgets, singular: widget, \
             listKind: WidgetList, shortNames: [w{version}]}}\n  versions:\n  - name: v1\n    served: true\n    storage: true\n    \
             schema: {{openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}}}\n"
        ),
        "Widget" => format!("spec: {{size: {version}, parts: [a, b{version}]}}\n"),
        "ClusterRole" => {
            format!("rules: [{{apiGroups: [\"\"], resources: [\"pods\"], verbs: [get, list, v{version}]}}]\n")
        }
        _ => String::new(),
    }
}
