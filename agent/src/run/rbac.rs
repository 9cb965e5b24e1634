//! Follows the roles and bindings of the cluster. When they change, syncs try again what was refused to their accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::ready;
use futures::stream::{BoxStream, select_all};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{PartialObjectMeta, ResourceExt};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Event, Result as WatchResult, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::sleep_until;

use super::AgentContext;
use crate::io::kubernetes::pages::small_pages;
use crate::model::backoff::Pace;
use crate::model::metadata::{RECONCILER_MANAGER, SyncId, label};

/// The number of changes of roles and bindings by namespace, "" for those of the cluster. Many changes in a namespace are told less often.
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

/// The pause after which further changes in a namespace are told, and the longest one.
const PACE: Pace = Pace::new(Duration::from_secs(1), Duration::from_secs(60));

/// The time after which a change is told once more: the API server hears of it by a watch of its own, and may do so later than the agent.
const ONCE_MORE: Duration = Duration::from_secs(3);

/// The changes in a namespace.
struct FoundChanges {
    number: u64,
    pace: Pace,
}

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
    let mut found: BTreeMap<String, FoundChanges> = BTreeMap::new();
    // Namespaces with changes that are not told yet.
    let mut news = BTreeSet::new();
    // Namespaces whose changes are told once more, each at this time.
    let mut again: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let now = Instant::now();
        let pause = |namespace: &String| found.get(namespace).and_then(|it| it.pace.pause(now));
        let told_at = news.iter().filter_map(pause).chain(again.values().copied()).min();
        tokio::select! {
            event = events.next() => match event {
                Some(Ok(namespace)) => {
                    found.entry(namespace.clone()).or_insert(FoundChanges { number: 0, pace: PACE }).number += 1;
                    news.insert(namespace);
                }
                Some(Err(error)) => tracing::warn!(%error, "a watch on roles and bindings broke off and starts again"),
                None => return,
            },
            () = async { sleep_until(told_at.unwrap_or(now).into()).await }, if told_at.is_some() => {}
        }
        let now = Instant::now();
        let is_due = |namespace: &&String| found.get(*namespace).is_some_and(|it| it.pace.pause(now).is_none());
        let due: Vec<String> = news.iter().filter(is_due).cloned().collect();
        let repeated: Vec<String> = again.iter().filter(|(_, at)| **at <= now).map(|(it, _)| it.clone()).collect();
        again.retain(|_, at| *at > now);
        if due.is_empty() && repeated.is_empty() {
            continue;
        }
        context.rbac.send_modify(|told| {
            for namespace in repeated {
                let Some(changes) = found.get_mut(&namespace) else { continue };
                changes.number += 1;
                told.0.insert(namespace, changes.number);
            }
            for namespace in due {
                let Some(changes) = found.get_mut(&namespace) else { continue };
                changes.pace.done(now);
                news.remove(&namespace);
                again.insert(namespace.clone(), now + ONCE_MORE);
                told.0.insert(namespace, changes.number);
            }
        });
    }
}

/// `true` for a binding of the accounts of syncs.
fn is_of_accounts<K>(object: &PartialObjectMeta<K>) -> bool {
    let labels = object.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(label::MADE_BY)).is_some_and(|manager| manager == RECONCILER_MANAGER)
}

/// The namespaces in which objects of a kind change.
fn changes<K>(client: &kube::Client) -> BoxStream<'static, WatchResult<String>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let objects: Api<PartialObjectMeta<K>> = Api::all(client.clone());
    let namespace = |event| match event {
        // The agent knows of its own, and a tenant that makes and deletes RepoSyncs changes them again and again.
        Event::Apply(object) | Event::Delete(object) if is_of_accounts(&object) => None,
        Event::Apply(object) | Event::Delete(object) => Some(ResourceExt::namespace(&object).unwrap_or_default()),
        // The watch broke off before: a change anywhere may have been missed.
        Event::InitDone => Some(String::new()),
        Event::Init | Event::InitApply(_) => None,
    };
    let events = watcher(objects, small_pages()).default_backoff();
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
