//! The served resources: those of the published discovery documents, and those of CustomResourceDefinitions.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::{Value, json};

use crate::failure::About;
use crate::object::{list, text};
use crate::schema::{self, Type};

/// One resource in one version.
#[derive(Debug, Clone)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// As in `v1`.
    pub version: String,
    /// As in `configmaps`.
    pub plural: String,
    /// As in `ConfigMap`.
    pub kind: String,
    /// `true` if its objects live in namespaces.
    pub namespaced: bool,
    /// As in RBAC.
    pub verbs: Vec<String>,
    /// Below its objects.
    pub subresources: Vec<Subresource>,
    /// Where its objects are stored: for most the plural and the group.
    pub collection: String,
    /// The version in which its objects are stored.
    pub stored_as: String,
    /// The content of its CustomResourceDefinition, if it has one.
    pub custom: Option<Custom>,
    /// The types of its fields.
    pub ty: Type,
    /// The type in the version in which its objects are stored.
    pub stored_ty: Type,
}

/// A subresource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// As in `status`.
    pub name: String,
    /// The apiVersion of what is read and written there.
    pub api_version: String,
    /// The kind of what is read and written there.
    pub kind: String,
    /// As in RBAC.
    pub verbs: Vec<String>,
}

/// The properties of a resource that a CustomResourceDefinition defines.
#[derive(Debug, Clone)]
pub struct Custom {
    /// The entry of `spec.versions`.
    pub version: Arc<Value>,
    /// As in `WidgetList`.
    pub list_kind: String,
}

impl Resource {
    /// As in `apps/v1`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The kind of a list of its objects.
    pub fn list_kind(&self) -> String {
        self.custom.as_ref().map_or_else(|| format!("{}List", self.kind), |custom| custom.list_kind.clone())
    }

    /// One of its objects, for refusals.
    pub fn about<'a>(&'a self, name: &'a str) -> About<'a> {
        About { group: &self.group, resource: &self.plural, name }
    }

    /// One of its objects, for refusals that name the kind.
    pub fn about_kind<'a>(&'a self, name: &'a str) -> About<'a> {
        About { group: &self.group, resource: &self.kind, name }
    }

    /// One of its subresources.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|one| one.name == name)
    }

    /// `true` if status is written apart from the rest.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

/// Group and version as objects carry them.
pub fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// The inverse of [`api_version`].
pub fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Resources that are stored as another resource or in another version: group, version and plural of the request; collection and
/// version in the store.
const STORED_ELSEWHERE: [(&str, &str, &str, &str, &str); 2] = [
    ("events.k8s.io", "v1", "events", "events", "v1"),
    ("autoscaling", "v1", "horizontalpodautoscalers", "horizontalpodautoscalers.autoscaling", "autoscaling/v2"),
];

/// Resources by group, version and plural.
type Table = BTreeMap<String, BTreeMap<String, BTreeMap<String, Arc<Resource>>>>;

/// The resources that are served whatever is defined, and their entries in discovery.
#[derive(Debug, Clone, Default)]
struct BuiltIn {
    table: Table,
    groups: Vec<Arc<Value>>,
}

/// All resources that are served, and the discovery documents that say so.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    built_in: Arc<BuiltIn>,
    table: Table,
    /// The groups as aggregated discovery lists them, the core group first.
    pub groups: Vec<Arc<Value>>,
    /// The resources of each CustomResourceDefinition: reading a schema takes long.
    definitions: Vec<Definition>,
    /// The documents of aggregated discovery, of the core group and of all others, once they were asked for.
    pub(crate) discovered: [OnceLock<String>; 2],
}

/// The resources of a CustomResourceDefinition.
#[derive(Debug, Clone)]
struct Definition {
    crd: Arc<Value>,
    /// The served versions, and their entries in discovery.
    versions: Vec<(Arc<Resource>, Value)>,
}

