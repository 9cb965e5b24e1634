//! The repositories that syncs follow. Each is opened once and asked for its refs once in a period, whatever the number of
//! its syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::git::{Commit, FailureClass, GitError, GitObserver, Refs, Remote, Store, Want, sweep};
use super::memory::SharedMemory;
use super::places::{Jam, Party, SharedPlace, SharedPlaces, Shares, Visit};
use super::quarantine::{Quarantine, ReadAttempt, ReadSubject};
use crate::model::shared::lock;
use crate::model::url::repository_name;

/// Requests to one git server at a time. A server that does not answer holds no more threads than that.
const AT_SERVER: Shares = Shares { all: 8, tenants: 6, tenant: 3 };

/// Threads for reading and compiling sources, over all syncs. Git servers that do not answer hold some for a while; the sources
/// that find none free take their turn.
const READING: Shares = Shares { all: 28, tenants: 20, tenant: 6 };

/// Threads of the process. Names of API servers are looked up on those that sources leave.
pub const BLOCKING_THREADS: usize = READING.all + 4;

/// The wait for a turn after which it is looked what others do with theirs: as long as for the answer of a server.
const TURN: Duration = Duration::from_secs(30);

/// A request that takes longer hangs, or fetches something large.
const HANGS: Duration = Duration::from_secs(5);

/// Bytes of the mirrors beyond which those that are not used are removed.
pub const CACHE_LIMIT: u64 = 4 << 30;

/// Time between two looks at the size of the cache.
const SWEPT: Duration = Duration::from_secs(600);

/// Every open repository, and what their readings share.
pub struct Repositories {
    slots: Mutex<BTreeMap<Remote, Weak<RepositorySlot>>>,
    memory: Arc<SharedMemory>,
    quarantine: Quarantine,
    cache_limit: u64,
    swept: Mutex<Option<Instant>>,
    observer: Option<GitObserver>,
    places: SharedPlaces,
}

impl Default for Repositories {
    fn default() -> Self {
        Self::new(CACHE_LIMIT, None)
    }
}

/// A place for one repository.
#[derive(Default)]
struct RepositorySlot {
    /// `None` until it is opened. It is locked while its server is asked.
    open: Mutex<Option<OpenRepository>>,
    news: Mutex<RepositoryNews>,
}

/// The syncs that follow a repository, and what they were told of it.
#[derive(Default)]
struct RepositoryNews {
    followers: Vec<(Want, Weak<Notify>)>,
    /// The last time at which the server may have had news: answers to questions before do not count.
    at: Option<Instant>,
}

/// A repository that one sync follows at one ref.
pub struct Repository {
    slot: Arc<RepositorySlot>,
    want: Want,
    /// Notified when the poll of another sync finds another commit at the ref of this one.
    changed: Arc<Notify>,
}

struct OpenRepository {
    store: Store,
    /// The last answer: the time of the question, the refs that were asked for, and their commits.
    listed: Option<(Instant, BTreeSet<Want>, Refs)>,
}

impl Repositories {
    /// None is open. Mirrors make room when all of them take more than so many bytes. `observer` is told of requests to git servers.
    pub fn new(cache_limit: u64, observer: Option<GitObserver>) -> Self {
        Self {
            slots: Mutex::default(),
            memory: Arc::default(),
            quarantine: Quarantine::default(),
            cache_limit,
            observer,
            swept: Mutex::default(),
            places: SharedPlaces::with_servers(READING, AT_SERVER),
        }
    }

    /// Waits for a thread to read a source on.
    pub async fn thread(&self, party: &Party) -> SharedPlace {
        self.places.place(party).await
    }

    /// Waits for a thread to read a source on, and for a turn at the server of its remote, or at the proxy before it.
    ///
    /// # Errors
    /// When servers that do not answer keep the syncs of this party waiting for too long.
    pub async fn turn(&self, party: &Party, remote: &Remote) -> Result<(SharedPlace, Visit), GitError> {
        let server = remote.server().unwrap_or_default();
        let mut turn = std::pin::pin!(self.places.visit(party, &server));
        loop {
            if let Ok(turn) = tokio::time::timeout(TURN, &mut turn).await {
                return Ok(turn);
            }
            let message = match self.places.jam(party, &server, HANGS) {
                // The others work, and it takes long.
                None => continue,
                Some(Jam::Server(others)) => {
                    format!("no answer from {server}: it keeps {others} other requests waiting")
                }
                Some(Jam::Party(others)) => {
                    let syncs = if party.is_some() { "RepoSyncs of this namespace" } else { "RootSyncs" };
                    format!("{server} is not asked yet: {others} requests of {syncs} to git servers are not answered")
                }
            };
            return Err(GitError::new(FailureClass::Unreachable, message));
        }
    }

