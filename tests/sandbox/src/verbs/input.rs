//! Objects in requests: decodes them, checks them against the request, drops unknown fields and sets defaults.

use serde_json::Value;

use crate::body::{self, Body};
use crate::failure::{Cause, Failure};
use crate::kinds;
use crate::object;
use crate::protobuf;
use crate::resource::Resource;
use crate::route::options_about;
use crate::schema;

use super::Call;

/// The treatment of fields that are unknown or occur twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strictness {
    Ignore,
    Warn,
    Strict,
}

/// The object in the body of a create or an update.
pub(super) fn object(call: &mut Call<'_>, options: &str) -> Result<Value, Failure> {
    let resource = call.resource.clone();
    let body = decode(call, &resource.kind)?;
    let mut object = body.value;
    identify(&resource, &mut object)?;
    read(call, &mut object, body.duplicates, options)?;
    place(call, &mut object)?;
    Ok(object)
}

/// Decodes a body by its media type.
pub(super) fn decode(call: &Call<'_>, kind: &str) -> Result<Body, Failure> {
    let media_type = call.incoming.content_type.split(';').next().unwrap_or_default().trim();
    let decoded = match media_type {
        "" | "application/json" => body::json(&call.incoming.body),
        "application/yaml" => body::yaml(&call.incoming.body),
        "application/vnd.kubernetes.protobuf" if call.resource.custom.is_none() => {
            protobuf::read(&call.incoming.body).map(|value| Body { value, duplicates: Vec::new() })
        }
        _ => {
            let known = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(Failure::unsupported_media_type(known));
        }
    };
    decoded.map_err(|error| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: \
             {error} ({})",
            String::from_utf8_lossy(&call.incoming.body)
        ))
    })
}

/// Checks that an object is of the kind and version of the request, which it need not say.
pub(super) fn identify(resource: &Resource, object: &mut Value) -> Result<(), Failure> {
    let (api_version, kind) =
        (object::text(object, "/apiVersion").to_owned(), object::text(object, "/kind").to_owned());
    let expected = resource.api_version();
    if !object.is_object() {
        let message = format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind",
            resource.kind
        );
        return Err(Failure::bad_request(message));
    }
    if resource.custom.is_some() {
        return identify_custom(object, &expected);
    }
    if (!api_version.is_empty() && api_version != expected) || (!kind.is_empty() && kind != resource.kind) {
        return Err(Failure::bad_request(mismatch(resource, &api_version, &kind)));
    }
    object["apiVersion"] = expected.into();
    object["kind"] = resource.kind.as_str().into();
    Ok(())
}

/// Any custom resource is read that says its kind. That it is another one than the request's is found when it is validated.
fn identify_custom(object: &Value, expected: &str) -> Result<(), Failure> {
    let api_version = object::text(object, "/apiVersion");
    if object::text(object, "/kind").is_empty() {
        return Err(Failure::bad_request(format!("Object 'Kind' is missing in '{object}'")));
    }
    if api_version != expected {
        let message =
            format!("the API version in the data ({api_version}) does not match the expected API version ({expected})");
        return Err(Failure::bad_request(message));
    }
    Ok(())
}

fn mismatch(resource: &Resource, api_version: &str, kind: &str) -> String {
    let (api_version, kind) = (
        if api_version.is_empty() { resource.api_version() } else { api_version.to_owned() },
        if kind.is_empty() { resource.kind.as_str() } else { kind },
    );
    let (group, version) = crate::resource::group_version(&api_version);
    let why = if schema::kind(group, version, kind).is_some() {
        let internal = resource.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
        format!("converting ({version}.{kind}) to ({internal}.{}): unknown conversion", resource.kind)
    } else {
        format!("no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:111\"")
    };
    format!(
        "{kind} in version {:?} cannot be handled as a {}: {why}",
        crate::resource::group_version(&api_version).1,
        resource.kind
    )
}

/// Drops unknown fields, as strictly as the client asks for, and sets defaults.
pub(super) fn read(
    call: &mut Call<'_>,
    object: &mut Value,
    duplicates: Vec<String>,
    options: &str,
) -> Result<(), Failure> {
    let resource = call.resource.clone();
    let strictness = strictness(call, options)?;
    let mut wrong: Vec<String> = duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
    // The type of a custom resource with another kind is unknown.
    let other = resource.custom.is_some() && object["kind"] != resource.kind;
    let ty = if other { schema::Type::deduced() } else { resource.ty.clone() };
    let unknown = schema::decode(&ty, object).map_err(|error| unreadable(&resource, &error))?;
    wrong.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
    match strictness {
        Strictness::Strict if !wrong.is_empty() => return Err(strict(&resource, &wrong)),
        Strictness::Warn => call.warnings.extend(wrong),
        _ => {}
    }
    schema::default(&ty, object);
    kinds::default(&resource, object);
    Ok(())
}

/// Values of another type than their fields have cannot even be read.
fn unreadable(resource: &Resource, error: &str) -> Failure {
    let kind = &resource.kind;
    Failure::bad_request(format!("{kind} in version {:?} cannot be handled as a {kind}: {error}", resource.version))
}

fn strict(resource: &Resource, wrong: &[String]) -> Failure {
    let wrong = format!("strict decoding error: {}", wrong.join(", "));
    Failure::bad_request(match resource.custom {
        Some(_) => wrong,
        None => format!(
            "{kind} in version {:?} cannot be handled as a {kind}: {wrong}",
            resource.version,
            kind = resource.kind
        ),
    })
}

fn strictness(call: &Call<'_>, options: &str) -> Result<Strictness, Failure> {
    match call.query().get("fieldValidation") {
        "Ignore" => Ok(Strictness::Ignore),
        "" | "Warn" => Ok(Strictness::Warn),
        "Strict" => Ok(Strictness::Strict),
        other => {
            let cause = Cause::unsupported("fieldValidation", &other.into(), &["", "Ignore", "Strict", "Warn"]);
            Err(Failure::invalid(options_about(options), &[cause]))
        }
    }
}

/// Checks name and namespace against the path, which says the namespace if the object leaves it out.
pub(super) fn place(call: &Call<'_>, object: &mut Value) -> Result<(), Failure> {
    let place = call.place;
    let (namespace, name) = (object::namespace(object).to_owned(), object::name(object).to_owned());
    if call.resource.namespaced {
        if !namespace.is_empty() && namespace != place.namespace {
            return Err(Failure::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object::set(object, "namespace", place.namespace.as_str());
    }
    let url = &place.name;
    if url.is_empty() || name == *url {
        return Ok(());
    }
    Err(Failure::bad_request(match name.as_str() {
        "" => format!("the name of the object ({url} based on URL) was undeterminable: name must be provided"),
        name => format!("the name of the object ({name}) does not match the name on the URL ({url})"),
    }))
}
