//! The rights of syncs against the API server's own judgement: what a sync does and what it is refused is what an access review says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::cluster::{Cluster, Kind, root_sync_path};
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::tenants::{ALL, RBAC, repo_syncs};
use crate::world::{codes, shared};

/// Worlds that are tried; `NOMOS_RIGHTS_SEEDS=a..b` tries others.
const SEEDS: std::ops::Range<u64> = 0..20;
/// Verbs of which roles have some.
const VERBS: [&str; 5] = ["get", "create", "patch", "update", "delete"];
/// Kinds with their groups and plurals, and if they are in a Namespace.
const KINDS: [(&str, &str, &str, bool); 5] = [
    ("ConfigMap", "", "configmaps", true),
    ("ServiceAccount", "", "serviceaccounts", true),
    ("Lease", "coordination.k8s.io", "leases", true),
    ("PriorityClass", "scheduling.k8s.io", "priorityclasses", false),
    ("RuntimeClass", "node.k8s.io", "runtimeclasses", false),
];

/// Numbers that follow from a seed: <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// An object that a sync declares.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Declared {
    kind: usize,
    namespace: String,
    name: String,
}

impl Declared {
    fn api(&self) -> String {
        let group = KINDS[self.kind].1;
        if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") }
    }

    fn path(&self) -> String {
        let place = if self.namespace.is_empty() { String::new() } else { format!("/namespaces/{}", self.namespace) };
        format!("{}{place}/{}/{}", self.api(), KINDS[self.kind].2, self.name)
    }

    /// A manifest with this value in a label.
    fn manifest(&self, value: &str) -> String {
        let (kind, group, ..) = KINDS[self.kind];
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let mut metadata = json!({"name": self.name, "labels": {"value": value}});
        if !self.namespace.is_empty() {
            metadata["namespace"] = self.namespace.as_str().into();
        }
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": metadata});
        match kind {
            "PriorityClass" => object["value"] = 1.into(),
            "RuntimeClass" => object["handler"] = "handler".into(),
            _ => {}
        }
        object.to_string()
    }
}

/// A sync with rights that follow from a seed.
struct Actor<'a> {
    cluster: &'a Cluster,
    /// The name of the RootSync, or the namespace of the RepoSync `repo-sync`.
    name: String,
    tenant: bool,
    repository: Arc<Repository>,
    objects: Vec<Declared>,
}

impl Drop for Actor<'_> {
    fn drop(&mut self) {
        let _ = self.cluster.delete(&self.path());
        let scopes: BTreeSet<&str> = self.objects.iter().map(|object| &*object.namespace).collect();
        for scope in scopes {
            let _ = self.cluster.delete(&format!("{RBAC}/clusterroles/{}", self.role(scope)));
            if !scope.is_empty() {
                let _ = self.cluster.delete(&format!("/api/v1/namespaces/{scope}"));
            }
        }
    }
}

impl<'a> Actor<'a> {
    /// An even seed gives a RepoSync, an odd one a RootSync with roles in two Namespaces and in the cluster.
    fn new(cluster: &'a Cluster, seed: u64) -> Result<Self> {
        let (name, tenant) = (format!("rights-{seed}"), seed.is_multiple_of(2));
        let namespaces = if tenant { vec![name.clone()] } else { vec![format!("{name}-a"), format!("{name}-b")] };
        let mut objects = Vec::new();
        for (kind, (.., namespaced)) in KINDS.iter().enumerate() {
            let name = format!("object-{seed}");
            if *namespaced {
                let each = namespaces.iter().map(|namespace| Declared {
                    kind,
                    namespace: namespace.clone(),
                    name: name.clone(),
                });
                objects.extend(each);
            } else if !tenant {
                objects.push(Declared { kind, namespace: String::new(), name });
            }
        }
        for namespace in &namespaces {
            cluster.create_namespace(namespace)?;
        }
        let repository = Arc::new(Repository::empty()?);
        // A commit that leaves nothing would be held.
        let witness = json!({
            "apiVersion": "v1",
            "kind": "PodTemplate",
            "metadata": {"name": "witness", "namespace": namespaces[0]},
            "template": {"spec": {"containers": [{"name": "x", "image": "example.com/x"}]}},
        });
        repository.write("witness.yaml", &witness.to_string())?;
        Ok(Self { cluster, name, tenant, repository, objects })
    }

    /// The name of the ClusterRole for a Namespace, or for the cluster.
    fn role(&self, scope: &str) -> String {
        format!("{}-{}", self.name, if scope.is_empty() { "cluster" } else { scope })
    }

