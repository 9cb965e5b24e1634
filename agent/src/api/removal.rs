//! The end of the objects of a sync whose sync object is deleted.

use std::collections::BTreeMap;

use crate::model::metadata::{UNINSTALL_PRUNE, annotation};

/// The end of the objects of a sync that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Removal {
    /// They stay as they are, so that a sync that is made anew takes them over.
    #[default]
    Keep,
    /// They are deleted, and the sync goes when they are gone.
    Delete,
    /// As `Delete`, also those that another sync declares: all syncs go with the agent.
    Uninstall,
    /// They stay without the labels and annotations of the sync.
    GiveUp,
}

impl Removal {
    /// The end that these annotations of the sync object ask for. Any value but the two that Config Sync knows keeps the objects.
    pub fn of(annotations: &BTreeMap<String, String>) -> Self {
        if annotations.get(annotation::UNINSTALL).is_some_and(|end| end == UNINSTALL_PRUNE) {
            return Self::Uninstall;
        }
        match annotations.get(annotation::DELETION_PROPAGATION).map(String::as_str) {
            Some("Foreground") => Self::Delete,
            Some("Orphan") => Self::GiveUp,
            _ => Self::Keep,
        }
    }
}
