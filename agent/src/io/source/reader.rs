//! Reads the files of a commit and compiles them. A commit that changes one file reads and parses one file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{DefinedKinds, Source};
use crate::compile::declared::DeclaredSet;
use crate::compile::kind_scopes::KindScopes;
use crate::compile::parse::{ParsedFile, SourceFile, parse};
use crate::compile::{CompileOptions, compile_again};
use crate::io::git::{BlobId, Commit, CommitTree, GitError, Store};
use crate::io::repositories::{Repositories, Repository};
use crate::model::finding::Finding;
use crate::model::object::GroupKind;
use crate::sync::engine::Event;

/// A source with what is kept of its last commit. Its methods block.
pub(super) struct Reader {
    source: Source,
    repositories: Arc<Repositories>,
    changed: Arc<Notify>,
    repository: Option<Repository>,
    /// The files of the commit that was read last.
    parsed: Parsed,
    /// Kinds that the CRDs of the commit before define.
    previous_crds: BTreeSet<GroupKind>,
    /// Brings the first `previous_crds`; taken by the first compilation.
    defined: Option<DefinedKinds>,
    /// The declared set of the last commit without errors.
    declared: Arc<DeclaredSet>,
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
            source,
            repositories,
            changed,
            repository: None,
            parsed: Vec::new(),
            previous_crds: BTreeSet::new(),
            defined: Some(defined),
            declared: Arc::default(),
        }
    }

    fn repository(&mut self) -> Result<&Repository, GitError> {
        if self.repository.is_none() {
            let Source { remote, cache, want, .. } = &self.source;
            self.repository = Some(self.repositories.open(remote, cache, want.clone(), &self.changed)?);
        }
        Ok(self.repository.as_ref().expect("opened above"))
    }

    /// The commit that the source is at, and the path of a local repository.
    pub(super) fn resolve(&mut self) -> Result<(Commit, Option<PathBuf>), GitError> {
        let period = self.source.period;
        let repository = self.repository()?;
        let local = repository.with(|store| store.local_path().map(ToOwned::to_owned));
        // Asking a local repository costs nothing, and its watcher tells of changes.
        let age = if local.is_some() { Duration::ZERO } else { period.mul_f64(0.9) };
        Ok((repository.resolve(age)?, local))
    }

    /// [`Event::Compiled`], or [`Event::SourceFailed`] when the commit cannot be read.
    pub(super) fn compile(&mut self, commit: Commit, kinds: KindScopes) -> Event {
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

    /// [`Event::Restored`], without a declared set when the commit cannot be read any more or has errors.
    pub(super) fn restore(&mut self, commit: String, kinds: KindScopes) -> Event {
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
            // The sender is gone when the sync ends before its inventory is read.
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

    /// The files of a commit. A file that is unchanged since the commit before is not read again.
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

/// Parsed files in the order of their paths, each with the blob that it was parsed from.
type Parsed = Vec<(BlobId, Arc<ParsedFile>)>;

fn read(
    store: &mut Store,
    commit: Commit,
    dir: &str,
    before: &[(BlobId, Arc<ParsedFile>)],
) -> Result<(Parsed, Vec<Finding>), GitError> {
    store.fetch(commit)?;
    let CommitTree { entries, mut findings } = store.tree(commit, dir)?;
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
