//! Budgets over all syncs: however much one of them has to do, the others get their turn.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::io::places::{Party, SharedPlace, SharedPlaces, Shares};
use crate::model::limits::{APPLIED_AT_ONCE, SMALL_OBJECT};

/// Requests about objects that are in flight at the same time: more only make the API server slower. So few of a tenant that repairs of
/// others do not wait long behind them in the API server.
const REQUESTS: Shares = Shares { all: 40, tenants: 30, tenant: 2 };
/// Further ones for repairs of drift, which do not wait behind the commits of all other syncs.
const REPAIRS: Shares = Shares { all: 10, tenants: 7, tenant: 3 };
/// Those about heavy objects of tenants, repairs too, have no other places: the API server computes for long on each, and two of them at
/// the same time take two of its cores.
const HEAVY: Shares = Shares { all: 1, tenants: 1, tenant: 1 };
/// Audits that go on at the same time.
const AUDITS: Shares = Shares { all: 2, tenants: 2, tenant: 1 };

/// Reads and marks of syncs that begin at the same time.
const STARTS: Shares = Shares { all: 16, tenants: 12, tenant: 4 };

/// A tenant pauses so many times as long as the API server computed on a heavy object: it has a quarter of one core for these.
const HEAVY_PAUSES: u32 = 3;
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The budgets. No tenant takes all of one, however many syncs it has.
pub(super) struct Budget {
    requests: SharedPlaces,
    repairs: SharedPlaces,
    heavy: SharedPlaces,
    audits: SharedPlaces,
    starts: SharedPlaces,
    /// KiB of the objects that are applied.
    memory: Semaphore,
}

/// The turn of a request, which lasts until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the turn"]
pub(super) struct RequestTurn {
    place: SharedPlace,
    pauses: u32,
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
        let [requests, repairs, heavy, audits, starts] =
            [REQUESTS, REPAIRS, HEAVY, AUDITS, STARTS].map(SharedPlaces::new);
        Self { requests, repairs, heavy, audits, starts, memory: Semaphore::new(APPLIED_AT_ONCE >> 10) }
    }
}

impl Budget {
    /// Waits for the turn of a request. A heavy one applies an object of many values.
    pub(super) async fn request(&self, party: &Party, purpose: Purpose, heavy: bool) -> RequestTurn {
        if heavy && party.is_some() {
            return RequestTurn { place: self.heavy.place(party).await, pauses: HEAVY_PAUSES };
        }
        let place = match purpose {
            Purpose::Commit => self.requests.place(party).await,
            Purpose::Repair => tokio::select! {
                biased;
                place = self.requests.place(party) => place,
                place = self.repairs.place(party) => place,
            },
        };
        RequestTurn { place, pauses: 1 }
    }

    /// The request of this turn took so long. A tenant whose requests keep the API server busy takes turns with the others: its place is
    /// free after as long a pause, or after several.
    pub(super) fn answered(party: &Party, mut turn: RequestTurn, after: Duration) {
        if party.is_none() {
            return;
        }
        turn.place.rest();
        tokio::spawn(async move {
            tokio::time::sleep(after.min(LONGEST_PAUSE) * turn.pauses).await;
            drop(turn);
        });
    }

    /// Waits for the memory to apply an object, which it has until the permit is dropped. A small one does not wait. It is asked for
    /// by those whose turn it is: a tenant with many large objects does not fill the queue.
    pub(super) async fn memory(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        if bytes < SMALL_OBJECT {
            return None;
        }
        let share = u32::try_from(bytes.min(APPLIED_AT_ONCE) >> 10).unwrap_or(u32::MAX);
        Some(self.memory.acquire_many(share).await.expect("the semaphores are never closed"))
    }

    /// Waits for the turn of an audit.
    pub(super) async fn audit(&self, party: &Party) -> SharedPlace {
        self.audits.place(party).await
    }

    /// Waits for the turn of a request about a sync that begins: a thousand can come at once.
    pub(super) async fn start(&self, party: &Party) -> SharedPlace {
        self.starts.place(party).await
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

    /// As many turns as there are at once.
    fn turns(budget: &Budget, party: &Party, purpose: Purpose) -> Vec<RequestTurn> {
        std::iter::from_fn(|| budget.request(party, purpose, false).now_or_never()).collect()
    }

    #[test]
    fn repairs_do_not_wait_behind_commits() {
        let budget = Budget::default();
        let (a, b) = (Some("a".to_owned()), Some("b".to_owned()));
        let mut commits = turns(&budget, &None, Purpose::Commit);
        commits.extend(turns(&budget, &a, Purpose::Commit));
        assert_eq!(commits.len(), REQUESTS.all);
        let mut next = Box::pin(budget.request(&None, Purpose::Commit, false));
        assert!(next.as_mut().now_or_never().is_none(), "a commit waits");
        let repairs = [&a, &b, &None].map(|party| turns(&budget, party, Purpose::Repair));
        assert_eq!(repairs.each_ref().map(Vec::len), [3, 3, 4], "repairs have places of their own, and not more");
        drop(commits.remove(0));
        assert!(next.now_or_never().is_some(), "the commit that waits is the next");
    }

    #[test]
    fn a_tenant_with_many_syncs_leaves_turns_to_others() {
        let budget = Budget::default();
        let tenants: Vec<Party> = ('a'..='i').map(|name| Some(name.to_string())).collect();
        let taken: Vec<_> = tenants.iter().map(|tenant| turns(&budget, tenant, Purpose::Commit)).collect();
        assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [2; 9]);
        assert_eq!(turns(&budget, &None, Purpose::Commit).len(), REQUESTS.all - 2 * 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_pauses_for_as_long_as_its_requests_take() {
        let (budget, tenant) = (Budget::default(), Some("a".to_owned()));
        let mut all = turns(&budget, &tenant, Purpose::Commit);
        Budget::answered(&tenant, all.remove(0), Duration::from_secs(3));
        let begin = tokio::time::Instant::now();
        let next = budget.request(&tenant, Purpose::Commit, false).await;
        assert_eq!(begin.elapsed().as_secs(), 3);
        Budget::answered(&None, next, Duration::from_secs(3));
        assert!(budget.request(&tenant, Purpose::Commit, false).now_or_never().is_some(), "RootSyncs do not pause");
    }

    #[tokio::test(start_paused = true)]
    async fn heavy_objects_of_tenants_are_applied_one_after_the_other() {
        let budget = Budget::default();
        let [root, a, b] = [None, Some("a".to_owned()), Some("b".to_owned())];
        let heavy = |party| budget.request(party, Purpose::Commit, true);
        let small = turns(&budget, &a, Purpose::Commit);
        let first = heavy(&a).now_or_never().expect("it does not wait for the small ones of its tenant");
        let (mut own, mut next) = (Box::pin(heavy(&a)), Box::pin(heavy(&b)));
        assert!(own.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        assert!(heavy(&root).now_or_never().is_some(), "RootSyncs do not wait");
        drop(small);
        assert_eq!(turns(&budget, &a, Purpose::Commit).len(), REQUESTS.tenant, "the small ones do not wait for it");
        let begin = tokio::time::Instant::now();
        Budget::answered(&a, first, Duration::from_secs(3));
        let next = next.await;
        assert!(begin.elapsed().is_zero(), "the other tenant waits for no pause");
        assert!(own.as_mut().now_or_never().is_none());
        drop(next);
        let _own = own.await;
        assert_eq!(begin.elapsed(), HEAVY_PAUSES * Duration::from_secs(3));
    }
}
