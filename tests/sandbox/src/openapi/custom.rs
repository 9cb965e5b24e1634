//! The parts of OpenAPI documents about a custom resource.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::object::map_at;
use crate::resource::{Custom, Resource};
use crate::schema;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
/// A document that has all schemas that those of custom resources refer to.
const REFERRED: &str = "/openapi/v3/apis/apps/v1";

const CONVENTIONS: &str = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";
/// The descriptions of these fields of an embedded object.
const EMBEDDED: [(&str, &str); 2] = [
    ("apiVersion", "apiVersion defines the versioned schema of this representation of an object."),
    ("kind", "kind is a string value representing the type of this object. In CamelCase."),
];

/// Schemas by name.
type Schemas = Map<String, Value>;

/// The schemas of version 3 that those of custom resources refer to.
pub(super) fn shared() -> Value {
    static SHARED: LazyLock<Value> = LazyLock::new(|| {
        let document = schema::document(REFERRED).expect("a published document").text();
        let mut document: Value = serde_json::from_str(&document).expect("it was stored as JSON");
        let Value::Object(mut schemas) = document["components"]["schemas"].take() else { return json!({}) };
        schemas.retain(|name, _| name.starts_with(META) || name.starts_with(SCALE));
        schemas.into()
    });
    SHARED.clone()
}

/// The schemas of the objects and of their lists. `root` is where the document has its schemas.
pub(super) fn schemas(resource: &Resource, root: &str) -> Schemas {
    let Some(custom) = &resource.custom else { return Schemas::new() };
    let kind = |kind: &str| json!([{"group": resource.group, "version": resource.version, "kind": kind}]);
    let mut one = model(custom, root);
    one["x-kubernetes-group-version-kind"] = kind(&resource.kind);
    let of = format!("List of {}. More info: {CONVENTIONS}", resource.plural);
    let items = json!({"$ref": format!("{root}{}", name(resource, &resource.kind))});
    let mut list = json!({
        "description": format!("{} is a list of {}", custom.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {"description": of, "type": "array", "items": items},
            "metadata": standard("metadata of a list", root),
        },
        "x-kubernetes-group-version-kind": kind(&custom.list_kind),
    });
    say_what_it_is(&mut list);
    [(name(resource, &resource.kind), one), (name(resource, &custom.list_kind), list)].into_iter().collect()
}

/// The name of a schema: the group from behind, version and kind.
fn name(resource: &Resource, kind: &str) -> String {
    let group = resource.group.split('.').rev().collect::<Vec<_>>().join(".");
    format!("{group}.{}.{kind}", resource.version)
}

fn model(custom: &Custom, root: &str) -> Value {
    let old = is_old(root);
    let schema = &custom.version["schema"]["openAPIV3Schema"];
    if !schema.is_object() || (old && schema["x-kubernetes-preserve-unknown-fields"] == true) {
        // Clients take what has no properties for something that may have any.
        return json!({"type": "object"});
    }
    let mut schema = schema.clone();
    unfold(&mut schema);
    if old {
        lessen(&mut schema);
    }
    map_at(&mut schema, "properties").insert("metadata".into(), standard("metadata", root));
    say_what_it_is(&mut schema);
    embed(&mut schema, root);
    schema
}

/// `true` if schemas are those of version 2.
fn is_old(root: &str) -> bool {
    root == super::SCHEMAS[1]
}

/// The metadata of an object or of a list.
fn standard(which: &str, root: &str) -> Value {
    let (name, text) = match which {
        "metadata" => ("ObjectMeta", "Standard object's metadata. More info: "),
        _ => ("ListMeta", "Standard list metadata. More info: "),
    };
    let part = if name == "ObjectMeta" { "metadata" } else { "types-kinds" };
    let description = format!("{text}{CONVENTIONS}#{part}");
    let reference = json!({"$ref": format!("{root}{META}.{name}")});
    if is_old(root) {
        json!({"description": description, "$ref": reference["$ref"]})
    } else {
        json!({"description": description, "allOf": [reference]})
    }
}

/// Adds `apiVersion` and `kind` as every object has them.
fn say_what_it_is(schema: &mut Value) {
    let shared = shared();
    let of_status = &shared[format!("{META}.Status")]["properties"];
    let properties = map_at(schema, "properties");
    for field in ["apiVersion", "kind"] {
        properties.insert(field.into(), of_status[field].clone());
    }
}

/// Calls `visit` with every schema in a schema, the outer ones first.
fn each(schema: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    visit(schema);
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
            each(inner, visit);
        }
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(|inner| each(inner, visit));
}

/// Says in terms of OpenAPI what an extension says.
fn unfold(schema: &mut Value) {
    each(schema, &mut |schema| {
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        let said = schema["anyOf"] == either || schema["allOf"][0]["anyOf"] == either;
        if schema["x-kubernetes-int-or-string"] != true || said {
            return;
        }
        if schema["anyOf"].is_null() {
            schema["anyOf"] = either;
        } else {
            let mut all = vec![json!({"anyOf": either})];
            all.extend(schema["allOf"].as_array().into_iter().flatten().cloned());
            schema["allOf"] = all.into();
        }
    });
    each(schema, &mut |schema| {
        schema.as_object_mut().into_iter().for_each(|fields| fields.retain(|_, value| !value.is_null()));
    });
}

