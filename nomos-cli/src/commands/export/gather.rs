//! Reads the live objects of a cluster, and asks the API server by dry runs which of their values are defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent::compile::NamespaceLabels;
use agent::compile::declared::DeclaredSet;
use agent::compile::kind_scopes::Scope;
use agent::io::kubernetes::client::{ApiError, Cluster, Served};
use agent::io::kubernetes::dry_run::dry_run_without;
use agent::io::kubernetes::pages::{ListForm, Pages};
use agent::model::object::{GroupKind, Object, ObjectId};
use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::super::trace::is_named;
use super::ExportArgs;
use super::makers::{FACTS, MakerFacts};
use super::meant::{self, Meaning};
use crate::contexts::ClusterContext;
use crate::kinds::ClusterKinds;
use crate::{Console, installation};

/// Kinds that are listed at the same time.
const LISTS: usize = 4;
/// Dry runs in flight.
const DRY_RUNS: usize = 16;
/// The largest number of dry runs of one object. Most objects need one.
const ROUNDS: usize = 40;
/// The HTTP status of an object that the API server finds wrong.
const INVALID: u16 = 422;
/// Times that a request is repeated that is likely to work a while later.
const RETRIES: usize = 5;
/// Time before such a request is repeated.
const PAUSE: Duration = Duration::from_secs(1);
/// Objects after which a terminal is told how far the work is.
const TELL: usize = 500;

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
    /// The number of objects that are not exported, by the reason.
    pub(super) left_out: BTreeMap<&'static str, usize>,
    /// PersistentVolumeClaims, whose contents are not exported.
    pub(super) claims: usize,
    /// The objects that were exported with all of their default values, by the reason.
    pub(super) with_defaults: BTreeMap<String, usize>,
    /// The kinds that could not be read and the objects that could not be written, each with the reason.
    pub(super) incomplete: Vec<String>,
}

/// A cluster whose objects are exported.
pub(super) struct LiveCluster<'a> {
    context: &'a ClusterContext,
    pub(super) server: Cluster,
    /// All Namespaces.
    namespaces: BTreeMap<String, Object>,
}

