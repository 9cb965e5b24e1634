//! `nomos history`: the commits that a sync had in force.

use std::path::Path;
use std::time::Duration;

use agent::api::{PastCommit, SyncStatus, Time};
use agent::io::git::{Commit, UserClone};
use agent::model::metadata::SyncId;
use anyhow::Context as _;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

use crate::columns::{OutputForm, output_form, titled};
use crate::syncs::{chosen, shown, sync_id};
use crate::{Console, FINE, completions, contexts};

/// Time between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(1);
/// The longest time between two looks while requests fail.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Show the commits that a sync had in force, the newest first
///
/// The agent keeps the last 20 in status.history of the RootSync or RepoSync. In a clone of the repository the first line of each
/// commit's message is shown too.
#[derive(clap::Args)]
pub(crate) struct HistoryArgs {
    /// NAME of a RootSync, or NAMESPACE:NAME of a RepoSync, as nomos status shows it [default: root-sync, or the only RootSync]
    #[arg(value_name = "SYNC", value_parser = sync_id, add = completions::syncs())]
    sync: Option<SyncId>,

    /// Show the commits again whenever there is another one
    #[arg(short, long)]
    watch: bool,

    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", add = completions::contexts())]
    context: Option<String>,

    /// Print in this form instead of as text: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_parser = output_form, value_name = "FORM")]
    output: Option<OutputForm>,

    /// Leave out the titles of columns
    #[arg(long)]
    no_headers: bool,
}

/// The history of one sync.
#[derive(Serialize)]
struct History {
    /// As nomos status shows it.
    sync: String,
    /// The newest first.
    commits: Vec<ShownCommit>,
}

#[derive(Serialize)]
struct ShownCommit {
    #[serde(flatten)]
    past: PastCommit,
    /// The first line of its message.
    #[serde(skip_serializing_if = "String::is_empty")]
    subject: String,
}

