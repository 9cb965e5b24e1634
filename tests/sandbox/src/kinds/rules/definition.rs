//! The rules of CustomResourceDefinitions: names, versions, and what their schemas have to be like.

use regex::Regex;
use serde_json::Value;

use super::names;
use super::one_of;
use crate::failure::Cause;
use crate::object::{self, list, map, text};

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                     character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// Checks a CustomResourceDefinition.
pub(super) fn definition(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let (plural, group) = (text(spec, "/names/plural"), text(spec, "/group"));
    let mut causes = Vec::new();
    if live.is_none() && object::name(object) != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &object::name(object).into(), detail));
    }
    match names::subdomain(group) {
        _ if group.is_empty() => causes.push(Cause::required("spec.group", "")),
        Some(detail) => causes.push(Cause::invalid("spec.group", &group.into(), &detail)),
        None if !group.contains('.') => {
            let detail = "should be a domain with at least one dot";
            causes.push(Cause::invalid("spec.group", &group.into(), detail));
        }
        None => {}
    }
    if text(spec, "/scope").is_empty() {
        causes.push(Cause::required("spec.scope", ""));
    }
    causes.extend(one_of(object, "/spec/scope", "spec.scope", &["Cluster", "Namespaced"]));
    causes.extend(names_of(&spec["names"]));
    causes.extend(versions(spec));
    causes.extend(conversion(&spec["conversion"]));
    causes.extend(stored_versions(object));
    if spec["preserveUnknownFields"] == true {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        causes.push(Cause::invalid("spec.preserveUnknownFields", &true.into(), detail));
    }
    causes.extend(live.map(|live| unchanged(object, live)).into_iter().flatten());
    causes
}

fn names_of(names: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in ["plural", "singular", "kind", "listKind"] {
        let field = format!("spec.names.{key}");
        match text(names, &format!("/{key}")) {
            "" => causes.push(Cause::required(field, "")),
            name => causes.extend(label(&field, name, key.ends_with("ind"))),
        }
    }
    for key in ["shortNames", "categories"] {
        for (at, name) in list(names, &format!("/{key}")).iter().enumerate() {
            causes.extend(label(&format!("spec.names.{key}[{at}]"), name.as_str().unwrap_or_default(), false));
        }
    }
    if text(names, "/kind") == text(names, "/listKind") && !text(names, "/kind").is_empty() {
        let detail = "kind and listKind may not be the same";
        causes.push(Cause::invalid("spec.names.listKind", &names["listKind"], detail));
    }
    causes
}

/// A kind may have capital letters.
fn label(field: &str, name: &str, kind: bool) -> Option<Cause> {
    let said = if kind { name.to_lowercase() } else { name.to_owned() };
    let first = said.starts_with(|c: char| c.is_ascii_lowercase());
    let each = said.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let good = first && each && !said.ends_with('-') && said.len() <= 63;
    (!good).then(|| Cause::invalid(field, &name.into(), LABEL))
}

fn versions(spec: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let versions = list(spec, "/versions");
    let stored = versions.iter().filter(|version| version["storage"] == true).count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &versions.into(), detail));
    }
    let names: Vec<&str> = versions.iter().map(|version| text(version, "/name")).collect();
    if names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
        causes.push(Cause::invalid("spec.versions", &versions.into(), "must contain unique version names"));
    }
    // A value that is the same in all versions is reported as if it were stated once.
    let schema = |version: &Value| version.get("schema").filter(|schema| !schema.is_null()).cloned();
    let alike = versions.iter().all(|version| schema(version) == schema(&versions[0]));
    for (at, version) in versions.iter().enumerate() {
        let field = format!("spec.versions[{at}]");
        causes.extend(label(&format!("{field}.name"), text(version, "/name"), false));
        let Some(schema) = version.pointer("/schema/openAPIV3Schema").filter(|schema| schema.is_object()) else {
            causes.push(Cause::required(format!("{field}.schema.openAPIV3Schema"), ""));
            continue;
        };
        let place = if alike { "spec.validation".to_owned() } else { format!("{field}.schema") };
        structural(schema, Level::Root, &format!("{place}.openAPIV3Schema"), &mut causes);
    }
    causes
}

fn conversion(conversion: &Value) -> Vec<Cause> {
    const FIELD: &str = "spec.conversion.strategy";
    const WEBHOOK: &str = "spec.conversion.webhookClientConfig";
    match (text(conversion, "/strategy"), conversion["webhook"].get("clientConfig")) {
        _ if conversion.is_null() => Vec::new(),
        ("", _) => vec![Cause::required(FIELD, "")],
        ("None", None) | ("Webhook", Some(_)) => Vec::new(),
        ("None", Some(_)) => {
            vec![Cause::forbidden(WEBHOOK, "should not be set when strategy is not set to Webhook")]
        }
        ("Webhook", None) => vec![Cause::required(WEBHOOK, "required when strategy is set to Webhook")],
        (other, _) => vec![Cause::unsupported(FIELD, &other.into(), &["None", "Webhook"])],
    }
}

