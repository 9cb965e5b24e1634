//! The kinds that are judged: all that the API server serves and that a client may make, in every version, and kinds of our own.

use std::collections::BTreeMap;

use agent::io::kubernetes::client::Cluster;
use anyhow::{Context, Result, ensure};
use http::Method;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::schema::Schemas;

/// The least that the API server accepts of each built-in kind.
const BASES: &str = include_str!("bases.yaml");

/// A kind.
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    pub(crate) has_status: bool,
    pub(crate) has_scale: bool,
    /// Strategic merge patches are for built-in kinds alone.
    pub(crate) built_in: bool,
    pub(crate) versions: Vec<Version>,
}

/// A version in which a kind is served.
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) schema: Value,
    /// What every object has.
    pub(crate) base: Value,
}

impl Kind {
    pub(crate) fn api_version(&self, version: &Version) -> String {
        if self.group.is_empty() { version.name.clone() } else { format!("{}/{}", self.group, version.name) }
    }

    /// The Namespace of its objects: one for each kind, because some kinds change what others may be.
    pub(crate) fn namespace(&self) -> String {
        if self.namespaced { format!("judged-{}", self.plural) } else { String::new() }
    }

    pub(crate) fn path(&self, version: &Version, name: &str) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        let namespace = if self.namespaced { format!("/namespaces/{}", self.namespace()) } else { String::new() };
        let name = name.replace(':', "%3A");
        format!("/{root}/{}{namespace}/{}/{name}", self.api_version(version), self.plural)
    }
}

/// All built-in kinds, in an order that only the API server's version determines. An API server that has just started publishes some
/// schemas later, which is an error.
pub(crate) async fn served(cluster: &Cluster, schemas: &mut Schemas) -> Result<Vec<Kind>> {
    let bases: Vec<Value> = serde_yaml::Deserializer::from_str(BASES)
        .map(|document| Value::deserialize(document).context("a base"))
        .collect::<Result<_>>()?;
    let mut kinds = BTreeMap::new();
    let index: Value = cluster.get("/openapi/v3").await?;
    for served in cluster.kinds().into_values() {
        let version = served.resource.api_version;
        let path = if version.contains('/') { format!("apis/{version}") } else { format!("api/{version}") };
        ensure!(index["paths"].get(&path).is_some(), "no schemas of {version} are published yet");
    }
    for (group_version, document) in index["paths"].as_object().into_iter().flatten() {
        let Some(path) = group_version.strip_prefix("apis/").or(group_version.strip_prefix("api/")) else { continue };
        let (group, version) = match path.split_once('/') {
            Some((group, version)) if group_version.starts_with("apis/") => (group, version),
            _ if group_version.starts_with("api/") => ("", path),
            _ => continue,
        };
        let document: Value = cluster.get(document["serverRelativeURL"].as_str().unwrap_or_default()).await?;
        let types = document["components"]["schemas"].as_object().cloned().unwrap_or_default();
        let resources: Value = cluster.get(&format!("/{group_version}")).await?;
        for resource in resources["resources"].as_array().into_iter().flatten() {
            add(&mut kinds, group, version, resource, &resources, &types, &bases);
        }
        schemas.0.extend(types);
    }
    Ok(kinds.into_values().collect())
}

fn add(
    kinds: &mut BTreeMap<(String, String), Kind>,
    group: &str,
    version: &str,
    resource: &Value,
    resources: &Value,
    types: &Map<String, Value>,
    bases: &[Value],
) {
    let text = |field: &str| resource[field].as_str().unwrap_or_default().to_owned();
    let (plural, kind) = (text("name"), text("kind"));
    let verbs = resource["verbs"].to_string();
    let is_object = ["create", "patch", "get", "delete"].iter().all(|verb| verbs.contains(&format!("\"{verb}\"")));
    if plural.contains('/') || !is_object {
        return;
    }
    let of_kind = |schema: &&Value| {
        let kinds = schema["x-kubernetes-group-version-kind"].as_array();
        kinds.into_iter().flatten().any(|of| of["group"] == group && of["version"] == version && of["kind"] == *kind)
    };
    let Some(schema) = types.values().find(of_kind) else { return };
    let has = |subresource: &str| {
        let name = format!("{plural}/{subresource}");
        resources["resources"].as_array().into_iter().flatten().any(|resource| resource["name"] == *name)
    };
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let base = base(bases, group, &api_version, &kind);
    let version = Version { name: version.to_owned(), schema: schema.clone(), base };
    let (has_status, has_scale) = (has("status"), has("scale"));
    let entry = kinds.entry((group.to_owned(), plural.clone())).or_insert_with(|| Kind {
        group: group.to_owned(),
        has_status,
        has_scale,
        namespaced: resource["namespaced"] == true,
        kind,
        plural,
        built_in: true,
        versions: Vec::new(),
    });
    entry.versions.push(version);
}

fn base(bases: &[Value], group: &str, api_version: &str, kind: &str) -> Value {
    let of_group = |base: &&Value| {
        let own = base["apiVersion"].as_str().unwrap_or_default();
        own.split_once('/').map_or("", |(group, _)| group) == group && base["kind"] == kind
    };
    let exact = bases.iter().find(|base| base["apiVersion"] == api_version && base["kind"] == kind);
    let mut base = exact.or_else(|| bases.iter().find(of_group)).cloned().unwrap_or_default();
    base["apiVersion"] = api_version.into();
    base["kind"] = kind.into();
    base
}

/// The Namespaces of all kinds.
pub(crate) async fn make_namespaces(cluster: &Cluster, kinds: &[Kind]) -> Result<()> {
    for kind in kinds.iter().filter(|kind| kind.namespaced) {
        let object =
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kind.namespace()}});
        let path = "/api/v1/namespaces";
        match cluster.request::<Value>(Method::POST, path, crate::JSON, object.to_string().into_bytes()).await {
            Err(error) if error.code() != 409 => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
