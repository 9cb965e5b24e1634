//! Every field of the CRD: used, without effect, or refused.

use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use serde_json::json;

use super::*;
use crate::api::crds;
use crate::model::finding::Code;

/// Values that say the same as a field that is left out.
const DEFAULTS: [(&str, &[&str]); 5] = [
    ("spec.sourceFormat", &["hierarchy", ""]),
    ("spec.sourceType", &["git"]),
    ("spec.git.auth", &["none"]),
    ("spec.override.statusMode", &["enabled", ""]),
    ("spec.override.namespaceStrategy", &["implicit"]),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Used,
    None,
    Refused,
}

/// A field of the schema without fields of its own. Lists are marked in its path, as in `spec.override.roleRefs[].name`.
struct Leaf {
    path: String,
    schema: JSONSchemaProps,
    /// The descriptions of the fields above it and its own.
    descriptions: String,
}

impl Leaf {
    /// The path without lists, and without the name of a Secret: the reference as a whole is read or not.
    fn field(&self) -> &str {
        let path = self.path.split("[]").next().unwrap_or_default();
        path.strip_suffix("Ref.name").map_or(path, |parent| &self.path[..parent.len() + "Ref".len()])
    }

    /// Every kind of value that the schema allows, but not the default.
    fn values(&self) -> Vec<Value> {
        let defaults = DEFAULTS.iter().find(|(path, _)| *path == self.path).map_or(&[] as &[&str], |(_, them)| them);
        let unsupported =
            |value: &Value| self.path == "spec.git.auth" && !SUPPORTED_AUTH.iter().any(|auth| value == auth.name());
        let others = values(&self.schema).into_iter().filter(|value| !defaults.iter().any(|default| value == default));
        others.filter(|value| !unsupported(value)).collect()
    }
}

static SPEC: LazyLock<JSONSchemaProps> = LazyLock::new(|| {
    let crd = crds().into_iter().find(|crd| crd.spec.names.kind == "RootSync").expect("the CRD of RootSyncs");
    let schema = crd.spec.versions[0].schema.clone().and_then(|schema| schema.open_api_v3_schema);
    schema.and_then(|schema| schema.properties?.remove("spec")).expect("the schema of the spec")
});

fn leaves() -> Vec<Leaf> {
    let mut found = Vec::new();
    collect("spec", &SPEC, "", &mut found);
    assert!(found.len() > 40, "{} leaves", found.len());
    found
}

fn collect(path: &str, schema: &JSONSchemaProps, above: &str, found: &mut Vec<Leaf>) {
    let descriptions = format!("{above}\n{}", schema.description.as_deref().unwrap_or_default());
    match (&schema.properties, &schema.items) {
        (Some(properties), _) => {
            for (name, schema) in properties {
                collect(&format!("{path}.{name}"), schema, &descriptions, found);
            }
        }
        (None, Some(JSONSchemaPropsOrArray::Schema(items))) => {
            collect(&format!("{path}[]"), items, &descriptions, found);
        }
        _ => found.push(Leaf { path: path.to_owned(), schema: schema.clone(), descriptions }),
    }
}

fn values(schema: &JSONSchemaProps) -> Vec<Value> {
    if let Some(allowed) = &schema.enum_ {
        return allowed.iter().map(|value| value.0.clone()).collect();
    }
    if let Some(pattern) = &schema.pattern {
        let allowed = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")$")).expect("alternatives");
        return allowed.split('|').map(Value::from).collect();
    }
    match schema.type_.as_deref() {
        Some("boolean") => vec![true.into()],
        Some("integer") => vec![7.into()],
        Some("object") => vec![json!({ "key": "value" })],
        None if schema.x_kubernetes_int_or_string == Some(true) => vec!["7".into()],
        Some("string") => vec!["7m7s".into()],
        other => panic!("a leaf of the type {other:?}"),
    }
}

/// Sets the field at `path` below `target`, with the fields that the schema requires beside it.
fn set(target: &mut Value, schema: &JSONSchemaProps, path: &[&str], value: &Value) {
    let Some((first, rest)) = path.split_first() else {
        *target = value.clone();
        return;
    };
    let properties = schema.properties.as_ref().expect("fields");
    for required in schema.required.iter().flatten() {
        if target.get(required).is_none() {
            target[required] = values(&properties[required])[0].clone();
        }
    }
    match (first.strip_suffix("[]"), first) {
        (Some(name), _) => {
            let Some(JSONSchemaPropsOrArray::Schema(items)) = &properties[name].items else { panic!("no list") };
            if target.get(name).is_none() {
                target[name] = json!([{}]);
            }
            set(&mut target[name][0], items, rest, value);
        }
        (None, name) => {
            if target.get(name).is_none() {
                target[name] = json!({});
            }
            set(&mut target[name], &properties[*name], rest, value);
        }
    }
}

