//! Follows one source: polls its ref, reads and compiles what is new, and hands the result to the sync.
//!
//! A poll whose ref did not move is an ls-refs and nothing else. A commit that changes one file reads and parses one file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use super::git::{BlobId, Commit, GitError, Remote, Store, Tree, Want, Watcher, watch};
use super::kubernetes::client::Cluster;
use super::repositories::{Repositories, Repository};
use crate::compile::declared::DeclaredSet;
use crate::compile::kind_scopes::{KindScopes, Scope};
use crate::compile::parse::{ParsedFile, SourceFile, parse};
use crate::compile::{CompileOptions, compile_again};
use crate::model::finding::{Code, Finding};
use crate::model::object::GroupKind;
use crate::sync::engine::Event;

/// Longest wait before a commit with kinds that the cluster does not have is compiled again.
const KIND_PATIENCE: Duration = Duration::from_secs(60);

/// What to follow.
#[derive(Clone)]
pub struct Source {
    /// The repository.
    pub remote: Remote,
    /// Branch, tag or commit.
    pub want: Want,
    /// Directory in it; `.` is its root.
    pub dir: String,
    /// Time between two polls.
    pub period: Duration,
    /// Where mirrors of remote repositories are kept.
    pub cache: PathBuf,
    /// How it is compiled; `kinds` and `previous_crds` are filled in.
    pub settings: CompileOptions,
}

/// A commit to compile although it is not the newest.
pub type Restore = String;

/// The kinds whose CRDs the sync has brought so far: nothing is compiled before that is known.
pub type DefinedKinds = oneshot::Receiver<BTreeSet<GroupKind>>;

/// What is remembered between two commits. Blocks while it works.
struct Reader {
    source: Source,
    repositories: Arc<Repositories>,
    changed: Arc<Notify>,
    repository: Option<Repository>,
    /// The files of the last commit that was read.
    parsed: Parsed,
    previous_crds: BTreeSet<GroupKind>,
    /// What `previous_crds` is before the first compilation.
    defined: Option<DefinedKinds>,
    /// What the last commit without mistakes declares.
    declared: Arc<DeclaredSet>,
}

/// Follows `source` for as long as the receiver of events lives.
pub async fn follow(
    source: Source,
    cluster: Arc<Cluster>,
    repositories: Arc<Repositories>,
    events: mpsc::Sender<Event>,
    mut restore: mpsc::Receiver<Restore>,
    defined: DefinedKinds,
) {
    let period = source.period;
    let changed = Arc::new(Notify::new());
    let reader = Arc::new(Mutex::new(Reader {
        source,
        repositories,
        changed: Arc::clone(&changed),
        repository: None,
        parsed: Vec::new(),
        previous_crds: BTreeSet::new(),
        defined: Some(defined),
        declared: Arc::default(),
    }));
    let mut at: Option<Commit> = None;
    let mut failed = false;
    let mut watcher = None;
    let mut unknown: Option<Duration> = None;
    loop {
        let outcome = blocking(&reader, Reader::resolve).await;
        let (event, next) = match outcome {
            Ok((commit, local)) => {
                if watcher.is_none() {
                    watcher = local.and_then(|path| watch_commits(&path, &changed));
                }
                if at == Some(commit) && !failed && unknown.is_none() {
                    (None, period)
                } else {
                    let kinds = scopes(&cluster);
                    let compiled = blocking(&reader, move |reader| reader.compile(commit, kinds)).await;
                    at = Some(commit);
                    after(compiled, &mut unknown, period)
                }
            }
            Err(error) => (Some(Event::SourceFailed(error.finding())), period),
        };
        failed = matches!(event, Some(Event::SourceFailed(_)));
        if let Some(event) = event
            && events.send(event).await.is_err()
        {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = changed.notified() => {}
            Some(commit) = restore.recv() => {
                let kinds = scopes(&cluster);
                let event = blocking(&reader, move |reader| reader.restore(commit, kinds)).await;
                if events.send(event).await.is_err() {
                    return;
                }
            }
            () = events.closed() => return,
        }
        if unknown.is_some() {
            // Perhaps the CRD has come.
            if let Err(error) = cluster.discover().await {
                tracing::debug!(%error, "cannot ask for the kinds of the cluster");
            }
        }
    }
}

/// Tells of commits in a local repository at once.
fn watch_commits(path: &Path, changed: &Arc<Notify>) -> Option<Watcher> {
    let changed = Arc::clone(changed);
    watch(path, move || changed.notify_one())
        .inspect_err(|error| tracing::warn!(%error, "local commits are seen at the next poll only"))
        .ok()
}

/// A commit with kinds that the cluster does not know is compiled again soon, then less and less often.
fn after(compiled: Event, unknown: &mut Option<Duration>, period: Duration) -> (Option<Event>, Duration) {
    let kinds_missing = match &compiled {
        Event::Compiled { findings, .. } => findings.iter().any(|finding| finding.code == Code::UnknownKind),
        _ => false,
    };
    *unknown = kinds_missing.then(|| unknown.map_or(Duration::from_secs(1), |wait| (wait * 2).min(KIND_PATIENCE)));
    (Some(compiled), unknown.map_or(period, |wait| wait.min(period)))
}