    fn path(&self) -> String {
        if self.tenant { format!("{}/repo-sync", repo_syncs(&self.name)) } else { root_sync_path(&self.name) }
    }

    fn user(&self) -> String {
        let account = if self.tenant { "ns-reconciler" } else { "root-reconciler" };
        format!("system:serviceaccount:config-management-system:{account}-{}", self.name)
    }

    /// Makes the sync, or gives it other rights. The API server knows them at the end.
    fn give_rights(&self, random: &mut Random, step: &str) -> Result<()> {
        let mut roles = Vec::new();
        let scopes: BTreeSet<&str> = self.objects.iter().map(|object| &*object.namespace).collect();
        for scope in scopes {
            let of_scope = self.objects.iter().filter(|object| object.namespace == scope);
            let rules: Vec<Value> = of_scope
                .map(|object| {
                    let (_, group, plural, _) = KINDS[object.kind];
                    // Most have most rights, so that much happens.
                    let verbs: Vec<&str> = VERBS.into_iter().filter(|_| !random.next().is_multiple_of(4)).collect();
                    json!({"apiGroups": [group], "resources": [plural], "verbs": verbs})
                })
                .filter(|rule| rule["verbs"] != json!([]))
                .chain([json!({"apiGroups": [""], "resources": ["podtemplates"], "verbs": ALL})])
                .chain([json!({"apiGroups": ["example.com"], "resources": [step], "verbs": ["get"]})])
                .collect();
            let name = self.role(scope);
            let role = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": name},
                "rules": rules,
            });
            let path = format!("{RBAC}/clusterroles/{name}");
            match self.cluster.exists(&path)? {
                true => self.cluster.patch(&path, &json!({"rules": rules}))?,
                false => self.cluster.create(&format!("{RBAC}/clusterroles"), &role)?,
            };
            roles.push(json!({"kind": "ClusterRole", "name": name, "namespace": scope}));
        }
        if self.cluster.exists(&self.path())? {
            return self.await_rights(step);
        }
        let mut spec = json!({"git": {"repo": self.repository.url(), "branch": "main", "auth": "none"}});
        let kind = if self.tenant { "RepoSync" } else { "RootSync" };
        let mut metadata = json!({"name": "repo-sync", "namespace": self.name});
        if self.tenant {
            let subject = json!({
                "kind": "ServiceAccount",
                "name": format!("ns-reconciler-{}", self.name),
                "namespace": "config-management-system",
            });
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "rights"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": roles[0]["name"]},
                "subjects": [subject],
            });
            self.cluster.create(&format!("{RBAC}/namespaces/{}/rolebindings", self.name), &binding)?;
        } else {
            spec["sourceFormat"] = "unstructured".into();
            spec["override"] = json!({"roleRefs": roles, "namespaceStrategy": "explicit"});
            metadata = json!({"name": self.name, "namespace": "config-management-system"});
        }
        let object =
            json!({"apiVersion": "configsync.gke.io/v1beta1", "kind": kind, "metadata": metadata, "spec": spec});
        let path = self.path();
        self.cluster.create(path.rsplit_once('/').map_or("", |(collection, _)| collection), &object)?;
        self.await_rights(step)
    }

    fn await_rights(&self, step: &str) -> Result<()> {
        await_condition(&format!("the API server knows the rights of {}", self.user()), || {
            for object in &self.objects {
                ensure!(self.reviewed("get", ("example.com", step), object)?, "not those in {:?}", object.namespace);
            }
            Ok(())
        })
    }

    /// The judgement of the API server.
    fn may(&self, verb: &str, object: &Declared) -> Result<bool> {
        let (_, group, plural, _) = KINDS[object.kind];
        self.reviewed(verb, (group, plural), object)
    }

    fn reviewed(&self, verb: &str, (group, plural): (&str, &str), object: &Declared) -> Result<bool> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": self.user(),
                "resourceAttributes": {
                    "verb": verb, "group": group, "resource": plural, "namespace": object.namespace, "name": object.name,
                },
            },
        });
        let review = self.cluster.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)?;
        Ok(review["status"]["allowed"] == true)
    }

    fn values(&self) -> Result<Values> {
        let value = |object: &Declared| -> Result<Option<String>> {
            if !self.cluster.exists(&object.path())? {
                return Ok(None);
            }
            let live = self.cluster.get(&object.path())?;
            Ok(Some(live["metadata"]["labels"]["value"].as_str().unwrap_or_default().to_owned()))
        };
        self.objects.iter().map(|object| Ok((object.clone(), value(object)?))).collect()
    }

    fn commit(&self, value: Option<&str>) -> Result<String> {
        for (at, object) in self.objects.iter().enumerate() {
            let file = format!("{at}.yaml");
            match value {
                Some(value) => self.repository.write(&file, &object.manifest(value))?,
                None => self.repository.remove(&file)?,
            }
        }
        self.repository.commit()
    }

    /// Waits until the newest commit is dealt with: these are the values, and each object that was refused is an error.
    fn await_values(&self, commit: &str, expected: &Values, refused: usize) -> Result<()> {
        await_condition(&format!("{} has done what it may", self.path()), || {
            let values = self.values()?;
            ensure!(values == *expected, "{}instead of\n{}", shown(&values), shown(expected));
            self.has_refused(commit, refused)
        })
    }

    /// Waits until the newest commit, which ends all objects, is dealt with: those are left that the sync may not delete. The commit before
    /// is tried with the rights that the sync has now until the agent reads this one: it may have made an object that it may not delete.
    fn await_end(&self, commit: &str, before: &Values) -> Result<()> {
        await_condition(&format!("{} has deleted what it may", self.path()), || {
            let values = self.values()?;
            for (object, value) in &values {
                let may_be_made = self.may("patch", object)? && self.may("create", object)?;
                let is_right = match (value, self.may("delete", object)?) {
                    (Some(_), true) => false,
                    (Some(_), false) => before[object].is_some() || may_be_made,
                    (None, true) => true,
                    (None, false) => before[object].is_none(),
                };
                ensure!(is_right, "{}: {}before\n{}", object.path(), shown(&values), shown(before));
            }
            self.has_refused(commit, values.values().flatten().count())
        })
    }

    /// Whether the sync tells that it has dealt with the commit and that so many objects were refused.
    fn has_refused(&self, commit: &str, refused: usize) -> Result<()> {
        let sync = self.cluster.get(&self.path())?;
        let found = codes(&sync);
        ensure!(sync["status"]["sync"]["commit"] == *commit, "{:#}", sync["status"]);
        ensure!(found.len() == refused && found.iter().all(|code| *code == "2013"), "{refused} refused: {found:?}");
        Ok(())
    }
}

