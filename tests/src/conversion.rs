//! A conversion webhook on loopback: between version v1 and v2 of custom resources it gives fields other names.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The ending of names in version v2: what is `r1` in v1 is `r1New` there.
pub const RENAMED: &str = "New";

/// The webhook. It answers until the process ends.
pub struct Converter {
    url: String,
    certificate: String,
}

impl Converter {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start() -> Result<Self> {
        let rcgen::CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key =
            rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = Arc::new(versions.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key)?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("https://{}/convert", listener.local_addr()?);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let config = Arc::clone(&config);
                // The API server reports a connection that breaks.
                std::thread::spawn(move || serve(stream, config).ok());
            }
        });
        Ok(Self { url, certificate: cert.pem() })
    }

    /// `spec.conversion` of a CRD whose objects it converts.
    pub fn strategy(&self) -> Value {
        json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"url": self.url, "caBundle": STANDARD.encode(&self.certificate)},
        }})
    }
}

/// Answers the requests of a connection one by one.
fn serve(stream: TcpStream, config: Arc<rustls::ServerConfig>) -> Result<()> {
    stream.set_nodelay(true)?;
    let connection = rustls::ServerConnection::new(config)?;
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().context("a length")?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let answer = reviewed(&serde_json::from_slice(&body)?).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        stream.get_mut().write_all(format!("{head} {}\r\n\r\n{answer}", answer.len()).as_bytes())?;
        stream.get_mut().flush()?;
    }
}

fn reviewed(review: &Value) -> Value {
    let request = &review["request"];
    let version = request["desiredAPIVersion"].as_str().unwrap_or_default();
    let objects = request["objects"].as_array().into_iter().flatten();
    let converted = objects.map(|object| converted(object, version)).collect::<Vec<_>>();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": {
        "uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted,
    }})
}

fn converted(object: &Value, api_version: &str) -> Value {
    let to_new = api_version.ends_with("/v2");
    let mut object = object.clone();
    if object["apiVersion"] != api_version {
        for (name, value) in object.as_object_mut().into_iter().flatten() {
            if name != "metadata" {
                *value = renamed(value, to_new);
            }
        }
    }
    object["apiVersion"] = api_version.into();
    object
}

fn renamed(value: &Value, to_new: bool) -> Value {
    let name = |key: &String| {
        let old = key.strip_suffix(RENAMED).unwrap_or(key);
        let is_field = old.len() == 2 && old.starts_with('r') && old.as_bytes()[1].is_ascii_digit();
        if is_field && to_new {
            format!("{old}{RENAMED}")
        } else if is_field {
            old.to_owned()
        } else {
            key.clone()
        }
    };
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (name(key), renamed(value, to_new))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(|item| renamed(item, to_new)).collect(),
        other => other.clone(),
    }
}
