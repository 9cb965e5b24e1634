//! Kubeconfigs in all forms that users have: nomos reaches a cluster where the real kubectl does, and is refused where it is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use nomos_cli::{Console, Environment};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::cluster::{Cluster, Kind};

/// The answer to a program.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// The cluster showed what was asked for.
    Reached,
    /// The cluster did not accept the login.
    Refused,
    /// There was no connection, or the kubeconfig cannot be used.
    Unusable,
}

/// A kubeconfig in parts: the entries of its only cluster and user.
struct Parts {
    cluster: Value,
    user: Value,
}

struct Form {
    name: &'static str,
    expected: Answer,
    make: fn(&Path, &mut Parts) -> Result<()>,
    environment: &'static [(&'static str, &'static str)],
}

const PROXY: (&str, &str) = ("HTTPS_PROXY", "http://127.0.0.1:1");

#[rustfmt::skip]
const FORMS: &[Form] = &[
    Form { name: "as it is", expected: Answer::Reached, make: |_, _| Ok(()), environment: &[] },
    Form { name: "relative paths", expected: Answer::Reached, make: relative_paths, environment: &[] },
    Form { name: "empty certificate-authority-data beside a file", expected: Answer::Reached, make: empty_data, environment: &[] },
    Form { name: "a token file with a newline", expected: Answer::Reached, make: token_file, environment: &[] },
    Form { name: "a login program", expected: Answer::Reached, make: |dir, parts| exec(dir, parts, "0"), environment: &[] },
    Form { name: "a login program that fails", expected: Answer::Unusable, make: |dir, parts| exec(dir, parts, "3"), environment: &[] },
    Form { name: "a client certificate of X.509 version 1", expected: Answer::Refused, make: version_1, environment: &[] },
    Form { name: "a wrong token", expected: Answer::Refused, make: |_, parts| { parts.user = json!({"token": "x"}); Ok(()) }, environment: &[] },
    Form { name: "a proxy for others", expected: Answer::Reached, make: |_, _| Ok(()), environment: &[PROXY] },
    Form { name: "a proxy of the kubeconfig", expected: Answer::Unusable, make: proxy_url, environment: &[("NO_PROXY", "*")] },
    Form { name: "NO_PROXY with spaces and commas", expected: Answer::Reached, make: |_, _| Ok(()), environment: &[PROXY, ("NO_PROXY", "localhost, 10.0.0.0/8,")] },
];

