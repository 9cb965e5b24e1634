//! ConfigMaps, Secrets, Services and their like.

use super::{Kind, Names};
use crate::shape::{any, list, map, object};

pub(crate) fn kinds() -> Vec<Kind> {
    vec![config_map(), secret(), service()]
}

fn config_map() -> Kind {
    Kind {
        api_version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        names: Names::Namespaced,
        body: object([
            ("data", 80, map("color size file.txt", any("red blue \"\" 17"))),
            ("binaryData", 20, map("blob more", any("aGVsbG8= AAEC"))),
            ("immutable", 4, any("true false")),
        ]),
        status: None,
        scale: false,
        strategic: true,
        until: None,
    }
}

fn secret() -> Kind {
    Kind {
        api_version: "v1",
        kind: "Secret",
        plural: "secrets",
        names: Names::Namespaced,
        body: object([
            ("data", 70, map("user password", any("aGVsbG8= d29ybGQ= \"\""))),
            ("stringData", 20, map("user token", any("hello plain"))),
            ("type", 40, any("Opaque Opaque Opaque example.com/own")),
            ("immutable", 3, any("true false")),
        ]),
        status: None,
        scale: false,
        strategic: true,
        until: None,
    }
}

fn service() -> Kind {
    let port = object([
        ("name", 90, any("http https metrics")),
        ("port", 100, any("80 443 8080")),
        ("protocol", 50, any("TCP UDP")),
        ("targetPort", 50, any("8080 http \"8443\"")),
        ("appProtocol", 10, any("http grpc")),
    ]);
    Kind {
        api_version: "v1",
        kind: "Service",
        plural: "services",
        names: Names::Namespaced,
        body: object([(
            "spec",
            100,
            object([
                ("ports", 95, list("port protocol", port)),
                ("selector", 60, map("app tier", any("web db"))),
                ("type", 30, any("ClusterIP ClusterIP NodePort LoadBalancer")),
                ("sessionAffinity", 15, any("None ClientIP")),
                ("externalIPs", 10, list("", any("192.0.2.1 192.0.2.2"))),
                ("publishNotReadyAddresses", 10, any("true false")),
                ("internalTrafficPolicy", 8, any("Cluster Local")),
                ("loadBalancerClass", 3, any("example.com/lb")),
            ]),
        )]),
        status: Some(object([(
            "loadBalancer",
            80,
            object([(
                "ingress",
                80,
                list("", object([("ip", 80, any("192.0.2.7 192.0.2.8")), ("hostname", 30, any("a.example.com"))])),
            )]),
        )])),
        scale: false,
        strategic: true,
        until: None,
    }
}
