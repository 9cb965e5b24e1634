//! The effect of a declared set on a cluster, by dry runs of the API server.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use agent::api::{ResourceGroupSpec, Time};
use agent::compile::declared::{DeclaredObject, DeclaredSet};
use agent::io::kubernetes::client::{ApiError, Cluster};
use agent::io::kubernetes::count::count;
use agent::io::kubernetes::dry_run::{dry_run, take_off_marks};
use agent::model::finding::{Finding, Place, Resource};
use agent::model::metadata::SyncId;
use agent::model::object::{GroupKind, Object, ObjectId};
use agent::model::yaml;
use agent::sync::live::{Live, Observed};
use agent::sync::moment::Moment;
use agent::sync::plan::guard::{HeldPrune, Prune, approve_by_annotation};
use agent::sync::plan::memory::{GuardMemory, GuardNotes, Proof};
use agent::sync::plan::{Action, Declared, decide};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::core::gvk::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde::Deserialize as _;
use serde_json::Value;

use crate::Paint;
use crate::commands::status::query::belongs;
use crate::contexts::{self, ClusterContext};
use crate::differences::Difference;
use crate::report::{ChangeCounts, ChangeEffect, ReportedChange};

use super::sealed::ObjectWithStandIns;

/// Requests in flight.
const IN_FLIGHT: usize = 16;
/// The status of an answer that refuses an object for its content.
const INVALID: u16 = 422;

/// All that would happen on the cluster.
pub(super) struct Changes {
    prune: Prune,
    memory: GuardMemory,
    declared: Vec<Change>,
}

/// The effect of a declared object.
struct Change {
    place: Place,
    effect: ChangeKind,
    /// Values of it that SOPS sealed were not compared.
    sealed: bool,
}

enum ChangeKind {
    /// It would be made.
    Made(Difference),
    /// It would be made, as far as can be said: its Namespace or its kind comes with the same source, or it needs a value that SOPS
    /// sealed, so that the API server cannot be asked.
    Unasked(Difference),
    /// It would be changed.
    Changed(Difference),
    /// The API server refuses it.
    Fails(String),
    /// It cannot be said before it is applied.
    Unknown(String),
    /// Nothing but sealed values would be changed, if any.
    AtMostSealed,
}

/// The reason why the API server was not asked.
const UNASKED: &str =
    "it is not checked by the API server, because its Namespace, its kind or a sealed value is not there yet";
/// The part of an object with sealed values that is not known.
const SEALED: &str = "its values that SOPS sealed are not compared; --age-key FILE compares them";

/// Finds out by dry runs. `compared` counts the objects that are done. `opened` says that there was a key for what SOPS sealed.
///
/// # Errors
///
/// If the API server does not answer, or refuses to show something.
pub(super) async fn changes(
    (cluster, client, server): (&ClusterContext, &Client, &Cluster),
    sync: &SyncId,
    (declared, opened): (&DeclaredSet, bool),
    compared: &Cell<usize>,
) -> anyhow::Result<Changes> {
    let (recorded, memory) = recorded(cluster, client, sync).await?;
    let prune = deletions(server, sync, declared, (&recorded, &memory)).await.map_err(|error| cluster.failed(error))?;
    let changes: Vec<Option<Change>> = stream::iter(&declared.objects)
        .map(async |(_, declared)| {
            let change = change(server, declared, opened).await;
            compared.set(compared.get() + 1);
            change
        })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await
        .map_err(|error| cluster.failed(error))?;
    Ok(Changes { prune, memory, declared: changes.into_iter().flatten().collect() })
}

impl Changes {
    /// `true` if the cluster would not stay as it is.
    pub(super) fn differ(&self) -> bool {
        let differs = |change: &Change| !matches!(change.effect, ChangeKind::Unknown(_) | ChangeKind::AtMostSealed);
        !self.prune.deletions.is_empty() || self.declared.iter().any(differs)
    }

