//! A RootSync that names a path, for which the agent would read its own disk.

use anyhow::{Result, ensure};
use serde_json::json;
use tests::cluster::Kind;
use tests::repository::Repository;
use tests::wait::await_condition;

use crate::world::{Sync, agent_with, await_event, condition, config_map, installed, namespace};

const NAME: &str = "on-disk";

pub(crate) fn are_refused(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent_with(&cluster, &[], &[])?;
    let repository = Repository::empty()?;
    repository.write("namespace.yaml", &namespace(NAME))?;
    repository.write("settings.yaml", &config_map(NAME, "settings", "value"))?;
    let path = repository.path().display().to_string();
    let sync = Sync::unstructured(&cluster, NAME, repository)?;
    for repo in [path.clone(), format!("file://{path}"), format!("{path}/../{path}")] {
        cluster.patch(&sync.path(), &json!({ "spec": { "git": { "repo": repo } } }))?;
        await_condition(&format!("{repo} is refused"), || {
            let object = sync.object()?;
            let stalled = condition(&object, "Stalled")?;
            let message = stalled["message"].as_str().unwrap_or_default();
            ensure!(stalled["status"] == "True" && message.contains("--allow-local-repositories"), "{object:#}");
            ensure!(object["status"]["observedGeneration"] == object["metadata"]["generation"], "{object:#}");
            Ok(())
        })?;
    }
    await_event(&cluster, NAME, "Warning", "KNV1061")?;
    ensure!(!cluster.exists(&format!("/api/v1/namespaces/{NAME}"))?, "the Namespace was applied");
    Ok(())
}
