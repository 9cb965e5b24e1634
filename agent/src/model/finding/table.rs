//! The table of KNV codes: for each code the meaning, the reason, the way to correct it, and a short example.
//!
//! `table!(m)` passes the whole table to the macro `m`, so that the codes and their texts are in one list.

// rustfmt would move the second lines of texts to the left at each run.
#[rustfmt::skip]
macro_rules! table {
    ($take:ident) => {
        $take! {
            1003 IllegalNamespaceSubdirectory [
                "A directory that holds a Namespace has a subdirectory that holds objects too."
                "In a hierarchical repository a directory with a Namespace is the last level: no other directory \
                 inherits from it, so none with objects may be below it."
                "Move the subdirectory beside the directory of the Namespace, or move its files into that directory."
                "namespaces/shop/namespace.yaml declares Namespace shop, and namespaces/shop/web/role.yaml a Role"
            ];
            1004 IllegalSelectorAnnotation [
                "An object has a selector annotation that can have no effect on it."
                "Cluster, ClusterSelector and NamespaceSelector define the selection, so no selector can select them. \
                 A cluster-scoped object is in no Namespace that a selector could select."
                "Remove the annotation. To apply a cluster-scoped object in some clusters only, use a cluster selector."
                "a ClusterRole with the annotation configmanagement.gke.io/namespace-selector: sre"
            ];
            1005 IllegalManagementAnnotation [
                "The annotation configmanagement.gke.io/managed has a value other than disabled."
                "A manifest can only set the value disabled. Every object without the annotation is managed."
                "Set the value to disabled to stop the management of the object, or remove the annotation to manage \
                 the object."
                "configmanagement.gke.io/managed: enabled"
            ];
            1006 ObjectParse [
                "An object of a kind that compilation itself reads does not have the fields of that kind."
                "Repo, HierarchyConfig, Cluster and the selectors change the meaning of other files, so a mistake in \
                 them could change many objects."
                "Correct the field that the message names. Types are not converted, and field names are case-sensitive."
                "a HierarchyConfig with spec.resources: \"x\" instead of a list"
            ];
            1007 IllegalAbstractNamespaceObjectKind [
                "A directory without a Namespace holds an object of a kind that is not inherited."
                "A HierarchyConfig sets hierarchyMode none for the kind, so no Namespace would get the object."
                "Move the object into the directory of its Namespace, or set hierarchyMode to inherit."
                "hierarchyMode none for Role, and namespaces/eng/role.yaml above namespaces/eng/web/namespace.yaml"
            ];
            1009 IllegalMetadataNamespaceDeclaration [
                "The metadata.namespace of an object is not the name of the directory that holds its file."
                "In a hierarchical repository the directory decides the Namespace, so metadata.namespace must not \
                 contradict it."
                "Remove metadata.namespace, or move the file into the directory of that Namespace."
                "namespaces/shop/role.yaml with metadata.namespace: bank"
            ];
            1010 IllegalAnnotationDefinition [
                "An annotation with the prefix configmanagement.gke.io/ or configsync.gke.io/ is not one that a \
                 manifest may set."
                "The system writes the other annotations with these prefixes and relies on their values."
                "Remove the annotation, or correct the spelling of its key."
                "metadata.annotations: {configmanagement.gke.io/token: abc}"
            ];
            1011 IllegalLabelDefinition [
                "A label has the prefix configmanagement.gke.io/ or configsync.gke.io/."
                "Only the system writes labels with these prefixes, and it relies on their values."
                "Remove the label, or use a prefix of your own."
                "metadata.labels: {configsync.gke.io/team: shop}"
            ];
            1013 ObjectHasUnknownSelector [
                "An object names a ClusterSelector or NamespaceSelector that is not declared, or that does not apply \
                 to its directory."
                "Without the selector the clusters or Namespaces for the object are unknown, and applying the object \
                 in all of them could do harm."
                "Declare the selector, or correct its name. In a hierarchical repository a NamespaceSelector must be \
                 in the directory of the object or in a directory above."
                "configmanagement.gke.io/cluster-selector: prod, and no ClusterSelector prod"
            ];
            1014 InvalidSelector [
                "A selector is empty, its label selector is invalid, or its mode is not allowed here."
                "An empty selector would select everything, which is usually a mistake."
                "Add at least one entry to matchLabels or matchExpressions in spec.selector. The mode is static or, in \
                 an unstructured repository only, dynamic."
                "a NamespaceSelector with spec: {selector: {}}"
            ];
            1017 MissingRepo [
                "A hierarchical repository has no Repo object in system/."
                "The Repo object tells the version of the repository layout. A missing one often means that the sync \
                 directory is wrong."
                "Add system/repo.yaml (nomos init writes it), correct the sync directory, or use the unstructured \
                 format."
                "apiVersion: configmanagement.gke.io/v1, kind: Repo, metadata: {name: repo}, spec: {version: 1.0.0}"
            ];
            1019 IllegalTopLevelNamespace [
                "A Namespace is declared directly in namespaces/."
                "The file of a Namespace must be in a directory with the name of the Namespace. The directory \
                 namespaces/ itself is above all Namespaces."
                "Create a directory with the name of the Namespace in namespaces/, and move the file there."
                "namespaces/ns.yaml should be namespaces/shop/ns.yaml"
            ];
            1020 InvalidNamespaceName [
                "The name of a Namespace is not the name of the directory that holds its file."
                "In a hierarchical repository the name of the directory is the Namespace of all objects in it."
                "Rename the directory or the Namespace."
                "namespaces/shop/ns.yaml declares Namespace bank"
            ];
            1021 UnknownKind [
                "The scope of a kind is unknown: its objects could belong to a Namespace or to the cluster."
                "The kind is not built in, no CustomResourceDefinition for it is declared, and the cluster does not \
                 serve it. The object is not applied until the cluster serves the kind. All other objects are \
                 applied."
                "Check apiVersion and kind. Declare the CustomResourceDefinition, or install it. For a check without a \
                 cluster, write the output of kubectl api-resources to api-resources.txt at the root of the source, or \
                 use --no-api-server-check."
                "apiVersion: example.com/v1, kind: Engineer"
            ];
            1027 UnsupportedRepoSpecVersion [
                "The Repo object names a version of the repository layout that is not supported."
                "In another version the directories could have another meaning."
                "Set spec.version to \"1.0.0\"."
                "spec: {version: \"2.0.0\"}"
            ];
            1029 NameCollision [
                "Two or more manifests declare the same object: group, kind, namespace and name are equal."
                "Each apply would undo the other one. Another API version does not make another object. An object that \
                 a Namespace inherits from a directory above counts too: no object overrides another."
                "Keep one of the manifests, and remove or rename the others."
                "namespaces/quota.yaml and namespaces/shop/quota.yaml both declare ResourceQuota q"
            ];
            1031 MissingObjectName [
                "An object has no metadata.name."
                "The sync finds an object by its name to update or delete it. generateName gives a new name at each \
                 apply, so it cannot replace the name."
                "Set metadata.name."
                "metadata: {generateName: job-}"
            ];
            1032 IllegalHierarchicalKind [
                "An unstructured repository declares a Repo or HierarchyConfig."
                "These kinds describe a hierarchy of directories, which an unstructured repository does not have."
                "Remove the object, or set the source format to hierarchy."
                "--source-format=unstructured with system/repo.yaml still there"
            ];
            1034 IllegalNamespace [
                "The source declares a Namespace that belongs to the system."
                "The installation has config-management-system, resource-group-system and \
                 config-management-monitoring. A commit that removed one of them would remove the agent. Objects in \
                 these Namespaces may be declared."
                "Remove the manifest of the Namespace."
                "kind: Namespace, metadata: {name: config-management-system}"
            ];
            1036 InvalidMetadataName [
                "metadata.name is not a valid name."
                "Kubernetes allows at most 253 lower case letters, digits, '-' and '.', with a letter or digit at both \
                 ends. The name of an RBAC object may have all characters but '/' and '%'."
                "Rename the object."
                "kind: ConfigMap, metadata: {name: Web_Config}"
            ];
            1038 IllegalKindInNamespaces [
                "A NamespaceSelector is in the same directory as a Namespace."
                "A NamespaceSelector selects among the Namespaces in the directories below it, and a directory with a \
                 Namespace has none below it."
                "Move the NamespaceSelector to a directory above."
                "namespaces/shop/ns.yaml and namespaces/shop/selector.yaml"
            ];
            1039 IncorrectTopLevelDirectory [
                "An object is in the wrong top-level directory of a hierarchical repository."
                "system/ is for Repo and HierarchyConfig, clusterregistry/ for Cluster and ClusterSelector, cluster/ \
                 for cluster-scoped objects, and namespaces/ for Namespaces, NamespaceSelectors and all objects that \
                 belong to a Namespace."
                "Move the file to the directory that the message names."
                "namespaces/clusterrole.yaml should be cluster/clusterrole.yaml"
            ];
            1041 UnsupportedResourceInHierarchyConfig [
                "A HierarchyConfig names a kind whose inheritance cannot be configured, or no kind at all."
                "The inheritance of Namespaces and of the kinds of configmanagement.gke.io is fixed."
                "Remove the entry, or list the kinds that it is for."
                "resources: [{group: \"\", kinds: [Namespace]}]"
            ];
            1042 IllegalHierarchyMode [
                "A HierarchyConfig has a hierarchyMode that does not exist."
                "All Namespaces below a directory inherit the objects of a kind, or none does. There is no other mode."
                "Set hierarchyMode to inherit or none. Without hierarchyMode the mode is inherit."
                "hierarchyMode: copy"
            ];
            1043 UnsupportedObject [
                "The source declares an object that only the system may have."
                "The installation has the Sync objects and the CustomResourceDefinitions of configmanagement.gke.io \
                 and configsync.gke.io."
                "Remove the manifest."
                "a CustomResourceDefinition with spec.group: configsync.gke.io"
            ];
            1044 UnsyncableResources [
                "A directory holds objects, but no Namespace in it or below it inherits them."
                "No Namespace would get the objects. A Namespace that a selector leaves out on this cluster does not \
                 count."
                "Add a manifest for the Namespace, or remove the objects."
                "namespaces/eng/quota.yaml and nothing else under namespaces/eng"
            ];
            1045 IllegalFieldsInConfig [
                "A manifest sets a field that only the cluster sets."
                "uid, resourceVersion, managedFields, timestamps, owner references and status describe one live object and not a \
                 declared one. They are often in a manifest because it was copied from kubectl get -o yaml."
                "Remove the field that the message names."
                "metadata: {name: web, uid: 5f0c…}"
            ];
            1046 ClusterScopedResourceInHierarchyConfig [
                "A HierarchyConfig names a cluster-scoped kind."
                "A cluster-scoped object is in no Namespace, so no Namespace can inherit it."
                "Remove the kind from the HierarchyConfig."
                "resources: [{group: rbac.authorization.k8s.io, kinds: [ClusterRole]}]"
            ];
            1047 UnsupportedCRDRemoval [
                "The CustomResourceDefinition of a kind was removed, but objects of the kind are still declared."
                "If the CustomResourceDefinition is deleted, the API server deletes all its objects, and the declared \
                 ones can no longer be applied."
                "Remove the objects too, or restore the CustomResourceDefinition."
                "a commit that deletes anvil-crd.yaml and keeps anvil.yaml"
            ];
            1048 InvalidCRDName [
                "The name of a CustomResourceDefinition is not `<plural>.<group>`."
                "The API server refuses every other name."
                "Rename it to the name in the message."
                "names.plural anvils, group acme.com: the name must be anvils.acme.com"
            ];
            1050 DeprecatedGroupKind [
                "A manifest has the API group extensions for a kind that another group has now."
                "Clusters no longer serve these kinds in the group extensions."
                "Use the group that the message names: apps, networking.k8s.io or policy."
                "apiVersion: extensions/v1beta1, kind: Deployment should be apps/v1"
            ];
            1052 IllegalNamespaceOnClusterScopedResource [
                "A cluster-scoped object has metadata.namespace."
                "A cluster-scoped object is in no Namespace. The field often means that a namespaced kind was intended."
                "Remove metadata.namespace, or use the namespaced kind, such as Role instead of ClusterRole."
                "kind: ClusterRole, metadata: {name: reader, namespace: shop}"
            ];
            1053 NamespaceAndSelector [
                "An object has both metadata.namespace and a namespace-selector annotation."
                "metadata.namespace names one Namespace, and the selector selects any number of them."
                "Keep one of them, and remove the other."
                "metadata: {namespace: shop, annotations: {configmanagement.gke.io/namespace-selector: sre}}"
            ];
            1054 InvalidAnnotationValue [
                "The value of an annotation or label is not a string."
                "Kubernetes accepts strings only. Without quotes, YAML reads numbers, some dates and words such as \
                 yes, on and true as values that are not strings."
                "Put the value in quotes."
                "annotations: {retries: 3} should be {retries: \"3\"}"
            ];
            1055 InvalidNamespace [
                "The name of a Namespace, or metadata.namespace, is not a valid Namespace name."
                "Kubernetes allows at most 63 lower case letters, digits and '-', with a letter or digit at both ends."
                "Correct the name."
                "metadata: {namespace: Shop_1}"
            ];
            1056 ManagedResourceInUnmanagedNamespace [
                "A Namespace is declared with managed: disabled, but objects in it are managed."
                "An object in a Namespace can only be kept if the Namespace is kept too."
                "Remove configmanagement.gke.io/managed: disabled from the Namespace, or set it on all objects in the \
                 Namespace."
                "Namespace shop with managed: disabled, and a Role in shop without"
            ];
            1057 IllegalDepthLabel [
                "The key of a label ends with .tree.hnc.x-k8s.io/depth."
                "The system writes these labels. They tell where in the hierarchy a Namespace is."
                "Remove the label."
                "labels: {shop.tree.hnc.x-k8s.io/depth: \"0\"}"
            ];
            1058 BadScope [
                "The source of a RepoSync declares an object outside its Namespace."
                "A RepoSync may only change its own Namespace."
                "Remove or correct metadata.namespace. Move cluster-scoped objects to the source of a RootSync."
                "a ClusterRole, or metadata.namespace: other, in the source of a RepoSync of shop"
            ];
            1060 ManagementConflict [
                "Two syncs manage the same object."
                "Each sync would undo the changes of the other. A RootSync takes the object from a RepoSync. Of two \
                 syncs of one kind, the first one keeps the object. So it is when Config Sync serves a sync beside the agent, \
                 which writes nothing for it meanwhile."
                "Remove the object from one of the two sources. Config Sync is stopped by `nomos migrate`."
                "ConfigMap web in the sources of two RootSyncs"
            ];
            1061 InvalidSync [
                "A RootSync or RepoSync has a spec that the agent cannot use."
                "A field is missing, contradicts another field, is not supported, or names a Secret or ConfigMap that \
                 does not fit. Until it is corrected, the objects in the cluster stay as they are."
                "Correct the field that the message names, with kubectl edit or in the manifest of the sync."
                "spec.git.auth: ssh without spec.git.secretRef"
            ];
            1064 InvalidAPIResources [
                "The file api-resources.txt at the root of the source is not an output of kubectl api-resources."
                "The file tells which kinds belong to a Namespace. With a wrong answer objects could get to the wrong \
                 place."
                "Write the file again: kubectl api-resources > api-resources.txt (without -o wide)."
                "a file whose first line has no column APIVERSION"
            ];
            1065 MalformedCRD [
                "A CustomResourceDefinition does not have the fields of apiextensions.k8s.io/v1."
                "The kind and the scope of its objects follow from these fields."
                "Correct the field that the message names."
                "spec: {names: {shortNames: av}} should be a list: [av]"
            ];
            1066 ClusterSelectorAnnotationConflict [
                "An object has both cluster selector annotations."
                "The two annotations could select different clusters."
                "Keep one of them: configsync.gke.io/cluster-name-selector selects by name, \
                 configmanagement.gke.io/cluster-selector by label."
                "both annotations on one ConfigMap"
            ];
            1067 EncodeDeclaredField [
                "An object does not fit the schema of its kind."
                "The API server will most likely refuse the object. All other objects are applied."
                "Correct the field that the message names."
                "kind: Service, spec: {ports: [{port: \"80\"}]}: a port is a number"
            ];
            1068 ActionableHydration [
                "The source must be rendered with kustomize, and that failed or is not possible."
                "nomos vet renders a kustomization at the root with the program kustomize; nomos-agent does not render. \
                 The files beside a kustomization are not applied as they are. The last good commit stays in force."
                "Run kustomize build, and correct the mistake that it reports. For nomos-agent, commit the output to a \
                 directory without a kustomization, and sync that directory."
                "kustomization.yaml that lists a file which does not exist"
            ];
            1069 SelfReconcile [
                "The source of a RootSync or RepoSync declares the same RootSync or RepoSync."
                "After a mistake in that manifest, the sync could not read the commit that corrects it."
                "Remove the manifest from this source. Declare the sync in the source of another RootSync, or apply it \
                 with kubectl."
                "the source of root-sync contains RootSync root-sync"
            ];
            1070 MaxObjectCount [
                "The source declares more objects than the limit."
                "nomos vet --threshold sets a limit, so that a source stays at the size that you want. Without it the \
                 limit is one million objects."
                "Split the source into several syncs, or raise the limit."
                "nomos vet --threshold=1000 on 1,200 objects"
            ];
            2001 Path [
                "A file cannot be read, or it is not valid YAML or JSON in UTF-8."
                "A part of a file could have another meaning than the whole file, so that nothing of the commit is \
                 applied."
                "Correct the file at the line that the message names."
                "a tab as indentation, a template such as {{ .Values.name }}, an unclosed bracket, a pointer of Git LFS, or a \
                 source of hundreds of megabytes, which is not read to its end"
            ];
            2002 ApiServer [
                "A request to the API server failed."
                "The API server cannot be reached, is too slow or refused the request. The agent tries again."
                "Check that the cluster answers: kubectl get --raw /readyz. The message has the answer of the API \
                 server."
                "connection refused while the control plane restarts"
            ];
            2003 Os [
                "The operating system refused an operation."
                "A file could not be written, or a program could not be started."
                "Check the disk space and the permissions for the file or program that the message names."
                "no space left on device"
            ];
            2004 Source [
                "The source cannot be read: the repository, image, chart or directory."
                "The address, the credentials or the reference are wrong, the server cannot be reached or sends too much, or \
                 the agent died twice while it read the commit. The last synced commit stays in force."
                "Check spec.git (repo, branch or revision, dir) and the Secret. The message has the answer of the \
                 server."
                "spec.git.dir names a directory that the branch does not have"
            ];
            2005 Fight [
                "Another client or controller changes a declared object again and again."
                "The sync corrects each change, and the other client makes it again. Both load the API server."
                "Find the other client in metadata.managedFields. Then remove the field from the source, stop the \
                 other client, or set client.lifecycle.config.k8s.io/mutation: ignore."
                "a HorizontalPodAutoscaler scales a Deployment whose replicas are declared"
            ];
            2006 EmptySource [
                "A commit would delete a large part of the objects that the sync manages, or all its Namespaces."
                "The usual cause is a wrong directory or branch, a bad merge, or a generator that failed. Nothing of \
                 the commit is applied."
                "Revert the commit. If you want the deletions, approve exactly these with the command in the message: it \
                 sets the annotation configsync.gke.io/approve-prune on the sync to the commit and a digest of the objects. \
                 Deletions of the last hour count; removing the annotation stops what is not deleted yet."
                "a commit that removes the directory of every team"
            ];
            2008 ResourceConflict [
                "A live object changed between the moment when the agent read it and the moment when it wrote it."
                "Another client changed the object, or its kind was removed. The agent tries again."
                "Do nothing at first. If the finding stays, look for another client that writes the object, or for a \
                 missing CustomResourceDefinition."
                "the object has been modified; please apply your changes to the latest version"
            ];
            2009 Applier [
                "The agent could not apply or delete an object, or the object did not become ready."
                "The API server or an admission webhook refused the request, or an object that this one depends on \
                 failed or is not ready in time."
                "Read the reason in the message. Correct the manifest, or the webhook that refuses it; or find out why the \
                 other object does not become ready. The agent tries again by itself."
                "Deployment web: spec.selector: field is immutable"
            ];
            2010 Resource [
                "A manifest is not a Kubernetes object that the API server can take."
                "apiVersion, kind and metadata.name identify an object. metadata, labels and annotations must be maps. The \
                 data of a Secret and the binaryData of a ConfigMap must be base64."
                "Add or correct the fields that the message names."
                "a document without metadata.name"
            ];
            2012 MultipleSingletons [
                "The repository has several objects where there can be one: several Repo objects, or several \
                 Namespaces in one directory."
                "It is not clear which of them decides."
                "Keep one, and move or remove the others."
                "system/repo.yaml and system/repo-copy.yaml"
            ];
            2013 InsufficientPermission [
                "The API server refused a request because the agent does not have the permission."
                "The agent acts with its own service account, and no role grants this account the permission."
                "Grant the permission that the message names with a RoleBinding or ClusterRoleBinding."
                "configmaps is forbidden: User … cannot patch resource configmaps in the namespace shop"
            ];
            2014 InvalidWebhook [
                "The configuration of the admission webhook has entries that the agent does not understand."
                "Another client changed them. The agent removes these entries."
                "Delete the ValidatingWebhookConfiguration. The agent creates it again."
                "a rule without apiGroups"
            ];
            2015 InternalHydration [
                "The rendering of the source could not run."
                "The cause is not the source but the place where it is rendered: its disk, its programs or its time \
                 limit."
                "Check the log, the disk and the memory of the agent."
                "kustomize is not installed where the agent runs"
            ];
            2016 Transient [
                "The source is not ready yet."
                "The rendering is still running, or the commit changed while the agent read it. The agent tries again \
                 at once."
                "Do nothing. If the finding stays for minutes, read the log of the agent."
                "the source commit changed while the files were read"
            ];
            2017 ListNamespace [
                "The agent could not list the Namespaces of the cluster."
                "A NamespaceSelector with mode dynamic selects among the live Namespaces."
                "Check the permissions of the sync, or use mode static."
                "namespaces is forbidden"
            ];
            9998 Internal [
                "The program found a state that it does not expect."
                "The cause is usually a bug in the program and not a mistake in your source."
                "Follow the hint. If there is none, please report the message and, if you can, the file."
                "an object of unknown scope in system/"
            ];
            9999 Undocumented [
                "A failure happened that has no code of its own."
                "The message is that of the program or library that failed."
                "Read the message. If it does not help, please report it."
                "an item of a list is no object"
            ];
        }
    };
}

pub(super) use table;
