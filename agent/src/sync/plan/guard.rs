//! The guard against large prunes: a commit that would delete too much is held until a user approves it.

use crate::model::finding::{Code, Finding, Resource};
use crate::model::metadata::annotation;
use crate::model::object::ObjectId;

/// Number of objects that the finding of a held commit names.
const NAMED: usize = 20;

/// The objects that a commit would delete.
#[derive(Clone, Debug, Default)]
pub struct Prune<'a> {
    /// Objects in the inventory.
    pub inventory: usize,
    /// Namespaces in the inventory.
    pub namespaces: usize,
    /// Objects that would be deleted, in order.
    pub deletions: Vec<&'a ObjectId>,
}

impl Prune<'_> {
    /// `true` if it is all of two or more Namespaces, the whole inventory of two or more objects, or more objects than
    /// 10 and than 20 % of the inventory.
    pub fn is_large(&self) -> bool {
        let namespaces = self.deletions.iter().filter(|id| id.is_namespace()).count();
        let all_namespaces = self.namespaces >= 2 && namespaces == self.namespaces;
        let everything = self.inventory >= 2 && self.deletions.len() == self.inventory;
        all_namespaces || everything || self.deletions.len() > (self.inventory / 5).max(10)
    }

    /// The finding of a held commit. A commit that is in force already (`in_force`) is held when a kind is served again
    /// whose objects it would delete.
    pub fn finding(&self, commit: &str, in_force: bool, how_to_approve: &str) -> Finding {
        let mut names: Vec<String> = self.deletions.iter().take(NAMED).map(ToString::to_string).collect();
        if self.deletions.len() > NAMED {
            names.push(format!("and {} more", self.deletions.len() - NAMED));
        }
        let instead = match in_force {
            true => "None of them is deleted; the rest of it is in force",
            false => "Nothing of it is applied; the state before it stays in force",
        };
        let message = format!(
            "commit {commit} is held: it would delete {} of {} objects: {}. {instead}",
            self.deletions.len(),
            self.inventory,
            names.join(", ")
        );
        let mut finding = Finding::new(Code::EmptySource, message)
            .hint(format!("restore the manifests in a new commit, or approve this one: {how_to_approve}"));
        for id in self.deletions.iter().take(NAMED) {
            finding = finding.about(Resource::named(id, ""));
        }
        finding
    }
}

/// The command that approves a held commit of a RootSync or RepoSync, by an annotation on it.
pub fn approve_by_annotation(kind: &str, namespace: &str, name: &str, commit: &str) -> String {
    format!(
        "kubectl annotate {} {name} -n {namespace} --overwrite {}={commit}",
        kind.to_lowercase(),
        annotation::APPROVE_PRUNE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::GroupKind;

    fn large(inventory: usize, namespaces: usize, kinds: &[&str]) -> bool {
        let ids: Vec<ObjectId> = kinds
            .iter()
            .enumerate()
            .map(|(i, kind)| ObjectId::new(&GroupKind::new("", kind), "", &i.to_string()))
            .collect();
        Prune { inventory, namespaces, deletions: ids.iter().collect() }.is_large()
    }

    #[test]
    fn limits() {
        assert!(!large(5, 1, &["Namespace"]), "one of one Namespace");
        assert!(large(5, 2, &["Namespace", "Namespace"]), "both Namespaces");
        assert!(!large(5, 3, &["Namespace", "Namespace"]), "two of three Namespaces");
        assert!(large(2, 0, &["A", "A"]), "everything");
        assert!(!large(1, 0, &["A"]), "one of one");
        assert!(!large(12, 0, &["A"; 10]), "ten may always go");
        assert!(large(12, 0, &["A"; 11]), "eleven of twelve");
        assert!(!large(100, 0, &["A"; 20]), "a fifth");
        assert!(large(100, 0, &["A"; 21]), "more than a fifth");
    }
}