fn stored_versions(object: &Value) -> Vec<Cause> {
    const FIELD: &str = "status.storedVersions";
    let stored = list(object, "/status/storedVersions");
    if stored.is_empty() {
        return vec![Cause::invalid(FIELD, &stored.into(), "must have at least one stored version")];
    }
    let versions = list(object, "/spec/versions");
    let mut causes = Vec::new();
    for version in versions.iter().filter(|version| version["storage"] == true && !stored.contains(&version["name"])) {
        let detail = format!("must have the storage version {}", text(version, "/name"));
        causes.push(Cause::invalid(FIELD, &stored.into(), &detail));
    }
    for (at, name) in stored.iter().enumerate().filter(|(_, name)| versions.iter().all(|one| one["name"] != **name)) {
        let said = name.as_str().unwrap_or_default();
        let detail = format!(
            "missing from spec.versions; {said} was previously a storage version, and must remain in spec.versions until \
             a storage migration ensures no data remains persisted in {said} and removes {said} from status.storedVersions"
        );
        causes.push(Cause::invalid(format!("{FIELD}[{at}]"), name, &detail));
    }
    causes
}

fn unchanged(object: &Value, live: &Value) -> Vec<Cause> {
    let mut conditions = list(live, "/status/conditions").iter();
    let established = conditions.any(|one| one["type"] == "Established" && one["status"] == "True");
    let established: &[&str] = if established { &["/scope", "/names/kind"] } else { &[] };
    let fields = ["/group", "/names/plural"].iter().chain(established);
    let changed = fields.filter(|field| text(&object["spec"], field) != text(&live["spec"], field));
    changed
        .map(|field| {
            let value = object["spec"].pointer(field).cloned().unwrap_or_default();
            Cause::invalid(format!("spec{}", field.replace('/', ".")), &value, "field is immutable")
        })
        .collect()
}

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Checks that every value has a type, and that every rule belongs to the type.
fn structural(schema: &Value, level: Level, path: &str, causes: &mut Vec<Cause>) {
    let flag = |key: &str| schema.get(key) == Some(&Value::Bool(true));
    let others = schema.get("additionalProperties").filter(|others| !others.is_null());
    let kind = text(schema, "/type");
    let type_path = format!("{path}.type");
    let (any, either) = (flag("x-kubernetes-preserve-unknown-fields"), flag("x-kubernetes-int-or-string"));
    let embedded = flag("x-kubernetes-embedded-resource");
    if others.is_some() && (level == Level::Root || embedded) {
        causes.push(Cause::forbidden(format!("{path}.additionalProperties"), "must not be used at the root"));
    }
    match kind {
        "" if embedded => {
            causes.push(Cause::required(type_path, "must be object if x-kubernetes-embedded-resource is true"))
        }
        "" if !any && !either => {
            let detail = match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            };
            causes.push(Cause::required(type_path, detail));
        }
        "array" if schema["items"].is_null() => {
            causes.push(Cause::required(format!("{path}.items"), "must be specified"));
        }
        "" | "object" => {}
        _ if embedded || level == Level::Root => {
            causes.push(Cause::invalid(type_path, &kind.into(), "must be object at the root"));
        }
        "array" | "boolean" | "integer" | "number" | "string" => {}
        _ => {
            let known = ["array", "boolean", "integer", "number", "object", "string"];
            causes.push(Cause::unsupported(type_path, &kind.into(), &known));
        }
    }
    if either && any {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        causes.push(Cause::invalid(format!("{path}.x-kubernetes-preserve-unknown-fields"), &true.into(), detail));
    }
    if embedded && !any && map(schema, "/properties").is_none_or(|properties| properties.is_empty()) {
        causes.push(Cause::required(format!("{path}.properties"), ""));
    }
    if flag("uniqueItems") {
        causes.push(Cause::forbidden(format!("{path}.uniqueItems"), "uniqueItems cannot be set to true"));
    }
    let has_properties = map(schema, "/properties").is_some_and(|properties| !properties.is_empty());
    if has_properties && others.is_some_and(|others| others != true) {
        let detail = "additionalProperties and properties are mutual exclusive";
        causes.push(Cause::forbidden(format!("{path}.additionalProperties"), detail));
    }
    rules(schema, path, causes);
    lists(schema, path, causes);
    below(schema, path, causes);
}

fn below(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    if schema["items"].is_object() {
        structural(&schema["items"], Level::Item, &format!("{path}.items"), causes);
    }
    if schema["additionalProperties"].is_object() {
        structural(&schema["additionalProperties"], Level::Field, &format!("{path}.additionalProperties"), causes);
    }
    for (name, property) in map(schema, "/properties").into_iter().flatten() {
        structural(property, Level::Field, &format!("{path}.properties[{name}]"), causes);
    }
}

