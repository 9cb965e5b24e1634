//! The places of objects in a hierarchical repository: what all Namespaces of a group share is in a directory above them, once.

use std::collections::{BTreeMap, BTreeSet};

use agent::compile::declared::{DeclaredSet, hydrated};
use agent::compile::parse::SourceFile;
use agent::compile::{CompileOptions, SourceFormat};
use agent::io::files::Files;
use agent::model::object::{Object, ObjectId};
use serde_json::Value;

use super::files::{self, ExportedFile};
use super::gather::ExportedObjects;
use crate::kinds::ClusterKinds;
use crate::source::SourceForCluster;

/// Labels of a Namespace that name its group; the first one counts.
const GROUP_LABELS: [&str; 2] = ["team", "app.kubernetes.io/part-of"];
/// The longest name of a directory: it is a part of the key of a label of the Namespaces below.
const LONGEST: usize = 63;
/// The directory above all Namespaces.
const ALL: &str = "namespaces";

/// Namespaces in one directory.
struct NamespaceGroup<'a> {
    directory: String,
    namespaces: BTreeSet<&'a str>,
}

/// An object that all Namespaces of a group have.
struct SharedObject {
    directory: String,
    /// The objects that the Namespaces have of it.
    ids: Vec<ObjectId>,
}

/// The files of the objects, so that hydrate gives what it gives of a file for each object. What has another result is not shared. Only
/// the export of a whole cluster tells what all Namespaces have.
pub(super) fn placed(exported: &ExportedObjects, whole: bool, kinds: &ClusterKinds) -> Vec<ExportedFile> {
    let each = files::each(&exported.objects);
    let mut shared = shared(exported, whole);
    if shared.is_empty() {
        return each;
    }
    let Some(expected) = compiled(exported, &each, kinds) else { return each };
    while !shared.is_empty() {
        let placed = places(exported, &shared);
        let Some(found) = compiled(exported, &placed, kinds) else { return each };
        let differ = differing(&expected, &found);
        if differ.is_empty() {
            return placed;
        }
        let before = shared.len();
        shared.retain(|object| !object.ids.iter().any(|id| differ.contains(id)));
        if shared.len() == before {
            return each;
        }
    }
    each
}

/// The groups of the Namespaces: those with the same label, or the same first word of their names, and then all of them.
fn groups(objects: &BTreeMap<ObjectId, Object>, whole: bool) -> Vec<NamespaceGroup<'_>> {
    let declared = || objects.iter().filter(|(id, _)| id.is_namespace());
    let all: BTreeSet<&str> = declared().map(|(id, _)| id.name()).collect();
    let mut members: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (id, namespace) in declared() {
        let label = GROUP_LABELS.iter().find_map(|key| namespace.label(key));
        let first_word = id.name().split('-').next().unwrap_or_default();
        members.entry(label.unwrap_or(first_word)).or_default().insert(id.name());
    }
    let (mut groups, mut taken) = (Vec::new(), all.clone().into_iter().map(str::to_owned).collect());
    for (name, namespaces) in members.into_iter().filter(|(_, namespaces)| namespaces.len() > 1) {
        if let Some(name) = free_name(name, &mut taken) {
            groups.push(NamespaceGroup { directory: format!("{ALL}/{name}"), namespaces });
        }
    }
    if whole && all.len() > 1 && groups.iter().all(|group| group.namespaces.len() < all.len()) {
        groups.insert(0, NamespaceGroup { directory: ALL.to_owned(), namespaces: all });
    }
    groups
}

/// The name of the directory of a group: no Namespace and no other group has it, and it fits into the key of a label.
fn free_name(name: &str, taken: &mut BTreeSet<String>) -> Option<String> {
    let mut name = name.to_owned();
    while taken.contains(&name) {
        name.push_str("-group");
    }
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = name.len() <= LONGEST && !name.is_empty() && !name.starts_with('-') && !name.ends_with('-');
    let fits = fits && name.chars().all(is_plain);
    fits.then(|| {
        taken.insert(name.clone());
        name
    })
}

/// `true` for what must not come into force in each Namespace that is added later: rights and secrets.
fn is_for_chosen(id: &ObjectId) -> bool {
    id.group() == "rbac.authorization.k8s.io" || id.group().is_empty() && id.kind() == "Secret"
}

/// The objects that all Namespaces of a group have, in the first group in which they do.
fn shared(exported: &ExportedObjects, whole: bool) -> Vec<SharedObject> {
    let mut left: BTreeSet<&ObjectId> = exported.objects.keys().filter(|id| !id.namespace().is_empty()).collect();
    let mut shared = Vec::new();
    for NamespaceGroup { directory, namespaces } in groups(&exported.objects, whole) {
        let mut by_name: BTreeMap<_, Vec<&ObjectId>> = BTreeMap::new();
        let may_be = |id: &&ObjectId| namespaces.contains(id.namespace()) && (directory != ALL || !is_for_chosen(id));
        for id in left.iter().copied().filter(may_be) {
            by_name.entry((id.group_kind(), id.name())).or_default().push(id);
        }
        for ids in by_name.into_values().filter(|ids| ids.len() == namespaces.len()) {
            let first = content(exported, ids[0]);
            if ids.iter().all(|id| content(exported, id) == first) {
                ids.iter().for_each(|id| _ = left.remove(id));
                shared.push(SharedObject { directory: directory.clone(), ids: ids.into_iter().cloned().collect() });
            }
        }
    }
    shared
}

