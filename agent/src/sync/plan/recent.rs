//! The deletions of the last hour, which the guard counts together with the next ones.

use std::time::{Duration, Instant};

use crate::api::Time;
use crate::sync::moment::Moment;

/// The time for which a deletion counts.
const WINDOW: Duration = Duration::from_secs(3600);
/// Deletions within this time count as one moment, so that the list stays short.
const MOMENT: Duration = Duration::from_secs(60);
/// Deletions that are always within the budget of an hour.
const SMALL: usize = 10;

/// Deletions of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PruneMoment {
    /// The time of the first of them.
    pub at: Instant,
    /// Their number.
    pub deletions: usize,
    /// Number of objects of the sync before them.
    pub inventory: usize,
}

/// The deletions of the last hour; the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentPrunes(pub Vec<PruneMoment>);

impl RecentPrunes {
    /// Counts deletions at `now`, when the sync has so many objects. Returns the moment that they count for.
    pub fn add(&mut self, deletions: usize, inventory: usize, now: Instant) -> Instant {
        self.0.retain(|moment| moment.is_recent(now));
        match self.0.last_mut().filter(|last| now.saturating_duration_since(last.at) < MOMENT) {
            Some(last) => last.deletions += deletions,
            None => self.0.push(PruneMoment { at: now, deletions, inventory }),
        }
        self.0.last().map_or(now, |last| last.at)
    }

    /// A deletion that was counted for a moment, with so many objects, is sent: it counts from `now` on. Returns its new moment.
    pub fn sent(&mut self, at: Instant, weight: usize, now: Instant) -> Instant {
        let Some(moment) = self.0.iter().find(|moment| moment.at == at).copied() else { return at };
        if now.saturating_duration_since(at) < MOMENT {
            return at;
        }
        self.take_back(at, weight);
        self.add(weight, moment.inventory, now)
    }

    /// The deletions of the last hour as text: `2026-01-02T03:04:05Z=12/100` for 12 of 100 objects, with spaces between them.
    pub fn text(&self, now: &Moment) -> String {
        let text = |PruneMoment { at, deletions, inventory }: &PruneMoment| {
            format!("{}={deletions}/{inventory}", now.time_of(*at))
        };
        let texts: Vec<String> = self.within_hour(now.instant).map(text).collect();
        texts.join(" ")
    }

    /// Reads such a text. What is no time and numbers is left out, and a time to come counts as now.
    pub fn parse(text: &str, now: &Moment) -> Self {
        let number = |text: &str| text.parse::<u32>().ok().map(|number| number as usize);
        let part = |part: &str| {
            let (time, numbers) = part.split_once('=')?;
            let (deletions, inventory) = numbers.split_once('/')?;
            let at = now.instant_of(&Time(time.to_owned()))?;
            Some(PruneMoment { at, deletions: number(deletions)?, inventory: number(inventory)? })
        };
        let mut parts: Vec<PruneMoment> = text.split(' ').filter_map(part).collect();
        parts.sort();
        Self(parts)
    }

    fn within_hour(&self, now: Instant) -> impl Iterator<Item = &PruneMoment> {
        self.0.iter().filter(move |moment| moment.is_recent(now))
    }

    /// Takes back a deletion that was counted for a moment, with so many objects, and not carried out.
    pub fn take_back(&mut self, at: Instant, weight: usize) {
        for moment in self.0.iter_mut().filter(|moment| moment.at == at) {
            moment.deletions = moment.deletions.saturating_sub(weight);
        }
        self.0.retain(|moment| moment.deletions > 0);
    }

    /// The first moment of the hour, for deletions of which only the number is known.
    pub fn first(&self, now: Instant) -> Option<Instant> {
        self.within_hour(now).next().map(|first| first.at)
    }

    /// The number of deletions in the hour before `now`.
    pub fn number(&self, now: Instant) -> usize {
        self.within_hour(now).map(|moment| moment.deletions).sum()
    }

