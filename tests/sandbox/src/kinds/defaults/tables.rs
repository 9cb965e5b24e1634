//! The default values of particular kinds. [`super`] explains the paths.

/// A path and the JSON of its value.
pub(super) type Default = (&'static str, &'static str);

/// The values of each kind, by collection.
pub(super) const KINDS: [(&str, &[Default]); 29] = [
    (
        "deployments.apps",
        &[
            ("spec.replicas", "1"),
            ("spec.strategy", "{}"),
            ("spec.strategy.type", r#""RollingUpdate""#),
            ("spec.strategy{type=RollingUpdate}.rollingUpdate", "{}"),
            ("spec.strategy{type=RollingUpdate}.rollingUpdate.maxUnavailable", r#""25%""#),
            ("spec.strategy{type=RollingUpdate}.rollingUpdate.maxSurge", r#""25%""#),
            ("spec.revisionHistoryLimit", "10"),
            ("spec.progressDeadlineSeconds", "600"),
        ],
    ),
    (
        "daemonsets.apps",
        &[
            ("spec.updateStrategy", "{}"),
            ("spec.updateStrategy.type", r#""RollingUpdate""#),
            ("spec.updateStrategy{type=RollingUpdate}.rollingUpdate", "{}"),
            ("spec.updateStrategy{type=RollingUpdate}.rollingUpdate.maxUnavailable", "1"),
            ("spec.updateStrategy{type=RollingUpdate}.rollingUpdate.maxSurge", "0"),
            ("spec.revisionHistoryLimit", "10"),
        ],
    ),
    (
        "statefulsets.apps",
        &[
            ("spec.podManagementPolicy", r#""OrderedReady""#),
            ("spec.updateStrategy", "{}"),
            ("spec.updateStrategy{!type}.rollingUpdate", "{}"),
            ("spec.updateStrategy.type", r#""RollingUpdate""#),
            ("spec.updateStrategy{type=RollingUpdate}.rollingUpdate.partition", "0"),
            ("spec.persistentVolumeClaimRetentionPolicy", "{}"),
            ("spec.persistentVolumeClaimRetentionPolicy.whenDeleted", r#""Retain""#),
            ("spec.persistentVolumeClaimRetentionPolicy.whenScaled", r#""Retain""#),
            ("spec.replicas", "1"),
            ("spec.revisionHistoryLimit", "10"),
            ("spec.volumeClaimTemplates[].spec.volumeMode", r#""Filesystem""#),
            ("spec.volumeClaimTemplates[].status.phase", r#""Pending""#),
        ],
    ),
    ("replicasets.apps", &[("spec.replicas", "1")]),
    ("replicationcontrollers", &[("spec.replicas", "1")]),
    (
        "jobs.batch",
        &[
            ("spec{!parallelism}{!completions}.completions", "1"),
            ("spec.parallelism", "1"),
            ("spec{backoffLimitPerIndex}.backoffLimit", "2147483647"),
            ("spec.backoffLimit", "6"),
            ("spec.completionMode", r#""NonIndexed""#),
            ("spec.suspend", "false"),
            ("spec{podFailurePolicy}.podReplacementPolicy", r#""Failed""#),
            ("spec.podReplacementPolicy", r#""TerminatingOrFailed""#),
            ("spec.manualSelector", "false"),
        ],
    ),
    (
        "cronjobs.batch",
        &[
            ("spec.concurrencyPolicy", r#""Allow""#),
            ("spec.suspend", "false"),
            ("spec.successfulJobsHistoryLimit", "3"),
            ("spec.failedJobsHistoryLimit", "1"),
        ],
    ),
    (
        "services",
        &[
            ("spec.sessionAffinity", r#""None""#),
            ("spec.type", r#""ClusterIP""#),
            ("spec.ports[].protocol", r#""TCP""#),
            ("spec{type=NodePort}.internalTrafficPolicy", r#""Cluster""#),
            ("spec{type=LoadBalancer}.internalTrafficPolicy", r#""Cluster""#),
            ("spec{type=ClusterIP}.internalTrafficPolicy", r#""Cluster""#),
            ("spec{type=LoadBalancer}.allocateLoadBalancerNodePorts", "true"),
        ],
    ),
    ("secrets", &[("type", r#""Opaque""#)]),
    (
        "persistentvolumes",
        &[
            ("spec.persistentVolumeReclaimPolicy", r#""Retain""#),
            ("spec.volumeMode", r#""Filesystem""#),
            ("spec.hostPath.type", r#""""#),
            ("status.phase", r#""Pending""#),
        ],
    ),
    ("persistentvolumeclaims", &[("spec.volumeMode", r#""Filesystem""#), ("status.phase", r#""Pending""#)]),
    ("endpoints", &[("subsets[].ports[].protocol", r#""TCP""#)]),
    ("namespaces", &[("status.phase", r#""Active""#)]),
    ("horizontalpodautoscalers.autoscaling", &[("spec.minReplicas", "1")]),
    (
        "networkpolicies.networking.k8s.io",
        &[
            ("spec.ingress[].ports[].protocol", r#""TCP""#),
            ("spec.egress[].ports[].protocol", r#""TCP""#),
            ("spec{egress}.policyTypes", r#"["Ingress", "Egress"]"#),
            ("spec.policyTypes", r#"["Ingress"]"#),
        ],
    ),
    ("ingressclasses.networking.k8s.io", &[("spec.parameters.scope", r#""Cluster""#)]),
    ("validatingwebhookconfigurations.admissionregistration.k8s.io", WEBHOOKS),
    ("mutatingwebhookconfigurations.admissionregistration.k8s.io", WEBHOOKS),
    ("validatingadmissionpolicies.admissionregistration.k8s.io", POLICIES),
    ("mutatingadmissionpolicies.admissionregistration.k8s.io", POLICIES),
    ("validatingadmissionpolicybindings.admissionregistration.k8s.io", BINDINGS),
    ("mutatingadmissionpolicybindings.admissionregistration.k8s.io", BINDINGS),
    ("priorityclasses.scheduling.k8s.io", &[("preemptionPolicy", r#""PreemptLowerPriority""#)]),
    ("storageclasses.storage.k8s.io", &[("reclaimPolicy", r#""Delete""#), ("volumeBindingMode", r#""Immediate""#)]),
    (
        "csidrivers.storage.k8s.io",
        &[
            ("spec.attachRequired", "true"),
            ("spec.podInfoOnMount", "false"),
            ("spec.storageCapacity", "false"),
            ("spec.fsGroupPolicy", r#""ReadWriteOnceWithFSType""#),
            ("spec.volumeLifecycleModes", r#"["Persistent"]"#),
            ("spec.requiresRepublish", "false"),
            ("spec.seLinuxMount", "false"),
        ],
    ),
    ("rolebindings.rbac.authorization.k8s.io", ROLE_BINDINGS),
    ("clusterrolebindings.rbac.authorization.k8s.io", ROLE_BINDINGS),
    ("endpointslices.discovery.k8s.io", &[("ports[].name", r#""""#), ("ports[].protocol", r#""TCP""#)]),
    ("flowschemas.flowcontrol.apiserver.k8s.io", &[("spec.matchingPrecedence", "1000")]),
];

const WEBHOOKS: &[Default] = &[
    ("webhooks[].failurePolicy", r#""Fail""#),
    ("webhooks[].matchPolicy", r#""Equivalent""#),
    ("webhooks[].namespaceSelector", "{}"),
    ("webhooks[].objectSelector", "{}"),
    ("webhooks[].timeoutSeconds", "10"),
    ("webhooks[].rules[].scope", r#""*""#),
    ("webhooks[].clientConfig.service.port", "443"),
];

const POLICIES: &[Default] = &[
    ("spec.failurePolicy", r#""Fail""#),
    ("spec.matchConstraints.matchPolicy", r#""Equivalent""#),
    ("spec.matchConstraints.namespaceSelector", "{}"),
    ("spec.matchConstraints.objectSelector", "{}"),
    ("spec.matchConstraints.resourceRules[].scope", r#""*""#),
    ("spec.matchConstraints.excludeResourceRules[].scope", r#""*""#),
];

const BINDINGS: &[Default] = &[
    ("spec.matchResources.matchPolicy", r#""Equivalent""#),
    ("spec.matchResources.namespaceSelector", "{}"),
    ("spec.matchResources.objectSelector", "{}"),
    ("spec.matchResources.resourceRules[].scope", r#""*""#),
    ("spec.matchResources.excludeResourceRules[].scope", r#""*""#),
];

const ROLE_BINDINGS: &[Default] = &[
    ("roleRef.apiGroup", r#""rbac.authorization.k8s.io""#),
    ("subjects[]{kind=User}.apiGroup", r#""rbac.authorization.k8s.io""#),
    ("subjects[]{kind=Group}.apiGroup", r#""rbac.authorization.k8s.io""#),
];

/// Where kinds have the spec of a pod.
pub(super) const POD_SPECS: [(&str, &str); 9] = [
    ("pods", "spec"),
    ("podtemplates", "template.spec"),
    ("replicationcontrollers", "spec.template.spec"),
    ("deployments.apps", "spec.template.spec"),
    ("daemonsets.apps", "spec.template.spec"),
    ("replicasets.apps", "spec.template.spec"),
    ("statefulsets.apps", "spec.template.spec"),
    ("jobs.batch", "spec.template.spec"),
    ("cronjobs.batch", "spec.jobTemplate.spec.template.spec"),
];

/// The default values of the spec of a pod.
pub(super) const POD_SPEC: &[Default] = &[
    ("dnsPolicy", r#""ClusterFirst""#),
    ("restartPolicy", r#""Always""#),
    ("securityContext", "{}"),
    ("terminationGracePeriodSeconds", "30"),
    ("schedulerName", r#""default-scheduler""#),
    ("volumes[].secret.defaultMode", "420"),
    ("volumes[].configMap.defaultMode", "420"),
    ("volumes[].downwardAPI.defaultMode", "420"),
    ("volumes[].downwardAPI.items[].fieldRef.apiVersion", r#""v1""#),
    ("volumes[].projected.defaultMode", "420"),
    ("volumes[].projected.sources[].serviceAccountToken.expirationSeconds", "3600"),
    ("volumes[].projected.sources[].downwardAPI.items[].fieldRef.apiVersion", r#""v1""#),
    ("volumes[].hostPath.type", r#""""#),
    ("volumes[].iscsi.iscsiInterface", r#""default""#),
    ("volumes[].ephemeral.volumeClaimTemplate.spec.volumeMode", r#""Filesystem""#),
];

/// The default values of a container.
pub(super) const CONTAINER: &[Default] = &[
    ("terminationMessagePath", r#""/dev/termination-log""#),
    ("terminationMessagePolicy", r#""File""#),
    ("ports[].protocol", r#""TCP""#),
    ("env[].valueFrom.fieldRef.apiVersion", r#""v1""#),
    ("lifecycle[].httpGet.path", r#""/""#),
    ("lifecycle[].httpGet.scheme", r#""HTTP""#),
];

/// The default values of a probe.
pub(super) const PROBE: &[Default] = &[
    ("timeoutSeconds", "1"),
    ("periodSeconds", "10"),
    ("successThreshold", "1"),
    ("failureThreshold", "3"),
    ("httpGet.path", r#""/""#),
    ("httpGet.scheme", r#""HTTP""#),
    ("grpc.service", r#""""#),
];
