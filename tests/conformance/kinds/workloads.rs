//! Deployments and what else holds Pods.

use super::{Kind, Names};
use crate::shape::{Shape, any, list, map, object};

pub(crate) fn kinds() -> Vec<Kind> {
    vec![deployment()]
}

fn deployment() -> Kind {
    Kind {
        api_version: "apps/v1",
        kind: "Deployment",
        plural: "deployments",
        names: Names::Namespaced,
        body: object([(
            "spec",
            100,
            object([
                ("replicas", 60, any("0 1 3")),
                ("selector", 100, object([("matchLabels", 100, object([("app", 100, any("web"))]))])),
                ("template", 100, template()),
                (
                    "strategy",
                    20,
                    object([
                        ("type", 60, any("RollingUpdate")),
                        (
                            "rollingUpdate",
                            60,
                            object([("maxSurge", 70, any("1 25% 2")), ("maxUnavailable", 50, any("1 50%"))]),
                        ),
                    ]),
                ),
                ("minReadySeconds", 10, any("0 5")),
                ("revisionHistoryLimit", 10, any("2 10")),
                ("paused", 10, any("true false")),
                ("progressDeadlineSeconds", 10, any("60 600")),
            ]),
        )]),
        status: Some(object([
            ("replicas", 60, any("1 3")),
            ("observedGeneration", 40, any("1 2")),
            ("readyReplicas", 40, any("0 1")),
            (
                "conditions",
                50,
                list(
                    "type",
                    object([
                        ("type", 100, any("Available Progressing")),
                        ("status", 100, any("True False")),
                        ("reason", 50, any("Here There")),
                        ("lastTransitionTime", 50, any("2001-02-03T04:05:06Z")),
                    ]),
                ),
            ),
        ])),
        scale: true,
        strategic: true,
        until: None,
    }
}

fn template() -> Shape {
    object([
        (
            "metadata",
            100,
            object([
                ("labels", 100, object([("app", 100, any("web")), ("tier", 30, any("a b"))])),
                ("annotations", 20, map("note", any("one two"))),
            ]),
        ),
        ("spec", 100, pod()),
    ])
}

fn pod() -> Shape {
    object([
        ("containers", 100, list("name", container())),
        ("initContainers", 10, list("name", container())),
        (
            "volumes",
            20,
            list(
                "name",
                object([("name", 100, any("data more")), ("emptyDir", 100, object([("medium", 20, any("Memory"))]))]),
            ),
        ),
        ("serviceAccountName", 15, any("robot other")),
        ("nodeSelector", 15, map("disk zone", any("ssd a"))),
        ("terminationGracePeriodSeconds", 15, any("5 30")),
        (
            "tolerations",
            15,
            list(
                "",
                object([
                    ("key", 90, any("spot gpu")),
                    ("operator", 80, any("Exists")),
                    ("effect", 40, any("NoSchedule")),
                ]),
            ),
        ),
        ("securityContext", 15, object([("runAsNonRoot", 60, any("true")), ("fsGroup", 30, any("1000"))])),
        (
            "hostAliases",
            6,
            list("ip", object([("ip", 100, any("192.0.2.1 192.0.2.2")), ("hostnames", 80, list("", any("a b")))])),
        ),
        ("imagePullSecrets", 8, list("name", object([("name", 100, any("hub own"))]))),
    ])
}

fn container() -> Shape {
    let value = object([("name", 100, any("MODE LEVEL PLACE")), ("value", 80, any("fast slow \"\""))]);
    let port = object([
        ("containerPort", 100, any("8080 9090")),
        ("protocol", 40, any("TCP UDP")),
        ("name", 40, any("http metrics")),
    ]);
    let amounts = || map("cpu memory", any("100m 0.1 1000m 64Mi 1"));
    object([
        ("name", 100, any("main side")),
        ("image", 100, any("web:1 web:2 registry.example.com/web")),
        ("args", 30, list("", any("-v --color=auto serve"))),
        ("command", 10, list("", any("/bin/web /bin/sh"))),
        ("env", 40, list("name", value)),
        ("ports", 40, list("containerPort protocol", port)),
        ("resources", 30, object([("limits", 50, amounts())])),
        ("imagePullPolicy", 10, any("Always IfNotPresent")),
        (
            "livenessProbe",
            15,
            object([
                ("httpGet", 100, object([("path", 60, any("/healthz /")), ("port", 100, any("8080 http"))])),
                ("periodSeconds", 40, any("5 10")),
            ]),
        ),
        ("workingDir", 8, any("/srv")),
        ("tty", 5, any("true false")),
        ("securityContext", 8, object([("privileged", 50, any("false")), ("runAsUser", 50, any("1 0"))])),
    ])
}
