//! Names that are no DNS names, as RBAC objects may have, and texts of any characters.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, config_map_path, namespace, shared};

const NAME: &str = "names";

/// Names, and how they are written in a URL.
const ROLES: [(&str, &str); 4] = [
    ("team platform (read)", "team%20platform%20%28read%29"),
    ("ops#1", "ops%231"),
    ("who?all=x&y", "who%3Fall%3Dx%26y"),
    ("example:größe", "example:gr%C3%B6%C3%9Fe"),
];

/// Texts, and how a manifest has them. YAML takes some of these characters for ends of lines, and refuses others where they are not escaped.
const TEXTS: [(&str, &str); 5] = [
    ("x\u{85}y", r"x\u0085y"),
    ("x\u{2028}  y\u{2029}z", r"x\u2028  y\u2029z"),
    ("a \u{85}\n b", r"a \u0085\n b"),
    ("\u{7f}\u{80}\u{9f}", r"\u007f\u0080\u009f"),
    ("\u{feff}a\u{fffe}\u{ffff}", r"\ufeffa\ufffe\uffff"),
];

/// What the repository says in any characters is what the cluster gets.
pub(crate) fn texts_are_exact(kind: Kind) -> Result<()> {
    const SPACE: &str = "texts";
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(SPACE))?;
    let data: String = TEXTS.iter().enumerate().map(|(n, (_, text))| format!("  t{n}: \"{text}\"\n")).collect();
    let map = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: texts, namespace: {SPACE}}}\ndata:\n{data}");
    repository.write("texts.yaml", &map)?;
    let sync = Sync::unstructured(cluster, SPACE, repository)?;
    sync.await_synced(&sync.repository.head()?)?;
    let live = cluster.get(&config_map_path(SPACE, "texts"))?;
    for (n, (text, _)) in TEXTS.iter().enumerate() {
        ensure!(live["data"][format!("t{n}")] == *text, "{text:?}: {:?}", live["data"]);
    }
    Ok(())
}

pub(crate) fn are_encoded(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    let verbs = json!(["get"]);
    for (index, (name, _)) in ROLES.iter().enumerate() {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": NAME},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs}],
        });
        repository.write(&format!("role{index}.json"), &role.to_string())?;
    }
    let sync = Sync::unstructured(cluster, NAME, repository)?;
    sync.await_synced(&sync.repository.head()?)?;

    let path = |encoded: &str| format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAME}/roles/{encoded}");
    for (name, encoded) in ROLES {
        let live = cluster.get(&path(encoded))?;
        ensure!(live["metadata"]["name"] == name && live["rules"][0]["verbs"] == verbs, "{live:#}");
        cluster.patch(&path(encoded), &json!({"rules": []}))?;
    }
    for (name, encoded) in ROLES {
        await_condition(&format!("the rules of {name:?} are back"), || {
            let live = cluster.get(&path(encoded))?;
            ensure!(live["rules"][0]["verbs"] == verbs, "{live:#}");
            Ok(())
        })?;
    }

    sync.repository.remove("role1.json")?;
    sync.commit()?;
    ensure!(!cluster.exists(&path(ROLES[1].1))?, "{} was not pruned", ROLES[1].0);
    ensure!(cluster.exists(&path(ROLES[0].1))?, "{} was pruned", ROLES[0].0);
    Ok(())
}
