//! `nomos uninstall`: takes the agent out of a cluster. What it applied stays, or goes before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use agent::api::format_duration;
use agent::model::metadata::{
    CONTROLLER_NAMESPACE, RECONCILER_MANAGER, SyncId, SyncKind, UNINSTALL_PRUNE, annotation, label,
};
use agent::sync::accounts::{AccountKind, AccountObject};
use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, TypeMeta};
use kube::core::PartialObjectMeta;
use kube::core::gvk::GroupVersionKind;

use crate::contexts::{self, ClusterContext};
use crate::installation::{self, LABEL, NAME};
use crate::{Console, FINE, FOUND, completions, duration};

/// Time between two looks at what is being deleted.
const PERIOD: Duration = Duration::from_millis(250);
/// Finalizers that only programs for Config Sync set. They are removed, because the program that would do it is removed.
const FINALIZERS: &str = "configsync.gke.io/";

/// Time in which an API server that is busy with a kind has an answer about it.
const SETTLING: Duration = Duration::from_secs(10);
/// Time after which a Pod that should be gone is taken away.
const OVERDUE: Duration = Duration::from_secs(10);

/// The finalizers of Config Sync on objects that are being deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Finalizers {
    /// The agent takes them off.
    Keep,
    /// There is no agent any more.
    TakeOff,
}

/// Take the agent out of a cluster
///
/// Removes the agent, then the ConfigManagement, RootSyncs and RepoSyncs, after it has asked. What they applied stays in the cluster, and so do the CRDs
/// and the namespace config-management-system with all else that is in it. With --prune the agent first deletes what the syncs applied.
#[derive(clap::Args)]
pub(crate) struct UninstallArgs {
    /// Have the agent delete everything that the syncs applied, in order, before it goes
    #[arg(long)]
    prune: bool,

    /// Also delete the CRDs, with every object of their kinds; shows them and asks
    #[arg(long)]
    crds: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,

    /// Longest time to wait until everything is gone
    #[arg(long, default_value = "2m", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
}

/// Removes the agent.
pub(crate) fn run(args: &UninstallArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    let left = contexts::with(&cluster, async |client| uninstall(args, &cluster, &client, console).await)?;
    if left.is_empty() {
        return Ok(FINE);
    }
    console.error(&format!(
        "still there after {}: {}. Finalizers of other programs can be the reason; look with kubectl get -o yaml, then run this again",
        format_duration(args.timeout),
        left.join(", ")
    ));
    Ok(FOUND)
}

/// Removes everything in order, and returns what is still there at the end.
async fn uninstall(
    args: &UninstallArgs,
    cluster: &ClusterContext,
    client: &Client,
    console: &mut Console<'_>,
) -> anyhow::Result<Vec<String>> {
    installation::refuse_beside_config_sync(cluster, client).await?;
    let crds = if args.crds { served(cluster, client).await? } else { Vec::new() };
    if !args.yes {
        ask(args, cluster, client, &crds, console).await?;
    }
    let deadline = Instant::now() + args.timeout;
    if args.prune {
        let left = prune(client, deadline, console).await?;
        if !left.is_empty() {
            return Ok(left);
        }
    }
    // The agent goes first: a sync that another sync declares would come back.
    let (agents, others): (Vec<_>, Vec<_>) = installation::plain()?
        .into_iter()
        .filter(|object| installation::kind(object) != "Namespace")
        .partition(|object| installation::kind(object) == "Deployment");
    let mut left = remove(client, agents, deadline, console).await?;
    left.extend(stopped(client, deadline).await?);
    if !left.is_empty() {
        return Ok(left);
    }
    left.extend(remove(client, syncs(client).await?, deadline, console).await?);
    left.extend(remove(client, accounts(client).await?, deadline, console).await?);
    left.extend(remove(client, others.into_iter().rev().collect(), deadline, console).await?);
    left.extend(remove(client, crds, deadline, console).await?);
    let applied = if args.prune { "is deleted" } else { "stays" };
    console.print(&format!(
        "What the syncs applied {applied}. The namespace {CONTROLLER_NAMESPACE} stays with its Secrets and the records of the syncs; if \
         nothing else uses it: kubectl delete namespace {CONTROLLER_NAMESPACE}\n"
    ));
    Ok(left)
}