    /// Deletions, then differences in the form of `kubectl diff`.
    pub(super) fn text(&self, paint: Paint) -> String {
        let gone = self.prune.deletions.iter().map(|(id, _)| paint.bad(&format!("delete {id}\n")));
        let changes = self.declared.iter().map(|change| match &change.effect {
            ChangeKind::Made(it) | ChangeKind::Unasked(it) | ChangeKind::Changed(it) => it.text(paint),
            ChangeKind::Fails(text) => {
                let at = change.place.location.as_ref().map_or_else(String::new, |at| format!("{}: ", at.point()));
                paint.bad(&format!("{at}{text}\n"))
            }
            ChangeKind::Unknown(text) => format!("{text}\n"),
            ChangeKind::AtMostSealed => String::new(),
        });
        gone.chain(changes).collect()
    }

    /// The numbers of objects.
    pub(super) fn counts(&self) -> ChangeCounts {
        let count = |is: fn(&Change) -> bool| self.declared.iter().filter(|change| is(change)).count();
        ChangeCounts {
            deleted: self.prune.deletions.len(),
            made: count(|it| matches!(it.effect, ChangeKind::Made(_) | ChangeKind::Unasked(_))),
            changed: count(|it| matches!(it.effect, ChangeKind::Changed(_))),
            failed: count(|it| matches!(it.effect, ChangeKind::Fails(_))),
            unchecked: count(|it| matches!(it.effect, ChangeKind::Unasked(_))),
            sealed: count(|it| it.sealed),
        }
    }

    /// The numbers of objects, in a line, and a line for each reason why something is not known.
    pub(super) fn summary(&self) -> String {
        let ChangeCounts { deleted, made, changed, failed, unchecked, sealed } = self.counts();
        let failed = if failed > 0 { format!(", {failed} would fail") } else { String::new() };
        let mut text = format!("{deleted} would be deleted, {made} made, {changed} changed{failed}\n");
        if unchecked > 0 {
            let are = if unchecked == 1 { "is" } else { "are" };
            text += &format!(
                "{unchecked} of those {are} not checked by the API server: a Namespace, a kind or a sealed value is not there yet\n"
            );
        }
        if sealed > 0 {
            let have = if sealed == 1 { "object has" } else { "objects have" };
            text += &format!("{sealed} {have} sealed values that were not compared; --age-key FILE compares them\n");
        }
        text
    }

    /// The finding with which the guard would hold the deletions. `commit` names the commit, or stands for it.
    pub(super) fn held(&self, sync: &SyncId, commit: &str) -> Option<Finding> {
        let now = Instant::now();
        let recent = &self.memory.recent;
        if !self.prune.is_large(recent.left(self.prune.inventory.objects, now)) {
            return None;
        }
        let SyncId { kind, namespace, name } = sync;
        Some(self.prune.finding(&HeldPrune {
            commit,
            in_force: false,
            dynamic: false,
            recent: recent.number(now),
            approval: "COMMIT.DIGEST",
            refused: None,
            how_to_approve: &approve_by_annotation(&kind.to_string(), namespace, name),
        }))
    }

    /// Deletions, then differences, for reports.
    pub(super) fn reported(&self) -> Vec<ReportedChange> {
        let gone = self.prune.deletions.iter().map(|(id, _)| ReportedChange {
            effect: ChangeEffect::Delete,
            place: Place { location: None, resource: Some(Resource::named(id, "")) },
            text: format!("{id} would be deleted"),
            note: None,
        });
        let changes = self.declared.iter().filter_map(|Change { place, effect, sealed }| {
            let (effect, text, note) = match effect {
                ChangeKind::Made(it) => (ChangeEffect::Create, it.text(Paint::default()), None),
                ChangeKind::Unasked(it) => (ChangeEffect::Create, it.text(Paint::default()), Some(UNASKED)),
                ChangeKind::Changed(it) => (ChangeEffect::Change, it.text(Paint::default()), None),
                ChangeKind::Fails(text) => (ChangeEffect::Fail, text.clone(), None),
                ChangeKind::Unknown(text) => (ChangeEffect::Unknown, text.clone(), None),
                // They are counted in the summary.
                ChangeKind::AtMostSealed => return None,
            };
            Some(ReportedChange { effect, place: place.clone(), text, note: note.or(sealed.then_some(SEALED)) })
        });
        gone.chain(changes).collect()
    }
}

