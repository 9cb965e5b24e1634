//! The repositories that syncs follow, each opened once and asked once per period, whatever the number of syncs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::git::{Commit, GitError, Refs, Remote, Store, Want};

/// Every open repository, by URL.
#[derive(Default)]
pub struct Repositories(Mutex<BTreeMap<String, Weak<Mutex<Open>>>>);

/// One repository as one sync sees it.
pub struct Repository {
    open: Arc<Mutex<Open>>,
    want: Want,
    /// Told when another sync's poll may have found something new for this one.
    changed: Arc<Notify>,
}

struct Open {
    store: Store,
    followers: Vec<(Want, Weak<Notify>)>,
    listed: Option<(Instant, Vec<Want>, Refs)>,
}

impl Repositories {
    /// Opens a repository, or joins those who have it open.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(
        &self,
        remote: &Remote,
        cache: &Path,
        want: Want,
        changed: &Arc<Notify>,
    ) -> Result<Repository, GitError> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match all.get(&remote.url).and_then(Weak::upgrade) {
            Some(open) => open,
            None => {
                let store = Store::open(remote, cache)?;
                let open = Arc::new(Mutex::new(Open { store, followers: Vec::new(), listed: None }));
                all.insert(remote.url.clone(), Arc::downgrade(&open));
                open
            }
        };
        // Whoever works on one repository keeps nobody from opening another.
        drop(all);
        lock(&open).followers.push((want.clone(), Arc::downgrade(changed)));
        Ok(Repository { open, want, changed: Arc::clone(changed) })
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repository {
    /// The commit that is wanted. What another sync was told less than `age` ago is good enough.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn resolve(&self, age: Duration) -> Result<Commit, GitError> {
        let mut open = lock(&self.open);
        let fresh = |(at, wants, _): &&(Instant, Vec<Want>, Refs)| at.elapsed() < age && wants.contains(&self.want);
        if let Some((_, _, refs)) = open.listed.as_ref().filter(fresh) {
            return refs.commit(&self.want);
        }
        open.followers.retain(|(_, changed)| changed.strong_count() > 0);
        let wants: Vec<Want> = open.followers.iter().map(|(want, _)| want.clone()).collect();
        let refs = open.store.list(&wants)?;
        let commit = refs.commit(&self.want);
        let before = open.listed.replace((Instant::now(), wants, refs.clone()));
        for (want, changed) in &open.followers {
            let moved = before.as_ref().and_then(|(_, _, old)| old.commit(want).ok()) != refs.commit(want).ok();
            if let Some(changed) = changed.upgrade().filter(|changed| moved && !Arc::ptr_eq(changed, &self.changed)) {
                changed.notify_one();
            }
        }
        commit
    }

    /// Works on the store, alone.
    pub fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut lock(&self.open).store)
    }
}
