//! The tables of `nomos export`: objects that people did not make, and fields that the cluster assigned. Each row has its reason.
//!
//! A kind is written as `Deployment.apps`, `*` is every kind. A field is a [JSON pointer](https://www.rfc-editor.org/rfc/rfc6901)
//! in which `*` is every item of a list or map. In the name of an object or the key of an annotation, `*` at the end is any text.

/// Groups and kinds of which nothing is exported: the kind, or the group after a dot alone.
pub(super) const KINDS: &[(&str, &str)] = &[
    ("Event", "it tells what happened"),
    (".events.k8s.io", "it tells what happened"),
    (".metrics.k8s.io", "it is measured"),
    ("Node", "a machine registers itself"),
    ("CSINode.storage.k8s.io", "a machine registers itself"),
    ("CSIStorageCapacity.storage.k8s.io", "a storage driver reports it"),
    ("VolumeAttachment.storage.k8s.io", "a volume is attached where its Pod runs"),
    ("ResourceSlice.resource.k8s.io", "a device driver reports it"),
    (".coordination.k8s.io", "a program holds it while it runs"),
    ("CertificateSigningRequest.certificates.k8s.io", "a request is answered once"),
    ("PodCertificateRequest.certificates.k8s.io", "a request is answered once"),
    ("ControllerRevision.apps", "a controller keeps old revisions"),
    ("IPAddress.networking.k8s.io", "the API server assigns addresses"),
    (".internal.apiserver.k8s.io", "an API server reports it"),
    (".storagemigration.k8s.io", "a migration is done once"),
    (".configsync.gke.io", "the objects of a sync are exported; two syncs would fight for them"),
    (".kpt.dev", "it is the record of a sync"),
    (".configmanagement.gke.io", "it is part of the installation of Config Sync"),
    (".clusterregistry.k8s.io", "it is part of the installation of Config Sync"),
];

/// Groups of the API server itself: their kinds have no CRD.
pub(super) const BUILT_IN_GROUPS: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];

/// Namespaces whose objects are not exported, but if the user names one; those of the installation never are.
pub(super) const NAMESPACES: &[(&str, &str)] = &[
    ("kube-system", "it is part of the cluster"),
    ("kube-public", "it is part of the cluster"),
    ("kube-node-lease", "it is part of the cluster"),
    ("config-management-system", "it is part of the installation of nomos or Config Sync"),
    ("resource-group-system", "it is part of the installation of Config Sync"),
    ("config-management-monitoring", "it is part of the installation of Config Sync"),
    ("gke-managed-*", GKE),
    ("gke-gmp-system", GKE),
    ("gmp-system", GKE),
    ("gmp-public", GKE),
    ("aks-command", AKS),
    ("aks-istio-*", AKS),
    ("app-routing-system", AKS),
    ("amazon-guardduty", "it is part of EKS"),
    ("openshift", OPENSHIFT),
    ("openshift-*", OPENSHIFT),
    ("vmware-system-*", "it is part of the clusters of VMware"),
    ("calico-system", "the operator of Calico makes it"),
    ("calico-apiserver", "the operator of Calico makes it"),
];

/// The reason of what Google Kubernetes Engine makes.
const GKE: &str = "it is part of GKE";
/// The reason of what Azure Kubernetes Service makes.
const AKS: &str = "it is part of AKS";
/// The reason of what OpenShift makes.
const OPENSHIFT: &str = "it is part of OpenShift";
/// The reason of what kubeadm makes, beside its objects in kube-system and kube-public.
const KUBEADM: &str = "kubeadm makes it";

/// Objects that are not exported, by kind and name.
pub(super) const NAMES: &[(&str, &str, &str)] = &[
    ("Namespace", "default", "every cluster has it; it is exported where objects are in it"),
    ("Service", "kubernetes", "the API server makes it"),
    ("Endpoints", "kubernetes", "the API server makes it"),
    ("EndpointSlice.discovery.k8s.io", "kubernetes", "the API server makes it"),
    ("ServiceCIDR.networking.k8s.io", "kubernetes", "the API server makes it"),
    ("ConfigMap", "kube-root-ca.crt", "a controller makes it in every Namespace"),
    ("ConfigMap", "openshift-service-ca.crt", "a controller makes it in every Namespace"),
    ("ConfigMap", "istio-ca-root-cert", "a controller makes it in every Namespace"),
    ("PriorityClass.scheduling.k8s.io", "system-*", "the API server makes it"),
    ("ClusterRole.rbac.authorization.k8s.io", "kubeadm:*", KUBEADM),
    ("ClusterRoleBinding.rbac.authorization.k8s.io", "kubeadm:*", KUBEADM),
    ("ClusterRole.rbac.authorization.k8s.io", "system:coredns", "what installs CoreDNS in kube-system makes it"),
    ("ClusterRoleBinding.rbac.authorization.k8s.io", "system:coredns", "what installs CoreDNS in kube-system makes it"),
    ("ClusterRole.rbac.authorization.k8s.io", "eks:*", "EKS makes it"),
    ("ClusterRoleBinding.rbac.authorization.k8s.io", "eks:*", "EKS makes it"),
    ("ClusterRole.rbac.authorization.k8s.io", "system:openshift:*", OPENSHIFT),
    ("ClusterRoleBinding.rbac.authorization.k8s.io", "system:openshift:*", OPENSHIFT),
];

