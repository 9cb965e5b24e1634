//! Drift as the API server judges it: an object is applied as the agent does it, others write to it, and the agent's verdict must
//! be that of a dry run of the same apply.
//!
//! Each round has a seed of its own, which a failure names: `MERGING_SEED=7 MERGING_STEPS=1` repeats the round of seed 7.

use agent::compile::declared::DeclaredObject;
use agent::model::metadata::{FIELD_MANAGER, SyncId};
use agent::model::object::Object;
use agent::sync::live::{FieldOwnership, Live, Observed};
use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Map, Value, json};

use crate::dice::Dice;
use crate::kinds::Kind;
use crate::steps::{APPLY, Trial};
use crate::{JSON, SEED, Server, define, number};

/// Rounds of each kind.
const ROUNDS: u64 = 25;
/// Objects whose difference a failure shows whole.
const SHOWN: usize = 3;

/// An object that was applied, and what others made of it.
struct Round {
    declared: DeclaredObject,
    applied: Live,
    live: Object,
    /// A dry run of the same apply changes a value or the ownership of a field.
    /// `None` if it changes the ownership of empty lists alone: without the kind's schema an entry cannot always tell an empty list
    /// that the agent has lost from one that is owned item by item, and no value differs.
    server_acts: Option<bool>,
}

pub(crate) fn run(server: &Server, kind: &Kind) -> Result<()> {
    if let Some(schema) = &kind.custom {
        define(&server.raw, kind, schema)?;
    }
    let first = number("MERGING_SEED").unwrap_or(SEED);
    let rounds = number("MERGING_STEPS").unwrap_or(ROUNDS);
    let trial = Trial::new(server, kind, "judged")?;
    let (mut judged, mut wrong, mut told) = (0, 0, String::new());
    for seed in first..first + rounds {
        server.raw.send(&Method::DELETE, &trial.path, "", JSON, Vec::new())?;
        let Some(round) = play(&trial, &mut Dice(seed)).with_context(|| format!("seed {seed}"))? else { continue };
        judged += 1;
        let differences = differences(&round)?;
        if !differences.is_empty() {
            wrong += 1;
            told.push_str(&format!("\nseed {seed}: {differences}"));
            if wrong <= SHOWN {
                told.push_str(&format!("\n  declared {}", json!(round.declared.body().0)));
                told.push_str(&format!("\n  live {}", json!(round.live.0)));
            }
        }
    }
    server.raw.send(&Method::DELETE, &trial.path, "", JSON, Vec::new())?;
    ensure!(wrong == 0, "{wrong} of {judged} verdicts differ:{told}");
    ensure!(judged * 5 > rounds, "only {judged} of {rounds} objects were accepted");
    Ok(())
}

/// `None` when the API server refuses the object.
fn play(trial: &Trial<'_>, dice: &mut Dice) -> Result<Option<Round>> {
    let mut content = trial.content(dice, None);
    if dice.one_in(2) {
        blank(dice, &mut content);
    }
    let declared = DeclaredObject::new(serde_json::from_value(content)?);
    let Some(answer) = apply(trial, &declared, "")? else { return Ok(None) };
    let sync = SyncId::root("judged");
    let applied = Live::after_apply(&Observed::of(&answer), &answer, &declared.id, &sync);
    for _ in 0..=dice.below(3) {
        let live = trial.live()?.context("it is there")?;
        let mut request = trial.request(dice, Some(&live));
        if request.body.is_object() && dice.one_in(3) {
            blank(dice, &mut request.body);
        }
        trial.send(&request)?;
    }
    loop {
        let live: Object = serde_json::from_value(trial.live()?.context("it is there")?)?;
        let Some(answer) = apply(trial, &declared, "&dryRun=All")? else { return Ok(None) };
        // A controller may write in between.
        if live.metadata("resourceVersion") == answer.metadata("resourceVersion") {
            let acts = |but: Option<&DeclaredObject>| judged(but, &live) != judged(but, &answer);
            let server_acts = Some(acts(None)).filter(|strictly| *strictly == acts(Some(&declared)));
            return Ok(Some(Round { declared, applied, live, server_acts }));
        }
    }
}

