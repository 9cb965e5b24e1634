//! Random values by the schemas that the API server publishes.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// All published schemas by their names, with those of the kinds that the judge has defined.
#[derive(Default)]
pub(crate) struct Schemas(pub(crate) Map<String, Value>);

/// The chance of a field that may be left out, in percent, by its depth.
const CHANCES: [u8; 9] = [90, 60, 40, 35, 30, 25, 20, 15, 10];

/// A schema at one place of an object.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) schema: &'a Value,
    /// The name of the type, if it has one.
    pub(crate) name: &'a str,
}

impl Schemas {
    /// The schema behind references.
    pub(crate) fn resolve<'a>(&'a self, schema: &'a Value) -> Node<'a> {
        let mut node = Node { schema, name: "" };
        while let Some(reference) = node.schema["$ref"].as_str().or(node.schema["allOf"][0]["$ref"].as_str()) {
            node.name = reference.rsplit('/').next().unwrap_or_default();
            let Some(schema) = self.0.get(node.name) else { break };
            node.schema = schema;
        }
        node
    }

    /// The schema of what is at `path`, the fields and items on the way.
    pub(crate) fn at<'a>(&'a self, root: &'a Value, path: &[String]) -> Option<&'a Value> {
        path.iter().try_fold(root, |schema, step| {
            let schema = self.resolve(schema).schema;
            let items = &schema["items"];
            if !items.is_null() {
                return Some(items);
            }
            schema["properties"]
                .get(step)
                .or_else(|| schema.get("additionalProperties").filter(|more| more.is_object()))
        })
    }

    /// A random value; `None` where the schema has none that a client may write.
    pub(crate) fn value(&self, rng: &mut Rng, field: &str, schema: &Value, depth: usize) -> Option<Value> {
        let node = self.resolve(schema);
        if let Some(value) = special(rng, node.name) {
            return value;
        }
        let of = node.schema;
        if let Some(choices) = of["enum"].as_array().or(schema["enum"].as_array()).filter(|all| !all.is_empty()) {
            return Some(choices[rng.usize(..choices.len())].clone());
        }
        if of["x-kubernetes-int-or-string"] == true || of["oneOf"].is_array() && of["type"].is_null() {
            return Some(pick(rng, &[json!(1), json!("10%"), json!(80), json!("a")]));
        }
        if of["nullable"] == true && rng.u8(..8) == 0 {
            return Some(Value::Null);
        }
        let is_open = of["x-kubernetes-preserve-unknown-fields"] == true;
        match of["type"].as_str() {
            Some("object") if is_open && rng.bool() => Some(self.open(rng, of, depth)),
            Some("object") => self.object(rng, field, of, depth),
            Some("array") => self.array(rng, field, of, depth),
            Some("string") => Some(text(rng, field, of["format"].as_str().unwrap_or_default())),
            Some("integer") => Some(integer(rng, field)),
            Some("number") => Some(pick(rng, &[json!(0.5), json!(2), json!(0)])),
            Some("boolean") => Some(rng.bool().into()),
            _ => Some(free(rng, 0)),
        }
    }

    /// An object of which the schema leaves some fields open.
    fn open(&self, rng: &mut Rng, of: &Value, depth: usize) -> Value {
        let mut value = self.object(rng, "", of, depth).unwrap_or_else(|| json!({}));
        if of["x-kubernetes-embedded-resource"] == true {
            value["apiVersion"] = "v1".into();
            value["kind"] = "K".into();
        }
        for key in ["u", "w"] {
            if rng.bool() {
                value[key] = free(rng, 0);
            }
        }
        value
    }

