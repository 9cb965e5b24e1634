//! Merging as the API server does it: random writes go to a real API server, and [`sandbox::merge`] must compute the result of
//! each.
//!
//! A test for each kind, with a seed of its own. `MERGING_SEED` and `MERGING_STEPS` try others. They are ignored but in CI or
//! with `-- --include-ignored`; in CI they fail where the control plane is not built.
#![expect(clippy::disallowed_methods, reason = "tests start and watch the world")]

mod compare;
mod dice;
mod kinds;
mod steps;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use http::Method;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::{Value, json};
use tests::controlplane::ControlPlane;
use tests::published;
use tests::raw::Raw;

use dice::Dice;
use kinds::Kind;

/// Writes to each kind.
const STEPS: usize = 120;
const SEED: u64 = 4;
const JSON: &str = "application/json";

/// The control plane that all tests share, and the objects that others may have for owners.
struct Server {
    raw: Raw,
    /// Name and uid.
    owners: Vec<(String, String)>,
}

static SERVER: Mutex<Option<Arc<Server>>> = Mutex::new(None);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let kinds = kinds::all().into_iter();
    let mut trials: Vec<Trial> =
        kinds.map(|kind| Trial::ignorable_test(kind.name, move || tell(|| run(&*server()?, &kind)))).collect();
    trials.push(Trial::ignorable_test("the_stored_documents_are_current", || tell(stored)));
    let in_ci = std::env::var_os("CI").is_some();
    let trials = trials.into_iter().map(|trial| trial.with_ignored_flag(!in_ci)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(SERVER.lock().unwrap_or_else(PoisonError::into_inner).take());
    conclusion.exit_code()
}

fn tell(test: impl FnOnce() -> Result<()>) -> Result<Completion, Failed> {
    if let Some(excuse) = ControlPlane::excuse() {
        return Ok(Completion::ignored_with(excuse));
    }
    test().map(|()| Completion::Completed).map_err(|error| format!("{error:#}").into())
}

/// Checks that the stored types and documents are those of the Kubernetes version in `tests/controlplane/go.mod`.
fn stored() -> Result<()> {
    let outdated = published::of_a_new_control_plane()?.outdated()?;
    ensure!(outdated.is_empty(), "{outdated:?}: run `cargo run -p tests --bin publish`");
    Ok(())
}

fn server() -> Result<Arc<Server>> {
    let mut server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = server.as_ref() {
        return Ok(server.clone());
    }
    let raw = Raw::start()?;
    let owners = ["owner-1", "owner-2"].map(|name| owner(&raw, name)).into_iter().collect::<Result<_>>()?;
    Ok(server.insert(Arc::new(Server { raw, owners })).clone())
}

fn owner(raw: &Raw, name: &str) -> Result<(String, String)> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let path = "/api/v1/namespaces/default/configmaps";
    let (status, text) = raw.send(&Method::POST, path, JSON, JSON, serde_json::to_vec(&object)?)?;
    ensure!(status == 201, "{status} {text}");
    let made: Value = serde_json::from_str(&text)?;
    Ok((name.to_owned(), made["metadata"]["uid"].as_str().unwrap_or_default().to_owned()))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn run(server: &Server, kind: &Kind) -> Result<()> {
    if let Some(schema) = &kind.custom {
        define(&server.raw, kind, schema)?;
    }
    let mut dice = Dice(number("MERGING_SEED").unwrap_or(SEED));
    let steps = number("MERGING_STEPS").and_then(|steps| steps.try_into().ok()).unwrap_or(STEPS);
    let mut trial = steps::Trial::new(server, kind, "x")?;
    let mut told = 0;
    for step in 0..steps {
        told += usize::from(trial.step(&mut dice).map_err(|error| error.context(format!("step {step}")))?);
    }
    // Nothing is tested by writes that the API server refuses.
    ensure!(told * 3 > steps, "only {told} of {steps} writes were accepted");
    Ok(())
}

/// Makes the kind of a custom resource and waits until it can be used.
fn define(server: &Raw, kind: &Kind, schema: &Value) -> Result<()> {
    let (group, version) = kind.api_version.split_once('/').unwrap_or_default();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{group}", kind.plural)},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": kind.plural, "kind": kind.kind},
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
            }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let body = serde_json::to_vec(&definition)?;
    let (status, text) = server.send(&Method::POST, path, JSON, JSON, body)?;
    ensure!(status == 201 || status == 409, "{status} {text}");
    tests::wait::await_condition("the kind is served", || {
        let (status, text) = server.send(&Method::GET, &kind.collection(), "", JSON, Vec::new())?;
        ensure!(status == 200, "{status} {text}");
        Ok(())
    })
}
