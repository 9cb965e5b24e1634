//! The real kubectl on both clusters, through everything that people do with it every day. No agent.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind};
use tests::wait::await_condition;

const MANIFESTS: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: shop
data:
  colour: green
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
spec:
  selector: {app: web}
  ports:
  - name: http
    port: 80
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: shop
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: example.com/web:1.0
";

const DEFINITION: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, description: How big it is.}
              port: {x-kubernetes-int-or-string: true}
";

const WIDGET: &str = "\
apiVersion: example.com/v1
kind: Widget
metadata:
  name: cog
  namespace: shop
spec:
  size: 3
";

pub(crate) fn works(kind: Kind) -> Result<()> {
    let cluster = Cluster::start(kind)?;
    let dir = tempfile::tempdir()?;
    writes(&cluster, &dir)?;
    reads(&cluster)?;
    changes(&cluster, &dir)?;
    watches(&cluster)?;
    asks(&cluster)?;
    defines(&cluster, dir.path())?;
    deletes(&cluster)
}

/// Fails unless the output has all of `words`.
fn says(cluster: &Cluster, args: &str, words: &[&str]) -> Result<String> {
    let args: Vec<&str> = args.split(' ').collect();
    let said = cluster.kubectl(&args)?;
    for word in words {
        ensure!(said.contains(word), "no {word:?} in the answer to {args:?}:\n{said}");
    }
    Ok(said)
}

fn writes(cluster: &Cluster, dir: &TempDir) -> Result<()> {
    let file = dir.path().join("shop.yaml");
    fs::write(&file, MANIFESTS)?;
    let file = file.display();
    let made = ["namespace/shop ", "configmap/settings ", "service/web ", "deployment.apps/web "];
    says(
        cluster,
        &format!("apply -f {file} --dry-run=server"),
        &made.map(|it| it.to_owned() + "created").each_ref().map(String::as_str),
    )
    .err()
    .context("a dry run cannot see the Namespace that it did not make")?;
    says(
        cluster,
        &format!("apply -f {file}"),
        &made.map(|it| it.to_owned() + "created").each_ref().map(String::as_str),
    )?;
    says(
        cluster,
        &format!("apply -f {file}"),
        &made.map(|it| it.to_owned() + "unchanged").each_ref().map(String::as_str),
    )?;
    let applied = made.map(|it| it.to_owned() + "serverside-applied");
    says(cluster, &format!("apply --server-side -f {file}"), &applied.each_ref().map(String::as_str))?;
    Ok(())
}

fn reads(cluster: &Cluster) -> Result<()> {
    says(cluster, "get deployments -n shop", &["NAME   READY   UP-TO-DATE   AVAILABLE   AGE\n", "web    0/2 "])?;
    says(cluster, "get deployments -n shop -o wide", &["CONTAINERS", "IMAGES", "SELECTOR", "example.com/web:1.0"])?;
    says(cluster, "get services,configmaps -A", &["NAMESPACE ", "service/web ", "configmap/settings "])?;
    says(cluster, "get ns shop -o jsonpath={.status.phase}", &["Active"])?;
    says(cluster, "get cm settings -n shop -o yaml", &["kind: ConfigMap\n", "  colour: green\n"])?;
    let list: Value = serde_json::from_str(&says(
        cluster,
        "get cm -n shop -l !none --field-selector metadata.name=settings -o json",
        &[],
    )?)?;
    ensure!(list["items"].as_array().map(Vec::len) == Some(1), "{list:#}");
    says(cluster, "describe deployment web -n shop", &["Name:", "Selector:", "app=web", "example.com/web:1.0"])?;
    says(cluster, "describe service web -n shop", &["Port:", "http  80/TCP"])?;
    Ok(())
}

