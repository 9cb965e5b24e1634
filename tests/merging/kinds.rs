//! The kinds that are tried: where they are, and templates of what may be written to them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A kind, and content for it.
pub(crate) struct Kind {
    /// The name of the test.
    pub(crate) name: &'static str,
    pub(crate) api_version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    /// The objects that a client may write, as [`crate::dice::Dice::make`] reads them.
    pub(crate) template: Value,
    /// The values that a client may write to `/status`, if there is one.
    pub(crate) status: Option<Value>,
    pub(crate) scale: bool,
    /// The schema of a custom resource.
    pub(crate) custom: Option<Value>,
}

impl Kind {
    pub(crate) fn collection(&self) -> String {
        let root = if self.api_version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{}/namespaces/default/{}", self.api_version, self.plural)
    }
}

fn one(of: &Value) -> Value {
    json!({"$one": of})
}

fn metadata() -> Value {
    json!({
        "?labels": {"?a": one(&json!(["1", "2"])), "?b": one(&json!(["1", "2"])), "?c/d.e": "x"},
        "?annotations": {"?a": one(&json!(["1", "2"])), "?b": ""},
        "?ownerReferences": {"$some": [
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner-1", "uid": "owner-1"},
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner-2", "uid": "owner-2", "?controller": true},
        ]},
    })
}

fn container(name: &str) -> Value {
    json!({
        "name": name,
        "image": one(&json!(["a:1", "a:2"])),
        "?args": {"$some": ["x", "y"]},
        "?env": {"$some": [
            {"name": "E", "value": one(&json!(["1", "2"]))},
            {"name": "F", "?value": "3"},
            {"name": "G", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]},
        "?ports": {"$some": [
            {"containerPort": 80, "?name": one(&json!(["p", "q"]))},
            {"containerPort": 80, "protocol": "UDP"},
            {"containerPort": 81, "?hostPort": 81},
        ]},
        "?resources": {"?limits": {"?cpu": one(&json!(["1", "100m"])), "?memory": "1Gi"}, "?requests": {"?cpu": "10m"}},
        "?imagePullPolicy": one(&json!(["Always", "Never"])),
        "?securityContext": {"?runAsNonRoot": one(&json!([true, false])), "?capabilities": {"?drop": {"$some": ["ALL"]}}},
    })
}

fn pod_template() -> Value {
    json!({
        "metadata": {"labels": {"app": "x", "?tier": one(&json!(["1", "2"]))}},
        "spec": {
            "containers": {"$least": [container("a"), container("b")]},
            "?initContainers": {"$some": [container("i")]},
            "?tolerations": {"$some": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]},
            "?nodeSelector": {"?a": "1", "?b": one(&json!(["1", "2"]))},
            "?hostname": one(&json!(["s", "t"])),
            "?hostNetwork": one(&json!([true, false])),
            "?volumes": {"$some": [
                {"name": "v", "emptyDir": {}},
                {"name": "w", "configMap": {"name": "c", "?defaultMode": 256, "?items": [{"key": "k", "path": "p"}]}},
                {"name": "s", "secret": {"secretName": "s", "?optional": true}},
            ]},
            "?topologySpreadConstraints": {"$some": [
                {"maxSkew": 1, "topologyKey": "t", "whenUnsatisfiable": one(&json!(["DoNotSchedule", "ScheduleAnyway"]))},
            ]},
            "?imagePullSecrets": {"$some": [{"name": "a"}, {"name": "b"}]},
            "?hostAliases": {"$some": [{"ip": "1.2.3.4", "hostnames": ["a"]}]},
            "?securityContext": {"?fsGroup": 1, "?sysctls": {"$some": [{"name": "a.b", "value": "1"}]}},
        },
    })
}

fn workload(api_version: &'static str, kind: &'static str, plural: &'static str, spec: Value, status: Value) -> Kind {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "x"}});
    spec["template"] = pod_template();
    Kind {
        name: plural,
        api_version,
        kind,
        plural,
        template: json!({"metadata": metadata(), "spec": spec}),
        status: Some(status),
        scale: true,
        custom: None,
    }
}

