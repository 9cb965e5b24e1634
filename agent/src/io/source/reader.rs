//! Reads the files of a commit and compiles them. A commit that changes one file reads and parses one file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::Shared;
use tokio::sync::{Notify, oneshot};

use super::contents::{Admission, Contents, Parsed, read};
use super::polling::PollingEvent;
use super::{ClusterFacts, DefinedKinds, Source};
use crate::api::GitStatus;
use crate::compile::declared::DeclaredSet;
use crate::compile::parse::{AgeKeys, ParsedFile};
use crate::compile::{
    ClosedFiles, CompileOptions, DynamicSelectors, NamespaceLabels, SourceFormat, SourceLayout, compile_again,
    dynamically_selected,
};
use crate::io::budget::ReadBudget;
use crate::io::git::{Commit, FailureClass, GitError, Remote, Want};
use crate::io::kubernetes::namespaces::LiveNamespaces;
use crate::io::memory::KeptMemory;
use crate::io::places::Visit;
use crate::io::quarantine::{ReadAttempt, ReadSubject};
use crate::io::repositories::{Repositories, Repository};
use crate::model::finding::Finding;
use crate::model::limits::{READ, ReadLimits};
use crate::model::object::GroupKind;
use crate::model::url::shown;
use crate::sync::engine::{Event, SourceCommit};

/// The age of an answer that a sync takes when it starts.
const FIRST_AGE: Duration = Duration::from_secs(1);

/// A source with what is kept of its last commit. Its methods block.
pub(super) struct Reader {
    source: Source,
    /// The repository with the credentials for it.
    remote: Remote,
    repositories: Arc<Repositories>,
    changed: Arc<Notify>,
    repository: Option<Repository>,
    /// `true` once the source was asked for its commit.
    asked: bool,
    /// The files of the commit that was read last.
    parsed: Parsed,
    /// The keys with which sealed files among them were opened.
    keys: AgeKeys,
    /// `true` once a commit had a sealed file.
    has_sealed: bool,
    /// The memory that they take, among the sources of all syncs.
    kept: KeptMemory,
    limits: ReadLimits,
    /// Kinds that the CRDs of the commit before define.
    previous_crds: BTreeSet<GroupKind>,
    /// Brings the first `previous_crds`; taken by the first compilation.
    defined: Option<Shared<DefinedKinds>>,
    /// The declared set of the last commit without errors.
    declared: Arc<DeclaredSet>,
    /// The dynamic selectors of the newest commit.
    newest: Selectors,
    /// Those of an older commit that the sync wanted back, since the newest one was compiled.
    restored: Option<(SourceCommit, Selectors)>,
}

/// The dynamic NamespaceSelectors of a commit.
struct Selectors {
    /// The files that they are in.
    files: Vec<Arc<ParsedFile>>,
    /// The Namespaces that the commit was compiled with.
    compiled: DynamicSelectors,
}

impl Default for Selectors {
    fn default() -> Self {
        Self { files: Vec::new(), compiled: DynamicSelectors::AsStatic }
    }
}

impl Selectors {
    /// `true` if another result than the last one can follow from these Namespaces.
    fn are_affected_by(&self, format: SourceFormat, namespaces: Option<&LiveNamespaces>) -> bool {
        selected(&self.files, format, namespaces).is_some_and(|selected| selected != self.compiled)
    }
}

/// The Namespaces for the dynamic selectors in these files. `None` if they have to be known first.
fn selected(
    files: &[Arc<ParsedFile>],
    format: SourceFormat,
    namespaces: Option<&LiveNamespaces>,
) -> Option<DynamicSelectors> {
    let none = NamespaceLabels::new();
    let live = match namespaces {
        Some(LiveNamespaces::Listed(live)) => &live.labels,
        Some(LiveNamespaces::Unlistable(_)) | None => &none,
    };
    let Some(selected) = dynamically_selected(files.iter(), format, live) else {
        return Some(DynamicSelectors::AsStatic);
    };
    Some(match namespaces? {
        LiveNamespaces::Unlistable(finding) => DynamicSelectors::Unknown(finding.clone()),
        LiveNamespaces::Listed(_) => DynamicSelectors::Live(selected),
    })
}

