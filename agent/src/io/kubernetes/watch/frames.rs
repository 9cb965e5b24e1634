//! The stream of a watch: one line of JSON for each event.

use std::pin::Pin;

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use http::{Request, header};
use kube::core::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::super::client::{ApiError, Cluster, Served, collection};
use super::super::path::with_query;
use crate::model::metadata::{annotation, label};
use crate::sync::live::Observed;

/// After this time the API server ends the watch, so that connections spread over its replicas.
const SECONDS: &str = "290";
/// `PartialObjectMetadata` instead of objects: never a spec or the data of a Secret.
const ACCEPT: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// A watch that the API server has accepted.
pub(super) struct Frames {
    body: Pin<Box<dyn AsyncBufRead + Send>>,
    /// The line that is being read. It outlives a call of [`Frames::next`] that is given up.
    line: Vec<u8>,
}

/// One event.
pub(super) enum Frame {
    /// An object is new, changed, or selected since now.
    Shown(Box<Observed>),
    /// An object was deleted or is not selected any more: what it was last, at the version at which that happened.
    Gone(Box<Observed>),
    /// Everything up to this resource version was told.
    Bookmark(String),
    /// The watch cannot go on.
    Refused(Box<Status>),
}

#[derive(Deserialize)]
struct Line<'a> {
    r#type: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Shell<M> {
    #[serde(default)]
    metadata: M,
}

/// Metadata without `managedFields`, which can be nested too deeply to be decoded.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ShallowMetadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    deletion_timestamp: Option<String>,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
    owner_references: Vec<Value>,
}

impl Frames {
    /// Watches the objects of a kind that have the ApplySet label, from a resource version on.
    pub(super) async fn open(cluster: &Cluster, served: &Served, from: &str) -> Result<Self, ApiError> {
        let query = [
            ("watch", "true"),
            ("labelSelector", label::PART_OF),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", SECONDS),
            ("resourceVersion", from),
        ];
        let request = Request::get(with_query(&collection(served, ""), &query))
            .header(header::ACCEPT, ACCEPT)
            // Each event is a member of its own in a compressed stream, of which only the first is decoded.
            .header(header::ACCEPT_ENCODING, "identity")
            .body(Vec::new())
            .map_err(|error| ApiError::Unsendable(error.to_string()))?;
        let body = cluster.client.request_stream(request).await?;
        Ok(Self { body: Box::pin(body), line: Vec::new() })
    }

    /// The next event, or `None` when the watch ends. A call that is given up loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, ApiError> {
        let broken = |error: String| ApiError::Unreachable(format!("the watch broke off: {error}"));
        self.body.read_until(b'\n', &mut self.line).await.map_err(|error| broken(error.to_string()))?;
        let line = std::mem::take(&mut self.line);
        // The end may cut the last line.
        if line.last() != Some(&b'\n') {
            return Ok(None);
        }
        let Line { r#type, object } = serde_json::from_slice(&line).map_err(|error| broken(error.to_string()))?;
        let frame = match r#type.as_str() {
            "BOOKMARK" => Frame::Bookmark(observed(object).resource_version),
            "DELETED" => Frame::Gone(Box::new(observed(object))),
            "ERROR" => {
                let status = serde_json::from_str(object.get()).map_err(|error| broken(error.to_string()))?;
                Frame::Refused(Box::new(status))
            }
            _ => Frame::Shown(Box::new(observed(object))),
        };
        Ok(Some(frame))
    }
}

/// The metadata of an object. Where it cannot be decoded, it is taken without field ownership, which another client can make so
/// deep that no reader takes it: nothing is deleted then, and the other objects of the kind are still seen.
pub(super) fn observed(object: &RawValue) -> Observed {
    let mut observed = match serde_json::from_str::<Shell<Observed>>(object.get()) {
        Ok(Shell { metadata }) => metadata,
        Err(_) => {
            let shell: Option<Shell<ShallowMetadata>> = serde_json::from_str(object.get()).ok();
            let shallow = shell.map(|shell| shell.metadata).unwrap_or_default();
            Observed {
                name: shallow.name,
                namespace: shallow.namespace,
                uid: shallow.uid,
                resource_version: shallow.resource_version,
                deletion_timestamp: shallow.deletion_timestamp,
                labels: shallow.labels,
                annotations: shallow.annotations,
                owner_references: shallow.owner_references,
                managed_fields: Vec::new(),
            }
        }
    };
    // The manifest of a Secret is not kept; the owner of the annotation still shows.
    observed.annotations.remove(annotation::LAST_APPLIED);
    observed
}

/// A version as a number, 0 if it is none.
pub(super) fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// The value of the ApplySet label.
pub(super) fn part_of(seen: &Observed) -> Option<&str> {
    seen.labels.get(label::PART_OF).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    #[test]
    fn field_ownership_that_is_too_deep_hides_no_object() {
        let deep = format!("{}{}", "{\"f:x\":".repeat(200), "{}".to_owned() + &"}".repeat(200));
        let object = format!(
            "{{\"metadata\":{{\"name\":\"a\",\"uid\":\"u\",\"labels\":{{\"l\":\"v\"}},\
             \"managedFields\":[{{\"manager\":\"m\",\"fieldsV1\":{deep}}}]}}}}"
        );
        let seen = observed(&raw(&object));
        assert_eq!((seen.name.as_str(), seen.uid.as_str(), seen.managed_fields.len()), ("a", "u", 0));
        assert_eq!(seen.labels["l"], "v");
    }

    #[test]
    fn the_manifest_in_an_annotation_is_not_kept() {
        let object = "{\"metadata\":{\"name\":\"a\",\"annotations\":{\
                      \"kubectl.kubernetes.io/last-applied-configuration\":\"secret\",\"note\":\"n\"}}}";
        let seen = observed(&raw(object));
        assert_eq!(seen.annotations.keys().collect::<Vec<_>>(), ["note"]);
    }
}
