//! The likeness of findings: an API server or a webhook words one failure anew at each attempt, with its causes in another order, or
//! with the port of another connection.

use super::Finding;

impl Finding {
    /// `true` if both differ at most in ports, identities and the order of words.
    pub fn is_like(&self, other: &Self) -> bool {
        self.code == other.code
            && self.hint == other.hint
            && self.places == other.places
            && (self.message == other.message || words(&self.message) == words(&other.message))
    }
}

/// The words with which an API server refuses a field. Of several it names some, at each attempt others.
const UNKNOWN_FIELD: &str = ": field not declared in schema";

/// The words of a message that are no ports and no parts of an identity, sorted. Shorter numbers are of names, or say how many.
fn words(message: &str) -> Vec<&str> {
    let message = match message.split_once(UNKNOWN_FIELD) {
        Some((before, _)) => before.rsplit_once(": ").map_or(before, |(before, _)| before),
        None => message,
    };
    let is_noise = |word: &str| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let words = message.split(|c: char| !c.is_alphanumeric());
    let mut words: Vec<&str> = words.filter(|word| !word.is_empty() && !is_noise(word)).collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use crate::model::finding::{Code, Finding};

    #[test]
    fn findings_in_other_words_for_one_failure_are_alike() {
        let finding = |message: &str| Finding::new(Code::Applier, message);
        for (one, other, alike) in [
            ("read tcp 10.0.0.1:43512->10.0.0.2:443: reset", "read tcp 10.0.0.1:51008->10.0.0.2:443: reset", true),
            (
                "invalid: [spec.path: Required value, spec.port: Too long]",
                "invalid: [spec.port: Too long, spec.path: Required value]",
                true,
            ),
            (
                "denied (request 6ba7b810-9dad-11d1-80b4-00c04fd430c8)",
                "denied (request beefcafe-dead-4bad-abba-fadedfacade5)",
                true,
            ),
            ("invalid: spec.path: Required value", "invalid: spec.port: Required value", false),
            ("invalid: spec.x: Required value", "invalid: spec.x: Required value, spec.x: Too long", false),
            (
                "failed to apply a: errors:\n  .spec.b: field not declared in schema\n  .spec.c: field not declared in schema",
                "failed to apply a: errors:\n  .spec.d: field not declared in schema\n  .spec.b: field not declared in schema",
                true,
            ),
            (
                "failed to apply a: errors:\n  .spec.b: field not declared in schema\n  .spec.c: field not declared in schema",
                "failed to apply a: .spec.d: field not declared in schema",
                true,
            ),
            (
                "failed to apply a: .spec.d: field not declared in schema",
                "failed to apply b: .spec.d: field not declared in schema",
                false,
            ),
            ("timeout", "refused", false),
            ("secret cert-1 not found", "secret cert-2 not found", false),
            ("exceeded quota: cpu=10", "exceeded quota: cpu=20", false),
        ] {
            assert_eq!(finding(one).is_like(&finding(other)), alike, "{one} / {other}");
        }
        let one = finding("no");
        assert!(!one.is_like(&Finding::new(Code::ApiServer, "no")));
        assert!(!one.is_like(&finding("no").hint("another remedy")) && !one.is_like(&finding("no").at_path("a.yaml")));
    }
}
