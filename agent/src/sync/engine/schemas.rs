//! Custom resources are applied again once the commit has changed their CustomResourceDefinition: they are declared as before, and the new
//! schema may refuse them, or fill other defaults.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::model::object::{GroupKind, ObjectId};
use crate::sync::live::Live;

use super::State;
use super::objects::Tracked;

/// The time that an API server takes to heed a changed schema.
const HEEDED: Duration = Duration::from_secs(2);

/// The kinds whose schema was changed, and when their objects are applied again.
#[derive(Default)]
pub(super) struct ChangedSchemas(BTreeMap<GroupKind, Instant>);

impl ChangedSchemas {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().min().copied()
    }
}

impl State {
    /// An object was applied: a CustomResourceDefinition may have another form than before.
    pub(super) fn schema_may_have_changed(&mut self, crd: &ObjectId, applied: &Live, now: Instant) {
        let is_other = |old: &Live| old.hash.is_some() && old.hash != applied.hash;
        if !crd.is_crd() || !self.objects.live(crd).is_some_and(is_other) {
            return;
        }
        let kind = self.declared_form(crd).and_then(|declared| declared.defined_kind());
        let Some(kind) = kind.filter(|kind| self.declared_of(kind).next().is_some()) else { return };
        self.schemas.0.insert(kind, now + HEEDED);
        self.report.status_changed();
    }

    /// Applies the objects of kinds whose changed schema is heeded by now.
    pub(super) fn apply_by_changed_schemas(&mut self, now: Instant) {
        let due = self.schemas.0.iter().filter(|(_, at)| **at <= now).map(|(kind, _)| kind.clone());
        for kind in due.collect::<Vec<_>>() {
            self.schemas.0.remove(&kind);
            let declared = self.declared_of(&kind).filter(|(_, declared)| !declared.ignores_mutation());
            let own = declared.filter(|(id, _)| self.objects.get(id).and_then(Tracked::own).is_some());
            for id in own.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                self.objects.change(&id, |tracked| tracked.live.iter_mut().for_each(|live| live.hash = None));
                self.evaluate(&id, now);
            }
            self.report.status_changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::compile::declared::DeclaredSet;
    use crate::sync::engine::tests::{applied, applies, begin_sync, declared, live, recorded};
    use crate::sync::engine::{Command, Event};

    /// A CustomResourceDefinition with this type of a field, and an object of its kind.
    fn set(field: &str) -> Arc<DeclaredSet> {
        declared(&format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: widgets.example.com}}\n\
             spec:\n  group: example.com\n  names: {{kind: Widget, plural: widgets}}\n  scope: Namespaced\n  versions: [{{name: v1, \
             served: true, storage: true, schema: {{openAPIV3Schema: {{type: object, x: {field}}}}}}}]\n---\n\
             apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: gear, namespace: default}}\nspec: {{x: 7}}\n"
        ))
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn objects_are_applied_again_after_their_crd_has_changed() {
        for (field, again) in [("integer", false), ("string", true)] {
            let (first, now) = (set("integer"), Instant::now());
            let (mut state, mut commands) = begin_sync(&first, Duration::from_secs(300), now);
            let answer = |state: &mut State, set: &DeclaredSet, commands: Vec<Command>, version: u64, now: Instant| {
                let mut more = Vec::new();
                for command in commands {
                    let Command::Apply(object, ..) = command else { continue };
                    let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
                    let status = if object.id.is_crd() { established } else { Value::Null };
                    let there = live(set, &object.id, version, status);
                    more.extend(state.step(Event::Finished(object.id.clone(), applied(&there)), now));
                }
                more
            };
            commands = answer(&mut state, &first, commands, 5, now);
            answer(&mut state, &first, commands, 6, now);
            let second = set(field);
            let compiled =
                Event::Compiled { commit: "b".repeat(40), declared: Some(Arc::clone(&second)), findings: Vec::new() };
            let mut commands = state.step(compiled, now);
            commands.extend(recorded(&mut state, now));
            assert_eq!((applies(&commands, "widgets.example.com"), applies(&commands, "gear")), (again, false));
            answer(&mut state, &second, commands, 7, now);
            assert_eq!(state.is_synced(), !again, "the new schema may refuse the object");
            let commands = state.step(Event::Woken, now + HEEDED);
            assert_eq!(applies(&commands, "gear"), again, "{field}: {commands:?}");
            answer(&mut state, &second, commands, 8, now + HEEDED);
            assert!(state.is_synced(), "{:?}", state.last_report());
        }
    }
}