async fn blocking<T: Send + 'static>(
    reader: &Arc<Mutex<Reader>>,
    work: impl FnOnce(&mut Reader) -> T + Send + 'static,
) -> T {
    let reader = Arc::clone(reader);
    let task = tokio::task::spawn_blocking(move || {
        work(&mut reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    });
    task.await.expect("reading a source does not panic")
}

fn scopes(cluster: &Cluster) -> KindScopes {
    let mut scopes = KindScopes::default();
    for (kind, served) in cluster.kinds() {
        let scope = if served.namespaced { Scope::Namespaced } else { Scope::Cluster };
        scopes.insert(&kind.group, &kind.kind, scope);
    }
    scopes
}

impl Reader {
    fn repository(&mut self) -> Result<&Repository, GitError> {
        if self.repository.is_none() {
            let Source { remote, cache, want, .. } = &self.source;
            self.repository = Some(self.repositories.open(remote, cache, want.clone(), &self.changed)?);
        }
        Ok(self.repository.as_ref().expect("opened above"))
    }

    /// The commit that is wanted, and the path of a local repository.
    fn resolve(&mut self) -> Result<(Commit, Option<PathBuf>), GitError> {
        let period = self.source.period;
        let repository = self.repository()?;
        let local = repository.with(|store| store.local_path().map(ToOwned::to_owned));
        // Asking a local repository costs nothing, and it told us that it changed.
        let age = if local.is_some() { Duration::ZERO } else { period.mul_f64(0.9) };
        Ok((repository.resolve(age)?, local))
    }

    fn compile(&mut self, commit: Commit, kinds: KindScopes) -> Event {
        match self.read(commit) {
            Ok((files, findings)) => {
                let start = Instant::now();
                let event = self.compiled(commit, &files, findings, kinds);
                tracing::debug!(%commit, files = files.len(), milliseconds = start.elapsed().as_millis(), "compiled");
                event
            }
            Err(error) => Event::SourceFailed(error.finding()),
        }
    }

    /// The last good commit, if it is still to be had.
    fn restore(&mut self, commit: String, kinds: KindScopes) -> Event {
        let compiled = Commit::from_hex(&commit).map(|commit| self.compile(commit, kinds));
        let declared = match compiled {
            Some(Event::Compiled { declared, .. }) => declared,
            _ => None,
        };
        Event::Restored { commit, declared }
    }

    fn compiled(
        &mut self,
        commit: Commit,
        files: &[Arc<ParsedFile>],
        mut findings: Vec<Finding>,
        kinds: KindScopes,
    ) -> Event {
        if let Some(defined) = self.defined.take() {
            // The sender is gone when the sync ends before it has begun.
            self.previous_crds = defined.blocking_recv().unwrap_or_default();
        }
        let settings = CompileOptions {
            kinds: Ok(kinds),
            previous_crds: self.previous_crds.clone(),
            ..self.source.settings.clone()
        };
        let compiled = compile_again(files, &settings, &self.declared);
        let unreadable = findings.iter().any(|finding| finding.code.blocks());
        findings.extend(compiled.findings);
        let declared = compiled.declared.filter(|_| !unreadable).map(Arc::new);
        if let Some(declared) = &declared {
            self.declared = Arc::clone(declared);
            self.previous_crds = declared.objects.values().filter_map(|object| object.defined_kind()).collect();
        }
        Event::Compiled { commit: commit.to_string(), declared, findings }
    }

    /// The files of a commit; those that did not change since the commit before are not read again.
    fn read(&mut self, commit: Commit) -> Result<(Vec<Arc<ParsedFile>>, Vec<Finding>), GitError> {
        let start = Instant::now();
        let dir = self.source.dir.clone();
        let before = std::mem::take(&mut self.parsed);
        let (parsed, read) = match self.repository()?.with(|store| read(store, commit, &dir, &before)) {
            Ok((parsed, findings)) => {
                let files = parsed.iter().map(|(_, file)| Arc::clone(file)).collect();
                (parsed, Ok((files, findings)))
            }
            Err(error) => (before, Err(error)),
        };
        self.parsed = parsed;
        tracing::debug!(%commit, milliseconds = start.elapsed().as_millis(), "read");
        read
    }
}

/// Parsed files in the order of their paths, with what they were parsed from.
type Parsed = Vec<(BlobId, Arc<ParsedFile>)>;

fn read(
    store: &mut Store,
    commit: Commit,
    dir: &str,
    before: &[(BlobId, Arc<ParsedFile>)],
) -> Result<(Parsed, Vec<Finding>), GitError> {
    store.fetch(commit)?;
    let Tree { entries, mut findings } = store.tree(commit, dir)?;
    let mut parsed = Vec::with_capacity(entries.len());
    let mut before = before.iter().peekable();
    for entry in entries {
        while before.next_if(|(_, file)| file.path < entry.path).is_some() {}
        if let Some((blob, file)) = before.next_if(|(blob, file)| file.path == entry.path && *blob == entry.blob) {
            parsed.push((*blob, Arc::clone(file)));
            continue;
        }
        match store.read(&entry)? {
            Ok(content) => parsed.push((entry.blob, Arc::new(parse(&SourceFile { path: entry.path, content })))),
            Err(finding) => findings.push(finding),
        }
    }
    Ok((parsed, findings))
}
