//! Decides what is written about a sync, and when: its status, its ResourceGroups, Events, and another attempt after a failure.
//!
//! [`Reporting::step`] takes one event and returns what follows from it. At most one request is out at any time: the next one
//! follows its answer. The requests themselves are in `io/reports`, so everything here is tested without a network.

mod jobs;
mod messages;

use std::collections::BTreeMap;
use std::time::Instant;

use crate::api::SyncStatus;
use crate::model::metadata::SyncId;
use crate::sync::engine::NewRecord;
use crate::sync::inventory::{InventoryRecord, Reread, WrittenGroup};
use crate::sync::moment::Moment;
use crate::sync::status::{About, refused, status};

pub use messages::{ReportAnswer, ReportEffect, ReportEvent, ReportMessage, ReportRequest, SpecFacts};

use jobs::{RecordJob, Retries, UnwrittenReport, Verdict, WritingJob, WritingStage};

/// Everything that is written about one sync, and what is left to write.
pub struct Reporting {
    sync: SyncId,
    about: About,
    /// The status as last read or written; `None` without a sync object.
    status: Option<SyncStatus>,
    /// A later write of the status failed, and may still be carried out.
    in_doubt: bool,
    /// `None` where the API server does not serve ResourceGroups.
    inventory: Option<InventoryRecord>,
    resource_status: bool,
    record: Option<RecordJob>,
    /// The report that is being written.
    writing: Option<WritingJob>,
    /// The newest report that is not being written yet.
    pending: Option<UnwrittenReport>,
    /// A refusal has to be written, by the next report or without one.
    refusal: bool,
    retry: Retries,
    /// Groups that another client has changed, by index.
    touched: BTreeMap<usize, Option<u64>>,
    /// Looks at those: a client that changes them again and again is followed after pauses that grow.
    looks: Retries,
    activity: Activity,
}

/// The state of the one request that may be out.
enum Activity {
    /// No request is out.
    Idle,
    /// The answer to this request is awaited.
    Awaiting(Target),
    /// The sync has stopped and its last report was dealt with.
    Ended,
}

/// The document that the request is about.
enum Target {
    /// The spec of the group at this index, for the record.
    RecordedSpec(usize),
    /// The spec of the group at this index, for a report.
    ReportedSpec(usize),
    /// The status of the group at this index.
    GroupStatus(usize),
    /// The status of the sync object.
    SyncStatus(Box<SyncStatus>),
    /// The group at this index, for a job that was given up meanwhile.
    Superseded(usize),
    /// The group at this index, which another client has changed.
    ReadGroup(usize),
}

impl Target {
    /// The index of the group that it is about.
    fn group(&self) -> Option<usize> {
        match self {
            Self::RecordedSpec(index)
            | Self::ReportedSpec(index)
            | Self::GroupStatus(index)
            | Self::Superseded(index)
            | Self::ReadGroup(index) => Some(*index),
            Self::SyncStatus(_) => None,
        }
    }
}

enum Job {
    Look,
    Record,
    Report,
}

impl Reporting {
    /// Goes on where `inventory` and the `status` of the sync object end. Without a sync object, `status` is `None`.
    pub fn new(
        sync: SyncId,
        about: About,
        status: Option<SyncStatus>,
        inventory: Option<InventoryRecord>,
        resource_status: bool,
    ) -> Self {
        Self {
            sync,
            about,
            status,
            in_doubt: false,
            inventory,
            resource_status,
            record: None,
            writing: None,
            pending: None,
            refusal: false,
            retry: Retries::default(),
            touched: BTreeMap::new(),
            looks: Retries::default(),
            activity: Activity::Idle,
        }
    }

    /// Takes one event and returns what follows from it.
    pub fn step(&mut self, event: ReportEvent, now: &Moment) -> Vec<ReportEffect> {
        let mut effects = Vec::new();
        match event {
            ReportEvent::Told(message) => self.hear(message, now),
            ReportEvent::Answered(answer) => self.answered(answer, now.instant, &mut effects),
            ReportEvent::Woken => {}
        }
        while matches!(self.activity, Activity::Idle)
            && let Some(job) = self.next_job(now.instant)
        {
            let request = match job {
                Job::Look => self.next_look(),
                Job::Record => self.next_of_record(&mut effects),
                Job::Report => self.next_of_report(now, &mut effects),
            };
            if let Some((target, request)) = request {
                self.activity = Activity::Awaiting(target);
                effects.push(ReportEffect::Send(request));
            }
        }
        effects
    }

