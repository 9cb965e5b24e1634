//! Findings as JSON. `nomos-cli/report.schema.json` says what may be relied on.

use agent::model::finding::{Finding, Warning};
use serde::Serialize;

use super::Subject;

/// Grows when something that was there is no more. New fields do not count.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    root: &'a str,
    clusters: Vec<Cluster<'a>>,
    warnings: &'a [Warning],
}

#[derive(Serialize)]
struct Cluster<'a> {
    name: &'a str,
    findings: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'static str,
    blocks: bool,
    #[serde(flatten)]
    finding: &'a Finding,
}

pub(super) fn text(subject: &Subject<'_>) -> anyhow::Result<String> {
    let clusters = subject.clusters.iter();
    let clusters =
        clusters.map(|(name, findings)| Cluster { name, findings: findings.iter().map(entry).collect() }).collect();
    Ok(serde_json::to_string_pretty(&Document {
        version: VERSION,
        root: &subject.root,
        clusters,
        warnings: subject.warnings,
    })? + "\n")
}

fn entry(finding: &Finding) -> Entry<'_> {
    Entry { name: finding.code.name(), blocks: finding.code.blocks(), finding }
}
