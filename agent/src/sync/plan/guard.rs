//! The guard against large prunes: deletions that are too many are held until a user approves them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::model::finding::{Code, Finding, Resource};
use crate::model::hex::hex;
use crate::model::metadata::annotation;
use crate::model::object::ObjectId;

/// Number of objects that the message about held deletions names.
const NAMED: usize = 20;
/// Bytes of the objects that the finding has as places, about: they are in the status of the sync, where other errors need room too.
const PLACES_BYTES: usize = 128 * 1024;
/// Bytes of an object in a status beside its names, about.
const PLACE_BYTES: usize = 70;
/// The fate of a commit that is held, and of the held deletions of one that is in force.
const INSTEAD: [&str; 2] = [
    "Nothing of it is applied; the state before it stays in force",
    "None of them is deleted; the rest of the commit is in force",
];

/// Numbers of objects, and of Namespaces among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObjectCounts {
    /// All of them.
    pub objects: usize,
    /// The Namespaces.
    pub namespaces: usize,
}

impl ObjectCounts {
    /// Counts this object too.
    pub fn add(&mut self, id: &ObjectId) {
        self.objects += 1;
        self.namespaces += usize::from(id.is_namespace());
    }

    /// Counts this object no more.
    pub fn leave_out(&mut self, id: &ObjectId) {
        self.objects = self.objects.saturating_sub(1);
        self.namespaces = self.namespaces.saturating_sub(usize::from(id.is_namespace()));
    }
}

impl<'a> FromIterator<&'a ObjectId> for ObjectCounts {
    fn from_iter<T: IntoIterator<Item = &'a ObjectId>>(ids: T) -> Self {
        let mut counts = Self::default();
        ids.into_iter().for_each(|id| counts.add(id));
        counts
    }
}

/// Objects that would be deleted, each with its uid: an object that was made anew under a name is another one.
pub type Deletions = BTreeSet<(ObjectId, Box<str>)>;

/// Deletions that follow from a commit.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Objects of the sync that exist.
    pub inventory: ObjectCounts,
    /// Those of them that stay declared.
    pub kept: ObjectCounts,
    /// Objects in the inventory's record. Some may be gone, by another client or while no agent ran.
    pub recorded: ObjectCounts,
    /// The record was lost: labels, annotations and entries, which every client can write, are all that says that the objects
    /// are the sync's.
    pub unproven: bool,
    /// Objects of the inventory that would be deleted.
    pub deletions: Deletions,
    /// CRDs that would be deleted, and syncs that take their objects along, with the number of objects that go with them and are not in
    /// the inventory; `None` when these cannot be counted.
    pub taking_along: Vec<(ObjectId, Option<usize>)>,
}

impl Prune {
    /// `true` if it is more than is left of the hour's budget, or all that is left of two or more Namespaces, or of an inventory of
    /// two or more objects, or if objects that are not the sync's go with a CRD. Without a record that names the objects, any
    /// deletion is.
    pub fn is_large(&self, left: usize) -> bool {
        let Self { inventory, kept, recorded, deletions, taking_along, unproven } = self;
        let namespaces = deletions.iter().any(|(id, _)| id.is_namespace());
        let all_namespaces = inventory.namespaces.max(recorded.namespaces) >= 2 && namespaces && kept.namespaces == 0;
        let everything = inventory.objects.max(recorded.objects) >= 2 && kept.objects == 0;
        let takes_others = |(id, objects): &(ObjectId, Option<usize>)| match objects {
            None => true,
            Some(objects) => id.is_crd() && *objects > 0,
        };
        let takes_along = taking_along.iter().any(takes_others);
        let too_many = self.number() > left;
        !deletions.is_empty() && (*unproven || all_namespaces || everything || takes_along || too_many)
    }

    /// Number of objects that count for the budget.
    pub fn number(&self) -> usize {
        self.deletions.iter().map(|(id, _)| self.weight(id)).sum()
    }

    /// Number of objects that go by one deletion: a sync takes its own along.
    pub fn weight(&self, id: &ObjectId) -> usize {
        let along = self.taking_along.iter().find(|(other, _)| other == id && !id.is_crd());
        1 + along.and_then(|(_, objects)| *objects).unwrap_or(0)
    }

    /// Leaves out these deletions.
    pub fn leave_out(&mut self, mut out: impl FnMut(&(ObjectId, Box<str>)) -> bool) {
        let Self { deletions, taking_along, .. } = self;
        deletions.retain(|deletion| !out(deletion));
        taking_along.retain(|(taker, _)| deletions.iter().any(|(id, _)| id == taker));
    }

