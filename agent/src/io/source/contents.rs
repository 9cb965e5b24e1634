//! The files of a commit, each content parsed once: however many paths name it, and whether or not the commit before had it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::compile::parse::{AgeKeys, ParsedFile, Reading, SourceFile, parse_opened, reading};
use crate::io::budget::ReadBudget;
use crate::io::git::{BlobId, Commit, CommitTree, FailureClass, GitError, Store, TreeEntry};
use crate::io::places::Visit;
use crate::io::quarantine::ReadAttempt;
use crate::model::finding::Finding;
use crate::model::limits::{FILE_BYTES, LISTED, MAX_FINDINGS, UNPACKED};

/// Parsed files in the order of their paths, each with the blob that it was parsed from.
pub(super) type Parsed = Vec<(BlobId, Arc<ParsedFile>)>;

/// The files of a commit.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) parsed: Parsed,
    /// Files that cannot be read.
    pub(super) findings: Vec<Finding>,
    /// The memory that they take.
    pub(super) bytes: u64,
}

/// The result of parsing depends on this alone. A file whose name counts has its path here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ContentKey {
    blob: BlobId,
    reading: Result<Reading, String>,
}

impl ContentKey {
    fn of(path: &str, blob: BlobId) -> Self {
        Self { blob, reading: reading(path).ok_or_else(|| path.to_owned()) }
    }
}

/// The reason why a commit may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Its signature, where the sync asks for one.
    Signature,
    /// It is in force. Its hash names what was let pass then, perhaps before signatures were asked for.
    InForce,
}

/// Fetches and reads the files below `dir` of a commit; or returns the limit that they pass. `before` are those of the commit
/// before. Sealed files are opened with `keys`. The turn at the server ends when the commit is fetched.
pub(super) fn read(
    store: &mut Store,
    (commit, dir, admission): (Commit, &str, Admission),
    (before, keys): (&Parsed, &AgeKeys),
    (budget, attempt): (&mut ReadBudget, &mut ReadAttempt<'_>),
    turn: Option<Visit>,
) -> Result<Result<Contents, Finding>, GitError> {
    store.fetch(commit, &mut || attempt.begin(UNPACKED))?;
    drop(turn);
    match (store.verify(commit), admission) {
        (Err(error), Admission::InForce) if error.class == FailureClass::Unsigned => {
            tracing::warn!("the commit in force stays although it would not be let in any more: {}", error.message);
        }
        (verified, _) => verified?,
    }
    attempt.begin(LISTED);
    budget.restart_clock();
    let tree = match store.tree(commit, dir, budget)? {
        Ok(tree) => tree,
        Err(over) => return Ok(Err(over)),
    };
    attempt.rest();
    let contents = parse_all(store, tree, (before, keys), (budget, attempt));
    attempt.rest();
    contents
}

fn parse_all(
    store: &Store,
    CommitTree { entries, mut findings }: CommitTree,
    (before, keys): (&Parsed, &AgeKeys),
    (budget, attempt): (&mut ReadBudget, &mut ReadAttempt<'_>),
) -> Result<Result<Contents, Finding>, GitError> {
    let mut known: HashMap<ContentKey, Arc<ParsedFile>> =
        before.iter().map(|(blob, file)| (ContentKey::of(&file.path, *blob), Arc::clone(file))).collect();
    let entries: Vec<(ContentKey, TreeEntry)> =
        entries.into_iter().map(|entry| (ContentKey::of(&entry.path, entry.blob), entry)).collect();
    if let Err(over) = charge(store, &entries, &known, (budget, attempt))? {
        return Ok(Err(over));
    }
    budget.restart_clock();
    let mut counted = HashSet::new();
    let mut parsed = Parsed::with_capacity(entries.len());
    let mut before = before.iter().peekable();
    for (key, TreeEntry { path, blob }) in entries {
        while before.next_if(|(_, file)| file.path < path).is_some() {}
        let unchanged = before.next_if(|(of, file)| file.path == path && *of == blob).map(|(_, file)| Arc::clone(file));
        let file = match unchanged.or_else(|| known.get(&key).map(|file| placed(file, &path))) {
            Some(file) => file,
            None => match store.read(&TreeEntry { path: path.clone(), blob })? {
                Ok(content) => {
                    let file = Arc::new(parse_opened(&SourceFile { path, content }, keys));
                    known.insert(key.clone(), Arc::clone(&file));
                    file
                }
                Err(finding) => {
                    if findings.len() < MAX_FINDINGS {
                        findings.push(finding);
                    }
                    continue;
                }
            },
        };
        if let Err(over) = budget.objects(&file, !counted.insert(key)) {
            return Ok(Err(over));
        }
        parsed.push((blob, file));
    }
    Ok(Ok(Contents { parsed, findings, bytes: budget.bytes() }))
}

/// The file at a path, by a file of the same content.
fn placed(file: &Arc<ParsedFile>, path: &str) -> Arc<ParsedFile> {
    if file.path == path { Arc::clone(file) } else { Arc::new(file.in_file(path)) }
}

/// Takes the contents that are to be parsed from the budget, and waits for the memory to parse them.
fn charge(
    store: &Store,
    entries: &[(ContentKey, TreeEntry)],
    known: &HashMap<ContentKey, Arc<ParsedFile>>,
    (budget, attempt): (&mut ReadBudget, &mut ReadAttempt<'_>),
) -> Result<Result<(), Finding>, GitError> {
    let (mut seen, mut all) = (HashSet::new(), 0);
    for (key, entry) in entries {
        if known.contains_key(key) || !seen.insert(key) {
            continue;
        }
        let bytes = store.size(entry)?;
        // A file that is too large is not read.
        if bytes > FILE_BYTES {
            continue;
        }
        all += bytes;
        if let Err(over) = budget.content(&entry.path, bytes) {
            return Ok(Err(over));
        }
    }
    if all > 0 {
        attempt.begin(all);
    }
    Ok(Ok(()))
}