    /// The time to step with [`ReportEvent::Woken`], if nothing else happens before.
    pub fn next_wake(&self) -> Option<Instant> {
        // A record that waits for a look is written after it.
        let record = self.record.as_ref().filter(|_| !self.is_unread()).and_then(|record| record.retry.not_before);
        let report = self.retry.not_before.filter(|_| self.pending.is_some() || self.refusal);
        let look = self.looks.not_before.filter(|_| !self.touched.is_empty());
        record.into_iter().chain(report).chain(look).min()
    }

    fn hear(&mut self, message: ReportMessage, now: &Moment) {
        match message {
            ReportMessage::Report(report) => {
                let older = self.pending.take();
                self.pending = Some(UnwrittenReport { report, assigns: true }.after(older));
            }
            ReportMessage::Record(record) => self.record(&record, now),
            ReportMessage::Refused(finding, generation) => {
                self.about.generation = generation;
                self.about.refused = Some(*finding);
                self.refusal = true;
            }
            ReportMessage::Spec(SpecFacts { generation, resource_status }) => {
                if generation != self.about.generation {
                    // They tell of the spec before, and are written as if of this one.
                    let writing = self.writing.as_mut().and_then(|writing| writing.report.as_mut());
                    for unwritten in self.pending.iter_mut().chain(writing) {
                        (unwritten.report.syncing, unwritten.report.synced) = (true, false);
                    }
                }
                (self.about.generation, self.about.refused) = (generation, None);
                self.resource_status = resource_status;
            }
            ReportMessage::Group { name, version, listed } => {
                let inventory = self.inventory.as_ref();
                let index = inventory.and_then(|inventory| inventory.touched(&self.sync, &name, version, listed));
                if let Some(index) = index {
                    // A list can be older than our last write.
                    self.touched.insert(index, version.filter(|_| !listed));
                }
            }
            ReportMessage::Last(report) => {
                (self.record, self.pending, self.refusal) = (None, None, false);
                self.touched.clear();
                self.supersede(|target| !matches!(target, Target::SyncStatus(_)));
                let report = Some(UnwrittenReport { report, assigns: true });
                self.write(report, WritingStage::StatusFirst);
            }
        }
    }

    fn record(&mut self, record: &NewRecord, now: &Moment) {
        if let Some(inventory) = &mut self.inventory {
            inventory.assign(&record.objects);
            inventory.remember(&record.memory, now);
        }
        self.supersede(|target| matches!(target, Target::RecordedSpec(_)));
        // A new record does not wait for the pause of an older one.
        if self.is_unread() {
            self.looks.not_before = None;
        }
        self.record = Some(RecordJob { at: 0, number: record.number, retry: Retries::default() });
        // Older reports lack the new objects: they must not take them out of the record again.
        let writing = self.writing.as_mut().and_then(|writing| writing.report.as_mut());
        for older in writing.into_iter().chain(&mut self.pending) {
            older.assigns = false;
        }
    }

    /// The answer to a request about a group is still taken in, but no job goes on with it.
    fn supersede(&mut self, is_given_up: impl Fn(&Target) -> bool) {
        if let Activity::Awaiting(target) = &mut self.activity
            && let Target::RecordedSpec(index) | Target::ReportedSpec(index) | Target::GroupStatus(index) = *target
            && is_given_up(target)
        {
            *target = Target::Superseded(index);
        }
    }

    fn write(&mut self, report: Option<UnwrittenReport>, stage: WritingStage) {
        let resources =
            report.as_ref().and_then(|pending| pending.report.resources.as_ref().filter(|_| pending.assigns));
        if let (Some(inventory), Some(resources)) = (&mut self.inventory, resources) {
            inventory.assign(&resources.iter().map(|resource| resource.id.clone()).collect());
        }
        let last = stage == WritingStage::StatusFirst;
        self.writing = Some(WritingJob { report, stage, again: false, spec_refused: false, last });
    }

    /// The record goes before everything, because nothing is applied before it is written; only a sync that stops writes its
    /// status first.
    fn next_job(&mut self, now: Instant) -> Option<Job> {
        if self.writing.as_ref().is_some_and(|writing| writing.stage == WritingStage::StatusFirst) {
            return Some(Job::Report);
        }
        let unread = self.is_unread();
        if unread && !self.touched.is_empty() && self.looks.is_due(now) {
            return Some(Job::Look);
        }
        if !unread && self.record.as_ref().is_some_and(|record| record.retry.is_due(now)) {
            return Some(Job::Record);
        }
        if self.writing.is_none() && (self.pending.is_some() || self.refusal) && self.retry.is_due(now) {
            let pending = self.pending.take();
            self.write(pending, WritingStage::Specs(0));
        }
        if self.writing.is_none() && !self.touched.is_empty() && self.looks.is_due(now) {
            return Some(Job::Look);
        }
        self.writing.is_some().then_some(Job::Report)
    }

