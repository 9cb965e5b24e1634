//! The objects that a commit declares otherwise than the one before it, for the page.

use std::sync::Arc;

use crate::compile::declared::{DeclaredObject, DeclaredSet};
use crate::model::object::ObjectId;

/// Objects that are named; the rest is counted.
const NAMED: usize = 20;

/// The difference between two declared sets.
#[derive(Clone, Debug, Default)]
pub struct DeclaredChanges {
    /// Number of objects that only the later one declares.
    pub added: usize,
    /// Number of objects that both declare, with different content.
    pub changed: usize,
    /// Number of objects that only the earlier one declares.
    pub removed: usize,
    /// The first of them, removed and changed ones before added ones.
    pub first: Vec<DeclaredChange>,
}

/// One object before and after a commit; one of the two is always there.
#[derive(Clone, Debug)]
pub struct DeclaredChange {
    /// The form of the earlier commit.
    pub before: Option<Arc<DeclaredObject>>,
    /// The form of the later commit.
    pub after: Option<Arc<DeclaredObject>>,
}

impl DeclaredChanges {
    /// The difference between two commits that follow each other. An object that is declared and withheld is no difference.
    pub fn between(before: &DeclaredSet, after: &DeclaredSet) -> Self {
        let goes = |id: &ObjectId| !after.objects.contains_key(id) && !after.withheld.contains_key(id);
        let removed = before.objects.iter().filter(|(id, _)| goes(id));
        let mut changes = Self::default();
        for (_, object) in removed {
            changes.removed += 1;
            changes.name(Some(object), None);
        }
        let mut added = Vec::new();
        for (id, object) in &after.objects {
            match before.objects.get(id) {
                None if before.withheld.contains_key(id) => {}
                None => added.push(object),
                Some(earlier) if earlier.hash != object.hash => {
                    changes.changed += 1;
                    changes.name(Some(earlier), Some(object));
                }
                Some(_) => {}
            }
        }
        changes.added = added.len();
        for object in added.into_iter().take(NAMED) {
            changes.name(None, Some(object));
        }
        changes
    }

    fn name(&mut self, before: Option<&Arc<DeclaredObject>>, after: Option<&Arc<DeclaredObject>>) {
        if self.first.len() < NAMED {
            self.first.push(DeclaredChange { before: before.cloned(), after: after.cloned() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(objects: &[(&str, u32)]) -> DeclaredSet {
        let object = |(name, value): &(&str, u32)| {
            let body: Value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": name}, "data": {"x": value.to_string()}});
            let declared = DeclaredObject::new(serde_json::from_value(body).expect("an object"));
            (declared.id.clone(), Arc::new(declared))
        };
        DeclaredSet { objects: objects.iter().map(object).collect(), ..DeclaredSet::default() }
    }

    #[test]
    fn an_object_that_is_withheld_does_not_go_and_come() {
        let (all, none) = (set(&[("sealed", 1)]), DeclaredSet::default());
        let closed = DeclaredSet { withheld: all.objects.clone(), ..DeclaredSet::default() };
        let counts = |before, after| {
            let changes = DeclaredChanges::between(before, after);
            [changes.added, changes.changed, changes.removed]
        };
        assert_eq!([counts(&all, &closed), counts(&closed, &all)], [[0; 3]; 2]);
        assert_eq!([counts(&all, &none), counts(&none, &all)], [[0, 0, 1], [1, 0, 0]]);
    }

    #[test]
    fn changed_objects_are_named_before_added_ones_and_the_rest_is_counted() {
        let many: Vec<String> = (0..40).map(|number| format!("m{number:02}")).collect();
        let mut after: Vec<(&str, u32)> = many.iter().map(|name| (name.as_str(), 1)).collect();
        after.extend([("same", 1), ("z-other", 2)]);
        let changes =
            DeclaredChanges::between(&set(&[("gone", 1), ("same", 1), ("z-other", 1)]), &set(after.as_slice()));
        assert_eq!((changes.added, changes.changed, changes.removed), (40, 1, 1));
        let names: Vec<(&str, bool, bool)> = changes
            .first
            .iter()
            .map(|change| {
                let id = &change.before.as_ref().or(change.after.as_ref()).expect("one of the two").id;
                (id.name(), change.before.is_some(), change.after.is_some())
            })
            .collect();
        assert_eq!(names.len(), NAMED);
        assert_eq!(names[..3], [("gone", true, false), ("z-other", true, true), ("m00", false, true)]);
    }
}