/// Checks a schema in `allOf` and its like, which must not state a type again.
fn rules(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let pattern = text(schema, "/pattern");
    if !pattern.is_empty() && Regex::new(pattern).is_err() {
        let detail = "must be a valid regular expression";
        causes.push(Cause::invalid(format!("{path}.pattern"), &pattern.into(), detail));
    }
    let either = serde_json::json!([{"type": "integer"}, {"type": "string"}]);
    for key in ["allOf", "anyOf", "oneOf"] {
        if key == "anyOf" && schema["anyOf"] == either {
            continue;
        }
        for (at, nested) in list(schema, &format!("/{key}")).iter().enumerate() {
            if key == "allOf" && at == 0 && nested["anyOf"] == either {
                continue;
            }
            nested_rules(nested, &format!("{path}.{key}[{at}]"), causes);
        }
    }
    nested_rules(&schema["not"], &format!("{path}.not"), causes);
}

fn nested_rules(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    const STRUCTURE: [&str; 12] = [
        "type",
        "additionalProperties",
        "default",
        "title",
        "description",
        "nullable",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
    ];
    for key in STRUCTURE.into_iter().filter(|key| schema.get(key).is_some_and(|value| !value.is_null())) {
        causes.push(Cause::forbidden(format!("{path}.{key}"), "must be undefined to be structural"));
    }
    if schema.is_object() {
        rules(schema, path, causes);
    }
    if schema["items"].is_object() {
        nested_rules(&schema["items"], &format!("{path}.items"), causes);
    }
    for (name, property) in map(schema, "/properties").into_iter().flatten() {
        nested_rules(property, &format!("{path}.properties[{name}]"), causes);
    }
}

/// Checks the keys of list items, and `x-kubernetes-map-type`.
fn lists(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, "/type");
    for (key, expected, known) in [
        ("x-kubernetes-map-type", "object", ["atomic", "granular", ""].as_slice()),
        ("x-kubernetes-list-type", "array", ["atomic", "set", "map"].as_slice()),
    ] {
        let said = text(schema, &format!("/{key}"));
        if said.is_empty() {
            continue;
        }
        let detail = format!("must be {expected} if {key} is specified");
        match kind {
            "" => causes.push(Cause::required(format!("{path}.type"), &detail)),
            kind if kind != expected => causes.push(Cause::invalid(format!("{path}.type"), &kind.into(), &detail)),
            _ => {}
        }
        if !known.contains(&said) {
            causes.push(Cause::unsupported(format!("{path}.{key}"), &said.into(), known));
        }
    }
    let (sort, keys) = (text(schema, "/x-kubernetes-list-type"), list(schema, "/x-kubernetes-list-map-keys"));
    let (sort_path, keys_path) =
        (format!("{path}.x-kubernetes-list-type"), format!("{path}.x-kubernetes-list-map-keys"));
    let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
    match sort {
        "map" if keys.is_empty() => {
            causes.push(Cause::required(keys_path, "must not be empty if x-kubernetes-list-type is map"));
        }
        "map" => keyed(&schema["items"], keys, path, causes),
        "" if !keys.is_empty() => causes.push(Cause::required(sort_path, detail)),
        _ if !keys.is_empty() => causes.push(Cause::invalid(sort_path, &sort.into(), detail)),
        _ => {}
    }
    let items = &schema["items"];
    if sort == "map" && items.is_null() {
        causes.push(Cause::required(format!("{path}.items"), "must have a schema if x-kubernetes-list-type is map"));
    } else if sort == "map" && text(items, "/type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        causes.push(Cause::invalid(format!("{path}.items.type"), &items["type"], detail));
    }
    let whole = text(items, "/x-kubernetes-map-type") == "atomic";
    if sort == "set" && text(items, "/type") == "object" && !whole {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        causes.push(Cause::invalid(format!("{path}.items.x-kubernetes-map-type"), &Value::Null, detail));
    }
    if ["map", "set"].contains(&sort) && items["nullable"] == true {
        causes.push(Cause::forbidden(format!("{path}.items.nullable"), "cannot be nullable in such a list"));
    }
}

/// The keys of a list: scalars that every item has.
fn keyed(items: &Value, keys: &[Value], path: &str, causes: &mut Vec<Cause>) {
    if text(items, "/type") != "object" {
        return;
    }
    let keys_path = format!("{path}.x-kubernetes-list-map-keys");
    for (at, key) in keys.iter().enumerate() {
        if keys[..at].contains(key) {
            causes.push(Cause::invalid(&keys_path, &keys.into(), "must not contain duplicate entries"));
        }
        let name = key.as_str().unwrap_or_default();
        let Some(property) = items["properties"].get(name) else {
            causes.push(Cause::invalid(&keys_path, &keys.into(), "entries must all be names of item properties"));
            continue;
        };
        let place = format!("{path}.items.properties[{name}]");
        if ["array", "object"].contains(&text(property, "/type")) {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            causes.push(Cause::invalid(format!("{place}.type"), &property["type"], detail));
        }
        if !list(items, "/required").contains(key) && property["default"].is_null() {
            let detail = "it must have a default or be a required property";
            causes.push(Cause::required(format!("{place}.default"), detail));
        }
        if property["nullable"] == true {
            causes.push(Cause::forbidden(format!("{place}.nullable"), "it cannot be nullable"));
        }
    }
}
