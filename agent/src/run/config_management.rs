//! The ConfigManagement of the cluster: the name of the cluster, and the RootSync that is made from its `spec.git`.
//!
//! Its CRD may be missing, and may come later. The label [`label::MADE_FROM`] marks the RootSync that is made; one without it is a
//! user's and is left alone. When the ConfigManagement is deleted, that RootSync goes too, by the
//! garbage collector of the cluster or by this agent, whichever is first.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use http::Method;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::wait::{Condition as _, conditions};
use kube::runtime::watcher::watch_object;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::AgentContext;
use super::config_sync::ConfigSyncPrograms;
use crate::api::{CONFIG_MANAGEMENT, ConfigManagement, ConfigManagementSpec, ConfigManagementStatus, SyncSpec};
use crate::io::kubernetes::client::{ApiError, Cluster, JSON, MERGE};
use crate::model::backoff::Backoff;
use crate::model::metadata::{CONTROLLER_NAMESPACE, ROOT_SYNC, label};
use crate::model::object::{GroupKind, ObjectId};
use crate::model::url::shown_in;

const CRD: &str = "configmanagements.configmanagement.gke.io";
const API_VERSION: &str = "configmanagement.gke.io/v1";
/// The pause before a request that failed is made again, and the longest one.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// The state of the ConfigManagement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum KnownSettings {
    /// The API server has not told yet. No sync may start: it would be compiled for a cluster of another name.
    #[default]
    Unknown,
    /// There is none.
    Absent,
    /// It is there.
    Present(Box<ClusterSettings>),
}

/// The ConfigManagement as it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ClusterSettings {
    uid: String,
    generation: i64,
    /// It is being deleted.
    ends: bool,
    spec: Result<ConfigManagementSpec, String>,
    status: ConfigManagementStatus,
}

/// The facts of the RootSync `root-sync` that its keeper looks at. When they change, it looks again.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RootSyncFacts {
    uid: Option<String>,
    generation: Option<i64>,
    mark: Option<String>,
}

impl RootSyncFacts {
    pub(super) fn of(object: &DynamicObject) -> Self {
        let (uid, generation) = (object.metadata.uid.clone(), object.metadata.generation);
        Self { uid, generation, mark: mark(object).map(str::to_owned) }
    }
}

impl KnownSettings {
    /// The name of the cluster, for selectors.
    pub(super) fn cluster_name<'a>(&'a self, flag: &'a str) -> &'a str {
        match self {
            Self::Present(settings) => match &settings.spec {
                Ok(spec) if !spec.cluster_name.is_empty() => &spec.cluster_name,
                _ => flag,
            },
            Self::Unknown | Self::Absent => flag,
        }
    }

    /// `true` if the cluster is about to delete this RootSync, because it was made from a ConfigManagement that is gone.
    pub(super) fn leaves_behind(&self, object: &DynamicObject) -> bool {
        let Some(owner) = owner(object).filter(|_| mark(object).is_some()) else { return false };
        match self {
            Self::Present(settings) => settings.ends || owner != settings.uid,
            Self::Absent => true,
            Self::Unknown => false,
        }
    }
}

fn mark(object: &DynamicObject) -> Option<&str> {
    let labels = object.metadata.labels.as_ref()?;
    labels.get(label::MADE_FROM).map(String::as_str).filter(|made_from| *made_from == CONFIG_MANAGEMENT)
}

/// The uid of the ConfigManagement that owns the object.
fn owner(object: &DynamicObject) -> Option<&str> {
    let owners = object.metadata.owner_references.iter().flatten();
    let mut ours = owners.filter(|owner| owner.kind == "ConfigManagement" && owner.api_version == API_VERSION);
    ours.next().map(|owner| owner.uid.as_str())
}

