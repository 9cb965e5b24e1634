//! A push as a git server tells of it: its signature, and the repository that its payload names.

use std::borrow::Cow;
use std::collections::BTreeSet;

use axum::http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use ring::hmac;
use serde_json::Value;

use crate::model::url::repository_name;

/// The kind of a git server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forge {
    GitHub,
    GitLab,
    Gitea,
    Bitbucket,
}

/// The headers that hold a signature of the body in hexadecimal, and what stands before it. Gitea sends that of GitHub too.
const SIGNATURES: [(&str, &str, Forge); 3] = [
    ("x-gitea-signature", "", Forge::Gitea),
    ("x-hub-signature-256", "sha256=", Forge::GitHub),
    ("x-hub-signature", "sha256=", Forge::Bitbucket),
];

/// The header in which GitLab sends the secret as it is.
const TOKEN: &str = "x-gitlab-token";

/// The URLs of the repository in a payload.
const URLS: [&str; 9] = [
    "/repository/clone_url",
    "/repository/ssh_url",
    "/repository/html_url",
    "/repository/git_http_url",
    "/repository/git_ssh_url",
    "/repository/links/html/href",
    "/project/git_http_url",
    "/project/git_ssh_url",
    "/project/web_url",
];

/// The list of URLs in a payload of Bitbucket Data Center.
const CLONE_LINKS: &str = "/repository/links/clone";

/// The server that knows the secret, if the request shows that it does. The comparison takes equally long whatever the signature.
pub(super) fn signed_by(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> Option<Forge> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let value = |name: &str| headers.get(name).map(|value| value.as_bytes());
    let signature = SIGNATURES.iter().find_map(|(name, prefix, forge)| Some((value(name)?, prefix, *forge)));
    if let Some((value, prefix, forge)) = signature {
        let tag = bytes(value.strip_prefix(prefix.as_bytes())?)?;
        return hmac::verify(&key, body, &tag).ok().map(|()| forge);
    }
    let expected = hmac::sign(&key, secret);
    hmac::verify(&key, value(TOKEN)?, expected.as_ref()).ok().map(|()| Forge::GitLab)
}

/// The bytes of a text of hexadecimal digits.
fn bytes(hex: &[u8]) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = hex.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    pairs.collect()
}

/// The names of the repository, as [`repository_name`] makes them of its URLs. `None` if the body is no payload.
pub(super) fn repositories(headers: &HeaderMap, body: &[u8]) -> Option<BTreeSet<String>> {
    let form = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let json = if form { in_form(body)? } else { Cow::Borrowed(body) };
    let payload: Value = serde_json::from_slice(&json).ok()?;
    let links = payload.pointer(CLONE_LINKS).and_then(Value::as_array).into_iter().flatten();
    let links = links.filter_map(|link| link["href"].as_str());
    let urls = URLS.iter().filter_map(|place| payload.pointer(place)?.as_str());
    Some(urls.chain(links).filter_map(repository_name).collect())
}

/// The value of `payload` in a form, which GitHub sends unless it is told to send JSON.
fn in_form(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = std::str::from_utf8(body).ok()?;
    let value = text.split('&').find_map(|field| field.strip_prefix("payload="))?;
    Some(Cow::Owned(percent_decode_str(&value.replace('+', " ")).collect()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    const SECRET: &[u8] = b"It's a Secret to Everybody";

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        values.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn published_signatures_are_valid_and_others_are_not() {
        // https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
        let github = ("Hello, World!", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
        // https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks
        let bitbucket = ("Hello World!", "a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9");
        for (name, prefix, forge) in SIGNATURES {
            for (body, tag) in [github, bitbucket] {
                let signed = headers(&[(name, &format!("{prefix}{tag}"))]);
                assert_eq!(signed_by(&signed, body.as_bytes(), SECRET), Some(forge), "{name}");
                assert_eq!(signed_by(&signed, b"Hello, World?", SECRET), None, "another body");
                assert_eq!(signed_by(&signed, body.as_bytes(), b"another secret"), None);
            }
            let (body, tag) = (github.0.as_bytes(), github.1);
            for wrong in ["", "0", "zz", &tag[2..], &format!("{tag}00"), &format!("sha1={tag}"), &"0".repeat(64)] {
                let signed = headers(&[(name, &format!("{prefix}{wrong}"))]);
                assert_eq!(signed_by(&signed, body, SECRET), None, "{name}: {wrong}");
            }
        }
        assert_eq!(signed_by(&HeaderMap::new(), b"Hello, World!", SECRET), None);
    }

    #[test]
    fn gitlab_sends_the_secret() {
        let of = |token: &str| signed_by(&headers(&[(TOKEN, token)]), b"{}", b"sesame");
        assert_eq!(of("sesame"), Some(Forge::GitLab));
        assert_eq!([of(""), of("Sesame"), of("sesame ")], [None; 3]);
    }

    #[test]
    fn a_wrong_signature_is_not_saved_by_a_token() {
        let both = headers(&[("x-hub-signature-256", "sha256=00"), (TOKEN, "sesame")]);
        assert_eq!(signed_by(&both, b"{}", b"sesame"), None);
    }

    #[test]
    fn each_server_names_its_repository() {
        let names = |payload: Value| repositories(&HeaderMap::new(), payload.to_string().as_bytes()).unwrap();
        let expected = BTreeSet::from(["git.example/team/shop".to_owned()]);
        for payload in [
            json!({"repository": {"clone_url": "https://git.example/Team/shop.git", "ssh_url": "git@git.example:team/shop.git"}}),
            json!({"project": {"git_ssh_url": "git@git.example:team/shop.git", "web_url": "https://git.example/team/shop"}}),
            json!({"repository": {"links": {"html": {"href": "https://git.example/team/shop"}}}}),
            json!({"repository": {"links": {"clone": [{"name": "ssh", "href": "ssh://git@git.example:7999/team/shop.git"}]}}}),
        ] {
            assert_eq!(names(payload.clone()), expected, "{payload}");
        }
        assert!(names(json!({"zen": "Keep it logically awesome."})).is_empty());
        assert!(names(json!({"repository": {"clone_url": "/var/lib", "html_url": 1}})).is_empty());
        assert_eq!(repositories(&HeaderMap::new(), b"Hello"), None);
        let form = headers(&[("content-type", "application/x-www-form-urlencoded; charset=utf-8")]);
        let body = b"a=b&payload=%7B%22repository%22:+%7B%22clone_url%22:%22https://git.example/team/shop%22%7D%7D";
        assert_eq!(repositories(&form, body), Some(expected));
        assert_eq!(repositories(&form, b"Hello"), None);
    }
}
