//! The walkthrough, by itself: what a curious user would try, and whether it holds.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::wait::await_condition;

use crate::{NAME, Scene, say};

type Step = fn(&Scene) -> Result<()>;

/// The steps, in order.
const STEPS: &[(&str, Step)] = &[
    ("a user scales the Deployment to five", drift),
    ("a user deletes the Namespace", deleted_namespace),
    ("a commit changes one file", one_file),
    ("a commit declares a Service twice", broken_commit),
    ("a commit removes everything", large_prune),
];

/// Tries everything.
///
/// # Errors
/// At the first thing that does not hold.
pub(crate) fn through(scene: &Scene) -> Result<()> {
    for (what, step) in STEPS {
        say(&format!("\n# {what}"));
        step(scene)?;
    }
    say("");
    Ok(())
}

fn deployment() -> String {
    format!("/apis/apps/v1/namespaces/{NAME}/deployments/go-hello")
}

fn service() -> String {
    format!("/api/v1/namespaces/{NAME}/services/go-hello")
}

fn ingress() -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{NAME}/ingresses/go-hello")
}

fn await_replicas(scene: &Scene, replicas: u32) -> Result<()> {
    await_condition(&format!("the Deployment has {replicas} replicas"), || {
        let live = scene.cluster.get(&deployment())?;
        ensure!(live["spec"]["replicas"] == replicas, "it has {}", live["spec"]["replicas"]);
        Ok(())
    })
}

fn drift(scene: &Scene) -> Result<()> {
    let generation = |live: &Value| live["metadata"]["generation"].as_u64();
    let scaled = scene.cluster.patch(&deployment(), &json!({"spec": {"replicas": 5}}))?;
    ensure!(scaled["spec"]["replicas"] == 5, "{scaled:#}");
    await_replicas(scene, 2)?;
    let back = scene.cluster.get(&deployment())?;
    ensure!(generation(&back) > generation(&scaled), "the Deployment was not written again: {back:#}");
    say("The Deployment has two replicas again.");
    Ok(())
}

fn deleted_namespace(scene: &Scene) -> Result<()> {
    let path = format!("/api/v1/namespaces/{NAME}");
    let before = scene.cluster.get(&path)?["metadata"]["uid"].clone();
    scene.cluster.delete(&path)?;
    await_condition("everything is back", || {
        ensure!(scene.cluster.get(&path)?["metadata"]["uid"] != before, "it is the old Namespace");
        for path in [service(), format!("{}-admin", service()), deployment(), ingress()] {
            scene.cluster.get(&path)?;
        }
        Ok(())
    })?;
    scene.synced()?;
    say("It is back, with everything in it.");
    Ok(())
}

fn one_file(scene: &Scene) -> Result<()> {
    scene.repository.replace(&format!("namespaces/{NAME}/deployment.yaml"), "replicas: 2", "replicas: 3")?;
    let from = scene.cluster.now()?;
    scene.repository.commit()?;
    scene.synced()?;
    await_replicas(scene, 3)?;
    let writes = scene.cluster.writes(from)?;
    let writes: Vec<String> = writes.iter().map(|write| format!("{} {}", write.verb, write.resource)).collect();
    ensure!(writes == ["patch deployments"], "{writes:?}");
    say("One apply, and the Deployment has three replicas.");
    Ok(())
}

fn broken_commit(scene: &Scene) -> Result<()> {
    let copy = format!("namespaces/{NAME}/copy.yaml");
    scene.repository.write(&copy, "apiVersion: v1\nkind: Service\nmetadata:\n  name: go-hello\n")?;
    let from = scene.cluster.now()?;
    scene.repository.commit()?;
    let place = format!("{copy}:4");
    scene
        .status("the commit is refused", |code, text| code == 1 && text.contains("KNV1029") && text.contains(&place))?;
    ensure!(scene.cluster.writes(from)?.is_empty(), "it wrote: {:#?}", scene.cluster.writes(from)?);
    say("Nothing was changed. `nomos vet` says the same before the push. The next commit mends it.");
    scene.repository.remove(&copy)?;
    scene.repository.commit()?;
    scene.synced()?;
    Ok(())
}

fn large_prune(scene: &Scene) -> Result<()> {
    scene.repository.remove("namespaces")?;
    let from = scene.cluster.now()?;
    scene.repository.commit()?;
    scene.status("the commit is held", |code, text| code == 1 && text.contains("KNV2006"))?;
    ensure!(scene.cluster.writes(from)?.is_empty(), "it wrote: {:#?}", scene.cluster.writes(from)?);
    say("It is held. A user approves exactly these deletions.");
    scene.cluster.approve_prune(NAME)?;
    scene.synced()?;
    await_condition("the Namespace is gone", || {
        ensure!(!scene.cluster.exists(&format!("/api/v1/namespaces/{NAME}"))?, "it is still there");
        Ok(())
    })
}
