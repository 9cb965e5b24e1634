//! `nomos version`: the versions of this program and of the agents on clusters.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::columns::{OutputForm, output_form, titled};
use crate::{Console, FINE, duration};

/// Show the versions of nomos and of the agents on clusters
#[derive(clap::Args)]
pub(crate) struct VersionArgs {
    /// Contexts of the kubeconfig to show, separated by commas [default: all; "" for none]
    #[arg(long, alias = "context", value_delimiter = ',', value_name = "CONTEXTS")]
    #[cfg_attr(feature = "cluster", arg(add = crate::completions::contexts()))]
    contexts: Option<Vec<String>>,

    /// Longest time to wait for each cluster
    #[arg(long, default_value = "15s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,

    /// Print in this form instead of as text: json, yaml, name or jsonpath=TEMPLATE
    #[arg(short, long, value_parser = output_form, value_name = "FORM")]
    output: Option<OutputForm>,

    /// Leave out the titles of columns
    #[arg(long)]
    no_headers: bool,
}

#[cfg(feature = "cluster")]
impl VersionArgs {
    /// The versions of this program and of one cluster.
    pub(crate) fn of(context: &str, timeout: Duration) -> Self {
        Self { contexts: Some(vec![context.to_owned()]), timeout, output: None, no_headers: false }
    }
}

/// A program, and the cluster on which it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Component {
    current: bool,
    /// The context of the cluster; empty for this program.
    context: String,
    component: String,
    version: String,
    /// The image of an agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    image: String,
}

/// Prints the versions.
pub(crate) fn run(args: &VersionArgs, kubeconfig: Option<&Path>, console: &mut Console<'_>) -> anyhow::Result<u8> {
    let mut components = vec![Component {
        current: false,
        context: String::new(),
        component: "<nomos CLI>".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        image: String::new(),
    }];
    components.extend(clusters::components(args, kubeconfig, console)?);
    match &args.output {
        Some(form) => {
            let names: Vec<String> = components.iter().map(|component| component.component.clone()).collect();
            console.print_data(&form.text(&components, &names)?);
        }
        None => console.print(&text(&components, !args.no_headers)),
    }
    Ok(FINE)
}

fn text(components: &[Component], headers: bool) -> String {
    let head = ["CURRENT", "CLUSTER_CONTEXT_NAME", "COMPONENT", "VERSION", "IMAGE"];
    let images = components.iter().any(|row| !row.image.is_empty());
    let mut rows = vec![head[..if images { 5 } else { 4 }].iter().map(|&title| title.to_owned()).collect()];
    rows.extend(components.iter().map(|row| {
        let current = if row.current { "*" } else { "" };
        vec![current.to_owned(), row.context.clone(), row.component.clone(), row.version.clone(), row.image.clone()]
    }));
    titled(&rows, headers)
}

#[cfg(feature = "cluster")]
mod clusters {
    //! The agents on clusters.

    use std::path::Path;

    use agent::model::metadata::CONTROLLER_NAMESPACE;
    use anyhow::bail;
    use kube::api::{Api, DynamicObject, ListParams};
    use kube::core::discovery::ApiResource;
    use kube::core::gvk::GroupVersionKind;
    use kube::{Client, ResourceExt as _};

    use super::{Component, VersionArgs};
    use crate::Console;
    use crate::contexts::{self, AGENTS, ClusterError};

    /// The agents of each cluster. A cluster without one has a component that says why. Without a kubeconfig there are no
    /// clusters.
    pub(super) fn components(
        args: &VersionArgs,
        kubeconfig: Option<&Path>,
        console: &Console<'_>,
    ) -> anyhow::Result<Vec<Component>> {
        let clusters = contexts::clusters(kubeconfig, &console.environment, args.contexts.as_deref())?;
        if clusters.is_none() && args.contexts.iter().flatten().any(|context| !context.is_empty()) {
            bail!(contexts::not_configured(kubeconfig, &console.environment));
        }
        let clusters = clusters.unwrap_or_default();
        let _progress = console.begin("asking the clusters");
        let answers = contexts::ask(&clusters, args.timeout, async |client| Ok(deployments(client).await?))?;
        Ok(clusters
            .iter()
            .zip(answers)
            .flat_map(|(cluster, answer)| {
                let found = match answer {
                    Ok(found) if found.is_empty() => row(AGENTS[0], "NOT INSTALLED".to_owned()),
                    Ok(found) => found,
                    Err(ClusterError::Unreachable(cause) | ClusterError::Unusable(cause)) => {
                        row("", format!("Failed to connect to cluster: {cause}"))
                    }
                    Err(ClusterError::Refused(message)) => row("", message),
                };
                found.into_iter().map(|found| Component {
                    current: cluster.current,
                    context: cluster.context.clone(),
                    ..found
                })
            })
            .collect())
    }

    fn row(component: &str, version: String) -> Vec<Component> {
        vec![Component { component: component.to_owned(), version, ..Component::default() }]
    }

    async fn deployments(client: Client) -> kube::Result<Vec<Component>> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        let api: Api<DynamicObject> = Api::namespaced_with(client, CONTROLLER_NAMESPACE, &resource);
        let deployments = api.list(&ListParams::default()).await?.items;
        Ok(deployments
            .iter()
            .filter(|deployment| AGENTS.contains(&deployment.name_any().as_str()))
            .map(|deployment| Component {
                component: deployment.name_any(),
                version: version(deployment),
                image: image(deployment).to_owned(),
                ..Component::default()
            })
            .collect())
    }

    /// The version label, or the tag of the image of the first container.
    fn version(deployment: &DynamicObject) -> String {
        if let Some(version) = deployment.labels().get("app.kubernetes.io/version") {
            return version.clone();
        }
        let tag = image(deployment).rsplit('/').next().and_then(|name| name.split_once(':'));
        tag.map_or_else(|| "UNKNOWN".to_owned(), |(_, tag)| tag.to_owned())
    }

    /// The image of the first container; empty if there is none.
    fn image(deployment: &DynamicObject) -> &str {
        let image = deployment.data.pointer("/spec/template/spec/containers/0/image");
        image.and_then(|image| image.as_str()).unwrap_or_default()
    }
}

#[cfg(not(feature = "cluster"))]
mod clusters {
    //! A build that cannot connect to clusters.

    use std::path::Path;

    use super::{Component, VersionArgs};
    use crate::Console;

    /// Always empty.
    pub(super) fn components(_: &VersionArgs, _: Option<&Path>, _: &Console<'_>) -> anyhow::Result<Vec<Component>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_has_a_row() {
        let row = |current, context: &str, component: &str, version: &str| Component {
            current,
            context: context.into(),
            component: component.into(),
            version: version.into(),
            image: if component == "nomos-agent" {
                "registry.example.com/nomos-agent:0.1.0".into()
            } else {
                String::new()
            },
        };
        let rows = [
            row(false, "", "<nomos CLI>", "0.1.0"),
            row(true, "prod", "nomos-agent", "0.1.0"),
            row(false, "test", "", "Failed to connect to cluster: Connection refused"),
        ];
        let expected = "\
CURRENT   CLUSTER_CONTEXT_NAME   COMPONENT     VERSION                                            IMAGE
                                 <nomos CLI>   0.1.0
*         prod                   nomos-agent   0.1.0                                              registry.example.com/nomos-agent:0.1.0
          test                                 Failed to connect to cluster: Connection refused
";
        assert_eq!(text(&rows, true), expected);
    }
}
