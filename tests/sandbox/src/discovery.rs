//! Discovery: which groups, versions and resources there are, in both forms in which clients ask for it.

use serde_json::{Value, json};

use crate::object::{list, text};
use crate::resource::{Resources, api_version};

/// All resources of the core group, or of all others, in one document.
pub fn aggregated(resources: &Resources, core: bool) -> &str {
    resources.discovered[usize::from(core)].get_or_init(|| document(resources, core).to_string())
}

fn document(resources: &Resources, core: bool) -> Value {
    let items: Vec<&Value> = resources
        .groups
        .iter()
        .map(|group| &**group)
        .filter(|group| text(group, "/metadata/name").is_empty() == core)
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    })
}

/// The versions of the core group.
pub fn core() -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
}

/// All groups but the core one.
pub fn groups(resources: &Resources) -> Value {
    let named = resources.groups.iter().filter(|group| !text(group, "/metadata/name").is_empty());
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named.map(|group| versions(group)).collect::<Vec<_>>()})
}

/// One group.
pub fn group(resources: &Resources, name: &str) -> Option<Value> {
    let found = resources.groups.iter().find(|group| text(group, "/metadata/name") == name && !name.is_empty())?;
    let mut group = versions(found);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Some(group)
}

fn versions(group: &Value) -> Value {
    let name = text(group, "/metadata/name");
    let version = |version: &Value| {
        let version = text(version, "/version");
        json!({"groupVersion": api_version(name, version), "version": version})
    };
    let versions: Vec<Value> = list(group, "/versions").iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

/// The resources of a version of a group.
pub fn resources(resources: &Resources, group: &str, version: &str) -> Option<Value> {
    let found = resources.groups.iter().find(|one| text(one, "/metadata/name") == group)?;
    let found = list(found, "/versions").iter().find(|one| text(one, "/version") == version)?;
    let all: Vec<Value> =
        list(found, "/resources").iter().flat_map(|one| with_subresources(one, group, version)).collect();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": api_version(group, version),
        "resources": all,
    }))
}

fn with_subresources(resource: &Value, group: &str, version: &str) -> Vec<Value> {
    let name = text(resource, "/resource");
    let mut entry = json!({
        "name": name,
        "singularName": resource["singularResource"],
        "namespaced": resource["scope"] == "Namespaced",
        "kind": resource["responseKind"]["kind"],
        "verbs": resource["verbs"],
    });
    for key in ["shortNames", "categories"] {
        if let Some(values) = resource.get(key) {
            entry[key] = values.clone();
        }
    }
    let namespaced = entry["namespaced"].clone();
    let mut entries = vec![entry];
    for subresource in list(resource, "/subresources") {
        let kind = &subresource["responseKind"];
        let mut entry = json!({
            "name": format!("{name}/{}", text(subresource, "/subresource")),
            "singularName": "",
            "namespaced": namespaced,
            "kind": kind["kind"],
            "verbs": subresource["verbs"],
        });
        let elsewhere =
            !text(kind, "/version").is_empty() && (text(kind, "/group"), text(kind, "/version")) != (group, version);
        if elsewhere {
            entry["group"] = kind["group"].clone();
            entry["version"] = kind["version"].clone();
        }
        entries.push(entry);
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_discovery_agree() {
        let all = Resources::new(std::iter::empty());
        let apps = resources(&all, "apps", "v1").unwrap();
        let names: Vec<&str> = list(&apps, "/resources").iter().map(|one| text(one, "/name")).collect();
        assert!(names.contains(&"deployments/scale") && names.contains(&"replicasets"));
        let scale = list(&apps, "/resources").iter().find(|one| one["name"] == "deployments/scale").unwrap();
        assert_eq!(scale["group"], "autoscaling");
        assert_eq!(group(&all, "autoscaling").unwrap()["preferredVersion"]["version"], "v2");
        assert_eq!(group(&all, ""), None);
        assert_eq!(list(&document(&all, true), "/items").len(), 1);
        assert_eq!(list(&groups(&all), "/groups").len(), list(&document(&all, false), "/items").len());
    }
}
