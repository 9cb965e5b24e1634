//! Live objects, and what is exported of them.

use serde_json::json;

use super::super::candidates::{Answered, default_candidates, given_back};
use super::*;

fn object(value: Value) -> Object {
    serde_json::from_value(value).expect("an object")
}

/// An object with these fields beside its metadata; `namespace` may be empty.
fn live(api_version: &str, kind: &str, metadata: Value, fields: Value) -> Object {
    let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
    for (key, field) in fields.as_object().into_iter().flatten() {
        value[key] = field.clone();
    }
    object(value)
}

fn meaning_of(object: &Object) -> Meaning {
    meaning(object, &MakerFacts::default())
}

fn is_left(object: &Object) -> bool {
    matches!(meaning_of(object), Meaning::Left(_))
}

/// The object as it is exported, without asking for defaults.
fn exported(object: Object) -> Value {
    Value::Object(meant(object, &[], &MakerFacts::default()).0)
}

#[test]
fn every_default_of_a_table_is_json() {
    let tables = default_tables::DEFAULTS.iter().map(|(_, rows)| *rows);
    let rows = tables.chain([default_tables::POD_SPEC, default_tables::CONTAINER, default_tables::PROBE]).flatten();
    for (path, json) in rows {
        assert!(json.is_empty() || serde_json::from_str::<Value>(json).is_ok(), "{path}: {json}");
        assert!(path.starts_with('/'), "{path}");
    }
}