impl Resources {
    /// Those that every cluster serves, and those of CustomResourceDefinitions whose names are accepted.
    pub fn new<'a>(crds: impl Iterator<Item = &'a Arc<Value>>) -> Self {
        Self { built_in: Arc::clone(&BUILT_IN), ..Self::default() }.with(crds)
    }

    /// Those alone that every cluster serves and that `serves` is true for, by group and plural: a smaller API server answers
    /// faster.
    pub fn some(serves: impl Fn(&str, &str) -> bool) -> Self {
        let built_in = Arc::new(BUILT_IN.some(serves));
        Self { built_in, ..Self::default() }.with(std::iter::empty())
    }

    /// The same with other CustomResourceDefinitions.
    pub fn with<'a>(&self, crds: impl Iterator<Item = &'a Arc<Value>>) -> Self {
        let BuiltIn { mut table, mut groups } = (*self.built_in).clone();
        let known = |crd: &Arc<Value>| {
            let is_of = |known: &&Definition| Arc::ptr_eq(&known.crd, crd) || serve_the_same(&known.crd, crd);
            let known = self.definitions.iter().find(is_of)?;
            // So that the next comparison need not look into it.
            Some(Definition { crd: Arc::clone(crd), versions: known.versions.clone() })
        };
        let definitions: Vec<Definition> =
            crds.map(|crd| known(crd).unwrap_or_else(|| Definition::of(Arc::clone(crd)))).collect();
        let mut custom: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
        for (resource, discovered) in definitions.iter().flat_map(|definition| &definition.versions) {
            insert(&mut table, Arc::clone(resource));
            add_version(custom.entry(&resource.group).or_default(), &resource.version, discovered.clone());
        }
        for (group, mut versions) in custom {
            versions.sort_by_cached_key(|version| std::cmp::Reverse(priority(text(version, "/version"))));
            match groups.iter_mut().find(|known| text(known, "/metadata/name") == group) {
                Some(known) => Arc::make_mut(known)["versions"]
                    .as_array_mut()
                    .into_iter()
                    .for_each(|known| known.extend(versions.clone())),
                None => groups.push(Arc::new(json!({"metadata": {"name": group}, "versions": versions}))),
            }
        }
        Self { built_in: Arc::clone(&self.built_in), table, groups, definitions, discovered: Default::default() }
    }

    /// The resource at a group, version and plural.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.table.get(group)?.get(version)?.get(plural)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> + Clone {
        self.table.values().flat_map(|versions| versions.values().flat_map(BTreeMap::values))
    }

    /// The resource of a kind.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Resource>> {
        let (group, version) = group_version(api_version);
        self.table.get(group)?.get(version)?.values().find(|one| one.kind == kind)
    }

    /// Any version of the resource whose objects are stored in a collection, preferably the stored one.
    pub fn of_collection(&self, collection: &str) -> Option<&Arc<Resource>> {
        let mut versions = self.iter().filter(|one| one.collection == collection);
        let stored = versions.clone().find(|one| one.api_version() == one.stored_as);
        stored.or_else(|| versions.next())
    }

    /// `true` if anything is served in a group, in one version or at all.
    pub fn serves(&self, group: &str, version: Option<&str>) -> bool {
        self.table.get(group).is_some_and(|versions| version.is_none_or(|version| versions.contains_key(version)))
    }
}

/// The resources that every cluster serves, the core group first.
static BUILT_IN: LazyLock<Arc<BuiltIn>> = LazyLock::new(|| {
    let mut built_in = BuiltIn::default();
    for path in ["/api", "/apis"] {
        let document = schema::document(&format!("{path};as=APIGroupDiscoveryList")).expect("a published document");
        let document: Value = serde_json::from_str(&document.text()).expect("it was stored as JSON");
        for group in list(&document, "/items") {
            add_group(&mut built_in.table, group);
            built_in.groups.push(Arc::new(group.clone()));
        }
    }
    Arc::new(built_in)
});