    /// The approval of exactly these deletions by this commit: `<commit>.<digest>`. A later deletion of objects with the same
    /// names has another digest, so that no approval works twice.
    pub fn approval(&self, commit: &str) -> String {
        let mut text = String::new();
        for (id, uid) in &self.deletions {
            let _ = writeln!(text, "{}\n{}\n{}\n{}\n{uid}", id.group(), id.kind(), id.namespace(), id.name());
        }
        for (id, objects) in &self.taking_along {
            let _ = writeln!(text, "{} {objects:?}", id.name());
        }
        format!("{commit}.{}", hex(&Sha256::digest(text.as_bytes())[..4]))
    }

    /// The finding of held deletions. Its places are the objects, as many as a status has room for. Those that take others along are the
    /// first ones.
    pub fn finding(&self, held: &HeldPrune<'_>) -> Finding {
        let HeldPrune { commit, in_force, dynamic, recent, approval, refused, how_to_approve } = *held;
        let has_others =
            |id: &ObjectId| self.taking_along.iter().any(|(taker, others)| taker == id && *others != Some(0));
        let takes_along = |id: &ObjectId| id.is_namespace() || has_others(id);
        let mut ids: Vec<&ObjectId> = self.deletions.iter().map(|(id, _)| id).collect();
        ids.sort_by_key(|id| !takes_along(id));
        let mut names: Vec<String> = ids.iter().take(NAMED).map(|id| self.named(id)).collect();
        if ids.len() > NAMED {
            names.push(format!("and {} more", ids.len() - NAMED));
        }
        let held = match in_force {
            true => format!("the deletions of commit {commit} are held: they would delete"),
            false => format!("commit {commit} is held: it would delete"),
        };
        let instead = INSTEAD[usize::from(in_force)];
        let before = match recent {
            0 => String::new(),
            recent => format!(", after {recent} in the last hour"),
        };
        let mut message = format!(
            "{held} {} of {} objects{before}: {}. {instead}",
            self.deletions.len(),
            self.inventory.objects,
            names.join(", ")
        );
        if self.unproven {
            message +=
                ". The record of the sync's objects was lost, and only their metadata says that they are its own";
        }
        if let Some(refused) = refused {
            let _ = write!(message, ". The approval {refused:?} is not for these deletions");
        }
        let command = how_to_approve.replace(APPROVAL, approval);
        let labels = match dynamic {
            true => ", put back the labels of Namespaces that a NamespaceSelector selected",
            false => "",
        };
        let mut finding = Finding::new(Code::EmptySource, message)
            .hint(format!("restore the manifests in a new commit{labels}, or approve these deletions: {command}"));
        let mut bytes = 0;
        for id in ids {
            bytes += id.parts().iter().map(|part| part.len()).sum::<usize>() + PLACE_BYTES;
            if bytes > PLACES_BYTES {
                break;
            }
            finding = finding.about(Resource::named(id, ""));
        }
        finding
    }

    fn named(&self, id: &ObjectId) -> String {
        match self.taking_along.iter().find(|(taker, _)| taker == id) {
            None | Some((_, Some(0))) => id.to_string(),
            Some((_, Some(objects))) if !id.is_crd() => format!("{id} (with its {objects} objects)"),
            Some((_, None)) if !id.is_crd() => format!("{id} (with all its objects, which cannot be counted)"),
            Some((_, Some(objects))) => format!("{id} (with {objects} {} that are not of this sync)", id.name()),
            Some((_, None)) => format!("{id} (with all {}, which cannot be counted)", id.name()),
        }
    }
}

/// The message about held deletions without the names of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldMessage<'a> {
    /// The beginning, which tells the commit and the numbers.
    pub head: &'a str,
    /// Number of the deletions.
    pub deletions: usize,
    /// The names, as many as the message has, with what goes along.
    pub names: &'a str,
    /// The end, which tells what happens instead.
    pub tail: &'a str,
}

impl<'a> HeldMessage<'a> {
    /// Takes apart the message of [`Prune::finding`], also with a code before it and other text after it; `None` for any other text.
    pub fn of(message: &'a str) -> Option<Self> {
        let (_, counts) = message.split_once("would delete ")?;
        let (deletions, after) = counts.split_once(" of ")?;
        let (_, names) = after.split_once(": ")?;
        let end = INSTEAD.iter().find_map(|instead| names.find(&format!(". {instead}")))?;
        let head = message[..message.len() - names.len()].strip_suffix(": ")?;
        let tail = names[end + 2..].split("\n\n").next()?;
        Some(Self { head, deletions: deletions.parse().ok()?, names: &names[..end], tail })
    }
}

