//! The status of clusters as text: a block for each cluster.

use agent::api::ResourceStatus;

use super::report::{ClusterStatus, Row, SyncReport, SyncReportState, resource_name};
use crate::Paint;
use crate::columns::{line, widths};

const INDENT: &str = "  ";
const SEPARATOR: &str = "--------------------";

/// A block for each cluster, with an empty line before it. `headers` is `true` if columns have titles.
pub(crate) fn blocks(clusters: &[ClusterStatus], paint: Paint, headers: bool) -> String {
    let mut lines = Vec::new();
    for cluster in clusters {
        let mark = if cluster.current { "*" } else { "" };
        lines.push(String::new());
        lines.push(paint.bold(&format!("{mark}{}", cluster.context)));
        lines.extend(cluster.row.iter().flat_map(|row| self::row(row, paint)));
        for text in cluster.settings_errors() {
            lines.push(format!("{INDENT}{SEPARATOR}"));
            lines.push(format!("{INDENT}ConfigManagement   {}", paint.bad("ERROR")));
            lines.extend(error(text).into_iter().map(|line| format!("{INDENT}{line}")));
        }
        for sync in &cluster.syncs {
            lines.push(format!("{INDENT}{SEPARATOR}"));
            lines.extend(self::sync(sync, paint, headers).into_iter().map(|line| format!("{INDENT}{line}")));
        }
    }
    lines.into_iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn row(row: &Row, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!("{INDENT}{SEPARATOR}"), format!("{INDENT}{}   {}", paint.bad(row.state), row.message)];
    if !row.cause.is_empty() {
        lines.extend(error(&row.cause).into_iter().map(|line| format!("{INDENT}{line}")));
    }
    lines
}

fn sync(sync: &SyncReport, paint: Paint, headers: bool) -> Vec<String> {
    let name = format!("{}:{}", sync.scope(), sync.name);
    let state = match &sync.last_update {
        Some(time) => format!("{} @ {}", sync.state.word(), time.long()),
        None => sync.state.word().to_owned(),
    };
    let head = [vec![name.as_str(), &sync.source], vec![state.as_str(), &sync.commit]];
    let width = widths(&head);
    // Coloured after the columns are aligned: escape sequences have no width on the terminal.
    let coloured = line(&head[1], &width).replacen(sync.state.word(), &colour(sync.state, paint), 1);
    let mut lines = vec![line(&head[0], &width), coloured];
    if let Some(summary) = &sync.error_summary {
        let truncated = if summary.truncated {
            format!(", ErrorTruncated: true, ErrorCountAfterTruncation: {}", summary.error_count_after_truncation)
        } else {
            String::new()
        };
        lines.push(format!("TotalErrorCount: {}{truncated}", summary.total_count));
    }
    lines.extend(sync.errors.iter().flat_map(|text| error(text)));
    lines.extend(resources(&sync.resources, headers));
    lines
}

fn colour(state: SyncReportState, paint: Paint) -> String {
    match state {
        SyncReportState::Synced => paint.good(state.word()),
        SyncReportState::Pending | SyncReportState::Suspended | SyncReportState::Reconciling => {
            paint.busy(state.word())
        }
        SyncReportState::Stalled | SyncReportState::Error | SyncReportState::Unknown => paint.bad(state.word()),
    }
}

/// `Error:` and the message. Its further lines are indented to its first.
fn error(text: &str) -> Vec<String> {
    let lines = text.trim_end().lines().enumerate();
    lines.map(|(i, text)| format!("{}{text}", if i == 0 { "Error:   " } else { "         " })).collect()
}