    /// A commit was read: the next sweep is due.
    pub fn grown(&self) {
        *lock(&self.swept) = None;
    }

    /// Removes mirrors that are not used, from time to time and when one has grown. Where that does not make enough room, the
    /// largest of the others are emptied.
    pub fn sweep(&self, cache: &Path) {
        let mut swept = lock(&self.swept);
        if swept.is_some_and(|at| at.elapsed() < SWEPT) {
            return;
        }
        *swept = Some(Instant::now());
        drop(swept);
        match sweep(cache, self.cache_limit, SystemTime::now()) {
            Ok(left) => self.empty_largest(left),
            Err(error) => tracing::warn!(%error, "cannot remove repositories that are not used from the cache"),
        }
    }

    /// Empties mirrors that syncs use, the largest first, until all of them take less than the limit. Their commits are read
    /// already; the next ones are fetched as a whole. A mirror that is being read is left.
    fn empty_largest(&self, mut left: u64) {
        if left <= self.cache_limit {
            return;
        }
        let slots: Vec<Arc<RepositorySlot>> = lock(&self.slots).values().filter_map(Weak::upgrade).collect();
        let mut open: Vec<_> = slots.iter().filter_map(|slot| slot.open.try_lock().ok()).collect();
        open.sort_by_cached_key(|open| std::cmp::Reverse(open.as_ref().map(|open| open.store.mirrored())));
        for store in open.iter_mut().filter_map(|open| Some(&mut open.as_mut()?.store)) {
            if left <= self.cache_limit {
                return;
            }
            let bytes = store.mirrored();
            match store.empty() {
                Ok(()) => left = left.saturating_sub(bytes),
                Err(error) => tracing::warn!(error = error.message, "cannot empty the copy of a repository"),
            }
        }
        let limit = self.cache_limit;
        if left > limit {
            tracing::warn!(
                bytes = left,
                limit,
                "the repositories that are being read take more of the cache than its limit"
            );
        }
    }

    /// Opens a repository, or joins the syncs that have it open.
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
        // The lock on all repositories is released before one is opened, which may take long.
        let remote = remote.clone().normalised();
        let slot = self.of(&remote);
        let mut guard = lock(&slot.open);
        if guard.is_none() {
            let store = Store::open(&remote, cache)?.observed(self.observer.clone());
            *guard = Some(OpenRepository { store, listed: None });
        }
        lock(&slot.news).followers.push((want.clone(), Arc::downgrade(changed)));
        drop(guard);
        Ok(Repository { slot, want, changed: Arc::clone(changed) })
    }

    /// Has the syncs ask for their commits now whose repository has such a [name](repository_name). Returns their number. It does not
    /// wait for a server that is being asked.
    pub fn ask_again(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        let slots: Vec<Arc<RepositorySlot>> = {
            let all = lock(&self.slots);
            let meant =
                all.iter().filter(|(remote, _)| repository_name(&remote.url).is_some_and(|name| is_meant(&name)));
            meant.filter_map(|(_, slot)| slot.upgrade()).collect()
        };
        let tell = |slot: Arc<RepositorySlot>| {
            let mut news = lock(&slot.news);
            news.at = Some(Instant::now());
            let followers = news.followers.iter().filter_map(|(_, changed)| changed.upgrade());
            followers.map(|changed| changed.notify_one()).count()
        };
        slots.into_iter().map(tell).sum()
    }

    /// The memory for all readings.
    pub fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// The next reading of a commit.
    ///
    /// # Errors
    /// As [`Quarantine::attempt`].
    pub fn attempt(&self, cache: &Path, subject: &ReadSubject) -> Result<ReadAttempt<'_>, GitError> {
        self.quarantine.attempt(cache, subject, &self.memory)
    }

    /// The process ends because it was told so: readings that it cuts off are no deaths.
    pub fn end(&self) {
        self.quarantine.end();
    }

    fn of(&self, remote: &Remote) -> Arc<RepositorySlot> {
        let mut all = lock(&self.slots);
        // Credentials that no sync uses any more are forgotten.
        all.retain(|_, slot| slot.strong_count() > 0);
        all.get(remote).and_then(Weak::upgrade).unwrap_or_else(|| {
            let new = Arc::default();
            all.insert(remote.clone(), Arc::downgrade(&new));
            new
        })
    }
}

