//! Budgets over all syncs: however much one of them has to do, the others get their turn.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::limits::{APPLIED_AT_ONCE, SMALL_OBJECT};

/// Requests about objects that are in flight at the same time: more only make the API server slower.
const REQUESTS: usize = 40;
/// Further ones for repairs of drift, which do not wait behind the commits of all other syncs.
const REPAIRS: usize = 10;
/// Audits that go on at the same time.
const AUDITS: usize = 2;

/// The budgets. Turns come in the order in which they were asked for; a sync asks for few at a time.
pub(super) struct Budget {
    requests: Semaphore,
    repairs: Semaphore,
    audits: Semaphore,
    /// KiB of the objects that are applied.
    memory: Semaphore,
}

/// The purpose of a request about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Drift is put back, or something is read to decide about that.
    Repair,
    /// A commit is applied.
    Commit,
}

impl Default for Budget {
    fn default() -> Self {
        let [requests, repairs, audits] = [REQUESTS, REPAIRS, AUDITS].map(Semaphore::new);
        Self { requests, repairs, audits, memory: Semaphore::new(APPLIED_AT_ONCE >> 10) }
    }
}

impl Budget {
    /// Waits for the turn of a request, which lasts until the permit is dropped.
    pub(super) async fn request(&self, purpose: Purpose) -> SemaphorePermit<'_> {
        let permit = match purpose {
            Purpose::Commit => self.requests.acquire().await,
            Purpose::Repair => tokio::select! {
                biased;
                permit = self.requests.acquire() => permit,
                permit = self.repairs.acquire() => permit,
            },
        };
        permit.expect("the semaphores are never closed")
    }

    /// Waits for the memory to apply an object, which it has until the permit is dropped. A small one does not wait.
    pub(super) async fn memory(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        if bytes < SMALL_OBJECT {
            return None;
        }
        let share = u32::try_from(bytes.min(APPLIED_AT_ONCE) >> 10).unwrap_or(u32::MAX);
        Some(self.memory.acquire_many(share).await.expect("the semaphores are never closed"))
    }

    /// Waits for the turn of an audit.
    pub(super) async fn audit(&self) -> SemaphorePermit<'_> {
        self.audits.acquire().await.expect("the semaphores are never closed")
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn large_objects_are_applied_one_after_the_other_and_small_ones_do_not_wait() {
        let budget = Budget::default();
        let large = budget.memory(usize::MAX).now_or_never().expect("it is the first").expect("it is counted");
        let mut next = Box::pin(budget.memory(APPLIED_AT_ONCE / 2));
        assert!(next.as_mut().now_or_never().is_none(), "there is no memory left");
        assert!(budget.memory(SMALL_OBJECT - 1).now_or_never().is_some_and(|permit| permit.is_none()));
        drop(large);
        assert!(next.now_or_never().is_some());
    }

    #[tokio::test]
    async fn repairs_do_not_wait_behind_commits() {
        let budget = Budget::default();
        let mut commits = Vec::new();
        for _ in 0..REQUESTS {
            commits.push(budget.request(Purpose::Commit).await);
        }
        let mut next = Box::pin(budget.request(Purpose::Commit));
        assert!(next.as_mut().now_or_never().is_none(), "a commit waits");
        let repairs: Vec<_> = (0..REPAIRS).map(|_| budget.request(Purpose::Repair).now_or_never()).collect();
        assert!(repairs.iter().all(Option::is_some), "repairs have places of their own");
        assert!(budget.request(Purpose::Repair).now_or_never().is_none(), "and not more");
        drop(commits.pop());
        assert!(next.now_or_never().is_some(), "the commit that waits is the next");
    }
}