/// The CRDs of an installation that the cluster serves.
async fn served(cluster: &ClusterContext, client: &Client) -> anyhow::Result<Vec<DynamicObject>> {
    let mut found = Vec::new();
    for crd in installation::crds()? {
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        let live = installation::api(client, &crd).get_metadata_opt(name).await;
        if live.map_err(|error| cluster.failed(error))?.is_some() {
            found.push(crd);
        }
    }
    Ok(found)
}

/// Shows which syncs would go, and what with the CRDs, and asks.
///
/// # Errors
///
/// If the user does not agree, or cannot be asked.
async fn ask(
    args: &UninstallArgs,
    cluster: &ClusterContext,
    client: &Client,
    crds: &[DynamicObject],
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let mut text = format!("The agent is removed from the cluster {}, with these syncs:\n", cluster.context);
    for sync in syncs(client).await? {
        text.push_str(&format!("  {}\n", installation::full_name(&sync)));
    }
    if args.prune {
        text.push_str("Every object that the syncs applied is deleted.\n");
    }
    if !crds.is_empty() {
        text.push_str("These CRDs are deleted, with all objects of their kinds:\n");
    }
    for crd in crds {
        let count = objects(client, crd).await?.len();
        let name = crd.metadata.name.as_deref().unwrap_or_default();
        text.push_str(&format!("  {name}: {count} {}\n", if count == 1 { "object" } else { "objects" }));
    }
    console.note(&text);
    let answer = console.ask("Go on? Type yes: ");
    match answer.as_deref() {
        Some("yes") => Ok(()),
        Some(_) => bail!("nothing is changed"),
        None => bail!("nothing is changed: there is no terminal to ask on; confirm with --yes"),
    }
}

/// The objects of a CRD's kind, in all namespaces.
async fn objects(client: &Client, crd: &DynamicObject) -> anyhow::Result<Vec<DynamicObject>> {
    let text =
        |pointer: &str| crd.data.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
    let kind = GroupVersionKind::gvk(&text("/spec/group"), &text("/spec/versions/0/name"), &text("/spec/names/kind"));
    let resource = ApiResource::from_gvk_with_plural(&kind, &text("/spec/names/plural"));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let all = ListParams::default();
    let mut found = match settled(|| api.list(&all)).await {
        // The CRD is not there, or it is being deleted.
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
        found => found.with_context(|| format!("failed to list {}", resource.plural))?.items,
    };
    for object in &mut found {
        // The items of a list have no type of their own.
        object.types = Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    }
    Ok(found)
}

/// The answer to a request. While a CRD is being deleted, the API server has none about its kind for moments.
async fn settled<T, F: Future<Output = kube::Result<T>>>(request: impl Fn() -> F) -> kube::Result<T> {
    match tokio::time::timeout(SETTLING, contexts::settled(&request)).await {
        Ok(answer) => answer,
        Err(_) => request().await,
    }
}

/// The ConfigManagement, which would make a sync again, all RootSyncs and all RepoSyncs.
async fn syncs(client: &Client) -> anyhow::Result<Vec<DynamicObject>> {
    let mut found = Vec::new();
    for crd in installation::crds()? {
        if ["ConfigManagement", "RootSync", "RepoSync"].iter().any(|kind| crd.data["spec"]["names"]["kind"] == **kind) {
            found.extend(objects(client, &crd).await?);
        }
    }
    Ok(found)
}

/// The bindings and the accounts of syncs. The agent that kept them is gone.
async fn accounts(client: &Client) -> anyhow::Result<Vec<DynamicObject>> {
    let made = ListParams::default().labels(&format!("{}={RECONCILER_MANAGER}", label::MADE_BY));
    let mut found = Vec::new();
    let kinds = [
        (AccountKind::ClusterRoleBinding, ApiResource::erase::<ClusterRoleBinding>(&())),
        (AccountKind::RoleBinding, ApiResource::erase::<RoleBinding>(&())),
        (AccountKind::ServiceAccount, ApiResource::erase::<ServiceAccount>(&())),
    ];
    for (kind, resource) in kinds {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let list = api.list(&made).await.with_context(|| format!("failed to list {}", resource.plural))?;
        for mut object in list {
            // The items of a list have no type of their own.
            let types = TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() };
            object.types = Some(types);
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let id = (kind, text(&object.metadata.namespace), text(&object.metadata.name));
            // Every client can write a label.
            if AccountObject::of(&serde_json::to_value(&object)?).is_made(&id) {
                found.push(object);
            }
        }
    }
    Ok(found)
}

