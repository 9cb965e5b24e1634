//! The laws that hold after every step, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent::compile::declared::{DeclaredObject, DeclaredSet};
use agent::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
use agent::model::object::{GroupKind, ObjectId};
use sandbox::answer::Incoming;
use sandbox::object;
use sandbox::route::Place;
use serde_json::Value;

use crate::server::{APPLY, MERGE, Server, id};
use crate::source::OBJECTS;

/// Deletions without an approval within an hour, where there are no more than ten objects.
const BUDGET: usize = 10;
/// The time for which a deletion counts.
const WINDOW: Duration = Duration::from_secs(3600);

/// What the laws need to remember.
#[derive(Default)]
pub(crate) struct Laws {
    pub(crate) syncs: Vec<SyncId>,
    stamps: Vec<Stamp>,
    /// The sync that applied an object last, by the object's uid.
    pub(crate) owners: BTreeMap<String, usize>,
    /// Objects that others took the stamp off after the last apply, and those that were applied while the agent had not found out yet that a
    /// backup was restored: they need not be deleted, and other syncs may have them, even with the stamp on again.
    taken: BTreeSet<String>,
    /// Objects of which the API server said to their owner that they are not there.
    denied: BTreeSet<String>,
    /// Objects that others made with all that an apply of a sync leaves, under a name that the sync's record had, or that the sync has
    /// applied since, be it in vain: the sync itself may have sent this apply and heard no answer. They cannot be told from its own.
    mistaken: BTreeSet<(usize, String)>,
    activations: BTreeMap<usize, Activation>,
    /// Approved commits.
    pub(crate) approved: BTreeSet<(usize, String)>,
    /// Syncs that began without a record: an object that carries all that an apply of theirs leaves is deleted with an approval.
    pub(crate) unrecorded: BTreeSet<usize>,
    /// When a sync deleted without an approval.
    pub(crate) pruned: BTreeMap<usize, Vec<Duration>>,
    /// Objects that were compared, with their revision and declared hash.
    compared: BTreeMap<(usize, ObjectId), (String, String)>,
    /// The body of the apply that made an object what it is, by the object's uid, with the revision that it left.
    applied: BTreeMap<String, (String, Vec<u8>)>,
    /// Requests that could have changed something.
    pub(crate) writes: Vec<String>,
    /// The first law that was broken.
    pub(crate) broken: Option<String>,
}

/// The time since a commit came in force.
struct Activation {
    commit: String,
    /// The objects that were the sync's then.
    ours: BTreeSet<String>,
    /// Those of them that the sync has deleted since.
    deleted: BTreeSet<String>,
}

/// A request of a sync, with its object before and after.
pub(crate) struct Written<'a> {
    pub(crate) sync: usize,
    pub(crate) incoming: &'a Incoming,
    /// What it is about.
    pub(crate) place: &'a Place,
    /// The uid of its object, if that was the sync's own when the request was sent, as far as it had heard.
    pub(crate) own: Option<&'a str>,
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) after: Option<Arc<Value>>,
    /// It comes from a process that has ended, or from a request that was given up.
    pub(crate) late: bool,
    /// A backup was restored, and the agent has not found out yet.
    pub(crate) restored: bool,
    /// The time since the world began.
    pub(crate) time: Duration,
}

impl Laws {
    pub(crate) fn new(syncs: Vec<SyncId>) -> Self {
        let stamps = syncs.iter().map(Stamp::of).collect();
        Self { syncs, stamps, ..Self::default() }
    }

    pub(crate) fn breaks(&mut self, law: impl Into<String>) {
        self.broken.get_or_insert(law.into());
    }

