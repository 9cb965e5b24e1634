//! Rules for the Repo object of a hierarchical repository.

use std::sync::Arc;

use serde_json::Value;

use super::Findings;
use crate::compile::options::CompileOptions;
use crate::compile::parse::{BuiltinKind, Manifest, builtin_types};
use crate::model::finding::{Code, Finding};

const VERSION: &str = "1.0.0";

/// There is one Repo object (KNV1017, KNV2012), with the fields of its type (KNV1006) and a supported version (KNV1027).
pub(super) fn repo(manifests: &[Arc<Manifest>], _: &CompileOptions, findings: &mut Findings) {
    let is_repo = |manifest: &&Arc<Manifest>| manifest.is_any(BuiltinKind::Repo);
    let repos: Vec<&Arc<Manifest>> = manifests.iter().filter(is_repo).collect();
    match repos.as_slice() {
        [] => {
            let finding = Finding::new(
                Code::MissingRepo,
                "A hierarchical repository must have a Repo object in `system/`, and this one has none.",
            );
            let hint = "Create it with `nomos init`, or use the source format `unstructured`.";
            findings.push(finding.hint(hint).at_path("system/"));
        }
        [only] => version(only, findings),
        several => {
            let message = format!(
                "There are {} objects of the kind Repo.configmanagement.gke.io. There can be one.",
                several.len()
            );
            let finding =
                Finding::new(Code::MultipleSingletons, message).hint("Keep one of them, and remove the others.");
            findings.push(several.iter().fold(finding, |finding, repo| finding.at(repo.at_name())));
        }
    }
}

fn version(repo: &Manifest, findings: &mut Findings) {
    if let Some(finding) = super::selectors::malformed(repo, &["v1"], builtin_types::REPO) {
        findings.push(finding);
        return;
    }
    let version =
        repo.object.field("spec").and_then(|spec| spec.get("version")).and_then(Value::as_str).unwrap_or_default();
    if !matches!(version, VERSION | "0.1.0") {
        let message = format!("The version `{version}` of this Repo is not supported.");
        let hint = format!("Set spec.version to \"{VERSION}\".");
        let place = repo.at_value(&["spec", "version"]);
        findings.push(Finding::new(Code::UnsupportedRepoSpecVersion, message).hint(hint).at(place));
    }
}
