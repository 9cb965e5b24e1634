//! Every repository of `examples/`, synced to one cluster side by side: what they declare is live.

use anyhow::{Context as _, Result, ensure};
use tests::cluster::{Cluster, Kind};
use tests::repository::{REPO, Repository};

use crate::world::{Sync, agent, installed};

/// The cluster that this is, which `hierarchy` knows.
const CLUSTER: &str = "prod-eu";

/// An example, how it is laid out, under which name its repository knows this cluster, and what kubectl then says to
/// questions.
type Example = (&'static str, Layout, &'static str, &'static [(&'static str, &'static str)]);

#[derive(Clone, Copy)]
enum Layout {
    Hierarchy,
    Unstructured,
    /// As the part of a hierarchical repository that belongs to this Namespace.
    Namespace(&'static str),
}

const EXAMPLES: &[Example] = &[
    (
        "hierarchy",
        Layout::Hierarchy,
        CLUSTER,
        &[
            ("get quota compute -n checkout -o jsonpath={.spec.hard.pods}", "200"),
            ("get networkpolicy -n checkout -o jsonpath={.items[*].metadata.name}", CHECKOUT_POLICIES),
            ("get networkpolicy card-network -n catalog --ignore-not-found", ""),
            ("get cronjob -A -o jsonpath={.items[*].metadata.namespace}", "billing gdpr-export"),
            ("get clusterrolebinding load-testers --ignore-not-found", ""),
            (
                "get deployment checkout -n checkout -o jsonpath={.spec.template.spec.priorityClassName}",
                "customer-facing",
            ),
        ],
    ),
    (
        "unstructured",
        Layout::Unstructured,
        "defaultcluster",
        &[
            ("get rolebinding -n logging -o jsonpath={.items[*].metadata.name}", "observability-team"),
            ("get daemonset -A -o jsonpath={.items[*].metadata.name}", "fluent-bit conntrack"),
            ("get service kube-state-metrics -n monitoring -o jsonpath={.spec.clusterIP}", "None"),
        ],
    ),
    (
        "team-namespaces",
        Layout::Unstructured,
        "defaultcluster",
        &[("get limitrange defaults -n platform -o jsonpath={.spec.limits[0].defaultRequest.cpu}", "50m")],
    ),
    (
        "namespace",
        Layout::Namespace("billing"),
        "defaultcluster",
        &[
            ("get configmap invoices -n billing -o jsonpath={.data.file-mode}", "0644"),
            ("get reposync repo-sync -n billing -o jsonpath={.spec.git.dir}", "billing"),
        ],
    ),
    (
        "custom-resources",
        Layout::Hierarchy,
        "defaultcluster",
        &[
            ("get db -A -o jsonpath={.items[*].spec.className}", "small large"),
            ("get databases orders -n orders -o jsonpath={.spec.parameters.autovacuum.naptime}", "20s"),
            ("get databaseclass small -o jsonpath={.spec.highAvailability}", "false"),
        ],
    ),
    (
        "networking",
        Layout::Unstructured,
        "defaultcluster",
        &[
            ("get service internal-gateway -n gateway -o jsonpath={.spec.type}", "LoadBalancer"),
            ("get quota -l !none -A -o jsonpath={.items[*].metadata.namespace}", QUOTAS),
            ("get configmap ip-masq-agent -n kube-system -o jsonpath={.metadata.name}", "ip-masq-agent"),
        ],
    ),
];

const CHECKOUT_POLICIES: &str = "allow-dns card-network default-deny from-load-balancer";
const QUOTAS: &str = "catalog checkout tenant-recommendations tenant-search";

pub(crate) fn are_synced(kind: Kind) -> Result<()> {
    let cluster = installed(kind)?;
    let _agent = agent(&cluster, &["--cluster-name", CLUSTER])?;
    let syncs = EXAMPLES.iter().map(|example| sync(&cluster, example)).collect::<Result<Vec<_>>>()?;
    for (sync, example) in syncs.iter().zip(EXAMPLES) {
        sync.await_synced(&sync.repository.head()?)?;
        is_live(&cluster, sync, example).with_context(|| format!("example {}", example.0))?;
    }
    for (question, expected) in EXAMPLES.iter().flat_map(|example| example.3) {
        let answer = cluster.kubectl(&question.split(' ').collect::<Vec<_>>())?;
        ensure!(answer.trim_end() == *expected, "{question}: {answer:?}, not {expected:?}");
    }
    Ok(())
}

fn sync<'a>(cluster: &'a Cluster, (name, layout, ..): &Example) -> Result<Sync<'a>> {
    let repository = Repository::empty()?;
    match layout {
        Layout::Namespace(namespace) => {
            repository.write("system/repo.yaml", REPO)?;
            for part in ["root", namespace] {
                repository.copy_example(&format!("{name}/{part}"), &format!("namespaces/{namespace}"))?;
            }
        }
        Layout::Hierarchy | Layout::Unstructured => repository.copy_example(name, "")?,
    }
    match layout {
        Layout::Unstructured => Sync::unstructured(cluster, name, repository),
        Layout::Hierarchy | Layout::Namespace(_) => Sync::hierarchical(cluster, name, repository),
    }
}

/// Fails unless applying what `nomos hydrate` writes would change nothing.
fn is_live(cluster: &Cluster, sync: &Sync<'_>, (_, layout, name, _): &Example) -> Result<()> {
    let format = if matches!(layout, Layout::Unstructured) { "unstructured" } else { "hierarchy" };
    let out = tempfile::tempdir()?;
    let (path, output) = (sync.repository.url(), out.path().display().to_string());
    let words = ["hydrate", "--path", &path, "--source-format", format, "--clusters", name, "--output", &output];
    let (status, said) = cluster.nomos(&words);
    ensure!(status == 0 && said.is_empty(), "nomos hydrate: {status} {said}");
    let diff = ["diff", "--server-side", "--field-manager=story", "--recursive", "--filename", &output];
    let diff = cluster.kubectl_command()?.args(diff).output()?;
    let (shown, said) = (String::from_utf8_lossy(&diff.stdout), String::from_utf8_lossy(&diff.stderr));
    ensure!(diff.status.success() && shown.is_empty(), "kubectl diff: {}\n{shown}{said}", diff.status);
    Ok(())
}