fn resources(resources: &[ResourceStatus], headers: bool) -> Vec<String> {
    if resources.is_empty() {
        return Vec::new();
    }
    let mut head = ["", "NAMESPACE", "NAME", "STATUS", "SOURCEHASH"].map(str::to_owned).to_vec();
    if resources.iter().all(|resource| resource.source_hash.is_empty()) {
        head.pop();
    }
    let mut rows = vec![head];
    rows.extend(resources.iter().map(|resource| {
        let id = &resource.id;
        let name = resource_name(resource);
        vec![String::new(), id.namespace.clone(), name, resource.status.clone(), resource.source_hash.clone()]
    }));
    let width = widths(&rows);
    let mut lines = vec!["Managed resources:".to_owned()];
    lines.extend(headers.then(|| line(&rows[0], &width)));
    for (resource, row) in resources.iter().zip(&rows[1..]) {
        lines.push(line(row, &width));
        let messages = resource.conditions.iter().filter(|condition| !condition.message.is_empty());
        lines.extend(messages.flat_map(|condition| condition.message.lines().map(|line| format!("      {line}"))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use agent::api::{ResourceStatus, SyncSpec, SyncStatus};
    use agent::model::metadata::SyncId;
    use serde_json::{Value, json};

    use super::super::report::{Row, report};
    use super::*;

    fn cluster(context: &str, row: Option<Row>, syncs: Vec<SyncReport>) -> ClusterStatus {
        ClusterStatus { context: context.into(), current: context == "prod", row, syncs, config_management: None }
    }

    fn sync(status: Value, resources: Value) -> SyncReport {
        let git = json!({ "git": { "repo": "https://git.example/platform/prod", "branch": "main", "auth": "none" } });
        let spec: SyncSpec = serde_json::from_value(git).expect("a spec");
        let status: SyncStatus = serde_json::from_value(status).expect("a status");
        let resources: Vec<ResourceStatus> = serde_json::from_value(resources).expect("resources");
        report(SyncId::root("root-sync"), &spec, &status, resources)
    }

    fn check(clusters: &[ClusterStatus], expected: &str) {
        assert_eq!(blocks(clusters, Paint::default(), true), expected);
    }

    #[test]
    fn a_synced_cluster_with_resources() {
        let commit = "9e1f2c0123456789012345678901234567890123";
        let status = json!({
            "sync": { "commit": commit, "lastUpdate": "2026-01-02T03:04:05Z" },
            "conditions": [{ "type": "Syncing", "status": "False", "commit": commit }],
        });
        let resources = json!([
            {
                "group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web",
                "status": "InProgress", "sourceHash": "9e1f2c0",
                "conditions": [{ "type": "Reconciling", "status": "True", "message": "Deployment is not available: 0/1 replicas" }],
            },
            { "group": "", "kind": "Namespace", "namespace": "", "name": "shop", "status": "Current", "sourceHash": "9e1f2c0" },
        ]);
        check(
            &[cluster("prod", None, vec![sync(status, resources)])],
            "
*prod
  --------------------
  <root>:root-sync                         https://git.example/platform/prod@main
  SYNCED @ 2026-01-02 03:04:05 +0000 UTC   9e1f2c0123456789012345678901234567890123
  Managed resources:
     NAMESPACE   NAME                  STATUS       SOURCEHASH
                 namespace/shop        Current      9e1f2c0
     shop        deployment.apps/web   InProgress   9e1f2c0
        Deployment is not available: 0/1 replicas
",
        );
    }

    #[test]
    fn errors_stand_below_the_state() {
        let status = json!({
            "source": { "errors": [{ "code": "1029", "errorMessage": "KNV1029: twice\n\nsource: a.yaml:3:1" }] },
            "conditions": [{
                "type": "Syncing", "status": "False", "commit": "abc", "errorSourceRefs": ["status.source.errors"],
                "errorSummary": { "totalCount": 40, "truncated": true, "errorCountAfterTruncation": 1 },
            }],
        });
        check(
            &[cluster("dev", None, vec![sync(status, json!([]))])],
            "
dev
  --------------------
  <root>:root-sync   https://git.example/platform/prod@main
  ERROR              abc
  TotalErrorCount: 40, ErrorTruncated: true, ErrorCountAfterTruncation: 1
  Error:   KNV1029: twice

           source: a.yaml:3:1
",
        );
    }

    #[test]
    fn clusters_without_syncs_have_one_row() {
        let row = |state, message: &str, cause: &str| Some(Row { state, message: message.into(), cause: cause.into() });
        check(
            &[
                cluster("a", row("NOT INSTALLED", "", ""), vec![]),
                cluster("b", row("N/A", "Failed to connect to cluster", "Connection refused"), vec![]),
            ],
            "
a
  --------------------
  NOT INSTALLED

b
  --------------------
  N/A   Failed to connect to cluster
  Error:   Connection refused
",
        );
    }
}
