//! Makes a log on which two clusters differ as short as it can be.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::log::{Body, Step};
use crate::run::{Difference, Pair, perform};

/// The longest time to wait for changes that the clusters make by themselves, if they made them in the first run.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// The longest time to look for a shorter log.
const PATIENCE: Duration = Duration::from_secs(60);

/// The shortest log found that still shows a difference, and that.
pub(crate) async fn shrink(pair: &Pair, steps: Vec<Step>, found: Difference) -> Result<(Vec<Step>, Difference)> {
    let pair = &Pair { clients: pair.clients.clone(), same: pair.same, patience: SHORT_PATIENCE };
    let mut search = Search { pair, steps, found, until: Instant::now() + PATIENCE };
    // Nothing after the difference matters, but for watches, which are told at the end.
    if matches!(search.steps[search.found.step], Step::Ask(_)) {
        let end = search.found.step + 1;
        search.attempt(search.steps[..end].to_vec()).await?;
    }
    let mut length = search.steps.len().div_ceil(2);
    while length > 0 {
        let mut at = 0;
        while at < search.steps.len() {
            let mut fewer = search.steps.clone();
            fewer.drain(at..(at + length).min(fewer.len()));
            if !search.attempt(fewer).await? {
                at += length;
            }
        }
        length /= 2;
    }
    for at in 0..search.steps.len() {
        search.shorten(at).await?;
    }
    Ok((search.steps, search.found))
}

struct Search<'a> {
    pair: &'a Pair,
    steps: Vec<Step>,
    found: Difference,
    until: Instant,
}

impl Search<'_> {
    /// Takes these steps if they show a difference too.
    async fn attempt(&mut self, steps: Vec<Step>) -> Result<bool> {
        if Instant::now() > self.until {
            return Ok(false);
        }
        let found = perform(self.pair, &steps).await?;
        let found = found.into_iter().find(|found| !found.stuck && self.is_alike(found));
        let better = found.is_some();
        if let Some(found) = found {
            (self.steps, self.found) = (steps, found);
        }
        Ok(better)
    }

    /// `true` if a difference is at the same place of the answer. Other differences have shorter logs of their own.
    fn is_alike(&self, found: &Difference) -> bool {
        let place = |found: &Difference| found.what.first().and_then(|line| Some(line.split_once(':')?.0.to_owned()));
        place(found) == place(&self.found)
    }

    /// Takes out of the body of a step what is not needed.
    async fn shorten(&mut self, at: usize) -> Result<()> {
        let mut next = 0;
        while let Some(steps) = self.without(at, next) {
            if !self.attempt(steps).await? {
                next += 1;
            }
        }
        Ok(())
    }

    /// The steps without the place number `place` of the body of the step `at`.
    fn without(&self, at: usize, place: usize) -> Option<Vec<Step>> {
        let mut steps = self.steps.clone();
        let Step::Ask(request) = &mut steps[at] else { return None };
        match &mut request.body {
            Body::Json(body) => {
                let mut left = place;
                remove(body, &mut left).then_some(())?;
            }
            Body::Seen { edits, .. } if place < edits.len() => drop(edits.remove(place)),
            _ => return None,
        }
        Some(steps)
    }
}

/// Takes away the field or item that comes after `left` others.
fn remove(value: &mut Value, left: &mut usize) -> bool {
    match value {
        Value::Object(object) => {
            for key in object.keys().cloned().collect::<Vec<_>>() {
                if *left == 0 {
                    object.remove(&key);
                    return true;
                }
                *left -= 1;
                if object.get_mut(&key).is_some_and(|value| remove(value, left)) {
                    return true;
                }
            }
            false
        }
        Value::Array(items) => {
            for at in 0..items.len() {
                if *left == 0 {
                    items.remove(at);
                    return true;
                }
                *left -= 1;
                if remove(&mut items[at], left) {
                    return true;
                }
            }
            false
        }
        _ => false,
    }
}
