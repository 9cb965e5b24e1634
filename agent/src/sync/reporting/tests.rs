//! Reports, records, refusals and last reports on an API server that fails as each test says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::*;
use crate::api::{SyncCondition, Time};
use crate::model::finding::{Code, Finding};
use crate::model::metadata::annotation;
use crate::model::object::ObjectId;
use crate::sync::engine::{Report, ResourceState, Stage};
use crate::sync::health::Health;
use crate::sync::plan::memory::{GuardMemory, Proof};
use crate::sync::plan::recent::RecentPrunes;

/// A reporter and the API server that it writes to.
struct World {
    reporting: Reporting,
    now: Moment,
    /// The ResourceGroups of the API server.
    groups: BTreeMap<String, WrittenGroup>,
    /// The status of the RootSync on the API server.
    status: Option<SyncStatus>,
    /// Requests in the order in which they came.
    requests: Vec<&'static str>,
    /// Answers to the next requests of these names, instead of success.
    failures: Vec<(&'static str, ReportAnswer)>,
    /// Numbers of the records that are written.
    recorded: Vec<u64>,
    /// Reasons why a record cannot be written.
    unrecorded: Vec<String>,
    /// Number of times that the engine was told to tell everything again.
    lacking: usize,
    /// The sync was told to begin anew.
    restored: bool,
    ended: bool,
    /// The request that is out.
    out: Option<ReportRequest>,
}

impl World {
    fn new() -> Self {
        let sync = SyncId::root("root-sync");
        let about = About { generation: 1, reconciler: "nomos-agent".into(), refused: None, going: false };
        let inventory = InventoryRecord::new(&sync, BTreeMap::new());
        Self {
            reporting: Reporting::new(sync, about, Some(SyncStatus::default()), Some(inventory), true),
            now: Moment { instant: Instant::now(), time: Time::from_unix(1) },
            groups: BTreeMap::new(),
            status: None,
            requests: Vec::new(),
            failures: Vec::new(),
            recorded: Vec::new(),
            unrecorded: Vec::new(),
            lacking: 0,
            restored: false,
            ended: false,
            out: None,
        }
    }

    /// One step, without an answer to the request that may follow.
    fn hear(&mut self, message: ReportMessage) {
        self.step(ReportEvent::Told(message));
    }

    fn step(&mut self, event: ReportEvent) {
        for effect in self.reporting.step(event, &self.now) {
            match effect {
                ReportEffect::Send(request) => assert!(self.out.replace(request).is_none(), "two requests at a time"),
                ReportEffect::Recorded(number) => self.recorded.push(number),
                ReportEffect::Unrecorded(why) => self.unrecorded.push(why),
                ReportEffect::Lacking => self.lacking += 1,
                ReportEffect::Restored => self.restored = true,
                ReportEffect::End => self.ended = true,
            }
        }
    }

    /// Answers requests until none is out.
    fn answer_all(&mut self) {
        while let Some(request) = self.out.take() {
            let answer = self.answer(request);
            self.step(ReportEvent::Answered(answer));
        }
    }

    fn tell(&mut self, message: ReportMessage) {
        self.hear(message);
        self.answer_all();
    }

    /// Lets time pass until the reporter wants to be woken, and returns how long that takes.
    fn wake(&mut self) -> Duration {
        let at = self.reporting.next_wake().expect("another attempt");
        let pause = at - self.now.instant;
        self.now.instant = at;
        self.step(ReportEvent::Woken);
        self.answer_all();
        pause
    }

