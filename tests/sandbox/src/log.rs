//! The log of answered requests.

use std::collections::BTreeMap;
use std::fmt::Write;

/// One request that was answered, or a watch that was opened. What a request does not have is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As in RBAC: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// The client's own name for itself.
    pub user_agent: String,
    /// The user that the client acts for, if it is another.
    pub impersonated: String,
    /// The plural, as in `configmaps`.
    pub resource: String,
    /// As in `status`.
    pub subresource: String,
    /// Empty for the core group too.
    pub api_group: String,
    /// Empty for what is cluster-scoped or asked across namespaces.
    pub namespace: String,
    /// Empty for collections, unless an object was created there.
    pub name: String,
    /// The HTTP status, 0 when the connection was cut before one was sent.
    pub code: u16,
    /// Path and query.
    pub uri: String,
}

/// All requests, in the order of their answers.
#[derive(Debug, Default)]
pub struct Log {
    requests: Vec<Request>,
    counts: BTreeMap<(String, String, String, u16), u64>,
}

impl Log {
    /// Adds a request.
    pub fn add(&mut self, request: Request) {
        let count = (request.verb.clone(), request.api_group.clone(), request.resource.clone(), request.code);
        *self.counts.entry(count).or_default() += 1;
        self.requests.push(request);
    }

    /// The requests from a position on.
    pub fn since(&self, position: usize) -> &[Request] {
        self.requests.get(position..).unwrap_or_default()
    }

    /// The position after the last request.
    pub fn end(&self) -> usize {
        self.requests.len()
    }

    /// The counts in the text form of Prometheus.
    pub fn metrics(&self) -> String {
        let mut text = "# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, group, \
                        resource and code.\n# TYPE apiserver_request_total counter\n"
            .to_owned();
        for ((verb, group, resource, code), count) in &self.counts {
            let verb = verb.to_uppercase();
            let labels = format!("code=\"{code}\",group=\"{group}\",resource=\"{resource}\",verb=\"{verb}\"");
            let _ = writeln!(text, "apiserver_request_total{{{labels}}} {count}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_kept_and_counted() {
        let request = Request {
            verb: "list".to_owned(),
            user_agent: "story".to_owned(),
            impersonated: String::new(),
            resource: "pods".to_owned(),
            subresource: String::new(),
            api_group: String::new(),
            namespace: String::new(),
            name: String::new(),
            code: 200,
            uri: "/api/v1/pods".to_owned(),
        };
        let mut log = Log::default();
        log.add(request.clone());
        let position = log.end();
        log.add(request.clone());
        assert_eq!(log.since(position), std::slice::from_ref(&request));
        assert!(
            log.metrics().contains(r#"apiserver_request_total{code="200",group="",resource="pods",verb="LIST"} 2"#)
        );
    }
}
