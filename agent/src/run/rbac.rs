//! Follows the roles and bindings of the cluster. When they change, syncs try again what was refused to their accounts.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{PartialObjectMeta, ResourceExt};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, Event, Result as WatchResult, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep_until;

use super::AgentContext;
use crate::model::backoff::Pace;
use crate::model::metadata::SyncId;

/// The number of changes of roles and bindings by namespace, "" for those of the cluster. While many come, they are told less often.
#[derive(Clone, Debug, Default)]
pub(super) struct RbacChanges(BTreeMap<String, u64>);

impl RbacChanges {
    /// A number that is another one when the rights of the sync may be others.
    pub(super) fn of(&self, sync: &SyncId) -> u64 {
        match sync.scope() {
            Some(namespace) => ["", namespace].iter().filter_map(|at| self.0.get(*at)).sum(),
            None => self.0.values().sum(),
        }
    }
}

/// The pause after which further changes are told, and the longest one.
const PACE: Pace = Pace::new(Duration::from_secs(1), Duration::from_secs(60));

/// Follows them until the agent ends.
pub(super) async fn follow(context: Arc<AgentContext>) {
    let client = &context.cluster.client;
    let all = [
        changes::<Role>(client),
        changes::<RoleBinding>(client),
        changes::<ClusterRole>(client),
        changes::<ClusterRoleBinding>(client),
    ];
    let mut events = select_all(all);
    let (mut found, mut pace) = (RbacChanges::default(), PACE);
    loop {
        let told_at = pace.pause(Instant::now());
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(namespace)) => *found.0.entry(namespace).or_default() += 1,
                Some(Err(error)) => tracing::warn!(%error, "a watch on roles and bindings broke off and starts again"),
                None => return,
            },
            () = async { sleep_until(told_at.unwrap_or_else(Instant::now).into()).await }, if told_at.is_some() => {}
        }
        if pace.pause(Instant::now()).is_none() && context.rbac.borrow().0 != found.0 {
            context.rbac.send_replace(found.clone());
            pace.done(Instant::now());
        }
    }
}

/// The namespaces in which objects of a kind change.
fn changes<K>(client: &kube::Client) -> BoxStream<'static, WatchResult<String>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let objects: Api<PartialObjectMeta<K>> = Api::all(client.clone());
    let namespace = |event| match event {
        Event::Apply(object) | Event::Delete(object) => Some(ResourceExt::namespace(&object).unwrap_or_default()),
        // The watch broke off before: a change anywhere may have been missed.
        Event::InitDone => Some(String::new()),
        Event::Init | Event::InitApply(_) => None,
    };
    let events = watcher(objects, Config::default()).default_backoff();
    events.filter_map(move |event| ready(event.map(namespace).transpose())).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repo_sync_hears_of_its_namespace_and_of_the_cluster() {
        let changes = |at: &[(&str, u64)]| RbacChanges(at.iter().map(|(at, n)| ((*at).to_owned(), *n)).collect());
        let (shop, root) = (SyncId::repo("shop", "repo-sync"), SyncId::root("root-sync"));
        let before = changes(&[("", 1), ("shop", 1), ("bank", 1)]);
        for (after, repo_hears) in [
            (changes(&[("", 2), ("shop", 1), ("bank", 1)]), true),
            (changes(&[("", 1), ("shop", 2), ("bank", 1)]), true),
            (changes(&[("", 1), ("shop", 1), ("bank", 2)]), false),
        ] {
            assert_eq!(before.of(&shop) != after.of(&shop), repo_hears);
            assert_ne!(before.of(&root), after.of(&root));
        }
    }
}
