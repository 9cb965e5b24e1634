//! Kubernetes Events of the agent: what happened to a sync or to one of its objects, for `kubectl describe` and
//! `kubectl get events`.
//!
//! Each is an object of its own. The recorder of the client library counts up an Event whose reason and object are the
//! same, and drops the newer text: two different drifts of one object would read as the first one twice.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::{Value, json};

use super::client::{ApiError, Cluster};
use crate::api::Time;
use crate::model::metadata::SyncId;

/// Events a sync may publish at once; one more a second after that.
const BURST: f64 = 25.0;
/// Longest text of an Event.
const NOTE: usize = 1000;

/// What an Event is about.
pub struct Regarding {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The incarnation; `kubectl describe` looks for it.
    pub uid: String,
}

impl Regarding {
    /// An Event about a sync itself.
    pub fn sync(sync: &SyncId, uid: &str) -> Self {
        Self {
            api_version: "configsync.gke.io/v1beta1".to_owned(),
            kind: sync.kind.to_string(),
            namespace: sync.namespace.clone(),
            name: sync.name.clone(),
            uid: uid.to_owned(),
        }
    }
}

/// How good the news is.
#[derive(Clone, Copy, Debug)]
pub enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Publishes Events, within limits.
pub struct Events {
    left: f64,
    last: Instant,
}

impl Default for Events {
    fn default() -> Self {
        Self { left: BURST, last: Instant::now() }
    }
}

impl Events {
    /// Publishes one, unless there were too many lately.
    ///
    /// # Errors
    /// When the API server refuses it, as in a Namespace that is being deleted, or cannot be reached.
    pub async fn publish(
        &mut self,
        cluster: &Cluster,
        regarding: &Regarding,
        severity: Severity,
        reason: &str,
        note: &str,
    ) -> Result<(), ApiError> {
        if !self.is_allowed() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = Time::from_unix(now.as_secs()).0;
        let namespace = if regarding.namespace.is_empty() { "default" } else { &regarding.namespace };
        let mut object = json!({
            "apiVersion": regarding.api_version,
            "kind": regarding.kind,
            "name": regarding.name,
            "uid": regarding.uid,
        });
        if !regarding.namespace.is_empty() {
            object["namespace"] = regarding.namespace.as_str().into();
        }
        let event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": format!("{}.{:x}", regarding.name, now.as_nanos()), "namespace": namespace},
            "eventTime": format!("{}.{:06}Z", seconds.trim_end_matches('Z'), now.subsec_micros()),
            "reportingController": "nomos-agent",
            "reportingInstance": "nomos-agent",
            "action": "Sync",
            "reason": reason,
            "regarding": object,
            "note": note.chars().take(NOTE).collect::<String>(),
            "type": match severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            },
        });
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        cluster.request::<Value>(Method::POST, &path, "application/json", event.to_string().into_bytes()).await?;
        Ok(())
    }

    fn is_allowed(&mut self) -> bool {
        let now = Instant::now();
        self.left = (self.left + now.duration_since(self.last).as_secs_f64()).min(BURST);
        self.last = now;
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}
