//! The files of an export, in the layout of a repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use agent::compile::SourceFormat;
use agent::model::object::{Object, ObjectId};
use agent::model::yaml;
use anyhow::{Context as _, bail};
use serde_json::Value;

use super::super::init;

/// Bytes that the name of a file may have, which leaves some for its extension.
const LONGEST: usize = 240;

/// A file of an export.
pub(super) struct ExportedFile {
    pub(super) directory: String,
    /// The object of the file, or those that Namespaces below the directory inherit, which are alike.
    pub(super) ids: Vec<ObjectId>,
}

impl ExportedFile {
    /// The object whose text is in the file.
    pub(super) fn id(&self) -> &ObjectId {
        &self.ids[0]
    }
}

/// A file for each object.
pub(super) fn each(objects: &BTreeMap<ObjectId, Object>) -> Vec<ExportedFile> {
    objects.keys().map(|id| ExportedFile { directory: directory(id), ids: vec![id.clone()] }).collect()
}

/// The text of each file, by its path, and the objects that have none. `in_file` brings an object into the form of its file.
pub(super) fn texts(
    objects: &BTreeMap<ObjectId, Object>,
    placed: &[ExportedFile],
    format: SourceFormat,
    in_file: impl Fn(&ObjectId, Object) -> Option<Value>,
) -> (BTreeMap<String, String>, Vec<ObjectId>) {
    let mut by_name: BTreeMap<String, Vec<&ExportedFile>> = BTreeMap::new();
    for file in placed {
        by_name.entry(format!("{}/{}", file.directory, short_name(file.id())).to_lowercase()).or_default().push(file);
    }
    let (mut files, mut without) = (BTreeMap::new(), Vec::new());
    if format == SourceFormat::Hierarchy {
        files.insert("system/repo.yaml".to_owned(), init::REPO.to_owned());
    }
    for same_name in by_name.into_values() {
        let collide = same_name.len() > 1;
        for file in same_name {
            let id = file.id();
            let name = if collide || short_name(id).len() > LONGEST { long_name(id) } else { short_name(id) };
            let mut object = objects[id].clone();
            // The directory says it.
            if format == SourceFormat::Hierarchy {
                object.metadata_mut().remove("namespace");
            }
            match in_file(id, object) {
                Some(written) => _ = files.insert(format!("{}/{name}.yaml", file.directory), yaml::text(&written)),
                None => without.extend(file.ids.iter().cloned()),
            }
        }
    }
    (files, without)
}

fn directory(id: &ObjectId) -> String {
    match (id.is_namespace(), id.namespace()) {
        (true, _) => format!("namespaces/{}", id.name()),
        (false, "") => "cluster".to_owned(),
        (false, namespace) => format!("namespaces/{namespace}"),
    }
}

/// `namespace`, `databases.example.com` for a CRD, or kind and name, such as `storage-class-regional`.
fn short_name(id: &ObjectId) -> String {
    if id.is_namespace() {
        return "namespace".to_owned();
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-._".contains(c) { c } else { '_' };
    let name: String = id.name().chars().map(plain).collect();
    if id.is_crd() { name } else { format!("{}-{name}", kebab(id.kind())) }
}

/// `storageclass.storage.k8s.io_regional`, without a sign that two names could share, and so for names that collide.
fn long_name(id: &ObjectId) -> String {
    let encoded: String = id.name().bytes().map(encode).collect();
    let name = format!("{}.{}_{encoded}", id.kind().to_lowercase(), id.group());
    if name.len() <= LONGEST {
        return name;
    }
    // The end of a name that is too long stands for all of it.
    let digest = encoded
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    format!("{}-{digest:016x}", &name[..LONGEST - 17])
}

fn encode(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    }
}

/// `StorageClass` as `storage-class`, `CSIDriver` as `csi-driver`.
fn kebab(kind: &str) -> String {
    let letters: Vec<char> = kind.chars().collect();
    let mut out = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| letters[index]);
        let after = letters.get(index + 1);
        let begins_word = letter.is_ascii_uppercase()
            && before.is_some_and(|before| !before.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase));
        if begins_word {
            out.push('-');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// Fails if the directory has files that are not hidden.
///
/// # Errors
///
/// Then, and if it cannot be read.
pub(super) fn check_empty(directory: &Path) -> anyhow::Result<()> {
    if let Some(name) = init::first_entry(directory)? {
        bail!(
            "{} is not empty: it contains {}; choose another directory with --path, or compare with --check",
            directory.display(),
            name.display()
        );
    }
    Ok(())
}

/// Writes the files.
///
/// # Errors
///
/// If one cannot be written.
pub(super) fn write(directory: &Path, files: &BTreeMap<String, String>) -> anyhow::Result<()> {
    for (path, text) in files {
        let path = directory.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("failed to create {}", parent.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(objects: &[Value]) -> Vec<String> {
        let objects = objects.iter().map(|object| {
            let object: Object = serde_json::from_value(object.clone()).expect("an object");
            (object.id(), object)
        });
        let objects = objects.collect();
        let in_file = |_: &ObjectId, object: Object| Some(Value::Object(object.0));
        texts(&objects, &each(&objects), SourceFormat::Unstructured, in_file).0.into_keys().collect()
    }

    fn object(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = namespace.into();
        }
        object
    }

    #[test]
    fn files_are_named_as_in_the_examples() {
        let found = paths(&[
            object("v1", "Namespace", "", "shop"),
            object("apps/v1", "Deployment", "shop", "web"),
            object("storage.k8s.io/v1", "StorageClass", "", "regional"),
            object("storage.k8s.io/v1", "CSIDriver", "", "a.example.com"),
            object("rbac.authorization.k8s.io/v1", "ClusterRole", "", "shop:reader"),
            object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "databases.example.com"),
        ]);
        let expected = [
            "cluster/cluster-role-shop_reader.yaml",
            "cluster/csi-driver-a.example.com.yaml",
            "cluster/databases.example.com.yaml",
            "cluster/storage-class-regional.yaml",
            "namespaces/shop/deployment-web.yaml",
            "namespaces/shop/namespace.yaml",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn names_that_collide_have_their_group_and_every_sign() {
        let found = paths(&[
            object("v1", "Service", "shop", "web"),
            object("serving.knative.dev/v1", "Service", "shop", "web"),
            object("rbac.authorization.k8s.io/v1", "Role", "shop", "a:b"),
            object("rbac.authorization.k8s.io/v1", "Role", "shop", "a_b"),
        ]);
        let expected = [
            "namespaces/shop/role.rbac.authorization.k8s.io_a%3ab.yaml",
            "namespaces/shop/role.rbac.authorization.k8s.io_a%5fb.yaml",
            "namespaces/shop/service.serving.knative.dev_web.yaml",
            "namespaces/shop/service._web.yaml",
        ];
        let mut expected = expected.map(str::to_owned);
        expected.sort();
        assert_eq!(found, expected);
        let long = paths(&[object("v1", "ConfigMap", "shop", &"a".repeat(253))]);
        assert!(long[0].rsplit('/').next().is_some_and(|name| name.len() <= 255), "{long:?}");
    }
}