/// Follows the ConfigManagement, its CRD and both being absent.
pub(super) async fn follow(client: kube::Client, found: watch::Sender<KnownSettings>) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut crd = watch_object(crds, CRD).default_backoff().boxed();
    let mut objects: Option<BoxStream<'static, _>> = None;
    loop {
        tokio::select! {
            Some(crd) = crd.next() => match crd {
                Ok(None) => {
                    objects = None;
                    found.send_if_modified(|settings| replace(settings, KnownSettings::Absent));
                }
                Ok(crd) if conditions::is_crd_established().matches_object(crd.as_ref()) => {
                    let kind = ApiResource::erase::<ConfigManagement>(&());
                    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
                    objects.get_or_insert_with(|| watch_object(api, CONFIG_MANAGEMENT).default_backoff().boxed());
                }
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(%error, "the watch on the CRD {CRD} broke off and starts again"),
            },
            Some(object) = next(&mut objects) => match object {
                Ok(object) => {
                    let settings = object.map_or(KnownSettings::Absent, |object| KnownSettings::Present(Box::new(read(object))));
                    found.send_if_modified(|before| replace(before, settings));
                }
                Err(error) => tracing::warn!(%error, "the watch on the ConfigManagement broke off and starts again"),
            },
            else => return,
        }
    }
}

/// The next item of a stream, where there is one.
async fn next<T>(stream: &mut Option<impl Stream<Item = T> + Unpin>) -> Option<T> {
    match stream {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

/// Replaces a value; `true` if that changed it.
pub(super) fn replace<T: PartialEq>(before: &mut T, after: T) -> bool {
    let changed = *before != after;
    *before = after;
    changed
}

fn read(object: DynamicObject) -> ClusterSettings {
    let spec = match &object.data["spec"] {
        Value::Null => Ok(ConfigManagementSpec::default()),
        // The message may quote a URL that stands in the place of another field.
        spec => ConfigManagementSpec::deserialize(spec)
            .map_err(|error| format!("the spec cannot be read: {}", shown_in(&error.to_string()))),
    };
    ClusterSettings {
        uid: object.metadata.uid.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or(0),
        ends: object.metadata.deletion_timestamp.is_some(),
        spec,
        status: ConfigManagementStatus::deserialize(&object.data["status"]).unwrap_or_default(),
    }
}

/// The thing to do about the RootSync `root-sync`.
#[derive(Debug, PartialEq)]
enum RootSyncAction {
    /// It is as it should be.
    Leave,
    /// Make it. Another client that makes one of this name meanwhile wins.
    Make(Value),
    /// Change it, if it is still in this version.
    Change(Value),
    /// Take the mark and the owner off, if it is still in this version: it is the user's from then on.
    Release(Value),
    /// Delete it, if it is still in this version.
    Delete(Value),
}

/// The action for a cluster without a ConfigManagement.
fn clean(live: &DynamicObject) -> RootSyncAction {
    match KnownSettings::Absent.leaves_behind(live) {
        true => delete(live),
        false => RootSyncAction::Leave,
    }
}

fn delete(live: &DynamicObject) -> RootSyncAction {
    if live.metadata.deletion_timestamp.is_some() {
        return RootSyncAction::Leave;
    }
    let preconditions = json!({ "uid": live.metadata.uid, "resourceVersion": live.metadata.resource_version });
    RootSyncAction::Delete(json!({ "preconditions": preconditions }))
}

fn release(live: &DynamicObject, settings: &ClusterSettings) -> RootSyncAction {
    let owners = live.metadata.owner_references.iter().flatten();
    let others: Vec<_> = owners.filter(|owner| owner.uid != settings.uid).collect();
    RootSyncAction::Release(json!({ "metadata": {
        "resourceVersion": live.metadata.resource_version,
        "labels": { label::MADE_FROM: null },
        "ownerReferences": others,
    }}))
}

/// The action that follows from the spec, and the errors for the status.
fn decide(settings: &ClusterSettings, live: Option<&DynamicObject>) -> (RootSyncAction, Vec<String>) {
    let refused = |error: &str| (RootSyncAction::Leave, vec![error.to_owned()]);
    let asked = match settings.spec.as_ref().map(ConfigManagementSpec::root_sync) {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) => return refused(&error),
        Err(error) => return refused(error),
    };
    // `nomos migrate` of Config Sync applies the RootSync of spec.git, removes spec.git and sets enableMultiRepo.
    let migrated = settings.spec.as_ref().is_ok_and(|spec| spec.enable_multi_repo == Some(true));
    match (asked, live) {
        (None, Some(live)) if mark(live).is_some() && migrated => (release(live, settings), Vec::new()),
        (None, Some(live)) if mark(live).is_some() => (delete(live), Vec::new()),
        (None, _) => (RootSyncAction::Leave, Vec::new()),
        (Some(asked), None) => (RootSyncAction::Make(declared(settings, &asked, None)), Vec::new()),
        (Some(_), Some(live)) if mark(live).is_none() => refused(
            "spec.git has no effect: the RootSync config-management-system/root-sync was not made from this \
             ConfigManagement and stays as it is; remove spec.git, or delete that RootSync, which leaves its objects",
        ),
        (Some(asked), Some(live)) if live.metadata.deletion_timestamp.is_some() || is(live, settings, &asked) => {
            (RootSyncAction::Leave, Vec::new())
        }
        (Some(asked), Some(live)) => (RootSyncAction::Change(declared(settings, &asked, Some(live))), Vec::new()),
    }
}

/// `true` if the live RootSync says what is asked for.
fn is(live: &DynamicObject, settings: &ClusterSettings, asked: &SyncSpec) -> bool {
    let asked = json!(asked);
    owner(live) == Some(&settings.uid)
        && ["git", "sourceType", "sourceFormat"].iter().all(|field| live.data["spec"][field] == asked[field])
}

/// The RootSync as it is applied.
fn declared(settings: &ClusterSettings, asked: &SyncSpec, live: Option<&DynamicObject>) -> Value {
    let owner = json!({
        "apiVersion": API_VERSION, "kind": "ConfigManagement", "name": CONFIG_MANAGEMENT, "uid": settings.uid, "controller": true,
    });
    let mut object = json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": "RootSync",
        "metadata": {
            "name": ROOT_SYNC,
            "namespace": CONTROLLER_NAMESPACE,
            "labels": { label::MADE_FROM: CONFIG_MANAGEMENT },
            "ownerReferences": [owner],
        },
        "spec": asked,
    });
    if let Some(version) = live.and_then(|live| live.metadata.resource_version.as_deref()) {
        object["metadata"]["resourceVersion"] = version.into();
    }
    object
}

