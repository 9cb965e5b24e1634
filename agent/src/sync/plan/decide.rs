//! The one decision about one object: declared form and live record in, action out.

use crate::compile::declared::{DeclaredObject, DeclaredSet, Undeclared};
use crate::model::metadata::{ROOT_SCOPE, SyncId, SyncKind};
use crate::model::object::ObjectId;
use crate::sync::live::{FieldOwnership, Live, OnRemoval, Owner};

/// The repository's side of one object.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'a> {
    /// The repository does not declare it.
    Absent,
    /// It is declared `managed: disabled`, or the sync goes without its objects: the sync gives it up and leaves it in the cluster.
    Disabled,
    /// It is declared, but the API server does not know its kind yet, or its values are sealed and cannot be opened, so nothing can be
    /// done.
    Unknown,
    /// It is declared, in this form.
    Object(&'a DeclaredObject),
}

impl<'a> Declared<'a> {
    /// Looks `id` up in a declared set.
    pub fn of(set: &'a DeclaredSet, id: &ObjectId) -> Self {
        match set.objects.get(id) {
            Some(object) => Self::Object(object),
            None if set.undeclared == Undeclared::GivenUp || set.disabled.contains(id) => Self::Disabled,
            None if set.withheld.contains_key(id) => Self::Unknown,
            None => Self::unplaced(set, id),
        }
    }

    /// An object of unknown scope has no Namespace yet, neither the usual one nor those of a selector: every object of its kind and name
    /// may be it.
    fn unplaced(set: &DeclaredSet, id: &ObjectId) -> Self {
        if set.withheld.is_empty() {
            return Self::Absent;
        }
        let unplaced = id.in_namespace("");
        match set.withheld.contains_key(&unplaced) {
            true if set.disabled.contains(&unplaced) => Self::Disabled,
            true => Self::Unknown,
            false => Self::Absent,
        }
    }
}

/// The reason to apply an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It does not exist.
    Missing,
    /// It exists, and no sync manages it yet.
    Adopted,
    /// The sync manages it, and another form of it is declared now.
    Changed,
    /// Another client changed these fields, given as paths. None when our whole entry of `managedFields` is gone.
    Drifted(Box<[String]>),
}

/// One step for one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The object is as it shall be.
    Nothing,
    /// Server-side apply.
    Apply(Cause),
    /// Bring the sync's labels and annotations up to date and leave the rest alone (`mutation: ignore`).
    Annotate,
    /// Read the whole object: its metadata does not say enough.
    Read,
    /// Read the values of other objects for its declared form, and decide again. The engine postpones what is decided about a form
    /// that is not complete; [`decide`] never returns this.
    Fill,
    /// Delete it, with uid and version as preconditions.
    Delete,
    /// Take the sync's labels and annotations off and leave the object in the cluster.
    Abandon,
    /// It is being deleted; decide again when it is gone.
    Wait,
    /// Another sync manages it (KNV1060), with this manager annotation.
    Conflict(Box<str>),
}

/// Decides about one object. `live` is `None` when it does not exist or has no label or annotation of a sync.
pub fn decide(declared: Declared<'_>, live: Option<&Live>, sync: &SyncId) -> Action {
    match (declared, live) {
        (Declared::Object(_), None) => Action::Apply(Cause::Missing),
        (Declared::Object(object), Some(live)) => keep(object, live, sync),
        (Declared::Disabled, Some(live)) if live.is_ours() => Action::Abandon,
        (Declared::Absent, Some(live)) => remove(live),
        (Declared::Disabled | Declared::Absent | Declared::Unknown, _) => Action::Nothing,
    }
}

