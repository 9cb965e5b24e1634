//! Events and commands in one line each, for the log at the level `trace`.
//!
//! A line has names, identities and commits only. The values, labels and annotations of an object can hold secrets, so they
//! never appear here.

use super::{Command, Event, Notice, Outcome, SourceCommit};

impl Event {
    /// The name of the event and the kind, object or commit that it is about, as in `Seen service/shop/web`.
    pub fn summary(&self) -> String {
        match self {
            Self::Compiled { commit, declared, .. } => {
                format!("Compiled {commit} {}", if declared.is_some() { "usable" } else { "blocked" })
            }
            Self::Restored { commit, declared } => {
                format!("Restored {commit} {}", if declared.is_some() { "usable" } else { "unavailable" })
            }
            Self::SourceFailed(finding) => format!("SourceFailed {}", finding.code),
            Self::SpecChanged(_) => "SpecChanged".to_owned(),
            Self::Served(kind, plural, versions) => format!("Served {kind} as {plural} in {versions:?}"),
            Self::Listing(kind, session) => format!("Listing {kind} session {session}"),
            Self::Listed(kind, session) => format!("Listed {kind} session {session}"),
            Self::Unserved(kind) => format!("Unserved {kind}"),
            Self::Unlistable(kind, finding) => format!("Unlistable {kind} {}", finding.code),
            Self::Unwatched(kind, finding) => format!("Unwatched {kind} {}", finding.code),
            Self::Watched(kind) => format!("Watched {kind}"),
            Self::Seen(id, _) => format!("Seen {id}"),
            Self::Gone(id, _) => format!("Gone {id}"),
            Self::Finished(id, outcome) => format!("Finished {id} {}", outcome.name()),
            Self::Audited(object) => format!("Audited {}", object.id()),
            Self::AuditEnded(kind, complete) => format!("AuditEnded {kind} complete: {complete}"),
            Self::AuditDue => "AuditDue".to_owned(),
            Self::Recorded(number) => format!("Recorded {number}"),
            Self::Unrecorded(finding) => format!("Unrecorded {}", finding.code),
            Self::RecordTouched => "RecordTouched".to_owned(),
            Self::ServerAsked(None) => "ServerAsked there".to_owned(),
            Self::ServerAsked(Some(_)) => "ServerAsked away".to_owned(),
            Self::Counted(crd, _) => format!("Counted {crd}"),
            Self::Syncs(syncs) => format!("Syncs {}", syncs.len()),
            Self::Asked => "Asked".to_owned(),
            Self::RightsChanged => "RightsChanged".to_owned(),
            Self::Approved(approval) => format!("Approved {}", approval.as_deref().unwrap_or("nothing")),
            Self::Woken => "Woken".to_owned(),
        }
    }
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Applied(..) => "Applied",
            Self::Read(_) => "Read",
            Self::Filled(_) => "Filled",
            Self::Absent(_) => "Absent",
            Self::Deleted => "Deleted",
            Self::KeepsDetached(_) => "KeepsDetached",
            Self::Withdrawn => "Withdrawn",
            Self::Abandoned => "Abandoned",
            Self::Failed(_) => "Failed",
        }
    }
}

impl Command {
    /// The name of the command and the kinds, object or commit that it is about, as in `Apply service/shop/web Update`.
    pub fn summary(&self) -> String {
        match self {
            Self::Watch(kinds) => {
                let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
                format!("Watch {}", kinds.join(", "))
            }
            Self::Record(record) => format!("Record {} with {} objects", record.number, record.objects.len()),
            Self::Apply(declared, _, mode) => format!("Apply {} {mode:?}", declared.id),
            Self::ReadAsAgent(declared) => format!("ReadAsAgent {}", declared.id),
            Self::Annotate(declared, ..) => format!("Annotate {}", declared.id),
            Self::Read(declared) => format!("Read {}", declared.id),
            Self::Fill(declared, _) => format!("Fill {}", declared.id),
            Self::Audit(kind, _) => format!("Audit {kind}"),
            Self::AskServer => "AskServer".to_owned(),
            Self::Count(crd) => format!("Count {crd}"),
            Self::Delete(id, ..) => format!("Delete {id}"),
            Self::Withdraw => "Withdraw".to_owned(),
            Self::Abandon(id) => format!("Abandon {id}"),
            Self::Restore(SourceCommit { commit, .. }) => format!("Restore {commit}"),
            Self::Share(_) => "Share".to_owned(),
            Self::Report(report) => format!("Report {} {}", report.sync.commit, report.phase()),
            Self::Notice(notice) => format!("Notice {}", notice.summary()),
        }
    }
}

impl super::Report {
    fn phase(&self) -> &'static str {
        match (self.syncing, self.synced) {
            (true, _) => "syncing",
            (false, true) => "synced",
            (false, false) => "not synced",
        }
    }
}

impl Notice {
    fn summary(&self) -> String {
        match self {
            Self::Synced { commit, .. } => format!("Synced {commit}"),
            Self::Syncing { commit, .. } => format!("Syncing {commit}"),
            Self::Failed(finding) => format!("Failed {}", finding.code),
            Self::Repaired(repaired) => format!("Repaired {}", repaired.declared.id),
            Self::Adopted(adopted) => format!("Adopted {}", adopted.declared.id),
            Self::Kept(container, _) => format!("Kept {container}"),
            Self::Rewritten(rewritten) => format!("Rewritten {}", rewritten.declared.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compile::declared::DeclaredObject;
    use crate::model::object::{Object, ObjectId};

    #[test]
    fn a_line_names_the_object_and_none_of_its_values() {
        let secret: Object = serde_json::from_value(serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "key", "namespace": "shop", "annotations": {"note": "hidden"}},
            "data": {"password": "hidden"},
        }))
        .expect("an object");
        let id = ObjectId::from_parts(["", "Secret", "shop", "key"]);
        let declared = Arc::new(DeclaredObject::new(secret.clone()));
        assert_eq!(Event::Audited(Box::new(secret.clone())).summary(), format!("Audited {id}"));
        let finished = Event::Finished(id.clone(), Outcome::Read(Box::new(secret)));
        assert_eq!(finished.summary(), format!("Finished {id} Read"));
        assert_eq!(Command::Read(declared).summary(), format!("Read {id}"));
    }
    #[test]
    fn a_report_and_a_notice_are_named_with_their_commit() {
        let cases = [
            ((true, false), "syncing"),
            ((true, true), "syncing"),
            ((false, true), "synced"),
            ((false, false), "not synced"),
        ];
        for ((syncing, synced), phase) in cases {
            let mut report = crate::sync::engine::Report { syncing, synced, ..Default::default() };
            report.sync.commit = "c".repeat(40);
            assert_eq!(Command::Report(Box::new(report)).summary(), format!("Report {} {phase}", "c".repeat(40)));
        }
        let synced = Notice::Synced { commit: "c".repeat(40), applied: 1, pruned: 2 };
        assert_eq!(Command::Notice(synced).summary(), format!("Notice Synced {}", "c".repeat(40)));
    }
}