/// The circumstances in which deletions are held.
#[derive(Clone, Copy, Debug)]
pub struct HeldPrune<'a> {
    /// The commit that declares the objects no more.
    pub commit: &'a str,
    /// The commit is in force already, and the deletions were found later.
    pub in_force: bool,
    /// They may follow from other labels of Namespaces.
    pub dynamic: bool,
    /// Number of objects deleted in the last hour.
    pub recent: usize,
    /// The approval of exactly these deletions.
    pub approval: &'a str,
    /// An approval that is set on the sync, and is not for these deletions.
    pub refused: Option<&'a str>,
    /// A command line that approves, in which [`APPROVAL`] stands for the approval.
    pub how_to_approve: &'a str,
}

/// The place of the approval in a command line.
pub const APPROVAL: &str = "APPROVAL";

/// The command that approves held deletions of a RootSync or RepoSync, by an annotation on it.
pub fn approve_by_annotation(kind: &str, namespace: &str, name: &str) -> String {
    format!(
        "kubectl annotate {} {name} -n {namespace} --overwrite {}={APPROVAL}",
        kind.to_lowercase(),
        annotation::APPROVE_PRUNE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::object::GroupKind;

    const CRD: &str = "CustomResourceDefinition";

    fn prune(inventory: usize, namespaces: usize, kinds: &[&str]) -> Prune {
        let deletion = |(i, kind): (usize, &&str)| (object(kind, i), format!("uid-{i}").into());
        let deletions: Deletions = kinds.iter().enumerate().map(deletion).collect();
        let gone = kinds.iter().filter(|kind| **kind == "Namespace").count();
        let kept = counts(inventory.saturating_sub(kinds.len()), namespaces.saturating_sub(gone));
        Prune { inventory: counts(inventory, namespaces), kept, deletions, ..Prune::default() }
    }

    fn object(kind: &str, number: usize) -> ObjectId {
        let group = if kind == CRD { "apiextensions.k8s.io" } else { "" };
        ObjectId::new(&GroupKind::new(group, kind), "", &number.to_string())
    }

    fn counts(objects: usize, namespaces: usize) -> ObjectCounts {
        ObjectCounts { objects, namespaces }
    }

    fn large(inventory: usize, namespaces: usize, kinds: &[&str]) -> bool {
        prune(inventory, namespaces, kinds).is_large(10)
    }

    #[test]
    fn limits() {
        assert!(!large(5, 1, &["Namespace"]), "one of one Namespace");
        assert!(large(5, 2, &["Namespace", "Namespace"]), "both Namespaces");
        assert!(!large(5, 3, &["Namespace", "Namespace"]), "two of three Namespaces");
        assert!(large(2, 0, &["A", "A"]), "everything");
        assert!(!large(1, 0, &["A"]), "one of one");
        assert!(Prune { recorded: counts(2, 0), ..prune(1, 0, &["A"]) }.is_large(10), "the one that is left of two");
        assert!(Prune { kept: counts(0, 0), ..prune(9, 0, &["A"; 8]) }.is_large(10), "the ninth is given up");
        assert!(!Prune { recorded: counts(2, 0), ..prune(0, 0, &[]) }.is_large(10), "both are gone");
        assert!(!large(12, 0, &["A"; 10]), "ten are left of the budget");
        assert!(large(12, 0, &["A"; 11]), "eleven of twelve");
        assert!(!prune(80, 0, &[]).is_large(0), "nothing is never too much");
    }

    #[test]
    fn a_definition_that_takes_objects_of_others_along_is_held() {
        let with = |objects| Prune { taking_along: vec![(object(CRD, 0), objects)], ..prune(20, 0, &[CRD]) };
        assert!(!with(Some(0)).is_large(10));
        assert!(with(Some(1)).is_large(10));
        assert!(with(None).is_large(10), "nobody knows how many");
        assert!(!Prune { deletions: Deletions::new(), ..with(Some(1)) }.is_large(10));
    }

    #[test]
    fn the_objects_of_a_sync_that_takes_them_along_count_for_the_budget() {
        let with = |objects| Prune {
            taking_along: vec![(object("RootSync", 0), objects)],
            ..prune(20, 0, &["RootSync", "A"])
        };
        assert_eq!((with(Some(8)).number(), with(Some(8)).is_large(10)), (10, false));
        assert!(with(Some(9)).is_large(10) && with(None).is_large(10));
    }

    #[test]
    fn a_finding_says_what_goes_along_with_an_object() {
        let crd = ObjectId::from_parts(["apiextensions.k8s.io", "CustomResourceDefinition", "", "as.b.c"]);
        let sync = ObjectId::from_parts(["configsync.gke.io", "RootSync", "s", "other"]);
        let named =
            |id: &ObjectId, objects| Prune { taking_along: vec![(id.clone(), objects)], ..Prune::default() }.named(id);
        assert_eq!(named(&sync, Some(0)), sync.to_string());
        assert_eq!(named(&sync, Some(7)), format!("{sync} (with its 7 objects)"));
        assert_eq!(named(&sync, None), format!("{sync} (with all its objects, which cannot be counted)"));
        assert_eq!(named(&crd, Some(7)), format!("{crd} (with 7 as.b.c that are not of this sync)"));
        assert_eq!(named(&crd, None), format!("{crd} (with all as.b.c, which cannot be counted)"));
    }

    #[test]
    fn namespaces_count_among_the_objects() {
        let id = |kind: &str, name: &str| ObjectId::new(&GroupKind::new("", kind), "", name);
        let ids = [id("Namespace", "a"), id("Namespace", "b"), id("ConfigMap", "a")];
        assert_eq!(ids.iter().collect::<ObjectCounts>(), counts(3, 2));
    }

    #[test]
    fn a_finding_names_twenty_objects_and_counts_the_rest() {
        let message = |number: usize| prune(number, 0, &["A"; 30][..number]).finding(&held()).message;
        assert!(!message(19).contains("more"));
        assert!(!message(20).contains("more"));
        assert!(message(23).contains(", and 3 more."), "{}", message(23));
    }

    #[test]
    fn an_approval_is_for_these_objects_alone() {
        let (one, commit) = (prune(5, 0, &["A"; 3]), "c".repeat(40));
        assert_eq!(one.approval(&commit), prune(9, 0, &["A"; 3]).approval(&commit));
        assert_ne!(one.approval(&commit), prune(5, 0, &["A"; 2]).approval(&commit));
        let anew = one.deletions.iter().map(|(id, _)| (id.clone(), "another".into())).collect();
        assert_ne!(one.approval(&commit), Prune { deletions: anew, ..one.clone() }.approval(&commit));
        let approval = one.approval(&commit);
        assert_eq!(approval.len(), 49);
        let held = HeldPrune {
            commit: &commit,
            in_force: false,
            dynamic: false,
            recent: 0,
            approval: &approval,
            refused: Some(&commit),
            how_to_approve: &approve_by_annotation("RootSync", "config-management-system", "root"),
        };
        let finding = one.finding(&held);
        assert!(finding.message.contains("is not for these deletions"), "{}", finding.message);
        let hint = finding.hint.unwrap_or_default();
        assert!(hint.contains(&format!("approve-prune={approval}")) && !hint.contains("labels"), "{hint}");
        let relabelled = one.finding(&HeldPrune { dynamic: true, ..held }).hint.unwrap_or_default();
        assert!(relabelled.contains("put back the labels of Namespaces"), "{relabelled}");
    }

    fn held() -> HeldPrune<'static> {
        HeldPrune {
            commit: "abc",
            in_force: false,
            dynamic: false,
            recent: 3,
            approval: "abc.0",
            refused: Some("none"),
            how_to_approve: "approve APPROVAL",
        }
    }

    #[test]
    fn all_deletions_are_places_and_those_that_take_others_along_are_named_first() {
        let kinds = [vec!["A"; 29], vec![CRD]].concat();
        let mut many = prune(40, 0, &kinds);
        let crd = many.deletions.last().expect("thirty").0.clone();
        many.taking_along = vec![(crd.clone(), Some(7))];
        let finding = many.finding(&held());
        assert_eq!((finding.places.len(), finding.places[0].resource.as_ref()), (30, Some(&Resource::named(&crd, ""))));
        assert!(finding.message.contains("and 10 more. Nothing of it is applied"), "{}", finding.message);
        let text = crate::model::finding::text(&finding);
        assert_eq!(text.matches(&*crd.to_string()).count(), 1, "each is told once: {text}");
        let read = HeldMessage::of(&text).expect("it is such a message");
        assert_eq!(
            read.head,
            "KNV2006: commit abc is held: it would delete 30 of 40 objects, after 3 in the last hour"
        );
        assert_eq!(read.deletions, 30);
        assert!(
            read.names.starts_with(&format!("{crd} (with 7 {} that are not of this sync), ", crd.name())),
            "{read:?}"
        );
        assert!(read.tail.ends_with("in force. The approval \"none\" is not for these deletions"), "{read:?}");
        let later = many.finding(&HeldPrune { in_force: true, ..held() });
        assert!(HeldMessage::of(&later.message).is_some_and(|it| it.tail.starts_with("None of them is deleted")));
        assert_eq!(HeldMessage::of("KNV2009: it would delete 1 of 2 things: x"), None);
    }

    #[test]
    fn the_places_of_many_deletions_leave_room_for_other_errors() {
        let finding = prune(9000, 0, &["A"; 8000]).finding(&held());
        assert!((1000..8000).contains(&finding.places.len()), "{}", finding.places.len());
        let error = serde_json::to_string(&crate::api::SyncError::of(&finding)).expect("plain data");
        assert!(error.len() < PLACES_BYTES + 16 * 1024, "{} bytes", error.len());
    }
}
