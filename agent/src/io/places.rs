//! Places for work that takes long or hangs, such as requests to git servers and to the API server: no party takes all of them.
//!
//! The RootSyncs of the cluster are one party, and the RepoSyncs of each namespace are another one. A place that becomes free goes
//! to RootSyncs first. Among tenants it goes to the one that has the fewest places, and of these to the one that waited longest.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::model::metadata::SyncId;
use crate::model::shared::lock;

/// Those who have places together: `None` for RootSyncs, else the namespace of RepoSyncs.
pub type Party = Option<String>;

/// The party of a sync.
pub fn party(sync: &SyncId) -> Party {
    sync.scope().map(ToOwned::to_owned)
}

/// The numbers of places that parties can have at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// All.
    pub all: usize,
    /// All tenants together: the rest is kept for RootSyncs.
    pub tenants: usize,
    /// One tenant. So many are kept for tenants too, unless they may have all places.
    pub tenant: usize,
}

impl Shares {
    /// `true` if the party can have one more.
    fn allow(&self, party: &Party, taken: &Taken) -> bool {
        let own = taken.parties.get(party).copied().unwrap_or(0);
        let most = match party {
            None => self.all - if self.tenants < self.all { self.tenant } else { 0 },
            Some(_) => self.tenant,
        };
        taken.all < self.all && own < most && (party.is_none() || taken.tenants < self.tenants)
    }
}

/// The places that are taken.
#[derive(Debug, Default)]
struct Taken {
    parties: BTreeMap<Party, usize>,
    tenants: usize,
    all: usize,
}

impl Taken {
    fn add(&mut self, party: &Party) {
        *self.parties.entry(party.clone()).or_default() += 1;
        self.tenants += usize::from(party.is_some());
        self.all += 1;
    }

    fn remove(&mut self, party: &Party) {
        self.remove_own(party);
        self.remove_common(party);
    }

    /// The party can have one more.
    fn remove_own(&mut self, party: &Party) {
        if let Some(own) = self.parties.get_mut(party) {
            *own -= 1;
            if *own == 0 {
                self.parties.remove(party);
            }
        }
    }

    /// Others can have one more.
    fn remove_common(&mut self, party: &Party) {
        self.tenants -= usize::from(party.is_some());
        self.all -= 1;
    }

    fn of(&self, party: &Party) -> usize {
        self.parties.get(party).copied().unwrap_or(0)
    }
}

/// Places of one sort. Work that is done at a server needs a place there too.
#[derive(Debug)]
pub struct SharedPlaces(Arc<Mutex<PlacesState>>);

#[derive(Debug)]
struct PlacesState {
    shares: Shares,
    at_server: Shares,
    taken: Taken,
    /// The places at each server.
    servers: BTreeMap<String, Taken>,
    waiting: BTreeMap<Party, Waiting>,
    /// The number of places that were given.
    given: u64,
    /// The holder of each place, by the number of the place.
    holders: BTreeMap<u64, Holder>,
}

/// The work of one party that waits.
#[derive(Debug, Default)]
struct Waiting {
    /// The number of the last place that it was given.
    served: u64,
    /// By server; empty for work that is done at none.
    at: BTreeMap<String, VecDeque<oneshot::Sender<(SharedPlace, Visit)>>>,
}

#[derive(Debug)]
struct Holder {
    party: Party,
    /// Empty where it is at none, or has left it.
    server: String,
    since: Instant,
    /// Others have the place already.
    rests: bool,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it frees the place"]
pub struct SharedPlace {
    places: Option<Arc<Mutex<PlacesState>>>,
    number: u64,
}

/// The part of a place that is at a server. It is free again when this is dropped, or together with the place.
#[derive(Debug)]
#[must_use = "dropping it ends the visit"]
pub struct Visit {
    places: Option<Arc<Mutex<PlacesState>>>,
    number: u64,
}

/// The reason why work has waited for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jam {
    /// The server keeps so many requests of others for long.
    Server(usize),
    /// The party itself has so many places for long.
    Party(usize),
}

impl SharedPlaces {
    /// Places that have nothing to do with servers.
    pub fn new(shares: Shares) -> Self {
        Self::with_servers(shares, shares)
    }