/// Has the agent delete the syncs with what they applied. Returns those that are not gone.
async fn prune(client: &Client, deadline: Instant, console: &mut Console<'_>) -> anyhow::Result<Vec<String>> {
    if !installation::agent_leads(client).await? {
        bail!(
            "nothing is changed: no agent holds the Lease of the cluster, so that nothing deletes what the syncs applied. Start it, \
             or run this without --prune, and it stays"
        );
    }
    // The ConfigManagement would make its RootSync again. It goes with it, which is asked to delete its objects before.
    let (first, mut syncs): (Vec<_>, Vec<_>) =
        syncs(client).await?.into_iter().partition(|sync| installation::kind(sync) == "ConfigManagement");
    syncs.retain(|sync| id(sync).is_in_place());
    declaring_first(&mut syncs);
    let unheard = async {
        annotate(client, &syncs, Some(UNINSTALL_PRUNE)).await?;
        heard(client, &syncs, deadline).await
    };
    let unheard = match unheard.await {
        Ok(unheard) => unheard,
        Err(error) => return give_up(client, &syncs, error).await,
    };
    if !unheard.is_empty() {
        annotate(client, &syncs, None).await?;
        console.error("the agent has not said that it will delete the objects of these syncs; nothing is deleted");
        return Ok(unheard);
    }
    let (tenants, syncs) = undeclared_tenants(syncs);
    let others: Vec<DynamicObject> = first.into_iter().chain(syncs).collect();
    for (at, stage) in [&tenants, &others].into_iter().enumerate() {
        for (begun, object) in stage.iter().enumerate() {
            if let Err(error) = delete(client, object).await {
                let later = if at == 0 { &others[..] } else { &[] };
                return give_up(client, &[&stage[begun..], later].concat(), error).await;
            }
        }
        let left = gone(client, stage.clone(), deadline, Finalizers::Keep, console).await?;
        if !left.is_empty() {
            if at == 0 {
                annotate(client, &others, None).await?;
            }
            console.error("nomos status shows why objects stay. nomos uninstall without --prune leaves them");
            return Ok(left);
        }
    }
    Ok(Vec::new())
}

/// The RepoSyncs that no other sync declares, and all other syncs. These RepoSyncs go first: another sync may give them the rights by
/// which they delete their objects. A RepoSync that another sync declares goes with that one, which would make it again.
fn undeclared_tenants(syncs: Vec<DynamicObject>) -> (Vec<DynamicObject>, Vec<DynamicObject>) {
    let managers: Vec<String> = syncs.iter().map(|sync| id(sync).manager()).collect();
    syncs.into_iter().partition(|sync| {
        let declared = sync.metadata.annotations.as_ref().and_then(|all| all.get(annotation::MANAGER));
        installation::kind(sync) == "RepoSync" && declared.is_none_or(|manager| !managers.contains(manager))
    })
}

/// The identity of a sync object.
fn id(sync: &DynamicObject) -> SyncId {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let kind = if installation::kind(sync) == "RootSync" { SyncKind::RootSync } else { SyncKind::RepoSync };
    SyncId { kind, namespace: text(&sync.metadata.namespace), name: text(&sync.metadata.name) }
}

