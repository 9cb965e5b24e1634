//! ConfigMaps, Secrets, and kinds of which little is checked.

use serde_json::Value;

use crate::failure::Cause;
use crate::object::{self, list, map, text};

use super::{not_negative, one_of};

/// A ConfigMap.
pub(super) fn config_map(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = keys(object, "data");
    causes.extend(keys(object, "binaryData"));
    for key in map(object, "/data").into_iter().flatten().map(|(key, _)| key) {
        if map(object, "/binaryData").is_some_and(|data| data.contains_key(key)) {
            let detail = "duplicate of key present in binaryData";
            causes.push(Cause::invalid(format!("data[{key}]"), &key.as_str().into(), detail));
        }
    }
    causes.extend(frozen(object, live, &["data", "binaryData"], "data"));
    causes
}

/// A Secret: some types need particular keys.
pub(super) fn secret(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = keys(object, "data");
    let one = |key: &str| map(object, "/data").is_some_and(|data| data.contains_key(key));
    let needed: &[&str] = match text(object, "/type") {
        "kubernetes.io/basic-auth" if !one("username") && !one("password") => &["username", "password"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if !one(key) {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    }
    let account = "kubernetes.io/service-account.name";
    let token = text(object, "/type") == "kubernetes.io/service-account-token";
    if token && text(&object["metadata"]["annotations"][account], "").is_empty() {
        causes.push(Cause::required(format!("metadata.annotations[{account}]"), ""));
    }
    if let Some(live) = live
        && live["type"] != object["type"]
    {
        causes.push(Cause::invalid("type", &object["type"], "field is immutable"));
    }
    causes.extend(frozen(object, live, &["data"], ""));
    causes
}

/// Checks that an immutable object does not change. The field `made` counts as set even if the client leaves it out.
fn frozen(object: &Value, live: Option<&Value>, fields: &[&str], made: &str) -> Vec<Cause> {
    let Some(live) = live.filter(|live| live["immutable"] == true) else { return Vec::new() };
    let detail = "field is immutable when `immutable` is set";
    let empty = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
    let of = |object: &Value, field: &str| object.get(field).filter(|value| field != made || !empty(value)).cloned();
    let mut changed: Vec<&str> = fields.iter().filter(|field| of(object, field) != of(live, field)).copied().collect();
    if object["immutable"] != true {
        changed.insert(0, "immutable");
    }
    changed.into_iter().map(|field| Cause::forbidden(field, detail)).collect()
}

/// The keys of files.
fn keys(object: &Value, field: &str) -> Vec<Cause> {
    const FORM: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                        'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let climbs = |key: &str| key == "." || key.starts_with("..");
    let bad = |key: &&String| key.is_empty() || key.len() > 253 || !key.chars().all(allowed) || climbs(key);
    let keys = map(object, &format!("/{field}")).into_iter().flatten().map(|(key, _)| key);
    keys.filter(bad).map(|key| Cause::invalid(format!("{field}[{key}]"), &key.as_str().into(), FORM)).collect()
}

/// An Ingress.
pub(super) fn ingress(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if list(object, "/spec/rules").is_empty() && object.pointer("/spec/defaultBackend").is_none() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        causes.push(Cause::invalid("spec", &object["spec"], detail));
    }
    for (at, rule) in list(object, "/spec/rules").iter().enumerate() {
        for (n, path) in list(rule, "/http/paths").iter().enumerate() {
            let field = format!("spec.rules[{at}].http.paths[{n}]");
            let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
            if text(path, "/pathType").is_empty() {
                causes.push(Cause::required(format!("{field}.pathType"), "pathType must be specified"));
            }
            causes.extend(one_of(path, "/pathType", &format!("{field}.pathType"), &kinds));
        }
    }
    causes
}

/// A PodDisruptionBudget.
pub(super) fn budget(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let both = spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some();
    let detail = "minAvailable and maxUnavailable cannot be both set";
    let both = both.then(|| Cause::invalid("spec", spec, detail));
    both.into_iter().chain(not_negative(object, "/spec/minAvailable", "spec.minAvailable")).collect()
}

/// A HorizontalPodAutoscaler.
pub(super) fn autoscaler(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let (least, most) = (object::integer(object, "/spec/minReplicas"), object::integer(object, "/spec/maxReplicas"));
    if most.unwrap_or(0) < 1 {
        let detail = "must be greater than 0";
        causes.push(Cause::invalid("spec.maxReplicas", &most.unwrap_or(0).into(), detail));
    }
    if least > most {
        let detail = "must be greater than or equal to `minReplicas`";
        causes.push(Cause::invalid("spec.maxReplicas", &most.unwrap_or(0).into(), detail));
    }
    for (key, field) in [("kind", "spec.scaleTargetRef.kind"), ("name", "spec.scaleTargetRef.name")] {
        if text(&object["spec"]["scaleTargetRef"], &format!("/{key}")).is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    causes
}