    fn object(&self, rng: &mut Rng, field: &str, of: &Value, depth: usize) -> Option<Value> {
        let mut value = Map::new();
        let required = |name: &String| of["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        for (name, schema) in of["properties"].as_object().into_iter().flatten() {
            let fixed = depth == 0 && ["apiVersion", "kind", "metadata", "status"].contains(&name.as_str());
            let chance = if depth > 10 { 0 } else { CHANCES[depth.min(CHANCES.len() - 1)] };
            if fixed || NEVER.contains(&name.as_str()) || !required(name) && rng.u8(..100) >= chance {
                continue;
            }
            value.extend(self.value(rng, name, schema, depth + 1).map(|value| (name.clone(), value)));
        }
        if of["x-kubernetes-embedded-resource"] == true {
            value.insert("apiVersion".to_owned(), "v1".into());
            value.insert("kind".to_owned(), "K".into());
        }
        if let Some(more) = of.get("additionalProperties").filter(|more| more.is_object()) {
            for key in keys(field) {
                if rng.bool() {
                    value.extend(self.value(rng, field, more, depth + 1).map(|value| ((*key).to_owned(), value)));
                }
            }
        }
        Some(value.into())
    }

    fn array(&self, rng: &mut Rng, field: &str, of: &Value, depth: usize) -> Option<Value> {
        let mut items: Vec<Value> = Vec::new();
        let keys: Vec<&str> = list_keys(of).collect();
        let is_set = of["x-kubernetes-list-type"] == "set";
        for _ in 0..rng.usize(..3) + usize::from(depth < 3) {
            let item = self.value(rng, field, &of["items"], depth + 1)?;
            let same = |other: &Value| match keys.as_slice() {
                [] => is_set && *other == item,
                keys => keys.iter().all(|key| other.get(key) == item.get(key)),
            };
            if !items.iter().any(same) && (keys.is_empty() || item.is_object()) {
                items.push(item);
            }
        }
        Some(items.into())
    }
}