/// Kinds whose objects an export does without where the user may not list them.
pub(super) const SELDOM: &[(&str, &str)] =
    &[("PodTemplate", "the role admin of a Namespace does not show it, and no controller of Kubernetes uses it")];

/// The objects for which a mark counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkScope {
    /// All of the kind.
    All,
    /// Those of the cluster. Manifests with such a mark are public, and people apply them in Namespaces of their own too.
    Cluster,
}

use MarkScope::{All, Cluster};

/// A kind, a label or annotation, its value (empty: any), the scope, and the reason.
pub(super) type MarkRow = (&'static str, &'static str, &'static str, MarkScope, &'static str);

/// Objects that are not exported, by a label or annotation.
pub(super) const MARKS: &[MarkRow] = &[
    ("*", "kubernetes.io/bootstrapping", "rbac-defaults", All, "the API server makes it"),
    ("*", "apf.kubernetes.io/autoupdate-spec", "true", All, "the API server makes it"),
    (
        "APIService.apiregistration.k8s.io",
        "kube-aggregator.kubernetes.io/automanaged",
        "",
        All,
        "the API server makes it",
    ),
    (
        "*",
        "configsync.gke.io/managed-by",
        "reconciler-manager",
        All,
        "the agent makes the accounts of syncs and their bindings",
    ),
    ("*", "control-plane.alpha.kubernetes.io/leader", "", All, "a program holds it while it runs"),
    ("*", "addonmanager.kubernetes.io/mode", "", Cluster, "the addon manager of the cluster makes it"),
    ("*", "kubernetes.io/cluster-service", "true", Cluster, "the addon manager of the cluster makes it"),
    ("*", "eks.amazonaws.com/component", "", All, "EKS makes it"),
    ("*", "kubernetes.azure.com/managedby", "aks", All, AKS),
    ("*", "include.release.openshift.io/self-managed-high-availability", "", All, OPENSHIFT),
    (
        "*",
        "objectset.rio.cattle.io/owner-gvk",
        "k3s.cattle.io/v1, Kind=Addon",
        Cluster,
        "k3s makes it from a file of the machine",
    ),
    ("Secret", "cert-manager.io/certificate-name", "", All, "cert-manager makes it, and renews it"),
    ("Secret", "reflector.v1.k8s.emberstack.com/reflects", "", All, "a controller copies it from another one"),
    ("Secret", "replicator.v1.mittwald.de/replicated-at", "", All, "a controller copies it from another one"),
    ("ConfigMap", "reflector.v1.k8s.emberstack.com/reflects", "", All, "a controller copies it from another one"),
    ("ConfigMap", "replicator.v1.mittwald.de/replicated-at", "", All, "a controller copies it from another one"),
    ("PersistentVolume", "pv.kubernetes.io/provisioned-by", "", All, "a claim gets a volume from its StorageClass"),
    ("Endpoints", "endpoints.kubernetes.io/managed-by", "", All, "a controller makes it for a Service"),
    ("Endpoints", "endpoints.kubernetes.io/last-change-trigger-time", "", All, "a controller makes it for a Service"),
    (
        "EndpointSlice.discovery.k8s.io",
        "endpointslice.kubernetes.io/managed-by",
        "endpointslice-controller.k8s.io",
        All,
        "a controller makes it for a Service",
    ),
    (
        "EndpointSlice.discovery.k8s.io",
        "endpointslice.kubernetes.io/managed-by",
        "endpointslicemirroring-controller.k8s.io",
        All,
        "a controller makes it for a Service",
    ),
];

/// Secrets that are no values of people, by their type.
pub(super) const SECRETS: &[(&str, &str)] = &[
    ("kubernetes.io/service-account-token", "a controller makes it for a ServiceAccount"),
    ("bootstrap.kubernetes.io/token", "a machine joins the cluster with it"),
];

/// The type of the Secrets in which Helm keeps its releases.
pub(super) const HELM_RELEASE: &str = "helm.sh/release.v1";