fn apply(trial: &Trial<'_>, declared: &DeclaredObject, query: &str) -> Result<Option<Object>> {
    let request = crate::steps::Request {
        method: Method::PATCH,
        path: format!("{}?fieldManager={FIELD_MANAGER}&force=true{query}", trial.path),
        media_type: APPLY,
        body: Value::Object(declared.applied("0", "{}").0),
        manager: FIELD_MANAGER.to_owned(),
        subresource: "",
    };
    let (status, answer) = trial.send(&request)?;
    Ok(if status < 300 { Some(serde_json::from_value(answer)?) } else { None })
}

/// The values of an object, without the order of list items, and the fields of the agent, without those of lists that are declared
/// empty if their declared object is given.
fn judged(but_empty_lists_of: Option<&DeclaredObject>, object: &Object) -> (Object, Option<Map<String, Value>>) {
    let entries = Observed::of(object).managed_fields;
    let mut ours = entries.into_iter().find(|entry| entry.is_ours()).map(|entry| entry.fields);
    if let (Some(declared), Some(fields)) = (but_empty_lists_of, &mut ours) {
        remove_empty_lists(&declared.body().0, fields);
    }
    let mut object = object.clone();
    object.0.remove("status");
    object.metadata_mut().retain(|key, _| !["managedFields", "resourceVersion", "generation"].contains(&key.as_str()));
    object.0.values_mut().for_each(sort);
    (object, ours)
}

fn remove_empty_lists(declared: &Map<String, Value>, fields: &mut Map<String, Value>) {
    for (name, value) in declared {
        let key = format!("f:{name}");
        match (value, fields.get_mut(&key)) {
            (Value::Array(items), Some(_)) if items.is_empty() => _ = fields.remove(&key),
            (Value::Object(inner), Some(Value::Object(node))) => remove_empty_lists(inner, node),
            _ => {}
        }
    }
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(sort),
        Value::Array(items) => {
            items.iter_mut().for_each(sort);
            items.sort_by_cached_key(Value::to_string);
        }
        _ => {}
    }
}

/// The verdicts of the agent that are not the API server's: while it runs, after a restart, and in audits of both.
fn differences(round: &Round) -> Result<String> {
    let Round { declared, applied, live, server_acts } = round;
    let (seen, sync) = (Observed::of(live), SyncId::root("judged"));
    let mut told = Vec::new();
    for (name, before, audit) in [
        ("running", Some(applied), false),
        ("restarted", None, false),
        ("running, by an audit", Some(applied), true),
        ("restarted, by an audit", None, true),
    ] {
        let mut record = Live::observe(&seen, &declared.id, &sync, Some(declared), before);
        if audit || record.fields == FieldOwnership::Unsure {
            record = Live::after_read(&seen, live, &sync, declared, before);
        }
        ensure!(record.fields != FieldOwnership::Unsure, "{name}: unsure after a read");
        let acts = record.fields != FieldOwnership::Ours || record.hash != Some(declared.hash);
        if let Some(server_acts) = *server_acts
            && acts != server_acts
        {
            let word = if server_acts { "nothing is done" } else { "more than a dry run is done" };
            told.push(format!("{word} when {name} ({:?})", record.fields));
        }
    }
    Ok(told.join(", "))
}

/// Makes some values empty, of those that do not name the object.
fn blank(dice: &mut Dice, content: &mut Value) {
    let fields = content.as_object_mut().into_iter().flatten();
    for (_, value) in fields.filter(|(name, _)| !["apiVersion", "kind", "metadata"].contains(&name.as_str())) {
        blank_value(dice, value);
    }
}

fn blank_value(dice: &mut Dice, value: &mut Value) {
    if dice.one_in(12) {
        *value = match value {
            Value::Null => Value::Null,
            Value::Bool(_) => false.into(),
            Value::Number(_) => 0.into(),
            Value::String(_) => "".into(),
            Value::Array(_) => json!([]),
            Value::Object(_) => json!({}),
        };
        return;
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| blank_value(dice, value)),
        Value::Array(items) => items.iter_mut().for_each(|value| blank_value(dice, value)),
        _ => {}
    }
}