/// The keys by which items of a list differ.
pub(crate) fn list_keys(list: &Value) -> impl Iterator<Item = &str> {
    let keys = list["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    keys.filter_map(Value::as_str).chain(list["x-kubernetes-patch-merge-key"].as_str())
}

fn pick(rng: &mut Rng, values: &[Value]) -> Value {
    values[rng.usize(..values.len())].clone()
}

/// Fields that a client never writes, or that would change the world of the other rounds.
const NEVER: [&str; 18] = [
    "globalDefault",
    "creationTimestamp",
    "managedFields",
    "ownerReferences",
    "priorityClassName",
    "priority",
    "runtimeClassName",
    "resourceVersion",
    "selfLink",
    "serviceAccount",
    "serviceAccountName",
    "generateName",
    "uid",
    "ephemeralContainers",
    "nodeName",
    "deletionGracePeriodSeconds",
    "resourceClaims",
    "healthCheckNodePort",
];

/// Values of types that the schema does not describe well enough.
fn special(rng: &mut Rng, name: &str) -> Option<Option<Value>> {
    let kind = name.rsplit('.').next().unwrap_or_default();
    let words = match kind {
        "Quantity" => json!(["1", "500m", "1Gi", "1024Mi", "0.5", 1, "1000m", "2k", "0"]),
        "Time" => json!(["2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00"]),
        "MicroTime" => json!(["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.500000Z"]),
        "Duration" => json!(["1m0s", "90s", "60s"]),
        "IntOrString" => json!([1, "10%", 80, "http", "0"]),
        "ObjectMeta" => json!([
            {}, {"labels": {"a": "1"}}, {"labels": {"a": "2", "b": "1"}, "annotations": {"a": ""}}, {"annotations": {"b": "1"}},
        ]),
        "LabelSelector" => json!([
            {}, {"matchLabels": {"a": "1"}}, {"matchLabels": {"a": "2", "b": "1"}}, {"matchLabels": {}},
            {"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}, {"key": "b", "operator": "Exists"}]},
        ]),
        "JSONSchemaProps" => json!([
            {"type": "object"}, {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}},
            {"type": "object", "properties": {"spec": {"type": "array", "items": {"type": "integer"}}}, "description": ""},
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        ]),
        "RawExtension" | "JSON" => json!([{"a": 1}, {"a": {"b": "1", "c": {}}}, {"a": [1, {"b": 2}], "d": ""}]),
        "Condition" => {
            json!([{"type": "A", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        }
        "ManagedFieldsEntry" | "FieldsV1" | "OwnerReference" => return Some(None),
        _ => return None,
    };
    Some(words.as_array().map(|words| pick(rng, words)))
}

/// The keys of a map.
fn keys(field: &str) -> &'static [&'static str] {
    match field {
        "limits" | "requests" | "default" | "defaultRequest" | "max" | "min" => &["cpu", "memory"],
        "capacity" | "hard" | "overhead" => &["cpu", "memory", "pods"],
        _ => &["a", "b", "c.d", "e"],
    }
}

/// A value without any schema.
pub(crate) fn free(rng: &mut Rng, depth: usize) -> Value {
    match rng.u8(..if depth > 2 { 5 } else { 9 }) {
        0 => "1".into(),
        1 => 1.into(),
        2 => true.into(),
        3 => "".into(),
        4 => json!([1, "a"]),
        5 => json!([{"a": free(rng, depth + 1)}, {"b": 1}]),
        _ => {
            let keys = ["a", "b", "c"].into_iter().filter(|_| rng.bool()).collect::<Vec<_>>();
            keys.into_iter().map(|key| (key.to_owned(), free(rng, depth + 1))).collect::<Map<_, _>>().into()
        }
    }
}

fn integer(rng: &mut Rng, field: &str) -> Value {
    let lower = field.to_lowercase();
    if lower.ends_with("port") {
        return pick(rng, &[json!(80), json!(81), json!(8080)]);
    }
    match field {
        "defaultMode" | "mode" => pick(rng, &[json!(256), json!(420)]),
        _ => pick(rng, &[json!(1), json!(2), json!(3), json!(0), json!(10)]),
    }
}

fn text(rng: &mut Rng, field: &str, format: &str) -> Value {
    let words: &[&str] = match (field, format) {
        (_, "byte") => &["eA==", "eHl6", ""],
        (_, "date-time") => &["2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00"],
        ("image", _) => &["a:1", "a:2"],
        ("cidr" | "cidrs" | "podCIDR" | "loadBalancerSourceRanges", _) => &["10.0.0.0/8", "192.168.0.0/16"],
        ("ip" | "externalIPs" | "addresses" | "loadBalancerIP", _) => &["1.2.3.4", "1.2.3.5"],
        ("host" | "hosts" | "fqdn", _) => &["a.example.com", "b.example.com"],
        ("path" | "mountPath" | "devicePath" | "workingDir", _) => &["/a", "/b"],
        ("apiVersion", _) => &["v1", "apps/v1"],
        ("kind", _) => &["Deployment", "ConfigMap"],
        ("apiGroups" | "apiGroup", _) => &["", "apps", "rbac.authorization.k8s.io"],
        ("resources", _) => &["pods", "things"],
        ("verbs", _) => &["get", "list"],
        ("topologyKey", _) => &["kubernetes.io/hostname", "zone"],
        ("schedule", _) => &["0 0 1 1 *", "1 0 1 1 *"],
        ("timeZone", _) => &["Etc/UTC", "Europe/Rome"],
        ("expression" | "messageExpression", _) => &["true", "object.metadata.name == 'a'"],
        ("fieldPath", _) => &["metadata.name", "metadata.namespace"],
        ("restartPolicy", _) => &["Always", "Never"],
        ("type", _) => &["ClusterIP", "A", "Utilization", "Opaque"],
        ("driver" | "driverName" | "provisioner" | "controller", _) => &["a.example.com", "b.example.com"],
        ("operator", _) => &["Exists", "In", "Equal"],
        ("protocol", _) => &["TCP", "UDP"],
        ("key", _) => &["a", "b", "example.com/c"],
        ("value", _) => &["1", "2", ""],
        ("uid", _) => &["0c5b1a3e-3a0a-4c0c-8b34-0f1c3a2b1d00"],
        ("mediatype" | "url", _) => &["https://127.0.0.1:9/"],
        ("names" | "resourceNames" | "name", _) => &["a", "b", "c"],
        _ => &["a", "b", "1", "c.d"],
    };
    words[rng.usize(..words.len())].into()
}
