//! The state of a commit, as services that host repositories are told of it: from the reports of a sync, without sending anything.
//!
//! A message has codes and places in the repository, and no words of the cluster: the status of a commit in a public repository is public.

mod outbox;

use std::sync::Arc;

use super::engine::Report;
use crate::api::GitStatus;
use crate::model::finding::{Code, Finding, Place};
use crate::model::metadata::SyncId;
use crate::model::visible::visible;

pub use outbox::{Delivery, Outbox};

/// Characters of a description: GitHub takes no more.
const DESCRIPTION: usize = 140;

/// The state of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommitState {
    /// It is being applied.
    Pending,
    /// It is applied without errors.
    Success,
    /// It cannot be applied, or is held.
    Failure,
}

impl CommitState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Success, Self::Failure];

    /// The word for it in settings and templates, and at GitHub and Gitea.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// The newest state of the commit that a sync follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitNews {
    /// The sync.
    pub sync: SyncId,
    /// The name of the cluster; empty if it has none.
    pub cluster: String,
    /// The source.
    pub git: Arc<GitStatus>,
    /// The commit, in hexadecimal digits.
    pub commit: String,
    /// Its state.
    pub state: CommitState,
    /// The code of the first error.
    pub code: Option<Code>,
    /// The state in words, 140 characters at the most.
    pub description: String,
}

impl CommitNews {
    /// A commit came in force and is being applied.
    pub fn pending(sync: &SyncId, cluster: &str, commit: &str, git: &Arc<GitStatus>, objects: usize) -> Self {
        let news = Self::new(sync, cluster, commit, git);
        Self { description: format!("{objects} objects are being applied"), ..news }
    }

    /// The state that a report tells of. `None` if it tells of none yet, or only of a server that is away.
    pub fn of(sync: &SyncId, cluster: &str, report: &Report) -> Option<Self> {
        let newest = &report.source;
        let news = |commit: &str, git| Some(Self::new(sync, cluster, commit, git)).filter(|news| news.is_sendable());
        if report.synced {
            let news = news(&report.sync.commit, &report.sync.git)?;
            return Some(Self { state: CommitState::Success, description: "the commit is applied".to_owned(), ..news });
        }
        let in_source: Vec<&Finding> = newest.findings.iter().filter(|finding| is_of_a_commit(finding.code)).collect();
        let is_in_force = newest.commit == report.sync.commit;
        let in_sync = report.sync.findings.iter().filter(|finding| match is_in_force {
            true => finding.code != Code::ApiServer,
            // The others are about the commit before.
            false => finding.code == Code::EmptySource,
        });
        let findings: Vec<&Finding> = in_source.into_iter().chain(in_sync).collect();
        let first = findings.first()?;
        let description = description(first, findings.len() - 1);
        let news = news(&newest.commit, &newest.git)?;
        Some(Self { state: CommitState::Failure, code: Some(first.code), description, ..news })
    }

    fn new(sync: &SyncId, cluster: &str, commit: &str, git: &Arc<GitStatus>) -> Self {
        Self {
            sync: sync.clone(),
            cluster: cluster.to_owned(),
            git: Arc::clone(git),
            commit: commit.to_owned(),
            state: CommitState::Pending,
            code: None,
            description: String::new(),
        }
    }