    /// A request is sent, and may be refused for want of a right. `before` is its object.
    pub(crate) fn sent(&mut self, sync: usize, incoming: &Incoming, place: &Place, before: Option<&Value>) {
        if !is_write(incoming) || is_report(place) {
            return;
        }
        let is_forged = |live: &&Value| {
            self.stamps[sync].is_on(live) && is_applied(live) && !self.owners.contains_key(object::uid(live))
        };
        if let Some(forged) = before.filter(is_forged).filter(|_| incoming.content_type == APPLY) {
            self.mistaken.insert((sync, object::uid(forged).to_owned()));
        }
        let of = &self.syncs[sync];
        if incoming.impersonated != of.user() {
            self.breaks(format!("sync {sync} sends {} {} not with its own rights", incoming.method, incoming.path));
        } else if of.scope().is_some_and(|scope| scope != place.namespace) {
            self.breaks(format!("sync {sync} writes outside its Namespace: {} {}", incoming.method, incoming.path));
        }
    }

    /// A request was performed.
    pub(crate) fn written(&mut self, written: &Written<'_>) {
        let Written { sync, incoming, place, own, before, after, restored, .. } = written;
        if !is_write(incoming) {
            return;
        }
        self.writes.push(format!("{} {} by {sync}", incoming.method, incoming.path));
        if is_report(place) {
            let own = &self.syncs[*sync];
            if place.namespace != own.namespace || !is_record(&place.name, own) {
                self.breaks(format!("sync {sync} writes {}", incoming.path));
            }
            return;
        }
        let changed = match (before, after) {
            (Some(before), Some(after)) => object::revision(before) != object::revision(after),
            (before, after) => before.is_some() != after.is_some(),
        };
        if !changed {
            return;
        }
        if let Some(before) = before
            && let Some(other) = self.owners.get(object::uid(before)).copied()
            && other != *sync
            && !self.takes_over(*sync, other)
            // The sync had not heard yet that it was taken over. Its request names no version: drift is put back though others write.
            && !(*own == Some(object::uid(before)) && self.takes_over(other, *sync))
            && self.stamps[other].is_on(before)
            && is_applied(before)
            && ![&self.denied, &self.taken].iter().any(|lost| lost.contains(object::uid(before)))
        {
            self.breaks(format!("sync {sync} writes to {}, which is sync {other}'s", incoming.path));
        }
        match (incoming.method.as_str(), incoming.content_type.as_str()) {
            ("DELETE", _) => self.deleted(written),
            ("PATCH", APPLY) => {
                let uid = after.as_ref().map(|after| object::uid(after).to_owned()).unwrap_or_default();
                let revision = after.as_ref().map(|after| object::revision(after).to_owned()).unwrap_or_default();
                self.applied.insert(uid.clone(), (revision, incoming.body.clone()));
                self.denied.remove(&uid);
                // The agent ends when it finds out, and the restored record may not name the object: then nothing says that it is a sync's.
                if *restored {
                    self.taken.insert(uid.clone());
                } else {
                    self.taken.remove(&uid);
                }
                self.owners.insert(uid, *sync);
            }
            ("PATCH", MERGE) => {
                let after =
                    after.as_ref().map(|after| (object::uid(after).to_owned(), self.stamps[*sync].is_on(after)));
                match after {
                    Some((uid, true)) => _ = self.owners.insert(uid, *sync),
                    Some((uid, false)) => _ = self.owners.remove(&uid),
                    None => {}
                }
            }
            _ => self.breaks(format!("no such request: {} {}", incoming.method, incoming.path)),
        }
    }

    /// An earlier state of the cluster is back: its revisions count anew.
    pub(crate) fn restored(&mut self) {
        self.pruned.clear();
        self.compared.clear();
        self.applied.clear();
    }

    /// `true` if a sync may take objects over from another one: a RootSync from a tenant.
    fn takes_over(&self, sync: usize, other: usize) -> bool {
        self.syncs[sync].scope().is_none() && self.syncs[other].scope().is_some()
    }