/// The value of each object; `None` where there is no object.
type Values = BTreeMap<Declared, Option<String>>;

fn shown(values: &Values) -> String {
    values.iter().map(|(object, value)| format!("{} {value:?}\n", object.path())).collect()
}

fn seeds() -> Result<std::ops::Range<u64>> {
    let Ok(seeds) = std::env::var("NOMOS_RIGHTS_SEEDS") else { return Ok(SEEDS) };
    let (from, to) = seeds.split_once("..").unwrap_or((&seeds, ""));
    let from = from.parse()?;
    Ok(from..if to.is_empty() { from + 1 } else { to.parse()? })
}

/// Objects are made, changed and deleted by syncs with random rights, which change before each of these.
pub(crate) fn are_those_of_the_account(kind: Kind) -> Result<()> {
    let world = shared(kind)?;
    let cluster = &world.cluster;
    let seeds: Vec<u64> = seeds()?.collect();
    for seeds in seeds.chunks(10) {
        let mut actors = Vec::new();
        for seed in seeds {
            actors.push((Actor::new(cluster, *seed)?, Random(*seed)));
        }
        for (step, name) in [(Some("first"), "first"), (Some("second"), "second"), (None, "third")] {
            let mut expected = Vec::new();
            for (actor, random) in &mut actors {
                actor.give_rights(random, name)?;
                let (mut values, mut refused) = (actor.values()?, 0);
                let Some(step) = step else {
                    expected.push((actor.commit(None)?, values, 0));
                    continue;
                };
                for (object, value) in &mut values {
                    let may_be_made = value.is_some() || actor.may("create", object)?;
                    if may_be_made && actor.may("patch", object)? {
                        *value = Some(step.to_owned());
                    } else {
                        refused += 1;
                    }
                }
                expected.push((actor.commit(Some(step))?, values, refused));
            }
            for ((actor, _), (commit, values, refused)) in actors.iter().zip(&expected) {
                match step {
                    Some(_) => actor.await_values(commit, values, *refused)?,
                    None => actor.await_end(commit, values)?,
                }
            }
        }
    }
    Ok(())
}
