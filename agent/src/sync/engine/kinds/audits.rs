//! Audits: the whole objects of a kind are compared, because metadata does not show every change.

use std::time::{Duration, Instant};

use super::{Backoff, GroupKind, Kind, Kinds};

/// Pause after an audit that failed; it doubles.
const FIRST_AUDIT: Duration = Duration::from_secs(15);
/// The longest of these pauses. Audits come each hour anyway.
const LONGEST_AUDIT: Duration = Duration::from_secs(3600);

/// Where the comparison of a kind's whole objects stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Audit {
    /// None is due.
    #[default]
    None,
    /// The last one failed. Another one begins at this time.
    Failed(Instant),
    /// One is to begin.
    Due,
    /// One is going on.
    Running,
    /// One is going on, and another one follows.
    DueAgain,
}

/// The pauses after audits that fail.
pub(super) fn pauses() -> Backoff {
    Backoff::new(FIRST_AUDIT, LONGEST_AUDIT)
}

impl Kinds {
    /// Has the whole objects of the kind compared.
    pub(in crate::sync::engine) fn audit(&mut self, kind: &GroupKind) {
        let kind = self.of_mut(kind);
        kind.audit = match kind.audit {
            Audit::None | Audit::Failed(_) | Audit::Due => Audit::Due,
            Audit::Running | Audit::DueAgain => Audit::DueAgain,
        };
    }

    /// Begins the audits that are due, and returns their kinds.
    pub(in crate::sync::engine) fn begin_audits(&mut self, now: Instant) -> Vec<GroupKind> {
        let is_due = |audit: Audit| matches!(audit, Audit::Failed(at) if at <= now) || audit == Audit::Due;
        let due = self.0.iter_mut().filter(|(_, kind)| is_due(kind.audit));
        let begin = |(name, kind): (&GroupKind, &mut Kind)| {
            kind.audit = Audit::Running;
            name.clone()
        };
        due.map(begin).collect()
    }

    /// An audit of the kind has ended, with all of its objects if it is `complete`.
    pub(in crate::sync::engine) fn audit_ended(&mut self, kind: &GroupKind, complete: bool, now: Instant) {
        let kind = self.of_mut(kind);
        if complete {
            kind.audits.reset();
        }
        kind.audit = match kind.audit {
            Audit::DueAgain => Audit::Due,
            _ if complete => Audit::None,
            _ => Audit::Failed(now + kind.audits.next_pause()),
        };
    }

    pub(in crate::sync::engine) fn is_auditing(&self) -> bool {
        self.0.values().any(|kind| !matches!(kind.audit, Audit::None | Audit::Failed(_)))
    }

    /// When an audit begins after one that failed.
    pub(in crate::sync::engine) fn next_audit(&self) -> Option<Instant> {
        let audit_at = |kind: &Kind| match kind.audit {
            Audit::Failed(at) => Some(at),
            _ => None,
        };
        self.0.values().filter_map(audit_at).min()
    }
}
