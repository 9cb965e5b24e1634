//! Events of a sync for users: lines in the log and Kubernetes Events.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use super::now;
use crate::compile::declared::{DeclaredObject, without_items};
use crate::io::journal::{
    Journal, JournalChange, JournalChanges, JournalCommit, JournalDiff, JournalEntry, JournalEvent, JournalRepair,
};
use crate::io::kubernetes::client::{Cluster, collection};
use crate::io::kubernetes::events::{EventPublisher, Regarding, Severity};
use crate::io::kubernetes::path::{name_selector, with_query};
use crate::model::finding::{Finding, text};
use crate::model::metadata::SyncId;
use crate::model::object::Object;
use crate::sync::diff;
use crate::sync::engine::{Adopted, DeclaredChange, DeclaredChanges, Notice, Repaired, Rewritten};

/// Announces the events of one sync, one after the other. Status and record do not wait for it.
pub struct Announcer {
    /// For Events, which the agent writes.
    cluster: Arc<Cluster>,
    /// For objects: a sync is shown what its account may read.
    of_sync: Arc<Cluster>,
    /// The subject of Events about the sync itself; `None` without a sync object.
    sync: Option<Regarding>,
    events: EventPublisher,
    of: SyncId,
    journal: Arc<Journal>,
}

impl Announcer {
    /// `of_sync` acts as the account of the sync. `uid` is that of the sync object, if there is one.
    pub fn new(of_sync: Arc<Cluster>, sync: &SyncId, uid: Option<&str>, journal: Arc<Journal>) -> Self {
        let (cluster, regarding) = (Arc::new(of_sync.as_agent()), uid.map(|uid| Regarding::sync(sync, uid)));
        let events = EventPublisher::default();
        Self { cluster, of_sync, sync: regarding, events, of: sync.clone(), journal }
    }

    /// Announces what comes, until the sender is gone.
    pub async fn run(mut self, mut notices: mpsc::Receiver<Notice>) {
        while let Some(notice) = notices.recv().await {
            self.announce(notice).await;
        }
    }

    /// Logs an event and publishes it. A Kubernetes Event that cannot be published is left out.
    async fn announce(&mut self, notice: Notice) {
        match notice {
            Notice::Syncing { commit, objects, changes } => {
                tracing::info!(commit, objects, "syncing");
                let changes = changes.as_ref().map(journal_changes);
                self.keep(JournalEvent::InForce(JournalCommit { commit, objects, changes }));
            }
            Notice::Synced { commit, applied, pruned } => {
                tracing::info!(commit, applied, pruned, "synced");
                if applied + pruned > 0 {
                    let note = format!("Synced {commit}: {applied} applied, {pruned} pruned");
                    self.publish(Severity::Normal, "Synced", &note).await;
                }
            }
            Notice::Failed(finding) => {
                tracing::error!(code = %finding.code, "{}", text(&finding));
                let (code, message) = (finding.code.to_string(), finding.message.clone());
                self.keep(JournalEvent::Failed { code, message });
                self.warn(&finding).await;
            }
            Notice::Kept(container, object) => {
                let note = format!("{container} is not declared any more and stays, because {object} in it stays");
                tracing::warn!("{note}");
                self.publish(Severity::Warning, "Kept", &note).await;
            }
            Notice::Rewritten(rewritten) => self.rewritten(&rewritten).await,
            Notice::Adopted(adopted) => self.adopted(&adopted).await,
            Notice::Repaired(repair) => self.repaired(&repair).await,
        }
    }

    async fn adopted(&mut self, adopted: &Adopted) {
        let Adopted { declared, uid, from } = adopted;
        let names: Vec<&str> = from.iter().map(|writer| writer.manager).collect();
        let note = format!("Adopted {} from {}", declared.id, names.join(", "));
        let (severity, note) = match from.iter().find_map(|writer| writer.warning) {
            Some(warning) => (Severity::Warning, format!("{note}; {warning}")),
            None => (Severity::Normal, note),
        };
        match severity {
            Severity::Normal => tracing::info!("{note}"),
            Severity::Warning => tracing::warn!("{note}"),
        }
        let regarding = regarding(declared, uid, self.sync.as_ref());
        publish(&mut self.events, &self.cluster, &regarding, severity, "Adopted", &note).await;
    }

