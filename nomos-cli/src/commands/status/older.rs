//! The table that older versions of nomos printed: one line for each sync, and the errors below.

use super::report::{ClusterStatus, NO_COMMIT, SyncReport};
use crate::columns;

/// Number of characters of a commit that are shown.
const TOKEN: usize = 8;

const HEAD: [&str; 5] = ["Current", "Context", "Status", "Last Synced Token", "Sync Branch"];
/// The longest state.
const STATE: &str = "NOT CONFIGURED";

/// The table for clusters, which can be printed before all of them have answered.
pub(crate) struct OlderTable {
    widths: Vec<usize>,
}

impl OlderTable {
    /// The table for clusters of these contexts.
    pub(crate) fn of<'a>(contexts: impl Iterator<Item = &'a str>) -> Self {
        let longest = contexts.map(|context| vec!["", context, STATE]);
        Self { widths: columns::widths(&longest.chain([HEAD.to_vec()]).collect::<Vec<_>>()) }
    }

    /// The lines above the rows.
    pub(crate) fn head(&self) -> String {
        let rule = HEAD.map(|title| "-".repeat(title.len()));
        format!("{}\n{}\n", columns::line(&HEAD, &self.widths), columns::line(&rule, &self.widths))
    }

    /// One line for each sync of a cluster, or for a cluster without syncs.
    pub(crate) fn rows(&self, cluster: &ClusterStatus) -> String {
        lines(cluster).iter().map(|cells| columns::line(cells, &self.widths) + "\n").collect()
    }

    /// The errors of all clusters.
    pub(crate) fn errors<'a>(clusters: impl Iterator<Item = &'a ClusterStatus>) -> String {
        let errors: Vec<Vec<String>> = clusters
            .flat_map(|cluster| messages(cluster).map(|message| vec![cluster.context.clone(), message]))
            .collect();
        if errors.is_empty() {
            return String::new();
        }
        format!("\n\nConfig Management Errors:\n{}", columns::table(&errors))
    }
}

fn lines(cluster: &ClusterStatus) -> Vec<Vec<String>> {
    let mark = if cluster.current { "*" } else { "" };
    let start = |state: &str| vec![mark.to_owned(), cluster.context.clone(), state.to_owned()];
    let row = cluster.row.iter().map(|row| start(row.state));
    let syncs = cluster.syncs.iter().map(|sync| {
        let mut cells = start(sync.state.word());
        cells.push(if sync.commit == NO_COMMIT { String::new() } else { sync.commit.chars().take(TOKEN).collect() });
        cells.push(branch(sync).to_owned());
        cells
    });
    row.chain(syncs).collect()
}

/// The text after the last `@` of a source.
fn branch(sync: &SyncReport) -> &str {
    sync.source.rsplit_once('@').map_or("", |(_, branch)| branch)
}

fn messages(cluster: &ClusterStatus) -> impl Iterator<Item = String> {
    let row = cluster.row.iter().map(|row| {
        let message = match row.state {
            "NOT CONFIGURED" | "NOT INSTALLED" if row.message.is_empty() => "ConfigManagement resource is missing",
            _ => &row.message,
        };
        one_line(&format!("{message} {}", row.cause))
    });
    let syncs = cluster.syncs.iter().flat_map(|sync| &sync.errors).map(|error| one_line(error));
    let settings = cluster.settings_errors().iter().map(|error| one_line(error));
    row.chain(settings).chain(syncs).filter(|message| !message.is_empty())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use agent::api::{SyncSpec, SyncStatus};
    use agent::model::metadata::SyncId;
    use serde_json::json;

    use super::super::report::{Row, report};
    use super::*;

    #[test]
    fn each_sync_has_a_line_and_errors_are_below() {
        let spec: SyncSpec =
            serde_json::from_value(json!({ "git": { "repo": "git@x:y", "branch": "main", "auth": "none" } }))
                .expect("a spec");
        let status: SyncStatus = serde_json::from_value(json!({
            "conditions": [{ "type": "Syncing", "status": "False", "commit": "0123456789abcdef" }],
        }))
        .expect("a status");
        let syncs = vec![report(SyncId::root("root-sync"), &spec, &status, Vec::new())];
        let row = Row { state: "NOT CONFIGURED", message: String::new(), cause: String::new() };
        let clusters = [
            ClusterStatus { context: "dev".into(), current: true, syncs, ..ClusterStatus::default() },
            ClusterStatus { context: "prod".into(), row: Some(row), ..ClusterStatus::default() },
        ];
        let expected = "\
Current   Context   Status           Last Synced Token   Sync Branch
-------   -------   ------           -----------------   -----------
*         dev       SYNCED           01234567            main
          prod      NOT CONFIGURED


Config Management Errors:
prod   ConfigManagement resource is missing
";
        let table = OlderTable::of(clusters.iter().map(|cluster| cluster.context.as_str()));
        let rows: String = clusters.iter().map(|cluster| table.rows(cluster)).collect();
        assert_eq!(table.head() + &rows + &OlderTable::errors(clusters.iter()), expected);
    }
}