fn changes(cluster: &Cluster, dir: &TempDir) -> Result<()> {
    let field = |resource: &str, path: &str, value: &str| {
        let said = cluster.kubectl(&["get", resource, "-n", "shop", "-o", &format!("jsonpath={{{path}}}")])?;
        ensure!(said == value, "{path} of {resource} is {said:?}, not {value:?}");
        anyhow::Ok(())
    };
    says(cluster, r#"patch service web -n shop -p {"spec":{"ports":[{"port":80,"name":"web"}]}}"#, &["patched"])?;
    field("service/web", ".spec.ports[*].name", "web")?;
    says(
        cluster,
        r#"patch service web -n shop --type=json -p [{"op":"replace","path":"/spec/ports/0/port","value":81}]"#,
        &["patched"],
    )?;
    field("service/web", ".spec.ports[*].port", "81")?;
    says(cluster, r#"patch cm settings -n shop --type=merge -p {"data":{"colour":null,"size":"big"}}"#, &["patched"])?;
    field("cm/settings", ".data", r#"{"size":"big"}"#)?;
    says(cluster, "scale deployment web -n shop --replicas=3", &["scaled"])?;
    field("deployment/web", ".spec.replicas", "3")?;
    says(cluster, "label cm settings -n shop team=web", &["labeled"])?;
    says(cluster, "annotate cm settings -n shop note=hello", &["annotated"])?;
    says(cluster, "get cm -n shop -l team=web -o name", &["configmap/settings"])?;
    cluster.edit(&["configmap", "settings", "-n", "shop"], "s/big/small/")?;
    field("cm/settings", ".data", r#"{"size":"small"}"#)?;
    difference(cluster, dir.path())
}

/// `kubectl diff` ends with 1 and shows what applying would change.
fn difference(cluster: &Cluster, dir: &Path) -> Result<()> {
    let output = cluster.kubectl_command()?.args(["diff", "-f"]).arg(dir.join("shop.yaml")).output()?;
    let shown = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(1), "kubectl diff: {}", String::from_utf8_lossy(&output.stderr));
    for line in ["-  replicas: 3\n", "+  replicas: 2\n", "+  colour: green\n"] {
        ensure!(shown.contains(line), "no {line:?} in\n{shown}");
    }
    Ok(())
}

fn watches(cluster: &Cluster) -> Result<()> {
    let mut watch = cluster
        .kubectl_command()?
        .args(["get", "configmap", "settings", "-n", "shop", "--watch", "-o", "jsonpath={.data.size}{\"\\n\"}"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(watch.stdout.take().context("it is piped")?).lines();
    let result = (|| {
        ensure!(lines.next().transpose()?.as_deref() == Some("small"), "not what it is");
        says(cluster, r#"patch cm settings -n shop --type=merge -p {"data":{"size":"huge"}}"#, &["patched"])?;
        ensure!(lines.next().transpose()?.as_deref() == Some("huge"), "not what it became");
        Ok(())
    })();
    watch.kill()?;
    watch.wait()?;
    result
}

fn asks(cluster: &Cluster) -> Result<()> {
    says(cluster, "api-resources", &["configmaps ", "deployments ", "apps/v1", "customresourcedefinitions "])?;
    says(
        cluster,
        "api-resources --namespaced=false -o name",
        &["namespaces\n", "clusterroles.rbac.authorization.k8s.io\n"],
    )?;
    says(cluster, "explain deployment.spec.replicas", &["FIELD: replicas <integer>"])?;
    says(cluster, "explain service.spec.ports", &["targetPort", "<IntOrString>"])?;
    says(cluster, "auth can-i delete namespaces", &["yes"])?;
    says(cluster, "version -o json", &["serverVersion"])?;
    says(cluster, "wait ns/shop --for=jsonpath={.status.phase}=Active --timeout=10s", &["condition met"])?;
    Ok(())
}

/// Custom resources are explained, checked and shown like all others.
fn defines(cluster: &Cluster, dir: &Path) -> Result<()> {
    let (definition, widget) = (dir.join("definition.yaml"), dir.join("widget.yaml"));
    fs::write(&definition, DEFINITION)?;
    fs::write(&widget, WIDGET)?;
    says(cluster, &format!("apply -f {}", definition.display()), &["created"])?;
    says(cluster, "wait crd/widgets.example.com --for=condition=Established --timeout=30s", &["condition met"])?;
    await_condition("it is explained", || {
        says(
            cluster,
            "explain widget.spec.size",
            &["GROUP:      example.com", "FIELD: size <integer>", "How big it is."],
        )
    })?;
    says(cluster, "explain widgets --recursive", &["size\t<integer> -required-", "port\t<", "metadata\t<ObjectMeta>"])?;
    says(cluster, &format!("apply -f {}", widget.display()), &["widget.example.com/cog created"])?;
    says(cluster, "get wd -n shop", &["NAME   SIZE\n", "cog    3\n"])?;
    fs::write(&widget, WIDGET.replace("size: 3", "colour: red"))?;
    says(cluster, &format!("apply -f {}", widget.display()), &[]).err().context("an unknown kind is refused")?;
    Ok(())
}

fn deletes(cluster: &Cluster) -> Result<()> {
    says(cluster, "delete cm settings -n shop", &[r#"configmap "settings" deleted"#])?;
    says(cluster, "delete namespace shop --wait=true", &[r#"namespace "shop" deleted"#])?;
    await_condition("it is gone", || {
        ensure!(cluster.kubectl(&["get", "namespace", "shop"]).is_err(), "it is there");
        Ok(())
    })
}