    async fn rewritten(&mut self, rewritten: &Rewritten) {
        let Rewritten { declared, uid, fields } = rewritten;
        let (id, fields) = (&declared.id, fields.join(", "));
        tracing::warn!(object = %id, fields, "came back different from our apply: the server or an admission webhook changed it");
        let note = format!("{id} came back different from the apply: the API server or admission changed {fields}");
        let regarding = regarding(declared, uid, self.sync.as_ref());
        publish(&mut self.events, &self.cluster, &regarding, Severity::Warning, "Rewritten", &note).await;
    }

    async fn repaired(&mut self, repair: &Repaired) {
        let Repaired { declared, uid, version, .. } = repair;
        let id = &declared.id;
        let body = declared.body();
        let before = if *version > 0 { self.at(declared, *version).await } else { None };
        let now = if before.is_some() { self.now(declared).await } else { None };
        let what = change(repair, before.as_ref());
        if let (Some(before), Some(now)) = (&before, &now)
            && diff::is_same(&body, before, now)
        {
            tracing::debug!(object = %id, "field ownership taken back: {what}");
            return;
        }
        // The diff masks the data of Secrets alone. The object may still have what was secret before when it is declared without.
        let is_shown = |before: &Object| ![&body, before].into_iter().any(Object::hides_values);
        let fields = shown_fields(repair, before.as_ref());
        let diff = match before {
            Some(live) if is_shown(&live) => JournalDiff::Lines(diff::repair(&body, &live)),
            Some(_) => JournalDiff::Withheld,
            None => JournalDiff::Unknown,
        };
        let lines = if let JournalDiff::Lines(lines) = &diff { format!("\n{lines}") } else { String::new() };
        tracing::info!(object = %id, "drift corrected: {what}{lines}");
        let (object, by, deleted) = (id.clone(), repair.by.clone(), *version == 0);
        self.keep(JournalEvent::Repaired(JournalRepair { object, by, fields, deleted, diff, times: 1 }));
        let note = format!("Drift corrected: {id}: {what}");
        let regarding = regarding(declared, uid, self.sync.as_ref());
        publish(&mut self.events, &self.cluster, &regarding, Severity::Normal, "DriftCorrected", &note).await;
    }

    /// Keeps an event for the page.
    fn keep(&self, event: JournalEvent) {
        let at = now().time.unix().unwrap_or_default();
        self.journal.keep(JournalEntry { at, sync: self.of.clone(), event });
    }

    /// The object as it was at resource version `version`, where the API server still has it. The repair is done by now: drift is put back
    /// before anything is read for the log.
    async fn at(&self, declared: &DeclaredObject, version: u64) -> Option<Object> {
        let id = &declared.id;
        let served = self.of_sync.served_in(&id.group_kind(), declared.version()).await.ok()?;
        let (selector, version) = (name_selector(id.name()), version.to_string());
        let query = [("fieldSelector", &*selector), ("resourceVersion", &version), ("resourceVersionMatch", "Exact")];
        let path = with_query(&collection(&served, id.namespace()), &query);
        let list: Value = self.of_sync.get(&path).await.ok()?;
        serde_json::from_value(list["items"].as_array()?.first()?.clone()).ok()
    }

    /// The object as it is after a repair.
    async fn now(&self, declared: &DeclaredObject) -> Option<Object> {
        let path = self.of_sync.path(&declared.id, declared.version()).await.ok()?;
        self.of_sync.get(&path).await.ok()
    }

    async fn warn(&mut self, finding: &Finding) {
        self.publish(Severity::Warning, &finding.code.to_string(), &text(finding)).await;
    }

    /// Publishes an Event about the sync itself.
    async fn publish(&mut self, severity: Severity, reason: &str, note: &str) {
        let Some(sync) = &self.sync else { return };
        publish(&mut self.events, &self.cluster, sync, severity, reason, note).await;
    }
}

/// Bytes of an object of which the page shows what a commit changed.
const LARGEST: usize = 16 << 10;

/// The change of an object by a commit, if that may be shown.
fn difference([before, after]: [Object; 2]) -> JournalDiff {
    match [&before, &after].into_iter().any(Object::hides_values) {
        true => JournalDiff::Withheld,
        false => JournalDiff::Lines(diff::commits(&before, &after)),
    }
}