/// Sorts the syncs so that one that declares another is before it: as long as it is served, it would make that one again.
fn declaring_first(syncs: &mut [DynamicObject]) {
    let manager = |sync: &DynamicObject| id(sync).manager();
    let of = |sync: &DynamicObject| sync.metadata.annotations.as_ref()?.get(annotation::MANAGER).cloned();
    let declared: BTreeMap<String, String> = syncs.iter().filter_map(|sync| Some((manager(sync), of(sync)?))).collect();
    let count = syncs.len();
    // In a circle there is no first.
    let above = |sync: &DynamicObject| {
        std::iter::successors(Some(manager(sync)), |sync| declared.get(sync).cloned()).take(count + 1).count()
    };
    syncs.sort_by_cached_key(above);
}

/// Sets the annotation that says what becomes of the objects of these syncs, or takes it off.
async fn annotate(client: &Client, syncs: &[DynamicObject], end: Option<&str>) -> anyhow::Result<()> {
    let patch = serde_json::json!({ "metadata": { "annotations": { annotation::UNINSTALL: end } } });
    for sync in syncs {
        let name = sync.metadata.name.as_deref().unwrap_or_default();
        let api = installation::api(client, sync);
        match api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            patched => _ = patched.with_context(|| format!("failed to annotate {}", installation::name(sync)))?,
        }
    }
    Ok(())
}

/// Takes the annotation off after an error: with it, a later deletion of a sync by a user would take its objects along.
async fn give_up<T>(client: &Client, syncs: &[DynamicObject], error: anyhow::Error) -> anyhow::Result<T> {
    let undone = annotate(client, syncs, None).await;
    let left = |also: &anyhow::Error| format!("{also:#}; take the annotation {} off the syncs", annotation::UNINSTALL);
    Err(undone.as_ref().err().map(left).into_iter().fold(error, anyhow::Error::context))
}