/// Takes away what version 2 cannot say.
fn lessen(schema: &mut Value) {
    each(schema, &mut |schema| {
        let optional = |property: &Value| property["nullable"] == true;
        let nullable = |name: &Value| optional(&schema["properties"][name.as_str().unwrap_or_default()]);
        let required = schema["required"].as_array().into_iter().flatten().filter(|name| !nullable(name));
        let required: Vec<Value> = required.cloned().collect();
        let others = optional(&schema["additionalProperties"]);
        let (null, any) = (optional(schema), schema["x-kubernetes-preserve-unknown-fields"] == true);
        let Some(fields) = schema.as_object_mut() else { return };
        fields.insert("required".into(), required.into());
        let gone = ["allOf", "oneOf", "anyOf", "not", "nullable", "default"].into_iter();
        gone.for_each(|key| drop(fields.remove(key)));
        if null || any {
            ["items", "properties"].into_iter().for_each(|key| drop(fields.remove(key)));
        }
        let of_nothing = fields.get("type") == Some(&"array".into()) && !fields.contains_key("items");
        if null || of_nothing || (any && fields.get("type") == Some(&"object".into())) {
            fields.remove("type");
        }
        if others || fields["required"] == json!([]) {
            fields.remove("required");
        }
    });
}

/// Says of objects within the object what every object has.
fn embed(schema: &mut Value, root: &str) {
    each(schema, &mut |schema| {
        let any = is_old(root) && schema["x-kubernetes-preserve-unknown-fields"] == true;
        if schema["x-kubernetes-embedded-resource"] != true || any {
            return;
        }
        say_what_it_is(schema);
        for (field, said) in EMBEDDED {
            let part = if field == "kind" { "types-kinds" } else { "resources" };
            schema["properties"][field]["description"] = format!("{said} More info: {CONVENTIONS}#{part}").into();
        }
        map_at(schema, "properties").insert("metadata".into(), standard("metadata", root));
        let mut required = schema["required"].as_array().cloned().unwrap_or_default();
        for field in ["kind", "apiVersion"] {
            if !required.iter().any(|one| one == field) {
                required.push(field.into());
            }
        }
        schema["required"] = required.into();
    });
}

/// The operations of a path: method, action and the verb in the name of the operation.
type Operations = &'static [(&'static str, &'static str, &'static str)];

const ON_ALL: Operations =
    &[("get", "list", "list"), ("post", "post", "create"), ("delete", "deletecollection", "delete")];
const ON_ONE: Operations =
    &[("get", "get", "read"), ("put", "put", "replace"), ("delete", "delete", "delete"), ("patch", "patch", "patch")];
const ON_PART: Operations = &[("get", "get", "read"), ("put", "put", "replace"), ("patch", "patch", "patch")];

/// The paths at which a custom resource is found.
pub(super) fn paths(resource: &Resource, root: &str) -> Map<String, Value> {
    let group = format!("/apis/{}", resource.api_version());
    let all = match resource.namespaced {
        true => format!("{group}/namespaces/{{namespace}}/{}", resource.plural),
        false => format!("{group}/{}", resource.plural),
    };
    let mut paths = vec![
        (all.clone(), operations(resource, ON_ALL, "", root)),
        (format!("{all}/{{name}}"), operations(resource, ON_ONE, "", root)),
    ];
    if resource.namespaced {
        paths.push((format!("{group}/{}", resource.plural), operations(resource, &ON_ALL[..1], "", root)));
    }
    for part in &resource.subresources {
        paths.push((format!("{all}/{{name}}/{}", part.name), operations(resource, ON_PART, &part.name, root)));
    }
    paths.into_iter().collect()
}

fn operations(resource: &Resource, operations: Operations, part: &str, root: &str) -> Value {
    let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
    let mut methods = Map::new();
    for (method, action, verb) in operations {
        let answer = match (*action, part) {
            ("list", _) => name(resource, resource.custom.as_ref().map_or("", |custom| &custom.list_kind)),
            ("delete" | "deletecollection", _) => format!("{META}.Status"),
            (_, "scale") => SCALE.to_owned(),
            _ => name(resource, &resource.kind),
        };
        let schema = json!({"$ref": format!("{root}{answer}")});
        let answer = if is_old(root) {
            json!({"description": "OK", "schema": schema})
        } else {
            json!({"description": "OK", "content": {"application/json": {"schema": schema}}})
        };
        let operation = json!({
            "description": format!("{verb} {} {}", part, resource.kind).replace("  ", " "),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
            "parameters": parameters(action, root),
            "responses": {"200": answer},
        });
        methods.insert((*method).into(), operation);
    }
    methods.into()
}

/// The parameters of a query. Clients look here for what a server can do.
fn parameters(action: &str, root: &str) -> Value {
    let names: &[&str] = match action {
        "list" => {
            &["allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "watch"]
        }
        "post" | "put" => &["dryRun", "fieldManager", "fieldValidation"],
        "patch" => &["dryRun", "fieldManager", "fieldValidation", "force"],
        "delete" | "deletecollection" => &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"],
        _ => &["resourceVersion"],
    };
    let kind = |name: &str| match name {
        "limit" | "gracePeriodSeconds" => "integer",
        "allowWatchBookmarks" | "force" | "orphanDependents" | "watch" => "boolean",
        _ => "string",
    };
    let parameter = |name: &&str| match is_old(root) {
        true => json!({"name": name, "in": "query", "uniqueItems": true, "type": kind(name)}),
        false => json!({"name": name, "in": "query", "schema": {"type": kind(name), "uniqueItems": true}}),
    };
    names.iter().map(parameter).collect()
}
