//! Servers over ssh for which a Secret has no `known_hosts`: the key that one shows at the first connection is remembered on the sync
//! object, before anything is sent to it, and every later connection has to show that key.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, ResourceExt};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Error as WatchFailure, watch_object};
use serde_json::json;
use tokio::time::Instant;

use crate::api::{RepoSync, RootSync, sync_resource};
use crate::io::git::{HostKey, KnownServers, Login, Reach, Remote, ServerName, SshLogin, host_key, ssh_server};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::{SyncId, SyncKind, annotation};

/// The keys of servers that are remembered on a sync object.
pub(super) struct RememberedHosts {
    sync: SyncId,
    objects: Api<DynamicObject>,
    /// The sync object, from the first time that it is needed.
    seen: Option<BoxStream<'static, Result<Option<DynamicObject>, WatchFailure>>>,
    /// The sync object as it was last seen.
    object: Option<DynamicObject>,
    /// The key that is needed now.
    needed: Option<NeededKey>,
    /// The reason why the last attempt to learn a key failed.
    failure: Option<Finding>,
    /// The time of the next attempt, and the pause after one that failed.
    due: Instant,
    pause: Duration,
}

/// A repository on a server whose key is not in a Secret.
#[derive(PartialEq, Eq)]
struct NeededKey {
    url: String,
    reach: Reach,
    /// `true` if the sync object has no key of the server.
    missing: bool,
}

impl RememberedHosts {
    /// Nothing is needed yet.
    pub(super) fn new(client: &kube::Client, sync: &SyncId, pause: Duration) -> Self {
        let resource = match sync.kind {
            SyncKind::RootSync => ApiResource::erase::<RootSync>(&()),
            SyncKind::RepoSync => ApiResource::erase::<RepoSync>(&()),
        };
        Self {
            sync: sync.clone(),
            objects: Api::namespaced_with(client.clone(), &sync.namespace, &resource),
            seen: None,
            object: None,
            needed: None,
            failure: None,
            due: Instant::now(),
            pause,
        }
    }

    /// The remote with the keys that its server has to show; `None` until they are known.
    pub(super) fn complete(&mut self, remote: Result<Remote, Finding>) -> Option<Result<Remote, Finding>> {
        let asked = remote.as_ref().ok().and_then(|remote| match &remote.login {
            Login::Ssh(login) if login.known.is_remembered() => Some((ssh_server(&remote.url)?, login.key.clone())),
            _ => None,
        });
        let (Some((server, key)), Ok(remote)) = (asked, &remote) else {
            self.need(None);
            return Some(remote);
        };
        let known = KnownServers::remembered(&self.remembered(&server));
        let missing = !known.knows(&server);
        self.need(Some(NeededKey { url: remote.url.clone(), reach: remote.reach.clone(), missing }));
        match (missing, &self.failure) {
            (false, _) => Some(Ok(Remote { login: Login::Ssh(SshLogin { key, known }), ..remote.clone() })),
            (true, None) => None,
            (true, Some(failure)) => Some(Err(failure.clone())),
        }
    }

    /// The lines about a server.
    fn remembered(&self, server: &ServerName) -> String {
        let annotations = self.object.as_ref().map(ResourceExt::annotations);
        let lines = annotations.and_then(|all| all.get(annotation::KNOWN_HOSTS)).map_or("", String::as_str);
        let (server, mut remembered) = (server.to_string(), String::new());
        for line in lines.lines().filter(|line| line.split(' ').next() == Some(&server)) {
            remembered.push_str(line);
            remembered.push('\n');
        }
        remembered
    }

    fn need(&mut self, needed: Option<NeededKey>) {
        if self.needed != needed {
            (self.needed, self.failure, self.due) = (needed, None, Instant::now());
        }
    }

    /// Waits until more is known. Never ends while nothing is needed.
    pub(super) async fn learn(&mut self) {
        let Some(needed) = &self.needed else { return std::future::pending().await };
        let (objects, name) = (&self.objects, &self.sync.name);
        let seen = self.seen.get_or_insert_with(|| watch_object(objects.clone(), name).default_backoff().boxed());
        let (object, due) = (self.object.as_ref().filter(|_| needed.missing), self.due);
        let asked = async {
            let Some(object) = object else { return std::future::pending().await };
            tokio::time::sleep_until(due).await;
            Box::pin(remember(objects, object, needed)).await
        };
        let learned = tokio::select! {
            Some(seen) = seen.next() => Err(seen),
            learned = asked => Ok(learned),
        };
        match learned {
            Err(Ok(object)) => self.object = object,
            Err(Err(error)) => tracing::warn!(%error, "the watch on the sync object broke off and starts again"),
            // The watch shows the object with the key.
            Ok(Ok(object)) => self.object = Some(object),
            Ok(Err(finding)) => {
                self.failure = Some(finding.about(sync_resource(&self.sync)));
                self.due = Instant::now() + self.pause;
            }
        }
    }
}

/// Asks the server for its key, and writes it into the sync object.
async fn remember(
    objects: &Api<DynamicObject>,
    object: &DynamicObject,
    needed: &NeededKey,
) -> Result<DynamicObject, Finding> {
    let HostKey { line, fingerprint } = host_key(&needed.url, &needed.reach).await.map_err(|error| error.finding())?;
    let before = object.annotations().get(annotation::KNOWN_HOSTS).map_or("", |lines| lines.trim_end());
    let lines = if before.is_empty() { line } else { format!("{before}\n{line}") };
    let metadata = json!({
        "annotations": {annotation::KNOWN_HOSTS: lines},
        // No key is lost that another agent or a user writes meanwhile.
        "resourceVersion": object.resource_version(),
    });
    let patch = Patch::Merge(json!({"metadata": metadata}));
    let written = objects.patch(&object.name_any(), &PatchParams::default(), &patch).await.map_err(|error| {
        let message = format!(
            "the host key of the server, {fingerprint}, cannot be remembered on the sync object: {error}; the Secret has no known_hosts"
        );
        Finding::new(Code::Source, message).hint(
            "Put the line that ssh-keyscan prints into the key known_hosts of the Secret in spec.git.secretRef, after a comparison \
             of the fingerprint.",
        )
    })?;
    tracing::info!(fingerprint, "the host key of the server is remembered: the Secret has no key known_hosts");
    Ok(written)
}
