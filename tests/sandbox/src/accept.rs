//! The representation of an object or list that a client accepts: whole, metadata only, or a table.

use crate::failure::Failure;

/// A representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Whole,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `Table`, as people see it.
    Table,
}

/// The media types in the error for a client that accepts none of them.
const TYPES: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf, \
                     application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// The first form in an `Accept` header that can be served.
///
/// # Errors
/// When there is none.
pub fn form(accept: &str) -> Result<Form, Failure> {
    if accept.trim().is_empty() {
        return Ok(Form::Whole);
    }
    accept.split(',').find_map(one).ok_or_else(|| Failure::not_acceptable(TYPES))
}

fn one(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !["application/json", "application/*", "*/*"].contains(&media_type) {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let parameter = |key: &str| parameters.iter().find(|(name, _)| *name == key).map_or("", |(_, value)| value);
    match (parameter("as"), parameter("g")) {
        ("", _) => Some(Form::Whole),
        ("Table", "meta.k8s.io") => Some(Form::Table),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io") => Some(Form::Metadata),
        _ => None,
    }
}

/// `true` if the client prefers aggregated discovery: it is the first accepted media range that is served.
pub fn is_aggregated_discovery(accept: &str) -> bool {
    let ranges = accept.split(',').map(|range| range.split(';').map(str::trim).collect::<Vec<_>>());
    ranges.into_iter().find_map(|parts| {
        let json = ["application/json", "*/*"].contains(&parts[0]);
        let plain = !parts.iter().any(|part| part.starts_with("as="));
        let aggregated = parts.contains(&"as=APIGroupDiscoveryList") && parts.contains(&"v=v2");
        (json && (plain || aggregated)).then_some(aggregated)
    }) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_can_be_served_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl), Ok(Form::Table));
        assert_eq!(form("application/vnd.kubernetes.protobuf, application/json"), Ok(Form::Whole));
        assert_eq!(form("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"), Ok(Form::Metadata));
        assert_eq!(form(""), Ok(Form::Whole));
        assert_eq!(form("text/html").unwrap_err().code, 406);
        assert!(form("application/json;as=Other;g=meta.k8s.io;v=v1").is_err());
    }

    #[test]
    fn discovery_is_aggregated_on_request() {
        assert!(is_aggregated_discovery(
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        ));
        assert!(!is_aggregated_discovery("application/json"));
        assert!(!is_aggregated_discovery(""));
    }
}
