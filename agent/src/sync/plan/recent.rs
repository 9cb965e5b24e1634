//! The deletions of the last hour, which the guard counts together with the next ones.

use std::time::{Duration, Instant};

use crate::api::Time;
use crate::sync::moment::Moment;

/// The time for which a deletion counts.
const WINDOW: Duration = Duration::from_secs(3600);
/// Deletions within this time count as one moment, so that the list stays short.
const MOMENT: Duration = Duration::from_secs(60);

/// Numbers of deletions, each with the time of the first of them; the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecentPrunes(pub Vec<(Instant, usize)>);

impl RecentPrunes {
    /// Counts deletions at `now`.
    pub fn add(&mut self, deletions: usize, now: Instant) {
        self.0.retain(|(at, _)| now.saturating_duration_since(*at) < WINDOW);
        match self.0.last_mut().filter(|(at, _)| now.saturating_duration_since(*at) < MOMENT) {
            Some((_, number)) => *number += deletions,
            None => self.0.push((now, deletions)),
        }
    }

    /// The deletions of the last hour as text: `2026-01-02T03:04:05Z=12`, with spaces between them.
    pub fn text(&self, now: &Moment) -> String {
        let texts: Vec<String> =
            self.within_hour(now.instant).map(|(at, n)| format!("{}={n}", now.time_of(*at))).collect();
        texts.join(" ")
    }

    /// Reads such a text. What is no time and number is left out, and a time to come counts as now.
    pub fn parse(text: &str, now: &Moment) -> Self {
        let part = |part: &str| {
            let (time, number) = part.split_once('=')?;
            Some((now.instant_of(&Time(time.to_owned()))?, number.parse::<u32>().ok()? as usize))
        };
        let mut parts: Vec<(Instant, usize)> = text.split(' ').filter_map(part).collect();
        parts.sort();
        Self(parts)
    }

    fn within_hour(&self, now: Instant) -> impl Iterator<Item = &(Instant, usize)> {
        self.0.iter().filter(move |(at, _)| now.saturating_duration_since(*at) < WINDOW)
    }

    /// Takes back deletions that were counted and not carried out.
    pub fn take_back(&mut self, mut deletions: usize) {
        while deletions > 0
            && let Some((_, number)) = self.0.last_mut()
        {
            let taken = deletions.min(*number);
            *number -= taken;
            deletions -= taken;
            self.0.pop_if(|(_, number)| *number == 0);
        }
    }

    /// The number of deletions in the hour before `now`.
    pub fn number(&self, now: Instant) -> usize {
        self.within_hour(now).map(|(_, number)| number).sum()
    }

    /// The next time at which a deletion counts no more.
    pub fn next_change(&self, now: Instant) -> Option<Instant> {
        self.0.iter().map(|(at, _)| *at + WINDOW).find(|end| *end > now)
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
        recent.add(3, begin);
        recent.add(2, after(30));
        recent.add(4, after(90));
        assert_eq!(recent.0.len(), 2);
        assert_eq!(recent.number(after(3599)), 9);
        assert_eq!(recent.next_change(after(100)), Some(after(3600)));
        assert_eq!(recent.number(after(3600)), 4);
        let moment = |at| Moment { instant: at, time: Time::from_unix(1_767_323_045) };
        let text = recent.text(&moment(after(100)));
        assert_eq!(text, "2026-01-02T03:02:25Z=5 2026-01-02T03:03:55Z=4");
        assert_eq!(RecentPrunes::parse(&text, &moment(after(100))), recent);
        assert_eq!(RecentPrunes::parse("x 3= =4 2026-01-02T03:04:05Z=-1", &moment(begin)), RecentPrunes::default());
        recent.take_back(6);
        assert_eq!(recent.number(after(100)), 3);
        recent.take_back(6);
        assert_eq!(recent.number(after(100)), 0);
    }
}
