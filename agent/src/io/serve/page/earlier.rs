//! The repairs that an agent before this one made. Events tell of them as long as the API server keeps these, without differences.

use serde_json::Value;

use crate::api::Time;
use crate::io::journal::{JournalDiff, JournalEntry, JournalEvent, JournalRepair};
use crate::io::kubernetes::client::{ApiError, Cluster};
use crate::model::metadata::{SyncId, SyncKind};
use crate::model::object::ObjectId;

/// The Events of repairs, as many as are read.
const PATH: &str = "/apis/events.k8s.io/v1/events?fieldSelector=reason%3DDriftCorrected&limit=500";

/// Those repairs.
///
/// # Errors
/// When Events cannot be read.
pub(super) async fn earlier(cluster: &Cluster) -> Result<Vec<JournalEntry>, ApiError> {
    let list: Value = cluster.get(PATH).await?;
    Ok(list["items"].as_array().into_iter().flatten().filter_map(entry).collect())
}

/// The repair of which an Event tells.
fn entry(event: &Value) -> Option<JournalEntry> {
    if event["reportingController"] != "nomos-agent" || event["reason"] != "DriftCorrected" {
        return None;
    }
    let text = |of: &str, field: &str| event[of][field].as_str().unwrap_or_default().to_owned();
    let kind = match text("related", "kind").as_str() {
        "RootSync" => SyncKind::RootSync,
        "RepoSync" => SyncKind::RepoSync,
        _ => return None,
    };
    let sync = SyncId { kind, namespace: text("related", "namespace"), name: text("related", "name") };
    let version = text("regarding", "apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let [kind, namespace, name] = ["kind", "namespace", "name"].map(|field| text("regarding", field));
    let object = ObjectId::from_parts([group, &kind, &namespace, &name]);
    let what = event["note"].as_str()?.strip_prefix(&format!("Drift corrected: {object}: "))?;
    let (by, fields) = match what.split_once(" changed ") {
        Some((by, fields)) => (Some(by), fields.split(", ").map(str::to_owned).collect()),
        None => (what.strip_suffix(" took its field ownership away"), Vec::new()),
    };
    let by = by.filter(|by| *by != "another client").map(str::to_owned);
    let at = Time(event["eventTime"].as_str()?.to_owned()).unix()?;
    let (deleted, diff) = (what == "it was deleted", JournalDiff::ToldByEvent);
    let repair = JournalRepair { object, by, fields, deleted, diff, times: 1 };
    Some(JournalEntry { at, sync, event: JournalEvent::Repaired(repair) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_repair() {
        let event = |note: &str| {
            json!({
                "reportingController": "nomos-agent", "reason": "DriftCorrected", "eventTime": "1970-01-01T00:01:40.500000Z",
                "related": {"kind": "RepoSync", "namespace": "shop", "name": "repo-sync"},
                "regarding": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web"},
                "note": format!("Drift corrected: deployment.apps/shop/web: {note}"),
            })
        };
        let repair = |note: &str| match entry(&event(note)).expect("a repair") {
            JournalEntry { at: 100, sync, event: JournalEvent::Repaired(repair) }
                if sync == SyncId::repo("shop", "repo-sync") =>
            {
                repair
            }
            other => panic!("{other:?}"),
        };
        let scaled = repair("kubectl changed .spec.replicas, .spec.paused");
        assert_eq!((scaled.by.as_deref(), scaled.fields.len(), scaled.deleted), (Some("kubectl"), 2, false));
        assert_eq!(repair("another client changed .spec.replicas").by, None);
        assert!(repair("it was deleted").deleted);
        assert_eq!(repair("helm took its field ownership away").by.as_deref(), Some("helm"));
        let mut other = event("it was deleted");
        other["reportingController"] = "another".into();
        assert!(entry(&other).is_none());
        assert!(entry(&json!({"reportingController": "nomos-agent", "reason": "DriftCorrected"})).is_none());
    }
}
