//! The last things that happened to syncs, for the page: commits, repairs with their diffs, errors. Bounded, in memory alone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;

use crate::model::metadata::SyncId;
use crate::model::object::ObjectId;
use crate::model::shared::lock;
use crate::model::shortened::shortened;

/// Entries that are kept: of all syncs, and of one of them, so that a sync with a fight leaves room for the others.
const ALL: usize = 1000;
const OF_ONE: usize = 200;
/// Bytes of the texts of all entries.
const BYTES: usize = 2 << 20;
/// Bytes of one text.
const TEXT: usize = 8 << 10;
/// Seconds within which another repair of an object, of the same fields after the same client, is counted with the one before.
const AGAIN: u64 = 600;

/// Something that happened to a sync.
#[derive(Clone, Debug)]
pub struct JournalEntry {
    /// Seconds since 1970.
    pub at: u64,
    /// The sync.
    pub sync: SyncId,
    /// The event.
    pub event: JournalEvent,
}

/// The things that are kept.
#[derive(Clone, Debug)]
pub enum JournalEvent {
    /// Drift was put back.
    Repaired(JournalRepair),
    /// A commit came in force.
    InForce(JournalCommit),
    /// An error was told.
    Failed {
        /// Its KNV code.
        code: String,
        /// Its message.
        message: String,
    },
}

/// A repair of drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRepair {
    /// The object.
    pub object: ObjectId,
    /// The field manager that changed it; `None` if it is not known.
    pub by: Option<String>,
    /// The fields that were changed.
    pub fields: Vec<String>,
    /// The object was deleted.
    pub deleted: bool,
    /// The difference that was put back.
    pub diff: JournalDiff,
    /// The number of equal repairs in a row that this entry stands for.
    pub times: usize,
}

/// The difference between two forms of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalDiff {
    /// As unified diff.
    Lines(String),
    /// There is one, and its values are shown nowhere.
    Withheld,
    /// It is not known.
    Unknown,
    /// An Event tells of the repair, without a difference. Every client that may make Events can have written it.
    ToldByEvent,
}

/// A commit that came in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalCommit {
    /// The commit.
    pub commit: String,
    /// Number of objects that it declares.
    pub objects: usize,
    /// The difference to the commit before, where that is known.
    pub changes: Option<JournalChanges>,
}

/// The objects that a commit declares otherwise than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalChanges {
    /// Numbers of added, changed and removed objects.
    pub counts: [usize; 3],
    /// Some of them, with the difference of changed ones.
    pub first: Vec<(ObjectId, JournalChange)>,
}

/// The change of one object by a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalChange {
    /// The commit declares it for the first time.
    Added,
    /// The commit does not declare it any more.
    Removed,
    /// The commit declares it differently.
    Changed(JournalDiff),
}

/// The last entries, and a signal for those who look at syncs. It is kept also while no user looks.
pub struct Journal {
    entries: Mutex<VecDeque<JournalEntry>>,
    /// Seconds since 1970 at which this agent began to write.
    since: AtomicU64,
    /// It changes with the syncs.
    generation: watch::Sender<u64>,
}

impl Default for Journal {
    fn default() -> Self {
        Self { entries: Mutex::default(), since: AtomicU64::new(0), generation: watch::Sender::new(1) }
    }
}

impl Journal {
    /// Keeps an entry. The oldest ones make room for it.
    pub fn keep(&self, mut entry: JournalEntry) {
        entry.event.shorten();
        let mut entries = self.entries();
        if let JournalEvent::Repaired(repair) = &mut entry.event
            && let Some(before) =
                entries.iter().rposition(|earlier| earlier.is_same_repair(&entry.sync, repair, entry.at))
            && let Some(JournalEntry { event: JournalEvent::Repaired(earlier), .. }) = entries.remove(before)
        {
            repair.times += earlier.times;
        }
        let of_sync = entries.iter().filter(|earlier| earlier.sync == entry.sync).count();
        if of_sync >= OF_ONE
            && let Some(oldest) = entries.iter().position(|earlier| earlier.sync == entry.sync)
        {
            entries.remove(oldest);
        }
        entries.push_back(entry);
        let mut bytes: usize = entries.iter().map(JournalEntry::bytes).sum();
        while entries.len() > ALL || bytes > BYTES {
            let Some(oldest) = entries.pop_front() else { break };
            bytes -= oldest.bytes();
        }
        drop(entries);
        self.touch();
    }

    /// The agent leads from now on. What happened before is in the journal of another agent, or in none.
    pub fn begin(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.touch();
    }

    /// Seconds since 1970 since when everything is in the journal that it has room for; 0 before the agent leads.
    pub fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Takes in what happened before the agent began to write, as far as there is room.
    pub fn restore(&self, mut earlier: Vec<JournalEntry>) {
        earlier.retain(|entry| entry.at < self.since());
        earlier.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        let mut entries = self.entries();
        let mut bytes: usize = entries.iter().map(JournalEntry::bytes).sum();
        for mut entry in earlier {
            if entries.iter().filter(|kept| kept.sync == entry.sync).count() >= OF_ONE {
                continue;
            }
            entry.event.shorten();
            bytes += entry.bytes();
            if entries.len() >= ALL || bytes > BYTES {
                break;
            }
            entries.push_front(entry);
        }
    }

    /// The entries, the oldest first.
    pub fn all(&self) -> Vec<JournalEntry> {
        self.entries().iter().cloned().collect()
    }