#[test]
fn objects_of_controllers_and_of_the_cluster_are_left_out() {
    let owned = json!({"name": "a", "namespace": "b", "ownerReferences": [{"kind": "ReplicaSet", "controller": true}]});
    let written = |manager: &str, subresource: &str| json!({"manager": manager, "operation": "Update", "subresource": subresource});
    let by_controller =
        json!({"name": "a", "namespace": "b", "managedFields": [written("kube-controller-manager", "")]});
    let issued = json!({"name": "a", "namespace": "b", "annotations": {"cert-manager.io/certificate-name": "a"}});
    for object in [
        live("v1", "Pod", owned, json!({})),
        live("v1", "ConfigMap", by_controller, json!({})),
        live("v1", "Secret", issued, json!({})),
        live("v1", "ConfigMap", json!({"name": "kube-root-ca.crt", "namespace": "b"}), json!({})),
        live("v1", "ConfigMap", json!({"name": "a", "namespace": "kube-system"}), json!({})),
        live("v1", "Namespace", json!({"name": "kube-public"}), json!({})),
        live("v1", "Namespace", json!({"name": "config-management-system"}), json!({})),
        live(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            json!({"name": "view", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}),
            json!({}),
        ),
        live("v1", "ServiceAccount", json!({"name": "default", "namespace": "b", "uid": "u"}), json!({})),
        live(
            "v1",
            "Secret",
            json!({"name": "a", "namespace": "b"}),
            json!({"type": "kubernetes.io/service-account-token"}),
        ),
        live(
            "batch/v1",
            "Job",
            json!({"name": "a", "namespace": "b"}),
            json!({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
        ),
        live("apiregistration.k8s.io/v1", "APIService", json!({"name": "v1.apps"}), json!({"spec": {"group": "apps"}})),
        live(
            "v1",
            "PersistentVolume",
            json!({"name": "a", "annotations": {"pv.kubernetes.io/provisioned-by": "x"}}),
            json!({}),
        ),
        live("v1", "ConfigMap", json!({"name": "a", "namespace": "b", "deletionTimestamp": "now"}), json!({})),
    ] {
        assert!(is_left(&object), "{}", object.id());
    }
    for (group, kind) in [("", "Event"), ("events.k8s.io", "Event"), ("coordination.k8s.io", "Lease"), ("kpt.dev", "X")]
    {
        assert!(left_kind(&GroupKind::new(group, kind)).is_some(), "{group} {kind}");
    }
    assert_eq!(left_kind(&GroupKind::new("example.com", "Event")), None);
}

#[test]
fn objects_of_people_are_meant() {
    let by_people =
        json!({"name": "default", "namespace": "b", "annotations": {"iam.gke.io/gcp-service-account": "x"}});
    // Its first entry was wiped.
    let status_alone =
        json!({"name": "a", "namespace": "b", "managedFields": [{"manager": "x", "subresource": "status"}]});
    for object in [
        live("v1", "ServiceAccount", by_people, json!({})),
        live("v1", "Service", status_alone, json!({})),
        live("v1", "Endpoints", json!({"name": "outside", "namespace": "b"}), json!({})),
        live("v1", "Pod", json!({"name": "a", "namespace": "b", "ownerReferences": [{"kind": "X"}]}), json!({})),
        live("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"name": "view-all"}), json!({})),
        live("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"name": "system:metrics-server"}), json!({})),
        live("v1", "Namespace", json!({"name": "kube-prometheus-stack"}), json!({})),
        live("v1", "ConfigMap", json!({"name": "a", "namespace": "kube-prometheus-stack"}), json!({})),
    ] {
        assert_eq!(meaning_of(&object), Meaning::Meant, "{}", object.id());
    }
    assert_eq!(meaning_of(&live("v1", "Secret", json!({"name": "a", "namespace": "b"}), json!({}))), Meaning::Secret);
}

#[test]
fn objects_that_others_make_are_known_by_those() {
    let mut facts = MakerFacts::default();
    let named = |name: &str| json!({"name": name, "namespace": "b"});
    facts.learn(&live("v1", "Service", named("web"), json!({"spec": {"selector": {"app": "web"}}})));
    facts.learn(&live("v1", "Service", named("outside"), json!({"spec": {}})));
    facts.learn(&live(
        "apps/v1",
        "StatefulSet",
        named("db"),
        json!({"spec": {"replicas": 2, "volumeClaimTemplates": [
            {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}},
        ]}}),
    ));
    facts.learn(&live(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        named("web"),
        json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
    ));
    let is_left =
        |kind: &str, name: &str| matches!(meaning(&live("v1", kind, named(name), json!({})), &facts), Meaning::Left(_));
    assert!(is_left("Endpoints", "web") && !is_left("Endpoints", "outside"));
    let claim = |name: &str, size: &str| {
        let spec = json!({"spec": {"resources": {"requests": {"storage": size}}}});
        meaning(&live("v1", "PersistentVolumeClaim", named(name), spec), &facts)
    };
    assert!(matches!(claim("data-db-1", "1Gi"), Meaning::Left(_)));
    for (name, size) in [("data-db-backup", "1Gi"), ("data-db-2", "1Gi"), ("data-db-1", "500Gi")] {
        assert_eq!(claim(name, size), Meaning::Meant, "{name} {size}");
    }
    let web = live("apps/v1", "Deployment", named("web"), json!({"spec": {"replicas": 7, "paused": true}}));
    assert_eq!(Value::Object(meant(web, &[], &facts).0)["spec"], json!({"paused": true}));
}

#[test]
fn helm_releases_are_told_by_name() {
    let metadata = json!({
        "name": "a", "namespace": "b", "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "b"},
    });
    let object = live("v1", "ConfigMap", metadata, json!({}));
    assert_eq!(meaning_of(&object), Meaning::Release("b/shop".to_owned()));
    assert_eq!(exported(object)["metadata"], json!({"name": "a", "namespace": "b"}));
    let metadata = json!({"name": "sh.helm.release.v1.shop.v3", "namespace": "b"});
    let secret = live("v1", "Secret", metadata, json!({"type": "helm.sh/release.v1"}));
    assert_eq!(meaning_of(&secret), Meaning::Release("b/shop".to_owned()));
    assert!(is_release_secret(&secret));
}

#[test]
fn metadata_of_the_server_and_of_syncs_goes() {
    let namespace = live(
        "v1",
        "Namespace",
        json!({
            "name": "shop", "uid": "u", "resourceVersion": "1", "creationTimestamp": "t", "finalizers": ["x"],
            "labels": {
                "kubernetes.io/metadata.name": "shop", "team": "a", "shop.tree.hnc.x-k8s.io/depth": "0",
                "app.kubernetes.io/managed-by": "configmanagement.gke.io", "applyset.kubernetes.io/part-of": "x",
                "configsync.gke.io/declared-version": "v1",
            },
            "annotations": {
                "configmanagement.gke.io/managed": "enabled", "configsync.gke.io/manager": ":root", "note": "x",
                "kubectl.kubernetes.io/last-applied-configuration": "{}", "hnc.x-k8s.io/managed-by": "configmanagement.gke.io",
            },
        }),
        json!({"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}),
    );
    let expected = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"team": "a"}, "annotations": {"note": "x"}},
    });
    assert_eq!(exported(namespace), expected);
    let special = live(
        "v1",
        "Namespace",
        json!({"name": "default", "annotations": {"client.lifecycle.config.k8s.io/deletion": "detach"}}),
        json!({}),
    );
    assert_eq!(exported(special)["metadata"], json!({"name": "default"}));
}

/// A Service of the type NodePort, whose writer owns these fields of its port 80.
fn node_port(fields: Value) -> Object {
    live(
        "v1",
        "Service",
        json!({"name": "a", "namespace": "b", "managedFields": [{
            "manager": "kubectl-create", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:type": {}, "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": fields}}},
        }]}),
        json!({"spec": {
            "type": "NodePort", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}],
        }}),
    )
}