fn plain(api_version: &'static str, kind: &'static str, plural: &'static str, content: &Value) -> Kind {
    let mut template = content.clone();
    template["metadata"] = metadata();
    Kind { name: plural, api_version, kind, plural, template, status: None, scale: false, custom: None }
}

/// Fields that the API server sets after it has computed managed fields, and keeps if no client sends them.
pub(crate) const LATER: [&str; 4] = ["/spec/clusterIP", "/spec/clusterIPs", "/spec/ipFamilies", "/spec/ipFamilyPolicy"];

/// Takes back what the API server has set after all.
pub(crate) fn without_later_fields(object: &mut Value, sent: &Value) {
    for path in LATER.iter().filter(|path| sent.pointer(path).is_none()) {
        let Some((above, name)) = path.rsplit_once('/') else { continue };
        object.pointer_mut(above).and_then(Value::as_object_mut).map(|fields| fields.remove(name));
    }
}

/// The conversions of an object that the API server makes when it reads one, beyond those of its type.
pub(crate) fn converted(object: &mut Value) {
    let Some(text) = object.as_object_mut().and_then(|fields| fields.remove("stringData")) else { return };
    if object["kind"] == "Secret" {
        for (name, value) in text.as_object().into_iter().flatten() {
            object["data"][name] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
        }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Kind> {
    let mut kinds = workloads();
    kinds.extend(data());
    kinds.extend(network());
    kinds.push(custom());
    kinds
}

fn workloads() -> Vec<Kind> {
    let conditions = json!({"$some": [
        {"type": "A", "status": one(&json!(["True", "False"])), "?reason": "R"},
        {"type": "B", "status": "True"},
    ]});
    let replicas = one(&json!([1, 2, 3]));
    vec![
        workload(
            "apps/v1",
            "Deployment",
            "deployments",
            json!({
                "?replicas": replicas,
                "?paused": true,
                "?minReadySeconds": one(&json!([0, 5])),
                "?strategy": one(&json!([
                    {"type": "Recreate"},
                    {"type": "RollingUpdate", "?rollingUpdate": {"?maxSurge": one(&json!([1, "10%"])), "?maxUnavailable": 0}},
                ])),
            }),
            json!({"?conditions": conditions, "?replicas": 3, "?readyReplicas": 1}),
        ),
        workload(
            "apps/v1",
            "StatefulSet",
            "statefulsets",
            json!({
                "serviceName": "s",
                "?replicas": replicas,
                "?updateStrategy": one(&json!([{"type": "OnDelete"}, {"type": "RollingUpdate", "?rollingUpdate": {"partition": 1}}])),
            }),
            json!({"?conditions": conditions, "replicas": 1}),
        ),
        cron_jobs(),
    ]
}

fn cron_jobs() -> Kind {
    let mut template = pod_template();
    template["spec"]["restartPolicy"] = one(&json!(["Never", "OnFailure"]));
    let mut kind = plain(
        "batch/v1",
        "CronJob",
        "cronjobs",
        &json!({"spec": {
            "schedule": one(&json!(["0 0 * * *", "1 1 * * *"])),
            "?suspend": one(&json!([true, false])),
            "?concurrencyPolicy": one(&json!(["Allow", "Forbid"])),
            "jobTemplate": {
                "?metadata": {"?labels": {"?a": "1"}},
                "spec": {"?backoffLimit": one(&json!([0, 3])), "?parallelism": 2, "template": template},
            },
        }}),
    );
    kind.status = Some(json!({
        "?lastScheduleTime": "2026-01-01T00:00:00Z",
        "?active": {"$some": [{"kind": "Job", "name": "a", "namespace": "default"}, {"kind": "Job", "name": "b"}]},
    }));
    kind
}

fn data() -> Vec<Kind> {
    let rules = json!({"$some": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": {"$one": [["get"], ["list"]]}},
    ]});
    let subjects = json!({"$some": [
        {"kind": "ServiceAccount", "name": "a", "namespace": "default"},
        {"kind": "User", "name": "b", "apiGroup": "rbac.authorization.k8s.io"},
    ]});
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
    vec![
        plain(
            "v1",
            "ConfigMap",
            "configmaps",
            &json!({
                "?data": {"?a": one(&json!(["1", "2", ""])), "?b": one(&json!(["1", "2"])), "?c.d": "x"},
                "?binaryData": {"?e": "AAEC"},
                "?immutable": false,
            }),
        ),
        plain(
            "v1",
            "Secret",
            "secrets",
            &json!({
                "?data": {"?a": one(&json!(["MQ==", "Mg=="])), "?b": one(&json!(["MQ==", "Mg=="]))},
                "?stringData": {"?a": "1", "?c": one(&json!(["1", "2"]))},
                "?type": "Opaque",
            }),
        ),
        plain(
            "v1",
            "ServiceAccount",
            "serviceaccounts",
            &json!({
                "?secrets": {"$some": [{"name": "a"}, {"name": "b"}]},
                "?imagePullSecrets": {"$some": [{"name": "a"}, {"name": "b"}]},
                "?automountServiceAccountToken": one(&json!([true, false])),
            }),
        ),
        plain("rbac.authorization.k8s.io/v1", "Role", "roles", &json!({"?rules": rules})),
        plain(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            "rolebindings",
            &json!({"?subjects": subjects, "roleRef": role}),
        ),
    ]
}

fn network() -> Vec<Kind> {
    let mut service = plain(
        "v1",
        "Service",
        "services",
        &json!({"spec": {
            "?selector": {"?a": "1", "?b": one(&json!(["1", "2"]))},
            "ports": {"$least": [
                {"port": 80, "name": "a", "?protocol": "TCP", "?targetPort": one(&json!([80, "http"]))},
                {"port": 81, "name": "b", "?protocol": "UDP"},
                {"port": 53, "name": "c", "?appProtocol": "x.y/z"},
                {"port": 53, "name": "d", "protocol": "UDP"},
            ]},
            "?sessionAffinity": "None",
            "?publishNotReadyAddresses": one(&json!([true, false])),
        }}),
    );
    service.status = Some(json!({
        "?conditions": {"$some": [
            {"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]},
        "?loadBalancer": {"?ingress": {"$some": [{"ip": "1.2.3.4"}]}},
    }));
    let peers = json!({"$some": [
        {"podSelector": {"matchLabels": {"a": one(&json!(["1", "2"]))}}},
        {"ipBlock": {"cidr": "10.0.0.0/8", "?except": ["10.1.0.0/16"]}},
    ]});
    let policy = plain(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        "networkpolicies",
        &json!({"spec": {
            "podSelector": one(&json!([{}, {"matchLabels": {"a": "1"}}])),
            "?policyTypes": one(&json!([["Ingress"], ["Ingress", "Egress"]])),
            "?ingress": {"$some": [{"?from": peers, "?ports": {"$some": [{"port": 80, "?protocol": "TCP"}]}}]},
            "?egress": {"$some": [{"?to": peers}]},
        }}),
    );
    let backend = json!({"service": {"name": one(&json!(["a", "b"])), "port": {"number": 80}}});
    let mut ingress = plain(
        "networking.k8s.io/v1",
        "Ingress",
        "ingresses",
        &json!({"spec": {
            "defaultBackend": backend,
            "?ingressClassName": "c",
            "?rules": {"$some": [
                {"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}},
                {"host": "c.d"},
            ]},
            "?tls": {"$some": [{"hosts": {"$some": ["a.b", "c.d"]}, "?secretName": "s"}]},
        }}),
    );
    ingress.status = Some(json!({"?loadBalancer": {"?ingress": {"$some": [{"ip": "1.2.3.4"}]}}}));
    vec![service, policy, ingress, budgets()]
}

fn budgets() -> Kind {
    plain(
        "policy/v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        &json!({"spec": {"?minAvailable": one(&json!([1, "50%"])), "?selector": {"matchLabels": {"a": one(&json!(["1", "2"]))}}}}),
    )
}

/// Values that a schema lets pass, and some that it does not.
fn limited() -> Value {
    let words = json!({"?a": "1", "?b": "1"});
    json!({
        "?text": one(&json!(["ab", "a", "ababa", "xy", 7])),
        "?number": one(&json!([0.5, 0, -1, 0.3, 2, "1"])),
        "?small": one(&json!([1, 3_000_000_000_i64, 1.5, "1", true])),
        "?time": one(&json!(["2026-01-01T00:00:00Z", "now", 1])),
        "?address": one(&json!(["1.2.3.4", "1.2.3"])),
        "?list": one(&json!([[], [1], [1, 2, 3], ["1"], {}])),
        "?one": words,
        "?any": words,
        "?not": words,
        "?all": one(&json!([1, 2, 4, "x"])),
    })
}

/// The schema of values that are limited.
fn limits() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "maxProperties": 2,
        "properties": {
            "text": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[ab]+$"},
            "number": {"type": "number", "multipleOf": 0.5, "exclusiveMinimum": true, "minimum": 0},
            "small": {"type": "integer", "format": "int32"},
            "time": {"type": "string", "format": "date-time"},
            "address": {"type": "string", "format": "ipv4"},
            "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}},
            "one": {
                "type": "object",
                "properties": {"a": text, "b": text},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
            },
            "any": {"type": "object", "properties": {"a": text, "b": text}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            "not": {"type": "object", "properties": {"a": text, "b": text}, "not": {"required": ["a"]}},
            "all": {"type": "integer", "allOf": [{"minimum": 2}, {"maximum": 3}]},
        },
    })
}

/// The schema of the trial's `spec`.
fn spec() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {
            "replicas": {"type": "integer", "minimum": 1, "maximum": 3},
            "limited": limits(),
            "mode": {"type": "string", "default": "slow", "enum": ["slow", "fast"]},
            "rules": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name", "port"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {
                        "name": text,
                        "port": {"type": "integer", "default": 80},
                        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
                        "inner": {"type": "object", "properties": {"a": text, "b": text}},
                    },
                },
            },
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
            "atoms": {"type": "array", "items": text},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": text, "b": text}},
            "words": {"type": "object", "additionalProperties": text},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "either": {"x-kubernetes-int-or-string": true},
            "maybe": {"type": "string", "nullable": true},
            "object": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
        },
    })
}