/// The changes of a commit, with those differences that may be shown.
fn journal_changes(changes: &DeclaredChanges) -> JournalChanges {
    let first = changes.first.iter().filter_map(|change| match change {
        DeclaredChange { before: None, after: None } => None,
        DeclaredChange { before: None, after: Some(after) } => Some((after.id.clone(), JournalChange::Added)),
        DeclaredChange { before: Some(before), after: None } => Some((before.id.clone(), JournalChange::Removed)),
        DeclaredChange { before: Some(before), after: Some(after) } => {
            let diff = match [before, after].iter().any(|form| form.text_bytes() > LARGEST) {
                true => JournalDiff::Unknown,
                false => difference([before.body(), after.body()]),
            };
            Some((after.id.clone(), JournalChange::Changed(diff)))
        }
    });
    JournalChanges { counts: [changes.added, changes.changed, changes.removed], first: first.collect() }
}

/// The object itself as the subject of an Event, with its sync.
fn regarding(declared: &DeclaredObject, uid: &str, sync: Option<&Regarding>) -> Regarding {
    let id = &declared.id;
    Regarding {
        api_version: declared.body().api_version().to_owned(),
        kind: id.kind().to_owned(),
        namespace: id.namespace().to_owned(),
        name: id.name().to_owned(),
        uid: uid.to_owned(),
        related: sync.cloned().map(Box::new),
    }
}

async fn publish(
    events: &mut EventPublisher,
    cluster: &Cluster,
    regarding: &Regarding,
    severity: Severity,
    reason: &str,
    note: &str,
) {
    if let Err(error) = events.publish(cluster, regarding, severity, reason, note).await {
        tracing::debug!(%error, "cannot publish an Event");
    }
}

/// The change that was put back, in words, as in `kubectl changed .spec.replicas`. `before` is the object with the change, if it is known.
fn change(repair: &Repaired, before: Option<&Object>) -> String {
    let by = repair.by.as_deref().unwrap_or("another client");
    match (repair.version, shown_fields(repair, before).as_slice()) {
        (0, _) => "it was deleted".to_owned(),
        (_, []) => format!("{by} took its field ownership away"),
        (_, fields) => format!("{by} changed {}", fields.join(", ")),
    }
}

/// The fields that were changed. Their paths name items of lists by values, and the object may have had secret ones.
fn shown_fields(repair: &Repaired, before: Option<&Object>) -> Vec<String> {
    match before.is_none_or(Object::is_confidential) {
        true => without_items(&repair.fields),
        false => repair.fields.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::model::metadata::annotation;

    #[test]
    fn what_was_or_becomes_secret_is_not_shown_of_a_commit() {
        let object = |annotations: Value, x: u8| -> Object {
            let metadata = json!({"name": "a", "annotations": annotations});
            serde_json::from_value(json!({"apiVersion": "x/v1", "kind": "X", "metadata": metadata, "x": x}))
                .expect("a map")
        };
        let (plain, sealed) = (json!({}), json!({annotation::SEALED: "true"}));
        let shown = difference([object(plain.clone(), 1), object(plain.clone(), 2)]);
        assert!(matches!(&shown, JournalDiff::Lines(lines) if lines.contains("-x: 1")), "{shown:?}");
        assert_eq!(difference([object(sealed.clone(), 1), object(plain.clone(), 2)]), JournalDiff::Withheld);
        assert_eq!(difference([object(plain, 1), object(sealed, 2)]), JournalDiff::Withheld);
        let copied = json!({annotation::APPLY_TIME_MUTATION: "- x"});
        assert_eq!(difference([object(copied.clone(), 1), object(copied, 2)]), JournalDiff::Withheld);
    }

    #[test]
    fn values_by_which_a_path_names_an_item_are_not_told_of_what_was_secret() {
        let object = |annotations: Value| -> Object {
            let metadata = json!({"name": "a", "annotations": annotations});
            serde_json::from_value(json!({"apiVersion": "x/v1", "kind": "X", "metadata": metadata})).expect("a map")
        };
        let repair = Repaired {
            declared: Arc::new(DeclaredObject::new(object(json!({})))),
            uid: String::new(),
            fields: vec![".spec.args[hunter2]".to_owned()],
            by: Some("kubectl".to_owned()),
            version: 1,
            after: Duration::ZERO,
        };
        for (before, expected) in [
            (Some(object(json!({annotation::SEALED: "true"}))), "kubectl changed .spec.args"),
            (Some(object(json!({}))), "kubectl changed .spec.args[hunter2]"),
            (None, "kubectl changed .spec.args"),
        ] {
            assert_eq!(change(&repair, before.as_ref()), expected);
        }
    }
}
