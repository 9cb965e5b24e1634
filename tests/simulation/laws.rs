//! The laws that hold after every step, whatever happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent::compile::declared::{DeclaredObject, DeclaredSet};
use agent::model::metadata::{FIELD_MANAGER, SyncId, annotation, label};
use agent::model::object::ObjectId;
use sandbox::answer::Incoming;
use sandbox::object;
use serde_json::Value;

use crate::server::{APPLY, MERGE, Server, about, id};
use crate::source::OBJECTS;

/// Deletions without an approval within an hour, where there are no more than ten objects.
const BUDGET: usize = 10;
/// The time for which a deletion counts.
const WINDOW: Duration = Duration::from_secs(3600);

/// What the laws need to remember.
#[derive(Default)]
pub(crate) struct Laws {
    pub(crate) syncs: Vec<SyncId>,
    /// The sync that applied an object last, by the object's uid.
    pub(crate) owners: BTreeMap<String, usize>,
    /// Objects that others took the stamp off after the last apply: they need not be deleted, even with the stamp on again.
    taken: BTreeSet<String>,
    /// Objects of which the API server said to their owner that they are not there.
    denied: BTreeSet<String>,
    activations: BTreeMap<usize, Activation>,
    /// Approved commits.
    pub(crate) approved: BTreeSet<(usize, String)>,
    /// Syncs that began without a record: an object that carries all that an apply of theirs leaves is deleted with an approval.
    pub(crate) unrecorded: BTreeSet<usize>,
    /// When a sync deleted without an approval.
    pub(crate) pruned: BTreeMap<usize, Vec<Duration>>,
    /// Objects that were compared, with their revision and declared hash.
    compared: BTreeMap<(usize, ObjectId), (String, String)>,
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
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) after: Option<Arc<Value>>,
    /// It comes from a process that has ended, or from a request that was given up.
    pub(crate) late: bool,
    /// The time since the world began.
    pub(crate) time: Duration,
}

impl Laws {
    pub(crate) fn new(syncs: Vec<SyncId>) -> Self {
        Self { syncs, ..Self::default() }
    }

    pub(crate) fn breaks(&mut self, law: impl Into<String>) {
        self.broken.get_or_insert(law.into());
    }