    /// Places of which each server has so many.
    pub fn with_servers(shares: Shares, at_server: Shares) -> Self {
        Self(Arc::new(Mutex::new(PlacesState {
            shares,
            at_server,
            taken: Taken::default(),
            servers: BTreeMap::new(),
            waiting: BTreeMap::new(),
            given: 0,
            holders: BTreeMap::new(),
        })))
    }

    /// Waits for a place.
    pub async fn place(&self, party: &Party) -> SharedPlace {
        self.visit(party, "").await.0
    }

    /// Waits for a place for work at a server, which has a name; it is empty for work at none.
    pub async fn visit(&self, party: &Party, server: &str) -> (SharedPlace, Visit) {
        let given = {
            let mut state = lock(&self.0);
            if state.allows(party, server) {
                return state.give(&self.0, party, server);
            }
            let (sender, given) = oneshot::channel();
            let queue = state.waiting.entry(party.clone()).or_default().at.entry(server.to_owned()).or_default();
            queue.retain(|waiting| !waiting.is_closed());
            queue.push_back(sender);
            given
        };
        given.await.expect("the sender is in the state of these places")
    }

    /// The reason why work waits, if others have had what it waits for as long as `hangs`: they do not work, they hang.
    pub fn jam(&self, party: &Party, server: &str, hangs: Duration) -> Option<Jam> {
        let state = lock(&self.0);
        let count = |is_it: &dyn Fn(&Holder) -> bool| {
            let old = state.holders.values().filter(|holder| is_it(holder) && holder.since.elapsed() >= hangs);
            Some(old.count()).filter(|count| *count > 0)
        };
        let at_server = || count(&|holder| !server.is_empty() && holder.server == server).map(Jam::Server);
        at_server().or_else(|| count(&|holder| holder.party == *party).map(Jam::Party))
    }
}

impl PlacesState {
    fn allows(&self, party: &Party, server: &str) -> bool {
        let at_server = || self.servers.get(server).is_none_or(|taken| self.at_server.allow(party, taken));
        self.shares.allow(party, &self.taken) && (server.is_empty() || at_server())
    }

    fn give(&mut self, places: &Arc<Mutex<Self>>, party: &Party, server: &str) -> (SharedPlace, Visit) {
        self.given += 1;
        let number = self.given;
        self.taken.add(party);
        if !server.is_empty() {
            self.servers.entry(server.to_owned()).or_default().add(party);
        }
        let holder = Holder { party: party.clone(), server: server.to_owned(), since: Instant::now(), rests: false };
        self.holders.insert(number, holder);
        let places = || Some(Arc::clone(places));
        (SharedPlace { places: places(), number }, Visit { places: places(), number })
    }

    /// Gives free places to those that wait.
    fn serve(&mut self, places: &Arc<Mutex<Self>>) {
        while let Some((party, server)) = self.next() {
            let Some(waiting) = self.waiting.get_mut(&party) else { return };
            let sender = waiting.at.get_mut(&server).and_then(VecDeque::pop_front);
            let Some(sender) = sender.filter(|sender| !sender.is_closed()) else {
                self.forget_empty(&party, &server);
                continue;
            };
            waiting.served = self.given + 1;
            let given = self.give(places, &party, &server);
            if let Err((mut place, mut visit)) = sender.send(given) {
                // Its work was given up just now. They are not dropped under this lock.
                (place.places, visit.places) = (None, None);
                self.end(place.number);
            }
            self.forget_empty(&party, &server);
        }
    }

    /// The party that is given the next place, and the server of its work.
    fn next(&self) -> Option<(Party, String)> {
        let fitting = |party: &Party, waiting: &Waiting| {
            let fits = self.shares.allow(party, &self.taken);
            let mut at = waiting.at.keys().filter(|server| fits && self.allows(party, server));
            at.next().cloned()
        };
        let fitting = self.waiting.iter().filter_map(|(party, waiting)| {
            let server = fitting(party, waiting)?;
            Some(((party.is_some(), self.taken.of(party), waiting.served), (party, server)))
        });
        let (_, (party, server)) = fitting.min_by_key(|(rank, _)| *rank)?;
        Some((party.clone(), server))
    }

