//! Tells the cluster about a sync: the status of its RootSync, its ResourceGroups, Kubernetes Events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::kubernetes::client::{ApiError, Cluster, collection};
use super::kubernetes::events::{Events, Regarding, Severity};
use crate::api::{ResourceGroup, ResourceId, SyncStatus, Time};
use crate::model::finding::{Finding, text};
use crate::model::metadata::{FIELD_MANAGER, MANAGED_BY_VALUE, SyncId, annotation, label};
use crate::model::object::{GroupKind, Object, ObjectId};
use crate::sync::diff;
use crate::sync::engine::{Event, Notice, Repaired, Report, ResourceState};
use crate::sync::inventory::{Groups, group_name, group_status};
use crate::sync::status::{About, refused, status};

const APPLY: &str = "application/apply-patch+yaml";
/// Pause before a status that could not be written is written again; doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What a sync has to tell.
pub enum Message {
    /// Its state.
    Report(Box<Report>),
    /// Objects that are about to be its own; answered with [`Event::Recorded`].
    Record(BTreeSet<ObjectId>),
    /// Something that happened.
    Notice(Notice),
    /// A newer spec, of this generation, cannot be acted on.
    Refused(Box<Finding>, i64),
    /// The last word: what came before is written, then the receiver is told.
    Last(Box<Report>, tokio::sync::oneshot::Sender<()>),
}

/// What is written about one sync.
pub struct Reporter {
    cluster: Arc<Cluster>,
    sync: SyncId,
    about: About,
    /// `None` without a RootSync object.
    object: Option<SyncObject>,
    /// `None` where ResourceGroups are not served.
    groups: Option<WrittenGroups>,
    events: Events,
    resource_status: bool,
}

/// The RootSync, as far as it is written to.
#[derive(Clone)]
pub struct SyncObject {
    /// Its status as last read or written.
    pub status: SyncStatus,
    /// For Events about it.
    pub uid: String,
}

/// The ResourceGroups as last read or written.
#[derive(Default)]
pub struct WrittenGroups {
    groups: Groups,
    written: Vec<Option<ResourceGroup>>,
}

impl WrittenGroups {
    /// The recorded objects; `None` when there is no record.
    pub fn objects(&self) -> Option<BTreeSet<ObjectId>> {
        (!self.written.is_empty()).then(|| self.groups.0.iter().flatten().cloned().collect())
    }
}

impl Reporter {
    /// A reporter that goes on where `groups` and the status of `object` end.
    pub fn new(
        cluster: Arc<Cluster>,
        sync: SyncId,
        about: About,
        object: Option<SyncObject>,
        groups: Option<WrittenGroups>,
        resource_status: bool,
    ) -> Self {
        Self { cluster, sync, about, object, groups, events: Events::default(), resource_status }
    }

