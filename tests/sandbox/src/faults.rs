//! Faults that a test asks for: rules that name requests or watch events, and the fault for each.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::failure::Failure;
use crate::log::Request;

/// A fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The connection is closed without an answer.
    Hangup,
    /// The request is not performed; this is the answer.
    Answer(Failure),
    /// The request is performed, but its reply ends after so many bytes.
    CutReply(usize),
    /// The request waits before it is performed.
    Delay(Duration),
    /// A watch is cut instead of an event.
    CutWatch,
    /// A watch ends with an error event, as when its revision is not remembered.
    ExpireWatch,
    /// An event comes late, and those after it with it.
    LateEvent(Duration),
    /// An event comes twice.
    EventTwice,
}

impl Fault {
    /// A refusal with this code and the reason and message that usually come with it.
    pub fn status(code: u16) -> Self {
        Self::Answer(match code {
            401 => Failure::new(401, "Unauthorized", "Unauthorized"),
            403 => Failure::new(403, "Forbidden", "forbidden: asked to refuse"),
            404 => Failure::no_resource(),
            409 => Failure::new(
                409,
                "Conflict",
                "the object has been modified; please apply your changes to the latest version and try again",
            ),
            410 => Failure::expired("The resourceVersion for the provided watch is too old."),
            429 => Failure::new(429, "TooManyRequests", "too many requests, please try again later").retry_after(1),
            503 => Failure::new(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => {
                Failure::new(504, "Timeout", "the request did not complete within the allotted timeout").retry_after(1)
            }
            code => Failure::new(code, "InternalError", "Internal error occurred: asked to fail"),
        })
    }

    fn is_of_event(&self) -> bool {
        matches!(self, Self::CutWatch | Self::ExpireWatch | Self::LateEvent(_) | Self::EventTwice)
    }
}

/// A rule: a fault, and the requests or watch events that it applies to. A new rule applies to all of them, for ever.
#[derive(Debug, Clone)]
pub struct Rule {
    verb: String,
    path: String,
    agent: String,
    skip: usize,
    times: usize,
    fault: Fault,
    /// The number of matches so far.
    matched: usize,
}

impl Rule {
    /// A rule for every request or event.
    pub fn new(fault: Fault) -> Self {
        let (verb, path, agent) = (String::new(), String::new(), String::new());
        Self { verb, path, agent, skip: 0, times: usize::MAX, fault, matched: 0 }
    }

    /// Only this verb, as in RBAC.
    #[must_use]
    pub fn verb(mut self, verb: &str) -> Self {
        verb.clone_into(&mut self.verb);
        self
    }

    /// Only paths (with their query) that contain this text.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        part.clone_into(&mut self.path);
        self
    }

    /// Only clients whose name begins so.
    #[must_use]
    pub fn agent(mut self, beginning: &str) -> Self {
        beginning.clone_into(&mut self.agent);
        self
    }

    /// Not the first so many.
    #[must_use]
    pub fn skip(mut self, count: usize) -> Self {
        self.skip = count;
        self
    }

    /// Only so many.
    #[must_use]
    pub fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }

    fn matches(&self, request: &Request) -> bool {
        (self.verb.is_empty() || self.verb == request.verb)
            && request.uri.contains(&self.path)
            && request.user_agent.starts_with(&self.agent)
    }

    /// Counts a match and says whether it is one of those that go wrong.
    fn strikes(&mut self) -> bool {
        self.matched += 1;
        self.matched > self.skip && self.matched - self.skip <= self.times
    }
}

/// The rules in force. The first that strikes decides.
#[derive(Debug, Default)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
}

impl Faults {
    /// Adds a rule.
    pub fn add(&self, rule: Rule) {
        self.with(|rules| rules.push(rule));
    }

    /// Takes all rules back.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }

    /// The number of requests and events that all rules together have changed.
    pub fn strikes(&self) -> usize {
        let struck = |rule: &Rule| rule.matched.saturating_sub(rule.skip).min(rule.times);
        self.with(|rules| rules.iter().map(struck).sum())
    }

    pub(crate) fn on_request(&self, request: &Request) -> Option<Fault> {
        self.find(request, false)
    }

    pub(crate) fn on_event(&self, request: &Request) -> Option<Fault> {
        self.find(request, true)
    }

    fn find(&self, request: &Request, event: bool) -> Option<Fault> {
        self.with(|rules| {
            let mut of_it = rules.iter_mut().filter(|rule| rule.fault.is_of_event() == event && rule.matches(request));
            of_it.find_map(|rule| rule.strikes().then(|| rule.fault.clone()))
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Rule>) -> T) -> T {
        act(&mut self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(verb: &str, uri: &str) -> Request {
        Request {
            verb: verb.to_owned(),
            user_agent: "nomos-agent/1".to_owned(),
            impersonated: String::new(),
            resource: String::new(),
            subresource: String::new(),
            api_group: String::new(),
            namespace: String::new(),
            name: String::new(),
            code: 0,
            uri: uri.to_owned(),
        }
    }

    #[test]
    fn rules_apply_to_their_requests_and_as_often_as_they_say() {
        let faults = Faults::default();
        faults.add(Rule::new(Fault::Hangup).verb("list").path("/secrets").agent("nomos-agent").skip(1).times(1));
        let list = || faults.on_request(&request("list", "/api/v1/secrets?limit=1"));
        assert_eq!(faults.on_request(&request("get", "/api/v1/secrets/x")), None);
        assert_eq!((list(), list(), list()), (None, Some(Fault::Hangup), None));
        assert_eq!(faults.strikes(), 1);
        assert_eq!(faults.on_event(&request("list", "/secrets")), None);
        faults.clear();
        faults.add(Rule::new(Fault::EventTwice));
        assert_eq!(list(), None);
        assert_eq!(faults.on_event(&request("watch", "/x")), Some(Fault::EventTwice));
    }
}