/// Keeps the RootSync and the status as the ConfigManagement says, unless that is the work of Config Sync's manager, which runs.
pub(super) async fn keep(
    context: Arc<AgentContext>,
    mut settings: watch::Receiver<KnownSettings>,
    mut root_sync: watch::Receiver<RootSyncFacts>,
) {
    let (mut backoff, mut told) = (RETRY, String::new());
    let mut config_sync = context.config_sync.subscribe();
    loop {
        let is_theirs = config_sync.borrow_and_update().as_ref().is_none_or(ConfigSyncPrograms::manages);
        let now = settings.borrow_and_update().clone();
        let marked = root_sync.borrow_and_update().mark.is_some();
        let kept = match now {
            _ if is_theirs => Ok(()),
            KnownSettings::Present(settings) if !settings.ends => keep_once(&context.cluster, &settings).await,
            KnownSettings::Absent if marked => clean_once(&context.cluster).await,
            _ => Ok(()),
        };
        let again_in = match kept {
            Ok(()) => {
                backoff.reset();
                told.clear();
                None
            }
            Err(error) => {
                let message = error.to_string();
                // Another client was faster, which is no trouble.
                if message != told && error.code() != 409 {
                    tracing::warn!(error = message, "cannot do what the ConfigManagement says; the agent tries again");
                    told = message;
                }
                Some(backoff.next_pause())
            }
        };
        tokio::select! {
            Ok(()) = settings.changed() => {}
            Ok(()) = root_sync.changed() => {}
            Ok(()) = config_sync.changed() => {}
            () = async { tokio::time::sleep(again_in.unwrap_or_default()).await }, if again_in.is_some() => {}
            else => return,
        }
    }
}

