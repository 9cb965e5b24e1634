//! The programs of Config Sync on the same cluster. While one of them serves a sync, the agent writes nothing for it: two programs
//! would fight over every object.
//!
//! A program runs while its Deployment asks for Pods, and until the last of its Pods is gone: one that is told to stop may still
//! write.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Event as WatchEvent, Result as WatchResult, watcher};
use kube::{Api, Resource, ResourceExt as _};
use tokio::sync::watch;

use super::AgentContext;
use crate::io::kubernetes::pages::small_pages;
use crate::io::kubernetes::programs::{Deployment, Pod, deployments, pods};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::{CONTROLLER_NAMESPACE, RECONCILER_MANAGER, SyncId, deployment_of};

/// The names of the programs that run, by what shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConfigSyncPrograms {
    /// Deployments that ask for Pods.
    deployments: BTreeSet<String>,
    /// Pods that are not over, each with its Deployment.
    pods: BTreeSet<(String, String)>,
}

impl ConfigSyncPrograms {
    /// `true` if the program runs.
    fn runs(&self, name: &str) -> bool {
        self.deployments.contains(name) || self.pods.iter().any(|(deployment, _)| deployment == name)
    }

    /// `true` if the program runs that makes and changes the objects of Config Sync itself.
    pub(super) fn manages(&self) -> bool {
        self.runs(RECONCILER_MANAGER)
    }

    /// The finding for a sync that a program of Config Sync serves, or would serve as soon as it sees the sync.
    pub(super) fn serves(&self, sync: &SyncId) -> Option<Finding> {
        let own = [RECONCILER_MANAGER.to_owned(), sync.reconciler()];
        let running: Vec<String> = own.into_iter().filter(|name| self.runs(name)).collect();
        let names = running.join(" and ");
        let message = format!(
            "Config Sync serves this sync: {names} in the namespace {CONTROLLER_NAMESPACE}. The agent writes nothing for it"
        );
        (!running.is_empty()).then(|| {
            Finding::new(Code::ManagementConflict, message).hint(
                "hand over with `nomos migrate`, which stops the programs of Config Sync; the agent begins when they are gone",
            )
        })
    }
}

/// Follows the programs of Config Sync.
pub(super) async fn follow(client: kube::Client, found: watch::Sender<Option<ConfigSyncPrograms>>) {
    let asks = |deployment: &Deployment| deployment.spec.replicas != Some(0);
    let (mut known_deployments, mut known_pods) = (Names::default(), Names::default());
    let mut of_deployments = follow_all(deployments(client.clone(), CONTROLLER_NAMESPACE));
    let mut of_pods = follow_all(pods(client, CONTROLLER_NAMESPACE));
    loop {
        tokio::select! {
            Some(event) = of_deployments.next() => known_deployments.take(event, Deployment::name_any, asks),
            Some(event) = of_pods.next() => known_pods.take(event, named, is_alive),
            else => return,
        }
        if let (Some(deployments), Some(pods)) = (&known_deployments.running, &known_pods.running) {
            let programs = ConfigSyncPrograms { deployments: deployments.clone(), pods: pods.clone() };
            found.send_if_modified(|before| before.replace(programs.clone()) != Some(programs));
        }
    }
}

fn follow_all<K>(api: Api<K>) -> BoxStream<'static, WatchResult<WatchEvent<K>>>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    watcher(api, small_pages()).default_backoff().boxed()
}

/// The names of the objects that run.
struct Names<N> {
    /// `None` before the first list is complete.
    running: Option<BTreeSet<N>>,
    /// Those of a list that is not complete. What was known before counts until it is.
    listing: BTreeSet<N>,
}

impl<N> Default for Names<N> {
    fn default() -> Self {
        Self { running: None, listing: BTreeSet::new() }
    }
}

