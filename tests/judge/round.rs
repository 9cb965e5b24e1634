//! One round: an object is applied as the agent does it, others change it, and the agent's verdict must be that of a dry run of the
//! same apply. Then the agent puts it right, or not, and others change it again.

use agent::compile::declared::DeclaredObject;
use agent::io::kubernetes::apply::{self, CommitStamp};
use agent::io::kubernetes::client::{ApiError, Cluster};
use agent::model::finding::Finding;
use agent::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
use agent::model::object::Object;
use agent::sync::diff;
use agent::sync::engine::{ApplyMode, Outcome};
use agent::sync::live::{FieldOwnership, Live, Observed, Owner};
use agent::sync::managed_fields::is_list_item;
use agent::sync::plan::{Action, Cause, Declared, decide};
use anyhow::{Context, Result, bail};
use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};

use crate::change::{APPLY, Target};
use crate::content::{blank_some, keep_filled, named, null_some, overlay, paths, set, without_refused};
use crate::kinds::{Kind, Version};
use crate::schema::Schemas;
use crate::values::{differ_in_empty_lists, fields, is_another, owned_empty_lists, values};

/// Attempts to take away what the API server refuses of a random object.
const ATTEMPTS: usize = 12;

/// The result of a round.
pub(crate) enum Played {
    Judged(Judged),
    /// There is nothing to judge, for this reason.
    Unjudged(&'static str),
}

/// The verdicts of a round.
#[derive(Default)]
pub(crate) struct Judged {
    /// Verdicts that were compared.
    pub(crate) verdicts: usize,
    /// The differences, with what led to each.
    pub(crate) differences: Vec<String>,
}

/// A verdict about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// All is as declared.
    Nothing,
    /// Values are as declared, and the ownership of fields is lost: one write, which is not told.
    Reclaim,
    /// A declared value differs: it is put back and told.
    Drift,
}

/// What the API server says about an object.
struct Truth {
    live: Object,
    /// As it is after the apply.
    after: Object,
    /// The verdict. `None` if the apply changes nothing but empty lists: their ownership, because without the kind's schema an entry
    /// cannot always tell an empty list that the agent has lost from one that is owned item by item; or that they are there at all,
    /// where nobody owns them.
    verdict: Option<Verdict>,
    /// Values differ, if only in the order of items, which is a value where a list is owned as a whole, or in empty lists.
    is_changed: bool,
}

/// From this seed on every other custom resource has nulls. The rounds before are those in which faults were found.
const WITH_NULLS: u64 = 1_200_000;

struct Round<'a> {
    cluster: &'a Cluster,
    kind: &'a Kind,
    sync: SyncId,
    declared: DeclaredObject,
    body: Value,
    path: String,
    history: Vec<String>,
    /// Another client has applied it under the agent's name.
    is_forged: bool,
    judged: Judged,
}