fn plain() -> Value {
    json!({ "git": { "repo": "https://git.example/x", "auth": "none" } })
}

fn read(spec: &Value, annotations: &[(&str, &str)]) -> Result<SupportedSpec, Finding> {
    let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    supported(&SyncId::root("root-sync"), &annotations, spec, LocalRepositories::Allowed)
}

fn effect(leaf: &Leaf, value: &Value) -> Effect {
    let mut spec = plain();
    match (leaf.path.as_str(), value.as_str()) {
        // A login and its Secret need each other.
        ("spec.git.auth", Some("token" | "cookiefile" | "ssh" | "githubapp")) => {
            spec["git"]["secretRef"] = json!({ "name": "login" });
        }
        ("spec.git.auth", Some("gcpserviceaccount")) => {
            spec["git"]["gcpServiceAccountEmail"] = "sync-app@project.iam.gserviceaccount.com".into();
        }
        ("spec.git.secretRef.name", _) => {
            spec["git"]["auth"] = "token".into();
            spec["git"]["secretRef"] = json!({ "name": "login" });
        }
        ("spec.git.verify.mode", _) => spec["git"]["verify"] = json!({ "secretRef": { "name": "signers" } }),
        (path, _) if path.starts_with("spec.override.roleRefs") => {
            spec["override"]["roleRefs"] = json!([{ "kind": "", "name": "before", "namespace": "before" }]);
        }
        _ => {}
    }
    let before = read(&spec, &[]);
    let path: Vec<&str> = leaf.path.split('.').skip(1).collect();
    set(&mut spec, &SPEC, &path, value);
    match read(&spec, &[]) {
        Ok(supported) if Ok(&supported) == before.as_ref() => Effect::None,
        Ok(_) => Effect::Used,
        Err(finding) => {
            assert_eq!(finding.code, Code::InvalidSync, "{spec}");
            assert!(finding.message.contains(leaf.field()), "{spec}: {}", finding.message);
            assert!(finding.hint.is_some(), "{spec}: {}", finding.message);
            Effect::Refused
        }
    }
}

/// The effect that every value but the default has.
fn effect_of(leaf: &Leaf) -> Effect {
    let effects: Vec<Effect> = leaf.values().iter().map(|value| effect(leaf, value)).collect();
    assert!(!effects.is_empty() && effects.iter().all(|effect| *effect == effects[0]), "{}: {effects:?}", leaf.path);
    effects[0]
}