impl<N: Ord> Names<N> {
    fn take<K>(&mut self, event: WatchResult<WatchEvent<K>>, name: impl Fn(&K) -> N, runs: impl Fn(&K) -> bool) {
        match event {
            Ok(WatchEvent::Init) => self.listing.clear(),
            Ok(WatchEvent::InitApply(object)) if runs(&object) => _ = self.listing.insert(name(&object)),
            Ok(WatchEvent::InitApply(_)) => {}
            Ok(WatchEvent::InitDone) => self.running = Some(std::mem::take(&mut self.listing)),
            Ok(WatchEvent::Apply(object)) if runs(&object) => {
                self.running.get_or_insert_default().insert(name(&object));
            }
            Ok(WatchEvent::Apply(object) | WatchEvent::Delete(object)) => {
                self.running.get_or_insert_default().remove(&name(&object));
            }
            Err(error) => {
                tracing::warn!(%error, "the watch on the programs of Config Sync broke off and starts again");
            }
        }
    }
}

/// The Pod, with its Deployment.
fn named(pod: &Pod) -> (String, String) {
    let name = pod.name_any();
    (deployment_of(&name, pod.labels()).to_owned(), name)
}

/// `true` if containers of the Pod may run, also when it is being deleted.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Waits until no program of Config Sync serves the sync.
pub(super) async fn left(context: &AgentContext, sync: &SyncId) {
    await_programs(context, |programs| programs.serves(sync).is_none()).await;
}

/// Waits until a program of Config Sync serves the sync.
pub(super) async fn comes(context: &AgentContext, sync: &SyncId) {
    await_programs(context, |programs| programs.serves(sync).is_some()).await;
}

async fn await_programs(context: &AgentContext, as_wanted: impl Fn(&ConfigSyncPrograms) -> bool) {
    let as_wanted = |programs: &Option<ConfigSyncPrograms>| programs.as_ref().is_some_and(&as_wanted);
    // The sender is in the context.
    let _ = context.config_sync.subscribe().wait_for(as_wanted).await;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::metadata::label;

    fn pod(name: &str, labels: Value, phase: &str) -> Pod {
        let pod = json!({ "metadata": { "name": name, "labels": labels }, "spec": {}, "status": { "phase": phase } });
        serde_json::from_value(pod).expect("a Pod")
    }

    #[test]
    fn a_program_runs_until_its_last_pod_is_gone() {
        let labelled = json!({ label::DEPLOYMENT_NAME: "root-reconciler-x" });
        let mut pods = Names::default();
        let mut take = |event| {
            pods.take(Ok(event), named, is_alive);
            let running = pods.running.clone()?;
            let programs = ConfigSyncPrograms { pods: running, ..ConfigSyncPrograms::default() };
            Some((programs.manages(), programs.serves(&SyncId::root("x")).is_some()))
        };
        let manager = || pod("reconciler-manager-5c4d-x7k2p", json!({}), "Running");
        let reconciler = || pod("cut-off-abcde", labelled.clone(), "Pending");
        assert_eq!(take(WatchEvent::Init), None);
        assert_eq!(take(WatchEvent::InitApply(manager())), None, "the list is not complete");
        assert_eq!(take(WatchEvent::InitDone), Some((true, true)));
        assert_eq!(take(WatchEvent::Apply(reconciler())), Some((true, true)));
        // A list without it: it ended while the watch was broken off.
        assert_eq!(take(WatchEvent::Init), Some((true, true)));
        assert_eq!(take(WatchEvent::InitApply(reconciler())), Some((true, true)));
        assert_eq!(take(WatchEvent::InitDone), Some((false, true)));
        // A Pod that was evicted stays, and no container of it runs.
        assert_eq!(take(WatchEvent::Apply(pod("cut-off-abcde", labelled.clone(), "Failed"))), Some((false, false)));
        assert_eq!(take(WatchEvent::Apply(reconciler())), Some((false, true)));
        assert_eq!(take(WatchEvent::Delete(reconciler())), Some((false, false)));
    }

    #[test]
    fn a_sync_of_another_name_has_its_own_program() {
        let deployments = ["root-reconciler-x".to_owned()].into();
        let programs = ConfigSyncPrograms { deployments, ..ConfigSyncPrograms::default() };
        let served = ["x", "y", "root-sync"].map(|name| programs.serves(&SyncId::root(name)).is_some());
        assert_eq!((served, programs.manages()), ([true, false, false], false));
    }
}