#[test]
fn assigned_addresses_and_ports_go_and_chosen_ones_stay() {
    let assigned = exported(node_port(json!({".": {}, "f:port": {}})));
    assert_eq!(assigned["spec"], json!({"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}]}));
    let chosen = exported(node_port(json!({".": {}, "f:port": {}, "f:nodePort": {}})));
    assert_eq!(chosen["spec"]["ports"][0]["nodePort"], 30080);
    let headless = live(
        "v1",
        "Service",
        json!({"name": "a", "namespace": "b"}),
        json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}}),
    );
    assert_eq!(exported(headless)["spec"], json!({"clusterIP": "None"}));
}

#[test]
fn bindings_of_volumes_go_and_those_of_people_stay() {
    let claim = |annotations: Value| {
        let metadata = json!({"name": "a", "namespace": "b", "annotations": annotations});
        live("v1", "PersistentVolumeClaim", metadata, json!({"spec": {"volumeName": "pv", "accessModes": ["x"]}}))
    };
    let bound = claim(json!({"pv.kubernetes.io/bound-by-controller": "yes", "pv.kubernetes.io/bind-completed": "yes"}));
    let bound = exported(bound);
    assert_eq!(
        (&bound["spec"], &bound["metadata"]),
        (&json!({"accessModes": ["x"]}), &json!({"name": "a", "namespace": "b"}))
    );
    let chosen = exported(claim(json!({"pv.kubernetes.io/bind-completed": "yes"})));
    assert_eq!(chosen["spec"]["volumeName"], "pv");
}

