//! Equal findings about objects of one name become one finding with several places.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{Code, Finding, Place, Resource};

/// The rule for merging two findings with equal code and message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MergeBy {
    /// They are merged if they are about objects of one name.
    Object,
    /// They are merged if they are about objects of one name in one file.
    ObjectAndFile,
}

/// Merges findings: the first one gets the places of all.
pub(crate) fn merged(findings: Vec<Finding>, by: MergeBy) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::with_capacity(findings.len());
    let mut seen: BTreeMap<MergeKey, usize> = BTreeMap::new();
    let mut grown = BTreeSet::new();
    for finding in findings {
        match seen.entry(key(&finding, by)) {
            Entry::Vacant(entry) => {
                entry.insert(merged.len());
                merged.push(finding);
            }
            Entry::Occupied(entry) => {
                merged[*entry.get()].places.extend(finding.places);
                grown.insert(*entry.get());
            }
        }
    }
    for index in grown {
        merged[index].places.sort();
        merged[index].places.dedup();
    }
    merged
}

type MergeKey = (Code, String, Vec<(Option<Resource>, Option<String>)>);

fn key(finding: &Finding, by: MergeBy) -> MergeKey {
    let subject = |place: &Place| {
        let path = place.location.as_ref().map(|location| location.path.clone());
        let nameless = finding.code == Code::Undocumented || by == MergeBy::Object && place.resource.is_some();
        (place.resource.clone(), path.filter(|_| !nameless))
    };
    let mut subjects: Vec<_> = finding.places.iter().map(subject).collect();
    subjects.sort();
    (finding.code, finding.message.clone(), subjects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::finding::Location;

    fn finding(path: &str, line: u32) -> Finding {
        let name = |text: &str| text.to_owned();
        let resource =
            Resource { group: name(""), version: name("v1"), kind: name("X"), namespace: name(""), name: name("a") };
        let location = Location { path: path.to_owned(), line, column: 1 };
        let place = Place { location: Some(location), resource: Some(resource) };
        Finding::new(Code::IllegalFieldsInConfig, "bad").at(place)
    }

    #[test]
    fn one_mistake_in_objects_of_one_name_is_one_finding() {
        let findings = vec![finding("b", 1), finding("a", 7), finding("a", 2)];
        let all = merged(findings.clone(), MergeBy::Object);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].places, [finding("a", 2), finding("a", 7), finding("b", 1)].map(|it| it.places[0].clone()));
        assert_eq!(merged(findings, MergeBy::ObjectAndFile).len(), 2);
    }
}
