//! The order of work: what an object has to wait for, and which kinds come first where nothing has to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::compile::declared::DeclaredSet;
use crate::compile::substitutions::Substitution;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;
use crate::model::object::{GroupKind, ObjectId};
use crate::model::references::references;

/// Kinds in the order in which they are applied; the reverse for deletion. Any other kind comes between the last two.
const RANKS: [(&str, &str); 22] = [
    ("", "Namespace"),
    ("", "ResourceQuota"),
    ("storage.k8s.io", "StorageClass"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("", "ServiceAccount"),
    ("policy", "PodSecurityPolicy"),
    ("rbac.authorization.k8s.io", "Role"),
    ("rbac.authorization.k8s.io", "ClusterRole"),
    ("rbac.authorization.k8s.io", "RoleBinding"),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("", "LimitRange"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("policy", "PodDisruptionBudget"),
    ("*", "*"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
];

/// The place of an object's kind in the apply order, from 0.
pub fn rank(id: &ObjectId) -> u32 {
    let at = RANKS
        .iter()
        .position(|(group, kind)| *group == id.group() && *kind == id.kind())
        .or_else(|| RANKS.iter().position(|(group, _)| *group == "*"));
    at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
}

/// The dependencies within one declared set.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The declared CRD that defines a kind.
    crds: BTreeMap<GroupKind, ObjectId>,
    /// Names of the declared Namespaces.
    namespaces: BTreeSet<String>,
    /// The objects that the annotation `depends-on` of an object names, and those of which it takes values.
    depends_on: BTreeMap<ObjectId, Vec<ObjectId>>,
    /// The object of each value that an object takes (`apply-time-mutation`).
    sources: BTreeMap<ObjectId, Arc<[ObjectId]>>,
    /// The objects that take values of an object.
    targets: BTreeMap<ObjectId, Vec<ObjectId>>,
    /// [`Order::level`] of the objects that `depends_on` reaches; the others wait for their Namespace or CRD at the most.
    levels: BTreeMap<ObjectId, u32>,
}

impl Order {
    /// The objects that an object has to wait for: its CRD and its Namespace where the set declares them, those that its
    /// annotation `depends-on` names, and those of which it takes values.
    pub fn after(&self, id: &ObjectId) -> Vec<ObjectId> {
        let crd = if self.crds.is_empty() { None } else { self.crds.get(&id.group_kind()).cloned() };
        let namespace = namespace_of(id).filter(|namespace| self.namespaces.contains(namespace.name()));
        let named = self.depends_on.get(id).into_iter().flatten().cloned();
        crd.into_iter().chain(namespace).chain(named).collect()
    }

    /// The object of each value that an object takes, in the order of its annotation; `None` if it takes none.
    pub fn sources(&self, id: &ObjectId) -> Option<&Arc<[ObjectId]>> {
        self.sources.get(id)
    }

    /// The objects that take values of an object.
    pub fn targets(&self, source: &ObjectId) -> Option<&[ObjectId]> {
        self.targets.get(source).map(Vec::as_slice)
    }

    /// Length of the longest chain of dependencies below an object; 0 for one that waits for nothing.
    pub fn level(&self, id: &ObjectId) -> u32 {
        let waits = |id: &ObjectId| {
            (!self.crds.is_empty() && self.crds.contains_key(&id.group_kind()))
                || self.namespaces.contains(id.namespace())
        };
        self.levels.get(id).copied().unwrap_or_else(|| u32::from(waits(id)))
    }
}

/// The order of a declared set.
///
/// # Errors
/// The finding: a cycle.
pub fn order(set: &DeclaredSet) -> Result<Order, Finding> {
    let mut order = Order::default();
    for object in set.objects.values() {
        if object.id.is_namespace() {
            order.namespaces.insert(object.id.name().to_owned());
        } else if let Some(kind) = object.defined_kind() {
            order.crds.insert(kind, object.id.clone());
        }
        if let Some(text) = object.depends_on() {
            // One that cannot be read is refused when it is compiled.
            order.depends_on.insert(object.id.clone(), references(text).unwrap_or_default());
        }
        order.take_values(&object.id, &object.substitutions().unwrap_or_default(), set);
    }
    let cycle = order.find_levels();
    if !cycle.is_empty() {
        let names: Vec<String> = cycle.iter().map(ToString::to_string).collect();
        let mut finding =
            Finding::new(Code::Applier, format!("cyclic dependency: {}", names.join(" -> "))).hint(format!(
                "remove one {} or {} annotation of the cycle",
                annotation::DEPENDS_ON,
                annotation::APPLY_TIME_MUTATION
            ));
        finding.places = cycle.iter().filter_map(|id| Some(set.objects.get(id)?.place())).collect();
        return Err(finding);
    }
    Ok(order)
}

/// The object that a value is of: of the candidates one that is declared.
fn source(substitution: &Substitution, target: &ObjectId, set: &DeclaredSet) -> ObjectId {
    let mut candidates = substitution.candidates(target.namespace());
    let declared = candidates.iter().position(|id| set.objects.contains_key(id));
    candidates.swap_remove(declared.unwrap_or(candidates.len() - 1))
}

/// The Namespace that an object lives in.
pub fn namespace_of(id: &ObjectId) -> Option<ObjectId> {
    (!id.namespace().is_empty()).then(|| ObjectId::new(&GroupKind::new("", "Namespace"), "", id.namespace()))
}

/// `true` if the API server deletes `object` together with `container`, a Namespace or a CRD: the object lives in the
/// Namespace, or its kind is the one that the CRD defines.
///
/// A CRD is named `<plural>.<group>`. `plural` is that of the object's kind, from discovery; it cannot be told from the kind
/// (Vertex, vertices). While it is `None` a CRD of the same group counts as the one of the kind: it is safer to delete the
/// object first than to lose it with its kind.
pub fn is_deleted_with(object: &ObjectId, plural: Option<&str>, container: &ObjectId) -> bool {
    if container.is_namespace() {
        return object.namespace() == container.name();
    }
    let Some((crd_plural, group)) = container.name().split_once('.').filter(|_| container.is_crd()) else {
        return false;
    };
    object.group() == group && plural.is_none_or(|plural| plural == crd_plural)
}

impl Order {
    fn take_values(&mut self, target: &ObjectId, substitutions: &[Substitution], set: &DeclaredSet) {
        if substitutions.is_empty() {
            return;
        }
        let sources: Arc<[ObjectId]> = substitutions.iter().map(|it| source(it, target, set)).collect();
        for source in sources.iter() {
            let dependencies = self.depends_on.entry(target.clone()).or_default();
            if !dependencies.contains(source) {
                dependencies.push(source.clone());
            }
            let targets = self.targets.entry(source.clone()).or_default();
            if targets.last() != Some(target) {
                targets.push(target.clone());
            }
        }
        self.sources.insert(target.clone(), sources);
    }

    /// Fills in the levels of all objects that `depends_on` reaches. Returns the objects of one cycle if there is any.
    fn find_levels(&mut self) -> Vec<ObjectId> {
        let starts: Vec<ObjectId> = self.depends_on.keys().cloned().collect();
        let mut path = Vec::new();
        for start in starts {
            // A stack of objects with what is left to look at below each: deep chains are no problem.
            let mut stack = vec![(start.clone(), self.after(&start))];
            path.clear();
            path.push(start);
            while let Some((id, left)) = stack.last_mut() {
                match left.pop() {
                    Some(next) if self.levels.contains_key(&next) => {}
                    Some(next) => {
                        if let Some(at) = path.iter().position(|seen| *seen == next) {
                            return path.split_off(at);
                        }
                        path.push(next.clone());
                        let below = self.after(&next);
                        stack.push((next, below));
                    }
                    None => {
                        let id = id.clone();
                        let level = self.after(&id).iter().map(|below| self.level(below) + 1).max().unwrap_or(0);
                        self.levels.insert(id, level);
                        stack.pop();
                        path.pop();
                    }
                }
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compile::declared::DeclaredObject;
    use crate::model::object::Object;

    fn set(objects: &[(&str, &str, &str)]) -> DeclaredSet {
        let declared = objects.iter().map(|(kind, name, depends_on)| {
            let namespace = if *kind == "Namespace" { "" } else { "ns" };
            let object: Object = serde_json::from_value(json!({
                "apiVersion": "v1", "kind": kind,
                "metadata": {"name": name, "namespace": namespace, "annotations": {annotation::DEPENDS_ON: depends_on}},
            }))
            .expect("a map");
            let mut object = object;
            if depends_on.is_empty() {
                object.remove_annotation(annotation::DEPENDS_ON);
            }
            let declared = DeclaredObject::new(object);
            (declared.id.clone(), Arc::new(declared))
        });
        DeclaredSet { objects: declared.collect(), ..DeclaredSet::default() }
    }

    fn id(name: &str) -> ObjectId {
        ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", name)
    }

    #[test]
    fn chains_have_levels() {
        let set = set(&[
            ("Namespace", "ns", ""),
            ("ConfigMap", "a", ""),
            ("ConfigMap", "b", "/namespaces/ns/ConfigMap/a"),
            ("ConfigMap", "c", "/namespaces/ns/ConfigMap/b, /namespaces/ns/ConfigMap/a"),
        ]);
        let order = order(&set).expect("no findings");
        assert_eq!(["a", "b", "c"].map(|name| order.level(&id(name))), [1, 2, 3]);
        assert_eq!(order.after(&id("c")).len(), 3);
    }

    /// Each object has hundreds of millions of ways to the first one.
    #[test]
    fn each_object_is_looked_at_once() {
        let on = |n: usize| format!("/namespaces/ns/ConfigMap/{n:02}");
        let names: Vec<(String, String)> = (0..60)
            .map(|n: usize| (format!("{n:02}"), (n.saturating_sub(2)..n).map(on).collect::<Vec<_>>().join(",")))
            .collect();
        let objects: Vec<(&str, &str, &str)> = names.iter().map(|(name, on)| ("ConfigMap", &**name, &**on)).collect();
        let order = order(&set(&objects)).expect("no findings");
        assert_eq!(order.level(&id("59")), 59);
    }

    #[test]
    fn what_is_in_a_declared_namespace_or_of_a_declared_kind_is_applied_after_it() {
        let mut set = set(&[("Namespace", "ns", ""), ("ConfigMap", "a", "")]);
        let object = |value: serde_json::Value| {
            let object: Object = serde_json::from_value(value).expect("a map");
            let declared = DeclaredObject::new(object);
            (declared.id.clone(), Arc::new(declared))
        };
        let (crd, definition) = object(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "names": {"kind": "Widget"}},
        }));
        set.objects.insert(crd.clone(), definition);
        let order = order(&set).expect("no findings");
        let of = |group: &str, kind: &str, namespace: &str| {
            order.level(&ObjectId::new(&GroupKind::new(group, kind), namespace, "other"))
        };
        let levels = [of("example.com", "Widget", "x"), of("", "ConfigMap", "ns"), of("", "ConfigMap", "x")];
        assert_eq!((levels, order.level(&crd)), ([1, 1, 0], 0));
    }

    #[test]
    fn a_crd_takes_the_objects_of_its_kind_along_and_no_others() {
        let object = |kind: &str| ObjectId::new(&GroupKind::new("graph.example.com", kind), "ns", "a");
        let crd =
            |name: &str| ObjectId::new(&GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"), "", name);
        let vertices = crd("vertices.graph.example.com");
        assert!(is_deleted_with(&object("Vertex"), Some("vertices"), &vertices));
        assert!(!is_deleted_with(&object("Vert"), Some("verts"), &vertices), "another kind of the group");
        assert!(!is_deleted_with(&object("Vertex"), Some("vertices"), &crd("vertices.example.com")), "another group");
        assert!(is_deleted_with(&object("Person"), Some("people"), &crd("people.graph.example.com")));
        assert!(is_deleted_with(&object("Vertex"), None, &vertices), "the plural is not known yet");
        assert!(!is_deleted_with(&id("a"), Some("configmaps"), &vertices));
    }

    #[test]
    fn a_namespace_takes_the_objects_in_it_along() {
        let namespace = |name: &str| ObjectId::new(&GroupKind::new("", "Namespace"), "", name);
        assert!(is_deleted_with(&id("a"), None, &namespace("ns")));
        assert!(!is_deleted_with(&id("a"), None, &namespace("other")));
        assert!(!is_deleted_with(&id("a"), None, &id("b")), "a ConfigMap holds nothing");
    }

    #[test]
    fn cycles_are_findings() {
        let cyclic =
            set(&[("ConfigMap", "a", "/namespaces/ns/ConfigMap/b"), ("ConfigMap", "b", "/namespaces/ns/ConfigMap/a")]);
        let finding = order(&cyclic).expect_err("a cycle");
        assert!(finding.message.starts_with("cyclic dependency: configmap/ns/a -> configmap/ns/b"), "{finding:?}");
        let dangling = set(&[("ConfigMap", "a", "/namespaces/ns/ConfigMap/b")]);
        assert_eq!(order(&dangling).expect("only that object waits").after(&id("a")), [id("b")]);
    }
}