    fn forget_empty(&mut self, party: &Party, server: &str) {
        let Some(waiting) = self.waiting.get_mut(party) else { return };
        if waiting.at.get(server).is_some_and(VecDeque::is_empty) {
            waiting.at.remove(server);
        }
        if waiting.at.is_empty() {
            self.waiting.remove(party);
        }
    }

    /// Ends the visit to a server.
    fn leave(&mut self, number: u64) {
        let Some(holder) = self.holders.get_mut(&number) else { return };
        let server = std::mem::take(&mut holder.server);
        if let Some(taken) = self.servers.get_mut(&server) {
            taken.remove(&holder.party);
            if taken.all == 0 {
                self.servers.remove(&server);
            }
        }
    }

    fn end(&mut self, number: u64) {
        self.leave(number);
        match self.holders.remove(&number) {
            Some(holder) if holder.rests => self.taken.remove_own(&holder.party),
            Some(holder) => self.taken.remove(&holder.party),
            None => {}
        }
    }

    fn rest(&mut self, number: u64) {
        if let Some(holder) = self.holders.get_mut(&number).filter(|holder| !holder.rests) {
            holder.rests = true;
            self.taken.remove_common(&holder.party);
        }
    }
}

impl SharedPlace {
    /// Leaves the place to others. Its own party can have another one only when this is dropped.
    pub fn rest(&mut self) {
        if let Some(places) = &self.places {
            let mut state = lock(places);
            state.rest(self.number);
            state.serve(places);
        }
    }
}

