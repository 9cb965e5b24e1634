//! Reads the live objects of a cluster, and takes those that people made, as they meant them.

use std::collections::{BTreeMap, BTreeSet};

use agent::compile::NamespaceLabels;
use agent::compile::declared::DeclaredSet;
use agent::compile::kind_scopes::Scope;
use agent::io::kubernetes::client::{ApiError, Cluster, Served};
use agent::model::metadata::CONTROLLER_NAMESPACES;
use agent::model::object::{GroupKind, Object, ObjectId};
use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::super::trace::is_named;
use super::ExportArgs;
use super::defaults::object_without_defaults;
use super::makers::{FACTS, MakerFacts};
use super::meant::{self, Meaning};
use super::requests::{in_version, is_forbidden, list, patiently};
use crate::commands::status::query;
use crate::contexts::ClusterContext;
use crate::kinds::ClusterKinds;
use crate::progress::Progress;
use crate::{Console, installation};

/// Kinds that are listed at the same time.
const LISTS: usize = 4;
/// Dry runs in flight.
const DRY_RUNS: usize = 16;

/// The live objects that people made, as they meant them.
#[derive(Default)]
pub(super) struct ExportedObjects {
    /// The objects, by their identities.
    pub(super) objects: BTreeMap<ObjectId, Object>,
    /// Those of them whose values are secret, or may be.
    pub(super) confidential: BTreeSet<ObjectId>,
    /// The account of everything.
    pub(super) account: ExportAccount,
}

/// An account of an export.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExportAccount {
    /// The exported objects.
    pub(super) objects: Vec<String>,
    /// Secrets that are not exported.
    pub(super) secrets: Vec<String>,
    /// Other objects that are not exported, with values that SOPS sealed or that are of other objects.
    pub(super) confidential: Vec<String>,
    /// The objects of each Helm release.
    pub(super) releases: BTreeMap<String, Vec<String>>,
    /// The number of objects that Namespaces inherit, by the directory in which each is once.
    pub(super) inherited: BTreeMap<String, usize>,
    /// The objects that are not exported, by the reason.
    pub(super) left_out: BTreeMap<&'static str, LeftOut>,
    /// PersistentVolumeClaims, whose contents are not exported.
    pub(super) claims: usize,
    /// The objects that were exported with all of their default values, by the reason.
    pub(super) with_defaults: BTreeMap<String, usize>,
    /// Kinds and objects that the user may not read and the export does without, each with the reason.
    pub(super) unread: Vec<String>,
    /// The kinds that could not be read and the objects that could not be written, each with the reason.
    pub(super) incomplete: Vec<String>,
}

/// A cluster whose objects are exported.
pub(super) struct LiveCluster<'a> {
    context: &'a ClusterContext,
    pub(super) server: Cluster,
    /// All Namespaces, or those of `--namespace` if the user may not list all.
    namespaces: BTreeMap<String, Object>,
    /// The Namespaces of `--namespace` that cannot be read, with the reason.
    pub(super) unread: BTreeMap<String, String>,
}

/// The objects that are not exported for one reason.
#[derive(Debug, Default, Serialize)]
pub(super) struct LeftOut {
    pub(super) objects: usize,
    /// The Namespaces of the cluster's own that they are in.
    pub(super) namespaces: BTreeSet<String>,
}

impl LeftOut {
    /// The Namespaces in words, or nothing.
    pub(super) fn places(&self) -> String {
        let namespaces: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
        if namespaces.is_empty() { String::new() } else { format!(" ({})", namespaces.join(", ")) }
    }
}