/// The objects in the record of a sync, and the facts for the guard that are kept there.
async fn recorded(
    cluster: &ClusterContext,
    client: &Client,
    sync: &SyncId,
) -> anyhow::Result<(BTreeSet<ObjectId>, GuardMemory)> {
    let kind = GroupVersionKind::gvk("kpt.dev", "v1alpha1", "ResourceGroup");
    let groups = contexts::objects(client, Some(&sync.namespace), kind, "").await;
    let groups = groups.map_err(|error| cluster.failed(error))?.unwrap_or_default();
    let (mut recorded, mut notes) = (BTreeSet::new(), GuardNotes::new());
    for group in groups.iter().filter(|group| belongs(group, sync)) {
        let spec = ResourceGroupSpec::deserialize(&group.data["spec"]).context("the record cannot be read")?;
        let ids = spec.resources.into_iter().map(|resource| {
            ObjectId::new(&GroupKind::new(&resource.group, &resource.kind), &resource.namespace, &resource.name)
        });
        recorded.extend(ids);
        if group.name_any() == sync.name {
            let note = |key| Some((key, group.annotations().get(key)?.clone()));
            notes = GuardMemory::KEYS.into_iter().filter_map(note).collect();
        }
    }
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = Moment { instant: Instant::now(), time: Time::from_unix(seconds) };
    Ok((recorded, GuardMemory::of(&notes, &now)))
}

/// The objects of the sync that would be deleted.
async fn deletions(
    server: &Cluster,
    sync: &SyncId,
    declared: &DeclaredSet,
    (recorded, memory): (&BTreeSet<ObjectId>, &GuardMemory),
) -> Result<Prune, ApiError> {
    let is_declared = |id: &&ObjectId| declared.objects.contains_key(*id);
    let kept = recorded.iter().filter(is_declared).collect();
    let mut prune = Prune {
        inventory: recorded.iter().collect(),
        recorded: recorded.iter().collect(),
        kept,
        unproven: memory.proof == Proof::Approval,
        ..Prune::default()
    };
    let gone = recorded.iter().filter(|id| !is_declared(id));
    let lives: Vec<(&ObjectId, Option<Object>)> = stream::iter(gone)
        .map(async |id| Ok::<_, ApiError>((id, live(server, id, "").await?)))
        .buffered(IN_FLIGHT)
        .try_collect()
        .await?;
    for (id, live) in lives {
        let Some(object) = live else { continue };
        let seen = Observed::of(&object);
        let live = Live::observe(&seen, id, sync, None, None);
        if decide(Declared::of(declared, id), Some(&live), sync) == Action::Delete {
            prune.deletions.insert((id.clone(), live.uid.clone()));
        }
    }
    let plurals: BTreeMap<String, GroupKind> = server
        .kinds()
        .into_iter()
        .map(|(kind, served)| (format!("{}.{}", served.resource.plural, kind.group), kind))
        .collect();
    for (crd, _) in prune.deletions.iter().filter(|(id, _)| id.is_crd()) {
        let is_of_crd = |(id, _): &&(ObjectId, Box<str>)| plurals.get(crd.name()) == Some(&id.group_kind());
        let own = prune.deletions.iter().filter(is_of_crd).count();
        let others = count(server, crd).await?.map(|all| all.saturating_sub(own));
        prune.taking_along.push((crd.clone(), others));
    }
    Ok(prune)
}