    fn is_unread(&self) -> bool {
        self.inventory.as_ref().is_some_and(InventoryRecord::is_unread)
    }

    /// `true` while another client may have changed the record. The simulation asks: until then a sync knows nothing of a restore.
    pub fn is_doubtful(&self) -> bool {
        !self.touched.is_empty() || matches!(self.activity, Activity::Awaiting(Target::ReadGroup(_)))
    }

    /// The first group that another client has changed; its version may be one of our own writes by now.
    fn next_look(&mut self) -> Option<(Target, ReportRequest)> {
        let inventory = self.inventory.as_ref()?;
        while let Some((index, version)) = self.touched.pop_first() {
            if version.is_none_or(|version| version > inventory.version(index)) {
                let name = InventoryRecord::name(&self.sync, index);
                return Some((Target::ReadGroup(index), ReportRequest::ReadGroup(name)));
            }
        }
        None
    }

    fn next_of_record(&mut self, effects: &mut Vec<ReportEffect>) -> Option<(Target, ReportRequest)> {
        let record = self.record.as_ref()?;
        let next = self.inventory.as_ref().and_then(|i| i.next_spec(record.at, &self.sync, self.resource_status));
        if let Some((index, document)) = next {
            return Some((Target::RecordedSpec(index), ReportRequest::GroupSpec(document)));
        }
        effects.push(ReportEffect::Recorded(record.number));
        self.record = None;
        None
    }

    /// The next document of the report that is being written; `None` when the report came to its end.
    fn next_of_report(&mut self, now: &Moment, effects: &mut Vec<ReportEffect>) -> Option<(Target, ReportRequest)> {
        let unread = self.is_unread();
        loop {
            let writing = self.writing.as_mut()?;
            let resources = writing.report.as_ref().and_then(|pending| pending.report.resources.as_deref());
            let inventory = self.inventory.as_ref().zip(resources);
            match writing.stage {
                WritingStage::Specs(_) | WritingStage::GroupStatuses(_) if unread => {
                    writing.again = !writing.last;
                    writing.stage = WritingStage::SyncStatus;
                }
                WritingStage::StatusFirst => {
                    writing.stage = WritingStage::Specs(0);
                    if let Some(request) = self.sync_status(now) {
                        return Some(request);
                    }
                }
                WritingStage::Specs(at) => {
                    let next =
                        inventory.and_then(|(inventory, _)| inventory.next_spec(at, &self.sync, self.resource_status));
                    if let Some((index, document)) = next {
                        return Some((Target::ReportedSpec(index), ReportRequest::GroupSpec(document)));
                    }
                    writing.stage = match writing.spec_refused {
                        true => WritingStage::SyncStatus,
                        false => WritingStage::GroupStatuses(0),
                    };
                }
                WritingStage::GroupStatuses(at) => {
                    let next = inventory.and_then(|(inventory, resources)| match self.resource_status {
                        true => inventory.next_status(at, &self.sync, resources, &now.time),
                        false => inventory.next_without_status(at, &self.sync),
                    });
                    if let Some((index, document)) = next {
                        return Some((Target::GroupStatus(index), ReportRequest::GroupStatus(document)));
                    }
                    writing.stage = WritingStage::SyncStatus;
                }
                WritingStage::SyncStatus => {
                    writing.stage = WritingStage::Finished;
                    if let Some(request) = self.sync_status(now) {
                        return Some(request);
                    }
                }
                WritingStage::Finished => {
                    self.finish(now.instant, effects);
                    return None;
                }
            }
        }
    }

    /// The status of the sync object, where there is one and it changes.
    fn sync_status(&mut self, now: &Moment) -> Option<(Target, ReportRequest)> {
        // Every status from now on has it.
        self.refusal = false;
        let before = self.status.as_ref()?;
        let report = self.writing.as_ref().and_then(|writing| writing.report.as_ref());
        let next = match (report, &self.about.refused) {
            (Some(pending), _) => status(before, &pending.report, &self.about, &now.time),
            (None, Some(finding)) => refused(before, finding, self.about.generation, &now.time),
            (None, None) => return None,
        };
        let next = Box::new(next);
        (self.in_doubt || *next != *before).then(|| (Target::SyncStatus(next.clone()), ReportRequest::SyncStatus(next)))
    }

