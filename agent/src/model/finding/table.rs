//! The texts of the KNV table: for each code what it means, why it is so, how to fix it, and a short example.
//!
//! `table!(m)` hands the whole table to the macro `m`, which is how the enum and its texts stay one list.

macro_rules! table {
    ($take:ident) => {
        $take! {
            1003 IllegalNamespaceSubdirectory [
                "A directory that holds a Namespace has a subdirectory that holds objects too."
                "In a hierarchical repository a Namespace is a leaf: nothing can be inherited from it, so nothing may lie below it."
                "Move the subdirectory out, beside the Namespace's directory, or put its files into the Namespace's own directory."
                "namespaces/shop/namespace.yaml declares Namespace shop, and namespaces/shop/web/role.yaml a Role"
            ];
            1004 IllegalSelectorAnnotation [
                "An object carries a selector annotation that can have no effect on it."
                "Cluster, ClusterSelector and NamespaceSelector decide what is selected, so they are never selected themselves; \
                 a cluster-scoped object is in no Namespace that could be selected."
                "Remove the annotation. To limit a cluster-scoped object to some clusters, use a cluster selector instead."
                "a ClusterRole with the annotation configmanagement.gke.io/namespace-selector: sre"
            ];
            1005 IllegalManagementAnnotation [
                "The annotation configmanagement.gke.io/managed has a value other than disabled."
                "disabled is the only thing a manifest can say: everything else that is declared is managed."
                "Set the value to disabled to stop managing the object, or remove the annotation to manage it."
                "configmanagement.gke.io/managed: enabled"
            ];
            1006 ObjectParse [
                "An object of a kind that the compiler itself reads does not have the fields of that kind."
                "Repo, HierarchyConfig, selectors and Cluster change the meaning of other files, so they must be exact."
                "Correct the field that the message names: wrong types are not converted, and names are case-sensitive."
                "a HierarchyConfig with spec.resources: \"x\" instead of a list"
            ];
            1007 IllegalAbstractNamespaceObjectKind [
                "A directory without a Namespace holds an object of a kind that is not inherited."
                "A HierarchyConfig gives the kind hierarchyMode none, so the object would reach no Namespace."
                "Move the object into the directory of its Namespace, or set hierarchyMode to inherit."
                "hierarchyMode none for Role, and namespaces/eng/role.yaml above namespaces/eng/web/namespace.yaml"
            ];
            1009 IllegalMetadataNamespaceDeclaration [
                "An object's metadata.namespace is not the name of the directory it lies in."
                "In a hierarchical repository the directory decides the Namespace; two answers would contradict each other."
                "Remove metadata.namespace, or move the file into the directory of that Namespace."
                "namespaces/shop/role.yaml with metadata.namespace: bank"
            ];
            1010 IllegalAnnotationDefinition [
                "An annotation under configmanagement.gke.io/ or configsync.gke.io/ is not one that manifests may set."
                "The other keys with these prefixes are written by the system; a manifest that sets them would lie to it."
                "Remove the annotation, or check its spelling."
                "metadata.annotations: {configmanagement.gke.io/token: abc}"
            ];
            1011 IllegalLabelDefinition [
                "A label lies under configmanagement.gke.io/ or configsync.gke.io/."
                "Labels with these prefixes are written by the system only."
                "Remove the label, or give it a prefix of your own."
                "metadata.labels: {configsync.gke.io/team: shop}"
            ];
            1013 ObjectHasUnknownSelector [
                "An object names a ClusterSelector or NamespaceSelector that does not exist or does not apply to it."
                "Without the selector it cannot be said where the object belongs, and everywhere would be too much."
                "Declare the selector, or correct its name. In a hierarchical repository a NamespaceSelector must lie in the \
                 object's own directory or one above it."
                "configmanagement.gke.io/cluster-selector: prod, and no ClusterSelector prod"
            ];
            1014 InvalidSelector [
                "A selector is empty, has an invalid label selector, or has a mode that is not allowed here."
                "An empty selector would select everything, which is nearly always a mistake."
                "Give spec.selector at least one matchLabels or matchExpressions entry. The mode is static or, in unstructured \
                 repositories only, dynamic."
                "a NamespaceSelector with spec: {selector: {}}"
            ];
            1017 MissingRepo [
                "A hierarchical repository has no Repo object in system/."
                "The Repo says which version of the layout the repository has. It also catches a wrong sync directory."
                "Add system/repo.yaml (nomos init writes it), check the directory you gave, or use the unstructured format."
                "apiVersion: configmanagement.gke.io/v1, kind: Repo, metadata: {name: repo}, spec: {version: 1.0.0}"
            ];
            1019 IllegalTopLevelNamespace [
                "A Namespace is declared directly in namespaces/."
                "A Namespace lies in a directory of its own name, and namespaces/ itself is the root of all of them."
                "Make a directory with the Namespace's name below namespaces/ and move the file there."
                "namespaces/ns.yaml should be namespaces/shop/ns.yaml"
            ];
            1020 InvalidNamespaceName [
                "A Namespace has another name than the directory it lies in."
                "In a hierarchical repository the directory names the Namespace of everything in it."
                "Rename the directory or the Namespace."
                "namespaces/shop/ns.yaml declares Namespace bank"
            ];
            1021 UnknownKind [
                "Nobody knows whether objects of this kind belong to a Namespace."
                "The kind is not built in, no CustomResourceDefinition for it is declared, and the cluster does not have it. \
                 The object is left out until it does; everything else is applied."
                "Check apiVersion and kind. Declare the CRD, or install it. For a check without a cluster, write the output of \
                 kubectl api-resources to api-resources.txt at the root, or say --no-api-server-check."
                "apiVersion: example.com/v1, kind: Engineer"
            ];
            1027 UnsupportedRepoSpecVersion [
                "The Repo object names a version of the layout that is not supported."
                "Another version could give directories another meaning."
                "Set spec.version to \"1.0.0\"."
                "spec: {version: \"2.0.0\"}"
            ];
            1029 NameCollision [
                "Two or more manifests declare the same object: same group, kind, namespace and name."
                "Each apply would undo the other. The API version does not make them different, and an object that is \
                 inherited from a directory above counts too: nothing overrides anything."
                "Remove or rename all but one of them."
                "namespaces/quota.yaml and namespaces/shop/quota.yaml both declare ResourceQuota q"
            ];
            1031 MissingObjectName [
                "An object has no metadata.name."
                "Only an object with a name can be found again to update or delete it; generateName makes a new one each time."
                "Set metadata.name."
                "metadata: {generateName: job-}"
            ];
            1032 IllegalHierarchicalKind [
                "An unstructured repository declares a Repo or HierarchyConfig."
                "These kinds describe a directory hierarchy, which an unstructured repository does not have."
                "Remove the object, or set the source format to hierarchy."
                "--source-format=unstructured with system/repo.yaml still there"
            ];
            1034 IllegalNamespace [
                "A Namespace of the system itself is declared."
                "config-management-system, resource-group-system and config-management-monitoring belong to the installation; \
                 a repository that removed one would remove the agent. Objects inside them may be declared."
                "Remove the Namespace's manifest."
                "kind: Namespace, metadata: {name: config-management-system}"
            ];
            1036 InvalidMetadataName [
                "metadata.name is not a valid name."
                "Kubernetes takes lower case letters, digits, '-' and '.', starting and ending with a letter or digit, at most \
                 253 characters. Names of RBAC objects may have any characters but '/' and '%'."
                "Rename the object."
                "kind: ConfigMap, metadata: {name: Web_Config}"
            ];
            1038 IllegalKindInNamespaces [
                "A NamespaceSelector lies in the same directory as a Namespace."
                "A selector chooses among the Namespaces below its directory, and below a Namespace there are none."
                "Move the NamespaceSelector to a directory above."
                "namespaces/shop/ns.yaml and namespaces/shop/selector.yaml"
            ];
            1039 IncorrectTopLevelDirectory [
                "An object lies under the wrong top-level directory of a hierarchical repository."
                "system/ is for Repo and HierarchyConfig, clusterregistry/ for Cluster and ClusterSelector, cluster/ for \
                 cluster-scoped objects, namespaces/ for Namespaces, NamespaceSelectors and everything inside a Namespace."
                "Move the file to the directory that the message names."
                "namespaces/clusterrole.yaml should be cluster/clusterrole.yaml"
            ];
            1041 UnsupportedResourceInHierarchyConfig [
                "A HierarchyConfig names a kind whose inheritance cannot be configured, or no kind at all."
                "Namespaces and the kinds of configmanagement.gke.io have fixed rules."
                "Remove the entry, or list the kinds it is about."
                "resources: [{group: \"\", kinds: [Namespace]}]"
            ];
            1042 IllegalHierarchyMode [
                "A HierarchyConfig has a hierarchyMode that does not exist."
                "A kind is inherited by every Namespace below, or it is not: there is no third way."
                "Set hierarchyMode to inherit or none, or leave it out for inherit."
                "hierarchyMode: copy"
            ];
            1043 UnsupportedObject [
                "The repository declares an object that only the system may have."
                "Sync objects and the CRDs of configmanagement.gke.io and configsync.gke.io belong to the installation."
                "Remove the manifest."
                "a CustomResourceDefinition with spec.group: configsync.gke.io"
            ];
            1044 UnsyncableResources [
                "A directory holds objects to be inherited, but there is no Namespace at or below it."
                "The objects would reach no Namespace at all. Namespaces that a selector leaves out on this cluster do not count."
                "Add the Namespace's manifest, or remove the objects."
                "namespaces/eng/quota.yaml and nothing else under namespaces/eng"
            ];
            1045 IllegalFieldsInConfig [
                "A manifest sets a field that only the cluster may set."
                "uid, resourceVersion, timestamps, owner references and status describe one live object, not what is wanted. \
                 They usually come from kubectl get -o yaml."
                "Remove the field that the message names."
                "metadata: {name: web, uid: 5f0c…}"
            ];
            1046 ClusterScopedResourceInHierarchyConfig [
                "A HierarchyConfig names a cluster-scoped kind."
                "Cluster-scoped objects are in no Namespace, so none inherits them."
                "Remove the kind from the HierarchyConfig."
                "resources: [{group: rbac.authorization.k8s.io, kinds: [ClusterRole]}]"
            ];
            1047 UnsupportedCRDRemoval [
                "A CustomResourceDefinition was removed while objects of its kind are still declared."
                "Deleting the CRD would delete all its objects, and those declared could not be applied again."
                "Remove the objects too, or put the CRD back."
                "a commit that deletes anvil-crd.yaml and keeps anvil.yaml"
            ];
            1048 InvalidCRDName [
                "A CustomResourceDefinition is not named `<plural>.<group>`."
                "The API server takes no other name."
                "Rename it to the name that the message gives."
                "names.plural anvils, group acme.com: the name must be anvils.acme.com"
            ];
            1050 DeprecatedGroupKind [
                "The API group extensions is used for a kind that has moved."
                "Clusters no longer serve these kinds under extensions."
                "Use the group that the message names: apps, networking.k8s.io or policy."
                "apiVersion: extensions/v1beta1, kind: Deployment should be apps/v1"
            ];
            1052 IllegalNamespaceOnClusterScopedResource [
                "A cluster-scoped object has metadata.namespace."
                "Such an object is in no Namespace; the field shows that something else was meant."
                "Remove metadata.namespace, or use the namespaced kind, such as Role instead of ClusterRole."
                "kind: ClusterRole, metadata: {name: reader, namespace: shop}"
            ];
            1053 NamespaceAndSelector [
                "An object has both metadata.namespace and a namespace-selector annotation."
                "One says one Namespace, the other any number of them."
                "Remove one of the two."
                "metadata: {namespace: shop, annotations: {configmanagement.gke.io/namespace-selector: sre}}"
            ];
            1054 InvalidAnnotationValue [
                "An annotation or label has a value that is not a string."
                "Kubernetes takes strings only, and YAML reads bare numbers, dates of some forms and words such as yes, on and \
                 true as something else."
                "Put the value in quotes."
                "annotations: {retries: 3} should be {retries: \"3\"}"
            ];
            1055 InvalidNamespace [
                "The name of a Namespace, or metadata.namespace, is not a valid Namespace name."
                "Kubernetes takes lower case letters, digits and '-', starting and ending with a letter or digit, at most 63 \
                 characters."
                "Correct the name."
                "metadata: {namespace: Shop_1}"
            ];
            1056 ManagedResourceInUnmanagedNamespace [
                "A Namespace is declared unmanaged, but objects in it are managed."
                "Objects can only be kept in a Namespace that is kept too."
                "Remove configmanagement.gke.io/managed: disabled from the Namespace, or set it on each of the objects."
                "Namespace shop with managed: disabled, and a Role in shop without"
            ];
            1057 IllegalDepthLabel [
                "A label ends with .tree.hnc.x-k8s.io/depth."
                "These labels say where in the hierarchy a Namespace is and are written by the system."
                "Remove the label."
                "labels: {shop.tree.hnc.x-k8s.io/depth: \"0\"}"
            ];
            1058 BadScope [
                "The source of a RepoSync declares something outside its Namespace."
                "A RepoSync may change its own Namespace and nothing else."
                "Remove metadata.namespace or correct it. Move cluster-scoped objects to the source of a RootSync."
                "a ClusterRole, or metadata.namespace: other, in the source of a RepoSync of shop"
            ];
            1060 ManagementConflict [
                "Two syncs manage the same object."
                "Each would undo what the other applies. A RootSync wins over a RepoSync; between equals the one that was \
                 first keeps the object."
                "Remove the object from one of the two sources."
                "ConfigMap web in the sources of two RootSyncs"
            ];
            1061 InvalidSync [
                "A RootSync or RepoSync cannot be acted on as it is written."
                "A field is missing, contradicts another or names a Secret or ConfigMap that does not fit. Until it is \
                 corrected the cluster stays as it is."
                "Correct the field that the message names, with kubectl edit or where the object is declared."
                "spec.git.auth: ssh without spec.git.secretRef"
            ];
            1064 InvalidAPIResources [
                "The file api-resources.txt at the root of the source cannot be read as the output of kubectl api-resources."
                "It tells which kinds belong to a Namespace; guessing from a broken file could put objects in the wrong place."
                "Write it again: kubectl api-resources > api-resources.txt (without -o wide)."
                "a file whose first line has no column APIVERSION"
            ];
            1065 MalformedCRD [
                "A CustomResourceDefinition does not have the fields of apiextensions.k8s.io/v1."
                "Scope and kind of its objects are read from it."
                "Correct the field that the message names."
                "spec: {names: {shortNames: av}} should be a list: [av]"
            ];
            1066 ClusterSelectorAnnotationConflict [
                "An object has both cluster selector annotations."
                "They could choose different clusters."
                "Keep one: configsync.gke.io/cluster-name-selector for names, configmanagement.gke.io/cluster-selector for labels."
                "both annotations on one ConfigMap"
            ];
            1067 EncodeDeclaredField [
                "An object does not fit the schema of its kind."
                "The API server will most likely refuse it. Everything else is applied."
                "Correct the field that the message names."
                "kind: Service, spec: {ports: [{port: \"80\"}]}: a port is a number"
            ];
            1068 ActionableHydration [
                "Rendering the source with kustomize or Helm failed."
                "The source has a kustomization or chart that the program refuses, or a kustomization only in subdirectories. \
                 What was rendered last stays in force."
                "Run kustomize build in the sync directory and correct what it says."
                "kustomization.yaml that lists a file which does not exist"
            ];
            1069 SelfReconcile [
                "The source of a RootSync or RepoSync declares that very object."
                "A mistake in it would cut the cluster off from the commit that corrects it."
                "Remove it from its own source; declare it in the source of another RootSync, or apply it with kubectl."
                "the source of root-sync contains RootSync root-sync"
            ];
            1070 MaxObjectCount [
                "The source declares more objects than nomos vet --threshold allows."
                "The threshold keeps a source at a size that you have chosen; it is off unless asked for."
                "Split the source between several syncs, or raise the threshold."
                "nomos vet --threshold=1000 on 1,200 objects"
            ];
            2001 Path [
                "A file cannot be read or is no valid YAML or JSON."
                "Half of a file could mean something else than the whole, so nothing is applied."
                "Correct the file at the line that the message names."
                "a tab as indentation, a template such as {{ .Values.name }}, or an unclosed bracket"
            ];
            2002 ApiServer [
                "A request to the Kubernetes API failed."
                "The API server is not reachable, too slow, or refused the request. It is tried again."
                "Check that the cluster answers: kubectl get --raw /readyz. The message has the server's own words."
                "connection refused while the control plane restarts"
            ];
            2003 Os [
                "The operating system refused something."
                "A file could not be written, a program not started."
                "Check disk space and permissions of what the message names."
                "no space left on device"
            ];
            2004 Source [
                "The source cannot be read: repository, image, chart or directory."
                "The address, credentials or reference are wrong, or the server is away. What was synced last stays in force."
                "Check spec.git (repo, branch or revision, dir) and the Secret; the message says what the server answered."
                "spec.git.dir names a directory that the branch does not have"
            ];
            2005 Fight [
                "Somebody else keeps changing an object that is declared here."
                "Each change is put back, and comes again. Both sides waste the API server's time."
                "Find the other writer in metadata.managedFields. Then remove the field from the source, or stop the other \
                 writer, or set client.lifecycle.config.k8s.io/mutation: ignore."
                "a HorizontalPodAutoscaler scales a Deployment whose replicas are declared"
            ];
            2006 EmptySource [
                "A commit would delete a large part of what the sync manages, or all its Namespaces."
                "This is nearly always a wrong directory or branch, a bad merge or a failed generation. Nothing of the commit is \
                 applied."
                "Revert the commit. If it is meant, approve it: set the annotation configsync.gke.io/approve-prune on the sync \
                 to that commit."
                "a commit that removes the directory of every team"
            ];
            2008 ResourceConflict [
                "An object changed on the cluster between reading and writing it."
                "Somebody else wrote it at the same moment, or its kind was removed. It is tried again."
                "Nothing, unless it stays: then look for another writer or a missing CRD."
                "the object has been modified; please apply your changes to the latest version"
            ];
            2009 Applier [
                "An object could not be applied, deleted or waited for."
                "The API server or an admission webhook refused it, or something that it depends on failed."
                "The message has the server's own words. Correct the manifest, or what refuses it."
                "Deployment web: spec.selector: field is immutable"
            ];
            2010 Resource [
                "A manifest is no complete Kubernetes object."
                "apiVersion, kind and metadata.name together say which object is meant; metadata, labels and annotations must \
                 be maps."
                "Add or correct the fields that the message names."
                "a document without metadata.name"
            ];
            2012 MultipleSingletons [
                "There are several of what may exist once: Repo objects, or Namespaces in one directory."
                "It could not be said which one counts."
                "Keep one, and move or remove the others."
                "system/repo.yaml and system/repo-copy.yaml"
            ];
            2013 InsufficientPermission [
                "The API server says that the sync may not do this."
                "A RepoSync acts with its own service account, a RootSync with the roles of spec.override.roleRefs."
                "Grant the permission that the message names with a RoleBinding or ClusterRoleBinding."
                "configmaps is forbidden: User … cannot patch resource configmaps in the namespace shop"
            ];
            2014 InvalidWebhook [
                "The configuration of the admission webhook has entries that are not understood."
                "They were changed by somebody else. The entries are dropped."
                "Delete the ValidatingWebhookConfiguration; it is written again."
                "a rule without apiGroups"
            ];
            2015 InternalHydration [
                "Rendering could not run."
                "This is not about the content of the source but about the place it is rendered in: disk, programs, time."
                "Check the agent's log, disk and memory."
                "kustomize is not installed where the agent runs"
            ];
            2016 Transient [
                "Something is not ready yet."
                "Rendering is under way, or the commit changed while it was read. It is tried again at once."
                "Nothing. If it stays for minutes, look at the agent's log."
                "the source commit changed while the files were read"
            ];
            2017 ListNamespace [
                "The Namespaces of the cluster could not be listed."
                "A NamespaceSelector with mode dynamic selects among them."
                "Check the permissions of the sync, or use mode static."
                "namespaces is forbidden"
            ];
            9998 Internal [
                "The program broke a rule of its own."
                "This is a bug, not a mistake in your source."
                "Please report it, with the message and, if you can, the file."
                "an object of unknown scope in system/"
            ];
            9999 Undocumented [
                "Something went wrong that has no code of its own."
                "The message is that of the program or library that failed."
                "Read the message; if it does not help, please report it."
                "an item of a list is no object"
            ];
        }
    };
}

pub(super) use table;
