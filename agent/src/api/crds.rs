//! The CustomResourceDefinitions, generated from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps,
};
use kube::CustomResourceExt as _;

use crate::model::yaml;

use super::{
    CONFIG_MANAGEMENT, Cluster, ClusterSelector, ConfigManagement, HierarchyConfig, NamespaceSelector, RepoSync,
    ResourceGroup, RootSync,
};

/// The CRDs that an installation applies, sorted by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut crds = vec![
        sync(RootSync::crd()),
        sync(RepoSync::crd()),
        group(ResourceGroup::crd()),
        settings(ConfigManagement::crd()),
        Cluster::crd(),
        ClusterSelector::crd(),
        HierarchyConfig::crd(),
        NamespaceSelector::crd(),
    ];
    for version in crds.iter_mut().flat_map(|crd| &mut crd.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            schema.required = None;
            complete(schema);
        }
    }
    crds.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    crds
}

/// The content of the file that installs a CRD.
pub fn yaml(crd: &CustomResourceDefinition) -> String {
    yaml::text(&serde_json::to_value(crd).expect("a CRD is plain data"))
}

/// Adds the columns that `kubectl get` prints, and serves the kind as `v1alpha1` too, without conversion.
fn sync(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec.versions[0].additional_printer_columns = Some(
        [("Rendering", "rendering"), ("Source", "source"), ("Sync", "sync")]
            .into_iter()
            .flat_map(|(name, stage)| {
                [
                    column(&format!("{name}Commit"), "string", &format!(".status.{stage}.commit")),
                    column(
                        &format!("{name}ErrorCount"),
                        "integer",
                        &format!(".status.{stage}.errorSummary.totalCount"),
                    ),
                ]
            })
            .collect(),
    );
    let mut alpha = crd.spec.versions[0].clone();
    alpha.name = "v1alpha1".to_owned();
    alpha.storage = false;
    crd.spec.versions.push(alpha);
    crd
}

/// Adds the columns that `kubectl get` prints.
fn group(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec.versions[0].additional_printer_columns = Some(vec![
        column("Reconciling", "string", ".status.conditions[0].status"),
        column("Stalled", "string", ".status.conditions[1].status"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ]);
    crd
}

/// Lets the only name pass, and adds the columns that `kubectl get` prints.
fn settings(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let version = &mut crd.spec.versions[0];
    version.additional_printer_columns = Some(vec![
        column("Cluster", "string", ".spec.clusterName"),
        column("Healthy", "boolean", ".status.healthy"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ]);
    let name = JSONSchemaProps {
        type_: Some("string".to_owned()),
        pattern: Some(format!("^{CONFIG_MANAGEMENT}$")),
        ..Default::default()
    };
    let metadata = JSONSchemaProps {
        type_: Some("object".to_owned()),
        properties: Some([("name".to_owned(), name)].into()),
        ..Default::default()
    };
    let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
    if let Some(properties) = schema.and_then(|schema| schema.properties.as_mut()) {
        properties.insert("metadata".to_owned(), metadata);
    }
    crd
}

fn column(name: &str, type_: &str, json_path: &str) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: type_.to_owned(),
        json_path: json_path.to_owned(),
        ..Default::default()
    }
}

/// Removes every default that is not a string: the API server refuses null, and an empty object or list has no meaning.
fn complete(schema: &mut JSONSchemaProps) {
    if schema.default.as_ref().is_some_and(|default| !default.0.is_string()) {
        schema.default = None;
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        complete(property);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_the_examples_are_current() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/install/crds");
        for crd in crds() {
            let path = directory.join(format!("{}.yaml", crd.metadata.name.as_deref().expect("named")));
            let text = yaml(&crd);
            if std::env::var_os("BLESS").is_some() {
                std::fs::create_dir_all(&directory).expect("writable");
                std::fs::write(&path, &text).expect("writable");
            }
            assert_eq!(std::fs::read_to_string(&path).ok(), Some(text), "write {} with BLESS=1", path.display());
        }
    }
}