/// Waits until the agent has put its finalizer on all of the syncs: one that is deleted before would leave its objects. Returns those
/// on which it is not.
async fn heard(client: &Client, syncs: &[DynamicObject], deadline: Instant) -> anyhow::Result<Vec<String>> {
    loop {
        let mut unheard = Vec::new();
        for sync in syncs {
            let name = sync.metadata.name.as_deref().unwrap_or_default();
            let live = installation::api(client, sync).get_metadata_opt(name).await?;
            let waits = |live: &PartialObjectMeta<DynamicObject>| {
                !live.metadata.finalizers.iter().flatten().any(|finalizer| finalizer.starts_with(FINALIZERS))
            };
            if live.as_ref().is_some_and(waits) {
                unheard.push(installation::full_name(sync));
            }
        }
        if unheard.is_empty() || Instant::now() >= deadline {
            return Ok(unheard);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Waits until no Pod of the agent is left. Returns those that are. A Pod that should be gone for a while is on a node that does not
/// answer: it is taken away, and what may still run there writes nothing without the Lease.
async fn stopped(client: &Client, deadline: Instant) -> anyhow::Result<Vec<String>> {
    let pods = installation::in_namespace(client, "", "v1", "Pod");
    loop {
        let found = pods.list_metadata(&ListParams::default().labels(&format!("{LABEL}={NAME}"))).await?.items;
        for pod in found.iter().filter(|pod| is_overdue(&pod.metadata, SystemTime::now())) {
            let at_once = DeleteParams::default().grace_period(0);
            match pods.delete(pod.metadata.name.as_deref().unwrap_or_default(), &at_once).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                deleted => _ = deleted.context("failed to delete a Pod of the agent")?,
            }
        }
        if found.is_empty() || Instant::now() >= deadline {
            return Ok(found.into_iter().filter_map(|pod| Some(format!("pod/{}", pod.metadata.name?))).collect());
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// `true` for a Pod that had to be gone some time ago.
fn is_overdue(pod: &ObjectMeta, now: SystemTime) -> bool {
    let end = pod.deletion_timestamp.as_ref().map(|end| SystemTime::from(end.0) + OVERDUE);
    end.is_some_and(|end| end < now)
}

/// Deletes an object, if it is there. A Deployment goes after its Pods; no other object waits for the garbage collector.
async fn delete(client: &Client, object: &DynamicObject) -> anyhow::Result<bool> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let pods_first = installation::kind(object) == "Deployment";
    let how = if pods_first { DeleteParams::foreground() } else { DeleteParams::background() };
    let api = installation::api(client, object);
    match settled(|| api.delete(name, &how)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error).with_context(|| format!("failed to delete {}", installation::name(object))),
    }
}

/// Deletes objects and waits until they are gone. Returns those that are not.
async fn remove(
    client: &Client,
    objects: Vec<DynamicObject>,
    deadline: Instant,
    console: &mut Console<'_>,
) -> anyhow::Result<Vec<String>> {
    let mut waiting = Vec::new();
    for object in objects {
        if delete(client, &object).await? {
            waiting.push(object);
        }
    }
    gone(client, waiting, deadline, Finalizers::TakeOff, console).await
}

/// Waits until objects that are being deleted are gone. Returns those that are not.
async fn gone(
    client: &Client,
    objects: Vec<DynamicObject>,
    deadline: Instant,
    finalizers: Finalizers,
    console: &mut Console<'_>,
) -> anyhow::Result<Vec<String>> {
    let mut waiting: BTreeMap<String, DynamicObject> =
        objects.into_iter().map(|object| (installation::full_name(&object), object)).collect();
    while !waiting.is_empty() {
        let mut gone = Vec::new();
        for (shown, object) in &waiting {
            if is_gone(client, object, finalizers).await? {
                console.print(&format!("{} deleted\n", installation::name(object)));
                gone.push(shown.clone());
            }
        }
        waiting.retain(|shown, _| !gone.contains(shown));
        if Instant::now() >= deadline {
            break;
        }
        if !waiting.is_empty() {
            tokio::time::sleep(PERIOD).await;
        }
    }
    Ok(waiting.into_keys().collect())
}

/// Looks for an object that is being deleted, and may take the finalizers off it that nothing else would.
async fn is_gone(client: &Client, object: &DynamicObject, own: Finalizers) -> anyhow::Result<bool> {
    let api = installation::api(client, object);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let Some(live) = settled(|| api.get_metadata_opt(name)).await? else { return Ok(true) };
    let finalizers = live.metadata.finalizers.unwrap_or_default();
    let kept: Vec<&String> = finalizers.iter().filter(|finalizer| !finalizer.starts_with(FINALIZERS)).collect();
    if own == Finalizers::TakeOff && kept.len() < finalizers.len() {
        // The version makes sure that no finalizer is lost that another program adds meanwhile.
        let patch = serde_json::json!({ "metadata": { "finalizers": kept, "resourceVersion": live.metadata.resource_version } });
        match api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
            patched => _ = patched?,
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_declares_another_is_before_it() {
        let sync = |(name, manager): (&str, &str)| -> DynamicObject {
            let annotations = serde_json::json!({ annotation::MANAGER: manager });
            let types = serde_json::json!({ "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync" });
            let metadata = serde_json::json!({
                "name": name, "namespace": CONTROLLER_NAMESPACE, "annotations": annotations,
            });
            let mut sync = types;
            sync["metadata"] = metadata;
            serde_json::from_value(sync).expect("a RootSync")
        };
        let sorted = |syncs: &[(&str, &str)]| -> Vec<String> {
            let mut syncs: Vec<DynamicObject> = syncs.iter().copied().map(sync).collect();
            declaring_first(&mut syncs);
            syncs.into_iter().filter_map(|sync| sync.metadata.name).collect()
        };
        let chain = [("a", ":root_b"), ("b", ":root"), ("c", ""), ("root-sync", "")];
        assert_eq!(sorted(&chain), ["c", "root-sync", "b", "a"]);
        assert_eq!(sorted(&[("a", ":root_b"), ("b", ":root_a"), ("c", ":root_a")]).len(), 3);
    }

    #[test]
    fn a_pod_is_overdue_a_while_after_its_end() {
        let meta = |end: Option<&str>| -> ObjectMeta {
            serde_json::from_value(serde_json::json!({ "deletionTimestamp": end })).expect("metadata")
        };
        let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        let at = meta(Some("2026-01-01T00:00:00Z"));
        assert!(!is_overdue(&meta(None), end + OVERDUE * 2));
        assert!(!is_overdue(&at, end + OVERDUE / 2));
        assert!(is_overdue(&at, end + OVERDUE * 2));
    }
}
