//! Findings and differences as JSON, as `nomos-cli/report.schema.json` describes them.

use agent::model::finding::{Finding, Warning};
use agent::model::visible::visible_json;
use serde::Serialize;

use super::{ChangeCounts, ReportedChange, Subject};

/// The version of the form. It grows when a field is removed or changes its meaning, not when a field is added.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    root: &'a str,
    clusters: Vec<ClusterFindings<'a>>,
    warnings: &'a [Warning],
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<ChangeCounts>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    changes: &'a [ReportedChange],
}

#[derive(Serialize)]
struct ClusterFindings<'a> {
    name: &'a str,
    findings: Vec<ReportedFinding<'a>>,
}

#[derive(Serialize)]
struct ReportedFinding<'a> {
    name: &'static str,
    blocks: bool,
    #[serde(flatten)]
    finding: &'a Finding,
}

pub(super) fn text(subject: &Subject<'_>) -> anyhow::Result<String> {
    let clusters = subject.clusters.iter();
    let clusters = clusters
        .map(|(name, findings)| ClusterFindings { name, findings: findings.iter().map(entry).collect() })
        .collect();
    let Subject { root, warnings, sealed, changes, counts, .. } = subject;
    let (sealed, summary) = ((*sealed > 0).then_some(*sealed), *counts);
    let report = JsonReport { version: VERSION, root, clusters, warnings, sealed, summary, changes };
    Ok(visible_json(&serde_json::to_string_pretty(&report)?).into_owned() + "\n")
}

fn entry(finding: &Finding) -> ReportedFinding<'_> {
    ReportedFinding { name: finding.code.name(), blocks: finding.code.blocks(), finding }
}