impl BuiltIn {
    fn some(&self, serves: impl Fn(&str, &str) -> bool) -> Self {
        let Self { mut table, mut groups } = self.clone();
        for (group, versions) in &mut table {
            versions.values_mut().for_each(|plurals| plurals.retain(|plural, _| serves(group, plural)));
            versions.retain(|_, plurals| !plurals.is_empty());
        }
        table.retain(|_, versions| !versions.is_empty());
        groups.retain(|group| table.contains_key(text(group, "/metadata/name")));
        for group in groups.iter_mut().map(Arc::make_mut) {
            let served = &table[text(group, "/metadata/name")];
            let versions = group["versions"].as_array_mut().into_iter();
            for versions in versions {
                versions.retain(|version| served.contains_key(text(version, "/version")));
                for version in versions {
                    let served = &served[text(version, "/version")];
                    let resources = version["resources"].as_array_mut().into_iter();
                    resources.for_each(|all| all.retain(|one| served.contains_key(text(one, "/resource"))));
                }
            }
        }
        Self { table, groups }
    }
}

fn add_group(table: &mut Table, group: &Value) {
    let name = text(group, "/metadata/name");
    for version in list(group, "/versions") {
        let version_name = text(version, "/version");
        for discovered in list(version, "/resources") {
            let resource = resource(name, version_name, discovered, None);
            insert(table, Arc::new(resource));
        }
    }
}

fn insert(table: &mut Table, resource: Arc<Resource>) {
    let versions = table.entry(resource.group.clone()).or_default();
    versions.entry(resource.version.clone()).or_default().insert(resource.plural.clone(), resource);
}

fn add_version(versions: &mut Vec<Value>, name: &str, discovered: Value) {
    match versions.iter_mut().find(|version| version["version"] == name) {
        Some(version) => version["resources"].as_array_mut().into_iter().for_each(|all| all.push(discovered.clone())),
        None => versions.push(json!({"version": name, "resources": [discovered], "freshness": "Current"})),
    }
}

/// A resource from its entry in aggregated discovery.
fn resource(group: &str, version: &str, discovered: &Value, custom: Option<(&Value, &Value)>) -> Resource {
    let plural = text(discovered, "/resource");
    let kind = text(discovered, "/responseKind/kind");
    let elsewhere = STORED_ELSEWHERE.iter().find(|one| (one.0, one.1, one.2) == (group, version, plural));
    let collection = match elsewhere {
        Some(found) => found.3.to_owned(),
        None if group.is_empty() => plural.to_owned(),
        None => format!("{plural}.{group}"),
    };
    let stored_version = custom.map(|(crd, _)| stored_version(crd)).unwrap_or(version);
    let stored_as = elsewhere.map_or_else(|| api_version(group, stored_version), |found| found.4.to_owned());
    let texts = |pointer| list(discovered, pointer).iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
    let subresource = |one: &Value| Subresource {
        name: text(one, "/subresource").to_owned(),
        api_version: match text(one, "/responseKind/version") {
            "" => api_version(group, version),
            other => api_version(text(one, "/responseKind/group"), other),
        },
        kind: text(one, "/responseKind/kind").to_owned(),
        verbs: list(one, "/verbs").iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
    };
    let ty = match custom {
        Some((_, version)) => Type::of_crd(&version["schema"]["openAPIV3Schema"]),
        None => schema::kind(group, version, kind).unwrap_or_else(Type::deduced),
    };
    let stored =
        custom.and_then(|(crd, _)| list(crd, "/spec/versions").iter().find(|version| version["storage"] == true));
    let stored_ty = stored.map_or_else(|| ty.clone(), |version| Type::of_crd(&version["schema"]["openAPIV3Schema"]));
    Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        kind: kind.to_owned(),
        namespaced: discovered["scope"] == "Namespaced",
        verbs: texts("/verbs"),
        subresources: list(discovered, "/subresources").iter().map(subresource).collect(),
        collection,
        stored_as,
        ty,
        stored_ty,
        custom: custom.map(|(crd, version)| Custom {
            version: Arc::new(version.clone()),
            list_kind: text(crd, "/spec/names/listKind").to_owned(),
        }),
    }
}

