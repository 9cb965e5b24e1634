//! Commits at which the process died while it read them. After two such deaths in a row the commit is not read any more, so that
//! one repository cannot keep the agent from its other work for ever.
//!
//! A mark in the cache directory stands for each reading that is going on. It is written when all of the commit is received and
//! its objects are about to be unpacked, parsed and compiled, which takes milliseconds; it is removed at the end. A process that
//! is told to stop takes its marks back. So a mark that is left was left by a process that died in these milliseconds: of the
//! commit, or by chance. A commit with a mark that is left is therefore read alone, and only a second death, at that commit and
//! without a complete reading in between, puts it into quarantine. Kills at other times leave no mark.
//!
//! A cache directory that cannot be written or does not outlive the process has no marks, and then there is no quarantine.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::git::{Commit, FailureClass, GitError};
use super::memory::{SharedMemory, Turn};
use crate::model::hex::hex;
use crate::model::shared::lock;
use crate::model::url::shown;

/// The deaths in a row after which a commit is not read.
const DEATHS: u32 = 2;

/// The directory of marks in the cache.
const MARKS: &str = "reading";

/// The marks of this process.
#[derive(Debug, Default)]
pub struct Quarantine {
    active: Mutex<Active>,
}

/// The readings that are going on.
#[derive(Debug, Default)]
struct Active {
    /// Their files, and the marks that they had before.
    marks: BTreeMap<PathBuf, ReadingMark>,
    ending: bool,
}

/// The commit and the directory that are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSubject {
    repository: String,
    directory: String,
    commit: String,
}

impl ReadSubject {
    /// The directory of a commit of the repository at `url`, whose credentials are left out.
    pub fn new(url: &str, directory: &str, commit: Commit) -> Self {
        Self { repository: shown(url).into_owned(), directory: directory.to_owned(), commit: commit.to_string() }
    }

    fn file_name(&self) -> String {
        let text = format!("{}\n{}\n{}", self.repository, self.directory, self.commit);
        hex(&Sha256::digest(text.as_bytes())[..16]) + ".json"
    }
}

/// The text of a mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReadingMark {
    #[serde(flatten)]
    subject: ReadSubject,
    /// The processes that died while they read it.
    deaths: u32,
    /// `true` while a process reads it.
    reading: bool,
}

impl ReadingMark {
    /// The mark as the next process finds it: a mark whose process is gone was left by a death.
    fn found(mut self, reader_lives: bool) -> Self {
        if self.reading && !reader_lives {
            (self.deaths, self.reading) = (self.deaths + 1, false);
        }
        self
    }
}

/// One reading of a commit.
#[derive(Debug)]
pub struct ReadAttempt<'a> {
    quarantine: &'a Quarantine,
    memory: &'a Arc<SharedMemory>,
    path: PathBuf,
    mark: ReadingMark,
    /// The memory that it has. For a commit that a process died at that is all of it: no other one is blamed for its next death.
    turn: Option<Turn>,
    /// The marked file. Its lock ends with this process, however that ends.
    file: Option<File>,
}

impl Quarantine {
    /// The next reading of a commit.
    ///
    /// # Errors
    /// When the commit is in quarantine.
    pub fn attempt<'a>(
        &'a self,
        cache: &Path,
        subject: &ReadSubject,
        memory: &'a Arc<SharedMemory>,
    ) -> Result<ReadAttempt<'a>, GitError> {
        let path = cache.join(MARKS).join(subject.file_name());
        let none = ReadingMark { subject: subject.clone(), deaths: 0, reading: false };
        let mark = find(&path).unwrap_or_default().filter(|mark| mark.subject == *subject).unwrap_or(none);
        if mark.deaths >= DEATHS {
            return Err(refusal(&mark, &path));
        }
        Ok(ReadAttempt { quarantine: self, memory, path, mark, turn: None, file: None })
    }

    /// Takes back all marks: the process ends because it was told so.
    pub fn end(&self) {
        let mut active = self.lock();
        active.ending = true;
        for (path, mark) in std::mem::take(&mut active.marks) {
            // The file is locked by the reading that is going on, and is not opened here.
            let left = if mark.deaths == 0 { fs::remove_file(&path) } else { fs::write(&path, text(&mark)) };
            if let Err(error) = left {
                tracing::debug!(path = %path.display(), %error, "cannot take back the mark of a reading");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Active> {
        lock(&self.active)
    }
}

impl ReadAttempt<'_> {
    /// Waits for memory, instead of that which it has, and marks the commit as being read unless it is marked already.
    pub fn begin(&mut self, bytes: u64) {
        // Two readings that kept what they have would wait for each other.
        self.rest();
        let bytes = if self.mark.deaths > 0 { u64::MAX } else { bytes };
        self.turn.get_or_insert_with(|| self.memory.turn(bytes));
        if self.file.is_none() {
            let mut active = self.quarantine.lock();
            if !active.ending {
                match marked(&self.path, &ReadingMark { reading: true, ..self.mark.clone() }) {
                    Ok(file) => {
                        self.file = file;
                        if self.file.is_some() {
                            active.marks.insert(self.path.clone(), self.mark.clone());
                        }
                    }
                    Err(error) => {
                        tracing::debug!(path = %self.path.display(), %error, "cannot mark a commit as being read");
                    }
                }
            }
        }
    }

    /// Gives the memory back until the next step. A commit that a process died at keeps it to the end.
    pub fn rest(&mut self) {
        if self.mark.deaths == 0 {
            self.turn = None;
        }
    }
}

#[cfg(test)]
impl ReadAttempt<'_> {
    /// Gives up its file as the end of a process does, and does nothing else. A program that another test is just starting has a copy of
    /// the open file for a moment, which keeps the lock if the file is only closed.
    pub(super) fn die(mut self) {
        if let Some(file) = self.file.take() {
            file.unlock().expect("the file was locked");
        }
    }
}