fn keep(declared: &DeclaredObject, live: &Live, sync: &SyncId) -> Action {
    let current = live.hash == Some(declared.hash);
    match &live.owner {
        _ if live.terminating => Action::Wait,
        _ if live.in_doubt => Action::Read,
        Owner::Other(_) | Owner::Nobody if declared.implicit => Action::Nothing,
        // A Namespace belongs to the sync that declares it, whichever sync made it because of objects in it.
        Owner::Other(manager) if !live.implicit && !may_take_over(sync, manager) => Action::Conflict(manager.clone()),
        // Without versions of its objects, an API server cannot apply at one.
        Owner::Us if declared.ignores_mutation() && current && (live.applied || live.version == 0) => Action::Nothing,
        _ if declared.ignores_mutation() => Action::Annotate,
        owner => match &live.fields {
            // The sync never managed it, or has given it up since.
            _ if *owner != Owner::Us && (!live.applied || !current) => Action::Apply(Cause::Adopted),
            FieldOwnership::Lost(paths) => Action::Apply(Cause::Drifted(paths.clone())),
            _ if live.hash.is_none() => Action::Apply(Cause::Adopted),
            _ if !current => Action::Apply(Cause::Changed),
            FieldOwnership::Unsure => Action::Read,
            // No watch shows it, and nothing would delete it.
            FieldOwnership::Ours if live.unlabelled => Action::Apply(Cause::Adopted),
            FieldOwnership::Ours => Action::Nothing,
        },
    }
}

/// A RootSync takes objects over from RepoSyncs; otherwise the sync that came first keeps them.
fn may_take_over(sync: &SyncId, manager: &str) -> bool {
    sync.kind == SyncKind::RootSync && !manager.starts_with(ROOT_SCOPE)
}