fn covers(entry: &str, path: &str) -> bool {
    path.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[test]
fn a_repository_on_the_disk_of_the_agent_needs_a_flag() {
    let read = |repo: &str, local| {
        let spec = json!({ "git": { "repo": repo, "auth": "none" } });
        supported(&SyncId::root("root-sync"), &BTreeMap::new(), &spec, local)
    };
    for repo in ["/srv/x", "x", "../x", "file:///srv/x", "FILE:///srv/x"] {
        let finding = read(repo, LocalRepositories::Refused).expect_err(repo);
        assert_eq!(finding.code, Code::InvalidSync);
        assert!(finding.hint.is_some_and(|hint| hint.contains("--allow-local-repositories")));
        assert!(read(repo, LocalRepositories::Allowed).is_ok(), "{repo}");
    }
    assert!(read("https://git.example/x", LocalRepositories::Refused).is_ok());
}

#[test]
fn every_field_is_used_or_has_no_effect_or_is_refused() {
    let leaves = leaves();
    for leaf in &leaves {
        let listed = NO_EFFECT.iter().any(|(entry, _)| covers(entry, &leaf.path));
        assert_eq!(listed, effect_of(leaf) == Effect::None, "NO_EFFECT is wrong about {}", leaf.path);
    }
    for (entry, reason) in NO_EFFECT {
        let there = !entry.starts_with("spec.") || leaves.iter().any(|leaf| covers(entry, &leaf.path));
        assert!(there && !reason.is_empty(), "{entry}");
    }
}

#[test]
fn the_description_of_a_field_says_when_it_has_no_effect_or_is_refused() {
    for leaf in leaves() {
        let expected = match effect_of(&leaf) {
            Effect::Used => continue,
            Effect::None => "no effect",
            Effect::Refused => "refuse",
        };
        assert!(leaf.descriptions.contains(expected), "{}:{}", leaf.path, leaf.descriptions);
    }
}

#[test]
fn the_readme_names_every_field() {
    let readme = include_str!("../../../../README.md");
    for leaf in leaves() {
        let (row, field) = match effect_of(&leaf) {
            Effect::Used => ("| used |", leaf.field()),
            Effect::Refused => ("| refused |", leaf.field()),
            Effect::None => {
                let listed = NO_EFFECT.into_iter().find(|(entry, _)| covers(entry, &leaf.path));
                ("| no effect |", listed.expect("in the table").0)
            }
        };
        let row = readme.lines().find(|line| line.starts_with(row)).expect("the row");
        let name = format!("`{}`", field.trim_start_matches("spec."));
        assert!(row.contains(&name), "README.md does not name {name} in: {row}");
    }
}

#[test]
fn a_field_that_is_set_to_its_default_changes_nothing() {
    let mut spec = plain();
    spec["sourceFormat"] = "hierarchy".into();
    for (field, default) in [
        ("proxy", json!("")),
        ("noSSLVerify", json!(false)),
        ("caCertSecretRef", Value::Null),
        ("secretRef", json!({ "name": "" })),
    ] {
        spec["git"][field] = default;
    }
    spec["override"] = json!({ "reconcileTimeout": "0s", "apiServerTimeout": "15s", "roleRefs": [] });
    assert_eq!(read(&spec, &[]), read(&plain(), &[]));
}

#[test]
fn a_verification_that_an_older_crd_drops_is_not_passed_over() {
    let verified =
        json!({ "repo": "https://git.example/x", "auth": "none", "verify": { "secretRef": { "name": "signers" } } });
    let applied = json!({ "spec": { "git": verified } }).to_string();
    assert!(read(&json!({ "git": verified }), &[(annotation::LAST_APPLIED, &applied)]).is_ok());
    let finding = read(&plain(), &[(annotation::LAST_APPLIED, &applied)]).expect_err("dropped");
    assert!(finding.message.starts_with("spec.git.verify was applied"), "{}", finding.message);
    for other in ["", "{}", r#"{"spec":{"git":{"verify":null}}}"#] {
        assert!(read(&plain(), &[(annotation::LAST_APPLIED, other)]).is_ok(), "{other}");
    }
}

#[test]
fn timeouts_are_read() {
    let timeouts = |overrides: Value| {
        let mut spec = plain();
        spec["override"] = overrides;
        let spec = read(&spec, &[]).map_err(|finding| finding.message)?;
        Ok((spec.reconcile_timeout.as_secs(), spec.api_server_timeout.as_secs()))
    };
    assert_eq!(timeouts(json!({})), Ok((300, 15)));
    assert_eq!(timeouts(json!({ "reconcileTimeout": "1m30s", "apiServerTimeout": "3s" })), Ok((90, 3)));
    for field in ["reconcileTimeout", "apiServerTimeout"] {
        for wrong in ["-1s", "15", "soon"] {
            let expected = format!("spec.override.{field}: {wrong:?} is no duration; write it like 15s, 1m30s or 2h.");
            assert_eq!(timeouts(json!({ field: wrong })), Err(expected));
        }
    }
}

#[test]
fn other_sources_are_refused() {
    let oci = json!({ "sourceType": "oci", "oci": { "image": "registry.example/x", "auth": "none" } });
    let message = read(&oci, &[]).map_err(|finding| finding.message);
    assert_eq!(message, Err("spec.sourceType: oci is not supported by this agent.".to_owned()));
}

#[test]
fn annotations_of_config_sync_have_no_effect_on_the_spec() {
    let plain = plain();
    for (key, _) in NO_EFFECT.into_iter().filter(|(entry, _)| !entry.starts_with("spec.")) {
        assert_eq!(read(&plain, &[(key, "true")]), read(&plain, &[]), "{key}");
    }
    for policy in ["Orphan", "Foreground"] {
        assert_eq!(read(&plain, &[(annotation::DELETION_PROPAGATION, policy)]), read(&plain, &[]));
    }
    let refused = read(&plain, &[(annotation::DELETION_PROPAGATION, "foreground")]).expect_err("refused");
    assert!(refused.code == Code::InvalidSync && refused.message.contains("foreground"), "{}", refused.message);
}

#[test]
fn a_repo_sync_is_unstructured() {
    let read = |spec: Value| {
        supported(&SyncId::repo("shop", "repo-sync"), &BTreeMap::new(), &spec, LocalRepositories::Refused)
    };
    assert_eq!(read(plain()).map(|spec| spec.format), Ok(SourceFormat::Unstructured));
    for (field, value) in [
        ("/git/auth", json!("gcenode")),
        ("/override", json!({ "roleRefs": [{ "kind": "ClusterRole", "name": "cluster-admin" }] })),
    ] {
        let mut spec = plain();
        spec["override"] = json!({});
        *spec.pointer_mut(field).expect("a field") = value;
        let finding = read(spec).expect_err("of RootSyncs alone");
        assert_eq!(finding.code, Code::InvalidSync, "{field}");
    }
}
