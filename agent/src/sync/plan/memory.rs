//! The facts that the guard needs after a restart, which annotations of the first ResourceGroup keep.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::compile::SourceLayout;
use crate::model::metadata::annotation;
use crate::model::object::ObjectId;
use crate::sync::moment::Moment;

use super::recent::RecentPrunes;

/// Deletions that are let pass and are kept over a restart. A restart in the middle of a prune of more needs another approval.
const PASSED: usize = 10_000;

/// The proof that an object with the sync's labels, annotations and `Apply` entry is the sync's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proof {
    /// The inventory's record names it. Every client can write all the rest.
    #[default]
    Record,
    /// The record was lost, so such objects are recorded again, and a user has to approve each deletion.
    Approval,
    /// Nothing else: the API server does not serve ResourceGroups, so that there is no record.
    Metadata,
}

/// The facts that the guard needs after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardMemory {
    /// The deletions of the last hour, with those that were let pass and are not carried out yet.
    pub recent: RecentPrunes,
    /// The deletions that were let pass.
    pub passed: BTreeSet<PruneMark>,
    /// The proof that an object is the sync's own.
    pub proof: Proof,
    /// The layout of the commit in force; `None` before there is one.
    pub layout: Option<SourceLayout>,
}

/// A digest of one deletion that was let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PruneMark(u32);

impl PruneMark {
    /// The mark of the object with this uid, and so many objects that go with it, under this approval; empty for a deletion
    /// within the budget.
    pub fn new((id, uid): &(ObjectId, Box<str>), along: usize, approval: &str) -> Self {
        let digest = Sha256::digest(format!("{id}\n{uid}\n{along}\n{approval}"));
        Self(digest.iter().take(4).fold(0, |mark, byte| mark << 8 | u32::from(*byte)))
    }
}

/// Values of annotations, by their keys. Annotations without a value are left out.
pub type GuardNotes = BTreeMap<&'static str, String>;

impl GuardMemory {
    /// Keys of the annotations.
    pub const KEYS: [&'static str; 4] =
        [annotation::RECENT_PRUNES, annotation::PASSED_PRUNES, annotation::RECORD_LOST, annotation::LAYOUT_IN_FORCE];

    /// The facts about a sync that cannot have a record.
    pub fn without_record() -> Self {
        Self { proof: Proof::Metadata, ..Self::default() }
    }

    /// The facts as annotations.
    pub fn notes(&self, now: &Moment) -> GuardNotes {
        let passed: Vec<String> = self.passed.iter().take(PASSED).map(|mark| format!("{:08x}", mark.0)).collect();
        let lost = if self.proof == Proof::Approval { "true" } else { "" };
        let layout = self.layout.map_or("", SourceLayout::name);
        let values = [self.recent.text(now), passed.join(" "), lost.to_owned(), layout.to_owned()];
        Self::KEYS.into_iter().zip(values).filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The facts that these annotations keep.
    pub fn of(notes: &GuardNotes, now: &Moment) -> Self {
        let text = |key| notes.get(key).map_or("", String::as_str);
        let marks = text(annotation::PASSED_PRUNES).split(' ');
        Self {
            recent: RecentPrunes::parse(text(annotation::RECENT_PRUNES), now),
            passed: marks.filter_map(|mark| u32::from_str_radix(mark, 16).ok().map(PruneMark)).collect(),
            proof: if text(annotation::RECORD_LOST).is_empty() { Proof::Record } else { Proof::Approval },
            layout: SourceLayout::parse(text(annotation::LAYOUT_IN_FORCE)),
        }
    }

    /// `true` if a record with these facts is as good as one with the newer ones. Marks of deletions that are carried out do no
    /// harm, and a record of an older agent gets the layout with the next write.
    pub fn is_up_to_date(&self, newer: &Self) -> bool {
        (&self.recent, self.proof) == (&newer.recent, newer.proof)
            && self.passed.is_superset(&newer.passed)
            && (self.layout.is_none() || self.layout == newer.layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Time;
    use crate::model::object::GroupKind;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn annotations_keep_everything() {
        let now = Moment { instant: std::time::Instant::now(), time: Time::from_unix(1_767_323_045) };
        let deletion = |uid: &str| (ObjectId::new(&GroupKind::new("", "ConfigMap"), "ns", "a"), uid.into());
        let passed: BTreeSet<PruneMark> = ["u", "v"].map(|uid| PruneMark::new(&deletion(uid), 0, "")).into();
        assert_eq!(passed.len(), 2);
        let mut recent = RecentPrunes::default();
        recent.add(2, 30, now.instant);
        let layout = SourceLayout::parse("unstructured/explicit");
        assert!(layout.is_some());
        let memory = GuardMemory { recent, passed, proof: Proof::Approval, layout };
        assert_eq!(GuardMemory::of(&memory.notes(&now), &now), memory);
        assert_eq!(GuardMemory::default().notes(&now), GuardNotes::new());
        assert!(memory.is_up_to_date(&GuardMemory { passed: BTreeSet::new(), ..memory.clone() }));
        assert!(!GuardMemory::default().is_up_to_date(&memory));
    }
}