impl<'a> LiveCluster<'a> {
    /// Asks for the kinds and the Namespaces.
    ///
    /// # Errors
    ///
    /// If the cluster does not answer, or refuses.
    pub(super) async fn connect(context: &'a ClusterContext, client: kube::Client) -> anyhow::Result<Self> {
        let server = Cluster::connect(client).await.map_err(|error| context.failed(error))?;
        let kind = GroupKind::new("", "Namespace");
        let served = server.served(&kind).await.map_err(|error| context.failed(error))?;
        let namespaces = list(&server, &kind, &served, "", "").await.map_err(|error| context.failed(error))?;
        let namespaces = namespaces.into_iter().map(|object| (object.name().to_owned(), object)).collect();
        Ok(Self { context, server, namespaces })
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

    /// Reads all objects that are chosen. An object that `git` declares in another version is read in that one.
    ///
    /// # Errors
    ///
    /// If the cluster does not answer, or has no such kind or Namespace.
    pub(super) async fn gather(
        &self,
        args: &ExportArgs,
        git: Option<&DeclaredSet>,
        console: &mut Console<'_>,
    ) -> anyhow::Result<ExportedObjects> {
        if let Some(name) = args.namespace.iter().find(|name| !self.namespaces.contains_key(*name)) {
            let context = &self.context.context;
            bail!("the cluster {context} has no Namespace {name}; kubectl get namespaces shows those that it has");
        }
        let mut account = ExportAccount::default();
        let absent = self.server.absent_apis().await.map_err(|error| self.context.failed(error))?;
        account.incomplete.extend(absent.into_iter().map(|api| format!("{api}: its API server is away")));
        let facts = self.facts().await?;
        let live = self.chosen(args, &mut account, console).await?;
        tell(console, &format!("Read {} objects", live.len()));
        let mut meant = BTreeMap::new();
        for object in live {
            if self.is_meant(args, &object, &facts, &mut account) {
                meant.insert(object.id(), object);
            }
        }
        self.add_needed(args, &mut meant, &facts);
        let confidential =
            meant.iter().filter(|(_, object)| object.is_confidential()).map(|(id, _)| id.clone()).collect();
        let objects = self.without_defaults(meant, git, &facts, &mut account, console).await?;
        account.objects = objects.keys().map(ObjectId::to_string).collect();
        Ok(ExportedObjects { objects, confidential, account })
    }

    /// Reads the objects that decide about others.
    async fn facts(&self) -> anyhow::Result<MakerFacts> {
        let mut facts = MakerFacts::new(installed()?);
        for (group, kind) in FACTS {
            let kind = GroupKind::new(group, kind);
            let served = self.server.served(&kind).await.map_err(|error| self.context.failed(error))?;
            let objects = list(&self.server, &kind, &served, "", "").await.map_err(|error| self.context.failed(error));
            let objects = objects.with_context(|| format!("every {kind} has to be read to know what others made"))?;
            objects.iter().for_each(|object| facts.learn(object));
        }
        Ok(facts)
    }

    /// The objects that the flags choose.
    async fn chosen(
        &self,
        args: &ExportArgs,
        account: &mut ExportAccount,
        console: &mut Console<'_>,
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
        let everywhere = [String::new()];
        let namespaces = if args.namespace.is_empty() { &everywhere[..] } else { &args.namespace };
        let lists = kinds.into_iter().filter(is_chosen).flat_map(|(id, served)| {
            namespaces.iter().map(move |namespace| (id.clone(), served.clone(), namespace.clone()))
        });
        let mut answers = stream::iter(lists)
            .map(async |(id, served, namespace)| {
                let answer = list(&self.server, &id, &served, &namespace, selector).await;
                (id, answer)
            })
            .buffered(LISTS);
        let (mut found, mut told) = (Vec::new(), 0);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(objects) => found.extend(objects),
                Err(error) if error.is_not_found() => {}
                // An API with a server of its own may be away alone.
                Err(error) if error.code() == 0 => {
                    return Err(self.context.failed(error)).with_context(|| format!("failed to list {id}"));
                }
                Err(error) => account.incomplete.push(format!("{id}: {error}")),
            }
            if found.len() >= told + TELL {
                told = found.len();
                tell(console, &format!("Read {told} objects so far"));
            }
        }
        Ok(found)
    }

    /// `true` if the object is exported; if not, it is accounted for.
    fn is_meant(&self, args: &ExportArgs, object: &Object, facts: &MakerFacts, account: &mut ExportAccount) -> bool {
        if object.is_kind("", "PersistentVolumeClaim") && meant::left_namespace(object.namespace()).is_none() {
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
            Meaning::Left(reason) => *account.left_out.entry(reason).or_default() += 1,
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
            namespaces.filter(|it| meant::left_namespace(it.name()).is_none()).chain(crds).cloned().collect();
        needed.into_iter().for_each(|object| _ = meant.entry(object.id()).or_insert(object));
    }

    /// The objects as people meant them.
    async fn without_defaults(
        &self,
        live: BTreeMap<ObjectId, Object>,
        git: Option<&DeclaredSet>,
        facts: &MakerFacts,
        account: &mut ExportAccount,
        console: &mut Console<'_>,
    ) -> anyhow::Result<BTreeMap<ObjectId, Object>> {
        let (total, mut objects) = (live.len(), BTreeMap::new());
        let mut answers = stream::iter(live)
            .map(async |(id, live)| {
                let declared = git.and_then(|git| git.objects.get(&id)).map(|declared| declared.version());
                let live = match declared.filter(|version| *version != live.version()) {
                    Some(version) => in_version(&self.server, &id, version).await?.unwrap_or(live),
                    None => live,
                };
                Ok::<_, ApiError>((id, object_without_defaults(&self.server, live, facts).await?))
            })
            .buffered(DRY_RUNS);
        while let Some((id, answer)) = answers.try_next().await.map_err(|error| self.context.failed(error))? {
            // It is gone if there is no answer.
            let Some((object, refusal)) = answer else { continue };
            objects.insert(id, object);
            if let Some(refusal) = refusal {
                *account.with_defaults.entry(refusal).or_default() += 1;
            }
            if objects.len() % TELL == 0 {
                tell(console, &format!("Asked for the defaults of {} of {total} objects", objects.len()));
            }
        }
        Ok(objects)
    }
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

/// Repeats a request that is likely to work a while later, such as one that the API server was too busy for.
async fn patiently<T>(pause: Duration, request: impl AsyncFn() -> Result<T, ApiError>) -> Result<T, ApiError> {
    for _ in 0..RETRIES {
        match request().await {
            Err(error) if error.is_transient() => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    request().await
}

/// All objects of a kind in a Namespace (empty: in all) that have these labels.
async fn list(
    server: &Cluster,
    kind: &GroupKind,
    served: &Served,
    namespace: &str,
    selector: &str,
) -> Result<Vec<Object>, ApiError> {
    patiently(PAUSE, async || {
        let mut pages = Pages::new(served, namespace, selector.to_owned(), ListForm::Whole);
        let mut objects = Vec::new();
        while let Some(page) = pages.next(server).await? {
            for item in page.items {
                let object = serde_json::from_str::<Object>(item.get());
                let unreadable = |error| ApiError::Unreachable(format!("a {kind} that cannot be read: {error}"));
                let mut object = object.map_err(unreadable)?;
                // The items of a list do not say it.
                object.0.insert("apiVersion".to_owned(), served.resource.api_version.clone().into());
                object.0.insert("kind".to_owned(), served.resource.kind.clone().into());
                objects.push(object);
            }
        }
        Ok(objects)
    })
    .await
}

/// The object in another version; `None` if it is gone, or not served so.
async fn in_version(server: &Cluster, id: &ObjectId, version: &str) -> Result<Option<Object>, ApiError> {
    let path = server.path(id, version).await;
    match path {
        Ok(path) => match server.get(&path).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        },
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(None),
    }
}

/// The object as it was meant, and the reason why it has all of its default values, if it has; `None` if it is gone.
///
/// A dry run can fail because of one candidate: then halves of the candidates are asked for alone, and in the end all that are defaults
/// together.
async fn object_without_defaults(
    server: &Cluster,
    mut live: Object,
    facts: &MakerFacts,
) -> Result<Option<(Object, Option<String>)>, ApiError> {
    let (mut parts, mut found) = (vec![meant::default_candidates(&live, facts)], Vec::new());
    for _ in 0..ROUNDS {
        if parts.is_empty() && !found.is_empty() {
            parts.push(std::mem::take(&mut found));
        }
        let Some(mut part) = parts.pop() else { return Ok(Some((meant::meant(live, &[], facts), None))) };
        if part.is_empty() {
            continue;
        }
        match patiently(PAUSE, async || dry_run_without(server, &live, &part).await).await {
            Ok(answer) => {
                let (given_back, is_same) = meant::given_back(&live, &answer, &part);
                if is_same && parts.is_empty() && found.is_empty() {
                    return Ok(Some((meant::meant(live, &part, facts), None)));
                }
                if is_same {
                    found.extend(part);
                } else if given_back.len() < part.len() {
                    parts.push(given_back);
                } else {
                    // All of them are there again, so another client has changed the rest since it was read.
                    let Some(newer) = in_version(server, &live.id(), live.version()).await? else { return Ok(None) };
                    (parts, found) = (vec![meant::default_candidates(&newer, facts)], Vec::new());
                    live = newer;
                }
            }
            Err(error) if error.code() == 404 => return Ok(None),
            Err(error) if error.code() == INVALID => {
                // One that is refused alone stays in the object.
                if part.len() > 1 {
                    let half = part.split_off(part.len() / 2);
                    parts.extend([part, half]);
                }
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                // The words about a Secret may have its values.
                let withheld = live.is_kind("", "Secret");
                let said = error.to_string();
                let said = said.lines().next().unwrap_or_default();
                let refusal = if withheld { "the API server refused a dry run" } else { said };
                return Ok(Some((meant::meant(live, &[], facts), Some(refusal.to_owned()))));
            }
        }
    }
    Ok(Some((meant::meant(live, &[], facts), Some(format!("{ROUNDS} dry runs did not tell the default values")))))
}

fn tell(console: &mut Console<'_>, text: &str) {
    if console.progress {
        console.note(&format!("{text}...\n"));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// The number of requests, and the last answer, of an API server that has no time for the first requests.
    fn asked(busy: usize, error: &ApiError) -> (usize, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let requests = Cell::new(0);
        let answer = runtime.block_on(patiently(Duration::ZERO, async || {
            requests.set(requests.get() + 1);
            if requests.get() > busy { Ok(()) } else { Err(error.clone()) }
        }));
        (requests.get(), answer.is_ok())
    }

    #[test]
    fn a_busy_server_is_asked_again_and_a_refusal_is_final() {
        let slow = ApiError::Slow(PAUSE);
        assert_eq!(asked(2, &slow), (3, true));
        assert_eq!(asked(100, &slow), (RETRIES + 1, false));
        assert_eq!(asked(2, &ApiError::Unsendable("a name".to_owned())), (1, false));
    }
}
