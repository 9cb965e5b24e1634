//! Roles and their bindings.

use serde_json::{Value, json};

use crate::failure::Cause;
use crate::kinds::names;
use crate::object::{list, text};

const GROUP: &str = "rbac.authorization.k8s.io";

/// A Role or ClusterRole.
pub(super) fn role(object: &Value, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (at, rule) in list(object, "/rules").iter().enumerate() {
        let field = |name: &str| format!("rules[{at}].{name}");
        if list(rule, "/verbs").is_empty() {
            causes.push(Cause::required(field("verbs"), "verbs must contain at least one value"));
        }
        let (groups, resources) = (list(rule, "/apiGroups"), list(rule, "/resources"));
        if !list(rule, "/nonResourceURLs").is_empty() {
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                causes.push(Cause::invalid(field("nonResourceURLs"), &rule["nonResourceURLs"], detail));
            }
            if !groups.is_empty() || !resources.is_empty() || !list(rule, "/resourceNames").is_empty() {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                causes.push(Cause::invalid(field("nonResourceURLs"), &rule["nonResourceURLs"], detail));
            }
            continue;
        }
        if groups.is_empty() {
            causes.push(Cause::required(field("apiGroups"), "resource rules must supply at least one api group"));
        }
        if resources.is_empty() {
            causes.push(Cause::required(field("resources"), "resource rules must supply at least one resource"));
        }
    }
    causes
}

/// A RoleBinding or ClusterRoleBinding.
pub(super) fn binding(object: &Value, live: Option<&Value>, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let role = &object["roleRef"];
    if text(role, "/apiGroup") != GROUP {
        causes.push(Cause::unsupported("roleRef.apiGroup", &role["apiGroup"], &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "/kind")) {
        causes.push(Cause::unsupported("roleRef.kind", &text(role, "/kind").into(), kinds));
    }
    match text(role, "/name") {
        "" => causes.push(Cause::required("roleRef.name", "")),
        name => {
            let detail = names::path_segment(name);
            causes.extend(detail.map(|detail| Cause::invalid("roleRef.name", &name.into(), &detail)));
        }
    }
    for (at, subject) in list(object, "/subjects").iter().enumerate() {
        causes.extend(self::subject(subject, &format!("subjects[{at}]"), namespaced));
    }
    if let Some(live) = live
        && live["roleRef"] != *role
    {
        let shown = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
        causes.push(Cause::invalid("roleRef", &shown, "cannot change roleRef"));
    }
    causes
}

fn subject(subject: &Value, field: &str, namespaced: bool) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (name, group) = (text(subject, "/name"), text(subject, "/apiGroup"));
    if name.is_empty() {
        causes.push(Cause::required(format!("{field}.name"), ""));
    }
    let of_group = |known: &str| {
        (group != known).then(|| Cause::unsupported(format!("{field}.apiGroup"), &group.into(), &[known]))
    };
    match text(subject, "/kind") {
        "ServiceAccount" => {
            let detail = Some(name).filter(|name| !name.is_empty()).and_then(names::subdomain);
            causes.extend(detail.map(|detail| Cause::invalid(format!("{field}.name"), &name.into(), &detail)));
            causes.extend(of_group(""));
            if text(subject, "/namespace").is_empty() && !namespaced {
                causes.push(Cause::required(format!("{field}.namespace"), ""));
            }
        }
        "User" | "Group" => causes.extend(of_group(GROUP)),
        other => {
            let known = ["ServiceAccount", "User", "Group"];
            causes.push(Cause::unsupported(format!("{field}.kind"), &other.into(), &known));
        }
    }
    causes
}
