//! A sync object in the version that is served: what its spec and its annotations ask for.

use kube::api::DynamicObject;
use serde::Deserialize as _;

use super::lifecycle::{Refusal, SyncVersion};
use super::task::SyncTask;
use crate::api::{Auth, LocalRepositories, Removal, SupportedSpec, SyncStatus, supported, sync_resource};
use crate::io::reports::SyncObject;
use crate::model::finding::{Code, Finding};
use crate::model::metadata::{SyncId, annotation};
use crate::sync::accounts::Rights;
use crate::sync::plan::guard::approve_by_annotation;

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
    let spec = supported(id, &annotations, &object.data["spec"], local);
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

/// The finding about a RepoSync whose account would have the name of another one's.
pub(super) fn has_account_of(id: &SyncId, twin: &SyncId) -> Finding {
    let message =
        format!("The account of this sync would be {}, which is that of {twin}, the older one.", id.reconciler());
    Finding::new(Code::InvalidSync, message).hint("Give this sync another name.").about(sync_resource(id))
}
