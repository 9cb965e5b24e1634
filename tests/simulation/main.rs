//! A deterministic simulation: syncs of the agent, with the agent's own requests, on the sandbox's API server, beside other
//! clients, faults and crashes. Each seed is one schedule. `NOMOS_SIMULATION_SEEDS=7..20` tries others.
#![expect(clippy::disallowed_methods, reason = "a test is made of effects")]
#![expect(clippy::print_stdout, reason = "the schedule of a failure is printed")]

mod actors;
mod client;
mod executor;
mod faults;
mod laws;
mod leaders;
mod process;
mod rights;
mod run;
mod schedule;
mod seeds;
mod server;
mod shrink;
mod source;
mod watches;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use run::Look;
use schedule::{Schedule, Scope, Sizes, generate};
use seeds::Tried;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn outcome(schedule: &Schedule, look: Look) -> Result<u64, String> {
    let run = || run::run(schedule, look);
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

/// The law that was broken, without the details of the case.
fn law(broken: &str) -> String {
    let words =
        broken.split_whitespace().take(9).map(|word| word.trim_matches(|c: char| c.is_ascii_digit() || c == ','));
    words.filter(|word| !word.contains('/')).collect::<Vec<_>>().join(" ")
}

/// Tries all seeds, each in a world of its sort. A failure is shrunk and printed.
fn try_all(scope: impl Fn(u64) -> Scope + Sync, found: &[u64]) {
    // A panic is a failure of its schedule, which is printed in the end.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let look = if std::env::var_os("NOMOS_SIMULATION_PRINTS").is_some() { Look::Print } else { Look::Nothing };
    let Tried { count, time, work, failures } = seeds::try_all(&seeds::seeds(found), |seed| {
        let outcome = outcome(&generate(seed, scope(seed)), look);
        if look == Look::Print {
            println!("seed {seed}: {:016x}", outcome.as_ref().copied().unwrap_or(0));
        }
        outcome.map(drop)
    });
    let each = work.as_secs_f64() * 1000.0 / count.max(1) as f64;
    println!("{count} schedules in {:.1} s, {each:.1} ms of a core each", time.as_secs_f64());
    let mut laws: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    failures.iter().for_each(|(seed, broken)| laws.entry(law(broken)).or_default().push(*seed));
    for (law, of) in &laws {
        println!("{}x {law}: seeds {of:?}: {}", of.len(), failures[&of[0]]);
    }
    if std::env::var_os("NOMOS_SIMULATION_BRIEF").is_none() {
        laws.values().for_each(|of| tell(of[0], scope(of[0])));
    }
    std::panic::set_hook(hook);
    assert!(failures.is_empty(), "{} of {count} schedules broke a law", failures.len());
}

/// Prints the shortest schedule that breaks the same law as a seed.
fn tell(seed: u64, scope: Scope) {
    let schedule = generate(seed, scope);
    let Err(broken) = outcome(&schedule, Look::Nothing) else { return };
    let same = |tried: &Schedule| outcome(tried, Look::Nothing).is_err_and(|other| law(&other) == law(&broken));
    let shortest = shrink::shrink(&schedule, same);
    println!("seed {seed}: the shortest schedule of {} steps:", shortest.steps.len());
    let broken = outcome(&shortest, Look::Trace);
    println!("{shortest:?}\n=> {}\n", broken.err().unwrap_or_default());
}

/// One sync and nothing else.
const ALONE: Scope = Scope { syncs: 1, faults: false, acts: 0, restores: false, tenants: false, sizes: Sizes::Even };
const FAULTS: Scope = Scope { faults: true, ..ALONE };
const OTHERS: Scope = Scope { faults: true, acts: 13, ..ALONE };
const SEVERAL: Scope = Scope { syncs: 3, ..OTHERS };
const TENANTS: Scope = Scope { syncs: 4, tenants: true, ..OTHERS };
const RESTORES: Scope = Scope { acts: 4, restores: true, ..ALONE };

#[test]
fn the_laws_hold_without_faults() {
    try_all(|_| ALONE, &[]);
}

#[test]
fn the_laws_hold_while_requests_fail() {
    try_all(|_| FAULTS, &[636_115, 637_333]);
}

#[test]
fn the_laws_hold_beside_other_clients() {
    try_all(|_| OTHERS, &[34, 200_108, 200_647, 636_260, 641_060, 650_714, 652_454, 662_072, 667_556, 667_886]);
}

#[test]
fn the_laws_hold_for_several_syncs() {
    try_all(
        |_| SEVERAL,
        &[
            53, 104, 125, 175, 179, 181, 192, 196, 290, 306, 322, 100_263, 300_021, 610_143, 630_213, 634_191, 636_075,
            640_077,
        ],
    );
}

#[test]
fn the_laws_hold_for_tenants() {
    try_all(
        |_| TENANTS,
        &[
            111, 126, 100_003, 100_033, 100_041, 100_048, 100_111, 100_229, 100_233, 300_064, 300_072, 300_377,
            600_628, 600_850, 631_390,
        ],
    );
}

#[test]
fn the_laws_hold_when_backups_are_restored() {
    try_all(|_| RESTORES, &[289, 902, 100_217, 400_025]);
}

/// One seed after the other is of another sort.
fn of_all_sorts(seed: u64, sizes: Sizes) -> Scope {
    const SORTS: [Scope; 6] = [ALONE, FAULTS, OTHERS, SEVERAL, TENANTS, RESTORES];
    let sort = SORTS[usize::try_from(seed).unwrap_or(0) % SORTS.len()];
    Scope { sizes, ..sort }
}

#[test]
fn the_laws_hold_in_worlds_of_all_sorts() {
    try_all(
        |seed| of_all_sorts(seed, Sizes::MostlySmall),
        &[459, 1951, 44_307, 49_107, 51_775, 54_903, 84_705, 94_312, 99_381, 104_860, 135_178, 145_035, 145_899],
    );
}

/// A million of these are played within an hour on two cores.
#[test]
fn the_laws_hold_in_short_schedules() {
    try_all(|seed| of_all_sorts(seed, Sizes::Short), &[2_040_916, 2_185_323, 2_257_017]);
}

/// Or else a seed that fails could not be tried again.
#[test]
fn a_seed_is_one_schedule() {
    for seed in 0..4 {
        let run = || outcome(&generate(seed, TENANTS), Look::Print);
        assert_eq!(run(), run(), "{seed}");
    }
}

#[test]
fn two_agents_never_write_in_one_term() {
    let Tried { count, work, failures, .. } =
        seeds::try_all(&seeds::seeds(&[]), |seed| leaders::run(seed, leaders::IN_FLIGHT));
    println!("{count} schedules, {:.1} ms of a core each", work.as_secs_f64() * 1000.0 / count.max(1) as f64);
    assert!(failures.is_empty(), "{failures:#?}");
}

/// Or else the law would say nothing.
#[test]
fn writes_that_are_on_their_way_for_longer_than_the_fence_allows_break_the_law_of_terms() {
    let Tried { failures, .. } =
        seeds::try_all(&[0, 1, 2, 3, 4, 5, 6, 7], |seed| leaders::run(seed, leaders::IN_FLIGHT * 10));
    assert!(failures.values().any(|law| law.contains("holds the Lease")), "{failures:#?}");
}