    fn answer(&mut self, request: ReportRequest) -> ReportAnswer {
        let name = match &request {
            ReportRequest::GroupSpec(_) => "spec",
            ReportRequest::GroupStatus(_) => "group status",
            ReportRequest::SyncStatus(_) => "status",
            ReportRequest::ReadGroup(_) => "read",
        };
        self.requests.push(name);
        if let Some(at) = self.failures.iter().position(|(failing, _)| *failing == name) {
            return self.failures.remove(at).1;
        }
        match request {
            ReportRequest::GroupSpec(document) => {
                let group = self.groups.entry(document.name).or_default();
                if is_outdated(&document.body, group) {
                    return ReportAnswer::Outdated("409".into());
                }
                group.resources = serde_json::from_value(document.body["spec"]["resources"].clone()).unwrap();
                (group.generation, group.version) = (group.generation + 1, group.version + 1);
                let annotations = &document.body["metadata"]["annotations"];
                let note = |key| Some((key, annotations[key].as_str()?.to_owned()));
                group.status_mode = annotations[annotation::STATUS].as_str().unwrap_or_default().to_owned();
                group.notes = GuardMemory::KEYS.into_iter().filter_map(note).collect();
                ReportAnswer::Group(Box::new(group.clone()))
            }
            ReportRequest::GroupStatus(document) => {
                let group = self.groups.get_mut(&document.name).unwrap();
                if is_outdated(&document.body, group) {
                    return ReportAnswer::Outdated("409".into());
                }
                group.status = serde_json::from_value(document.body["status"].clone()).unwrap();
                group.version += 1;
                ReportAnswer::Group(Box::new(group.clone()))
            }
            ReportRequest::SyncStatus(status) => {
                self.status = Some(*status);
                ReportAnswer::Done
            }
            ReportRequest::ReadGroup(name) => {
                self.groups.get(&name).map_or(ReportAnswer::Gone, |group| ReportAnswer::Group(Box::new(group.clone())))
            }
        }
    }

    fn take_requests(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.requests)
    }

    fn synced_commit(&self) -> &str {
        self.status.as_ref().map_or("", |status| &status.last_synced_commit)
    }

    fn recorded_names(&self) -> Vec<&str> {
        self.groups["root-sync"].resources.iter().map(|id| id.name.as_str()).collect()
    }
}

/// `true` if the request names another version than that of the group.
fn is_outdated(body: &Value, group: &WrittenGroup) -> bool {
    body["metadata"]["resourceVersion"].as_str().is_some_and(|version| version != group.version.to_string())
}

fn id(name: &str) -> ObjectId {
    ObjectId::from_parts(["", "ConfigMap", "shop", name])
}

fn report(commit: &str, resources: Option<&[&str]>) -> Box<Report> {
    let stage = Stage { commit: commit.into(), ..Stage::default() };
    let state = |name: &&str| ResourceState {
        id: id(name),
        health: Health::Current,
        token: "abc".into(),
        failed: false,
        pruning: false,
        late: false,
        skipped: false,
        waits_for: None,
        stale: false,
        other: None,
        rewritten: Box::default(),
    };
    let resources = resources.map(|names| names.iter().map(state).collect());
    Box::new(Report { source: stage.clone(), sync: stage, syncing: false, synced: true, resources })
}

fn record(number: u64, names: &[&str]) -> ReportMessage {
    let objects = names.iter().map(|name| id(name)).collect();
    ReportMessage::Record(Box::new(NewRecord { number, objects, memory: GuardMemory::default() }))
}

fn unavailable() -> ReportAnswer {
    ReportAnswer::Unavailable("503".into())
}

fn refused_answer() -> ReportAnswer {
    ReportAnswer::Refused("413".into())
}

fn refusal() -> ReportMessage {
    ReportMessage::Refused(Box::new(Finding::new(Code::InvalidSync, "no such auth")), 2)
}

#[test]
fn a_report_is_written_as_groups_and_status_and_an_unchanged_one_is_not() {
    let mut world = World::new();
    world.tell(ReportMessage::Report(report("a", Some(&["one"]))));
    assert_eq!(world.take_requests(), ["spec", "group status", "status"]);
    assert_eq!(world.synced_commit(), "a");
    world.tell(ReportMessage::Report(report("a", Some(&["one"]))));
    assert_eq!(world.take_requests(), [""; 0]);
    assert_eq!(world.reporting.next_wake(), None);
}

#[test]
fn a_newer_report_replaces_an_older_one_but_for_the_resources_that_only_the_older_has() {
    let mut world = World::new();
    world.hear(ReportMessage::Report(report("a", None)));
    world.hear(ReportMessage::Report(report("b", Some(&["one"]))));
    world.hear(ReportMessage::Report(report("c", None)));
    world.answer_all();
    assert_eq!(world.take_requests(), ["status", "spec", "group status", "status"]);
    assert_eq!((world.synced_commit(), world.recorded_names()), ("c", vec!["one"]));
}

