//! The export of a user who has rights in one Namespace alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind};
use tests::exported::files;
use tests::wait::await_condition;

use super::CRD;
use crate::world::{config_map, installed, namespace};

const NAMESPACE: &str = "shop";
const GADGET: &str = "\
apiVersion: export.example.com/v1
kind: Gadget
metadata: {name: small, namespace: shop}
spec: {size: 1, color: blue}
";
const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
";
/// A Role that shows nothing but ConfigMaps.
const ROLE: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: shop}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get, list]}]
";
const GADGETS: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: gadgets, namespace: shop}
rules: [{apiGroups: [export.example.com], resources: [gadgets, widgets], verbs: ['*']}]
";

pub(crate) fn of_one_namespace(kind: Kind) -> Result<()> {
    let (cluster, home) = (installed(kind)?, TempDir::new()?);
    let file = home.path().join("objects.yaml");
    let apply = |text: &str| {
        fs::write(&file, text)?;
        cluster.kubectl(&["apply", "--filename", &file.display().to_string()])
    };
    apply(CRD)?;
    await_condition("the kind is served", || cluster.get("/apis/export.example.com/v1/gadgets"))?;
    let labeled = namespace(NAMESPACE).replace("metadata:\n", "metadata:\n  labels: {team: a}\n");
    let [one, two] = ["one", "two"].map(|name| SERVICE.replace("NAME", name));
    apply(&[&labeled, &config_map(NAMESPACE, "settings", "one"), &one, &two, GADGET, ROLE, GADGETS].join("\n---\n"))?;
    by_an_admin(&cluster, home.path())?;
    by_a_viewer(&cluster, home.path())?;
    by_a_reader_of_one_kind(&cluster, home.path())
}

fn by_an_admin(cluster: &Cluster, home: &Path) -> Result<()> {
    let admin = user(cluster, home, "admin", "--clusterrole=admin")?;
    let directory = |name: &str| home.join(name).display().to_string();
    let (status, said) = nomos_as(&admin, &["export", "--path", &directory("all")]);
    ensure!(status == 2 && said.contains("--namespace NAMESPACE exports one"), "{status}: {said}");

    // Custom resources are not among the rights of the ClusterRole admin.
    let path = directory("admin");
    let (status, said) = nomos_as(&admin, &["export", "--path", &path, "-n", NAMESPACE]);
    let gadgets = "cannot list resource \"gadgets\" in API group \"export.example.com\" in the namespace \"shop\"";
    ensure!(status == 1 && said.contains(gadgets) && !said.contains("customresourcedefinitions"), "{status}: {said}");
    ensure!(!said.contains("dry run was refused"), "{said}");
    ensure!(said.contains("the export does without them:\n   PodTemplate: podtemplates is forbidden"), "{said}");
    let found = files(Path::new(&path))?;
    let declared = found.get("namespaces/shop/namespace.yaml").context("no Namespace")?;
    let settings = "namespaces/shop/config-map-settings.yaml";
    ensure!(declared.contains("team: a") && found.contains_key(settings), "{found:#?}");

    // With that right, the CRD is missing, which a repository of one Namespace does not have.
    bind(cluster, "admin", "gadgets", "--role=gadgets")?;
    let path = directory("gadgets");
    let said = await_condition("the right is there", || {
        let _ = fs::remove_dir_all(&path);
        let (status, said) = nomos_as(&admin, &["export", "--path", &path, "-n", NAMESPACE, "-o", "json"]);
        ensure!(status == 0 && !said.contains("\\\"gadgets\\\""), "{status}: {said}");
        Ok(said)
    })?;
    let account: Value = serde_json::from_str(&said)?;
    let missing = account["unread"].as_array().context("a list")?;
    let of_crd =
        |text: &Value| text.as_str().is_some_and(|text| text.starts_with("the CRD of Gadget.export.example.com: "));
    ensure!(missing.iter().any(of_crd), "{account:#}");
    let gadget = files(Path::new(&path))?.remove("namespaces/shop/gadget-small.yaml").context("no Gadget")?;
    // Its default values are not known.
    ensure!(gadget.contains("color: blue") && gadget.contains("size: 1"), "{gadget}");
    let only = ["--kind", "configmap", "-n", NAMESPACE];
    for to in [["--path", &directory("only")], ["--check", &path]] {
        let (status, said) = nomos_as(&admin, &[&["export"], &to[..], &only].concat());
        ensure!(status == 0, "{status}: {said}");
    }
    Ok(())
}

