//! Kubernetes Events about a sync or one of its objects, for `kubectl describe` and `kubectl get events`.
//!
//! Each is an object of its own. The recorder of kube counts up an Event whose reason and object are the same, and drops the
//! newer text: two different drifts of one object would read as the first one twice.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use http::Method;
use k8s_openapi::api::events::v1::Event;
use kube::discovery::ApiResource;
use serde_json::{Value, json};

use super::client::{ApiError, Cluster, JSON};
use super::path;
use crate::api::Time;
use crate::model::metadata::SyncId;

/// Number of Events that a sync may publish at once; after that it is one a second.
const BURST: f64 = 25.0;
/// Longest text of an Event, in characters: the API server takes 1024 bytes at the most.
const NOTE: usize = 1000;

/// The object that an Event is about.
#[derive(Clone)]
pub struct Regarding {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `metadata.uid`, by which `kubectl describe` finds the Event.
    pub uid: String,
    /// The sync of the object, where that is another one.
    pub related: Option<Box<Regarding>>,
}

impl Regarding {
    /// The RootSync or RepoSync itself.
    pub fn sync(sync: &SyncId, uid: &str) -> Self {
        Self {
            api_version: "configsync.gke.io/v1beta1".to_owned(),
            kind: sync.kind.to_string(),
            namespace: sync.namespace.clone(),
            name: sync.name.clone(),
            uid: uid.to_owned(),
            related: None,
        }
    }

    fn reference(&self) -> Value {
        let mut object = json!({"apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid});
        if !self.namespace.is_empty() {
            object["namespace"] = self.namespace.as_str().into();
        }
        object
    }
}

/// The type of an Event.
#[derive(Clone, Copy, Debug)]
pub enum Severity {
    /// The sync works as it should.
    Normal,
    /// A user should look at it.
    Warning,
}

/// Publishes the Events of one sync, within limits.
pub struct EventPublisher {
    /// Events that may be published now.
    left: f64,
    last: Instant,
}

impl Default for EventPublisher {
    fn default() -> Self {
        Self { left: BURST, last: Instant::now() }
    }
}

impl EventPublisher {
    /// Publishes an Event. If there were too many lately it is dropped, which is no error.
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
        let mut event = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": event_name(&regarding.name, now.as_nanos()), "namespace": namespace},
            "eventTime": format!("{}.{:06}Z", seconds.trim_end_matches('Z'), now.subsec_micros()),
            "reportingController": "nomos-agent",
            "reportingInstance": "nomos-agent",
            "action": "Sync",
            "reason": reason,
            "regarding": regarding.reference(),
            "note": note.chars().take(NOTE).collect::<String>(),
            "type": match severity {
                Severity::Normal => "Normal",
                Severity::Warning => "Warning",
            },
        });
        if let Some(sync) = &regarding.related {
            event["related"] = sync.reference();
        }
        let path = path::collection(&ApiResource::erase::<Event>(&()), "v1", namespace);
        cluster.request::<Value>(Method::POST, &path, JSON, event.to_string().into_bytes()).await?;
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

/// The name of an Event: unique, and a valid DNS name also where the object's is none, such as that of a ClusterRole.
fn event_name(object: &str, nanoseconds: u128) -> String {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let is_dns_name =
        object.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
            && object.chars().all(valid);
    format!("{}.{nanoseconds:x}", if is_dns_name { object } else { "object" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_valid_names() {
        for (object, name) in [("web-1.example", "web-1.example.ff"), ("ops#1", "object.ff"), ("system:x", "object.ff")]
        {
            assert_eq!(event_name(object, 255), name);
        }
    }
}
