//! Pods and what makes them.

use serde_json::Value;

use crate::clock::Time;
use crate::object::{self, integer, list, text};

use crate::table::cells::{NONE, age, count, each, labels, number, or_none, selector, since};

/// All cells but the name, if it is one of these kinds.
pub(super) fn cells(collection: &str, one: &Value, now: Time) -> Option<Vec<Value>> {
    let template = one.pointer("/spec/template").unwrap_or(&Value::Null);
    let (containers, images) = containers(template);
    let age = age(one, now);
    let selector = selector(one, "/spec/selector");
    Some(match collection {
        "pods" => pod(one, now),
        "podtemplates" => {
            let (containers, images) = self::containers(&one["template"]);
            vec![containers, images, labels(one.pointer("/template/metadata/labels"))]
        }
        "deployments.apps" => {
            let ready = format!("{}/{}", number(one, "/status/readyReplicas"), number(one, "/spec/replicas"));
            let (updated, available) =
                (number(one, "/status/updatedReplicas"), number(one, "/status/availableReplicas"));
            vec![ready.into(), updated, available, age, containers, images, selector]
        }
        "replicasets.apps" | "replicationcontrollers" => {
            let selector =
                if collection == "replicasets.apps" { selector } else { labels(one.pointer("/spec/selector")) };
            let (current, ready) = (number(one, "/status/replicas"), number(one, "/status/readyReplicas"));
            vec![number(one, "/spec/replicas"), current, ready, age, containers, images, selector]
        }
        "statefulsets.apps" => {
            let ready = format!("{}/{}", number(one, "/status/readyReplicas"), number(one, "/spec/replicas"));
            vec![ready.into(), age, containers, images]
        }
        "daemonsets.apps" => {
            let counts = [
                "desiredNumberScheduled",
                "currentNumberScheduled",
                "numberReady",
                "updatedNumberScheduled",
                "numberAvailable",
            ];
            let mut cells: Vec<Value> = counts.iter().map(|name| number(one, &format!("/status/{name}"))).collect();
            cells.extend([labels(one.pointer("/spec/template/spec/nodeSelector")), age, containers, images, selector]);
            cells
        }
        "jobs.batch" => job(one, now, [age, containers, images, selector]),
        "cronjobs.batch" => cron_job(one, now, age),
        "controllerrevisions.apps" => {
            let owner = list(one, "/metadata/ownerReferences").iter().find(|owner| owner["controller"] == true);
            let owner = owner.map_or(NONE.to_owned(), |owner| {
                let group = text(owner, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
                format!("{}.{group}/{}", text(owner, "/kind").to_lowercase(), text(owner, "/name"))
            });
            vec![owner.into(), number(one, "/revision"), age]
        }
        _ => return None,
    })
}

/// Names and images of a template's containers.
fn containers(template: &Value) -> (Value, Value) {
    (each(template, "/spec/containers", "/name").into(), each(template, "/spec/containers", "/image").into())
}

fn pod(one: &Value, now: Time) -> Vec<Value> {
    let statuses = list(one, "/status/containerStatuses");
    let ready = statuses.iter().filter(|status| status["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|status| integer(status, "/restartCount")).sum();
    let waiting = statuses.iter().find_map(|status| {
        let reasons = ["/state/waiting/reason", "/state/terminated/reason"].map(|pointer| text(status, pointer));
        reasons.into_iter().find(|reason| !reason.is_empty())
    });
    let phase = match text(one, "/status/reason") {
        "" => text(one, "/status/phase"),
        reason => reason,
    };
    let status = if object::is_deleting(one) { "Terminating" } else { waiting.unwrap_or(phase) };
    let gates = list(one, "/spec/readinessGates");
    let met = gates.iter().filter(|gate| {
        let conditions = list(one, "/status/conditions");
        conditions.iter().any(|condition| condition["type"] == gate["conditionType"] && condition["status"] == "True")
    });
    let gates = if gates.is_empty() { NONE.to_owned() } else { format!("{}/{}", met.count(), gates.len()) };
    vec![
        format!("{ready}/{}", count(one, "/spec/containers")).into(),
        status.into(),
        restarts.to_string().into(),
        age(one, now),
        or_none(one, "/status/podIP"),
        or_none(one, "/spec/nodeName"),
        or_none(one, "/status/nominatedNodeName"),
        gates.into(),
    ]
}

fn job(one: &Value, now: Time, rest: [Value; 4]) -> Vec<Value> {
    let succeeded = integer(one, "/status/succeeded").unwrap_or(0);
    let completions = match integer(one, "/spec/completions") {
        Some(completions) => format!("{succeeded}/{completions}"),
        None => match integer(one, "/spec/parallelism") {
            Some(parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        },
    };
    let is = |kind: &str| {
        let conditions = list(one, "/status/conditions");
        conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let status = match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if object::is_deleting(one) => "Terminating",
        () if is("Suspended") => "Suspended",
        () => "Running",
    };
    let (start, end) = (text(one, "/status/startTime"), text(one, "/status/completionTime"));
    let duration = match (Time::parse(start), Time::parse(end)) {
        (Some(_), end) => since(start, end.unwrap_or(now)),
        _ => String::new(),
    };
    [status.into(), completions.into(), duration.into()].into_iter().chain(rest).collect()
}

fn cron_job(one: &Value, now: Time, age: Value) -> Vec<Value> {
    let (containers, images) = containers(&one["spec"]["jobTemplate"]["spec"]["template"]);
    let last = match text(one, "/status/lastScheduleTime") {
        "" => NONE.to_owned(),
        time => since(time, now),
    };
    vec![
        text(one, "/spec/schedule").into(),
        or_none(one, "/spec/timeZone"),
        if one["spec"]["suspend"] == true { "True" } else { "False" }.into(),
        count(one, "/status/active").into(),
        last.into(),
        age,
        containers,
        images,
        selector(one, "/spec/jobTemplate/spec/selector"),
    ]
}