    /// A request was performed.
    pub(crate) fn written(&mut self, written: &Written<'_>) {
        let Written { sync, incoming, before, after, .. } = written;
        if incoming.method == "GET" {
            return;
        }
        self.writes.push(format!("{} {} by {sync}", incoming.method, incoming.path));
        let place = about(incoming);
        if ["resourcegroups", "rootsyncs"].contains(&place.resource.as_str()) {
            let own = &self.syncs[*sync].name;
            if place.name != *own && !place.name.starts_with(&format!("{own}-")) {
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
            && is_stamped(before, &self.syncs[other])
            && is_applied(before)
            && !self.denied.contains(object::uid(before))
        {
            self.breaks(format!("sync {sync} writes to {}, which is sync {other}'s", incoming.path));
        }
        match (incoming.method.as_str(), incoming.content_type.as_str()) {
            ("DELETE", _) => self.deleted(written),
            ("PATCH", APPLY) => {
                let uid = after.as_ref().map(|after| object::uid(after).to_owned()).unwrap_or_default();
                self.taken.remove(&uid);
                self.denied.remove(&uid);
                self.owners.insert(uid, *sync);
            }
            ("PATCH", MERGE) => {
                let after =
                    after.as_ref().map(|after| (object::uid(after).to_owned(), is_stamped(after, &self.syncs[*sync])));
                match after {
                    Some((uid, true)) => _ = self.owners.insert(uid, *sync),
                    Some((uid, false)) => _ = self.owners.remove(&uid),
                    None => {}
                }
            }
            _ => self.breaks(format!("no such request: {} {}", incoming.method, incoming.path)),
        }
    }

    /// Others wrote.
    pub(crate) fn acted(&mut self, server: &Server) {
        for (_, live) in server.state.store.all() {
            let owner = self.owners.get(object::uid(live));
            if owner.is_some_and(|sync| !is_stamped(live, &self.syncs[*sync])) {
                self.taken.insert(object::uid(live).to_owned());
            }
        }
    }

    fn deleted(&mut self, written: &Written<'_>) {
        let (sync, path) = (written.sync, &written.incoming.path);
        let Some(before) = &written.before else { return };
        let uid = object::uid(before).to_owned();
        let commit = self.activations.get(&sync).map(|activation| activation.commit.clone());
        let approved = commit.is_some_and(|commit| self.approved.contains(&(sync, commit)));
        if self.owners.get(&uid) != Some(&sync) && !(approved && self.unrecorded.contains(&sync)) {
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

    /// A sync has heard that its approval is taken back. `leaving` as for [`Laws::in_force`].
    pub(crate) fn revoked(&mut self, sync: usize, server: &Server, leaving: &BTreeSet<String>) {
        self.approved.retain(|(other, _)| *other != sync);
        if let Some(activation) = self.activations.get(&sync) {
            self.in_force(sync, activation.commit.clone(), server, leaving);
        }
    }

    /// A commit came in force. `leaving` are the uids that deletions on their way name.
    pub(crate) fn in_force(&mut self, sync: usize, commit: String, server: &Server, leaving: &BTreeSet<String>) {
        let all = server.state.store.all().map(|(_, object)| object);
        let ours = all.filter(|one| self.owners.get(object::uid(one)) == Some(&sync));
        let ours = ours.filter(|one| is_stamped(one, &self.syncs[sync]) && !object::is_deleting(one));
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

    /// `true` for an object of the sync that nothing has taken from it.
    fn is_left(&self, sync: usize, live: &Value) -> bool {
        let uid = object::uid(live);
        let is_known = !self.taken.contains(uid) && !self.denied.contains(uid);
        self.owners.get(uid) == Some(&sync) && is_known && is_stamped(live, &self.syncs[sync])
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
        if !is_stamped(&live, &self.syncs[sync]) {
            return Err("has not its stamp".to_owned());
        }
        let annotation = |key: &str| live["metadata"]["annotations"][key].as_str().unwrap_or_default().to_owned();
        let body = declared.applied(&annotation(annotation::TOKEN), &annotation(annotation::GIT_CONTEXT));
        let body = serde_json::to_value(body).expect("an object");
        let path =
            OBJECTS.iter().find(|one| one.id() == declared.id).map(crate::source::Template::path).unwrap_or_default();
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true&dryRun=All");
        let applied =
            server.ask("PATCH", &path, APPLY, &body).map_err(|(code, why)| format!("is refused: {code} {why}"))?;
        let (applied, live) = (comparable(&applied), comparable(&live));
        if applied != live {
            return Err(format!("is {live} and an apply makes it {applied}"));
        }
        self.compared.insert(place, compared);
        Ok(())
    }
}

/// `true` if the object has all that a sync puts on its own.
pub(crate) fn is_stamped(live: &Value, sync: &SyncId) -> bool {
    let (metadata, id) = (&live["metadata"], id(live));
    metadata["labels"][label::PART_OF] == sync.part_of().as_str()
        && metadata["annotations"][annotation::MANAGER] == sync.manager().as_str()
        && metadata["annotations"][annotation::MANAGED] == "enabled"
        && metadata["annotations"][annotation::RESOURCE_ID] == id.resource_id().as_str()
}

/// `true` if the entry of an apply of the agent is on the object: without it any client may have written all the rest.
pub(crate) fn is_applied(live: &Value) -> bool {
    let ours = |entry: &Value| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply";
    live["metadata"]["managedFields"].as_array().is_some_and(|entries| entries.iter().any(ours))
}

/// The object without what every write changes.
fn comparable(whole: &Value) -> Value {
    let mut whole = whole.clone();
    for key in ["managedFields", "resourceVersion", "generation"] {
        object::remove(&mut whole, key);
    }
    whole
}