    /// A report that failed is written again after a pause, unless a newer one has come.
    fn finish(&mut self, now: Instant, effects: &mut Vec<ReportEffect>) {
        let Some(writing) = self.writing.take() else { return };
        if writing.last {
            self.activity = Activity::Ended;
            effects.push(ReportEffect::End);
        } else if writing.again {
            self.refusal |= writing.report.is_none();
            self.pending = match self.pending.take() {
                Some(newer) => Some(newer.after(writing.report)),
                None => writing.report,
            };
            self.retry.failed(now);
        } else {
            self.retry = Retries::default();
        }
    }

    /// A write had no answer, and the API server may still carry it out: the document is written again, be it as it was before.
    fn doubt(&mut self, target: &Target, now: Instant) {
        let (spec, status) = match target {
            Target::RecordedSpec(index) | Target::ReportedSpec(index) => (Some(*index), None),
            Target::GroupStatus(index) => (None, Some(*index)),
            Target::Superseded(index) => (Some(*index), Some(*index)),
            Target::SyncStatus(_) => return self.in_doubt = true,
            Target::ReadGroup(_) => return,
        };
        if let Some(inventory) = &mut self.inventory {
            spec.into_iter().for_each(|index| inventory.doubt_spec(index));
            status.into_iter().for_each(|index| inventory.doubt_status(index));
            if inventory.is_unread() {
                self.touched.extend(spec.or(status).map(|index| (index, None)));
                self.looks.failed(now);
            }
        }
    }

    /// Another client has written the group since it was last seen: it is read, and the document written again.
    fn outdated(&mut self, target: &Target) {
        if let (Some(index), Some(inventory)) = (target.group(), &mut self.inventory) {
            inventory.outdated(index);
            if inventory.is_unread() {
                self.touched.insert(index, None);
            }
        }
    }

    fn reread(&mut self, index: usize, found: Option<WrittenGroup>, now: Instant, effects: &mut Vec<ReportEffect>) {
        match self.inventory.as_mut().map(|inventory| inventory.read_again(index, found)) {
            Some(Reread::Older) => {
                self.activity = Activity::Ended;
                effects.push(ReportEffect::Restored);
            }
            Some(Reread::Lacking) => {
                effects.push(ReportEffect::Lacking);
                self.looks.failed(now);
            }
            Some(Reread::AsWritten) | None => self.looks = Retries::default(),
        }
    }

    fn answered(&mut self, answer: ReportAnswer, now: Instant, effects: &mut Vec<ReportEffect>) {
        let Activity::Awaiting(target) = std::mem::replace(&mut self.activity, Activity::Idle) else { return };
        let verdict = answer.verdict();
        let keeps_from_recording = match &target {
            Target::RecordedSpec(_) => true,
            Target::ReadGroup(_) => self.record.is_some() && self.is_unread(),
            _ => false,
        };
        // Another client may write now and then; an answer that comes again and again has another cause.
        let is_first =
            matches!(answer, ReportAnswer::Outdated(_)) && self.record.as_ref().is_none_or(RecordJob::is_first);
        if let Some(why) = answer.failure().filter(|_| keeps_from_recording && !is_first) {
            effects.push(ReportEffect::Unrecorded(why.to_owned()));
        }
        match (&target, answer) {
            (Target::ReadGroup(index), answer @ (ReportAnswer::Group(_) | ReportAnswer::Gone)) => {
                let found = if let ReportAnswer::Group(group) = answer { Some(*group) } else { None };
                self.reread(*index, found, now, effects);
            }
            (Target::ReadGroup(index), _) => {
                self.touched.insert(*index, None);
                self.looks.failed(now);
            }
            (
                Target::RecordedSpec(index)
                | Target::ReportedSpec(index)
                | Target::GroupStatus(index)
                | Target::Superseded(index),
                ReportAnswer::Group(group),
            ) => {
                if let Some(inventory) = &mut self.inventory {
                    inventory.written(*index, *group);
                }
            }
            (Target::SyncStatus(next), ReportAnswer::Done) => {
                (self.status, self.in_doubt) = (Some((**next).clone()), false);
            }
            (target, ReportAnswer::Unavailable(_)) => self.doubt(target, now),
            (target, ReportAnswer::Outdated(_)) => self.outdated(target),
            _ => {}
        }
        match (target, &mut self.record, &mut self.writing) {
            (Target::RecordedSpec(index), Some(record), _) => record.answered(index, verdict, now),
            (Target::ReportedSpec(index), _, Some(writing)) => {
                writing.spec_refused |= verdict == Verdict::Refused;
                writing.answered(WritingStage::Specs(index + 1), verdict);
            }
            (Target::GroupStatus(index), _, Some(writing)) => {
                writing.answered(WritingStage::GroupStatuses(index + 1), verdict);
            }
            (Target::SyncStatus(_), _, Some(writing)) => writing.again |= verdict != Verdict::Written,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