/// The path of the RootSync, and the object if it is there.
async fn root_sync(cluster: &Cluster) -> Result<(String, Option<DynamicObject>), ApiError> {
    let id = ObjectId::new(&GroupKind::new("configsync.gke.io", "RootSync"), CONTROLLER_NAMESPACE, ROOT_SYNC);
    let path = cluster.path(&id, "v1beta1").await?;
    match cluster.get(&path).await {
        Ok(live) => Ok((path, Some(live))),
        Err(error) if error.is_not_found() => Ok((path, None)),
        Err(error) => Err(error),
    }
}

/// Deletes a RootSync that a ConfigManagement has left behind.
async fn clean_once(cluster: &Cluster) -> Result<(), ApiError> {
    let (path, live) = root_sync(cluster).await?;
    act(cluster, &path, live.as_ref().map_or(RootSyncAction::Leave, clean)).await
}

/// Does what is to be done now, and tells it in the status.
async fn keep_once(cluster: &Cluster, settings: &ClusterSettings) -> Result<(), ApiError> {
    let (path, live) = root_sync(cluster).await?;
    let (action, mut errors) = decide(settings, live.as_ref());
    let done = act(cluster, &path, action).await;
    if let Err(error) = &done
        && error.code() != 409
    {
        errors.push(format!("the RootSync config-management-system/root-sync cannot be written: {error}"));
    }
    let status = ConfigManagementStatus {
        config_management_version: env!("CARGO_PKG_VERSION").to_owned(),
        healthy: errors.is_empty(),
        phase: String::new(),
        errors,
    };
    if status != settings.status {
        write_status(cluster, settings, &status).await?;
    }
    done
}

async fn act(cluster: &Cluster, path: &str, action: RootSyncAction) -> Result<(), ApiError> {
    match action {
        RootSyncAction::Leave => return Ok(()),
        RootSyncAction::Make(object) => {
            tracing::info!("making the RootSync {ROOT_SYNC} from the ConfigManagement");
            cluster.apply_cautiously::<Value>(path, object.to_string().into_bytes()).await?;
        }
        RootSyncAction::Change(object) => {
            tracing::info!("changing the RootSync {ROOT_SYNC} as the ConfigManagement says");
            cluster.apply::<Value>(path, object.to_string().into_bytes()).await?;
        }
        RootSyncAction::Release(patch) => {
            tracing::info!(
                "the RootSync {ROOT_SYNC} is no more made from the ConfigManagement, which has enableMultiRepo"
            );
            cluster.request::<Value>(Method::PATCH, path, MERGE, patch.to_string().into_bytes()).await?;
        }
        RootSyncAction::Delete(options) => {
            tracing::info!(
                "deleting the RootSync {ROOT_SYNC} that was made from the ConfigManagement; its objects stay"
            );
            cluster.request::<Value>(Method::DELETE, path, JSON, options.to_string().into_bytes()).await?;
        }
    }
    Ok(())
}