impl Drop for SharedPlace {
    fn drop(&mut self) {
        if let Some(places) = self.places.take() {
            let mut state = lock(&places);
            state.end(self.number);
            state.serve(&places);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(places) = self.places.take() {
            let mut state = lock(&places);
            state.leave(self.number);
            state.serve(&places);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::*;

    const SHARES: Shares = Shares { all: 10, tenants: 7, tenant: 3 };
    const AT_SERVER: Shares = Shares { all: 4, tenants: 3, tenant: 2 };

    fn tenant(name: &str) -> Party {
        Some(name.to_owned())
    }

    /// As many places as can be had at once.
    fn fill(places: &SharedPlaces, party: &Party, server: &str) -> Vec<(SharedPlace, Visit)> {
        std::iter::from_fn(|| places.visit(party, server).now_or_never()).collect()
    }

    /// Asks for places for each of the parties, in this order.
    fn queue<'a>(places: &'a SharedPlaces, parties: &'a [Party]) -> Vec<BoxFuture<'a, SharedPlace>> {
        let mut waiting: Vec<_> = parties.iter().map(|party| places.place(party).boxed()).collect();
        assert!(waiting.iter_mut().all(|place| place.now_or_never().is_none()), "they wait");
        waiting
    }

    #[test]
    fn a_place_that_rests_is_kept_from_its_own_party_alone() {
        let places = SharedPlaces::new(SHARES);
        let (mut a, b) = (fill(&places, &tenant("a"), ""), fill(&places, &tenant("b"), ""));
        let c = fill(&places, &tenant("c"), "");
        assert_eq!((a.len(), b.len(), c.len()), (3, 3, 1));
        a[0].0.rest();
        a[0].0.rest();
        assert_eq!(fill(&places, &tenant("a"), "").len(), 0, "it has its places still");
        let more = fill(&places, &tenant("c"), "");
        assert_eq!(more.len(), 1, "another one has that of the first");
        drop(a.remove(0));
        drop(more);
        assert_eq!(fill(&places, &tenant("a"), "").len(), 1);
        drop((a, b, c));
        assert_eq!(fill(&places, &None, "").len(), 7, "each was given back once");
    }

    #[test]
    fn no_party_takes_all_places() {
        let places = SharedPlaces::new(SHARES);
        let (a, b) = (fill(&places, &tenant("a"), ""), fill(&places, &tenant("b"), ""));
        let (c, d) = (fill(&places, &tenant("c"), ""), fill(&places, &tenant("d"), ""));
        assert_eq!((a.len(), b.len(), c.len(), d.len()), (3, 3, 1, 0), "tenants leave some to RootSyncs");
        assert_eq!(fill(&places, &None, "").len(), 3);
        drop((a, b, c));
        let roots = fill(&places, &None, "");
        assert_eq!(roots.len(), 7, "and RootSyncs leave some to a tenant, those that they had before are free again");
        assert_eq!(fill(&places, &tenant("d"), "").len(), 3);
    }

    #[test]
    fn a_free_place_goes_to_root_syncs_and_then_to_the_tenant_that_has_the_fewest() {
        let places = SharedPlaces::new(Shares { all: 3, tenants: 3, tenant: 2 });
        let (a, b) = (tenant("a"), tenant("b"));
        let mut held = fill(&places, &a, "");
        held.extend(fill(&places, &b, ""));
        assert_eq!(held.len(), 3, "two of a, one of b");
        let parties = [a.clone(), a.clone(), b.clone(), b.clone(), None];
        let mut waiting = queue(&places, &parties);
        let mut next = |held: &mut Vec<(SharedPlace, Visit)>, index: usize| {
            drop(held.remove(0));
            let mut come: Vec<usize> = Vec::new();
            let mut kept = Vec::new();
            for (at, place) in waiting.iter_mut().enumerate() {
                if let Some(place) = place.now_or_never() {
                    (come.push(at), kept.push(place)).0
                }
            }
            assert_eq!(come, [index]);
            std::mem::forget(kept);
            waiting[index] = std::future::pending().boxed();
        };
        next(&mut held, 4);
        next(&mut held, 0);
        next(&mut held, 2);
    }

    #[test]
    fn a_silent_server_keeps_no_place_of_other_servers() {
        let places = SharedPlaces::with_servers(SHARES, AT_SERVER);
        let (a, b) = (tenant("a"), tenant("b"));
        let silent = fill(&places, &a, "silent");
        assert_eq!(silent.len(), 2);
        assert_eq!(fill(&places, &b, "silent").len(), 1, "tenants leave one of this server to RootSyncs");
        let mut more = places.visit(&a, "silent").boxed();
        assert!(more.as_mut().now_or_never().is_none());
        assert_eq!(fill(&places, &a, "other").len(), 1, "its own share");
        assert_eq!(fill(&places, &None, "silent").len(), 2);
        let (place, visit) = silent.into_iter().next().expect("it has two");
        drop(visit);
        let (_more, _) = more.now_or_never().expect("the first work is at the server no more");
        drop(place);
    }

    #[test]
    fn work_that_is_given_up_takes_no_place() {
        let places = SharedPlaces::new(Shares { all: 1, tenants: 1, tenant: 1 });
        let (a, b) = (tenant("a"), tenant("b"));
        let held = fill(&places, &a, "");
        let mut given_up = places.place(&b).boxed();
        assert!(given_up.as_mut().now_or_never().is_none());
        let mut next = places.place(&b).boxed();
        assert!(next.as_mut().now_or_never().is_none());
        drop(given_up);
        drop(held);
        let place = next.now_or_never().expect("it is the next");
        // One that is given up after it was given its place frees it.
        let mut late = places.place(&a).boxed();
        assert!(late.as_mut().now_or_never().is_none());
        drop(place);
        drop(late);
        assert_eq!(fill(&places, &b, "").len(), 1);
        assert!(lock(&places.0).waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_told_from_what_works() {
        const HANGS: Duration = Duration::from_secs(5);
        let places = SharedPlaces::with_servers(SHARES, AT_SERVER);
        let (a, b) = (tenant("a"), tenant("b"));
        let _held = fill(&places, &a, "silent");
        assert_eq!(places.jam(&a, "silent", HANGS), None);
        tokio::time::advance(HANGS).await;
        assert_eq!(places.jam(&b, "silent", HANGS), Some(Jam::Server(2)));
        assert_eq!(places.jam(&a, "other", HANGS), Some(Jam::Party(2)));
        assert_eq!(places.jam(&b, "other", HANGS), None);
    }
}