impl<'a> LiveCluster<'a> {
    /// Asks for the kinds and the Namespaces. A user who may not list those is asked for names.
    ///
    /// # Errors
    ///
    /// If the cluster does not answer, or refuses.
    pub(super) async fn connect(
        context: &'a ClusterContext,
        client: kube::Client,
        names: &[String],
    ) -> anyhow::Result<Self> {
        let server = Cluster::connect(client).await.map_err(|error| context.failed(error))?;
        let kind = GroupKind::new("", "Namespace");
        let served = server.served(&kind).await.map_err(|error| context.failed(error))?;
        let (mut namespaces, mut unread) = (BTreeMap::new(), BTreeMap::new());
        match list(&server, &kind, &served, "", "").await {
            Ok(all) => namespaces.extend(all.into_iter().map(|object| (object.name().to_owned(), object))),
            Err(error) if is_forbidden(&error) && names.is_empty() => {
                let hint = "--namespace NAMESPACE exports one, with the rights of a user of that Namespace";
                return Err(context.failed(error).context(format!("all Namespaces cannot be listed; {hint}")));
            }
            Err(error) if is_forbidden(&error) => {
                for name in names {
                    let id = ObjectId::new(&kind, "", name);
                    match patiently(async || in_version(&server, &id, "").await).await {
                        Ok(object) => namespaces.extend(object.map(|object| (name.clone(), object))),
                        Err(error) if is_forbidden(&error) => _ = unread.insert(name.clone(), error.to_string()),
                        Err(error) => return Err(context.failed(error)),
                    }
                }
            }
            Err(error) => return Err(context.failed(error)),
        }
        Ok(Self { context, server, namespaces, unread })
    }

    /// The name of the cluster in its ConfigManagement; empty without one, or without the right to get it.
    ///
    /// # Errors
    ///
    /// If the cluster does not answer.
    pub(super) async fn name(&self) -> anyhow::Result<String> {
        query::cluster_name(&self.server.client).await.map_err(|error| self.context.failed(error))
    }

    /// The labels of the Namespaces.
    pub(super) fn labels(&self) -> NamespaceLabels {
        let labels = |object: &Object| object.labels().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.namespaces.iter().map(|(name, object)| (name.clone(), labels(object))).collect()
    }

    /// The scope of each kind.
    pub(super) fn kinds(&self) -> ClusterKinds {
        let scope = |namespaced| if namespaced { Scope::Namespaced } else { Scope::Cluster };
        self.server.kinds().into_iter().map(|(kind, served)| (kind, scope(served.namespaced))).collect()
    }

    /// Reads all objects that are chosen. An object that `git` declares in another version is read in that one, and a custom resource in
    /// the one in which it was written.
    ///
    /// # Errors
    ///
    /// If the cluster does not answer, or has no such kind or Namespace.
    pub(super) async fn gather(
        &self,
        args: &ExportArgs,
        git: Option<&DeclaredSet>,
        console: &Console<'_>,
    ) -> anyhow::Result<ExportedObjects> {
        let is_absent = |name: &&String| !self.namespaces.contains_key(*name) && !self.unread.contains_key(*name);
        if let Some(name) = args.namespace.iter().find(is_absent) {
            let context = &self.context.context;
            bail!("the cluster {context} has no Namespace {name}; kubectl get namespaces shows those that it has");
        }
        let progress = console.begin(&format!("reading the cluster {}", self.context.context));
        let mut account = ExportAccount::default();
        let absent = self.server.absent_apis().await.map_err(|error| self.context.failed(error))?;
        account.incomplete.extend(absent.into_iter().map(|api| format!("{api}: its API server is away")));
        // The sync of one Namespace does not declare it.
        account.unread.extend(self.unread.iter().map(|(name, why)| format!("namespace/{name}: {why}")));
        let facts = self.facts(&args.namespace).await?;
        let live = self.chosen(args, &mut account, &progress).await?;
        let mut meant = BTreeMap::new();
        for object in live {
            if self.is_meant(args, &object, &facts, &mut account) {
                meant.insert(object.id(), object);
            }
        }
        self.add_needed(args, &mut meant, &facts);
        if let Some(why) = &facts.no_crds {
            let custom: BTreeSet<String> = meant
                .keys()
                .map(ObjectId::group_kind)
                .filter(|kind| facts.is_custom(kind))
                .map(|kind| kind.to_string())
                .collect();
            let lacks = custom.into_iter().map(|kind| format!("the CRD of {kind}: {why}"));
            // A repository of some Namespaces does without: only a user of the whole cluster can make them.
            if args.namespace.is_empty() { account.incomplete.extend(lacks) } else { account.unread.extend(lacks) }
        }
        let needed = facts.missing.iter().filter(|(_, concerns)| meant.values().any(concerns));
        account.incomplete.extend(needed.map(|(what, _)| what.clone()));
        // A kind that is a fact about others is listed twice.
        account.incomplete.sort();
        account.incomplete.dedup();
        let confidential =
            meant.iter().filter(|(_, object)| object.is_confidential()).map(|(id, _)| id.clone()).collect();
        let objects = self.without_defaults(meant, git, &facts, &mut account, &progress).await?;
        account.objects = objects.keys().map(ObjectId::to_string).collect();
        Ok(ExportedObjects { objects, confidential, account })
    }