impl Definition {
    fn of(crd: Arc<Value>) -> Self {
        let served = list(&crd, "/spec/versions").iter().filter(|version| version["served"] == true);
        let of_version = |version: &Value| {
            let discovered = discovery(&crd, version);
            let resource =
                resource(text(&crd, "/spec/group"), text(version, "/name"), &discovered, Some((&crd, version)));
            (Arc::new(resource), discovered)
        };
        let versions = served.map(of_version).collect();
        Self { crd, versions }
    }
}

/// `true` if two versions of a CustomResourceDefinition define the same resources.
pub(crate) fn serve_the_same(one: &Value, other: &Value) -> bool {
    one["spec"] == other["spec"] && one["status"]["acceptedNames"] == other["status"]["acceptedNames"]
}

/// The version in which a CustomResourceDefinition's objects are stored.
pub fn stored_version(crd: &Value) -> &str {
    let stored = list(crd, "/spec/versions").iter().find(|version| version["storage"] == true);
    stored.map_or("", |version| text(version, "/name"))
}

/// The entry in aggregated discovery of a CustomResourceDefinition's version.
fn discovery(crd: &Value, version: &Value) -> Value {
    let names = &crd["status"]["acceptedNames"];
    let own = json!({"group": crd["spec"]["group"], "version": version["name"], "kind": names["kind"]});
    let verbs = ["get", "patch", "update"];
    let mut subresources = Vec::new();
    if version.pointer("/subresources/status").is_some() {
        subresources.push(json!({"subresource": "status", "responseKind": own, "verbs": verbs}));
    }
    if version.pointer("/subresources/scale").is_some() {
        let scale = json!({"group": "autoscaling", "version": "v1", "kind": "Scale"});
        subresources.push(json!({"subresource": "scale", "responseKind": scale, "verbs": verbs}));
    }
    let mut entry = json!({
        "resource": names["plural"],
        "responseKind": own,
        "scope": crd["spec"]["scope"],
        "singularResource": names["singular"],
        "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
    });
    for key in ["shortNames", "categories"] {
        if let Some(values) = names.get(key) {
            entry[key] = values.clone();
        }
    }
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

/// Versions in ascending order: names that are no versions, alpha, beta, stable; then by number.
fn priority(version: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let other = (0, 0, 0, std::cmp::Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let Ok(major) = rest[..end].parse() else { return other };
    let last = std::cmp::Reverse(String::new());
    if end == rest.len() {
        return (3, major, 0, last);
    }
    let stages = [("beta", 2), ("alpha", 1)];
    let found =
        stages.into_iter().find_map(|(stage, rank)| Some((rank, rest[end..].strip_prefix(stage)?.parse().ok()?)));
    found.map_or(other, |(rank, minor)| (rank, major, minor, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_api_server_does() {
        let mut versions = ["foo", "v1alpha2", "v2", "v1", "v1beta1", "v10", "v11beta2", "bar"];
        versions.sort_by_key(|version| std::cmp::Reverse(priority(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v11beta2", "v1beta1", "v1alpha2", "bar", "foo"]);
    }

    #[test]
    fn a_part_of_the_built_in_resources_can_be_served() {
        let resources = Resources::some(|group, plural| (group, plural) == ("apps", "deployments"));
        assert!(resources.get("apps", "v1", "deployments").is_some());
        assert_eq!((resources.iter().count(), resources.groups.len()), (1, 1));
        let discovered = list(&resources.groups[0], "/versions/0/resources");
        assert_eq!(discovered.iter().map(|one| text(one, "/resource")).collect::<Vec<_>>(), ["deployments"]);
    }

    #[test]
    fn built_in_resources_are_known() {
        let resources = Resources::new(std::iter::empty());
        let deployments = resources.get("apps", "v1", "deployments").unwrap();
        assert_eq!(deployments.collection, "deployments.apps");
        assert_eq!(deployments.subresource("scale").unwrap().api_version, "autoscaling/v1");
        assert!(deployments.namespaced && deployments.has_status());
        assert_eq!(resources.get("events.k8s.io", "v1", "events").unwrap().collection, "events");
        assert_eq!(resources.of_collection("events").unwrap().api_version(), "v1");
        assert!(resources.serves("apps", None) && !resources.serves("apps", Some("v2")));
    }
}
