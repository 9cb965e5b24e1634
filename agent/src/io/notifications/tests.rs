//! Answers of services, from a stand-in on loopback.

use std::sync::Mutex;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::settings::tests::read;
use super::*;
use crate::api::GitStatus;

/// Answers one request after the other, and keeps their heads.
async fn stand_in(answers: &[(&str, &str)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<_> = answers.iter().map(|(status, body)| ((*status).to_owned(), (*body).to_owned())).collect();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        for (status, body) in answers {
            let mut stream = listener.accept().await.unwrap().0;
            let head = request_head(&mut stream).await;
            kept.lock().unwrap().push(head);
            let length = body.len();
            let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, heads)
}

/// The head of a request that was read to its end: a connection that is closed before may lose the answer.
async fn request_head(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        assert!(count > 0, "{text}");
        text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return head.to_owned();
            }
        }
    }
}

/// The answers to a request for each of these, as this receiver.
async fn sent(settings: &str, secret: &[(&str, &str)], times: usize) -> Vec<StatusAnswer> {
    let receiver = read(&[("x", settings)], secret).receivers.remove("x").expect("no mistake");
    let client = client(&receiver).unwrap();
    let login = receiver.app.clone().map(AppLogin::new);
    let git = GitStatus { repo: format!("{}/a/b", receiver.url), ..GitStatus::default() };
    let news = CommitNews::pending(&SyncId::root("a"), "", "1", &Arc::new(git), 1);
    let mut answers = Vec::new();
    for _ in 0..times {
        answers.push(post(&client, &receiver, login.as_ref(), request(&receiver, &news).unwrap()).await);
    }
    answers
}

#[tokio::test]
async fn words_of_a_service_tell_what_its_status_does_not() {
    for (provider, status, body, expected) in [
        ("github", "403 Forbidden", "You have exceeded a secondary rate limit.", Delivery::Failed(Some(LIMITED))),
        ("github", "403 Forbidden", "Resource not accessible by integration", Delivery::Refused),
        ("gitlab", "400 Bad Request", "Cannot transition status via :run from :running", Delivery::Delivered),
        ("gitlab", "400 Bad Request", "name is too long", Delivery::Refused),
        ("gitea", "400 Bad Request", "Cannot transition status", Delivery::Refused),
    ] {
        let (url, _) = stand_in(&[(status, body)]).await;
        let settings = format!("{{provider: {provider}, url: '{url}'}}");
        let (delivery, why) = sent(&settings, &[("x.token", "hunter2")], 1).await.remove(0);
        assert_eq!(delivery, expected, "{provider}: {body}");
        assert_eq!(why.is_empty(), expected == Delivery::Delivered, "{why}");
    }
}

#[tokio::test]
async fn the_address_in_the_secret_is_in_no_message() {
    let hidden = "http://hunter2.invalid/hunter2";
    let (delivery, why) = sent("provider: webhook", &[("x.url", hidden)], 1).await.remove(0);
    assert_eq!((delivery, why.as_str()), (Delivery::Failed(None), "its address: there is no connection"));
    let (url, _) = stand_in(&[("404 Not Found", "")]).await;
    let (_, why) = sent("provider: webhook", &[("x.url", &format!("{url}/hunter2"))], 1).await.remove(0);
    assert!(why.starts_with("its address answers with HTTP 404"), "{why}");
}

#[tokio::test]
async fn an_app_tells_with_a_token_of_its_installation_until_that_is_refused() {
    let token = |name: &str| json!({"token": name, "expires_at": "2999-01-01T00:00:00Z"}).to_string();
    let (first, second) = (token("first"), token("second"));
    let (created, unauthorized) = ("201 Created", "401 Unauthorized");
    let answers =
        [(created, first.as_str()), (created, "{}"), (unauthorized, "{}"), (created, second.as_str()), (created, "{}")];
    let (url, heads) = stand_in(&answers).await;
    let secret = [
        ("x.github-app-client-id", "Iv1.a"),
        ("x.github-app-installation-id", "7"),
        ("x.github-app-private-key", include_str!("../git/tests/keys/rsa.pem")),
    ];
    let settings = format!("{{provider: github, url: '{url}'}}");
    let deliveries: Vec<_> = sent(&settings, &secret, 3).await.into_iter().map(|(delivery, _)| delivery).collect();
    assert_eq!(deliveries, [Delivery::Delivered, Delivery::Failed(None), Delivery::Delivered]);
    let heads = heads.lock().unwrap().clone();
    let of = |head: &String| {
        let login = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap_or_default();
        (head.split(' ').nth(1).unwrap_or_default().to_owned(), login.split('.').next().unwrap_or_default().to_owned())
    };
    let (path, jwt) = of(&heads[0]);
    assert_eq!(path, "/api/v3/app/installations/7/access_tokens");
    assert!(jwt.starts_with("eyJ"), "{jwt}");
    let statuses = [&heads[1], &heads[2], &heads[4]].map(of);
    let expected =
        ["first", "first", "second"].map(|login| ("/api/v3/repos/a/b/statuses/1".to_owned(), login.to_owned()));
    assert_eq!(statuses, expected);

    let (url, _) = stand_in(&[(unauthorized, "hunter2")]).await;
    let settings = format!("{{provider: github, url: '{url}'}}");
    let (delivery, why) = sent(&settings, &secret, 1).await.remove(0);
    assert_eq!(delivery, Delivery::Failed(None));
    assert!(why.contains("(HTTP 401)") && !why.contains("hunter2"), "{why}");
}

#[test]
fn answers_are_told_apart() {
    use Delivery::{Delivered, Erred, Failed, Refused, Unknown};
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (status, headers, expected) in [
        (201, &[][..], Delivered),
        (301, &[], Refused),
        (400, &[], Refused),
        (401, &[], Refused),
        (403, &[], Refused),
        (403, &[("retry-after", "7")], Failed(seconds(7))),
        (403, &[("x-ratelimit-remaining", "0")], Failed(seconds(60))),
        (404, &[], Unknown),
        (409, &[], Erred),
        (500, &[], Erred),
        (502, &[], Failed(None)),
        (422, &[], Unknown),
        (429, &[("retry-after", " 30")], Failed(seconds(30))),
        (429, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], Failed(None)),
        (429, &[("retry-after", "-1")], Failed(None)),
        (503, &[("retry-after", "18446744073709551615")], Failed(seconds(u64::MAX))),
    ] {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        assert_eq!(delivery(StatusCode::from_u16(status).unwrap(), &headers), expected, "{status} {headers:?}");
    }
}