impl Reader {
    /// Nothing is opened or read yet. `changed` is told when another sync finds news in the same repository.
    pub(super) fn new(
        source: Source,
        repositories: Arc<Repositories>,
        changed: Arc<Notify>,
        defined: DefinedKinds,
    ) -> Self {
        Self {
            kept: repositories.memory().account(),
            limits: READ,
            remote: Remote { url: source.git.repo.clone(), ..Remote::default() },
            source,
            repositories,
            changed,
            repository: None,
            asked: false,
            parsed: Vec::new(),
            keys: AgeKeys::default(),
            has_sealed: false,
            previous_crds: BTreeSet::new(),
            defined: Some(defined.shared()),
            declared: Arc::default(),
            newest: Selectors::default(),
            restored: None,
        }
    }

    fn repository(&mut self) -> Result<&Repository, GitError> {
        if self.repository.is_none() {
            let Source { cache, want, .. } = &self.source;
            self.repository = Some(self.repositories.open(&self.remote, cache, want.clone(), &self.changed)?);
        }
        Ok(self.repository.as_ref().expect("opened above"))
    }

    /// The commit that the source is at, and the path of a local repository. The source is read with the credentials of `remote`
    /// from now on. At the `first` time an old answer does not count.
    pub(super) fn resolve(&mut self, remote: Remote, first: bool) -> Result<(Commit, Option<PathBuf>), GitError> {
        self.asked &= !first;
        if self.remote != remote {
            (self.remote, self.repository, self.asked) = (remote, None, false);
        }
        let (period, asked) = (self.source.period, self.asked);
        let repository = self.repository()?;
        let local = repository.with(|store| store.local_path().map(ToOwned::to_owned));
        let age = match (&local, asked) {
            // Asking a local repository costs nothing, and its watcher tells of changes.
            (Some(_), _) => Duration::ZERO,
            // A new spec is for what is there now. Syncs that start together share an answer.
            (None, false) => FIRST_AGE,
            (None, true) => period.mul_f64(0.9),
        };
        let commit = repository.resolve(age)?;
        self.asked = true;
        Ok((commit, local))
    }

    /// Removes mirrors that no sync uses any more, from time to time.
    pub(super) fn sweep(&self) {
        self.repositories.sweep(&self.source.cache);
    }

    /// The commit compiled, or with the limit that it passes as a finding. The turn at the server ends when the commit is fetched.
    /// `None` if the live Namespaces have to be known first.
    ///
    /// # Errors
    /// When the commit cannot be read, or is not read because the process died twice while it read it.
    pub(super) fn compile(
        &mut self,
        commit: Commit,
        facts: ClusterFacts,
        turn: Option<Visit>,
    ) -> Result<Option<Event>, GitError> {
        let compiled = self.compile_admitted((commit, Admission::Signature), facts, turn);
        match compiled {
            Ok(Some((event, selectors))) => {
                (self.newest, self.restored) = (selectors, None);
                Ok(Some(event))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.newest = Selectors::default();
                Err(error)
            }
        }
    }