/// The case in which a field is not exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AssignedWhen {
    /// In every object.
    Always,
    /// No field manager owns it: the API server or an admission controller has chosen the value.
    Unowned,
    /// No field manager owns it, and people own other fields: an admission controller has chosen the value. Without any owners it may be
    /// that of people.
    Admitted,
    /// The object has this field too.
    Beside(&'static str),
    /// The object does not say `true` in this field.
    Unless(&'static str),
    /// The object has an annotation with this key.
    Annotated(&'static str),
    /// A program alone owns it, which owns nothing beside it: it was patched into what others wrote.
    Patched,
}

use AssignedWhen::{Admitted, Always, Annotated, Beside, Patched, Unless, Unowned};

/// An annotation of controllers that fill in a certificate.
const INJECTED: AssignedWhen = Annotated("cert-manager.io/inject-*");
/// The annotation of claims and volumes that a controller has bound to each other.
const BOUND: AssignedWhen = Annotated("pv.kubernetes.io/bound-by-controller");

/// Fields that the cluster assigned.
pub(super) const ASSIGNED: &[(&str, &str, AssignedWhen, &str)] = &[
    ("*", "/status", Always, "it tells what is, not what is meant"),
    ("*", "/spec/template/metadata/creationTimestamp", Always, "it is always null"),
    ("*", "/spec/jobTemplate/metadata/creationTimestamp", Always, "it is always null"),
    ("*", "/spec/jobTemplate/spec/template/metadata/creationTimestamp", Always, "it is always null"),
    ("*", "/template/metadata/creationTimestamp", Always, "it is always null"),
    ("Namespace", "/spec", Always, "the API server sets its finalizer"),
    ("Service", "/spec/clusterIP", Unowned, "another cluster has other addresses"),
    ("Service", "/spec/clusterIPs", Unowned, "another cluster has other addresses"),
    ("Service", "/spec/ipFamilies", Unowned, "they follow from the network of the cluster"),
    ("Service", "/spec/ipFamilyPolicy", Unowned, "it follows from the network of the cluster"),
    ("Service", "/spec/ports/*/nodePort", Unowned, "the API server chose a free port"),
    ("Service", "/spec/healthCheckNodePort", Unowned, "the API server chose a free port"),
    ("PersistentVolumeClaim", "/spec/volumeName", BOUND, "a controller bound the claim to a volume of this cluster"),
    (
        "PersistentVolumeClaim",
        "/spec/dataSource",
        Beside("/spec/dataSourceRef"),
        "the API server copies it from dataSourceRef, or that from it",
    ),
    ("PersistentVolumeClaim", "/spec/storageClassName", Admitted, "it is the default class of the cluster"),
    ("Ingress.networking.k8s.io", "/spec/ingressClassName", Admitted, "it is the default class of the cluster"),
    ("PersistentVolume", "/spec/claimRef", BOUND, "a controller bound the volume to a claim of this cluster"),
    ("PersistentVolume", "/spec/claimRef/uid", Always, "an object made again has another uid"),
    ("PersistentVolume", "/spec/claimRef/resourceVersion", Always, "an object made again has another version"),
    ("Pod", "/spec/nodeName", Unowned, "the scheduler chose the node"),
    ("Pod", "/spec/priority", Always, "it follows from the PriorityClass"),
    ("Pod", "/spec/preemptionPolicy", Unowned, "it follows from the PriorityClass"),
    ("Pod", "/spec/serviceAccountName", Unowned, "it is the account default"),
    ("Pod", "/spec/imagePullSecrets", Unowned, "an admission controller copies those of its account"),
    ("Pod", "/spec/priorityClassName", Admitted, "it is the default class of the cluster"),
    ("Pod", "/spec/containers/*/resources/limits/*", Admitted, "a LimitRange of the Namespace chose it"),
    ("Pod", "/spec/containers/*/resources/requests/*", Admitted, "a LimitRange of the Namespace chose it"),
    ("Pod", "/spec/initContainers/*/resources/limits/*", Admitted, "a LimitRange of the Namespace chose it"),
    ("Pod", "/spec/initContainers/*/resources/requests/*", Admitted, "a LimitRange of the Namespace chose it"),
    ("Pod", "/spec/overhead", Admitted, "it follows from the RuntimeClass"),
    ("Pod", "/spec/nodeSelector", Admitted, "it follows from the RuntimeClass"),
    ("Pod", "/metadata/labels/topology.kubernetes.io~1zone", Unowned, "it is that of the node"),
    ("Pod", "/metadata/labels/topology.kubernetes.io~1region", Unowned, "it is that of the node"),
    ("Pod", "/spec/ephemeralContainers", Always, "it was for debugging"),
    ("Job.batch", "/spec/selector", Unless("/spec/manualSelector"), "it names the uid of the Job"),
    ("Job.batch", "/metadata/labels/controller-uid", Always, "a Job made again has another uid"),
    ("Job.batch", "/metadata/labels/batch.kubernetes.io~1controller-uid", Always, "a Job made again has another uid"),
    ("Job.batch", "/metadata/labels/job-name", Unowned, "the API server adds it"),
    ("Job.batch", "/metadata/labels/batch.kubernetes.io~1job-name", Unowned, "the API server adds it"),
    ("Job.batch", "/spec/template/metadata/labels/controller-uid", Always, "a Job made again has another uid"),
    (
        "Job.batch",
        "/spec/template/metadata/labels/batch.kubernetes.io~1controller-uid",
        Always,
        "a Job made again has another uid",
    ),
    ("Job.batch", "/spec/template/metadata/labels/job-name", Unowned, "the API server adds it"),
    ("Job.batch", "/spec/template/metadata/labels/batch.kubernetes.io~1job-name", Unowned, "the API server adds it"),
    ("StatefulSet.apps", "/spec/volumeClaimTemplates/*/status", Always, "a template has no state"),
    ("StatefulSet.apps", "/spec/volumeClaimTemplates/*/metadata/creationTimestamp", Always, "it is always null"),
    ("ServiceAccount", "/secrets", Unowned, "a controller added the Secret with its token"),
    (
        "ClusterRole.rbac.authorization.k8s.io",
        "/rules",
        Beside("/aggregationRule"),
        "a controller collects them from other roles",
    ),
    ("Endpoints", "/subsets/*/addresses/*/targetRef/uid", Always, "an object made again has another uid"),
    ("EndpointSlice.discovery.k8s.io", "/endpoints/*/targetRef/uid", Always, "an object made again has another uid"),
    (
        "CustomResourceDefinition.apiextensions.k8s.io",
        "/spec/conversion/webhook/clientConfig/caBundle",
        Patched,
        "a controller fills in the certificate",
    ),
    (
        "CustomResourceDefinition.apiextensions.k8s.io",
        "/spec/conversion/webhook/clientConfig/caBundle",
        INJECTED,
        "a controller fills in the certificate",
    ),
    ("APIService.apiregistration.k8s.io", "/spec/caBundle", Patched, "a controller fills in the certificate"),
    ("APIService.apiregistration.k8s.io", "/spec/caBundle", INJECTED, "a controller fills in the certificate"),
    (
        "MutatingWebhookConfiguration.admissionregistration.k8s.io",
        "/webhooks/*/clientConfig/caBundle",
        Patched,
        "a controller fills in the certificate",
    ),
    (
        "MutatingWebhookConfiguration.admissionregistration.k8s.io",
        "/webhooks/*/clientConfig/caBundle",
        INJECTED,
        "a controller fills in the certificate",
    ),
    (
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io",
        "/webhooks/*/clientConfig/caBundle",
        Patched,
        "a controller fills in the certificate",
    ),
    (
        "ValidatingWebhookConfiguration.admissionregistration.k8s.io",
        "/webhooks/*/clientConfig/caBundle",
        INJECTED,
        "a controller fills in the certificate",
    ),
];

/// Keys of tolerations of five minutes that are not exported.
pub(super) const TOLERATIONS: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "an admission controller adds it to every Pod"),
    ("node.kubernetes.io/unreachable", "an admission controller adds it to every Pod"),
];