fn opened(open: &mut Option<OpenRepository>) -> &mut OpenRepository {
    open.as_mut().expect("a Repository is one that was opened")
}

impl Repository {
    /// The commit at the ref. An answer that another sync got less than `age` ago is used again.
    ///
    /// # Errors
    /// As [`Store::list`].
    pub fn resolve(&self, age: Duration) -> Result<Commit, GitError> {
        let mut guard = lock(&self.slot.open);
        let open = opened(&mut guard);
        let news = lock(&self.slot.news).at;
        let fresh = |(at, wants, _): &&(Instant, BTreeSet<Want>, Refs)| {
            at.elapsed() < age && wants.contains(&self.want) && news.is_none_or(|news| news < *at)
        };
        if let Some((_, _, refs)) = open.listed.as_ref().filter(fresh) {
            return refs.commit(&self.want);
        }
        let followers = {
            let mut news = lock(&self.slot.news);
            news.followers.retain(|(_, changed)| changed.strong_count() > 0);
            news.followers.clone()
        };
        let wants: BTreeSet<Want> = followers.iter().map(|(want, _)| want.clone()).collect();
        let asked = Instant::now();
        let refs = open.store.list(&wants)?;
        let commit = refs.commit(&self.want);
        let before = open.listed.replace((asked, wants, refs.clone()));
        for (want, changed) in &followers {
            let moved = before.as_ref().and_then(|(_, _, old)| old.commit(want).ok()) != refs.commit(want).ok();
            if let Some(changed) = changed.upgrade().filter(|changed| moved && !Arc::ptr_eq(changed, &self.changed)) {
                changed.notify_one();
            }
        }
        commit
    }

    /// Runs `work` on the store; the other syncs of the repository wait meanwhile.
    pub fn with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        work(&mut opened(&mut lock(&self.slot.open)).store)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::io::git::tests::fixture::{Repo, Server, branch, remote};
    use crate::io::git::{Credentials, Login};

    #[test]
    fn mirrors_that_syncs_use_make_room_and_are_fetched_again() {
        let (repo, told) = (Repo::new(), Arc::new(Mutex::new(Vec::new())));
        let (server, observer) = (Server::of(&repo), Arc::clone(&told));
        let observer: GitObserver = Arc::new(move |request, _, worked| lock(&observer).push((request.name(), worked)));
        let open = |limit: u64, observer: Option<GitObserver>| {
            let repositories = Repositories::new(limit, observer);
            let opened = repositories.open(&remote(&server.url()), &repo.cache(), branch("main"), &Arc::default());
            (repositories, opened.expect("opened"))
        };
        let fetch = |repository: &Repository| {
            let commit = repository.resolve(Duration::ZERO).expect("it is there");
            repository
                .with(|store| store.fetch(commit, &mut || ()).and_then(|()| store.size(&file_of(store, commit))))
                .expect("read")
        };
        let (repositories, repository) = open(1 << 30, None);
        assert_eq!(fetch(&repository), 3);
        repositories.sweep(&repo.cache());
        server.seen();
        assert_eq!((fetch(&repository), server.seen().contains(&"fetch".to_owned())), (3, false), "it has room");
        drop((repositories, repository));

        let (repositories, repository) = open(1, Some(observer));
        assert_eq!(fetch(&repository), 3);
        let full = repository.with(|store| store.mirrored());
        repositories.sweep(&repo.cache());
        assert!(repository.with(|store| store.mirrored()) < full);
        repo.write("a.yaml", "three");
        repo.commit();
        assert_eq!(fetch(&repository), 5);
        repositories.sweep(&repo.cache());
        assert!(repository.with(|store| store.mirrored()) > 1000, "there was a look at the size just now");
        repositories.grown();
        repositories.sweep(&repo.cache());
        assert_eq!(fetch(&repository), 5);
        assert_eq!(*lock(&told), [("list", true), ("list", true), ("fetch", true), ("list", true), ("fetch", true)]);
    }