/// The object without its Namespace, and `true` if its values are secret.
fn content(exported: &ExportedObjects, id: &ObjectId) -> (Object, bool) {
    let mut object = exported.objects[id].clone();
    object.metadata_mut().remove("namespace");
    (object, exported.confidential.contains(id))
}

/// The files of all objects. The Namespaces that inherit from the directory of a group are below it.
fn places(exported: &ExportedObjects, shared: &[SharedObject]) -> Vec<ExportedFile> {
    let mut above: BTreeMap<&str, &str> = BTreeMap::new();
    for object in shared.iter().filter(|object| object.directory != ALL) {
        above.extend(object.ids.iter().map(|id| (id.namespace(), &*object.directory)));
    }
    let inherited: BTreeSet<&ObjectId> = shared.iter().flat_map(|object| &object.ids).collect();
    let mut placed: Vec<ExportedFile> = shared
        .iter()
        .map(|object| ExportedFile { directory: object.directory.clone(), ids: object.ids.clone() })
        .collect();
    for mut file in files::each(&exported.objects) {
        if inherited.contains(file.id()) {
            continue;
        }
        let namespace = if file.id().is_namespace() { file.id().name() } else { file.id().namespace() };
        if let Some(directory) = above.get(namespace) {
            file.directory = format!("{directory}/{namespace}");
        }
        placed.push(file);
    }
    placed
}

/// The objects that a compilation of the files gives; `None` if a finding blocks.
fn compiled(exported: &ExportedObjects, files: &[ExportedFile], kinds: &ClusterKinds) -> Option<DeclaredSet> {
    let in_file = |_: &ObjectId, object: Object| Some(Value::Object(object.0));
    let (texts, _) = files::texts(&exported.objects, files, SourceFormat::Hierarchy, in_file);
    let source = |(path, text): (String, String)| SourceFile { path, content: text.into_bytes().into() };
    let source = Files { files: texts.into_iter().map(source).collect(), ..Files::default() };
    let options = CompileOptions::offline(SourceFormat::Hierarchy);
    let compilation = SourceForCluster::of_files(source, None).ok()?.compiled(options, kinds);
    compilation.clusters.into_iter().next()?.compiled.declared
}

