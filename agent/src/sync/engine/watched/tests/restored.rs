//! Events that undo others, and objects of which nothing was heard for a while.

use super::*;

const WIDGET: &str = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: a, namespace: ns}\n";

fn going(object: &Object, version: u64) -> Object {
    edited(object, version, |object| {
        object.metadata_mut().insert("deletionTimestamp".into(), "2026-01-01T00:00:00Z".into());
    })
}

/// A sync of this one object, which is applied at version 10.
fn applied_alone(manifest: &str, now: Instant) -> (State, Arc<DeclaredSet>, Object) {
    let set = declared(manifest);
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let id = set.objects.keys().next().expect("one object");
    let object = live(&set, id, 10, json!({}));
    state.step(Event::Finished(id.clone(), applied(&object)), now);
    (state, set, object)
}

/// Versions are counted from that of the backup.
#[test]
fn only_a_list_shows_that_a_restore_has_undone_a_deletion() {
    let now = begin();
    for (in_a_list, is_still_going) in [(false, false), (true, true), (true, false)] {
        let (mut state, _, object) = synced(now);
        let id = object.id();
        state.step(seen(&going(&object, 11)), now);
        let is_going = |state: &State| state.objects.live(&id).is_some_and(|live| live.terminating);
        assert!(is_going(&state));
        let again = if is_still_going { going(&object, 11) } else { edited(&object, 11, |_| {}) };
        if in_a_list {
            state.step(Event::Listing(id.group_kind(), 2), now);
        }
        state.step(seen(&again), now);
        assert_eq!(is_going(&state), !in_a_list || is_still_going);
    }
}

/// Each list would have all objects read.
#[test]
fn an_object_that_a_list_shows_as_it_is_known_is_not_read() {
    let now = begin();
    let (mut state, _, object) = applied_alone(WIDGET, now);
    state.step(Event::Woken, now + Duration::from_secs(60));
    let later = now + Duration::from_secs(120);
    let kind = object.group_kind();
    for event in [Event::Listing(kind.clone(), 2), seen(&object), Event::Listed(kind, 2)] {
        state.step(event, later);
    }
    let commands = state.step(Event::Woken, later + Duration::from_secs(2));
    assert!(!reads(&commands, &object.id()), "{commands:?}");
}

/// For a watch, an object that lost its label is gone at the version at which a read has shown it.
#[test]
fn an_object_without_its_label_is_gone_only_at_a_newer_version() {
    let (set, now) = (declared(WIDGET), begin());
    let id = set.objects.keys().next().expect("one object").clone();
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let others = edited(&live(&set, &id, 7, json!({})), 7, |object| {
        let metadata = object.metadata_mut();
        metadata.remove("labels");
        metadata["annotations"][MANAGER] = ":root_x".into();
        metadata["managedFields"] = json!([]);
    });
    state.step(Event::Finished(id.clone(), Outcome::Read(Box::new(others))), now);
    for version in [6, 7] {
        assert!(!applies(&state.step(Event::Gone(id.clone(), version), now), "a"));
        assert!(state.objects.live(&id).is_some());
    }
    state.step(Event::Gone(id.clone(), 8), now);
    assert!(state.objects.live(&id).is_none());
}

/// It stays, because it goes with its owner. Nothing reads it meanwhile.
#[test]
fn the_readiness_of_an_object_that_is_declared_again_is_read() {
    let now = begin();
    let (mut state, set, object) = applied_alone(WIDGET, now);
    let owned = |version: u64| {
        edited(&object, version, |object| {
            _ = object.metadata_mut().insert("ownerReferences".into(), json!([{"uid": "x"}]))
        })
    };
    let compiled = |commit: &str, set: &Arc<DeclaredSet>| {
        let (commit, declared) = (commit.repeat(40), Some(Arc::clone(set)));
        Event::Compiled { commit, declared, findings: Vec::new() }
    };
    let health = |state: &State| {
        let resources = state.last_report().resources.expect("a commit is in force");
        resources.into_iter().find(|it| it.id.name() == "a").map(|it| it.health.word())
    };
    for read_is_unanswered in [false, true] {
        let mut at = now;
        state.step(seen(&owned(state.objects.live(&object.id()).map_or(11, |live| live.version + 1))), at);
        at += Duration::from_secs(2);
        let commands = state.step(Event::Woken, at);
        assert!(reads(&commands, &object.id()), "{commands:?}");
        let version = state.objects.live(&object.id()).map_or(0, |live| live.version);
        let answer = Event::Finished(object.id(), Outcome::Read(Box::new(owned(version))));
        if read_is_unanswered {
            state.step(compiled("b", &Arc::default()), at);
            state.step(answer, at);
        } else {
            state.step(answer, at);
            state.step(compiled("b", &Arc::default()), at);
            state.step(seen(&owned(version + 1)), at);
        }
        recorded(&mut state, at);
        state.step(compiled("c", &set), at);
        recorded(&mut state, at);
        assert_eq!(health(&state), Some("Unknown"), "{read_is_unanswered}");
        let version = state.objects.live(&object.id()).map_or(0, |live| live.version);
        state.step(Event::AuditEnded(object.group_kind(), true), at);
        state.step(Event::Audited(Box::new(owned(version))), at);
        assert_eq!(health(&state), Some("Current"), "{read_is_unanswered}");
    }
}

#[test]
fn an_object_that_an_apply_without_an_answer_has_made_is_settled_when_the_next_one_finds_it() {
    let (mut now, (_, set, object)) = (begin(), synced(begin()));
    let (mut state, _) = begin_sync(&set, Duration::from_secs(300), now);
    let failure = Failure { finding: Finding::new(Code::ApiServer, "no answer"), retry: Retry::Object, refused: false };
    let mut commands = state.step(Event::Finished(object.id(), Outcome::Failed(failure)), now);
    while !applies(&commands, "a") {
        now = state.next_wake().expect("it is tried again");
        commands = state.step(Event::Woken, now);
    }
    state.step(Event::Finished(object.id(), Outcome::Read(Box::new(object))), now);
    assert!(state.is_synced(), "{:?}", state.last_report());
}

#[test]
fn readiness_that_could_not_be_read_is_read_again_after_a_pause() {
    let now = begin();
    let (mut state, _, object) = applied_alone(WIDGET, now);
    state.step(seen(&edited(&object, 11, |_| {})), now);
    let later = now + Duration::from_secs(1);
    assert!(reads(&state.step(Event::Woken, later), &object.id()));
    let failure = Failure { finding: Finding::new(Code::ApiServer, "no"), retry: Retry::Object, refused: false };
    state.step(Event::Finished(object.id(), Outcome::Failed(failure)), later);
    assert!(state.next_wake().is_some_and(|wake| wake > later), "nothing is due at once");
}