    /// Others wrote.
    pub(crate) fn acted(&mut self, server: &Server) {
        for (_, live) in server.state.store.all() {
            let owner = self.owners.get(object::uid(live));
            if owner.is_some_and(|sync| !self.stamps[*sync].is_on(live)) {
                self.taken.insert(object::uid(live).to_owned());
            }
        }
        self.recorded(server);
    }

    /// What others have made of an object may count as a sync's own if the record of the sync names the object, which a commit declared.
    pub(crate) fn recorded(&mut self, server: &Server) {
        server.state.store.all().for_each(|(_, live)| self.recorded_one(server, live));
    }

    /// As [`Laws::recorded`], of one object.
    pub(crate) fn recorded_one(&mut self, server: &Server, live: &Value) {
        // Others may also write over the object of one sync what makes it another one's.
        let owner = self.owners.get(object::uid(live));
        if owner.is_some_and(|owner| self.stamps[*owner].is_on(live)) || !is_applied(live) {
            return;
        }
        let all = self.syncs.iter().zip(&self.stamps).enumerate();
        let named = all.filter(|(_, (of, stamp))| stamp.is_on(live) && is_recorded(server, of, &id(live)));
        self.mistaken.extend(named.map(|(sync, _)| (sync, object::uid(live).to_owned())));
    }

    fn deleted(&mut self, written: &Written<'_>) {
        let (sync, path) = (written.sync, &written.incoming.path);
        let Some(before) = &written.before else { return };
        let uid = object::uid(before).to_owned();
        let commit = self.activations.get(&sync).map(|activation| activation.commit.clone());
        let approved = commit.is_some_and(|commit| self.approved.contains(&(sync, commit)));
        let is_mistaken = self.mistaken.contains(&(sync, uid.clone()));
        if self.owners.get(&uid) != Some(&sync) && !is_mistaken && !(approved && self.unrecorded.contains(&sync)) {
            self.breaks(format!("sync {sync} deletes {path}, which was never its own"));
        }
        let Some(activation) = self.activations.get_mut(&sync).filter(|_| !written.late) else { return };
        if activation.ours.contains(&uid) {
            activation.deleted.insert(uid);
        }
        let everything = activation.ours.len() >= 2 && activation.deleted == activation.ours;
        if self.approved.contains(&(sync, activation.commit.clone())) {
            return;
        }
        if everything {
            let law = format!("commit {} deletes all objects of sync {sync} without approval", activation.commit);
            self.breaks(law);
        }
        let pruned = self.pruned.entry(sync).or_default();
        pruned.retain(|at| *at + WINDOW > written.time);
        pruned.push(written.time);
        if pruned.len() > BUDGET {
            self.breaks(format!("sync {sync} deletes more than {BUDGET} objects within an hour without approval"));
        }
    }

    /// A sync has heard of an approval.
    pub(crate) fn approve(&mut self, sync: usize, approval: &str) {
        self.approved.extend(approval.split_once('.').map(|(commit, _)| (sync, commit.to_owned())));
    }

    /// A sync has heard that its approval is taken back. `leaving` and `unheard` as for [`Laws::in_force`].
    pub(crate) fn revoked(&mut self, sync: usize, server: &Server, leaving: &BTreeSet<String>, unheard: bool) {
        self.approved.retain(|(other, _)| *other != sync);
        if let Some(activation) = self.activations.get(&sync) {
            self.in_force(sync, activation.commit.clone(), server, leaving, unheard);
        }
    }