fn remove(live: &Live) -> Action {
    match (&live.owner, live.on_removal) {
        _ if live.terminating => Action::Wait,
        (Owner::Us, OnRemoval::Delete) if live.applied => Action::Delete,
        (Owner::Us, OnRemoval::Abandon) => Action::Abandon,
        _ => Action::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::metadata::annotation;
    use crate::sync::live::Observed;

    fn declared(annotations: serde_json::Value) -> DeclaredObject {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b", "annotations": annotations},
        });
        DeclaredObject::new(serde_json::from_value(object).expect("a map"))
    }

    fn sync() -> SyncId {
        SyncId::root("root-sync")
    }

    /// The object as the sync's last apply left it.
    fn as_declared(declared: &DeclaredObject) -> Live {
        but(Live::observe(&Observed::default(), &declared.id, &sync(), None, None), |it| {
            it.owner = Owner::Us;
            it.applied = true;
            it.watched = true;
            it.on_removal = OnRemoval::Delete;
            it.hash = Some(declared.hash);
            it.fields = FieldOwnership::Ours;
        })
    }

    fn but(mut live: Live, edit: impl FnOnce(&mut Live)) -> Live {
        edit(&mut live);
        live
    }

    fn other(manager: &str) -> Owner {
        Owner::Other(manager.into())
    }

    #[test]
    fn an_object_of_the_sync_is_applied_where_it_differs_from_its_declared_form() {
        let declared = declared(json!({}));
        let ours = || as_declared(&declared);
        let decide = |live: &Live| decide(Declared::Object(&declared), Some(live), &sync());
        let lost = || FieldOwnership::Lost(Box::new([".data.a".to_owned()]));
        let drifted = || Action::Apply(Cause::Drifted(Box::new([".data.a".to_owned()])));
        let other_form = Some(self::declared(json!({"a": "b"})).hash);
        assert_eq!(super::decide(Declared::Object(&declared), None, &sync()), Action::Apply(Cause::Missing));
        assert_eq!(decide(&ours()), Action::Nothing);
        assert_eq!(decide(&but(ours(), |it| it.fields = lost())), drifted());
        assert_eq!(
            decide(&but(ours(), |it| {
                it.hash = other_form;
                it.fields = lost();
            })),
            drifted()
        );
        assert_eq!(decide(&but(ours(), |it| it.hash = other_form)), Action::Apply(Cause::Changed));
        let unsure = || but(ours(), |it| it.fields = FieldOwnership::Unsure);
        assert_eq!(decide(&but(unsure(), |it| it.hash = other_form)), Action::Apply(Cause::Changed));
        assert_eq!(decide(&but(unsure(), |it| it.hash = None)), Action::Apply(Cause::Adopted));
        assert_eq!(decide(&unsure()), Action::Read);
        assert_eq!(decide(&but(ours(), |it| it.in_doubt = true)), Action::Read);
        assert_eq!(
            decide(&but(ours(), |it| {
                it.in_doubt = true;
                it.terminating = true;
                it.fields = lost();
            })),
            Action::Wait
        );
    }

    #[test]
    fn an_object_of_no_sync_is_adopted_unless_it_is_as_the_sync_applied_it() {
        let declared = declared(json!({}));
        let nobodys = || but(as_declared(&declared), |it| it.owner = Owner::Nobody);
        let decide = |live: &Live| decide(Declared::Object(&declared), Some(live), &sync());
        let adopted = Action::Apply(Cause::Adopted);
        let other_form = Some(self::declared(json!({"a": "b"})).hash);
        assert_eq!(decide(&nobodys()), Action::Nothing);
        assert_eq!(decide(&but(nobodys(), |it| it.unlabelled = true)), adopted, "no watch shows it");
        let lost = FieldOwnership::Lost(Box::new([]));
        assert_eq!(decide(&but(nobodys(), |it| it.fields = lost.clone())), Action::Apply(Cause::Drifted(Box::new([]))));
        assert_eq!(
            decide(&but(nobodys(), |it| {
                it.applied = false;
                it.fields = lost.clone();
            })),
            adopted
        );
        assert_eq!(
            decide(&but(nobodys(), |it| {
                it.hash = None;
                it.fields = lost.clone();
            })),
            adopted
        );
        assert_eq!(
            decide(&but(nobodys(), |it| {
                it.hash = other_form;
                it.fields = lost;
            })),
            adopted
        );
    }

    #[test]
    fn an_object_of_another_sync_is_left_to_it() {
        let declared = declared(json!({}));
        let ignoring = self::declared(json!({annotation::MUTATION: "ignore"}));
        let of = |manager: &str| {
            but(as_declared(&declared), |it| {
                it.owner = other(manager);
                it.hash = None;
            })
        };
        let (root, other_root, tenant) = (sync(), SyncId::root("other"), SyncId::repo("b", "repo-sync"));
        let conflict = |manager: &str| Action::Conflict(manager.into());
        let decide = |declared, live: &Live, sync| decide(Declared::Object(declared), Some(live), sync);
        for declared in [&declared, &ignoring] {
            assert_eq!(decide(declared, &of(":root_other"), &root), conflict(":root_other"));
            assert_eq!(decide(declared, &of(":root"), &other_root), conflict(":root"));
            assert_eq!(decide(declared, &of(":root"), &tenant), conflict(":root"));
            assert_eq!(decide(declared, &of("b_other"), &tenant), conflict("b_other"));
            assert_eq!(decide(declared, &but(of(":root_other"), |it| it.terminating = true), &root), Action::Wait);
        }
        let adopted = Action::Apply(Cause::Adopted);
        assert_eq!(decide(&declared, &of("b_other"), &root), adopted, "a RootSync comes before RepoSyncs");
        let implicit = but(of(":root_other"), |it| it.implicit = true);
        assert_eq!(decide(&declared, &implicit, &root), adopted, "the other one only needed the Namespace");
        assert_eq!(decide(&declared, &implicit, &tenant), adopted);
    }

    #[test]
    fn a_namespace_that_is_only_needed_is_left_to_whom_it_belongs() {
        let mut declared = declared(json!({}));
        declared.implicit = true;
        let lost = || but(as_declared(&declared), |it| it.fields = FieldOwnership::Lost(Box::new([])));
        let decide = |live: Option<&Live>| decide(Declared::Object(&declared), live, &sync());
        assert_eq!(decide(None), Action::Apply(Cause::Missing));
        for owner in [other(":root_other"), other("b"), Owner::Nobody] {
            assert_eq!(
                decide(Some(&but(lost(), |it| {
                    it.owner = owner;
                    it.applied = false;
                    it.hash = None;
                }))),
                Action::Nothing
            );
        }
        assert_eq!(decide(Some(&lost())), Action::Apply(Cause::Drifted(Box::new([]))));
    }

    #[test]
    fn changes_of_an_object_that_ignores_mutation_stay() {
        let declared = declared(json!({annotation::MUTATION: "ignore"}));
        let lost = || but(as_declared(&declared), |it| it.fields = FieldOwnership::Lost(Box::new([])));
        let decide = |live: Option<&Live>| decide(Declared::Object(&declared), live, &sync());
        assert_eq!(decide(None), Action::Apply(Cause::Missing));
        assert_eq!(decide(Some(&lost())), Action::Nothing);
        assert_eq!(
            decide(Some(&but(lost(), |it| (it.applied, it.version) = (false, 7)))),
            Action::Annotate,
            "nothing would delete it later"
        );
        assert_eq!(decide(Some(&but(lost(), |it| it.hash = None))), Action::Annotate);
        assert_eq!(decide(Some(&but(lost(), |it| it.owner = Owner::Nobody))), Action::Annotate);
        assert_eq!(decide(Some(&but(lost(), |it| it.owner = other("b")))), Action::Annotate);
    }

    #[test]
    fn only_what_the_sync_has_applied_and_still_owns_is_deleted() {
        let ours = as_declared(&declared(json!({})));
        let decide = |declared, live: &Live| decide(declared, Some(live), &sync());
        let absent = |live: Live| decide(Declared::Absent, &live);
        assert_eq!(absent(ours.clone()), Action::Delete);
        assert_eq!(absent(but(ours.clone(), |it| it.terminating = true)), Action::Wait);
        assert_eq!(absent(but(ours.clone(), |it| it.applied = false)), Action::Nothing);
        assert_eq!(absent(but(ours.clone(), |it| it.on_removal = OnRemoval::Abandon)), Action::Abandon);
        assert_eq!(absent(but(ours.clone(), |it| it.on_removal = OnRemoval::Leave)), Action::Nothing);
        let unlabelled = but(ours.clone(), |it| (it.owner, it.unlabelled) = (Owner::Nobody, true));
        assert_eq!(absent(unlabelled), Action::Nothing, "its label does not say that it is the sync's");
        for owner in [other(":root_other"), other("b"), Owner::Nobody] {
            for on_removal in [OnRemoval::Delete, OnRemoval::Abandon, OnRemoval::Leave] {
                let live = but(ours.clone(), |it| {
                    it.owner = owner.clone();
                    it.on_removal = on_removal;
                });
                assert_eq!(absent(live.clone()), Action::Nothing);
                assert_eq!(decide(Declared::Disabled, &live), Action::Nothing);
            }
        }
        assert_eq!(decide(Declared::Disabled, &ours), Action::Abandon);
        assert_eq!(decide(Declared::Unknown, &ours), Action::Nothing);
        for declared in [Declared::Absent, Declared::Disabled, Declared::Unknown] {
            assert_eq!(super::decide(declared, None, &sync()), Action::Nothing);
        }
    }

    #[test]
    fn a_declared_set_says_what_becomes_of_each_object() {
        let object = std::sync::Arc::new(declared(json!({})));
        let id = &object.id;
        let mut set = DeclaredSet::default();
        assert!(matches!(Declared::of(&set, id), Declared::Absent));
        set.withheld.insert(id.clone(), std::sync::Arc::clone(&object));
        assert!(matches!(Declared::of(&set, id), Declared::Unknown));
        set.disabled.insert(id.clone());
        assert!(matches!(Declared::of(&set, id), Declared::Disabled));
        set.disabled.clear();
        set.undeclared = Undeclared::GivenUp;
        assert!(matches!(Declared::of(&set, id), Declared::Disabled));
        set.objects.insert(id.clone(), std::sync::Arc::clone(&object));
        assert!(matches!(Declared::of(&set, id), Declared::Object(_)));
    }

    #[test]
    fn an_object_of_unknown_scope_may_be_in_every_namespace() {
        let object = std::sync::Arc::new(declared(json!({})));
        let (unplaced, placed) = (object.id.in_namespace(""), object.id.in_namespace("shop"));
        let mut set = DeclaredSet::default();
        set.withheld.insert(unplaced.clone(), object);
        assert!(matches!(Declared::of(&set, &placed), Declared::Unknown));
        set.disabled.insert(unplaced);
        assert!(matches!(Declared::of(&set, &placed), Declared::Disabled));
        set.withheld.clear();
        assert!(matches!(Declared::of(&set, &placed), Declared::Absent), "a cluster-scoped one is another object");
    }
}