    #[test]
    fn the_syncs_of_a_repository_ask_its_server_once_in_a_period_and_hear_of_news() {
        const HOUR: Duration = Duration::from_secs(3600);
        let repo = Repo::new();
        repo.git("branch side");
        let (server, repositories) = (Server::of(&repo), Repositories::default());
        let open = |remote: &Remote, name: &str| {
            let changed = Arc::<Notify>::default();
            (repositories.open(remote, &repo.cache(), branch(name), &changed).expect("opened"), changed)
        };
        let heard = |changed: &Notify| changed.notified().now_or_never().is_some();
        let plain = remote(&server.url());
        let (one, two, side) = (open(&plain, "main"), open(&plain, "main"), open(&plain, "side"));
        for (repository, _) in [&one, &two, &side] {
            repository.resolve(HOUR).expect("it is there");
        }
        assert_eq!(server.seen(), ["connect", "refs", "ls-refs"]);
        assert!(!heard(&one.1) && heard(&two.1) && heard(&side.1), "the first answer is news to the others");

        repo.write("a.yaml", "two");
        repo.commit();
        two.0.resolve(Duration::ZERO).expect("it is there");
        assert!(heard(&one.1) && !heard(&two.1) && !heard(&side.1), "its branch moved, and that of another did not");
        server.seen();

        let login = Login::Password(Credentials { user: "user".to_owned(), password: "other".to_owned() });
        open(&Remote { login, ..plain }, "main").0.resolve(HOUR).expect("it is there");
        assert_eq!(server.seen(), ["connect", "refs", "ls-refs"], "another credential asks for itself");
    }

    /// The only file of a commit.
    fn file_of(store: &Store, commit: Commit) -> crate::io::git::TreeEntry {
        let tree = store.tree(commit, "", &mut crate::io::budget::ReadBudget::new()).expect("readable").expect("small");
        tree.entries.into_iter().next().expect("a file")
    }

    fn proxied(host: &str, proxy: Option<&str>) -> Remote {
        Remote { proxy: proxy.map(ToOwned::to_owned), ..remote(&format!("https://{host}/x")) }
    }

    /// Takes turns as long as there are any at once.
    fn turns(repositories: &Repositories, party: &Party, remote: &Remote) -> Vec<(SharedPlace, Visit)> {
        let next = || repositories.turn(party, remote).now_or_never()?.ok();
        std::iter::from_fn(next).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_a_silent_server_delays_nobody_else() {
        let repositories = Repositories::default();
        let (mallory, other) = (Some("mallory".to_owned()), Some("other".to_owned()));
        let mut silent = Vec::new();
        // The host is that of others, and the proxy is the one that is asked.
        for proxy in ["http://one.example:3128", "two.example", "https://three.example"] {
            silent.push(turns(&repositories, &mallory, &proxied("git.example", Some(proxy))));
        }
        assert_eq!(silent.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 0]);
        let asks = |party: &Party| turns(&repositories, party, &proxied("git.example", None)).len();
        assert_eq!((asks(&None), asks(&other)), (5, 3));

        let late = repositories.turn(&mallory, &proxied("git.example", None)).await.expect_err("its own share");
        assert!(
            late.message.starts_with("git.example:443 is not asked yet: 6 requests of RepoSyncs"),
            "{}",
            late.message
        );
        let other = turns(&repositories, &other, &proxied("git.example", None));
        assert_eq!(other.len(), 3, "nobody else waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_works_is_waited_for_and_a_silent_one_is_told() {
        let (repositories, slow) = (Repositories::default(), proxied("git.example", None));
        let work = async |time: Duration| {
            let turn = repositories.turn(&None, &slow).await?;
            tokio::time::sleep(time).await;
            drop(turn);
            Ok::<_, GitError>(())
        };
        let all = (0..50).map(|_| work(HANGS - Duration::from_secs(1)));
        assert!(futures::future::join_all(all).await.iter().all(Result::is_ok), "it takes longer than one turn");
        let hangs = turns(&repositories, &None, &slow);
        let error = repositories.turn(&None, &slow).await.expect_err("they hang");
        assert_eq!(hangs.len(), 5);
        assert_eq!(error.message, "no answer from git.example:443: it keeps 5 other requests waiting");
    }

    #[test]
    fn names_are_looked_up_while_all_sources_wait() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(BLOCKING_THREADS).build().expect("a runtime");
        runtime.block_on(async {
            let repositories: Arc<Repositories> = Arc::default();
            let mut silent = Vec::new();
            for _ in 0..BLOCKING_THREADS {
                let (server, answer) = std::sync::mpsc::channel::<()>();
                silent.push(server);
                let repositories = Arc::clone(&repositories);
                tokio::spawn(async move {
                    let thread = repositories.thread(&None).await;
                    tokio::task::spawn_blocking(move || (answer.recv(), thread)).await
                });
            }
            tokio::task::yield_now().await;
            tokio::task::spawn_blocking(|| ()).await.expect("a name");
        });
    }
}