    /// A commit came in force. `leaving` are the uids that deletions on their way name. `unheard` is `true` if the sync has not heard yet
    /// that it has lost an object: the commit may keep it, so that it does not delete all objects that the sync knows of.
    pub(crate) fn in_force(
        &mut self,
        sync: usize,
        commit: String,
        server: &Server,
        leaving: &BTreeSet<String>,
        unheard: bool,
    ) {
        // No watch shows when an object without the label loses the rest of its stamp: the commit may keep it, as far as the sync knows.
        let is_lost = |one: &Value| self.owners.get(object::uid(one)) == Some(&sync) && self.stamps[sync].is_off(one);
        let unheard = unheard || server.state.store.all().any(|(_, one)| is_lost(one));
        let all = server.state.store.all().map(|(_, object)| object).filter(|_| !unheard);
        let counts = |uid: &str| self.owners.get(uid) == Some(&sync) || self.mistaken.contains(&(sync, uid.to_owned()));
        let ours = all.filter(|one| counts(object::uid(one)));
        // One that has lost only its label is left where it is.
        let ours = ours.filter(|one| self.stamps[sync].is_annotated(one) && !object::is_deleting(one));
        let ours = ours.map(|one| object::uid(one).to_owned()).filter(|uid| !leaving.contains(uid)).collect();
        self.activations.insert(sync, Activation { commit, ours, deleted: BTreeSet::new() });
    }

    /// A sync says that it is synced. `is_told` is `true` for objects about which the sync has heard everything.
    pub(crate) fn synced(
        &mut self,
        sync: usize,
        set: &DeclaredSet,
        server: &mut Server,
        is_told: impl Fn(&Server, &ObjectId) -> bool,
    ) {
        for (id, declared) in &set.objects {
            if is_told(server, id)
                && let Err(wrong) = self.is_as_declared(sync, declared, server)
            {
                self.breaks(format!("sync {sync} says that it is synced, but {id} {wrong}"));
            }
        }
        let left: Vec<ObjectId> = OBJECTS
            .iter()
            .map(crate::source::Template::id)
            .filter(|id| !set.objects.contains_key(id) && is_told(server, id))
            .filter(|id| server.find(id).is_some_and(|live| self.is_left(sync, live)))
            .collect();
        if let Some(id) = left.first() {
            self.breaks(format!(
                "sync {sync} says that it is synced, but {id} is there, is its own and is not declared"
            ));
        }
    }

    /// `true` for an object that others delete or have taken the stamp off.
    pub(crate) fn is_taken(&self, live: &Value) -> bool {
        object::is_deleting(live) || self.taken.contains(object::uid(live))
    }

    /// `true` for an object of the sync that nothing has taken from it.
    fn is_left(&self, sync: usize, live: &Value) -> bool {
        let uid = object::uid(live);
        let is_known = !self.taken.contains(uid) && !self.denied.contains(uid);
        self.owners.get(uid) == Some(&sync) && is_known && self.stamps[sync].is_on(live)
    }

    /// The API server answers a sync that this object is not there.
    pub(crate) fn denied(&mut self, sync: usize, live: &Value) {
        if self.owners.get(object::uid(live)) == Some(&sync) {
            self.denied.insert(object::uid(live).to_owned());
        }
    }

