//! The tables of default values of built-in kinds. They name candidates alone: a dry run tells whether a field is left out. Many tools own
//! the default values of what they made, so that the owners of fields do not tell.
//!
//! Kinds and fields are written as in [`tables`](super::tables).

/// A field that may have its default value, with the JSON of that value; empty where it follows from other fields. A field is left
/// out only if the API server gives it back in a dry run without it.
pub(super) type DefaultField = (&'static str, &'static str);

/// Default values by kinds.
pub(super) const DEFAULTS: &[(&[&str], &[DefaultField])] = &[
    (
        &["Deployment.apps"],
        &[
            ("/spec/replicas", "1"),
            ("/spec/strategy/type", r#""RollingUpdate""#),
            ("/spec/strategy/rollingUpdate/maxUnavailable", r#""25%""#),
            ("/spec/strategy/rollingUpdate/maxSurge", r#""25%""#),
            ("/spec/revisionHistoryLimit", "10"),
            ("/spec/progressDeadlineSeconds", "600"),
        ],
    ),
    (
        &["DaemonSet.apps"],
        &[
            ("/spec/updateStrategy/type", r#""RollingUpdate""#),
            ("/spec/updateStrategy/rollingUpdate/maxUnavailable", "1"),
            // So it is beside the type OnDelete.
            ("/spec/updateStrategy/rollingUpdate/maxUnavailable", "0"),
            ("/spec/updateStrategy/rollingUpdate/maxSurge", "0"),
            ("/spec/revisionHistoryLimit", "10"),
        ],
    ),
    (
        &["StatefulSet.apps"],
        &[
            ("/spec/podManagementPolicy", r#""OrderedReady""#),
            ("/spec/ordinals/start", "0"),
            ("/spec/updateStrategy/type", r#""RollingUpdate""#),
            ("/spec/updateStrategy/rollingUpdate/partition", "0"),
            ("/spec/updateStrategy/rollingUpdate/maxUnavailable", "1"),
            ("/spec/persistentVolumeClaimRetentionPolicy/whenDeleted", r#""Retain""#),
            ("/spec/persistentVolumeClaimRetentionPolicy/whenScaled", r#""Retain""#),
            ("/spec/replicas", "1"),
            ("/spec/revisionHistoryLimit", "10"),
            ("/spec/volumeClaimTemplates/*/apiVersion", ""),
            ("/spec/volumeClaimTemplates/*/kind", ""),
            ("/spec/volumeClaimTemplates/*/spec/volumeMode", r#""Filesystem""#),
        ],
    ),
    (&["ReplicaSet.apps"], &[("/spec/replicas", "1")]),
    (&["ReplicationController"], &[("/spec/replicas", "1"), ("/spec/selector", "")]),
    (
        &["Job.batch"],
        &[
            ("/spec/completions", "1"),
            ("/spec/parallelism", "1"),
            ("/spec/backoffLimit", "6"),
            ("/spec/backoffLimit", "2147483647"),
            ("/spec/completionMode", r#""NonIndexed""#),
            ("/spec/suspend", "false"),
            ("/spec/podReplacementPolicy", ""),
            ("/spec/manualSelector", "false"),
            ("/spec/template/metadata", "{}"),
            ("/spec/podFailurePolicy/rules/*/onPodConditions/*/status", r#""True""#),
        ],
    ),
    (
        &["CronJob.batch"],
        &[
            ("/spec/concurrencyPolicy", r#""Allow""#),
            ("/spec/suspend", "false"),
            ("/spec/successfulJobsHistoryLimit", "3"),
            ("/spec/failedJobsHistoryLimit", "1"),
            ("/spec/jobTemplate/metadata", "{}"),
            ("/spec/jobTemplate/spec/template/metadata", "{}"),
            ("/spec/jobTemplate/spec/podFailurePolicy/rules/*/onPodConditions/*/status", r#""True""#),
        ],
    ),
    (
        &["Service"],
        &[
            ("/spec/sessionAffinity", r#""None""#),
            ("/spec/sessionAffinityConfig/clientIP/timeoutSeconds", "10800"),
            ("/spec/type", r#""ClusterIP""#),
            ("/spec/ports/*/protocol", r#""TCP""#),
            ("/spec/ports/*/targetPort", ""),
            ("/spec/internalTrafficPolicy", r#""Cluster""#),
            ("/spec/externalTrafficPolicy", r#""Cluster""#),
            ("/spec/allocateLoadBalancerNodePorts", "true"),
        ],
    ),
    (&["PodTemplate"], &[("/template/metadata", "{}")]),
    (
        &["Pod"],
        &[
            ("/spec/containers/*/resources/requests/*", ""),
            ("/spec/initContainers/*/resources/requests/*", ""),
            ("/spec/resources/requests/*", ""),
        ],
    ),
    (
        &["ResourceClaim.resource.k8s.io", "ResourceClaimTemplate.resource.k8s.io"],
        &[
            ("/spec/metadata", "{}"),
            ("/spec/devices/requests/*/exactly/allocationMode", r#""ExactCount""#),
            ("/spec/devices/requests/*/exactly/count", "1"),
            ("/spec/devices/requests/*/firstAvailable/*/allocationMode", r#""ExactCount""#),
            ("/spec/devices/requests/*/firstAvailable/*/count", "1"),
            ("/spec/spec/devices/requests/*/firstAvailable/*/allocationMode", r#""ExactCount""#),
            ("/spec/spec/devices/requests/*/firstAvailable/*/count", "1"),
            ("/spec/spec/devices/requests/*/exactly/allocationMode", r#""ExactCount""#),
            ("/spec/spec/devices/requests/*/exactly/count", "1"),
        ],
    ),
    (&["Secret"], &[("/type", r#""Opaque""#)]),
    (
        &["PersistentVolume"],
        &[
            ("/spec/persistentVolumeReclaimPolicy", r#""Retain""#),
            ("/spec/volumeMode", r#""Filesystem""#),
            ("/spec/hostPath/type", r#""""#),
            ("/spec/rbd/keyring", r#""/etc/ceph/keyring""#),
            ("/spec/rbd/pool", r#""rbd""#),
            ("/spec/rbd/user", r#""admin""#),
            ("/spec/iscsi/iscsiInterface", r#""default""#),
            ("/spec/iscsi/lun", "0"),
            ("/spec/scaleIO/fsType", r#""xfs""#),
            ("/spec/scaleIO/storageMode", r#""ThinProvisioned""#),
            ("/spec/azureDisk/cachingMode", r#""ReadWrite""#),
            ("/spec/azureDisk/fsType", r#""ext4""#),
            ("/spec/azureDisk/kind", r#""Shared""#),
            ("/spec/azureDisk/readOnly", "false"),
        ],
    ),
    (&["PersistentVolumeClaim"], &[("/spec/volumeMode", r#""Filesystem""#)]),
    (&["Endpoints"], &[("/subsets/*/ports/*/protocol", r#""TCP""#)]),
    (
        &["EndpointSlice.discovery.k8s.io"],
        &[("/ports/*/name", r#""""#), ("/ports/*/protocol", r#""TCP""#), ("/endpoints/*/conditions", "{}")],
    ),
    (
        &["HorizontalPodAutoscaler.autoscaling"],
        &[
            ("/spec/minReplicas", "1"),
            ("/spec/metrics", ""),
            ("/spec/behavior/scaleUp/policies", ""),
            ("/spec/behavior/scaleUp/selectPolicy", r#""Max""#),
            ("/spec/behavior/scaleUp/stabilizationWindowSeconds", "0"),
            ("/spec/behavior/scaleDown/policies", ""),
            ("/spec/behavior/scaleDown/selectPolicy", r#""Max""#),
        ],
    ),
    (
        &["RoleBinding.rbac.authorization.k8s.io", "ClusterRoleBinding.rbac.authorization.k8s.io"],
        &[
            ("/roleRef/apiGroup", r#""rbac.authorization.k8s.io""#),
            ("/subjects/*/apiGroup", r#""rbac.authorization.k8s.io""#),
        ],
    ),
    (
        &["NetworkPolicy.networking.k8s.io"],
        &[
            ("/spec/ingress/*/ports/*/protocol", r#""TCP""#),
            ("/spec/egress/*/ports/*/protocol", r#""TCP""#),
            ("/spec/policyTypes", ""),
        ],
    ),
    (&["IngressClass.networking.k8s.io"], &[("/spec/parameters/scope", r#""Cluster""#)]),
    (
        &[
            "MutatingWebhookConfiguration.admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration.admissionregistration.k8s.io",
        ],
        &[
            ("/webhooks/*/failurePolicy", r#""Fail""#),
            ("/webhooks/*/matchPolicy", r#""Equivalent""#),
            ("/webhooks/*/namespaceSelector", "{}"),
            ("/webhooks/*/objectSelector", "{}"),
            ("/webhooks/*/timeoutSeconds", "10"),
            ("/webhooks/*/reinvocationPolicy", r#""Never""#),
            ("/webhooks/*/rules/*/scope", r#""*""#),
            ("/webhooks/*/clientConfig/service/port", "443"),
        ],
    ),
    (
        &[
            "MutatingAdmissionPolicy.admissionregistration.k8s.io",
            "MutatingAdmissionPolicyBinding.admissionregistration.k8s.io",
            "ValidatingAdmissionPolicy.admissionregistration.k8s.io",
            "ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io",
        ],
        &[
            ("/spec/failurePolicy", r#""Fail""#),
            ("/spec/matchConstraints/matchPolicy", r#""Equivalent""#),
            ("/spec/matchConstraints/namespaceSelector", "{}"),
            ("/spec/matchConstraints/objectSelector", "{}"),
            ("/spec/matchConstraints/resourceRules/*/scope", r#""*""#),
            ("/spec/matchConstraints/excludeResourceRules/*/scope", r#""*""#),
            ("/spec/matchResources/matchPolicy", r#""Equivalent""#),
            ("/spec/matchResources/namespaceSelector", "{}"),
            ("/spec/matchResources/objectSelector", "{}"),
            ("/spec/matchResources/resourceRules/*/scope", r#""*""#),
            ("/spec/matchResources/excludeResourceRules/*/scope", r#""*""#),
        ],
    ),
    (&["PriorityClass.scheduling.k8s.io"], &[("/preemptionPolicy", r#""PreemptLowerPriority""#), ("/value", "0")]),
    (&["StorageClass.storage.k8s.io"], &[("/reclaimPolicy", r#""Delete""#), ("/volumeBindingMode", r#""Immediate""#)]),
    (
        &["CSIDriver.storage.k8s.io"],
        &[
            ("/spec/attachRequired", "true"),
            ("/spec/podInfoOnMount", "false"),
            ("/spec/storageCapacity", "false"),
            ("/spec/fsGroupPolicy", r#""ReadWriteOnceWithFSType""#),
            ("/spec/volumeLifecycleModes", r#"["Persistent"]"#),
            ("/spec/requiresRepublish", "false"),
            ("/spec/seLinuxMount", "false"),
            ("/spec/preventPodSchedulingIfMissing", "false"),
            ("/spec/tokenRequests/*/audience", r#""""#),
        ],
    ),
    (&["LimitRange"], &[("/spec/limits/*/defaultRequest/*", ""), ("/spec/limits/*/default/*", "")]),
    (&["FlowSchema.flowcontrol.apiserver.k8s.io"], &[("/spec/matchingPrecedence", "1000")]),
    (
        &["PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io"],
        &[
            ("/spec/limited/lendablePercent", "0"),
            ("/spec/limited/nominalConcurrencyShares", "30"),
            ("/spec/limited/limitResponse/queuing/handSize", "8"),
            ("/spec/limited/limitResponse/queuing/queues", "64"),
            ("/spec/limited/limitResponse/queuing/queueLengthLimit", "50"),
            ("/spec/exempt/lendablePercent", "0"),
            ("/spec/exempt/nominalConcurrencyShares", "0"),
        ],
    ),
    (&["APIService.apiregistration.k8s.io"], &[("/spec/service/port", "443")]),
    (
        &["CustomResourceDefinition.apiextensions.k8s.io"],
        &[
            ("/spec/conversion/strategy", r#""None""#),
            ("/spec/names/listKind", ""),
            ("/spec/names/singular", ""),
            ("/spec/conversion/webhook/clientConfig/service/port", "443"),
        ],
    ),
];

/// Fields that may have default values only where another field has the same value: by kind, a part of their path, and that of the
/// other field. No dry run is wasted on others, and what follows from these is found with them in their place.
pub(super) const FOLLOWING: &[(&str, &str, &str)] =
    &[("LimitRange", "/default/", "/max/"), ("Pod", "/resources/requests/", "/resources/limits/")];

/// The place of the spec of a Pod in a kind.
pub(super) const POD_SPECS: &[(&str, &str)] = &[
    ("Pod", "/spec"),
    ("PodTemplate", "/template/spec"),
    ("ReplicationController", "/spec/template/spec"),
    ("Deployment.apps", "/spec/template/spec"),
    ("DaemonSet.apps", "/spec/template/spec"),
    ("ReplicaSet.apps", "/spec/template/spec"),
    ("StatefulSet.apps", "/spec/template/spec"),
    ("Job.batch", "/spec/template/spec"),
    ("CronJob.batch", "/spec/jobTemplate/spec/template/spec"),
];

/// Default values in the spec of a Pod.
pub(super) const POD_SPEC: &[DefaultField] = &[
    ("/dnsPolicy", r#""ClusterFirst""#),
    ("/restartPolicy", r#""Always""#),
    ("/securityContext", "{}"),
    ("/terminationGracePeriodSeconds", "30"),
    ("/schedulerName", r#""default-scheduler""#),
    ("/enableServiceLinks", "true"),
    ("/serviceAccount", ""),
    ("/volumes/*/secret/defaultMode", "420"),
    ("/volumes/*/configMap/defaultMode", "420"),
    ("/volumes/*/downwardAPI/defaultMode", "420"),
    ("/volumes/*/downwardAPI/items/*/fieldRef/apiVersion", r#""v1""#),
    ("/volumes/*/projected/defaultMode", "420"),
    ("/volumes/*/projected/sources/*/serviceAccountToken/expirationSeconds", "3600"),
    ("/volumes/*/projected/sources/*/downwardAPI/items/*/fieldRef/apiVersion", r#""v1""#),
    ("/volumes/*/hostPath/type", r#""""#),
    ("/volumes/*/iscsi/iscsiInterface", r#""default""#),
    ("/volumes/*/iscsi/lun", "0"),
    ("/volumes/*/rbd/keyring", r#""/etc/ceph/keyring""#),
    ("/volumes/*/rbd/pool", r#""rbd""#),
    ("/volumes/*/rbd/user", r#""admin""#),
    ("/volumes/*/scaleIO/fsType", r#""xfs""#),
    ("/volumes/*/scaleIO/storageMode", r#""ThinProvisioned""#),
    ("/volumes/*/azureDisk/cachingMode", r#""ReadWrite""#),
    ("/volumes/*/azureDisk/fsType", r#""ext4""#),
    ("/volumes/*/azureDisk/kind", r#""Shared""#),
    ("/volumes/*/azureDisk/readOnly", "false"),
    ("/volumes/*/image/pullPolicy", ""),
    ("/volumes/*/ephemeral/volumeClaimTemplate/spec/volumeMode", r#""Filesystem""#),
    ("/securityContext/sysctls/*/value", r#""""#),
    ("/topologySpreadConstraints/*/nodeAffinityPolicy", r#""Honor""#),
];

/// The lists of containers in the spec of a Pod.
pub(super) const CONTAINERS: [&str; 2] = ["/containers/*", "/initContainers/*"];

/// Default values of a container.
pub(super) const CONTAINER: &[DefaultField] = &[
    ("/imagePullPolicy", ""),
    ("/terminationMessagePath", r#""/dev/termination-log""#),
    ("/terminationMessagePolicy", r#""File""#),
    ("/resources", "{}"),
    ("/ports/*/protocol", r#""TCP""#),
    ("/ports/*/hostPort", ""),
    ("/env/*/valueFrom/fieldRef/apiVersion", r#""v1""#),
    ("/env/*/valueFrom/resourceFieldRef/divisor", r#""0""#),
    ("/env/*/valueFrom/fileKeyRef/optional", "false"),
    ("/securityContext/procMount", r#""Default""#),
    ("/lifecycle/*/sleep/seconds", "0"),
    ("/lifecycle/*/httpGet/path", r#""/""#),
    ("/lifecycle/*/httpGet/scheme", r#""HTTP""#),
];

/// The probes of a container.
pub(super) const PROBES: [&str; 3] = ["/livenessProbe", "/readinessProbe", "/startupProbe"];

/// Default values of a probe.
pub(super) const PROBE: &[DefaultField] = &[
    ("/timeoutSeconds", "1"),
    ("/periodSeconds", "10"),
    ("/successThreshold", "1"),
    ("/failureThreshold", "3"),
    ("/httpGet/path", r#""/""#),
    ("/httpGet/scheme", r#""HTTP""#),
    ("/grpc/service", r#""""#),
];