fn custom() -> Kind {
    let text = json!({"type": "string"});
    let status = json!({"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": text}});
    let words = json!({"?a": one(&json!(["1", "2"])), "?b": "1"});
    Kind {
        name: "custom_resources",
        api_version: "try.nomos.dev/v1",
        kind: "Trial",
        plural: "trials",
        template: json!({"metadata": metadata(), "?spec": {
            "?replicas": one(&json!([1, 2, 3, 3, 3, 4])),
            "?mode": one(&json!(["slow", "fast", "fast", "slow", "medium"])),
            "?limited": one(&json!([{}, {}, {}, {}, limited()])),
            "?unknown": one(&json!([1, {"a": 1}])),
            "?rules": {"$some": [
                {"name": "a", "?tags": {"$some": ["x", "y", "z"]}, "?inner": words},
                {"name": "a", "port": 81, "?inner": words},
                {"name": "b", "?port": 82},
            ]},
            "?set": {"$some": ["x", "y", "z"]},
            "?atoms": {"$some": ["x", "y", "z"]},
            "?whole": words,
            "?words": words,
            "?free": {"?a": {"?b": one(&json!([1, "2", true, [1], {}])), "?c": [{"d": 1}]}, "?e": one(&json!([{"f": 1}, 7]))},
            "?either": one(&json!([1, "2"])),
            "?maybe": one(&json!([null, "x"])),
            "?object": {"apiVersion": "v1", "kind": "K", "?metadata": {"labels": words}, "?x": one(&json!([1, 2]))},
        }}),
        status: Some(json!({"?replicas": one(&json!([1, 2])), "?phase": one(&json!(["a", "b"]))})),
        scale: true,
        custom: Some(json!({"type": "object", "properties": {"spec": spec(), "status": status}})),
    }
}