/// Labels and annotations that are not exported, beside those of syncs.
pub(super) const KEYS: &[(&str, &str)] = &[
    ("kubernetes.io/metadata.name", "the API server adds it"),
    ("app.kubernetes.io/managed-by", "a sync writes a value of its own"),
    ("kubectl.kubernetes.io/last-applied-configuration", "it repeats the object"),
    ("deployment.kubernetes.io/*", "a controller counts revisions"),
    ("deprecated.daemonset.template.generation", "the API server counts changes"),
    ("batch.kubernetes.io/job-tracking", "a controller adds it"),
    ("kubernetes.io/limit-ranger", "an admission controller tells what it chose by a LimitRange"),
    ("pv.kubernetes.io/*", "a controller binds volumes"),
    ("volume.kubernetes.io/*", "a controller makes volumes"),
    ("volume.beta.kubernetes.io/storage-provisioner", "a controller makes volumes"),
    ("endpoints.kubernetes.io/*", "a controller adds it"),
    ("cloud.google.com/neg-status", "a controller tells of its work"),
    ("ingress.kubernetes.io/backends", "a controller tells of its work"),
    ("ingress.kubernetes.io/forwarding-rule", "a controller tells of its work"),
    ("ingress.kubernetes.io/https-forwarding-rule", "a controller tells of its work"),
    ("ingress.kubernetes.io/https-target-proxy", "a controller tells of its work"),
    ("ingress.kubernetes.io/target-proxy", "a controller tells of its work"),
    ("ingress.kubernetes.io/url-map", "a controller tells of its work"),
    ("meta.helm.sh/*", "git has the object from now on, not Helm"),
    ("config.kubernetes.io/local-config", "a sync would leave the object out"),
];