    fn is_sendable(&self) -> bool {
        !self.commit.is_empty() && self.commit.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// `false` if the source could not be read: the commit that is known by then is another one.
fn is_of_a_commit(code: Code) -> bool {
    !matches!(code, Code::Source | Code::InvalidSync | Code::InsufficientPermission)
}

/// The finding in a few words: its code, and its place in the repository.
fn description(finding: &Finding, others: usize) -> String {
    let code = finding.code;
    let words = match code {
        Code::EmptySource => format!("{code}: held, it would delete too much; nomos approve shows what"),
        _ => format!("{code} {}{}", code.name(), finding.places.first().map(place).unwrap_or_default()),
    };
    let more = if others == 0 { String::new() } else { format!(", and {others} more") };
    let room = DESCRIPTION - more.chars().count();
    let words = visible(&words).replace(['\n', '\t'], " ");
    // GitHub takes no characters of four bytes.
    let words: String = words.chars().map(|c| if c > '\u{ffff}' { '\u{fffd}' } else { c }).collect();
    let shown: String = match words.chars().count() > room {
        true => words.chars().take(room - 1).chain(['…']).collect(),
        false => words,
    };
    shown + &more
}

fn place(place: &Place) -> String {
    match (&place.location, &place.resource) {
        (Some(location), _) => format!(" in {}", location.point()),
        (None, Some(resource)) => format!(" of {} {}", resource.kind, resource.name),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Resource;
    use crate::sync::engine::Stage;

    fn report(newest: (&str, &[Finding]), in_force: (&str, &[Finding]), synced: bool) -> Report {
        let stage = |(commit, findings): (&str, &[Finding])| Stage {
            commit: commit.to_owned(),
            findings: findings.to_vec(),
            ..Stage::default()
        };
        Report { source: stage(newest), sync: stage(in_force), synced, ..Report::default() }
    }

    fn told(report: &Report) -> Option<(String, CommitState, String)> {
        let news = CommitNews::of(&SyncId::root("a"), "prod", report)?;
        Some((news.commit, news.state, news.description))
    }

    #[test]
    fn a_report_tells_the_state_of_the_newest_commit() {
        let of = |code| Finding::new(code, "the API server said: hunter2");
        let twice = of(Code::NameCollision).at_path("a/b.yaml");
        let applier = of(Code::Applier).about(Resource {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "Service".to_owned(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        });
        let (away, held) = (of(Code::ApiServer), of(Code::EmptySource));
        let failure = |commit: &str, words: &str| Some((commit.to_owned(), CommitState::Failure, words.to_owned()));
        let waits = "KNV2006: held, it would delete too much; nomos approve shows what";
        for (newest, in_force, synced, expected) in [
            (("a1", vec![]), ("a1", vec![]), true, Some(("a1", CommitState::Success, "the commit is applied"))),
            (("", vec![]), ("", vec![]), false, None),
            // It waits for lists of its kinds, or is being applied.
            (("b2", vec![]), ("a1", vec![]), false, None),
            (("a1", vec![]), ("a1", vec![]), false, None),
        ] {
            let expected = expected.map(|(commit, state, words)| (commit.to_owned(), state, words.to_owned()));
            assert_eq!(told(&report((newest.0, &newest.1), (in_force.0, &in_force.1), synced)), expected);
        }
        for (newest, in_force, expected) in [
            (vec![twice.clone()], vec![], failure("b2", "KNV1029 NameCollision in a/b.yaml")),
            (
                vec![twice.clone(), applier.clone()],
                vec![],
                failure("b2", "KNV1029 NameCollision in a/b.yaml, and 1 more"),
            ),
            // The git server is away, or the login is not valid: that says nothing of a commit.
            (vec![of(Code::Source)], vec![], None),
            (vec![of(Code::InvalidSync)], vec![], None),
            // The commit before has an error, and the newest one is held.
            (vec![], vec![applier.clone()], None),
            (vec![], vec![applier.clone(), held], failure("b2", waits)),
        ] {
            assert_eq!(told(&report(("b2", &newest), ("a1", &in_force), false)), expected, "{newest:?} {in_force:?}");
        }
        let applied = |findings: &[Finding]| told(&report(("a1", &[]), ("a1", findings), false));
        assert_eq!(applied(&[applier]), failure("a1", "KNV2009 Applier of Service web"));
        assert_eq!(applied(&[away]), None);
    }

    #[test]
    fn a_description_is_short_and_in_one_line() {
        let long = Finding::new(Code::NameCollision, "x").at_path(format!("ä\n\u{1b}{}", "ö".repeat(300)));
        let short = description(&long, 12);
        assert_eq!(short.chars().count(), DESCRIPTION);
        assert!(
            short.starts_with("KNV1029 NameCollision in ä \\u{1b}ö") && short.ends_with("ö…, and 12 more"),
            "{short}"
        );
    }
}
