//! Faults: which requests of the agent go wrong, how, and how often.

use sandbox::answer::Incoming;
use sandbox::route::Place;

use crate::source::OBJECTS;

/// A fault and the requests that it strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) requests: Requests,
    pub(crate) target: Target,
    pub(crate) kind: Kind,
    /// How many requests it strikes; 0 for ever.
    pub(crate) times: u8,
}

/// Sorts of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Requests {
    All,
    Reads,
    Patches,
    Deletions,
}

/// What the requests are about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// Everything.
    All,
    /// The objects whose bits are set, by their index in [`OBJECTS`].
    Objects(u16),
    /// The inventories.
    Records,
    /// The status of syncs.
    Statuses,
    /// The list of the kind of an object.
    Lists(u8),
}

/// How requests go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// With this code and this Retry-After.
    Refuse(u16, u32),
    /// The connection is closed before it is performed.
    Hangup,
    /// It is performed, and the answer is lost.
    Lost,
    /// It is performed, and half of the answer arrives.
    Cut,
    /// It is not performed, and something answers that is no API server.
    Undecodable,
    /// It is performed, and the client panics when it reads the answer.
    Panic,
}

impl Fault {
    pub(crate) fn matches(&self, incoming: &Incoming, place: &Place) -> bool {
        let of_sort = match self.requests {
            Requests::All => true,
            Requests::Reads => incoming.method == "GET",
            Requests::Patches => incoming.method == "PATCH",
            Requests::Deletions => incoming.method == "DELETE",
        };
        of_sort && self.is_about(place)
    }

    fn is_about(&self, place: &Place) -> bool {
        match self.target {
            Target::All => true,
            Target::Records => place.resource == "resourcegroups",
            Target::Statuses => ["rootsyncs", "reposyncs"].contains(&&*place.resource),
            Target::Lists(index) => place.name.is_empty() && place.resource == OBJECTS[usize::from(index)].plural(),
            Target::Objects(bits) => OBJECTS.iter().enumerate().any(|(index, template)| {
                bits >> index & 1 == 1
                    && place.name == template.3
                    && place.namespace == template.2
                    && place.resource == template.plural()
            }),
        }
    }

    /// `true` if it strikes requests about objects for ever.
    pub(crate) fn is_of_objects_for_ever(&self) -> bool {
        self.times == 0 && matches!(self.target, Target::Objects(_))
    }

    /// `true` if it strikes requests about this object, by its index in [`OBJECTS`].
    pub(crate) fn is_of_object(&self, index: u8) -> bool {
        matches!(self.target, Target::Objects(bits) if bits >> index & 1 == 1)
    }

    /// Counts a strike. `true` if it was the last one.
    pub(crate) fn strike(&mut self) -> bool {
        if self.times == 0 {
            return false;
        }
        self.times -= 1;
        self.times == 0
    }
}