#[test]
fn a_record_is_tried_until_it_is_written_and_answered_then() {
    let mut world = World::new();
    world.failures = vec![("spec", unavailable()), ("spec", unavailable())];
    world.tell(record(1, &["one"]));
    assert!(world.recorded.is_empty());
    // Its retries keep nothing else from being written.
    world.tell(ReportMessage::Report(report("a", None)));
    assert_eq!((world.synced_commit(), world.recorded.len()), ("a", 0));
    assert_eq!(world.wake(), Duration::from_secs(1));
    assert!(world.recorded.is_empty());
    assert_eq!(world.wake(), Duration::from_secs(2));
    assert_eq!((&*world.recorded, world.recorded_names()), (&[1][..], vec!["one"]));
    assert_eq!(world.unrecorded, ["503", "503"]);
    assert_eq!(world.reporting.next_wake(), None);
}

#[test]
fn a_record_that_is_refused_is_told_and_tried_again() {
    let mut world = World::new();
    world.failures = vec![("spec", refused_answer())];
    world.tell(record(1, &["one"]));
    assert_eq!((&*world.unrecorded, world.recorded.len()), (&["413".to_owned()][..], 0));
    world.wake();
    assert_eq!((&*world.recorded, world.reporting.next_wake()), (&[1][..], None));
}

#[test]
fn the_facts_of_the_guard_are_in_the_record_and_are_read_again() {
    let mut world = World::new();
    let mut recent = RecentPrunes::default();
    recent.add(12, 100, world.now.instant);
    let memory = GuardMemory { recent, proof: Proof::Approval, ..GuardMemory::default() };
    let record = NewRecord { number: 1, objects: [id("one")].into(), memory: memory.clone() };
    world.tell(ReportMessage::Record(Box::new(record)));
    assert_eq!(world.groups["root-sync"].notes[annotation::RECENT_PRUNES], "1970-01-01T00:00:01Z=12/100");
    let read = InventoryRecord::new(&SyncId::root("root-sync"), world.groups.clone());
    assert_eq!(read.memory(&world.now), memory);
    // The report that follows leaves them there.
    world.take_requests();
    world.tell(ReportMessage::Report(report("a", Some(&["one"]))));
    assert_eq!(world.take_requests(), ["group status", "status"]);
}

#[test]
fn a_record_that_comes_while_one_is_written_is_written_in_full() {
    let mut world = World::new();
    world.hear(record(1, &["one"]));
    world.hear(record(2, &["one", "two"]));
    world.answer_all();
    assert_eq!((&*world.recorded, world.recorded_names()), (&[2][..], vec!["one", "two"]));
}

#[test]
fn an_older_report_takes_nothing_out_of_a_newer_record() {
    let mut world = World::new();
    world.failures = vec![("status", unavailable())];
    world.tell(ReportMessage::Report(report("a", Some(&["one"]))));
    world.tell(record(2, &["one", "two"]));
    world.wake();
    assert_eq!((world.synced_commit(), world.recorded_names()), ("a", vec!["one", "two"]));
    world.tell(ReportMessage::Report(report("a", Some(&["two"]))));
    assert_eq!(world.recorded_names(), ["two"]);
}

#[test]
fn the_status_is_written_while_groups_cannot_be_and_these_are_tried_again() {
    let mut world = World::new();
    world.failures = vec![("spec", unavailable())];
    world.tell(ReportMessage::Report(report("a", Some(&["one"]))));
    assert_eq!(world.take_requests(), ["spec", "status"]);
    assert_eq!(world.wake(), Duration::from_secs(1));
    assert_eq!(world.take_requests(), ["spec", "group status"]);
    assert_eq!(world.reporting.next_wake(), None);
}

