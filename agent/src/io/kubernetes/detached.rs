//! The search for objects that a user detached, in a Namespace or of the kind of a CRD, which its deletion would take along.
//!
//! A sync that gave such an object up in an earlier commit knows it no more. The annotation that detached it is the user's, and
//! stays on it.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::client::{ApiError, Cluster, Served};
use super::pages::{ListForm, Pages};
use crate::model::metadata::is_detached;
use crate::model::object::{GroupKind, ObjectId};

/// Kinds that are searched at the same time.
const AT_ONCE: usize = 8;

#[derive(Deserialize)]
struct Inhabitant {
    metadata: InhabitantMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InhabitantMetadata {
    name: String,
    #[serde(default)]
    namespace: String,
    annotations: Option<BTreeMap<String, String>>,
    /// It goes with these, and has its annotations from them.
    owner_references: Option<Vec<IgnoredAny>>,
    deletion_timestamp: Option<IgnoredAny>,
}

/// An object that a user detached, among those that would be deleted together with this Namespace or CRD.
///
/// # Errors
/// When a kind cannot be listed, or is not known because its own API server is away.
pub async fn detached_in(cluster: &Cluster, container: &ObjectId) -> Result<Option<ObjectId>, ApiError> {
    cluster.discover().await?;
    let (kinds, namespace): (Vec<_>, _) = if container.is_crd() {
        (cluster.defined_by(container.name()).into_iter().collect(), "")
    } else {
        let absent = cluster.absent_apis().await?;
        if !absent.is_empty() {
            return Err(ApiError::Absent(absent));
        }
        let lives_in_it = |(_, served): &(_, Served)| served.namespaced && served.watchable;
        (cluster.kinds().into_iter().filter(lives_in_it).collect(), container.name())
    };
    let searched = kinds.into_iter().map(async |(kind, served)| detached_of(cluster, &kind, &served, namespace).await);
    let found = futures::stream::iter(searched).buffer_unordered(AT_ONCE);
    std::pin::pin!(found.try_filter_map(|found| std::future::ready(Ok(found)))).try_next().await
}

async fn detached_of(
    cluster: &Cluster,
    kind: &GroupKind,
    served: &Served,
    namespace: &str,
) -> Result<Option<ObjectId>, ApiError> {
    let mut pages = Pages::new(served, namespace, String::new(), ListForm::Metadata);
    loop {
        let page = match pages.next(cluster).await {
            Ok(Some(page)) => page,
            Ok(None) => return Ok(None),
            Err(error) if matches!(error.code(), 404 | 405) => return Ok(None),
            Err(error) => return Err(error),
        };
        for item in page.items {
            let Inhabitant { metadata } = serde_json::from_str(item.get())
                .map_err(|error| ApiError::Unreachable(format!("a {kind} that cannot be read: {error}")))?;
            let InhabitantMetadata { name, namespace, annotations, owner_references, deletion_timestamp } = metadata;
            let annotations = annotations.unwrap_or_default();
            let stays = owner_references.is_none_or(|owners| owners.is_empty()) && deletion_timestamp.is_none();
            if stays && is_detached(|key| annotations.get(key).map(String::as_str)) {
                return Ok(Some(ObjectId::new(kind, &namespace, &name)));
            }
        }
    }
}