/// The effect of a declared object; `None` if it changes nothing.
async fn change(server: &Cluster, declared: &DeclaredObject, opened: bool) -> Result<Option<Change>, ApiError> {
    let id = &declared.id;
    let sealed = declared.is_sealed() && !opened;
    let with = |effect| Ok(Some(Change { place: declared.place(), effect, sealed }));
    if declared.apply_time_mutation().is_some() {
        return with(ChangeKind::Unknown(format!("{id} is not compared: it takes values of other objects")));
    }
    let live = live(server, id, declared.version()).await?;
    if live.is_some() && (declared.implicit || declared.ignores_mutation()) {
        return Ok(None);
    }
    // It may still have what is declared in plain text now, and was secret before.
    let was_hidden = live.as_ref().is_some_and(Object::hides_values);
    let confidential = was_hidden || (declared.is_sealed() && (opened || live.is_some()));
    let stand_in = match sealed {
        true => ObjectWithStandIns::of(declared.body(), live.as_ref()),
        false => ObjectWithStandIns::whole(declared.body()),
    };
    let mut asked = true;
    let after = match dry_run(server, declared, &stand_in.body).await {
        Ok(after) => after,
        // Its Namespace or its kind comes with the same commit.
        Err(error) if is_absent(&error) && live.is_none() => {
            asked = false;
            stand_in.body.clone()
        }
        Err(error) if error.is_transient() => return Err(error),
        // Such as a Secret of a type that needs some keys. Of a live one the values that are new are shown.
        Err(error) if error.code() == INVALID && stand_in.lacks_values() => {
            asked = false;
            live.clone().unwrap_or_else(|| stand_in.body.clone())
        }
        Err(error) => {
            // The words about a Secret may have its values.
            let withheld = declared.is_confidential() || confidential;
            let why = if withheld { "the API server refuses it".into() } else { error.to_string() };
            return with(ChangeKind::Fails(format!("{id} cannot be applied: {why}")));
        }
    };
    let document = |object: &Object| yaml::document(&Value::Object(shown(object.clone()).0));
    let (before, after) = (live.as_ref().map(document), document(&stand_in.completed(after)));
    if before.as_ref() == Some(&after) {
        if !asked {
            let why = "the API server refuses it without the values that SOPS sealed";
            return with(ChangeKind::Unknown(format!("{id} is not compared: {why}")));
        }
        return if sealed { with(ChangeKind::AtMostSealed) } else { Ok(None) };
    }
    let difference = Difference { path: path(declared), on_disk: before, wanted: Some(after), confidential };
    with(match live {
        Some(_) => ChangeKind::Changed(difference),
        None if asked => ChangeKind::Made(difference),
        None => ChangeKind::Unasked(difference),
    })
}

/// The object as it is; `None` if it, or its kind, is not there.
async fn live(server: &Cluster, id: &ObjectId, version: &str) -> Result<Option<Object>, ApiError> {
    let path = match server.path(id, version).await {
        Err(error) if is_absent(&error) => return Ok(None),
        path => path?,
    };
    match server.get(&path).await {
        Err(error) if is_absent(&error) => Ok(None),
        answer => answer.map(Some),
    }
}

/// `true` if the object, or its kind, is not there.
fn is_absent(error: &ApiError) -> bool {
    error.is_not_found() || error.is_unserved()
}

/// The name of an object as kubectl diff has it, such as `apps.v1.Deployment.shop.web`.
fn path(declared: &DeclaredObject) -> String {
    let id = &declared.id;
    let parts = [id.group(), declared.version(), id.kind(), id.namespace(), id.name()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

/// The object without what changes with every write, or only with the commit.
fn shown(mut object: Object) -> Object {
    object.0.remove("status");
    let given = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"];
    given.iter().for_each(|field| _ = object.metadata_mut().remove(*field));
    take_off_marks(&mut object);
    object
}