/// A user who changes nothing gets the default values too.
fn by_a_viewer(cluster: &Cluster, home: &Path) -> Result<()> {
    let viewer = user(cluster, home, "viewer", "--clusterrole=view")?;
    let path = home.join("viewer").display().to_string();
    let (status, said) = nomos_as(&viewer, &["export", "--path", &path, "-n", NAMESPACE, "--kind", "service"]);
    let refused = "2   services is forbidden: User \"system:serviceaccount:shop:viewer\" cannot patch resource";
    ensure!(status == 0 && said.contains(refused), "{status}: {said}");
    Ok(())
}

/// A user who may not even get the Namespace.
fn by_a_reader_of_one_kind(cluster: &Cluster, home: &Path) -> Result<()> {
    let reader = user(cluster, home, "reader", "--role=reader")?;
    let path = home.join("reader").display().to_string();
    let export = ["export", "--path", &path, "-n", NAMESPACE];
    let (status, said) = nomos_as(&reader, &[&export[..], &["--source-format=hierarchy"]].concat());
    ensure!(status == 2 && said.contains("hint: --source-format=unstructured"), "{status}: {said}");
    let (status, said) = nomos_as(&reader, &export);
    ensure!(status == 1 && said.contains("namespace/shop: namespaces \"shop\" is forbidden"), "{status}: {said}");
    // Nothing is missing of the one kind.
    let only = home.join("only-settings").display().to_string();
    let (status, said) = nomos_as(&reader, &["export", "--path", &only, "-n", NAMESPACE, "--kind", "configmap"]);
    ensure!(status == 0 && said.contains("namespace/shop: namespaces \"shop\" is forbidden"), "{status}: {said}");
    let names: Vec<String> = files(Path::new(&path))?.into_keys().collect();
    ensure!(names == ["namespaces/shop/config-map-settings.yaml"], "{names:#?}");
    let (status, said) = cluster.nomos(&["vet", "--path", &path, "--namespace", NAMESPACE]);
    ensure!(status == 0, "{status}: {said}");
    Ok(())
}

/// Gives an account a role in the Namespace, by a binding of this name.
fn bind(cluster: &Cluster, account: &str, binding: &str, role: &str) -> Result<()> {
    let account = format!("--serviceaccount={NAMESPACE}:{account}");
    cluster.kubectl(&["create", "rolebinding", binding, "-n", NAMESPACE, role, &account]).map(|_| ())
}

/// An account of the Namespace with this role, and a kubeconfig with a token of it.
fn user(cluster: &Cluster, home: &Path, name: &str, role: &str) -> Result<PathBuf> {
    cluster.kubectl(&["create", "serviceaccount", name, "-n", NAMESPACE])?;
    bind(cluster, name, name, role)?;
    let token = cluster.kubectl(&["create", "token", name, "-n", NAMESPACE])?;
    let mut kubeconfig: Value = serde_yaml::from_str(&fs::read_to_string(cluster.kubeconfig())?)?;
    for user in kubeconfig["users"].as_array_mut().into_iter().flatten() {
        user["user"] = json!({"token": token.trim()});
    }
    let file = home.join(format!("{name}.kubeconfig"));
    fs::write(&file, serde_yaml::to_string(&kubeconfig)?)?;
    let account = format!("--as=system:serviceaccount:{NAMESPACE}:{name}");
    await_condition("the API server knows of the rights", || {
        cluster.kubectl(&["auth", "can-i", "list", "configmaps", "-n", NAMESPACE, &account])
    })?;
    Ok(file)
}

/// Runs nomos as a user, and returns its exit status and all that it printed.
fn nomos_as(kubeconfig: &Path, args: &[&str]) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = nomos_cli::Console::new(&mut out, &mut err, nomos_cli::Environment::default());
    let own = ["nomos".into(), "--kubeconfig".into(), kubeconfig.as_os_str().to_owned()];
    let code = nomos_cli::run(own.into_iter().chain(args.iter().map(Into::into)), &mut console);
    (code, String::from_utf8_lossy(&out).into_owned() + &String::from_utf8_lossy(&err))
}
