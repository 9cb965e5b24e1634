//! Services.

use serde_json::Value;

use crate::failure::Cause;
use crate::kinds::names;
use crate::object::{integer, list, text};

use super::{one_of, port};

/// A Service.
pub(super) fn service(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let ports = list(object, "/spec/ports");
    let external = text(object, "/spec/type") == "ExternalName";
    if ports.is_empty() && !external && text(object, "/spec/clusterIP") != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    if external && text(object, "/spec/externalName").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    causes.extend(self::ports(ports));
    causes.extend(names::labels("spec.selector", object.pointer("/spec/selector")));
    causes.extend(one_of(object, "/spec/sessionAffinity", "spec.sessionAffinity", &["ClientIP", "None"]));
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    causes.extend(one_of(object, "/spec/type", "spec.type", &types));
    if let Some(live) = live {
        let (new, old) = (text(object, "/spec/clusterIP"), text(live, "/spec/clusterIP"));
        let kept = text(live, "/spec/type") != "ExternalName" && !external;
        if kept && !old.is_empty() && new != old {
            let value = vec![new].into();
            causes.push(Cause::invalid("spec.clusterIPs[0]", &value, "may not change once set"));
        }
    }
    causes
}

fn ports(ports: &[Value]) -> Vec<Cause> {
    let (mut causes, mut names_seen) = (Vec::new(), Vec::new());
    for (at, one) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        match text(one, "/name") {
            "" if ports.len() > 1 => causes.push(Cause::required(format!("{field}.name"), "")),
            "" => {}
            name => {
                let detail = names::label(name);
                causes.extend(detail.map(|detail| Cause::invalid(format!("{field}.name"), &name.into(), &detail)));
                if names_seen.contains(&name) {
                    let message = format!("Duplicate value: {name:?}");
                    causes.push(Cause::new("FieldValueDuplicate", format!("{field}.name"), message));
                }
                names_seen.push(name);
            }
        }
        causes.extend(port(&one["port"], &format!("{field}.port")));
        causes.extend(one_of(one, "/protocol", &format!("{field}.protocol"), &["SCTP", "TCP", "UDP"]));
        causes.extend(port(&one["targetPort"], &format!("{field}.targetPort")));
    }
    causes.extend(twice(ports));
    causes
}

/// The same port of the same protocol may be there once.
fn twice(ports: &[Value]) -> Vec<Cause> {
    let place = |one: &Value| (text(one, "/protocol").to_owned(), integer(one, "/port"));
    let mut seen = Vec::new();
    let mut causes = Vec::new();
    for (at, one) in ports.iter().enumerate() {
        if seen.contains(&place(one)) {
            let message = format!(
                "Duplicate value: {{\"Name\":\"\",\"Protocol\":{:?},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                text(one, "/protocol"),
                one["port"]
            );
            causes.push(Cause::new("FieldValueDuplicate", format!("spec.ports[{at}]"), message));
        }
        seen.push(place(one));
    }
    causes
}

/// The node ports of Services.
pub(in crate::kinds) fn ports_of_all<'a>(services: impl Iterator<Item = &'a Value>) -> Vec<i64> {
    services.flat_map(|one| list(one, "/spec/ports")).filter_map(|port| integer(port, "/nodePort")).collect()
}