    /// Writes what comes in until nobody has anything to tell any more.
    pub async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>, events: mpsc::Sender<Event>) {
        let mut waiting: Option<Box<Report>> = None;
        // Whether a refusal is to be written before the next report comes.
        let mut refusal = false;
        let mut retry: Option<Duration> = None;
        loop {
            let message = match (waiting.is_some() || refusal, retry) {
                (true, None) => messages.try_recv().ok(),
                (true, Some(pause)) => match tokio::time::timeout(pause, messages.recv()).await {
                    Ok(None) => return,
                    Ok(message) => message,
                    Err(_) => None,
                },
                (false, _) => match messages.recv().await {
                    Some(message) => Some(message),
                    None => return,
                },
            };
            match message {
                // A newer report makes an older one needless, but for resources that only the older one has.
                Some(Message::Report(mut report)) => {
                    if report.resources.is_none() {
                        report.resources = waiting.take().and_then(|old| old.resources);
                    }
                    waiting = Some(report);
                }
                Some(Message::Record(ids)) => {
                    self.record_surely(&ids).await;
                    // A sync that has ended needs no word.
                    let _ = events.send(Event::Recorded).await;
                }
                Some(Message::Notice(notice)) => self.notice(notice).await,
                Some(Message::Refused(finding, generation)) => {
                    self.publish(Severity::Warning, &finding.code.to_string(), &text(&finding)).await;
                    self.about.generation = generation;
                    self.about.refused = Some(*finding);
                    refusal = true;
                }
                Some(Message::Last(report, done)) => {
                    // There is no time to try again, and perhaps none for all of it.
                    let _ = self.write_status(&report).await;
                    let _ = self.report(&report).await;
                    let _ = done.send(());
                    return;
                }
                None => {
                    let report = waiting.take();
                    retry = self.try_to_write(report.as_deref(), retry).await;
                    waiting = report.filter(|_| retry.is_some());
                    // Every status says it from now on.
                    refusal &= retry.is_some();
                }
            }
        }
    }

    /// After what pause to try again, if that may help.
    async fn try_to_write(&mut self, report: Option<&Report>, pause: Option<Duration>) -> Option<Duration> {
        let written = match report {
            Some(report) => self.report(report).await,
            None => self.write_refusal().await,
        };
        let error = written.err()?;
        let again = error.is_transient();
        tracing::warn!(sync = %self.sync, %error, again, "cannot write the status");
        again.then(|| pause.map_or(FIRST_RETRY, |pause| (pause * 2).min(LAST_RETRY)))
    }

    async fn report(&mut self, report: &Report) -> Result<(), ApiError> {
        let groups = match &report.resources {
            Some(resources) => self.write_groups(resources).await,
            None => Ok(()),
        };
        self.write_status(report).await.and(groups)
    }

    async fn write_status(&mut self, report: &Report) -> Result<(), ApiError> {
        let Some(object) = &self.object else { return Ok(()) };
        self.write(status(&object.status, report, &self.about, &now())).await
    }

    /// That a newer spec cannot be acted on, where there is nothing else to report.
    async fn write_refusal(&mut self) -> Result<(), ApiError> {
        let (Some(object), Some(finding)) = (&self.object, &self.about.refused) else { return Ok(()) };
        self.write(refused(&object.status, finding, self.about.generation, &now())).await
    }

    async fn write(&mut self, next: SyncStatus) -> Result<(), ApiError> {
        let Some(object) = self.object.as_mut().filter(|object| object.status != next) else { return Ok(()) };
        match write_sync_status(&self.cluster, &self.sync, &object.uid, &next).await {
            Ok(()) => object.status = next,
            // It was deleted, or deleted and made again: the watch on syncs sees to that.
            Err(error) if matches!(error.code(), 404 | 409) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    // ---- ResourceGroups ----

    /// Nothing is applied before its kind is recorded, so this is tried until it works or cannot.
    async fn record_surely(&mut self, ids: &BTreeSet<ObjectId>) {
        let mut pause = FIRST_RETRY;
        loop {
            match self.record(ids).await {
                Ok(()) => return,
                Err(error) if error.is_transient() => {
                    tracing::warn!(sync = %self.sync, %error, "cannot write the inventory's record; trying again");
                }
                Err(error) => {
                    tracing::warn!(sync = %self.sync, %error, "cannot write the inventory's record");
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    async fn record(&mut self, ids: &BTreeSet<ObjectId>) -> Result<(), ApiError> {
        let Some(written) = &mut self.groups else { return Ok(()) };
        written.groups.assign(ids);
        written.written.resize(written.groups.0.len().max(written.written.len()), None);
        let mut result = Ok(());
        for index in 0..written.written.len() {
            result = result.and(self.write_group_spec(index).await);
        }
        result
    }

    async fn write_groups(&mut self, resources: &[ResourceState]) -> Result<(), ApiError> {
        self.record(&resources.iter().map(|resource| resource.id.clone()).collect()).await?;
        let groups = self.groups.as_ref().map_or(0, |written| written.groups.0.len());
        let states: BTreeMap<&ObjectId, &ResourceState> = resources.iter().map(|state| (&state.id, state)).collect();
        let mut result = Ok(());
        for index in 0..groups {
            result = result.and(self.write_group_status(index, &states).await);
        }
        result
    }

    fn group_path(&self, index: usize) -> String {
        let name = group_name(&self.sync, index);
        format!("/apis/kpt.dev/v1alpha1/namespaces/{}/resourcegroups/{name}", self.sync.namespace)
    }

    async fn write_group_spec(&mut self, index: usize) -> Result<(), ApiError> {
        let Some(written) = &self.groups else { return Ok(()) };
        let empty = BTreeSet::new();
        let ids: Vec<ResourceId> = written.groups.0.get(index).unwrap_or(&empty).iter().map(ResourceId::from).collect();
        let before = written.written.get(index).and_then(Option::as_ref);
        // A group that is not needed any more stays, empty: the next objects go into it.
        if before.map_or(index > 0 && ids.is_empty(), |group| group.spec.resources == ids) {
            return Ok(());
        }
        let body = json!({
            "apiVersion": "kpt.dev/v1alpha1",
            "kind": "ResourceGroup",
            "metadata": {
                "name": group_name(&self.sync, index),
                "namespace": self.sync.namespace,
                "labels": {
                    label::INVENTORY_ID: self.sync.inventory_id(),
                    label::MANAGED_BY: MANAGED_BY_VALUE,
                    label::SYNC_NAMESPACE: self.sync.namespace,
                    label::SYNC_NAME: self.sync.name,
                    label::SYNC_KIND: self.sync.kind.to_string(),
                },
                "annotations": {
                    annotation::MANAGED: "enabled",
                    annotation::STATUS: if self.resource_status { "enabled" } else { "disabled" },
                },
            },
            "spec": {"resources": ids},
        });
        let path = format!("{}?fieldManager={FIELD_MANAGER}&force=true", self.group_path(index));
        let group: ResourceGroup =
            self.cluster.request(Method::PATCH, &path, APPLY, body.to_string().into_bytes()).await?;
        if let Some(written) = &mut self.groups {
            written.written[index] = Some(group);
        }
        Ok(())
    }

    async fn write_group_status(
        &mut self,
        index: usize,
        states: &BTreeMap<&ObjectId, &ResourceState>,
    ) -> Result<(), ApiError> {
        let Some(written) = self.groups.as_ref().filter(|_| self.resource_status) else { return Ok(()) };
        let Some(group) = written.written.get(index).and_then(Option::as_ref) else { return Ok(()) };
        let ids = &written.groups.0[index];
        let own: Vec<&ResourceState> = ids.iter().filter_map(|id| states.get(id).copied()).collect();
        let before = group.status.clone().unwrap_or_default();
        let next = group_status(&before, &own, group.metadata.generation.unwrap_or(0), &now());
        if next == before {
            return Ok(());
        }
        let body = json!({
            "apiVersion": "kpt.dev/v1alpha1",
            "kind": "ResourceGroup",
            "metadata": {"name": group_name(&self.sync, index), "namespace": self.sync.namespace},
            "status": next,
        });
        let path = format!("{}/status?fieldManager={FIELD_MANAGER}&force=true", self.group_path(index));
        let group: ResourceGroup =
            self.cluster.request(Method::PATCH, &path, APPLY, body.to_string().into_bytes()).await?;
        if let Some(written) = &mut self.groups {
            written.written[index] = Some(group);
        }
        Ok(())
    }

    // ---- Events and the log ----

    async fn notice(&mut self, notice: Notice) {
        let sync = &self.sync;
        match notice {
            Notice::Syncing { commit, objects } => tracing::info!(%sync, commit, objects, "syncing"),
            Notice::Synced { commit, applied, pruned } => {
                tracing::info!(%sync, commit, applied, pruned, "synced");
                if applied + pruned > 0 {
                    let note = format!("Synced {commit}: {applied} applied, {pruned} pruned");
                    self.publish(Severity::Normal, "Synced", &note).await;
                }
            }
            Notice::Failed(finding) => {
                tracing::error!(%sync, code = %finding.code, "{}", text(&finding));
                self.publish(Severity::Warning, &finding.code.to_string(), &text(&finding)).await;
            }
            Notice::Rewritten(id, fields) => {
                let fields = fields.join(", ");
                tracing::warn!(%sync, object = %id, fields, "came back different from our apply: the server or an admission webhook changed it");
            }
            Notice::Repaired(repair) => self.repaired(&repair).await,
        }
    }

    async fn repaired(&mut self, repair: &Repaired) {
        let Repaired { declared, uid, fields, by, version } = repair;
        let id = &declared.id;
        let by = by.as_deref().unwrap_or("somebody");
        let what = match (version, fields.as_slice()) {
            (0, _) => "it was deleted".to_owned(),
            (_, []) => format!("{by} took its field ownership away"),
            (_, fields) => format!("{by} changed {}", fields.join(", ")),
        };
        let body = declared.body();
        let before = if *version > 0 { self.at(id, *version).await } else { None };
        let diff = before.map(|live| format!("\n{}", diff::repair(&body, &live))).unwrap_or_default();
        tracing::info!(sync = %self.sync, object = %id, "drift corrected: {what}{diff}");
        let note = format!("Drift corrected: {id}: {what}");
        let regarding = Regarding {
            api_version: body.api_version().to_owned(),
            kind: id.kind().to_owned(),
            namespace: id.namespace().to_owned(),
            name: id.name().to_owned(),
            uid: uid.clone(),
        };
        self.publish_about(&regarding, Severity::Normal, "DriftCorrected", &note).await;
    }

    /// The object as it was at `version`, while the API server still has it: the repair did not wait for this.
    async fn at(&self, id: &ObjectId, version: u64) -> Option<Object> {
        let served = self.cluster.served(&id.group_kind()).await.ok()?;
        let path = format!(
            "{}?fieldSelector=metadata.name%3D{}&resourceVersion={version}&resourceVersionMatch=Exact",
            collection(&served, "", id.namespace()),
            id.name()
        );
        let list: Value = self.cluster.request(Method::GET, &path, "application/json", Vec::new()).await.ok()?;
        serde_json::from_value(list["items"].as_array()?.first()?.clone()).ok()
    }

    /// About the sync itself.
    async fn publish(&mut self, severity: Severity, reason: &str, note: &str) {
        let Some(object) = &self.object else { return };
        let regarding = Regarding::sync(&self.sync, &object.uid);
        self.publish_about(&regarding, severity, reason, note).await;
    }

    async fn publish_about(&mut self, regarding: &Regarding, severity: Severity, reason: &str, note: &str) {
        if let Err(error) = self.events.publish(&self.cluster, regarding, severity, reason, note).await {
            tracing::debug!(%error, "cannot publish an Event");
        }
    }
}

/// Writes the status of the incarnation `uid` of a RootSync or RepoSync.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn write_sync_status(
    cluster: &Cluster,
    sync: &SyncId,
    uid: &str,
    status: &SyncStatus,
) -> Result<(), ApiError> {
    let kind = GroupKind::new("configsync.gke.io", &sync.kind.to_string());
    let path = cluster.path(&ObjectId::new(&kind, &sync.namespace, &sync.name), "v1beta1").await?;
    let body = json!({
        "apiVersion": "configsync.gke.io/v1beta1",
        "kind": kind.kind,
        "metadata": {"name": sync.name, "namespace": sync.namespace, "uid": uid},
        "status": status,
    });
    let path = format!("{path}/status?fieldManager={FIELD_MANAGER}&force=true");
    cluster.request::<Value>(Method::PATCH, &path, APPLY, body.to_string().into_bytes()).await?;
    Ok(())
}

/// The ResourceGroups of a sync, in order; `None` where the kind is not served.
///
/// # Errors
/// When the API server refuses it or cannot be reached.
pub async fn read_groups(cluster: &Cluster, sync: &SyncId) -> Result<Option<WrittenGroups>, ApiError> {
    let served = match cluster.served(&GroupKind::new("kpt.dev", "ResourceGroup")).await {
        Ok(served) => served,
        Err(ApiError::Unserved(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let path = format!(
        "{}?labelSelector={}%3D{}",
        collection(&served, "v1alpha1", &sync.namespace),
        label::INVENTORY_ID.replace('/', "%2F"),
        sync.inventory_id()
    );
    let list: kube::core::ObjectList<ResourceGroup> =
        cluster.request(Method::GET, &path, "application/json", Vec::new()).await?;
    let mut written = WrittenGroups::default();
    // Somebody may have deleted one in between.
    for index in 0..2 * list.items.len() {
        let name = group_name(sync, index);
        let group = list.items.iter().find(|group| group.metadata.name.as_ref() == Some(&name));
        let ids = group.map(|group| group.spec.resources.iter().cloned().map(ObjectId::from).collect());
        written.groups.0.push(ids.unwrap_or_default());
        written.written.push(group.cloned());
    }
    while written.written.pop_if(|last| last.is_none()).is_some() {
        written.groups.0.pop();
    }
    Ok(Some(written))
}

/// Now, in whole seconds.
pub fn now() -> Time {
    Time::from_unix(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}
