//! The objects of each sync, as the syncs tell each other: no sync deletes what another one has.
//!
//! RootSyncs hear of all syncs, a RepoSync of RootSyncs and of those of its namespace. Each of n syncs that hear of each other has
//! something to tell, and hears of n: what is told takes a pause by that measure, in which further news are collected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::AgentContext;
use crate::io::kubernetes::patience::patiently;
use crate::io::places::{Party, party};
use crate::io::reports::read_inventory;
use crate::model::metadata::SyncId;
use crate::model::shared::lock;
use crate::sync::engine::{AllSyncs, HeldObjects, Holdings};
use crate::sync::inventory::InventoryRecord;

/// The pause for each sync that hears of another one: a thousand of one namespace hear some times a second of each other.
const OF_EACH: Duration = Duration::from_nanos(200);

/// All syncs, with their objects. Nothing is told before they are listed, and where none is served.
#[derive(Default)]
pub(super) struct SyncHoldings(Mutex<KnownHoldings>);

#[derive(Default)]
struct KnownHoldings {
    /// By their manager annotation, for each party.
    syncs: BTreeMap<Party, AllSyncs>,
    is_listed: bool,
    hearers: BTreeMap<Party, watch::Sender<Option<Arc<AllSyncs>>>>,
    /// The parties whose syncs have something new.
    news: BTreeSet<Party>,
    quiet_until: Option<Instant>,
    /// The news are told at the end of the pause.
    is_due: bool,
}

impl SyncHoldings {
    /// The syncs that this one hears of.
    pub(super) fn heard_by(&self, sync: &SyncId) -> watch::Receiver<Option<Arc<AllSyncs>>> {
        let (mut known, party) = (lock(&self.0), party(sync));
        if let Some(told) = known.hearers.get(&party) {
            return told.subscribe();
        }
        let heard = known.is_listed.then(|| Arc::new(known.heard_by(&party)));
        known.hearers.entry(party).or_insert(watch::Sender::new(heard)).subscribe()
    }

    /// Tells all syncs which syncs there are, at once.
    pub(super) fn tell_syncs(&self, syncs: &BTreeSet<&SyncId>) {
        let mut known = lock(&self.0);
        let mut parties: BTreeMap<Party, BTreeSet<String>> = BTreeMap::new();
        for sync in syncs {
            parties.entry(party(sync)).or_default().insert(sync.manager());
        }
        let mut before = std::mem::take(&mut known.syncs);
        let gone: Vec<Party> = before.keys().filter(|party| !parties.contains_key(party)).cloned().collect();
        known.news.extend(gone);
        for (party, managers) in parties {
            let mut told = before.remove(&party).unwrap_or_default();
            if !told.keys().eq(&managers) {
                known.news.insert(party.clone());
            }
            let holdings = |manager: String| {
                let held = told.remove(&manager).unwrap_or_default();
                (manager, held)
            };
            let syncs = managers.into_iter().map(holdings).collect();
            known.syncs.insert(party, syncs);
        }
        if !known.is_listed {
            known.is_listed = true;
            known.news.insert(None);
        }
        known.tell();
    }

    /// Tells all syncs which objects this one has.
    pub(super) fn share(self: &Arc<Self>, sync: &SyncId, holdings: Holdings) {
        let mut known = lock(&self.0);
        let party = party(sync);
        let told = known.syncs.get_mut(&party).and_then(|syncs| syncs.get_mut(&sync.manager()));
        let Some(told) = told else { return };
        *told = holdings;
        known.news.insert(party);
        match known.quiet_until.filter(|until| Instant::now() < *until) {
            None => known.tell(),
            Some(_) if known.is_due => {}
            Some(until) => {
                known.is_due = true;
                let holdings = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep_until(until).await;
                    lock(&holdings.0).tell();
                });
            }
        }
    }

    /// `true` if the sync is there and has not told yet which objects it has.
    fn is_untold(&self, sync: &SyncId) -> bool {
        let known = lock(&self.0);
        let told = known.syncs.get(&party(sync)).and_then(|syncs| syncs.get(&sync.manager()));
        matches!(told, Some(Holdings::Untold))
    }
}

impl KnownHoldings {
    /// The syncs that a party hears of.
    fn heard_by(&self, party: &Party) -> AllSyncs {
        let heard = self.syncs.iter().filter(|(of, _)| party.is_none() || of.is_none() || *of == party);
        heard.flat_map(|(_, syncs)| syncs.iter().map(|(manager, held)| (manager.clone(), held.clone()))).collect()
    }