    /// Checks that an object is as a sync declares it.
    pub(crate) fn is_as_declared(
        &mut self,
        sync: usize,
        declared: &DeclaredObject,
        server: &mut Server,
    ) -> Result<(), String> {
        let Some(live) = server.find(&declared.id).cloned() else { return Err("is not there".to_owned()) };
        if object::is_deleting(&live) {
            return Err("is being deleted".to_owned());
        }
        if declared.ignores_mutation() {
            return Ok(());
        }
        let compared = (object::revision(&live).to_owned(), declared.hash.to_string());
        let place = (sync, declared.id.clone());
        if self.compared.get(&place) == Some(&compared) {
            return Ok(());
        }
        if !self.stamps[sync].is_on(&live) {
            return Err("has not its stamp".to_owned());
        }
        let annotation = |key: &str| live["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned();
        let body = declared.applied(&annotation(annotation::TOKEN), &annotation(annotation::GIT_CONTEXT));
        let body = Value::Object(body.0);
        if self.is_left_by(&live, &body) {
            self.compared.insert(place, compared);
            return Ok(());
        }
        let path =
            OBJECTS.iter().find(|one| one.id() == declared.id).map(crate::source::Template::path).unwrap_or_default();
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true&dryRun=All");
        let applied =
            server.ask("PATCH", &path, APPLY, &body).map_err(|(code, why)| format!("is refused: {code} {why}"))?;
        if applied != *live {
            return Err(format!("is {live} and an apply makes it {applied}"));
        }
        self.compared.insert(place, compared);
        Ok(())
    }

    /// `true` if nothing has changed the object since an apply of this body: another one would change nothing.
    fn is_left_by(&self, live: &Value, body: &Value) -> bool {
        let applied = self.applied.get(object::uid(live));
        let Some((_, sent)) = applied.filter(|(revision, _)| revision == object::revision(live)) else { return false };
        serde_json::to_vec(body).is_ok_and(|body| body == *sent)
            || serde_json::from_slice::<Value>(sent).is_ok_and(|mut sent| {
                // An apply that only creates names a version.
                object::set(&mut sent, "resourceVersion", "");
                sent == *body
            })
    }
}

/// All that a sync puts on its own objects.
struct Stamp {
    part_of: String,
    manager: String,
}

impl Stamp {
    fn of(sync: &SyncId) -> Self {
        Self { part_of: sync.part_of(), manager: sync.manager() }
    }

    /// `true` if the object has all of it.
    fn is_on(&self, live: &Value) -> bool {
        self.is_labelled(live) && self.is_annotated(live)
    }

    /// `true` if neither the label nor all of the rest is on the object.
    fn is_off(&self, live: &Value) -> bool {
        !self.is_labelled(live) && !self.is_annotated(live)
    }

    fn is_labelled(&self, live: &Value) -> bool {
        live["metadata"]["labels"][label::PART_OF] == self.part_of.as_str()
    }

    /// `true` if the object has all of it but perhaps the label.
    fn is_annotated(&self, live: &Value) -> bool {
        let annotations = &live["metadata"]["annotations"];
        annotations[annotation::MANAGER] == self.manager.as_str()
            && annotations[annotation::MANAGED] == "enabled"
            && annotations[annotation::RESOURCE_ID] == id(live).resource_id().as_str()
    }
}

/// `true` for a request that could change something.
fn is_write(incoming: &Incoming) -> bool {
    incoming.method != "GET" && !incoming.query.has("dryRun")
}

/// `true` for the documents that the agent itself writes: records and statuses.
pub(crate) fn is_report(place: &Place) -> bool {
    ["resourcegroups", "rootsyncs", "reposyncs"].contains(&place.resource.as_str())
}

/// `true` for a ResourceGroup, but not for its status.
pub(crate) fn is_group(place: &Place) -> bool {
    place.resource == "resourcegroups" && place.subresource.is_empty()
}

/// `true` if the record of a sync names the object.
fn is_recorded(server: &Server, sync: &SyncId, id: &ObjectId) -> bool {
    let groups = server.state.store.list("resourcegroups.kpt.dev", &sync.namespace).map(|(_, group)| group);
    let own = groups.filter(|group| is_record(object::name(group), sync));
    let mut named = own.filter_map(|group| group["spec"]["resources"].as_array()).flatten();
    named.any(|one| {
        let text = |key: &str| one[key].as_str().unwrap_or_default();
        *id == ObjectId::new(&GroupKind::new(text("group"), text("kind")), text("namespace"), text("name"))
    })
}

/// `true` for the name of a ResourceGroup with a part of the sync's record.
fn is_record(name: &str, sync: &SyncId) -> bool {
    name == sync.name || name.strip_prefix(&sync.name).is_some_and(|rest| rest.starts_with('-'))
}

/// `true` if the entry of an apply of the agent is on the object: without it any client may have written all the rest.
pub(crate) fn is_applied(live: &Value) -> bool {
    let ours = |entry: &Value| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply";
    live["metadata"]["managedFields"].as_array().is_some_and(|entries| entries.iter().any(ours))
}