#[test]
fn a_job_has_no_uid_and_a_pod_no_token() {
    let labels = json!({"app": "a", "controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "a"});
    let spec = json!({
        "selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}},
        "template": {"metadata": {"creationTimestamp": null, "labels": labels}},
    });
    let job = exported(live("batch/v1", "Job", json!({"name": "a", "namespace": "b"}), json!({"spec": spec})));
    assert_eq!(job["spec"], json!({"template": {"metadata": {"labels": {"app": "a"}}}}));
    let away = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    let tolerations =
        json!([{"key": "x"}, away("node.kubernetes.io/not-ready"), away("node.kubernetes.io/unreachable")]);
    let mounts = json!([{"name": "kube-api-access-x", "mountPath": "/var"}]);
    let spec = json!({
        "nodeName": "n", "volumes": [{"name": "kube-api-access-x"}, {"name": "data"}],
        "containers": [{"name": "a", "volumeMounts": mounts}], "serviceAccountName": "default", "priority": 0,
        "tolerations": tolerations,
    });
    let pod = exported(live("v1", "Pod", json!({"name": "a", "namespace": "b"}), json!({"spec": spec})));
    let expected = json!({"volumes": [{"name": "data"}], "containers": [{"name": "a"}], "tolerations": [{"key": "x"}]});
    assert_eq!(pod["spec"], expected);
}

#[test]
fn a_job_has_the_selector_that_people_chose_and_no_empty_one_that_was_filled() {
    let job = |manual: bool, labels: Value| {
        let metadata = json!({"name": "a", "namespace": "b", "managedFields": [
            {"manager": "kubectl", "operation": "Apply", "apiVersion": "batch/v1", "fieldsV1": {"f:spec": {"f:selector": {}}}},
        ]});
        let spec = json!({"spec": {"manualSelector": manual, "selector": {"matchLabels": labels}}});
        exported(live("batch/v1", "Job", metadata, spec))["spec"]["selector"].clone()
    };
    assert_eq!(job(false, json!({"batch.kubernetes.io/controller-uid": "u"})), Value::Null);
    assert_eq!(job(true, json!({"app": "a"})), json!({"matchLabels": {"app": "a"}}));
}

fn deployment() -> Object {
    let container = json!({
        "name": "a", "image": "a:1", "imagePullPolicy": "IfNotPresent", "resources": {}, "terminationMessagePath": "/x",
        "livenessProbe": {"periodSeconds": 10, "httpGet": {"path": "/", "port": 1, "scheme": "HTTP"}},
    });
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    let pod = json!({"containers": [container], "dnsPolicy": "ClusterFirst", "securityContext": {}});
    live(
        "apps/v1",
        "Deployment",
        json!({"name": "a", "namespace": "b"}),
        json!({"spec": {"replicas": 2, "strategy": strategy, "template": {"spec": pod}}}),
    )
}

#[test]
fn values_that_may_be_defaults_are_named_as_maps_where_all_are() {
    let container = "/spec/template/spec/containers/0";
    let mut expected = [
        "/spec/strategy".to_owned(),
        "/spec/template/spec/dnsPolicy".to_owned(),
        "/spec/template/spec/securityContext".to_owned(),
        format!("{container}/imagePullPolicy"),
        format!("{container}/resources"),
        format!("{container}/livenessProbe/periodSeconds"),
        format!("{container}/livenessProbe/httpGet/path"),
        format!("{container}/livenessProbe/httpGet/scheme"),
    ];
    expected.sort();
    let candidates = default_candidates(&deployment(), &MakerFacts::default());
    assert_eq!(candidates, expected);
    let spec = &Value::Object(meant(deployment(), &candidates, &MakerFacts::default()).0)["spec"];
    let probe = json!({"httpGet": {"port": 1}});
    let containers = json!([{"name": "a", "image": "a:1", "terminationMessagePath": "/x", "livenessProbe": probe}]);
    assert_eq!(*spec, json!({"replicas": 2, "template": {"spec": {"containers": containers}}}));
}

#[test]
fn a_candidate_that_is_not_given_back_stays() {
    let candidates = ["/spec/strategy".to_owned(), "/spec/replicas".to_owned()];
    let mut answer = deployment();
    answer.0["spec"]["replicas"] = 1.into();
    answer.0.insert("status".to_owned(), json!({"replicas": 2}));
    let strategy = || "/spec/strategy".to_owned();
    assert_eq!(given_back(&deployment(), &answer, &candidates), Answered::Fewer(vec![strategy()]));
    assert_eq!(given_back(&deployment(), &answer, &[strategy()]), Answered::Changed);
    assert_eq!(given_back(&deployment(), &deployment(), &candidates), Answered::Same);
}

#[test]
fn fields_of_a_map_that_is_not_given_back_are_tried_alone() {
    let behavior = json!({"scaleDown": {"selectPolicy": "Max"}, "scaleUp": {"selectPolicy": "Max"}});
    let scaler =
        |spec: Value| live("autoscaling/v2", "HorizontalPodAutoscaler", json!({"name": "a", "namespace": "b"}), spec);
    let whole = scaler(json!({"spec": {"maxReplicas": 3, "behavior": behavior}}));
    let candidates = default_candidates(&whole, &MakerFacts::default());
    assert_eq!(candidates, ["/spec/behavior"]);
    let answer = scaler(json!({"spec": {"maxReplicas": 3}}));
    let fields = ["/spec/behavior/scaleDown", "/spec/behavior/scaleUp"].map(str::to_owned).to_vec();
    assert_eq!(given_back(&whole, &answer, &candidates), Answered::Fewer(fields));
}

#[test]
fn a_field_without_which_others_are_added_stays() {
    let set = |strategy: Value| {
        live(
            "apps/v1",
            "StatefulSet",
            json!({"name": "a", "namespace": "b"}),
            json!({"spec": {"replicas": 1, "updateStrategy": strategy}}),
        )
    };
    let answer = set(json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}));
    let candidates = ["/spec/replicas", "/spec/updateStrategy/type"].map(str::to_owned);
    let answered = given_back(&set(json!({"type": "RollingUpdate"})), &answer, &candidates);
    assert_eq!(answered, Answered::Fewer(vec!["/spec/replicas".to_owned()]));
}

