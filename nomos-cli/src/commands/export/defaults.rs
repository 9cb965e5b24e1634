//! Asks the API server by dry runs which values of an object are defaults.

use std::collections::BTreeSet;

use agent::io::kubernetes::client::{ApiError, Cluster};
use agent::io::kubernetes::dry_run::dry_run_without;
use agent::model::object::Object;

use super::candidates::{self, Answered};
use super::makers::MakerFacts;
use super::meant;
use super::requests::{in_version, patiently};

/// The largest number of dry runs of one object. Most objects need one.
const ROUNDS: usize = 40;
/// The HTTP status of an object that the API server finds wrong.
const INVALID: u16 = 422;

/// The object as it was meant, and the reason why it has all of its default values, if it has; `None` if it is gone.
///
/// A dry run can fail because of one candidate: then halves of the candidates are asked for alone, and in the end all that are defaults
/// together.
pub(super) async fn object_without_defaults(
    server: &Cluster,
    mut live: Object,
    facts: &MakerFacts,
) -> Result<Option<(Object, Option<String>)>, ApiError> {
    let mut search = DefaultSearch::new(candidates::default_candidates(&live, facts));
    for _ in 0..ROUNDS {
        let part = match search.next() {
            Step::Ask(part) => part,
            Step::Done(defaults) => return Ok(Some((meant::meant(live, &defaults, facts), None))),
        };
        match patiently(async || dry_run_without(server, &live, &part).await).await {
            Ok(answer) => match candidates::given_back(&live, &answer, &part) {
                Answered::Same => search.given_back(part),
                Answered::Fewer(fewer) => search.fewer(fewer),
                Answered::Changed => {
                    // Another client has changed it since it was read.
                    let Some(newer) = in_version(server, &live.id(), live.version()).await? else { return Ok(None) };
                    search = DefaultSearch::new(candidates::default_candidates(&newer, facts));
                    live = newer;
                }
            },
            Err(error) if error.code() == 404 => return Ok(None),
            Err(error) if error.code() == INVALID => search.refused(part, |one| candidates::fields_of(&live, one)),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                // The words about an object with secret values may have these.
                let withheld = live.is_confidential();
                let said = error.to_string();
                // Words about many objects are told once.
                let said = said.lines().next().unwrap_or_default().replace(&format!(" {:?}", live.name()), "");
                let refusal = if withheld { "the API server refused a dry run".to_owned() } else { said };
                return Ok(Some((meant::meant(live, &[], facts), Some(refusal))));
            }
        }
    }
    Ok(Some((meant::meant(live, &[], facts), Some(format!("{ROUNDS} dry runs did not tell the default values")))))
}

/// The search for the candidates of one object that are its defaults, together.
struct DefaultSearch {
    /// Candidates that are asked for alone.
    parts: Vec<Vec<String>>,
    /// Those that are defaults, each part alone.
    found: BTreeSet<String>,
    /// Those that are refused alone. One of them may be a default where others are left out too, as `completions` of a Job is beside
    /// `parallelism`.
    refused: Vec<String>,
    /// One that was refused is asked for with all that were found.
    is_joined: bool,
    /// All that were found are defaults together.
    is_confirmed: bool,
}

/// The next step of a search.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Ask what the API server gives back of these.
    Ask(Vec<String>),
    /// These are the defaults.
    Done(Vec<String>),
}

impl DefaultSearch {
    fn new(candidates: Vec<String>) -> Self {
        let parts = if candidates.is_empty() { Vec::new() } else { vec![candidates] };
        Self { parts, found: BTreeSet::new(), refused: Vec::new(), is_joined: false, is_confirmed: true }
    }

    fn next(&mut self) -> Step {
        self.is_joined = false;
        while let Some(part) = self.parts.pop() {
            if !part.is_empty() {
                return Step::Ask(part);
            }
        }
        if !self.is_confirmed {
            self.is_confirmed = true;
            return Step::Ask(std::mem::take(&mut self.found).into_iter().collect());
        }
        let found = self.found.iter().cloned();
        match self.refused.pop().filter(|_| !self.found.is_empty()) {
            Some(one) => {
                self.is_joined = true;
                Step::Ask(found.chain([one]).collect())
            }
            None => Step::Done(found.collect()),
        }
    }

    /// The API server gave them back.
    fn given_back(&mut self, part: Vec<String>) {
        self.is_confirmed = self.found.is_empty() || self.is_joined;
        self.found.extend(part);
    }

    /// It gave these back at most.
    fn fewer(&mut self, part: Vec<String>) {
        if !self.is_joined {
            self.parts.push(part);
        }
    }

    /// It refused the object without them; `fields` are those of a map.
    fn refused(&mut self, mut part: Vec<String>, fields: impl Fn(&str) -> Vec<String>) {
        if self.is_joined {
            return;
        }
        match part.as_slice() {
            [one] if fields(one).is_empty() => self.refused.push(one.clone()),
            [one] => self.parts.push(fields(one)),
            _ => {
                let half = part.split_off(part.len() / 2);
                self.parts.extend([part, half]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The defaults that a search finds, and the number of its dry runs, if the API server refuses all sets but some.
    fn searched(candidates: &[&str], is_taken: impl Fn(&[String]) -> bool) -> (Vec<String>, usize) {
        let mut search = DefaultSearch::new(names(candidates));
        for asked in 0..ROUNDS {
            match search.next() {
                Step::Done(found) => return (found, asked),
                Step::Ask(part) if is_taken(&part) => search.given_back(part),
                Step::Ask(part) => search.refused(part, |_| Vec::new()),
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn what_is_given_back_at_once_needs_one_dry_run() {
        assert_eq!(searched(&["a", "b"], |_| true), (names(&["a", "b"]), 1));
        assert_eq!(searched(&[], |_| true), (Vec::new(), 0));
    }

    #[test]
    fn one_that_is_refused_stays_and_all_others_are_found() {
        let candidates = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let (found, asked) = searched(&candidates, |part| !part.contains(&"c".to_owned()));
        assert_eq!(found, names(&["a", "b", "d", "e", "f", "g", "h"]));
        assert!(asked < 12, "{asked}");
        assert_eq!(searched(&["a"], |_| false).0, names(&[]));
    }

    #[test]
    fn one_that_is_a_default_beside_another_is_found_too() {
        // A Job without `completions` alone has other ones; another field is refused.
        let has = |part: &[String], name: &str| part.iter().any(|it| it == name);
        let is_taken = |part: &[String]| !has(part, "sleep") && (!has(part, "completions") || has(part, "parallelism"));
        let (found, _) = searched(&["completions", "mode", "parallelism", "sleep"], is_taken);
        assert_eq!(found, names(&["completions", "mode", "parallelism"]));
    }
}