/// Shows the commits once, or again and again with `--watch`.
pub(crate) fn run(args: &HistoryArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let cluster = contexts::cluster(kubeconfig, &console.environment, args.context.as_deref())?;
    let clone = console.environment.directory.as_deref().and_then(UserClone::around);
    let subject = |commit: &str| {
        let commit = Commit::from_hex(commit);
        clone.as_ref().zip(commit).map(|(clone, commit)| clone.subject(commit)).unwrap_or_default()
    };
    let mut before = None;
    contexts::with(&cluster, async |client| {
        let (mut pause, mut told) = (WATCH, String::new());
        loop {
            let progress = console.begin(&format!("asking the cluster {}", cluster.context));
            let found = chosen(&cluster, &client, args.sync.as_ref()).await;
            drop(progress);
            let (sync, object) = match found {
                Ok(found) => found,
                // The user has seen the commits before, and waits for the next ones.
                Err(error) if before.is_some() => {
                    let why = format!("{error:#}\n\nnomos goes on asking");
                    if told != why {
                        console.error(&why);
                        told = why;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
                Err(error) => return Err(error),
            };
            (pause, told) = (WATCH, String::new());
            let commits = history(&object)?.into_iter().rev();
            let commits = commits.map(|past| ShownCommit { subject: subject(&past.commit), past }).collect();
            let text = text(args, &History { sync: shown(&sync), commits })?;
            if before.as_ref() != Some(&text) {
                match &args.output {
                    Some(_) => console.print_data(&text),
                    None if args.watch => console.print(&text),
                    None => console.page(&text),
                }
                before = Some(text);
            }
            if !args.watch {
                return Ok(FINE);
            }
            tokio::time::sleep(WATCH).await;
        }
    })
}

/// The commits in the status, the oldest first. A status without a history has the commit in force alone.
fn history(object: &DynamicObject) -> anyhow::Result<Vec<PastCommit>> {
    let status: SyncStatus = match &object.data["status"] {
        Value::Null => SyncStatus::default(),
        status => serde_json::from_value(status.clone()).context("the status of the sync cannot be read")?,
    };
    if !status.history.is_empty() || status.sync.commit.is_empty() {
        return Ok(status.history);
    }
    let since = status.sync.last_update.unwrap_or_else(|| Time::from_unix(0));
    let synced = (status.last_synced_commit == status.sync.commit).then(|| since.clone());
    Ok(vec![PastCommit { commit: status.sync.commit, since, synced }])
}

fn text(args: &HistoryArgs, history: &History) -> anyhow::Result<String> {
    if let Some(form) = &args.output {
        let names: Vec<String> = history.commits.iter().map(|commit| commit.past.commit.clone()).collect();
        return form.text(history, &names);
    }
    if history.commits.is_empty() {
        return Ok(format!("{} has had no commit in force yet\n", history.sync));
    }
    let mut rows = vec![["COMMIT", "IN FORCE SINCE", "SYNCED", "SUBJECT"].map(str::to_owned).to_vec()];
    rows.extend(history.commits.iter().map(|ShownCommit { past, subject }| {
        let synced = past.synced.as_ref().map_or_else(|| "no".to_owned(), Time::long);
        vec![past.commit.clone(), past.since.long(), synced, subject.clone()]
    }));
    if history.commits.iter().all(|commit| commit.subject.is_empty()) {
        rows.iter_mut().for_each(|row| drop(row.pop()));
    }
    Ok(titled(&rows, !args.no_headers))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(status: Value) -> Vec<PastCommit> {
        let object =
            json!({ "apiVersion": "configsync.gke.io/v1beta1", "kind": "RootSync", "metadata": {}, "status": status });
        history(&serde_json::from_value(object).expect("an object")).expect("a status")
    }

    fn args() -> HistoryArgs {
        HistoryArgs { sync: None, watch: false, context: None, output: None, no_headers: false }
    }

    #[test]
    fn commits_are_shown_with_their_times() {
        let commits = of(json!({ "history": [
            { "commit": "aaa", "since": "2026-01-02T03:04:05Z", "synced": "2026-01-02T03:04:09Z" },
            { "commit": "bb", "since": "2026-01-03T03:04:05Z" },
        ] }));
        let shown = |subject: &str| History {
            sync: "root-sync".into(),
            commits: commits
                .iter()
                .rev()
                .map(|past| ShownCommit { past: past.clone(), subject: subject.into() })
                .collect(),
        };
        let expected = "\
COMMIT   IN FORCE SINCE                  SYNCED
bb       2026-01-03 03:04:05 +0000 UTC   no
aaa      2026-01-02 03:04:05 +0000 UTC   2026-01-02 03:04:09 +0000 UTC
";
        assert_eq!(text(&args(), &shown("")).expect("text"), expected);
        assert!(text(&args(), &shown("why")).expect("text").ends_with("UTC   why\n"));
        let names = HistoryArgs { output: output_form("name").ok(), ..args() };
        assert_eq!(text(&names, &shown("")).expect("text"), "bb\naaa\n");
        let none = History { sync: "root-sync".into(), commits: Vec::new() };
        assert_eq!(text(&args(), &none).expect("text"), "root-sync has had no commit in force yet\n");
    }

    /// The CRD of another version has no such field, and Config Sync does not write it.
    #[test]
    fn without_a_history_the_commit_in_force_is_shown() {
        let stage = json!({ "commit": "a", "lastUpdate": "2026-01-02T03:04:05Z" });
        let commits = of(json!({ "sync": stage, "lastSyncedCommit": "a" }));
        let time = Time("2026-01-02T03:04:05Z".into());
        assert_eq!(commits, [PastCommit { commit: "a".into(), since: time.clone(), synced: Some(time) }]);
        assert_eq!(of(json!({ "sync": stage }))[0].synced, None);
        assert_eq!(of(Value::Null), []);
    }
}