    /// Reads the objects that decide about others: those in a Namespace decide about others in it.
    async fn facts(&self, namespaces: &[String]) -> anyhow::Result<MakerFacts> {
        let mut facts = MakerFacts::new(installed()?, namespaces);
        for (group, kind, concerns) in FACTS {
            let kind = GroupKind::new(group, kind);
            let served = self.server.served(&kind).await.map_err(|error| self.context.failed(error))?;
            for namespace in places(&served, namespaces) {
                match list(&self.server, &kind, &served, namespace, "").await {
                    Ok(objects) => objects.iter().for_each(|object| facts.learn(object)),
                    // It matters only for custom resources.
                    Err(error) if is_forbidden(&error) && !served.namespaced => facts.no_crds = Some(error.to_string()),
                    Err(error) if is_forbidden(&error) => facts.missing.push((format!("{kind}: {error}"), concerns)),
                    Err(error) => {
                        let what = format!("every {kind} has to be read to know what others made");
                        return Err(self.context.failed(error).context(what));
                    }
                }
            }
        }
        Ok(facts)
    }

    /// The objects that the flags choose.
    async fn chosen(
        &self,
        args: &ExportArgs,
        account: &mut ExportAccount,
        progress: &Progress,
    ) -> anyhow::Result<Vec<Object>> {
        let kinds = self.server.kinds();
        for name in &args.kind {
            if !kinds.iter().any(|(id, served)| is_named(name, id, served)) {
                bail!(
                    "the cluster {} has no kind {name:?}; kubectl api-resources shows those that it has",
                    self.context.context
                );
            }
        }
        let is_chosen = |(id, served): &(GroupKind, Served)| {
            let named = args.kind.is_empty() || args.kind.iter().any(|name| is_named(name, id, served));
            let placed = args.namespace.is_empty() || served.namespaced;
            named && placed && served.watchable && meant::left_kind(id).is_none()
        };
        let selector = args.selector.as_deref().unwrap_or_default();
        let lists = kinds.into_iter().filter(is_chosen).flat_map(|(id, served)| {
            let namespaces = places(&served, &args.namespace);
            namespaces.into_iter().map(move |namespace| (id.clone(), served.clone(), namespace))
        });
        let mut answers = stream::iter(lists)
            .map(async |(id, served, namespace)| {
                let answer = list(&self.server, &id, &served, namespace, selector).await;
                (id, answer)
            })
            .buffered(LISTS);
        let mut found = Vec::new();
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(objects) => found.extend(objects),
                Err(error) if error.is_not_found() => {}
                // An API with a server of its own may be away alone.
                Err(error) if error.code() == 0 => {
                    return Err(self.context.failed(error)).with_context(|| format!("failed to list {id}"));
                }
                Err(error) => {
                    let is_seldom = is_forbidden(&error) && meant::is_seldom(&id);
                    let list = if is_seldom { &mut account.unread } else { &mut account.incomplete };
                    list.push(format!("{id}: {error}"));
                }
            }
            progress.tell(format!("{} objects read", found.len()));
        }
        Ok(found)
    }

    /// `true` if the object is exported; if not, it is accounted for.
    fn is_meant(&self, args: &ExportArgs, object: &Object, facts: &MakerFacts, account: &mut ExportAccount) -> bool {
        if object.is_kind("", "PersistentVolumeClaim") && meant::left_namespace(object.namespace(), facts).is_none() {
            account.claims += 1;
        }
        match meant::meaning(object, facts) {
            Meaning::Meant => return true,
            Meaning::Secret if args.takes_secrets() => return true,
            Meaning::Secret if object.is_kind("", "Secret") => {
                account.secrets.push(format!("{}/{}", object.namespace(), object.name()));
            }
            Meaning::Secret => account.confidential.push(object.id().to_string()),
            Meaning::Release(release) => {
                account.releases.entry(release).or_default().push(object.id().to_string());
                let is_secret = object.is_confidential();
                return args.helm && !meant::is_release_secret(object) && (!is_secret || args.takes_secrets());
            }
            Meaning::Left(reason) => {
                let left = account.left_out.entry(reason).or_default();
                left.objects += 1;
                let namespace = object.namespace();
                // Those of the installation are never exported.
                let can_be_named = !CONTROLLER_NAMESPACES.contains(&namespace);
                if can_be_named && meant::left_namespace(namespace, facts) == Some(reason) {
                    left.namespaces.insert(namespace.to_owned());
                }
            }
        }
        false
    }

    /// Adds the Namespaces and CRDs without which objects cannot be.
    fn add_needed(&self, args: &ExportArgs, meant: &mut BTreeMap<ObjectId, Object>, facts: &MakerFacts) {
        let mut needed: BTreeSet<&str> = args.namespace.iter().map(String::as_str).collect();
        needed.extend(meant.keys().map(ObjectId::namespace));
        let namespaces = needed.iter().filter_map(|name| self.namespaces.get(*name));
        let kinds: BTreeSet<GroupKind> = meant.keys().map(ObjectId::group_kind).collect();
        let crds = kinds.iter().filter_map(|kind| facts.crds.get(kind));
        let needed: Vec<Object> =
            namespaces.filter(|it| meant::left_namespace(it.name(), facts).is_none()).chain(crds).cloned().collect();
        needed.into_iter().for_each(|object| _ = meant.entry(object.id()).or_insert(object));
    }

    /// The object in this version, or as it is with the reason why it cannot be read so.
    async fn in_wanted_version(
        &self,
        id: &ObjectId,
        live: Object,
        version: Option<&str>,
    ) -> Result<(Object, Option<String>), ApiError> {
        let Some(version) = version else { return Ok((live, None)) };
        match patiently(async || in_version(&self.server, id, version).await).await {
            Ok(read) => Ok((read.unwrap_or(live), None)),
            Err(error) if error.code() == 0 => Err(error),
            Err(error) => {
                let other = live.version().to_owned();
                Ok((live, Some(format!("{id} is exported in version {other} instead of {version}: {error}"))))
            }
        }
    }

    /// The objects as people meant them.
    async fn without_defaults(
        &self,
        live: BTreeMap<ObjectId, Object>,
        git: Option<&DeclaredSet>,
        facts: &MakerFacts,
        account: &mut ExportAccount,
        progress: &Progress,
    ) -> anyhow::Result<BTreeMap<ObjectId, Object>> {
        let (total, mut objects) = (live.len(), BTreeMap::new());
        let mut answers = stream::iter(live)
            .map(async |(id, live)| {
                let declared = git.and_then(|git| git.objects.get(&id)).map(|declared| declared.version().to_owned());
                let version = declared.or_else(|| meant::written_version(&live, facts));
                let wanted = version.filter(|version| version != live.version());
                let (live, unread) = self.in_wanted_version(&id, live, wanted.as_deref()).await?;
                Ok::<_, ApiError>((id, object_without_defaults(&self.server, live, facts).await?, unread))
            })
            .buffered(DRY_RUNS);
        while let Some((id, answer, unread)) = answers.try_next().await.map_err(|error| self.context.failed(error))? {
            account.incomplete.extend(unread);
            // It is gone if there is no answer.
            let Some((object, refusal)) = answer else { continue };
            objects.insert(id, object);
            if let Some(refusal) = refusal {
                *account.with_defaults.entry(refusal).or_default() += 1;
            }
            progress.tell(format!("asked for the defaults of {} of {total} objects", objects.len()));
        }
        Ok(objects)
    }
}

/// The Namespaces in which a kind is listed; the empty one stands for the whole cluster.
fn places<'a>(served: &Served, namespaces: &'a [String]) -> Vec<&'a str> {
    if namespaces.is_empty() || !served.namespaced { vec![""] } else { namespaces.iter().map(String::as_str).collect() }
}

/// The objects of the installation of nomos.
fn installed() -> anyhow::Result<BTreeSet<ObjectId>> {
    let mut installed = installation::plain()?;
    installed.extend(installation::crds()?);
    let id = |object: &kube::api::DynamicObject| {
        let object: Object = serde_json::from_value(serde_json::to_value(object)?)?;
        Ok(object.id())
    };
    installed.iter().map(id).collect()
}
