//! The kinds that a cluster serves, for manifests of kinds that are neither built in nor defined in the source.

use std::collections::BTreeMap;
#[cfg(feature = "cluster")]
use std::path::Path;
#[cfg(feature = "cluster")]
use std::time::Duration;

use agent::compile::kind_scopes::Scope;
use agent::model::object::GroupKind;

/// The scope of each kind that a cluster serves.
pub(crate) type ClusterKinds = BTreeMap<GroupKind, Scope>;

/// `true` if this build can connect to clusters.
pub(crate) const CAN_ASK: bool = cfg!(feature = "cluster");

/// The kinds that the cluster of the current context serves.
///
/// # Errors
///
/// If no cluster is configured, a kubeconfig cannot be read, or the cluster does not answer within `timeout`.
#[cfg(feature = "cluster")]
pub(crate) fn live(
    kubeconfig: Option<&Path>,
    environment: &crate::Environment,
    timeout: Duration,
) -> anyhow::Result<Option<ClusterKinds>> {
    use anyhow::Context as _;

    use crate::contexts;

    let cluster = contexts::cluster(kubeconfig, environment, None)?;
    let answers = contexts::ask(std::slice::from_ref(&cluster), timeout, async |client| {
        Ok(agent::io::kubernetes::client::Cluster::connect(client).await?.kinds())
    })?;
    let Some(answer) = answers.into_iter().next() else { return Ok(None) };
    let answer = answer.with_context(|| format!("failed to get the kinds of the cluster {}", cluster.context));
    let scope = |namespaced| if namespaced { Scope::Namespaced } else { Scope::Cluster };
    Ok(Some(answer?.into_iter().map(|(kind, served)| (kind, scope(served.namespaced))).collect()))
}

/// Always `None`: this build cannot connect to clusters.
#[cfg(not(feature = "cluster"))]
pub(crate) fn live(
    _: Option<&std::path::Path>,
    _: &crate::Environment,
    _: std::time::Duration,
) -> anyhow::Result<Option<ClusterKinds>> {
    Ok(None)
}