    /// Tells the news.
    fn tell(&mut self) {
        self.is_due = false;
        let news = std::mem::take(&mut self.news);
        if news.is_empty() || !self.is_listed {
            return;
        }
        self.hearers.retain(|_, told| told.receiver_count() > 0);
        let mut pairs = 0;
        for (party, told) in &self.hearers {
            if party.is_none() || news.contains(&None) || news.contains(party) {
                let heard = self.heard_by(party);
                pairs += told.receiver_count() * heard.len();
                told.send_replace(Some(Arc::new(heard)));
            }
        }
        self.quiet_until = Some(Instant::now() + OF_EACH * u32::try_from(pairs).unwrap_or(u32::MAX));
    }
}

/// Tells the other syncs which objects a sync that does not run has by its record, unless it has told that itself. Their deletions
/// wait for that.
pub(super) async fn tell_recorded(context: &AgentContext, id: &SyncId) {
    // The sender is there as long as the receiver is.
    let _ = context.holdings.heard_by(id).wait_for(Option::is_some).await;
    if !context.holdings.is_untold(id) {
        return;
    }
    let read = {
        let _place = context.budget.start(&party(id)).await;
        patiently(|| read_inventory(&context.cluster, id)).await
    };
    let holdings = match read {
        Ok(record) => {
            let mut objects = record.as_ref().map(InventoryRecord::objects).unwrap_or_default();
            objects.retain(|object| id.covers(object));
            Holdings::Known(Arc::new(HeldObjects::recorded(objects)))
        }
        Err(_) => Holdings::Unreadable,
    };
    if context.holdings.is_untold(id) {
        context.holdings.share(id, holdings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(syncs: &mut watch::Receiver<Option<Arc<AllSyncs>>>) -> Option<Vec<String>> {
        let news = syncs.has_changed().expect("it is not closed");
        let told = syncs.borrow_and_update();
        told.as_ref().filter(|_| news).map(|told| told.keys().cloned().collect())
    }

    fn some() -> Holdings {
        Holdings::Known(Arc::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_repo_sync_hears_of_root_syncs_and_of_its_namespace() {
        let holdings: Arc<SyncHoldings> = Arc::default();
        let (root, shop, bank) = (SyncId::root("a"), SyncId::repo("shop", "b"), SyncId::repo("bank", "c"));
        let [mut of_root, mut of_shop, mut of_bank] = [&root, &shop, &bank].map(|sync| holdings.heard_by(sync));
        assert_eq!(heard(&mut of_root), None, "they are not listed");
        holdings.tell_syncs(&[&root, &shop, &bank].into());
        let names = |syncs: &[&SyncId]| Some(syncs.iter().map(|sync| sync.manager()).collect::<Vec<_>>());
        assert_eq!(heard(&mut of_root), names(&[&root, &bank, &shop]));
        assert_eq!(heard(&mut of_shop), names(&[&root, &shop]));
        assert_eq!(heard(&mut of_bank), names(&[&root, &bank]));

        tokio::time::advance(Duration::from_secs(1)).await;
        holdings.share(&shop, some());
        assert!(heard(&mut of_root).is_some() && heard(&mut of_shop).is_some() && heard(&mut of_bank).is_none());
        tokio::time::advance(Duration::from_secs(1)).await;
        holdings.share(&root, some());
        assert!(heard(&mut of_shop).is_some() && heard(&mut of_bank).is_some());
        assert!(!holdings.is_untold(&shop) && holdings.is_untold(&bank));
        let second = SyncId::repo("shop", "d");
        holdings.tell_syncs(&[&root, &shop, &bank, &second].into());
        assert!(heard(&mut of_shop).is_some() && heard(&mut of_bank).is_none());
        let told = of_shop.borrow().clone().expect("told");
        assert!(matches!(told[&shop.manager()], Holdings::Known(_)), "what was told stays");
    }

    #[tokio::test(start_paused = true)]
    async fn news_of_many_syncs_are_told_together() {
        let syncs: Vec<SyncId> = (0..100).map(|index| SyncId::repo("shop", &format!("s-{index}"))).collect();
        let holdings: Arc<SyncHoldings> = Arc::default();
        let mut hearers: Vec<_> = syncs.iter().map(|sync| holdings.heard_by(sync)).collect();
        holdings.tell_syncs(&syncs.iter().collect());
        hearers.iter_mut().for_each(|hearer| _ = heard(hearer));
        let mut times = 0;
        for sync in &syncs {
            holdings.share(sync, some());
            times += usize::from(heard(&mut hearers[0]).is_some());
        }
        assert_eq!(times, 0, "they were told of each other just now");
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(heard(&mut hearers[0]).is_some());
        let told = hearers[0].borrow().clone().expect("told");
        assert!(told.values().all(|held| matches!(held, Holdings::Known(_))));
    }
}