/// The objects that two compilations do not give alike.
fn differing(one: &DeclaredSet, other: &DeclaredSet) -> BTreeSet<ObjectId> {
    let objects = |set: &DeclaredSet| -> BTreeMap<ObjectId, Object> {
        let all = set.objects.iter().chain(&set.withheld);
        all.map(|(id, declared)| (id.clone(), hydrated(&declared.written()))).collect()
    };
    let (one, other) = (objects(one), objects(other));
    let ids = one.keys().chain(other.keys());
    ids.filter(|id| one.get(id) != other.get(id)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use agent::compile::kind_scopes::Scope;
    use agent::model::object::GroupKind;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn exported(objects: impl IntoIterator<Item = Value>) -> ExportedObjects {
        let object = |value| serde_json::from_value::<Object>(value).expect("an object");
        let objects = objects.into_iter().map(object).map(|object| (object.id(), object)).collect();
        ExportedObjects { objects, ..ExportedObjects::default() }
    }

    fn namespace(name: &str, labels: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    }

    fn config_map(namespace: &str, name: &str, value: &str) -> Value {
        let metadata = json!({"namespace": namespace, "name": name});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": value}})
    }

    fn kinds() -> ClusterKinds {
        [(GroupKind::new("example.com", "Gadget"), Scope::Namespaced)].into()
    }

    fn paths(exported: &ExportedObjects) -> Vec<String> {
        let in_file = |_: &ObjectId, object: Object| Some(Value::Object(object.0));
        let placed = placed(exported, true, &kinds());
        files::texts(&exported.objects, &placed, SourceFormat::Hierarchy, in_file).0.into_keys().collect()
    }

    #[test]
    fn a_group_has_a_label_or_the_first_word_of_names() {
        let mut objects = vec![
            namespace("shop-test", &json!({})),
            namespace("shop-prod", &json!({})),
            namespace("shop", &json!({})),
            namespace("web", &json!({"team": "front"})),
            namespace("app", &json!({"app.kubernetes.io/part-of": "front", "team": "front"})),
            namespace("one", &json!({"team": "No_Directory"})),
            namespace("two", &json!({"team": "No_Directory"})),
        ];
        for name in ["shop-test", "shop-prod", "shop", "web", "app", "one", "two"] {
            objects.push(config_map(name, "of-group", name.split('-').next().unwrap_or_default()));
            objects.push(config_map(name, "of-all", "a"));
        }
        for name in ["web", "app", "one", "two"] {
            objects.push(config_map(name, "same", "a"));
        }
        let found = paths(&exported(objects));
        let expected = [
            "namespaces/config-map-of-all.yaml",
            "namespaces/front/app/config-map-of-group.yaml",
            "namespaces/front/app/namespace.yaml",
            "namespaces/front/config-map-same.yaml",
            "namespaces/front/web/config-map-of-group.yaml",
            "namespaces/front/web/namespace.yaml",
            "namespaces/one/config-map-of-group.yaml",
            "namespaces/one/config-map-same.yaml",
            "namespaces/one/namespace.yaml",
            "namespaces/shop-group/config-map-of-group.yaml",
            "namespaces/shop-group/shop-prod/namespace.yaml",
            "namespaces/shop-group/shop-test/namespace.yaml",
            "namespaces/shop-group/shop/namespace.yaml",
            "namespaces/two/config-map-of-group.yaml",
            "namespaces/two/config-map-same.yaml",
            "namespaces/two/namespace.yaml",
            "system/repo.yaml",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_part_of_a_cluster_and_rights_say_nothing_of_all_namespaces() {
        let binding = |namespace: usize| object((namespace, 3, 0, 1));
        let exported = exported([
            namespace("shop", &json!({})),
            namespace("a", &json!({})),
            config_map("shop", "same", "x"),
            config_map("a", "same", "x"),
            binding(0),
            binding(3),
        ]);
        assert!(shared(&exported, false).is_empty());
        let of_all: Vec<_> = shared(&exported, true).into_iter().map(|it| (it.directory, it.ids.len())).collect();
        assert_eq!(of_all, [(ALL.to_owned(), 2)]);
    }

    #[test]
    fn a_secret_value_is_not_shared_with_a_plain_one() {
        let mut exported = exported([
            namespace("shop-test", &json!({})),
            namespace("shop-prod", &json!({})),
            config_map("shop-test", "a", "x"),
            config_map("shop-prod", "a", "x"),
        ]);
        assert_eq!(shared(&exported, false).len(), 1);
        let id = exported.objects.keys().find(|id| id.namespace() == "shop-test").expect("there").clone();
        exported.confidential.insert(id);
        assert!(shared(&exported, false).is_empty());
    }

    const NAMES: [&str; 7] = ["shop", "shop-test", "shop-prod", "a", "a-b", "namespaces-b", "system"];
    const LABELS: [&str; 7] = ["", "", "team", "a", "namespaces", "Team_1", "shop-group"];

    /// A Namespace by its number in `NAMES`, with a label.
    fn any_namespace() -> impl Strategy<Value = (usize, usize, bool)> {
        (0..NAMES.len(), 0..LABELS.len(), any::<bool>())
    }

    /// An object by the number of its Namespace, its kind, name and value.
    fn any_object() -> impl Strategy<Value = (usize, usize, usize, usize)> {
        (0..NAMES.len(), 0..4_usize, 0..3_usize, 0..6_usize)
    }

    fn object((namespace, kind, name, value): (usize, usize, usize, usize)) -> Value {
        let metadata = json!({"namespace": NAMES[namespace], "name": NAMES[name]});
        let value = if value == 0 { "other" } else { "value" };
        match kind {
            0 => json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": value}}),
            1 => json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"key": value}}),
            2 => {
                json!({"apiVersion": "example.com/v1", "kind": "Gadget", "metadata": metadata, "spec": {"key": value}})
            }
            _ => json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": value}}),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Not one of the candidates is given up, so `placed` is not all that makes it so.
        #[test]
        fn what_is_shared_compiles_to_what_each_namespace_has(
            namespaces in proptest::collection::vec(any_namespace(), 2..6),
            objects in proptest::collection::vec(any_object(), 0..60),
            whole in any::<bool>(),
        ) {
            let there: BTreeSet<usize> = namespaces.iter().map(|(name, ..)| *name).collect();
            let labels = |label: &str, key: bool| match label {
                "" => json!({}),
                label => json!({GROUP_LABELS[usize::from(key)]: label}),
            };
            let namespaces = namespaces.iter().map(|(name, label, key)| namespace(NAMES[*name], &labels(LABELS[*label], *key)));
            let objects = objects.into_iter().filter(|(namespace, ..)| there.contains(namespace)).map(object);
            let exported = exported(namespaces.chain(objects));
            let each = compiled(&exported, &files::each(&exported.objects), &kinds()).expect("no finding");
            let files = places(&exported, &shared(&exported, whole));
            let once = compiled(&exported, &files, &kinds()).expect("no finding");
            prop_assert_eq!(differing(&each, &once), BTreeSet::new());
            let written: usize = files.iter().map(|file| file.ids.len()).sum();
            prop_assert_eq!(written, exported.objects.len());
        }
    }
}