/// An object of this manager, who owns these fields of the spec.
fn of_manager(manager: &str, operation: &str, fields: Value) -> Value {
    json!({"name": "a", "namespace": "b", "managedFields": [{
        "manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields},
    }]})
}

#[test]
fn a_value_that_nobody_owns_may_be_a_default_of_any_kind() {
    let spec = json!({
        "size": 1, "color": "red", "whole": {"a": 1},
        "parts": [{"name": "x", "count": 1}, {"name": "injected", "count": 1}], "added": {"deep": {"a": 1}},
    });
    let own = json!({"f:color": {}, "f:whole": {}, "f:parts": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}}}});
    let thing = |metadata: Value| live("v1", "Thing", metadata, json!({"spec": spec}));
    let candidates = |metadata: Value| default_candidates(&thing(metadata), &MakerFacts::default());
    let found = candidates(of_manager("kubectl", "Apply", own.clone()));
    assert_eq!(found, ["/spec/added", "/spec/parts/0/count", "/spec/size"]);
    let nothing: [&str; 0] = [];
    assert_eq!(candidates(of_manager("kube-controller-manager", "Update", own)), nothing, "people own nothing");
    assert_eq!(candidates(json!({"name": "a", "namespace": "b"})), nothing, "the owners were wiped");
}

