//! Carries out deletions. Each is looked at first: the object may go to another sync, or take along others that stay.
//!
//! This can take seconds, and the request may have waited for its turn before. So the engine can withdraw a deletion until it is sent.

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::apply::{abandon, failed};
use super::client::{Cluster, JSON};
use super::detached::detached_in;
use super::hand_down::heir;
use crate::model::metadata::SyncId;
use crate::model::object::ObjectId;
use crate::sync::engine::Outcome;

/// A deletion that the engine asks for.
pub struct Deletion {
    /// The object.
    pub id: ObjectId,
    /// Its uid.
    pub uid: Box<str>,
    /// Its resource version.
    pub version: u64,
    /// RepoSyncs that declare it.
    pub heirs: Vec<SyncId>,
    /// The order in which it goes and the objects that it owns.
    pub dependents: Dependents,
}

/// The order in which an object goes and the objects that it owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// They go after it.
    Later,
    /// It goes when they are gone.
    First,
}

/// The reason why a deletion is not sent.
enum Obstacle {
    /// A RepoSync that declares the object may make it itself.
    Heir,
    /// The answer to the command.
    Outcome(Outcome),
}

/// Deletes the object, unless a RepoSync that declares it may make it itself, it is a Namespace or CRD with objects that a user detached,
/// or the deletion is `withdrawn` before it is sent. The API server refuses it with 409 if the object was made anew (another `uid`) or
/// changed since `version`.
pub async fn delete(
    cluster: &Cluster,
    sync: &SyncId,
    deletion: &Deletion,
    mut withdrawn: watch::Receiver<()>,
) -> Outcome {
    let obstacle = tokio::select! {
        biased;
        _ = withdrawn.changed() => return Outcome::Withdrawn,
        obstacle = obstacle(cluster, deletion) => obstacle,
    };
    match obstacle {
        None => send(cluster, deletion).await,
        Some(Obstacle::Heir) => abandon(cluster, sync, &deletion.id).await,
        Some(Obstacle::Outcome(outcome)) => outcome,
    }
}

/// Only reads, so that it can end at any point.
async fn obstacle(cluster: &Cluster, Deletion { id, heirs, .. }: &Deletion) -> Option<Obstacle> {
    match heir(cluster, id, heirs).await {
        Ok(None) => {}
        Ok(Some(_)) => return Some(Obstacle::Heir),
        Err(outcome) => return Some(Obstacle::Outcome(outcome)),
    }
    if !id.is_namespace() && !id.is_crd() {
        return None;
    }
    // All objects in it count, also those that the sync may not see.
    match detached_in(&cluster.as_agent(), id).await {
        Ok(detached) => detached.map(|detached| Obstacle::Outcome(Outcome::KeepsDetached(detached))),
        Err(error) => Some(Obstacle::Outcome(failed("look for detached objects in", id, &error, cluster))),
    }
}

async fn send(cluster: &Cluster, Deletion { id, uid, version, dependents, .. }: &Deletion) -> Outcome {
    let body = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": match dependents {
            Dependents::Later => "Background",
            Dependents::First => "Foreground",
        },
        "preconditions": {"uid": uid, "resourceVersion": version.to_string()},
    });
    let result = async {
        let path = cluster.path(id, "").await?;
        cluster.request::<Value>(Method::DELETE, &path, JSON, body.to_string().into_bytes()).await
    };
    match result.await {
        Ok(_) => Outcome::Deleted,
        Err(error) if error.is_not_found() => Outcome::Absent(0),
        Err(error) => failed("delete", id, &error, cluster),
    }
}
