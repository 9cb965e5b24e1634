//! Roles and bindings.

use super::{Kind, Names};
use crate::shape::{Shape, any, list, object};

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

pub(crate) fn kinds() -> Vec<Kind> {
    let rules = || object([("rules", 95, list("", rule()))]);
    vec![
        kind("Role", "roles", true, rules()),
        kind("ClusterRole", "clusterroles", false, rules()),
        kind("RoleBinding", "rolebindings", true, binding(true)),
        kind("ClusterRoleBinding", "clusterrolebindings", false, binding(false)),
    ]
}

fn kind(kind: &'static str, plural: &'static str, namespaced: bool, body: Shape) -> Kind {
    let names = if namespaced { Names::Namespaced } else { Names::Cluster };
    let (status, until) = (None, None);
    Kind { api_version: API_VERSION, kind, plural, names, body, status, scale: false, strategic: true, until }
}

fn rule() -> Shape {
    object([
        ("apiGroups", 100, list("", any("\"\" apps batch"))),
        ("resources", 100, list("", any("pods deployments *"))),
        ("verbs", 100, list("", any("get list watch *"))),
        ("resourceNames", 10, list("", any("a b"))),
    ])
}

fn binding(namespaced: bool) -> Shape {
    let user = object([
        ("kind", 100, any("User Group")),
        ("name", 100, any("alice bob")),
        ("apiGroup", 40, any("rbac.authorization.k8s.io")),
    ]);
    let account = object([
        ("kind", 100, any("ServiceAccount")),
        ("name", 100, any("robot")),
        ("namespace", 100, any("default t-<tag>")),
    ]);
    let subject = if namespaced { account } else { user };
    object([
        ("subjects", 80, list("", subject)),
        (
            "roleRef",
            100,
            object([
                ("apiGroup", 100, any("rbac.authorization.k8s.io")),
                ("kind", 100, any("ClusterRole")),
                ("name", 100, any("view view view view edit")),
            ]),
        ),
    ])
}
