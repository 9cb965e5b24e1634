//! The Lease of the agent.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};

use super::client::ApiError;
use crate::model::metadata::CONTROLLER_NAMESPACE;
use crate::sync::election::LeaseState;

/// Name of the Lease, in the namespace of syncs.
pub const LEASE: &str = "nomos-agent";

/// The Lease in a cluster.
#[derive(Clone)]
pub struct LeaseApi(Api<Lease>);

impl LeaseApi {
    /// The Lease, through a client of its own, so that renewals do not wait for other requests.
    pub fn new(client: Client) -> Self {
        Self(Api::namespaced(client, CONTROLLER_NAMESPACE))
    }

    /// For a watch on it.
    pub fn api(&self) -> Api<Lease> {
        self.0.clone()
    }

    /// The Lease as it is now; `None` if there is none.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn read(&self) -> Result<Option<Lease>, ApiError> {
        Ok(self.0.get_opt(LEASE).await?)
    }

    /// Writes the Lease for `holder` over what was read. It fails with a conflict if another agent was faster.
    ///
    /// # Errors
    /// Those of the request.
    pub async fn write(&self, before: Option<&Lease>, holder: &str, duration: Duration) -> Result<Lease, ApiError> {
        let lease = written(before, holder, duration, Timestamp::now());
        Ok(match before {
            None => self.0.create(&PostParams::default(), &lease).await?,
            Some(_) => self.0.replace(LEASE, &PostParams::default(), &lease).await?,
        })
    }
}

/// The Lease with another holder or a later renewal.
fn written(before: Option<&Lease>, holder: &str, duration: Duration, now: Timestamp) -> Lease {
    let mut lease = before.cloned().unwrap_or_default();
    lease.metadata.name = Some(LEASE.to_owned());
    lease.metadata.managed_fields = None;
    let spec = lease.spec.get_or_insert_default();
    // To give it back is no transition.
    if !holder.is_empty() && spec.holder_identity.as_deref() != Some(holder) {
        spec.acquire_time = Some(MicroTime(now));
        spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
    }
    spec.holder_identity = Some(holder.to_owned());
    spec.lease_duration_seconds = i32::try_from(duration.as_secs().max(1)).ok();
    spec.renew_time = Some(MicroTime(now));
    lease
}

/// The version of a Lease, which grows with every write; 0 if it is no number.
pub fn version(lease: &Lease) -> u64 {
    lease.metadata.resource_version.as_ref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The part of a Lease that the election needs.
pub fn state(lease: &Lease) -> LeaseState {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    LeaseState {
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        // A Lease that was written by hand must not lock every agent out.
        duration: Duration::from_secs(seconds.unwrap_or(1).clamp(1, 300)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_holder_is_a_transition_and_a_renewal_is_not() {
        let (first, later) = (Timestamp::from_second(10).expect("a time"), Timestamp::from_second(20).expect("a time"));
        let seconds = Duration::from_secs(4);
        let taken = written(None, "a", seconds, first);
        let renewed = written(Some(&taken), "a", seconds, later);
        let passed = written(Some(&renewed), "b", seconds, later);
        let of = |lease: &Lease| {
            let spec = lease.spec.clone().expect("a spec");
            (spec.acquire_time, spec.renew_time, spec.lease_transitions)
        };
        assert_eq!(of(&taken), (Some(MicroTime(first)), Some(MicroTime(first)), Some(1)));
        assert_eq!(of(&renewed), (Some(MicroTime(first)), Some(MicroTime(later)), Some(1)));
        assert_eq!(of(&passed), (Some(MicroTime(later)), Some(MicroTime(later)), Some(2)));
        assert_eq!(state(&passed).holder, "b");
    }
}
