//! Volumes and what provides them.

use serde_json::Value;

use crate::clock::Time;
use crate::object::{self, list, text};

use crate::table::cells::{age, count};

fn modes(one: &Value) -> String {
    let short = |mode: &Value| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        _ => "RWOP",
    };
    list(one, "/spec/accessModes").iter().map(short).collect::<Vec<_>>().join(",")
}

/// All cells but the name, if it is one of these kinds.
pub(super) fn cells(collection: &str, one: &Value, now: Time) -> Option<Vec<Value>> {
    let age = age(one, now);
    let shown = |pointer: &str| Value::from(text(one, pointer));
    let boolean = |pointer: &str| one.pointer(pointer).cloned().unwrap_or(false.into());
    let phase = if object::is_deleting(one) { "Terminating".into() } else { shown("/status/phase") };
    let class = match text(one, "/spec/volumeAttributesClassName") {
        "" => "<unset>",
        class => class,
    };
    Some(match collection {
        "persistentvolumeclaims" => {
            let bound = !text(one, "/spec/volumeName").is_empty();
            let (capacity, modes) =
                if bound { (shown("/status/capacity/storage"), modes(one)) } else { ("".into(), String::new()) };
            let (volume, storage, mode) =
                (shown("/spec/volumeName"), shown("/spec/storageClassName"), shown("/spec/volumeMode"));
            vec![phase, volume, capacity, modes.into(), storage, class.into(), age, mode]
        }
        "persistentvolumes" => {
            let claim = match text(one, "/spec/claimRef/name") {
                "" => String::new(),
                name => format!("{}/{name}", text(one, "/spec/claimRef/namespace")),
            };
            let (capacity, policy) = (shown("/spec/capacity/storage"), shown("/spec/persistentVolumeReclaimPolicy"));
            let (storage, reason, mode) =
                (shown("/spec/storageClassName"), shown("/status/reason"), shown("/spec/volumeMode"));
            vec![capacity, modes(one).into(), policy, phase, claim.into(), storage, class.into(), reason, age, mode]
        }
        "storageclasses.storage.k8s.io" => {
            let expands = one.get("allowVolumeExpansion").cloned().unwrap_or(false.into());
            vec![shown("/provisioner"), shown("/reclaimPolicy"), shown("/volumeBindingMode"), expands, age]
        }
        "csidrivers.storage.k8s.io" => {
            let tokens: Vec<&str> = list(one, "/spec/tokenRequests").iter().map(|one| text(one, "/audience")).collect();
            let tokens = if tokens.is_empty() { "<unset>".to_owned() } else { tokens.join(",") };
            let modes: Vec<&str> = list(one, "/spec/volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
            let (attach, pod, capacity) =
                (boolean("/spec/attachRequired"), boolean("/spec/podInfoOnMount"), boolean("/spec/storageCapacity"));
            vec![attach, pod, capacity, tokens.into(), boolean("/spec/requiresRepublish"), modes.join(",").into(), age]
        }
        "csinodes.storage.k8s.io" => vec![count(one, "/spec/drivers").into(), age],
        "volumeattachments.storage.k8s.io" => {
            let volume = shown("/spec/source/persistentVolumeName");
            vec![shown("/spec/attacher"), volume, shown("/spec/nodeName"), boolean("/status/attached"), age]
        }
        "volumeattributesclasses.storage.k8s.io" => vec![shown("/driverName"), age],
        _ => return None,
    })
}