pub(crate) fn are_read_as_by_kubectl(kind: Kind) -> Result<()> {
    let cluster = Cluster::start(kind)?;
    let mut wrong = Vec::new();
    for form in FORMS {
        let home = TempDir::new()?;
        let files = files(&cluster, home.path(), form)?;
        let list = std::env::join_paths(files)?;
        let list = list.to_str().context("a path in ASCII")?;
        let (kubectl, said) = kubectl(&cluster, home.path(), list, form)?;
        let (nomos, shown) = nomos(home.path(), list, form);
        if (kubectl, nomos) != (form.expected, form.expected) {
            wrong.push(format!("{}: kubectl {kubectl:?}, nomos {nomos:?}\n{said}\n{shown}", form.name));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Three files: the first has the context alone, and names no current one.
fn files(cluster: &Cluster, home: &Path, form: &Form) -> Result<[PathBuf; 3]> {
    let text = fs::read_to_string(cluster.kubeconfig())?;
    let config: Value = serde_yaml::from_str(&text)?;
    let mut parts =
        Parts { cluster: config["clusters"][0]["cluster"].clone(), user: config["users"][0]["user"].clone() };
    (form.make)(home, &mut parts).with_context(|| form.name)?;
    let context = json!({"name": "it", "context": {"cluster": "it", "user": "me"}});
    let documents = [
        json!({"contexts": [context], "current-context": ""}),
        json!({"clusters": [{"name": "it", "cluster": parts.cluster}], "current-context": "it"}),
        json!({"users": [{"name": "me", "user": parts.user}], "current-context": "another"}),
    ];
    let mut index = 0;
    let paths = documents.map(|mut document| {
        document["apiVersion"] = "v1".into();
        document["kind"] = "Config".into();
        index += 1;
        (home.join(format!("config-{index}")), document)
    });
    for (path, document) in &paths {
        fs::write(path, serde_yaml::to_string(document)?)?;
    }
    Ok(paths.map(|(path, _)| path))
}

/// The decoded data of a field, or the content of the file that the field without `-data` names.
fn content(value: &Value, field: &str) -> Result<Vec<u8>> {
    match value[format!("{field}-data")].as_str() {
        Some(data) => Ok(base64::engine::general_purpose::STANDARD.decode(data)?),
        None => Ok(fs::read(value[field].as_str().with_context(|| format!("no {field} in {value}"))?)?),
    }
}

fn to_file(home: &Path, value: &mut Value, field: &str) -> Result<()> {
    let file = field.replace('-', ".");
    fs::write(home.join(&file), content(value, field)?)?;
    let fields = value.as_object_mut().context("a map")?;
    fields.remove(&format!("{field}-data"));
    fields.insert(field.to_owned(), file.into());
    Ok(())
}

fn relative_paths(home: &Path, parts: &mut Parts) -> Result<()> {
    to_file(home, &mut parts.cluster, "certificate-authority")?;
    to_file(home, &mut parts.user, "client-certificate")?;
    to_file(home, &mut parts.user, "client-key")
}

fn empty_data(home: &Path, parts: &mut Parts) -> Result<()> {
    relative_paths(home, parts)?;
    parts.cluster["certificate-authority-data"] = "".into();
    parts.user["client-certificate-data"] = "".into();
    parts.user["client-key-data"] = "".into();
    parts.user["token"] = "".into();
    parts.user["username"] = "".into();
    Ok(())
}

/// Any user with the right token may ask; a certificate beside it makes that the administrator.
fn token_file(home: &Path, parts: &mut Parts) -> Result<()> {
    fs::write(home.join("token"), "no-token-that-is-known\n")?;
    // The API server judges the certificate first.
    parts.user["tokenFile"] = "token".into();
    Ok(())
}

/// A program that prints the certificate, and something for the user on standard error.
fn exec(home: &Path, parts: &mut Parts, status: &str) -> Result<()> {
    let status_of = json!({
        "clientCertificateData": String::from_utf8(content(&parts.user, "client-certificate")?)?,
        "clientKeyData": String::from_utf8(content(&parts.user, "client-key")?)?,
    });
    let credential =
        json!({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status_of});
    fs::write(home.join("credential"), credential.to_string())?;
    let program = home.join("login");
    fs::write(&program, "#!/bin/sh\necho \"logging in as $WHO\" >&2\ncat \"${0%/*}/credential\"\nexit $1\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    parts.user = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "./login", "args": [status],
        "env": [{"name": "WHO", "value": "me"}], "interactiveMode": "Never", "provideClusterInfo": true,
    }});
    Ok(())
}

/// The API server does not know its authority, so that it refuses the login; but it is sent.
fn version_1(home: &Path, parts: &mut Parts) -> Result<()> {
    let script = "openssl req -new -newkey rsa:2048 -nodes -keyout key -subj /CN=me -out request && \
                  openssl x509 -req -in request -signkey key -days 2 -out certificate";
    let made = Command::new("sh").args(["-ec", script]).current_dir(home).output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    parts.user = json!({"client-certificate": "certificate", "client-key": "key"});
    Ok(())
}

fn proxy_url(_: &Path, parts: &mut Parts) -> Result<()> {
    parts.cluster["proxy-url"] = "http://127.0.0.1:1".into();
    Ok(())
}

fn kubectl(cluster: &Cluster, home: &Path, list: &str, form: &Form) -> Result<(Answer, String)> {
    let mut command = cluster.kubectl_command()?;
    command.args(["get", "namespaces", "--request-timeout=20s"]).env("HOME", home).env("KUBECONFIG", list);
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    let output = command.envs(form.environment.iter().copied()).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let refused = ["Unauthorized", "Forbidden", "must be logged in", "forbidden"];
    let answer = match output.status.success() {
        true => Answer::Reached,
        false if refused.iter().any(|word| said.contains(word)) => Answer::Refused,
        false => Answer::Unusable,
    };
    Ok((answer, said))
}

fn nomos(home: &Path, list: &str, form: &Form) -> (Answer, String) {
    let variable =
        |name: &str| form.environment.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
    let environment = Environment {
        home: Some(home.to_owned()),
        kubeconfig: Some(list.into()),
        proxies: agent::io::proxy::ProxyVariables::read(variable),
        ..Environment::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut err, environment);
    nomos_cli::run(["nomos", "status", "--timeout", "20s", "--format", "blocks"].map(Into::into), &mut console);
    let said = String::from_utf8_lossy(&out).into_owned() + &String::from_utf8_lossy(&err);
    let answer = match said {
        _ if said.contains("NOT INSTALLED") => Answer::Reached,
        _ if said.contains("  ERROR ") => Answer::Refused,
        _ => Answer::Unusable,
    };
    (answer, said)
}
