//! The step that gives every manifest its scope: from a CRD of the same repository, else from the kinds of the cluster.

use std::sync::Arc;

use serde_json::Value;

use crate::compile::kind_scopes::{KindScopes, Scope};
use crate::compile::parse::{BuiltinKind, Manifest, builtin_types};
use crate::model::finding::{Code, Finding};
use crate::model::manifest_object::ManifestObject;
use crate::model::object::ObjectId;

/// A manifest on its way to the declared set, with the decisions of the gates that it passed.
#[derive(Clone, Debug)]
pub(crate) struct ScopedManifest {
    pub(crate) manifest: Arc<Manifest>,
    /// The namespace that a gate put the object into. `None`: the one in its metadata.
    pub(crate) placed: Option<Arc<str>>,
    /// The scope of the object's kind; unknown before [`assign`].
    pub(crate) scope: Scope,
}

impl ScopedManifest {
    /// A manifest before the first gate.
    pub(crate) fn new(manifest: Arc<Manifest>) -> Self {
        Self { manifest, placed: None, scope: Scope::Unknown }
    }

    pub(crate) fn object(&self) -> &ManifestObject {
        &self.manifest.object
    }

    /// The namespace that the object is applied in, empty for none.
    pub(crate) fn namespace(&self) -> &str {
        self.placed.as_deref().unwrap_or(self.manifest.object.id.namespace())
    }

    /// The identity that the object is applied as.
    pub(crate) fn id(&self) -> ObjectId {
        self.manifest.object.id.in_namespace(self.namespace())
    }
}

/// The kind that a CustomResourceDefinition defines.
pub(crate) struct Crd<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) plural: &'a str,
    scope: Scope,
    served: bool,
}

/// Reads a CustomResourceDefinition; a finding (KNV1065) when it is malformed. `None` for objects of other kinds.
pub(crate) fn crd(manifest: &Manifest) -> Option<Result<Crd<'_>, Finding>> {
    let object = &manifest.object;
    if !manifest.is_any(BuiltinKind::CustomResourceDefinition) {
        return None;
    }
    let malformed = |message: String, hint: &str, field: &[&str]| {
        let finding =
            Finding::new(Code::MalformedCRD, format!("This CustomResourceDefinition is malformed: {message}."));
        Some(Err(finding.hint(hint).at(manifest.at_value(field))))
    };
    if !manifest.is(BuiltinKind::CustomResourceDefinition) {
        let message = format!("apiextensions.k8s.io has no version {}", object.version());
        return malformed(message, "Set apiVersion to `apiextensions.k8s.io/v1`.", &["apiVersion"]);
    }
    let fields = if object.version() == "v1" { builtin_types::CRD } else { builtin_types::CRD_V1BETA1 };
    if let Some(mismatch) = builtin_types::mismatch(object, fields) {
        let hint = "Correct the field. Types are not converted, and a malformed field makes the whole kind unknown.";
        return malformed(mismatch.message(), hint, &mismatch.steps());
    }
    let spec = object.field("spec").unwrap_or(&Value::Null);
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    // A kind with the older field `spec.version` is served. For v1, Kubernetes sets that field to the first version.
    let version =
        if object.version() == "v1" { versions.first().map(|it| &it["name"]) } else { Some(&spec["version"]) };
    let has_version = version.and_then(Value::as_str).is_some_and(|version| !version.is_empty());
    Some(Ok(Crd {
        group: spec["group"].as_str().unwrap_or_default(),
        kind: spec["names"]["kind"].as_str().unwrap_or_default(),
        plural: spec["names"]["plural"].as_str().unwrap_or_default(),
        scope: if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        served: has_version || versions.iter().any(|it| it["served"] == true),
    }))
}

/// Gives every manifest its scope. Findings: malformed CRDs (KNV1065) and, if `report_unknown`, kinds of unknown scope
/// (KNV1021).
pub(crate) fn assign(manifests: &mut [ScopedManifest], kinds: &KindScopes, report_unknown: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut declared = KindScopes::default();
    for crd in manifests.iter().filter_map(|scoped| crd(&scoped.manifest)) {
        match crd {
            Ok(crd) if crd.served => declared.insert(crd.group, crd.kind, crd.scope),
            Ok(_) => {}
            Err(finding) => findings.push(finding),
        }
    }
    for scoped in manifests {
        let (group, kind) = (scoped.manifest.object.id.group(), scoped.manifest.object.id.kind());
        scoped.scope = declared.set(group, kind).unwrap_or_else(|| kinds.get(group, kind));
        if scoped.scope == Scope::Unknown && report_unknown {
            let kind = scoped.manifest.object.id.group_kind();
            let message =
                format!("The cluster does not know the kind {kind}. The object is not applied until its CRD exists.");
            findings.push(
                Finding::new(Code::UnknownKind, message)
                    .hint(format!(
                        "Declare the CRD of {kind} in the same source, or install it first. If another server serves the kind, \
                         `kubectl get apiservices` says why it is away."
                    ))
                    .at(scoped.manifest.at_value(&["kind"])),
            );
        }
    }
    findings
}