    fn compile_admitted(
        &mut self,
        (commit, admission): (Commit, Admission),
        facts: ClusterFacts,
        turn: Option<Visit>,
    ) -> Result<Option<(Event, Selectors)>, GitError> {
        self.take_defined_kinds();
        let subject = ReadSubject::new(&self.source.git.repo, &self.source.dir, commit);
        let repositories = Arc::clone(&self.repositories);
        let mut attempt = repositories.attempt(&self.source.cache, &subject)?;
        let start = Instant::now();
        let findings = match self.read((commit, admission), &facts.keys, &mut attempt, turn)? {
            Ok(findings) => findings,
            Err(over) => {
                let event = Event::Compiled { commit: commit.to_string(), declared: None, findings: vec![over] };
                return Ok(Some((event, Selectors::default())));
            }
        };
        self.repositories.grown();
        let read = start.elapsed();
        let format = self.source.settings.format;
        let has_selectors = |file: &Arc<ParsedFile>| {
            dynamically_selected(std::iter::once(file), format, &NamespaceLabels::new()).is_some()
        };
        let files = self.parsed.iter().map(|(_, file)| file).filter(|file| has_selectors(file));
        let files: Vec<_> = files.cloned().collect();
        let Some(compiled) = selected(&files, format, facts.namespaces.as_ref()) else { return Ok(None) };
        let selectors = Selectors { files, compiled };
        let event = self.compiled((commit, admission), findings, facts, &selectors.compiled);
        let (milliseconds, files) = (start.elapsed().as_millis(), self.parsed.len());
        tracing::debug!(%commit, files, milliseconds, read_milliseconds = read.as_millis(), "read and compiled");
        Ok(Some((event, selectors)))
    }

    /// [`Event::Restored`], without a declared set when the commit cannot be read any more or has errors. Objects of sealed files that
    /// no key opens any more are left as they are. `None` if the live Namespaces have to be known first.
    ///
    /// A commit of another source, or of another layout, is read from there, with the credentials of this one if both are on one server:
    /// those of the other are not known any more.
    pub(super) fn restore(&mut self, last: SourceCommit, facts: ClusterFacts) -> Option<Event> {
        let SourceCommit { commit: name, git, layout } = last.clone();
        let is_of_this = git.repo == shown(&self.source.git.repo) && git.dir == self.source.dir;
        let is_this = is_of_this && layout == self.layout();
        let compiled = Commit::from_hex(&name).map(|commit| match is_this {
            true => self.compile_admitted((commit, Admission::InForce), facts, None),
            false => {
                let mut other = self.of(&git, &name, layout);
                let compiled = other.compile_admitted((commit, Admission::InForce), facts, None);
                self.has_sealed |= other.has_sealed;
                compiled
            }
        });
        self.restored = None;
        let declared = match compiled {
            Some(Ok(None)) => return None,
            Some(Ok(Some((Event::Compiled { declared, .. }, selectors)))) => {
                self.restored = Some((last, selectors));
                if declared.as_ref().is_some_and(|declared| declared.partial) {
                    tracing::warn!(
                        commit = name,
                        "objects of sealed files of the commit in force stay as they are: no key opens the files"
                    );
                }
                declared
            }
            _ => None,
        };
        Some(Event::Restored { commit: name, declared })
    }

    fn layout(&self) -> SourceLayout {
        let CompileOptions { format, namespaces, .. } = self.source.settings;
        SourceLayout { format, namespaces }
    }

    /// Brings the kinds that the sync's CRDs define so far, which are to be known before the first compilation.
    pub(super) fn defined(&self) -> Option<Shared<DefinedKinds>> {
        self.defined.clone()
    }

    fn take_defined_kinds(&mut self) {
        if let Some(defined) = self.defined.take() {
            // The sender is gone when the sync ends before its inventory is read.
            self.previous_crds = defined.now_or_never().and_then(Result::ok).unwrap_or_default();
        }
    }

    /// A reader of a commit of another source.
    fn of(&mut self, git: &GitStatus, commit: &str, layout: SourceLayout) -> Self {
        self.take_defined_kinds();
        let mut source = self.source.clone();
        source.git.repo.clone_from(&git.repo);
        source.want = Want::Revision(commit.to_owned());
        source.dir.clone_from(&git.dir);
        source.settings.source_dir.clone_from(&git.dir);
        (source.settings.format, source.settings.namespaces) = (layout.format, layout.namespaces);
        let previous_crds = self.previous_crds.clone();
        let (repositories, changed) = (Arc::clone(&self.repositories), Arc::clone(&self.changed));
        let new = Self::new(source, repositories, changed, oneshot::channel().1);
        Self { previous_crds, defined: None, remote: self.remote.elsewhere(&git.repo), ..new }
    }