    /// Number of objects of the sync before the first deletion of the hour; `None` when there was none.
    pub fn inventory_before(&self, now: Instant) -> Option<usize> {
        self.within_hour(now).next().map(|first| first.inventory)
    }

    /// Number of deletions that are left of the hour's budget: 10, or 20 % of the objects that the sync had before the first
    /// deletion of the hour, `inventory` if there was none.
    pub fn left(&self, inventory: usize, now: Instant) -> usize {
        let budget = self.inventory_before(now).unwrap_or(inventory) / 5;
        budget.max(SMALL).saturating_sub(self.number(now))
    }

    /// The next time at which a deletion counts no more.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        self.0.iter().map(|moment| moment.at + WINDOW + MOMENT).find(|end| *end > now)
    }
}

impl PruneMoment {
    fn is_recent(&self, now: Instant) -> bool {
        // The last of them may have come at the end of the moment.
        now.saturating_duration_since(self.at) < WINDOW + MOMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn a_deletion_counts_for_an_hour() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut recent = RecentPrunes::default();
        recent.add(3, 50, begin);
        recent.add(2, 47, after(30));
        recent.add(4, 45, after(90));
        assert_eq!(recent.0.len(), 2);
        assert_eq!(recent.clone().add(1, 41, after(150)), after(150), "the next minute is another moment");
        assert_eq!(
            recent.number(after(3659)),
            9,
            "the last one of the moment may have come 59 seconds after its first"
        );
        assert_eq!(recent.next_change(after(100)), Some(after(3660)));
        assert_eq!(recent.number(after(3660)), 4);
        assert_eq!(recent.next_change(after(3660)), Some(after(3750)), "what counts no more changes nothing");
        assert_eq!((recent.first(after(3659)), recent.first(after(3660))), (Some(begin), Some(after(90))));
        assert_eq!(recent.first(after(3750)), None);
        let moment = |at| Moment { instant: at, time: Time::from_unix(1_767_323_045) };
        let text = recent.text(&moment(after(100)));
        assert_eq!(text, "2026-01-02T03:02:25Z=5/50 2026-01-02T03:03:55Z=4/45");
        assert_eq!(RecentPrunes::parse(&text, &moment(after(100))), recent);
        assert_eq!(
            RecentPrunes::parse("x 3= =4/5 2026-01-02T03:04:05Z=4 2026-01-02T03:04:05Z=-1/9", &moment(begin)),
            RecentPrunes::default()
        );
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn a_deletion_that_waited_counts_from_when_it_is_sent() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut recent = RecentPrunes::default();
        let first = recent.add(3, 50, begin);
        assert_eq!(recent.clone().sent(first, 1, after(60)), after(60));
        let second = recent.add(2, 47, after(3000));
        assert_eq!(recent.sent(first, 1, after(59)), first);
        assert_eq!(recent.sent(first, 1, after(3100)), after(3100));
        recent.take_back(first, 1);
        assert_eq!(recent.number(after(3200)), 4);
        assert_eq!(recent.number(after(3660)), 3, "what was taken back was not one of the newer");
        recent.take_back(first, 1);
        recent.take_back(second, 1);
        recent.take_back(second, 1);
        assert_eq!(recent.number(after(3660)), 1);
        assert_eq!(recent.0.iter().map(|one| (one.at, one.inventory)).collect::<Vec<_>>(), [(after(3100), 50)]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
    fn the_budget_is_a_fifth_of_what_was_there_before_the_first_deletion() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut recent = RecentPrunes::default();
        assert_eq!((recent.left(100, begin), recent.left(12, begin)), (20, 10));
        recent.add(15, 100, begin);
        assert_eq!(recent.left(1000, after(1)), 5, "objects that come later do not count");
        recent.add(5, 85, after(600));
        assert_eq!(recent.left(80, after(601)), 0);
        assert_eq!(recent.left(80, after(3660)), 12, "a fifth of eighty-five");
        recent.add(30, 85, after(3660));
        assert_eq!(recent.left(80, after(3661)), 0, "more was approved");
    }
}
