//! The shortest schedule that breaks a law as a long one does.

use crate::schedule::Schedule;

/// Leaves steps out, fewer and fewer at a time, as long as `fails` says that the rest still breaks the law.
pub(crate) fn shrink(schedule: &Schedule, fails: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut best = schedule.clone();
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut shorter = false;
        while at < best.steps.len() {
            let mut tried = best.clone();
            tried.steps.drain(at..(at + size).min(best.steps.len()));
            if fails(&tried) {
                best = tried;
                shorter = true;
            } else {
                at += size;
            }
        }
        // Steps that depended on each other may go now.
        if size > 1 || !shorter {
            size /= 2;
        }
    }
    best
}