    /// The commit of which another result than the last one can follow from these Namespaces: the newest one, or the older one that
    /// the sync wanted back.
    pub(super) fn affected_by(&self, namespaces: Option<&LiveNamespaces>) -> Option<PollingEvent> {
        let format = self.source.settings.format;
        if self.newest.are_affected_by(format, namespaces) {
            return Some(PollingEvent::FactsChanged);
        }
        let restored = self.restored.as_ref().filter(|(_, selectors)| selectors.are_affected_by(format, namespaces));
        restored.map(|(commit, _)| PollingEvent::RestoredChanged(commit.clone()))
    }

    /// `true` if other keys can give another result.
    pub(super) fn uses_keys(&self) -> bool {
        self.has_sealed
    }

    /// `true` if the newest result follows from the live Namespaces too.
    pub(super) fn uses_namespaces(&self) -> bool {
        self.newest.compiled != DynamicSelectors::AsStatic
    }

    fn compiled(
        &mut self,
        (commit, admission): (Commit, Admission),
        mut findings: Vec<Finding>,
        facts: ClusterFacts,
        dynamic: &DynamicSelectors,
    ) -> Event {
        let files: Vec<_> = self.parsed.iter().map(|(_, file)| Arc::clone(file)).collect();
        let settings = CompileOptions {
            kinds: Ok(facts.kinds),
            dynamic: dynamic.clone(),
            previous_crds: self.previous_crds.clone(),
            closed: match admission {
                Admission::Signature => ClosedFiles::Refused,
                Admission::InForce => ClosedFiles::Left,
            },
            ..self.source.settings.clone()
        };
        let compiled = compile_again(&files, &settings, &self.declared);
        let unreadable = findings.iter().any(|finding| finding.code.blocks());
        findings.extend(compiled.findings);
        let going = match &facts.namespaces {
            Some(LiveNamespaces::Listed(live)) if *dynamic != DynamicSelectors::AsStatic => live.going.clone(),
            _ => BTreeSet::new(),
        };
        let declared = compiled.declared.filter(|_| !unreadable).map(|set| Arc::new(DeclaredSet { going, ..set }));
        if let Some(declared) = &declared {
            self.declared = Arc::clone(declared);
            self.previous_crds = declared.objects.values().filter_map(|object| object.defined_kind()).collect();
        }
        Event::Compiled { commit: commit.to_string(), declared, findings }
    }

    /// Reads the files of a commit into `parsed`, or returns the limit that they pass. The findings are about files that cannot be
    /// read.
    fn read(
        &mut self,
        (commit, admission): (Commit, Admission),
        keys: &AgeKeys,
        attempt: &mut ReadAttempt<'_>,
        turn: Option<Visit>,
    ) -> Result<Result<Vec<Finding>, Finding>, GitError> {
        let (dir, mut budget) = (self.source.dir.clone(), ReadBudget::of(self.limits));
        if self.keys != *keys {
            self.parsed.retain(|(_, file)| !file.sealed);
            self.keys = keys.clone();
        }
        let before = std::mem::take(&mut self.parsed);
        let read = self.repository().and_then(|repository| {
            repository
                .with(|store| read(store, (commit, &dir, admission), (&before, keys), (&mut budget, attempt), turn))
        });
        let kept = read.and_then(|read| match read {
            Ok(contents) => self.kept.set(contents.bytes).map(|()| Ok(contents)),
            // It is tried again: the machine may have been busy.
            Err(over) if budget.is_late() => Err(GitError::of(FailureClass::OverLimit, over)),
            over => Ok(over),
        });
        match kept {
            Ok(Ok(Contents { parsed, findings, .. })) => {
                self.has_sealed |= parsed.iter().any(|(_, file)| file.sealed);
                self.parsed = parsed;
                Ok(Ok(findings))
            }
            Ok(Err(over)) => {
                self.parsed = before;
                Ok(Err(over))
            }
            Err(error) => {
                self.parsed = before;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
