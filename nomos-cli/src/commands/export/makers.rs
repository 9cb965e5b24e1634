//! The facts of a cluster that tell which controller makes an object again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use agent::model::object::{GroupKind, Object, ObjectId};
use serde_json::Value;

use super::meant::field;
use super::tables;

/// The facts of a cluster that decide about other objects.
#[derive(Debug, Default)]
pub(super) struct MakerFacts {
    /// Services with a selector, by namespace and name.
    pub(super) selecting: BTreeSet<(String, String)>,
    /// The claims that StatefulSets make, by the namespace and the beginning of their names.
    claims: BTreeMap<(String, String), ClaimsMade>,
    /// The objects that a HorizontalPodAutoscaler scales.
    pub(super) scaled: BTreeSet<ObjectId>,
    /// The CRD of each kind.
    pub(super) crds: BTreeMap<GroupKind, Object>,
    /// The reason why CRDs cannot be read.
    pub(super) no_crds: Option<String>,
    /// Other facts that cannot be read, each with the reason and whether one may be about an object.
    pub(super) missing: Vec<(String, ConcernsObject)>,
    /// The objects of the installation of nomos.
    pub(super) installed: BTreeSet<ObjectId>,
    /// The Namespaces that the user named.
    pub(super) named: BTreeSet<String>,
}

/// The claims that a StatefulSet makes by one template.
#[derive(Debug)]
struct ClaimsMade {
    /// The numbers at the end of their names.
    numbers: Range<u64>,
    /// The size that they ask for.
    size: Value,
}

/// `true` if facts of a kind may be about this exported object.
pub(super) type ConcernsObject = fn(&Object) -> bool;

/// The kinds whose objects are facts about others, and whether a fact may be one about this exported object.
pub(super) const FACTS: [(&str, &str, ConcernsObject); 4] = [
    ("", "Service", |object| object.is_kind("", "Endpoints")),
    ("apps", "StatefulSet", |object| object.is_kind("", "PersistentVolumeClaim")),
    ("autoscaling", "HorizontalPodAutoscaler", |object| field(object, "/spec/replicas").is_some()),
    // The CRDs of exported objects are told one by one.
    ("apiextensions.k8s.io", "CustomResourceDefinition", |_| false),
];

impl MakerFacts {
    /// No facts but the objects of the installation of nomos and the Namespaces that the user named.
    pub(super) fn new(installed: BTreeSet<ObjectId>, named: &[String]) -> Self {
        Self { installed, named: named.iter().cloned().collect(), ..Self::default() }
    }

    /// `true` for a kind that a CRD defines.
    pub(super) fn is_custom(&self, kind: &GroupKind) -> bool {
        self.crds.contains_key(kind) || self.no_crds.is_some() && !tables::BUILT_IN_GROUPS.contains(&&*kind.group)
    }

    /// Takes in an object of one of the kinds in [`FACTS`].
    pub(super) fn learn(&mut self, object: &Object) {
        let text = |path: &str| field(object, path).and_then(Value::as_str).unwrap_or_default();
        let own = || (object.namespace().to_owned(), object.name().to_owned());
        let selector = field(object, "/spec/selector").and_then(Value::as_object);
        match object.kind() {
            "Service" if selector.is_some_and(|selector| !selector.is_empty()) => _ = self.selecting.insert(own()),
            "StatefulSet" => {
                let number = |path: &str, default| field(object, path).and_then(Value::as_u64).unwrap_or(default);
                let first = number("/spec/ordinals/start", 0);
                let numbers = first..first.saturating_add(number("/spec/replicas", 1));
                let templates = field(object, "/spec/volumeClaimTemplates").and_then(Value::as_array);
                for template in templates.into_iter().flatten() {
                    let name = template["metadata"]["name"].as_str().unwrap_or_default();
                    let size = template.pointer("/spec/resources/requests/storage").cloned().unwrap_or_default();
                    let place = (object.namespace().to_owned(), format!("{name}-{}-", object.name()));
                    self.claims.insert(place, ClaimsMade { numbers: numbers.clone(), size });
                }
            }
            "HorizontalPodAutoscaler" => {
                let version = text("/spec/scaleTargetRef/apiVersion");
                let group = version.split_once('/').map_or("", |(group, _)| group);
                let kind = GroupKind::new(group, text("/spec/scaleTargetRef/kind"));
                self.scaled.insert(ObjectId::new(&kind, object.namespace(), text("/spec/scaleTargetRef/name")));
            }
            "CustomResourceDefinition" => {
                let kind = GroupKind::new(text("/spec/group"), text("/spec/names/kind"));
                self.crds.insert(kind, object.clone());
            }
            _ => {}
        }
    }

    /// `true` for a claim that a StatefulSet would make again as it is. People make the volumes of a StatefulSet larger in its claims, and
    /// the claims of replicas that are no more hold their data.
    pub(super) fn makes_claim(&self, claim: &Object) -> bool {
        let size = field(claim, "/spec/resources/requests/storage").cloned().unwrap_or_default();
        self.claims.iter().any(|((namespace, start), made)| {
            let number = claim.name().strip_prefix(start.as_str()).filter(|_| *namespace == claim.namespace());
            let number = number.and_then(|number| number.parse::<u64>().ok());
            number.is_some_and(|number| made.numbers.contains(&number)) && made.size == size
        })
    }
}