#[test]
fn what_admission_controllers_chose_goes_and_what_people_chose_stays() {
    let spec =
        || json!({"priorityClassName": "usual", "containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}]});
    let pod = |metadata: Value| exported(live("v1", "Pod", metadata, json!({"spec": spec()})))["spec"].clone();
    let own = |resources: Value| json!({"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:resources": resources}}});
    // kubectl owns the empty map that it sent.
    let chosen_for = pod(of_manager("kubectl-run", "Update", own(json!({}))));
    assert_eq!(chosen_for, json!({"containers": [{"name": "a"}]}));
    let chosen = pod(of_manager("kubectl-run", "Update", own(json!({"f:limits": {"f:cpu": {}}}))));
    assert_eq!(chosen["containers"], spec()["containers"]);
    let mut resized = of_manager("kubectl-run", "Update", own(json!({})));
    let by_resize = json!({"manager": "kubectl-patch", "operation": "Update", "apiVersion": "v1", "subresource": "resize",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": own(json!({"f:limits": {"f:cpu": {}}}))}});
    resized["managedFields"].as_array_mut().expect("entries").push(by_resize);
    assert_eq!(pod(resized)["containers"], spec()["containers"], "people resized it");
    assert_eq!(pod(json!({"name": "a", "namespace": "b"})), spec(), "the owners were wiped");
}

#[test]
fn a_certificate_that_a_program_patched_in_goes() {
    let configured = |managers: Value| {
        let metadata = json!({"name": "a", "managedFields": managers});
        let client = json!({"service": {"name": "s", "namespace": "b"}, "caBundle": "QQ=="});
        let config = json!({"webhooks": [{"name": "w", "clientConfig": client}]});
        let object = live("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", metadata, config);
        exported(object)["webhooks"][0]["clientConfig"]["caBundle"].is_string()
    };
    let entry = |manager: &str, fields: Value| {
        let webhook = json!({"f:webhooks": {"k:{\"name\":\"w\"}": {"f:clientConfig": fields}}});
        json!({"manager": manager, "operation": "Update", "apiVersion": "admissionregistration.k8s.io/v1", "fieldsV1": webhook})
    };
    let service = || entry("kubectl-create", json!({"f:service": {}}));
    assert!(!configured(json!([service(), entry("operator", json!({"f:caBundle": {}}))])));
    assert!(configured(json!([service(), entry("kubectl-patch", json!({"f:caBundle": {}}))])), "people did it");
    assert!(configured(json!([entry("terraform", json!({"f:service": {}, "f:caBundle": {}}))])), "with the rest");
}

#[test]
fn the_default_of_a_request_is_found_in_the_place_of_its_limit() {
    let limits = json!([{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"memory": "1Gi"}}]);
    let range = live("v1", "LimitRange", json!({"name": "a", "namespace": "b"}), json!({"spec": {"limits": limits}}));
    let found = default_candidates(&range, &MakerFacts::default());
    assert_eq!(found, ["/spec/limits/0/default/cpu", "/spec/limits/0/defaultRequest"]);
}

#[test]
fn an_object_is_left_out_if_a_program_wrote_all_of_it_for_its_owner() {
    let entry = |manager: &str, fields: Value| json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsV1": fields});
    let owner = || json!({"f:metadata": {"f:ownerReferences": {".": {}}}});
    let whole = || json!({"f:metadata": {"f:ownerReferences": {".": {}}}, "f:data": {"f:a": {}}});
    let map = |entries: Value| {
        let owners = json!([{"apiVersion": "example.com/v1", "kind": "Cluster", "name": "x", "controller": false}]);
        let metadata = json!({"name": "a", "namespace": "b", "ownerReferences": owners, "managedFields": entries});
        live("v1", "ConfigMap", metadata, json!({"data": {"a": "1"}}))
    };
    assert!(is_left(&map(json!([entry("operator", whole())]))));
    assert!(is_left(&map(json!([entry("operator", whole()), entry("operator", json!({"f:data": {}}))]))));
    // Cluster API names an owner of templates that people wrote.
    assert!(!is_left(&map(json!([
        entry("manager", owner()),
        entry("kubectl-create", json!({"f:data": {"f:a": {}}}))
    ]))));
    assert!(!is_left(&map(json!([entry("kubectl-create", whole())]))));
}

#[test]
fn what_distributions_make_is_left_out_unless_its_namespace_is_named() {
    let role = |name: &str| live("rbac.authorization.k8s.io/v1", "ClusterRole", json!({"name": name}), json!({}));
    for name in ["kubeadm:get-nodes", "eks:addon-manager", "system:coredns", "system:openshift:discovery"] {
        assert!(is_left(&role(name)), "{name}");
    }
    let marked = |namespace: &str, marks: Value| {
        let metadata = json!({"name": "a", "namespace": namespace, "labels": marks});
        live(
            "rbac.authorization.k8s.io/v1",
            if namespace.is_empty() { "ClusterRole" } else { "Role" },
            metadata,
            json!({}),
        )
    };
    let addon = json!({"addonmanager.kubernetes.io/mode": "EnsureExists"});
    assert!(is_left(&marked("", addon.clone())));
    assert!(!is_left(&marked("b", addon)), "people apply such manifests too");
    let openshift = "include.release.openshift.io/self-managed-high-availability";
    assert!(is_left(&marked("b", json!({openshift: "true"}))));
    let configured = json!({openshift: "true", "release.openshift.io/create-only": "true"});
    assert!(!is_left(&marked("b", configured)), "people configure it");
    for name in
        ["gke-managed-system", "gmp-public", "openshift-monitoring", "aks-command", "calico-system", "kube-system"]
    {
        let map = live("v1", "ConfigMap", json!({"name": "a", "namespace": name}), json!({}));
        assert!(is_left(&map), "{name}");
        let facts = MakerFacts::new(BTreeSet::new(), &[name.to_owned()]);
        assert_eq!(meaning(&map, &facts), Meaning::Meant, "{name}");
    }
    let facts = MakerFacts::new(BTreeSet::new(), &["config-management-system".to_owned()]);
    let own = live("v1", "ConfigMap", json!({"name": "a", "namespace": "config-management-system"}), json!({}));
    assert!(matches!(meaning(&own, &facts), Meaning::Left(_)));
    for name in ["gke-demo", "aks-shop", "amazon-shop", "tigera-operator"] {
        assert_eq!(meaning_of(&live("v1", "Namespace", json!({"name": name}), json!({}))), Meaning::Meant, "{name}");
    }
}

#[test]
fn defaults_of_custom_resources_come_from_the_schema() {
    let mut facts = MakerFacts::default();
    let schema = json!({"properties": {"spec": {"properties": {
        "size": {"default": 3}, "color": {"default": "red"},
        "parts": {"items": {"properties": {"count": {"default": 1}}}},
        "a/b": {"properties": {"on": {"default": true}}},
    }}}});
    facts.learn(&live(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        json!({"name": "widgets.example.com"}),
        json!({"spec": {
            "group": "example.com", "names": {"kind": "Widget"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
        }}),
    ));
    let spec = json!({"size": 3, "color": "blue", "parts": [{"count": 1, "name": "x"}], "a/b": {"on": true}});
    let widget = live("example.com/v1", "Widget", json!({"name": "a", "namespace": "b"}), json!({"spec": spec}));
    assert_eq!(default_candidates(&widget, &facts), ["/spec/a~1b", "/spec/parts/0/count", "/spec/size"]);
}

/// A CRD that serves v1, which is stored, and v2, and no other version.
fn two_versions() -> MakerFacts {
    let mut facts = MakerFacts::default();
    let version = |name: &str, served: bool, storage: bool| json!({"name": name, "served": served, "storage": storage});
    let versions = [version("v0", false, false), version("v1", true, true), version("v2", true, false)];
    facts.learn(&live(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        json!({"name": "widgets.example.com"}),
        json!({"spec": {"group": "example.com", "names": {"kind": "Widget"}, "versions": versions}}),
    ));
    facts
}

#[test]
fn a_custom_resource_is_read_in_the_version_in_which_people_wrote_it() {
    let entry = |manager: &str, version: &str, subresource: &str, fields: Value| {
        json!({"manager": manager, "operation": "Update", "apiVersion": format!("example.com/{version}"),
            "subresource": subresource, "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    let two = || json!({"f:spec": {"f:a": {}, "f:b": {}}});
    let one = || json!({"f:spec": {"f:a": {}}});
    let version = |entries: Value| {
        let metadata = json!({"name": "a", "namespace": "b", "managedFields": entries});
        written_version(&live("example.com/v2", "Widget", metadata, json!({})), &two_versions())
    };
    let is =
        |entries: Value, expected: &str| assert_eq!(version(entries.clone()).as_deref(), Some(expected), "{entries}");
    is(json!([entry("kubectl", "v1", "", two()), entry("operator", "v2", "", one())]), "v1");
    is(json!([entry("kubectl", "v2", "", two()), entry("operator", "v1", "status", json!({"f:status": two()}))]), "v2");
    // A CRD without the subresource has the status in the object itself.
    is(json!([entry("kubectl", "v2", "", one()), entry("operator", "v1", "", json!({"f:status": two()}))]), "v2");
    is(json!([entry("kubectl", "v0", "", two()), entry("operator", "v2", "", one())]), "v2");
    is(json!([entry("kubectl", "v0", "", two())]), "v1");
    is(json!([entry("operator", "v2", "", json!({"f:metadata": {"f:finalizers": {"f:x": {}}}}))]), "v1");
    is(json!([]), "v1");
    let other = live("v1", "ConfigMap", json!({"name": "a", "namespace": "b"}), json!({}));
    assert_eq!(written_version(&other, &two_versions()), None);
    // The CRD of this one cannot be read.
    let metadata = json!({"name": "a", "managedFields": [entry("kubectl", "v1", "", one())]});
    let gadget = live("example.com/v2", "Gadget", metadata, json!({}));
    let mut without_crds = MakerFacts::default();
    without_crds.no_crds = Some("no right".to_owned());
    assert_eq!(written_version(&gadget, &without_crds).as_deref(), Some("v1"));
}

#[test]
fn without_the_crds_a_null_of_a_custom_resource_stays() {
    let mut facts = MakerFacts::default();
    facts.no_crds = Some("no right".to_owned());
    let fields = |version: &str| {
        let object = live(version, "Thing", json!({"name": "a", "namespace": "b"}), json!({"spec": {"a": null}}));
        Value::Object(meant(object, &[], &facts).0)["spec"].clone()
    };
    assert_eq!((fields("example.com/v1"), fields("apps/v1")), (json!({"a": null}), json!({})));
}
