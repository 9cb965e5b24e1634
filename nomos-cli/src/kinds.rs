//! The kinds that a live cluster knows, for manifests whose kinds are not built in.

use std::collections::BTreeMap;
#[cfg(feature = "cluster")]
use std::path::Path;
#[cfg(feature = "cluster")]
use std::time::Duration;

use agent::compile::kind_scopes::Scope;
use agent::model::object::GroupKind;

/// Scope of each kind of a cluster.
pub(crate) type Live = BTreeMap<GroupKind, Scope>;

/// Whether this build can ask a cluster at all.
pub(crate) const CAN_ASK: bool = cfg!(feature = "cluster");

/// The kinds of the current context's cluster; `None` if no cluster is configured.
///
/// # Errors
///
/// It does not answer.
#[cfg(feature = "cluster")]
pub(crate) fn live(
    kubeconfig: Option<&Path>,
    environment: &crate::Environment,
    timeout: Duration,
) -> anyhow::Result<Option<Live>> {
    use anyhow::Context as _;

    use crate::contexts;

    let mut clusters = contexts::clusters(kubeconfig, environment, None)?.unwrap_or_default();
    clusters.retain(|cluster| cluster.current);
    let answers = contexts::ask(&clusters, timeout, async |client| {
        Ok(agent::io::kubernetes::client::Cluster::connect(client).await?.kinds())
    })?;
    let (Some(cluster), Some(answer)) = (clusters.first(), answers.into_iter().next()) else { return Ok(None) };
    let answer = answer.with_context(|| format!("the cluster {} cannot be asked", cluster.context));
    let scope = |namespaced| if namespaced { Scope::Namespaced } else { Scope::Cluster };
    Ok(Some(answer?.into_iter().map(|(kind, served)| (kind, scope(served.namespaced))).collect()))
}

/// No cluster.
#[cfg(not(feature = "cluster"))]
pub(crate) fn live(
    _: Option<&std::path::Path>,
    _: &crate::Environment,
    _: std::time::Duration,
) -> anyhow::Result<Option<Live>> {
    Ok(None)
}