    /// Something about a sync is another than before.
    pub fn touch(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// The number that grows with each change.
    pub fn generation(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<JournalEntry>> {
        lock(&self.entries)
    }
}

impl JournalEntry {
    fn is_same_repair(&self, sync: &SyncId, repair: &JournalRepair, at: u64) -> bool {
        let JournalEvent::Repaired(earlier) = &self.event else { return false };
        (&self.sync, &earlier.object, &earlier.by, &earlier.fields, earlier.deleted)
            == (sync, &repair.object, &repair.by, &repair.fields, repair.deleted)
            && at.saturating_sub(self.at) < AGAIN
    }

    /// Bytes of its texts, about.
    fn bytes(&self) -> usize {
        200 + match &self.event {
            JournalEvent::Repaired(repair) => {
                repair.fields.iter().map(String::len).sum::<usize>() + repair.diff.bytes()
            }
            JournalEvent::Failed { message, .. } => message.len(),
            JournalEvent::InForce(JournalCommit { changes, .. }) => {
                let first = changes.iter().flat_map(|changes| &changes.first);
                first
                    .map(|(_, change)| 100 + if let JournalChange::Changed(diff) = change { diff.bytes() } else { 0 })
                    .sum()
            }
        }
    }
}

impl JournalEvent {
    fn shorten(&mut self) {
        let cut = |text: &mut String| *text = shortened(std::mem::take(text), TEXT);
        match self {
            Self::Repaired(repair) => {
                repair.fields.truncate(20);
                repair.fields.iter_mut().for_each(|field| *field = shortened(std::mem::take(field), 200));
                repair.diff.shorten();
            }
            Self::Failed { message, .. } => cut(message),
            Self::InForce(JournalCommit { changes, .. }) => {
                for (_, change) in changes.iter_mut().flat_map(|changes| &mut changes.first) {
                    if let JournalChange::Changed(diff) = change {
                        diff.shorten();
                    }
                }
            }
        }
    }
}

impl JournalDiff {
    fn bytes(&self) -> usize {
        if let Self::Lines(text) = self { text.len() } else { 0 }
    }

    fn shorten(&mut self) {
        if let Self::Lines(text) = self {
            *text = shortened(std::mem::take(text), TEXT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repair(sync: &str, name: &str, at: u64, diff: &str) -> JournalEntry {
        let repair = JournalRepair {
            object: ObjectId::from_parts(["", "ConfigMap", "a", name]),
            by: Some("kubectl".to_owned()),
            fields: vec![".data.x".to_owned()],
            deleted: false,
            diff: JournalDiff::Lines(diff.to_owned()),
            times: 1,
        };
        JournalEntry { at, sync: SyncId::root(sync), event: JournalEvent::Repaired(repair) }
    }

    fn times(journal: &Journal) -> Vec<(String, usize)> {
        let of = |entry: JournalEntry| match entry.event {
            JournalEvent::Repaired(repair) => (repair.object.name().to_owned(), repair.times),
            _ => unreachable!("repairs alone"),
        };
        journal.all().into_iter().map(of).collect()
    }

    #[test]
    fn a_fight_is_one_entry() {
        let journal = Journal::default();
        for at in 0..1000 {
            journal.keep(repair("x", "fought-over", at, "-a\n+b"));
        }
        journal.keep(repair("x", "other", 1000, ""));
        journal.keep(repair("x", "fought-over", 1001, ""));
        assert_eq!(times(&journal), [("other".to_owned(), 1), ("fought-over".to_owned(), 1001)]);
        journal.keep(repair("x", "fought-over", 5000, ""));
        assert_eq!(times(&journal).len(), 3, "a later fight is another one");
    }

    #[test]
    fn a_sync_with_many_repairs_leaves_room_for_others_and_memory_is_bounded() {
        let journal = Journal::default();
        journal.keep(repair("quiet", "a", 0, ""));
        for number in 0..2 * OF_ONE {
            journal.keep(repair("busy", &number.to_string(), 0, ""));
        }
        assert_eq!(journal.all().len(), OF_ONE + 1);
        assert_eq!(journal.all()[0].sync, SyncId::root("quiet"));
        for number in 0..3 * ALL {
            journal.keep(repair(&format!("sync-{}", number % 50), &number.to_string(), 0, &"x".repeat(1 << 20)));
        }
        let bytes: usize = journal.all().iter().map(JournalEntry::bytes).sum();
        assert!(bytes <= BYTES && journal.all().len() <= ALL, "{bytes}");
    }

    #[test]
    fn earlier_repairs_come_before_those_of_this_agent() {
        let journal = Journal::default();
        journal.begin(100);
        journal.keep(repair("x", "now", 120, ""));
        journal.restore(vec![repair("x", "own", 110, ""), repair("x", "second", 90, ""), repair("x", "first", 80, "")]);
        let names: Vec<String> = times(&journal).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["first", "second", "now"]);
        let many = (0..2 * OF_ONE as u64).map(|at| repair("busy", &at.to_string(), at % 100, ""));
        journal.restore(many.collect());
        assert_eq!(journal.all().len(), OF_ONE + 3);
        let large = (0..ALL).map(|number| repair(&format!("sync-{number}"), "a", 1, &"x".repeat(1 << 20)));
        journal.restore(large.collect());
        assert!(journal.all().iter().map(JournalEntry::bytes).sum::<usize>() <= BYTES);
    }

    #[test]
    fn each_entry_is_a_change() {
        let journal = Journal::default();
        let mut generation = journal.generation();
        assert!(!generation.has_changed().unwrap());
        journal.keep(repair("x", "a", 0, ""));
        assert!(generation.has_changed().unwrap());
        generation.mark_unchanged();
        journal.touch();
        assert!(generation.has_changed().unwrap());
    }
}
