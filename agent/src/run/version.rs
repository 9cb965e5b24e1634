//! A sync object in the version that is served: what its spec and its annotations ask for.

use kube::api::DynamicObject;
use serde::Deserialize as _;
use serde_json::Value;

use super::lifecycle::{Refusal, SyncVersion};
use super::task::SyncTask;
use crate::api::{Auth, LocalRepositories, Removal, SupportedSpec, SyncStatus, supported, sync_resource};
use crate::io::reports::SyncObject;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::{SyncId, annotation};
use crate::sync::accounts::Rights;
use crate::sync::plan::guard::approve_by_annotation;

/// The size of the largest spec in bytes of JSON. The agent has the spec of each sync object in memory, and every client with rights on
/// RepoSyncs can make some.
const LARGEST_SPEC: usize = 64 << 10;
/// The field that takes the place of a larger spec: its size.
const SPEC_BYTES: &str = "specBytes";

/// Leaves a spec out that is too large: [`version`] refuses the object.
pub(super) fn leave_out_large_spec(object: &mut DynamicObject) {
    let size = object.data["spec"].to_string().len();
    if size > LARGEST_SPEC {
        object.data["spec"] = Value::Null;
        object.data[SPEC_BYTES] = size.into();
    }
}

/// The rights that a spec asks for.
fn rights(spec: &SupportedSpec) -> Rights {
    let google = match spec.git.auth {
        Auth::GcpServiceAccount => spec.git.gcp_service_account_email.clone(),
        _ => String::new(),
    };
    Rights { roles: spec.role_refs.clone(), google }
}

/// The sync object as its spec asks to be served.
pub(super) fn version(id: &SyncId, cluster_name: &str, local: LocalRepositories, object: DynamicObject) -> SyncVersion {
    let uid = object.metadata.uid.unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or(0);
    let annotations = object.metadata.annotations.unwrap_or_default();
    let approval = annotations.get(annotation::APPROVE_PRUNE).cloned();
    let asked = annotations.get(annotation::SYNC_NOW).cloned();
    let status = SyncStatus::deserialize(&object.data["status"]).unwrap_or_default();
    let written = SyncObject { status, uid: uid.clone() };
    let spec = match object.data[SPEC_BYTES].as_u64() {
        Some(size) => Err(too_large(id, size)),
        None => supported(id, &annotations, &object.data["spec"], local),
    };
    let removal = object.metadata.deletion_timestamp.is_some().then(|| match id.is_in_place() {
        true => Removal::of(&annotations),
        false => Removal::Keep,
    });
    let task = |rights, spec| task(id.clone(), cluster_name.to_owned(), written.clone(), generation, rights, spec);
    let task = match spec {
        Ok(spec) => Ok(SyncTask { removal, ..task(Some(rights(&spec)), spec) }),
        Err(_) if removal.is_some() => Ok(SyncTask { removal, ..task(None, SupportedSpec::default()) }),
        Err(finding) => Err(Refusal { object: written, generation, finding }),
    };
    let suspended = annotations.get(annotation::SUSPEND).is_some_and(|value| value == "true");
    SyncVersion { uid, generation, approval, asked, suspended, task }
}

fn task(
    id: SyncId,
    cluster_name: String,
    object: SyncObject,
    generation: i64,
    rights: Option<Rights>,
    spec: SupportedSpec,
) -> SyncTask {
    let SupportedSpec {
        git,
        format,
        resource_status,
        implicit_namespaces,
        reconcile_timeout,
        api_server_timeout,
        role_refs: _,
    } = spec;
    SyncTask {
        how_to_approve: approve_by_annotation(&id.kind.to_string(), &id.namespace, &id.name),
        format,
        period: git.period(),
        git,
        cluster_name,
        object: Some(object),
        generation,
        rights,
        resource_status,
        implicit_namespaces,
        reconcile_timeout,
        api_server_timeout,
        removal: None,
        sync: id,
    }
}

fn too_large(id: &SyncId, size: u64) -> Finding {
    let message = format!("The spec has {} KiB, more than {}.", size >> 10, LARGEST_SPEC >> 10);
    let hint = "Look for a field that holds something else by mistake, and make the spec smaller.";
    Finding::new(Code::InvalidSync, message).hint(hint).about(sync_resource(id))
}

/// The finding about a RepoSync whose account would have the name of another one's.
pub(super) fn has_account_of(id: &SyncId, twin: &SyncId) -> Finding {
    let message =
        format!("The account of this sync would be {}, which is that of {twin}, the older one.", id.reconciler());
    Finding::new(Code::InvalidSync, message).hint("Give this sync another name.").about(sync_resource(id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_large_spec_is_refused_and_not_kept() {
        let object = |filler: usize| {
            let git = json!({"repo": "https://example.com/r", "auth": "none", "dir": "x".repeat(filler)});
            let object = json!({
                "apiVersion": "configsync.gke.io/v1beta1", "kind": "RepoSync",
                "metadata": {"name": "repo-sync", "namespace": "shop"}, "spec": {"git": git},
            });
            let mut object: DynamicObject = serde_json::from_value(object).expect("an object");
            leave_out_large_spec(&mut object);
            object
        };
        let task = |object: DynamicObject| {
            let id = SyncId::repo("shop", "repo-sync");
            version(&id, "", LocalRepositories::default(), object).task.map(drop).map_err(|refusal| refusal.finding)
        };
        assert_eq!(task(object(10)), Ok(()));
        let large = object(LARGEST_SPEC);
        assert!(large.data.to_string().len() < 100, "{:?}", large.data);
        let finding = task(large).expect_err("it is too large");
        assert_eq!(finding.code, Code::InvalidSync);
        assert!(finding.message.starts_with("The spec has 64 KiB, more than 64"), "{}", finding.message);
    }
}