#[test]
fn pauses_double_and_begin_anew_after_a_success() {
    let mut world = World::new();
    world.failures = std::iter::repeat_with(|| ("status", unavailable())).take(7).collect();
    world.tell(ReportMessage::Report(report("a", None)));
    let pauses: Vec<u64> = (0..7).map(|_| world.wake().as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(world.synced_commit(), "a");
    world.failures = vec![("status", unavailable())];
    world.tell(ReportMessage::Report(report("b", None)));
    assert_eq!(world.wake(), Duration::from_secs(1));
}

#[test]
fn a_refused_status_is_tried_again_and_that_of_a_deleted_sync_object_is_not() {
    let mut world = World::new();
    world.failures = vec![("status", refused_answer()), ("status", ReportAnswer::Gone)];
    world.tell(ReportMessage::Report(report("a", None)));
    world.wake();
    assert_eq!((world.take_requests(), world.reporting.next_wake()), (vec!["status", "status"], None));
}

#[test]
fn a_refused_group_is_tried_again_and_keeps_the_status_of_the_sync_from_nothing() {
    let mut world = World::new();
    world.failures = vec![("spec", refused_answer())];
    world.tell(ReportMessage::Report(report("a", Some(&["one"]))));
    assert_eq!(world.take_requests(), ["spec", "status"]);
    world.wake();
    assert_eq!(world.take_requests(), ["spec", "group status"]);
}

#[test]
fn a_refused_spec_is_told_and_written_even_without_a_report() {
    let mut world = World::new();
    world.failures = vec![("status", unavailable())];
    world.tell(refusal());
    world.wake();
    assert_eq!(world.take_requests(), ["status", "status"]);
    let status = world.status.as_ref().unwrap();
    assert!(status.condition("Stalled").unwrap().is_true());
    assert_eq!(status.observed_generation, 2);
    assert_eq!(world.reporting.next_wake(), None);
}

#[test]
fn a_spec_that_is_refused_while_a_status_is_being_written_is_in_the_next_one() {
    let mut world = World::new();
    world.hear(ReportMessage::Report(report("a", None)));
    world.hear(refusal());
    world.answer_all();
    assert_eq!(world.take_requests(), ["status", "status"]);
    assert!(world.status.as_ref().unwrap().condition("Stalled").unwrap().is_true());
    assert_eq!(world.synced_commit(), "a");
}

#[test]
fn the_last_report_begins_with_its_status_whatever_waits() {
    let mut world = World::new();
    world.failures = vec![("spec", unavailable())];
    world.tell(record(1, &["one"]));
    world.hear(ReportMessage::Report(report("a", None)));
    world.take_requests();
    world.tell(ReportMessage::Last(report("b", Some(&["one"]))));
    assert_eq!(world.take_requests(), ["status", "status", "spec", "group status"]);
    assert_eq!((world.synced_commit(), world.recorded_names(), world.ended), ("b", vec!["one"], true));
    assert!(world.recorded.is_empty());
}

#[test]
fn the_last_report_tries_its_status_twice_and_ends_in_any_case() {
    let mut world = World::new();
    world.failures = vec![("status", unavailable()), ("status", unavailable())];
    world.tell(ReportMessage::Last(report("a", Some(&["one"]))));
    assert_eq!(world.take_requests(), ["status", "spec", "group status", "status"]);
    assert!(world.ended);
    world.tell(ReportMessage::Report(report("b", None)));
    assert_eq!(world.take_requests(), [""; 0]);
}

#[test]
fn the_answer_for_a_group_of_an_older_report_does_not_move_the_last_one_on() {
    let mut world = World::new();
    world.hear(ReportMessage::Report(report("a", Some(&["one"]))));
    world.hear(ReportMessage::Last(report("b", Some(&["two"]))));
    world.answer_all();
    assert_eq!(world.take_requests(), ["spec", "status", "spec", "group status"]);
    assert_eq!((world.synced_commit(), world.recorded_names(), world.ended), ("b", vec!["two"], true));
}

#[test]
fn without_a_sync_object_and_groups_everything_is_answered_and_nothing_written() {
    let mut world = World::new();
    let about = world.reporting.about.clone();
    world.reporting = Reporting::new(SyncId::root("root-sync"), about, None, None, true);
    world.tell(record(1, &["one"]));
    world.tell(ReportMessage::Report(report("a", Some(&["one"]))));
    world.tell(ReportMessage::Last(report("a", Some(&["one"]))));
    assert_eq!((world.requests.len(), &*world.recorded, world.ended), (0, &[1][..], true));
}

fn statuses(world: &World) -> usize {
    world.groups["root-sync"].status.resource_statuses.len()
}

#[test]
fn groups_lose_their_statuses_when_the_spec_wants_none_and_get_them_again() {
    let mut world = World::new();
    let shown = || ReportMessage::Report(report("a", Some(&["x"])));
    world.tell(record(1, &["x"]));
    world.tell(shown());
    assert_eq!((world.groups["root-sync"].status_mode.as_str(), statuses(&world)), ("enabled", 1));
    world.tell(ReportMessage::Spec(SpecFacts { generation: 2, resource_status: false }));
    world.tell(shown());
    assert_eq!((world.groups["root-sync"].status_mode.as_str(), statuses(&world)), ("disabled", 0));
    assert!(world.groups["root-sync"].status.conditions.is_empty());
    world.take_requests();
    world.tell(ReportMessage::Report(report("b", Some(&["x"]))));
    assert_eq!(world.take_requests(), ["status"]);
    world.tell(ReportMessage::Spec(SpecFacts { generation: 3, resource_status: true }));
    world.tell(shown());
    assert_eq!((world.groups["root-sync"].status_mode.as_str(), statuses(&world)), ("enabled", 1));
}

#[test]
fn what_another_client_takes_away_is_written_again() {
    let mut world = World::new();
    let shown = || ReportMessage::Report(report("a", Some(&["x"])));
    world.tell(record(1, &["x"]));
    world.tell(shown());
    world.take_requests();
    let seen = |world: &World| {
        let version = world.groups.get("root-sync").map(|group| group.version);
        ReportMessage::Group { name: "root-sync".into(), version, listed: false }
    };
    let own = seen(&world);
    world.tell(own);
    assert!(world.take_requests().is_empty(), "it is our own write");

    let group = world.groups.get_mut("root-sync").unwrap();
    (group.status, group.version) = (Default::default(), group.version + 1);
    let wiped = seen(&world);
    world.tell(wiped);
    assert_eq!((world.take_requests(), world.lacking), (vec!["read"], 1));
    world.tell(shown());
    assert_eq!(statuses(&world), 1);

    // Another program writes other statuses: these stay.
    let group = world.groups.get_mut("root-sync").unwrap();
    group.status.resource_statuses[0].status = "Unknown".into();
    group.version += 1;
    let other = seen(&world);
    world.tell(other);
    world.wake();
    assert_eq!(world.lacking, 1);

    world.groups.remove("root-sync");
    let gone = seen(&world);
    world.tell(gone);
    assert_eq!(world.lacking, 2);
    world.tell(record(2, &["x"]));
    world.tell(shown());
    assert_eq!((world.recorded_names(), statuses(&world)), (vec!["x"], 1));
}

#[test]
fn the_record_of_a_restored_backup_is_not_written_over() {
    for told in [true, false] {
        let mut world = World::new();
        world.tell(record(1, &["x", "y"]));
        let backup = world.groups.clone();
        world.tell(record(2, &["x"]));
        world.groups = backup;
        world.take_requests();
        if told {
            let version = world.groups["root-sync"].version;
            world.tell(ReportMessage::Group { name: "root-sync".into(), version: Some(version), listed: true });
            assert_eq!(world.take_requests(), ["read"]);
        } else {
            world.tell(record(3, &["x", "z"]));
            assert_eq!(world.take_requests(), ["spec", "read"]);
        }
        assert!(world.restored && world.lacking == 0);
        world.tell(record(4, &["x"]));
        world.tell(ReportMessage::Report(report("b", Some(&["x"]))));
        assert_eq!((world.take_requests(), world.recorded_names()), (vec![], vec!["x", "y"]));
    }
}

#[test]
fn a_group_that_another_client_has_written_is_read_before_it_is_written() {
    let mut world = World::new();
    world.tell(record(1, &["x"]));
    world.tell(ReportMessage::Report(report("a", Some(&["x"]))));
    world.take_requests();
    world.groups.get_mut("root-sync").unwrap().version += 1;
    world.tell(record(2, &["x", "y"]));
    assert_eq!((world.take_requests(), &*world.recorded), (vec!["spec", "read"], &[1][..]));
    world.wake();
    assert_eq!(
        (world.take_requests(), &*world.recorded, world.recorded_names()),
        (vec!["spec"], &[1, 2][..], vec!["x", "y"])
    );
    assert!(world.unrecorded.is_empty() && world.lacking == 0 && !world.restored);

    // A list that began before our last write is no restored backup.
    world.tell(ReportMessage::Group { name: "root-sync".into(), version: Some(1), listed: true });
    assert_eq!((world.take_requests(), world.restored), (vec!["read"], false));

    world.groups.get_mut("root-sync").unwrap().version += 1;
    world.failures = vec![("read", unavailable())];
    world.tell(record(3, &["x"]));
    assert_eq!((world.take_requests(), world.unrecorded.len()), (vec!["spec", "read"], 1));
    while world.recorded.last() != Some(&3) {
        world.wake();
    }
    assert_eq!(world.recorded_names(), ["x"]);
}

#[test]
fn a_conflict_that_comes_again_is_told() {
    let mut world = World::new();
    world.tell(record(1, &["x"]));
    world.failures = (0..3).map(|_| ("spec", ReportAnswer::Outdated("denied".into()))).collect();
    world.tell(record(2, &["x", "y"]));
    assert!(world.unrecorded.is_empty());
    world.wake();
    assert_eq!(world.unrecorded, ["denied"]);
    while world.recorded.last() != Some(&2) {
        world.wake();
    }
}

/// The pause before the next look may end while the last status is on its way.
#[test]
fn a_sync_that_stops_ends_though_the_last_write_of_a_group_had_no_answer() {
    let mut world = World::new();
    world.tell(record(1, &["x"]));
    world.failures = vec![("spec", unavailable())];
    world.tell(record(2, &["x", "y"]));
    world.hear(ReportMessage::Last(report("a", Some(&["x"]))));
    world.now.instant += Duration::from_secs(5);
    world.answer_all();
    assert!(world.ended);
}

#[test]
fn a_report_of_the_spec_before_does_not_say_that_a_newer_one_is_synced() {
    let mut world = World::new();
    world.failures = vec![("status", unavailable())];
    world.tell(ReportMessage::Report(report("a", None)));
    world.tell(ReportMessage::Spec(SpecFacts { generation: 2, resource_status: true }));
    world.wake();
    let status = world.status.as_ref().expect("it is written");
    let is_syncing = status.condition("Syncing").is_some_and(SyncCondition::is_true);
    assert!(status.observed_generation == 2 && is_syncing, "{status:?}");
}

/// The write that was given up may be carried out after all.
#[test]
fn what_was_written_without_an_answer_is_written_again_though_it_is_as_it_was_before() {
    let mut world = World::new();
    let told = |commit| ReportMessage::Report(report(commit, Some(&["one"])));
    world.tell(told("a"));
    let before = world.status.clone();
    world.failures = vec![("group status", unavailable()), ("status", unavailable())];
    let mut failed = report("b", Some(&["one"]));
    failed.resources.iter_mut().flatten().for_each(|one| one.health = Health::Unknown);
    world.tell(ReportMessage::Report(failed));
    world.take_requests();
    world.tell(told("a"));
    world.wake();
    assert_eq!(world.take_requests(), ["read", "group status", "status"]);
    world.tell(told("a"));
    assert_eq!((world.take_requests(), world.status), (vec![], before));

    let mut world = World::new();
    world.tell(record(1, &["one"]));
    world.failures = vec![("spec", unavailable())];
    world.tell(record(2, &["one", "two"]));
    world.take_requests();
    world.tell(record(3, &["one"]));
    assert_eq!((world.take_requests(), &*world.recorded), (vec!["read", "spec"], &[1, 3][..]));
}
