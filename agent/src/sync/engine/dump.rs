//! The state of one sync for people: what `/debug/syncs` shows.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::State;
use super::objects::Phase;

/// The state of one sync at one moment. It has names and counts only, never values of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dump {
    /// The commit that the cluster is kept at; empty when no commit is in force yet.
    pub commit_in_force: String,
    /// The newest commit of the source; empty when none was read yet.
    pub newest_commit: String,
    /// The kinds that the record or a commit names, each with the state of its watch: `not watched`, `listing`, `listed`, `unserved` or `unlistable`.
    pub kinds: BTreeMap<String, &'static str>,
    /// Objects in each phase; phases without objects are left out.
    pub phases: BTreeMap<&'static str, usize>,
    /// The object that has been waiting for the longest time, if any object waits.
    pub oldest_waiting: Option<WaitingObject>,
}

/// An object that waits for another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingObject {
    /// The object that waits.
    pub object: String,
    /// The object, or else the time, that it waits for.
    pub waits_for: String,
    /// Whole seconds since it began to wait, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl State {
    /// Commits, kinds and phases as they are at `now`. It looks at every object, so it is for people who ask.
    pub fn dump(&self, now: Instant) -> Dump {
        let mut phases = BTreeMap::new();
        let mut oldest: Option<(Option<Instant>, WaitingObject)> = None;
        for (id, tracked) in self.objects.all() {
            *phases.entry(tracked.phase.name()).or_default() += 1;
            let (since, waits_for) = match &tracked.phase {
                Phase::Waiting(dependency) => {
                    let overdue_at = tracked.notes.as_deref().and_then(|notes| notes.overdue_at);
                    let since = overdue_at.and_then(|at| at.checked_sub(self.settings.reconcile_timeout));
                    (since, dependency.to_string())
                }
                Phase::Terminating(_) => (None, "the end of its deletion".to_owned()),
                Phase::BackingOff(until) => {
                    (None, format!("the next attempt in {} s", until.saturating_duration_since(now).as_secs()))
                }
                _ => continue,
            };
            // An object whose wait began at a known time comes before all others.
            let earlier = match (&oldest, since) {
                (None, _) | (Some((None, _)), Some(_)) => true,
                (Some((Some(before), _)), Some(since)) => since < *before,
                (Some(_), None) => false,
            };
            if earlier {
                let seconds = since.map(|since| now.saturating_duration_since(since).as_secs());
                oldest = Some((since, WaitingObject { object: id.to_string(), waits_for, seconds }));
            }
        }
        Dump {
            commit_in_force: self.in_force.source.commit.clone(),
            newest_commit: self.source.commit.clone(),
            kinds: self.kinds.all().map(|(name, kind)| (name.to_string(), kind.state_name())).collect(),
            phases,
            oldest_waiting: oldest.map(|(_, waiting)| waiting),
        }
    }
}

/// One fact a line.
impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |commit: &str| if commit.is_empty() { "none".to_owned() } else { commit.to_owned() };
        writeln!(f, "commit in force: {}", known(&self.commit_in_force))?;
        writeln!(f, "newest commit:   {}", known(&self.newest_commit))?;
        writeln!(f, "objects:")?;
        for (phase, count) in &self.phases {
            writeln!(f, "  {phase}: {count}")?;
        }
        writeln!(f, "kinds:")?;
        for (kind, state) in &self.kinds {
            writeln!(f, "  {kind}: {state}")?;
        }
        match &self.oldest_waiting {
            Some(WaitingObject { object, waits_for, seconds }) => {
                write!(f, "waits longest: {object} for {waits_for}")?;
                match seconds {
                    Some(seconds) => writeln!(f, ", since {seconds} s"),
                    None => writeln!(f),
                }
            }
            None => writeln!(f, "no object waits"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::model::metadata::SyncId;
    use crate::model::object::{GroupKind, ObjectId};
    use crate::sync::engine::{Event, Settings};

    const TIMEOUT: Duration = Duration::from_secs(300);

    /// An object in this phase. One that waits began to do so at this second.
    fn in_phase(state: &mut State, name: &str, phase: Phase, overdue_at: Option<Instant>) {
        let id = ObjectId::from_parts(["", "ConfigMap", "default", name]);
        state.objects.change(&id, |tracked| {
            tracked.phase = phase;
            if overdue_at.is_some() {
                tracked.notes_mut().overdue_at = overdue_at;
            }
        });
    }

    #[test]
    fn the_object_that_began_to_wait_first_is_named() {
        let (now, other) = (Instant::now(), ObjectId::from_parts(["", "ConfigMap", "default", "other"]));
        let second = |n| now + Duration::from_secs(n);
        let waits = || Phase::Waiting(other.clone());
        let (mut state, mut going) = (state(BTreeSet::new()), state(BTreeSet::new()));
        let oldest = |state: &State| {
            let it = state.dump(second(10)).oldest_waiting.expect("an object waits");
            (it.object, it.waits_for, it.seconds)
        };
        let of =
            |name: &str, waits_for: &str, seconds| (format!("configmap/default/{name}"), waits_for.to_owned(), seconds);
        in_phase(&mut state, "a", Phase::BackingOff(second(15)), None);
        assert_eq!(oldest(&state), of("a", "the next attempt in 5 s", None));
        in_phase(&mut going, "b", Phase::Terminating(second(60)), None);
        assert_eq!(oldest(&going), of("b", "the end of its deletion", None));
        in_phase(&mut state, "b", Phase::Terminating(second(60)), None);
        in_phase(&mut state, "c", waits(), Some(second(4) + TIMEOUT));
        assert_eq!(oldest(&state), of("c", "configmap/default/other", Some(6)));
        in_phase(&mut state, "d", waits(), Some(second(4) + TIMEOUT));
        in_phase(&mut state, "e", waits(), Some(second(5) + TIMEOUT));
        assert_eq!(oldest(&state), of("c", "configmap/default/other", Some(6)));
        in_phase(&mut state, "f", waits(), Some(second(2) + TIMEOUT));
        assert_eq!(oldest(&state), of("f", "configmap/default/other", Some(8)));
        let phases = state.dump(now).phases;
        assert_eq!(phases, [("backing off", 1), ("terminating", 1), ("waiting", 4)].into());
    }

    /// A sync of these kinds.
    fn state(kinds: BTreeSet<GroupKind>) -> State {
        State::new(Settings {
            sync: SyncId::root("root-sync"),
            in_flight: 1,
            reconcile_timeout: TIMEOUT,
            approval: None,
            how_to_approve: String::new(),
            kinds,
            recorded: BTreeSet::new(),
            memory: Default::default(),
            git: Default::default(),
            layout: Default::default(),
            last_in_force: None,
        })
    }

    #[test]
    fn a_kind_that_is_not_served_is_shown_as_such() {
        let kind = GroupKind::new("example.com", "Widget");
        let mut state = state(BTreeSet::from([kind.clone()]));
        let now = Instant::now();
        state.step(Event::Unserved(kind.clone()), now);
        let dump = state.dump(now);
        assert_eq!(dump.kinds.get(&kind.to_string()), Some(&"unserved"));
        assert!(dump.to_string().contains("Widget"), "{dump}");
        assert!(dump.to_string().contains("unserved"), "{dump}");
    }
}
