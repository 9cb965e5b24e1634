//! Performs a log on two clusters at once and tells where they first differ.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::log::{Request, Step, Watch};
use crate::normal::{Names, differences};
use crate::side::{Answer, Side};
use crate::watching::{self, Watched, Watching};

/// Where two clusters differ.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    /// The index of the step.
    pub(crate) step: usize,
    /// A line for each difference: the value of the first cluster, then that of the second.
    pub(crate) what: Vec<String>,
    /// The whole answers, or all events of a watch.
    pub(crate) answers: [Value; 2],
    /// `true` if the clusters do not differ, but both wait for ever.
    pub(crate) stuck: bool,
}

/// The two clusters.
pub(crate) struct Pair {
    pub(crate) clients: [kube::Client; 2],
    /// `true` if both are the same cluster, so that names must differ.
    pub(crate) same: bool,
    /// The longest time to wait for changes that the clusters make by themselves.
    pub(crate) patience: Duration,
}

/// A word that no run of this process has had yet; all are equally long.
fn tag(side: usize) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("q{:06x}{side}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Performs a log: until the clusters differ in what they store, or to its end.
///
/// # Errors
/// When a cluster cannot be asked at all, or does not come to rest.
pub(crate) async fn perform(pair: &Pair, steps: &[Step]) -> Result<Vec<Difference>> {
    let first = tag(0);
    let second = if pair.same { tag(1) } else { first.clone() };
    let mut sides = [Side::new(pair.clients[0].clone(), first), Side::new(pair.clients[1].clone(), second)];
    let mut names = [Names::new(&sides[0].tag), Names::new(&sides[1].tag)];
    for side in &mut sides {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "t-<tag>"}});
        side.ask(&Request::new("POST", "/api/v1/namespaces").json(namespace)).await?;
    }
    let (mut watchings, mut found) = (Vec::new(), Vec::new());
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Ask(request) => {
                let [a, b] = &mut sides;
                let (a, b) = tokio::try_join!(a.ask(request), b.ask(request)).with_context(|| step.to_string())?;
                let difference = compare(at, [a, b], &mut names);
                let parts = difference.as_ref().is_some_and(|difference| parts(request, difference));
                found.extend(difference);
                if parts {
                    return Ok(found);
                }
            }
            Step::Watch(watch) => {
                let begun = tokio::try_join!(watching::begin(&sides[0], watch), watching::begin(&sides[1], watch))?;
                watchings.push((at, watch, begun));
            }
            Step::Probe(request, status) => {
                let [a, b] = &mut sides;
                let (a, b) =
                    tokio::join!(a.probe(request, *status, pair.patience), b.probe(request, *status, pair.patience));
                if let Some(difference) = outcome(at, [a.map(|()| "done".into()), b.map(|()| "done".into())]) {
                    found.push(difference);
                    return Ok(found);
                }
            }
            Step::Await(until, path) => {
                let [a, b] = &mut sides;
                let (a, b) = tokio::join!(a.wait(*until, path, pair.patience), b.wait(*until, path, pair.patience));
                if let Some(difference) = outcome(at, [a.map(|()| "done".into()), b.map(|()| "done".into())]) {
                    found.push(difference);
                    return Ok(found);
                }
            }
        }
    }
    for (at, watch, begun) in watchings {
        // Without its end, as in a part of a log, a watch may have shown anything.
        if !sides.iter().all(|side| side.has_seen(&watch.last)) {
            continue;
        }
        found.extend(compare_watches(at, watch, begun, &sides, &mut names).await);
    }
    Ok(found)
}

/// `true` if the clusters can hold different objects after different answers to a request.
fn parts(request: &Request, difference: &Difference) -> bool {
    let [a, b] = &difference.answers;
    let refused = |answer: &Value| answer["status"].as_u64() >= Some(400);
    let stores = request.method != "GET" && !request.query.contains("dryRun");
    stores && !(refused(a) && refused(b)) && a["body"] != b["body"]
}

fn compare(step: usize, answers: [Answer; 2], names: &mut [Names; 2]) -> Option<Difference> {
    let messages = answers.each_ref().map(|answer| answer.body["message"].clone());
    let [a, b] = answers.map(|answer| (answer.status, answer.warnings, answer.body));
    let normal = |(status, warnings, body): (u16, Vec<String>, Value), names: &mut Names| {
        Ok(json!({"status": status, "warnings": warnings, "body": names.normal(&body)}))
    };
    let mut difference = outcome(step, [normal(a, &mut names[0]), normal(b, &mut names[1])])?;
    difference
        .what
        .extend(messages.iter().filter(|message| message.is_string()).map(|message| format!("said: {message}")));
    Some(difference)
}

/// The difference of two outcomes. An error is one too, even if both have it.
fn outcome(step: usize, outcomes: [Result<Value>; 2]) -> Option<Difference> {
    let stuck = outcomes.iter().all(Result::is_err);
    let said = |outcome: Result<Value>| outcome.unwrap_or_else(|error| format!("{error:#}").into());
    let answers = outcomes.map(said);
    let mut what = differences(&answers[0], &answers[1]);
    if stuck {
        what = answers.iter().map(ToString::to_string).collect();
    }
    (!what.is_empty()).then_some(Difference { step, what, answers, stuck })
}

async fn compare_watches(
    step: usize,
    watch: &Watch,
    begun: (Watching, Watching),
    sides: &[Side; 2],
    names: &mut [Names; 2],
) -> Option<Difference> {
    let last = |at: usize| sides[at].fill(&format!("<rv {}>", watch.last));
    let (a, b) = tokio::join!(watching::finish(begun.0, last(0)), watching::finish(begun.1, last(1)));
    outcome(step, [a.map(|a| by_object(&a, &mut names[0])), b.map(|b| by_object(&b, &mut names[1]))])
}

/// The events of each object in their order: that of different objects may vary.
fn by_object(watched: &Watched, names: &mut Names) -> Value {
    let mut objects = BTreeMap::<String, Vec<Value>>::new();
    for event in &watched.events {
        let object = names.normal(&event["object"]);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        objects.entry(name).or_default().push(json!({"type": event["type"], "object": object}));
    }
    json!({"status": watched.status, "events": objects})
}
