//! The repositories that syncs follow, each opened once and asked once per period, whatever the number of syncs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::git::{Commit, GitError, Refs, Remote, Store, Want};

/// Every open repository, by URL.
#[derive(Default)]
pub struct Repositories(Mutex<BTreeMap<String, Weak<Shared>>>);

/// `None` until it is opened.
type Shared = Mutex<Option<Open>>;

/// One repository as one sync sees it.
pub struct Repository {
    open: Arc<Shared>,
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
        // Whoever opens or works on one repository keeps nobody from opening another.
        let shared = self.of(&remote.url);
        let mut guard = lock(&shared);
        let open = match &mut *guard {
            Some(open) => open,
            none => none.insert(Open { store: Store::open(remote, cache)?, followers: Vec::new(), listed: None }),
        };
        open.followers.push((want.clone(), Arc::downgrade(changed)));
        drop(guard);
        Ok(Repository { open: shared, want, changed: Arc::clone(changed) })
    }

    fn of(&self, url: &str) -> Arc<Shared> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(url).and_then(Weak::upgrade).unwrap_or_else(|| {
            let new = Arc::default();
            all.insert(url.to_owned(), Arc::downgrade(&new));
            new
        })
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Option<Open>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn opened(open: &mut Option<Open>) -> &mut Open {
    open.as_mut().expect("a Repository is one that was opened")
}

impl Repository {
    /// The commit that is wanted. What another sync was told less than `age` ago is good enough.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn resolve(&self, age: Duration) -> Result<Commit, GitError> {
        let mut guard = lock(&self.open);
        let open = opened(&mut guard);
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
        work(&mut opened(&mut lock(&self.open)).store)
    }
}