async fn write_status(
    cluster: &Cluster,
    settings: &ClusterSettings,
    status: &ConfigManagementStatus,
) -> Result<(), ApiError> {
    for error in &status.errors {
        tracing::error!(error, "the ConfigManagement has an error");
    }
    let kind = GroupKind::new("configmanagement.gke.io", "ConfigManagement");
    let path = cluster.path(&ObjectId::new(&kind, "", CONFIG_MANAGEMENT), "v1").await?;
    // The uid keeps it from an object that was made anew.
    let metadata = json!({ "name": CONFIG_MANAGEMENT, "uid": settings.uid });
    let body = json!({ "apiVersion": API_VERSION, "kind": "ConfigManagement", "metadata": metadata, "status": status });
    cluster.apply::<Value>(&format!("{path}/status"), body.to_string().into_bytes()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(spec: Value) -> ClusterSettings {
        let object = json!({ "apiVersion": API_VERSION, "kind": "ConfigManagement", "metadata": { "name": CONFIG_MANAGEMENT, "uid": "u1" }, "spec": spec });
        read(serde_json::from_value(object).expect("an object"))
    }

    fn with_git(branch: &str) -> ClusterSettings {
        settings(json!({ "git": { "syncRepo": "https://git.example/x", "syncBranch": branch, "secretType": "none" } }))
    }

    /// The RootSync as an API server stores what was applied.
    fn stored(action: RootSyncAction) -> DynamicObject {
        let (RootSyncAction::Make(mut object) | RootSyncAction::Change(mut object)) = action else {
            panic!("{action:?}");
        };
        object["metadata"]["uid"] = "u2".into();
        object["metadata"]["resourceVersion"] = "7".into();
        serde_json::from_value(object).expect("an object")
    }

    #[test]
    fn the_root_sync_follows_spec_git() {
        let (made, errors) = decide(&with_git("main"), None);
        assert!(matches!(made, RootSyncAction::Make(_)) && errors.is_empty());
        let live = stored(made);
        assert_eq!(decide(&with_git("main"), Some(&live)).0, RootSyncAction::Leave);
        let (changed, _) = decide(&with_git("next"), Some(&live));
        let RootSyncAction::Change(object) = &changed else { panic!("{changed:?}") };
        assert_eq!(
            (&object["spec"]["git"]["branch"], &object["metadata"]["resourceVersion"]),
            (&json!("next"), &json!("7"))
        );
        let (removed, _) = decide(&settings(json!({})), Some(&live));
        let expected = json!({ "preconditions": { "uid": "u2", "resourceVersion": "7" } });
        assert_eq!(removed, RootSyncAction::Delete(expected));
        let (migrated, _) = decide(&settings(json!({ "enableMultiRepo": true })), Some(&live));
        let expected = json!({ "metadata": {
            "resourceVersion": "7", "labels": { label::MADE_FROM: null }, "ownerReferences": [],
        }});
        assert_eq!(migrated, RootSyncAction::Release(expected), "it stays, without its mark");
        // Made from a ConfigManagement that was deleted and is there anew.
        let anew = ClusterSettings { uid: "u3".to_owned(), ..with_git("main") };
        assert!(matches!(decide(&anew, Some(&live)).0, RootSyncAction::Change(_)));
    }

    #[test]
    fn a_root_sync_without_the_mark_is_left_alone() {
        let mut live = stored(decide(&with_git("main"), None).0);
        live.metadata.labels = None;
        let (action, errors) = decide(&with_git("next"), Some(&live));
        assert_eq!(action, RootSyncAction::Leave);
        assert!(errors[0].contains("was not made from this ConfigManagement"), "{errors:?}");
        assert_eq!(decide(&settings(json!({})), Some(&live)), (RootSyncAction::Leave, Vec::new()));
    }

    #[test]
    fn a_spec_that_cannot_be_used_leaves_the_root_sync_as_it_is() {
        let live = stored(decide(&with_git("main"), None).0);
        for spec in [json!({ "git": { "syncRepo": "https://git.example/x" } }), json!({ "git": 1 })] {
            let (action, errors) = decide(&settings(spec), Some(&live));
            assert!(action == RootSyncAction::Leave && errors.len() == 1, "{errors:?}");
        }
    }

    #[test]
    fn the_name_of_the_cluster_is_the_one_of_the_config_management_before_the_flag() {
        let named = KnownSettings::Present(Box::new(settings(json!({ "clusterName": "prod" }))));
        assert_eq!(named.cluster_name("flag"), "prod");
        assert_eq!(KnownSettings::Present(Box::new(settings(json!({})))).cluster_name("flag"), "flag");
        assert_eq!(KnownSettings::Absent.cluster_name("flag"), "flag");
    }

    #[test]
    fn a_root_sync_of_a_config_management_that_is_gone_is_not_told_another_name() {
        let live = stored(decide(&with_git("main"), None).0);
        assert!(KnownSettings::Absent.leaves_behind(&live) && matches!(clean(&live), RootSyncAction::Delete(_)));
        assert!(!KnownSettings::Present(Box::new(with_git("main"))).leaves_behind(&live));
        let mut orphan = live;
        orphan.metadata.owner_references = None;
        assert!(!KnownSettings::Absent.leaves_behind(&orphan) && clean(&orphan) == RootSyncAction::Leave);
    }
}