impl Drop for ReadAttempt<'_> {
    fn drop(&mut self) {
        let mut active = self.quarantine.lock();
        if self.file.is_some() && active.marks.remove(&self.path).is_some() {
            // A mark that stays counts as a death, and the reading after it clears that.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The mark at `path`, if there is one.
fn find(path: &Path) -> io::Result<Option<ReadingMark>> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let reader_lives = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    let found = renewed(&mut file, reader_lives);
    if !reader_lives {
        // A program that is just being started has a copy of the open file, which would keep the lock for a moment.
        file.unlock()?;
    }
    found
}

/// Reads the mark, and replaces that of a process that is gone.
fn renewed(file: &mut File, reader_lives: bool) -> io::Result<Option<ReadingMark>> {
    let mut content = String::new();
    file.read_to_string(&mut content)?;
    // Half a mark is of a process that died while it wrote it.
    let Ok(mark) = serde_json::from_str::<ReadingMark>(&content) else { return Ok(None) };
    let found = mark.clone().found(reader_lives);
    if found != mark {
        write(file, &found)?;
    }
    Ok(Some(found))
}

/// Writes a mark and locks its file; `None` when another reading of the same commit has it.
fn marked(path: &Path, mark: &ReadingMark) -> io::Result<Option<File>> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => write(&mut file, mark).map(|()| Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn write(file: &mut File, mark: &ReadingMark) -> io::Result<()> {
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(text(mark).as_bytes())
}

fn text(mark: &ReadingMark) -> String {
    serde_json::to_string(mark).expect("a mark is text and numbers")
}

fn refusal(mark: &ReadingMark, path: &Path) -> GitError {
    let ReadingMark { subject: ReadSubject { repository, directory, commit }, deaths, .. } = mark;
    let message = format!(
        "the commit {commit} of {repository} is not read: the agent died {deaths} times while it read the directory \
         {directory:?} of it"
    );
    let hint = format!(
        "Push another commit. If the source is meant to be so, give the agent more memory and delete the file {} in its cache.",
        path.display()
    );
    GitError::new(FailureClass::Quarantined, message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::PARSED_AT_ONCE;

    fn subject(digit: &str) -> ReadSubject {
        let commit = Commit::from_hex(&digit.repeat(40)).expect("a hash");
        ReadSubject::new("https://user:secret@git.example/x", "dir", commit)
    }

    /// The processes of one agent after the other, with one cache.
    struct Agents {
        cache: tempfile::TempDir,
    }

    impl Agents {
        fn new() -> Self {
            Self { cache: tempfile::tempdir().expect("writable") }
        }

        /// Reads in a new process, which dies in the middle.
        fn die(&self, subject: &ReadSubject) -> Result<(), GitError> {
            let (quarantine, memory) = (Quarantine::default(), Arc::default());
            let mut attempt = quarantine.attempt(self.cache.path(), subject, &memory)?;
            attempt.begin(1);
            attempt.die();
            Ok(())
        }

        fn read(&self, subject: &ReadSubject) -> Result<(), GitError> {
            let (quarantine, memory) = (Quarantine::default(), Arc::default());
            let mut attempt = quarantine.attempt(self.cache.path(), subject, &memory)?;
            attempt.begin(1);
            Ok(())
        }

        fn marks(&self) -> usize {
            fs::read_dir(self.cache.path().join(MARKS)).map_or(0, Iterator::count)
        }
    }

    #[test]
    fn a_commit_is_not_read_after_two_deaths_in_a_row() {
        let agents = Agents::new();
        assert_eq!((agents.die(&subject("a")), agents.die(&subject("a"))), (Ok(()), Ok(())));
        for _ in 0..3 {
            let error = agents.read(&subject("a")).expect_err("in quarantine");
            assert_eq!(error.class, FailureClass::Quarantined);
            assert!(error.message.contains("died 2 times") && !error.message.contains("secret"), "{error}");
        }
        assert_eq!(agents.read(&subject("b")), Ok(()), "only that commit");
        let path = agents.cache.path().join(MARKS).join(subject("a").file_name());
        let hint = agents.read(&subject("a")).expect_err("in quarantine").hint.expect("a hint");
        assert!(hint.contains(&path.display().to_string()), "{hint}");
        fs::remove_file(path).expect("the user deletes it");
        assert_eq!(agents.read(&subject("a")), Ok(()));
        assert_eq!(agents.marks(), 0);
    }

    #[test]
    fn a_complete_reading_clears_a_death() {
        let agents = Agents::new();
        for _ in 0..3 {
            assert_eq!((agents.die(&subject("a")), agents.read(&subject("a"))), (Ok(()), Ok(())));
        }
        assert_eq!(agents.marks(), 0);
    }

    #[test]
    fn a_death_before_or_after_the_reading_does_not_count() {
        let agents = Agents::new();
        for _ in 0..3 {
            let (quarantine, memory) = (Quarantine::default(), Arc::default());
            let attempt = quarantine.attempt(agents.cache.path(), &subject("a"), &memory).expect("not in quarantine");
            // Dies while it waits for the server.
            std::mem::forget(attempt);
        }
        assert_eq!(agents.die(&subject("a")), Ok(()));
        for _ in 0..3 {
            let (quarantine, memory) = (Quarantine::default(), Arc::default());
            let attempt = quarantine.attempt(agents.cache.path(), &subject("a"), &memory).expect("one death is none");
            std::mem::forget(attempt);
        }
        assert_eq!(agents.read(&subject("a")), Ok(()));
    }

    #[test]
    fn a_process_that_is_told_to_stop_leaves_no_death() {
        let agents = Agents::new();
        for _ in 0..3 {
            let (quarantine, memory) = (Quarantine::default(), Arc::default());
            let mut attempt = quarantine.attempt(agents.cache.path(), &subject("a"), &memory).expect("no quarantine");
            attempt.begin(1);
            quarantine.end();
            attempt.die();
        }
        assert_eq!(agents.marks(), 0);
        assert_eq!(agents.die(&subject("a")), Ok(()));
        let (quarantine, memory) = (Quarantine::default(), Arc::default());
        let mut attempt = quarantine.attempt(agents.cache.path(), &subject("a"), &memory).expect("one death");
        attempt.begin(1);
        quarantine.end();
        drop(attempt);
        assert_eq!(agents.die(&subject("a")), Ok(()), "the one death before is remembered, and no other one was added");
        assert!(agents.read(&subject("a")).is_err());
    }

    #[test]
    fn a_commit_that_a_process_died_at_is_read_alone() {
        let agents = Agents::new();
        assert_eq!((agents.die(&subject("a")), agents.die(&subject("b"))), (Ok(()), Ok(())));
        let (quarantine, memory) = (Quarantine::default(), Arc::new(SharedMemory::default()));
        let mut blamed = quarantine.attempt(agents.cache.path(), &subject("a"), &memory).expect("one death");
        for bytes in [1, 1 << 30] {
            blamed.begin(bytes);
            blamed.rest();
            assert_eq!(memory.free(), 0, "it has all of the memory");
        }
        let other = quarantine.attempt(agents.cache.path(), &subject("b"), &memory).expect("one death");
        assert_eq!(other.mark.deaths, 1);
        drop((blamed, other));
        assert_eq!(agents.read(&subject("b")), Ok(()));
    }

    #[test]
    fn a_reading_does_not_keep_memory_while_it_waits_for_more() {
        let agents = Agents::new();
        let (quarantine, memory) = (Quarantine::default(), Arc::new(SharedMemory::default()));
        let _other = memory.turn(PARSED_AT_ONCE / 2);
        let mut attempt = quarantine.attempt(agents.cache.path(), &subject("a"), &memory).expect("no death");
        for _ in 0..3 {
            attempt.begin(PARSED_AT_ONCE / 2);
            assert_eq!(memory.free(), 0);
        }
        attempt.rest();
        assert_eq!(memory.free(), PARSED_AT_ONCE / 2);
    }

    #[test]
    fn two_syncs_may_read_one_commit_at_the_same_time() {
        let agents = Agents::new();
        let (quarantine, memory) = (Quarantine::default(), Arc::default());
        for _ in 0..3 {
            let attempt = || quarantine.attempt(agents.cache.path(), &subject("a"), &memory).expect("no death");
            let (mut one, mut other) = (attempt(), attempt());
            one.begin(1);
            other.begin(1);
            assert_eq!((other.mark.deaths, attempt().mark.deaths), (0, 0));
            drop(one);
            drop(other);
        }
        assert_eq!(agents.marks(), 0);
    }

    #[test]
    fn without_a_cache_there_is_no_quarantine() {
        let agents = Agents::new();
        let file = agents.cache.path().join("file");
        fs::write(&file, "").expect("writable");
        let unusable = Agents { cache: tempfile::tempdir().expect("writable") };
        for cache in [file.as_path(), Path::new("/proc/none")] {
            for _ in 0..3 {
                let (quarantine, memory) = (Quarantine::default(), Arc::default());
                let mut attempt = quarantine.attempt(cache, &subject("a"), &memory).expect("no quarantine");
                attempt.begin(1);
                std::mem::forget(attempt);
            }
        }
        let path = unusable.cache.path().join(MARKS).join(subject("a").file_name());
        fs::create_dir_all(path.parent().expect("in the cache")).expect("writable");
        fs::write(path, "{\"half\":").expect("writable");
        assert_eq!(unusable.read(&subject("a")), Ok(()));
    }
}