pub(crate) async fn play(cluster: &Cluster, schemas: &Schemas, kind: &Kind, seed: u64) -> Result<Played> {
    let mut rng = Rng::with_seed(seed);
    let version = &kind.versions[rng.usize(..kind.versions.len())];
    let Some((declared, name)) = acceptable(cluster, schemas, (kind, version), &mut rng, seed, true).await? else {
        return Ok(Played::Unjudged("refused"));
    };
    let path = kind.path(version, &name);
    let body = Value::Object(declared.body().0);
    let judged = Judged::default();
    let mut round = Round {
        cluster,
        kind,
        sync: sync(),
        declared,
        body,
        path: path.clone(),
        history: Vec::new(),
        is_forged: false,
        judged,
    };
    let played = round.play(schemas, &name, &mut rng).await;
    let options = json!({"propagationPolicy": "Background", "gracePeriodSeconds": 0}).to_string().into_bytes();
    match cluster.request::<Value>(Method::DELETE, &path, crate::JSON, options).await {
        Ok(_) | Err(ApiError::Refused(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(match played? {
        Some(reason) if round.judged.verdicts == 0 => Played::Unjudged(reason),
        _ => Played::Judged(round.judged),
    })
}

fn sync() -> SyncId {
    SyncId::root("judged")
}

/// Makes a random object as a user does, and returns what was sent; `None` if the API server accepts none.
pub(crate) async fn make(cluster: &Cluster, schemas: &Schemas, kind: &Kind, seed: u64) -> Result<Option<Object>> {
    let mut rng = Rng::with_seed(seed);
    let version = &kind.versions[rng.usize(..kind.versions.len())];
    let accepted = acceptable(cluster, schemas, (kind, version), &mut rng, seed, false).await?;
    let Some((declared, name)) = accepted else { return Ok(None) };
    let sent = declared.body();
    let (path, body) = (kind.path(version, &name), serde_json::to_vec(&sent)?);
    let answer: Result<Value, ApiError> = match path.rsplit_once('/').filter(|_| rng.bool()) {
        Some((collection, _)) => {
            let path = format!("{collection}?fieldManager=kubectl-create");
            cluster.request(Method::POST, &path, crate::JSON, body).await
        }
        None => cluster.request(Method::PATCH, &format!("{path}?fieldManager=kubectl"), APPLY, body).await,
    };
    match answer {
        Ok(_) => Ok(Some(sent)),
        Err(ApiError::Refused(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A random object that the API server accepts, and its name. It may be one of the sync.
async fn acceptable(
    cluster: &Cluster,
    schemas: &Schemas,
    (kind, version): (&Kind, &Version),
    rng: &mut Rng,
    seed: u64,
    of_sync: bool,
) -> Result<Option<(DeclaredObject, String)>> {
    let address = format!("10.{}.{}.{}", 1 + (seed >> 16) % 250, (seed >> 8) & 255, seed & 255);
    let name = format!("j{seed}");
    let mut base = named(&version.base, &name, &address, &kind.namespace());
    let name = base["metadata"]["name"].as_str().map_or(name, str::to_owned);
    base["apiVersion"] = kind.api_version(version).into();
    base["kind"] = kind.kind.as_str().into();
    base["metadata"]["name"] = name.as_str().into();
    if kind.namespaced {
        base["metadata"]["namespace"] = kind.namespace().into();
    }
    let id = serde_json::from_value::<Object>(base.clone())?.id();
    if of_sync {
        base["metadata"]["labels"][label::PART_OF] = sync().part_of().into();
        base["metadata"]["annotations"] = json!({
            annotation::MANAGED: "enabled",
            annotation::MANAGER: sync().manager(),
            annotation::RESOURCE_ID: id.resource_id(),
        });
    }
    let mut content = schemas.value(rng, "", &version.schema, 0).unwrap_or_default();
    if content.is_null() {
        content = json!({});
    }
    if rng.bool() {
        blank_some(rng, &mut content);
    }
    if rng.bool() {
        content["metadata"] = json!({"labels": {"a": "1"}, "annotations": {"b": ""}});
    }
    if seed >= WITH_NULLS && seed.is_multiple_of(8) && !kind.built_in {
        null_some(&mut Rng::with_seed(seed), &mut content["spec"]);
    }
    overlay(&mut content, &base);
    for attempt in 0..=ATTEMPTS {
        let declared = DeclaredObject::new(serde_json::from_value(content.clone())?);
        match dry_run(cluster, &kind.path(version, &name), &declared).await {
            Ok(_) => return Ok(Some((declared, name))),
            Err(ApiError::Refused(_)) if attempt + 1 == ATTEMPTS => content = base.clone(),
            Err(ApiError::Refused(status)) => {
                if !without_refused(&mut content, &base, &status) {
                    thin(rng, &mut content, &base);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Takes away some of what is random, at any depth.
fn thin(rng: &mut Rng, content: &mut Value, base: &Value) {
    let mut places = Vec::new();
    paths(content, &mut Vec::new(), &mut places);
    places.retain(|path| crate::change::at(base, path).is_none());
    for _ in 0..1 + places.len() / 4 {
        if places.is_empty() {
            return;
        }
        let path = places.swap_remove(rng.usize(..places.len()));
        set(content, &path, None);
    }
}

async fn dry_run(cluster: &Cluster, path: &str, declared: &DeclaredObject) -> Result<Object, ApiError> {
    let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true&dryRun=All");
    let body = serde_json::to_vec(&declared.applied("0", "{}")).unwrap_or_default();
    cluster.request(Method::PATCH, &path, APPLY, body).await
}

impl Round<'_> {
    /// Returns the reason if the object cannot be judged any more.
    async fn play(&mut self, schemas: &Schemas, name: &str, rng: &mut Rng) -> Result<Option<&'static str>> {
        let Some(Ok(mut before)) = self.apply(ApplyMode::Create).await? else { return Ok(Some("not applied")) };
        match self.truth().await? {
            Some(Truth { verdict: None | Some(Verdict::Nothing), .. }) => {}
            // The API server itself changes what was applied.
            Some(_) => return Ok(Some("changed by the API server")),
            None => return Ok(Some("refused afterwards")),
        }
        for time in 0..2 {
            for _ in 0..rng.usize(1..4) {
                let body = self.body.clone();
                let target = Target { cluster: self.cluster, schemas, kind: self.kind, name, declared: &body };
                let change = target.change(rng).await?;
                self.is_forged |= change.as_ref().is_some_and(|change| change.contains(FORGED));
                self.history.extend(change);
            }
            let Some(truth) = self.truth().await? else { return self.repair_refused(&before).await };
            let (record, cause) = self.compare(&truth, &before)?;
            before = record;
            let Some(mode) = cause.filter(|_| time == 0 && rng.bool()) else { continue };
            self.history.push(format!("the agent repairs it: {mode:?}"));
            match self.apply(mode).await? {
                Some(Ok(after)) => (before, self.is_forged) = (after, false),
                None => return Ok(Some("overtaken")),
                Some(Err(why)) if is_unchangeable(&why) => return Ok(Some("it cannot be changed back")),
                Some(Err(why)) => {
                    self.differ(&truth, format!("the repair is refused: {}", why.message));
                    return Ok(None);
                }
            }
            let Some(truth) = self.truth().await? else { return Ok(Some("gone or refused")) };
            if truth.verdict.is_some_and(|verdict| verdict != Verdict::Nothing) {
                self.differ(&truth, format!("a repair leaves {:?}", truth.verdict));
            }
            (before, _) = self.compare(&truth, &before)?;
        }
        Ok(None)
    }

    /// The API server refuses a plain apply of the object as others have changed it. Where the agent repairs it all the same, this has
    /// to work, unless a field cannot be changed back.
    async fn repair_refused(&mut self, before: &Live) -> Result<Option<&'static str>> {
        let Some(live) = self.live().await? else { return Ok(Some("gone")) };
        let (record, action) = self.decided(&live, Some(before), false);
        let Some(mode) = repair(&record, &action) else { return Ok(Some("refused, and not repaired")) };
        self.history.push(format!("the agent repairs it: {mode:?}"));
        match self.apply(mode).await? {
            Some(Ok(_)) => {}
            None => return Ok(Some("overtaken")),
            Some(Err(why)) if is_unchangeable(&why) => return Ok(Some("it cannot be changed back")),
            Some(Err(why)) => {
                self.judged.verdicts += 1;
                let truth = Truth { after: live.clone(), live, verdict: None, is_changed: true };
                self.differ(&truth, format!("the repair is refused: {}", why.message));
                return Ok(None);
            }
        }
        self.judged.verdicts += 1;
        match self.truth().await? {
            Some(truth) if truth.verdict.is_some_and(|verdict| verdict != Verdict::Nothing) => {
                self.differ(&truth, format!("a repair leaves {:?}", truth.verdict));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The refusal if the API server refuses; `None` if a controller writes at the same time.
    async fn apply(&self, mode: ApplyMode) -> Result<Option<Result<Live, Finding>>> {
        let sync = sync();
        let stamp = CommitStamp { sync: &sync, token: "0", git_context: "{}" };
        match apply::apply(self.cluster, &stamp, &self.declared, &mode).await {
            Outcome::Applied(live, _) => Ok(Some(Ok(*live))),
            Outcome::Failed(failure) => Ok(Some(Err(failure.finding))),
            Outcome::Read(_) if matches!(mode, ApplyMode::TakeOver(_)) => Ok(None),
            other => bail!("not expected: {other:?}"),
        }
    }

    /// `None` if the object cannot be judged: it is gone, or the API server refuses the apply.
    async fn truth(&self) -> Result<Option<Truth>> {
        for _ in 0..5 {
            let Some(live) = self.live().await? else { return Ok(None) };
            let mut after = match dry_run(self.cluster, &self.path, &self.declared).await {
                Ok(after) => after,
                Err(ApiError::Refused(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            // A controller may write in between.
            if live.metadata("resourceVersion") == after.metadata("resourceVersion") {
                if self.kind.built_in && is_in_several_versions(&live) {
                    keep_filled(&self.body, &live.0, &mut after.0);
                }
                let verdict = self.verdict_of(&live, &after);
                let is_changed = live.0.iter().any(|(name, value)| {
                    !["metadata", "status"].contains(&name.as_str()) && after.0.get(name) != Some(value)
                });
                return Ok(Some(Truth { live, after, verdict, is_changed }));
            }
        }
        Ok(None)
    }

    /// `None` if it is gone, or goes.
    async fn live(&self) -> Result<Option<Object>> {
        match self.cluster.get::<Object>(&self.path).await {
            Ok(live) => Ok(Some(live).filter(|live| live.metadata("deletionTimestamp").is_none())),
            Err(ApiError::Refused(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn verdict_of(&self, live: &Object, after: &Object) -> Option<Verdict> {
        let differ = |but_empty_lists| {
            let fields = |object| fields(object, Some(&self.body).filter(|_| but_empty_lists));
            fields(live) != fields(after)
        };
        let [of_live, of_after] = [live, after].map(values);
        if of_live != of_after {
            let are_owned = [live, after].map(|object| owned_empty_lists(object, &self.body));
            if !differ_in_empty_lists(&of_live.0.into(), &of_after.0.into()) || are_owned[0] != are_owned[1] {
                return Some(Verdict::Drift);
            }
            // Empty lists are there again that leave no trace in entries.
            return Some(Verdict::Reclaim).filter(|_| differ(true));
        }
        match (differ(false), differ(true)) {
            (true, true) => Some(Verdict::Reclaim),
            (false, false) => Some(Verdict::Nothing),
            _ => None,
        }
    }

    /// Compares the verdicts of the agent with the API server's: while it runs, after a restart, and in audits of both. Returns
    /// the record while it runs, and how the agent repairs it.
    fn compare(&mut self, truth: &Truth, before: &Live) -> Result<(Live, Option<ApplyMode>)> {
        let mut running = None;
        for (name, before, audit) in [
            ("running", Some(before), false),
            ("restarted", None, false),
            ("running, by an audit", Some(before), true),
            ("restarted, by an audit", None, true),
        ] {
            let (record, action) = self.decided(&truth.live, before, audit);
            let own = match &action {
                Action::Nothing if record.watched => Some(Verdict::Nothing),
                Action::Nothing => None,
                Action::Apply(Cause::Drifted(_) | Cause::Adopted | Cause::Changed) => Some(self.told(truth)),
                Action::Read => bail!("read twice when {name}"),
                _ => None,
            };
            self.judged.verdicts += 1;
            match (own, truth.verdict) {
                // An apply under the agent's name can leave no trace in the metadata. An audit finds it.
                (Some(Verdict::Nothing), _) if self.is_forged && !audit && is_untraced(&record, before) => {}
                // Nothing tells what the API server itself adds to what is owned as a whole, or leaves out.
                (Some(Verdict::Nothing), Some(Verdict::Drift))
                    if self.is_forged && !is_another(&values(&truth.live), &values(&truth.after)) => {}
                // Without entries nothing tells whose the items of a list are that may have another name in another version.
                (Some(Verdict::Reclaim), Some(Verdict::Nothing))
                    if before.is_none() && is_in_several_versions(&truth.live) && self.is_wiped() => {}
                // What such an apply has added is no declared value.
                (Some(Verdict::Reclaim), Some(Verdict::Drift)) if self.is_forged => {}
                (Some(Verdict::Drift), Some(Verdict::Reclaim) | None) if truth.is_changed => {}
                // What lost its label is applied, whatever else is said about it.
                _ if !record.watched => {}
                // Another sync may have taken it.
                _ if matches!(action, Action::Conflict(_)) && is_renamed(&truth.live) => {}
                (Some(own), Some(true_one)) if own != true_one => {
                    self.differ(truth, format!("{own:?} instead of {true_one:?} when {name}: {action:?}"));
                }
                (Some(Verdict::Drift), None) | (None, _) => {
                    self.differ(truth, format!("{own:?} instead of {:?} when {name}: {action:?}", truth.verdict));
                }
                _ => {}
            }
            running.get_or_insert((record, action));
        }
        let (record, action) = running.context("judged")?;
        let mode = repair(&record, &action);
        Ok((record, mode))
    }

    fn decided(&self, live: &Object, before: Option<&Live>, audit: bool) -> (Live, Action) {
        let (seen, declared) = (Observed::of(live), &self.declared);
        let mut record = Live::observe(&seen, &declared.id, &self.sync, Some(declared), before);
        let decision = |record: &Live| decide(Declared::Object(declared), Some(record), &self.sync);
        if audit || decision(&record) == Action::Read {
            record = Live::after_read(&seen, live, &self.sync, declared, before);
        }
        let action = decision(&record);
        (record, action)
    }

    /// The verdict about what the agent applies: users are told of it unless all declared values are the same afterwards.
    fn told(&self, truth: &Truth) -> Verdict {
        if diff::is_same(&self.declared.body(), &truth.live, &truth.after) { Verdict::Reclaim } else { Verdict::Drift }
    }

    /// `true` if another client has written `metadata.managedFields`.
    fn is_wiped(&self) -> bool {
        self.history.iter().any(|change| change.contains("\"managedFields\":["))
    }

    fn differ(&mut self, truth: &Truth, what: String) {
        let mut told = format!("{what}\n    declared {}", self.body);
        for change in &self.history {
            told.push_str(&format!("\n    {change}"));
        }
        told.push_str(&format!("\n    live  {}\n    after {}", json!(truth.live.0), json!(truth.after.0)));
        self.judged.differences.push(told);
    }
}

/// The apply by which the agent repairs the object.
fn repair(record: &Live, action: &Action) -> Option<ApplyMode> {
    match action {
        Action::Apply(_) if record.owner != Owner::Us => Some(ApplyMode::TakeOver(record.version)),
        Action::Apply(Cause::Drifted(missing)) if missing.iter().any(|path| is_list_item(path)) => {
            Some(ApplyMode::Reclaim)
        }
        Action::Apply(_) if record.former_writer => Some(ApplyMode::HandOver),
        Action::Apply(_) => Some(ApplyMode::Update(record.uid.clone())),
        _ => None,
    }
}

/// `true` if the API server says that no change of the object gives it the declared value back, or that a controller writes it.
fn is_unchangeable(why: &Finding) -> bool {
    const WORDS: [&str; 17] = [
        "field is immutable",
        "is immutable after creation",
        "cannot change roleRef",
        "may not be changed in an update",
        "may not change once set",
        "pod updates may not change fields other than",
        "existing toleration can not be modified",
        "must be less than or equal to previous value",
        "field can not be less than",
        "node updates may not change providerID",
        "was previously a storage version",
        "only dynamically provisioned pvc can be resized",
        "the object has been modified",
        "only deletion is allowed",
        "only additions to spec.nodeSelector are allowed",
        // Together with a field that is not declared.
        "can only be modified in tandem with",
        // The API server gives a Job this label, unless others have set `manualSelector`.
        "spec.template.metadata.labels[controller-uid]",
    ];
    // The words about a Secret are not told.
    let is_hidden =
        || why.message.contains("refuses it (HTTP 422)") && why.hint.iter().any(|it| it.contains("keeps its value"));
    WORDS.iter().any(|words| why.message.contains(words)) || is_hidden()
}

fn is_in_several_versions(object: &Object) -> bool {
    let entries = Observed::of(object).managed_fields;
    entries.windows(2).any(|pair| pair[0].api_version != pair[1].api_version)
}

/// `true` if the annotation names another sync.
fn is_renamed(live: &Object) -> bool {
    live.annotation(annotation::MANAGER).is_some_and(|manager| manager != sync().manager())
}

/// Words of a change that is an apply under the agent's name.
const FORGED: &str = "fieldManager=configsync.gke.io&";

/// `true` if the entry of the agent is the one of its last apply, or if that is not known.
fn is_untraced(record: &Live, before: Option<&Live>) -> bool {
    before.is_none_or(|before| before.fields == FieldOwnership::Ours && record.has_entry_of(before))
}
