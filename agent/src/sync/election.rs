//! The election of the one agent that writes to a cluster: what follows from a Lease.

use std::time::{Duration, Instant};

/// A Lease as far as the election needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// Identity of the agent that holds it; empty if it was released.
    pub holder: String,
    /// It changes with every write.
    pub version: String,
    /// Time for which the holder holds it after each write.
    pub duration: Duration,
}

/// The next step of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionTurn {
    /// The Lease is free: write it.
    Take,
    /// Another agent holds it until this instant, if it does not renew it before.
    Wait(Instant),
}

/// A candidate, with what it has seen of the Lease.
///
/// The clocks of two machines may differ, so that times in the Lease say nothing: a Lease is free when this candidate has seen no
/// write for the whole duration.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    /// Another's Lease as it was seen last, and when that version was seen first.
    seen: Option<(LeaseState, Instant)>,
    /// `true` if the same holder wrote the Lease again while this candidate looked.
    renewed: bool,
}

impl Election {
    /// A candidate with this identity, which no other agent has.
    pub fn new(identity: String) -> Self {
        Self { identity, seen: None, renewed: false }
    }

    /// Its identity.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// `true` if another agent has written the Lease since this candidate saw it first: it lives.
    pub fn other_lives(&self) -> bool {
        self.renewed
    }

    /// Looks at the Lease, `None` if there is none.
    pub fn turn(&mut self, lease: Option<&LeaseState>, now: Instant) -> ElectionTurn {
        let Some(lease) = lease.filter(|lease| !lease.holder.is_empty() && lease.holder != self.identity) else {
            return ElectionTurn::Take;
        };
        let since = match &self.seen {
            Some((seen, since)) if seen.version == lease.version => *since,
            seen => {
                self.renewed = seen.as_ref().is_some_and(|(seen, _)| seen.holder == lease.holder);
                self.seen = Some((lease.clone(), now));
                now
            }
        };
        let free = since + lease.duration;
        if now >= free { ElectionTurn::Take } else { ElectionTurn::Wait(free) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn lease(holder: &str, version: &str) -> LeaseState {
        LeaseState { holder: holder.to_owned(), version: version.to_owned(), duration: TEN }
    }

    #[test]
    fn a_lease_is_free_when_it_is_absent_released_ours_or_was_not_written_for_its_duration() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut candidate = Election::new("a".to_owned());
        assert_eq!(candidate.turn(None, now), ElectionTurn::Take);
        assert_eq!(candidate.turn(Some(&lease("", "1")), now), ElectionTurn::Take);
        assert_eq!(candidate.turn(Some(&lease("a", "1")), now), ElectionTurn::Take);
        assert_eq!(candidate.turn(Some(&lease("b", "1")), now), ElectionTurn::Wait(after(10)));
        assert_eq!(candidate.turn(Some(&lease("b", "1")), after(9)), ElectionTurn::Wait(after(10)));
        assert!(!candidate.other_lives());
        assert_eq!(candidate.turn(Some(&lease("b", "2")), after(9)), ElectionTurn::Wait(after(19)));
        assert!(candidate.other_lives());
        assert_eq!(candidate.turn(Some(&lease("b", "2")), after(19)), ElectionTurn::Take);
    }
}
