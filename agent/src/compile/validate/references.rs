//! The rule for the annotations by which an object names others: `depends-on` and `apply-time-mutation`.

use super::Findings;
use crate::compile::kind_scopes::Scope;
use crate::compile::options::CompileOptions;
use crate::compile::scope::ScopedManifest;
use crate::compile::substitutions::{SUBSTITUTION_FORM, checked};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation::{APPLY_TIME_MUTATION, DEPENDS_ON, MANAGED};
use crate::model::references::{REFERENCE_FORM, references};

/// The annotations of objects that are applied can be read, and there is a place for each value (KNV2009). The command line tool warns
/// of them instead (`compile/advice.rs`).
pub(super) fn readable(manifests: &[ScopedManifest], options: &CompileOptions, findings: &mut Findings) {
    if options.sync.is_none() {
        return;
    }
    for scoped in manifests.iter().filter(|scoped| is_applied(scoped)) {
        let mut find = |key: &str, form: &str, read: &dyn Fn(&str) -> Result<(), String>| {
            if let Some(Err(reason)) = scoped.object().annotation(key).map(read) {
                let finding = Finding::new(Code::Applier, format!("{key} of {}: {reason}.", scoped.id()));
                findings.push(finding.hint(form).at(scoped.manifest.at_annotation(key)));
            }
        };
        find(DEPENDS_ON, REFERENCE_FORM, &|text| references(text).map(drop));
        find(APPLY_TIME_MUTATION, SUBSTITUTION_FORM, &|text| {
            checked(text, &scoped.id(), &scoped.object().whole()).map(drop)
        });
    }
}

fn is_applied(scoped: &ScopedManifest) -> bool {
    scoped.scope != Scope::Unknown && scoped.object().annotation(MANAGED) != Some("disabled")
}
