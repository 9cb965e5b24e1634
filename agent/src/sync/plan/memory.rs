//! The facts that the guard needs after a restart, which annotations of the first ResourceGroup keep.

use std::collections::BTreeMap;

use crate::model::metadata::annotation;
use crate::sync::moment::Moment;

use super::recent::RecentPrunes;

/// What makes an object with the sync's labels, annotations and `Apply` entry the sync's own.
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
    /// The deletions of the last hour.
    pub recent: RecentPrunes,
    /// What makes an object the sync's own.
    pub proof: Proof,
}

/// Values of annotations, by their keys. Annotations without a value are left out.
pub type GuardNotes = BTreeMap<&'static str, String>;

impl GuardMemory {
    /// Keys of the annotations.
    pub const KEYS: [&'static str; 2] = [annotation::RECENT_PRUNES, annotation::RECORD_LOST];

    /// The facts about a sync that cannot have a record.
    pub fn without_record() -> Self {
        Self { proof: Proof::Metadata, ..Self::default() }
    }

    /// The facts as annotations.
    pub fn notes(&self, now: &Moment) -> GuardNotes {
        let lost = if self.proof == Proof::Approval { "true" } else { "" };
        let values = [self.recent.text(now), lost.to_owned()];
        Self::KEYS.into_iter().zip(values).filter(|(_, value)| !value.is_empty()).collect()
    }

    /// The facts that these annotations keep.
    pub fn of(notes: &GuardNotes, now: &Moment) -> Self {
        let recent = notes.get(annotation::RECENT_PRUNES).map_or("", String::as_str);
        let proof = if notes.contains_key(annotation::RECORD_LOST) { Proof::Approval } else { Proof::Record };
        Self { recent: RecentPrunes::parse(recent, now), proof }
    }
}
