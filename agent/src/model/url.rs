//! URLs as they may be shown: without credentials.

use std::borrow::Cow;

/// A URL without the parts that may hold a token: the user and the password, and what follows a question mark or a number sign.
/// The user of an ssh URL stays when it has no password.
///
/// A text that is no URL comes back as it is.
pub fn shown(url: &str) -> Cow<'_, str> {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let hidden = hidden(scheme, rest);
            let open = rest[hidden..].find(['?', '#']).map(|end| hidden + end + 1).filter(|end| *end < rest.len());
            match (hidden, open) {
                (0, None) => Cow::Borrowed(url),
                (_, None) => Cow::Owned(format!("{scheme}://{}", &rest[hidden..])),
                (_, Some(end)) => Cow::Owned(format!("{scheme}://{}{WITHHELD}", &rest[hidden..end])),
            }
        }
        // As in `user@host:path`.
        None => match url.split('/').next().and_then(|host| host.rsplit_once('@')) {
            Some((user, _)) if user.contains(':') => Cow::Owned(url[user.len() + 1..].to_owned()),
            _ => Cow::Borrowed(url),
        },
    }
}

/// Stands for the query and the fragment of a URL.
const WITHHELD: &str = "...";

/// `true` for a path or a `file:` URL, which leads to the disk of the program that opens it.
pub fn is_local(url: &str) -> bool {
    match url.split_once("://") {
        Some((scheme, _)) => scheme.eq_ignore_ascii_case("file"),
        // As in `user@host:path`.
        None => !url.split('/').next().is_some_and(|host| host.contains(':')),
    }
}

/// Hosts that serve ssh on port 443, and the hosts of the same repositories that servers name in webhooks:
/// [GitHub](https://docs.github.com/authentication/troubleshooting-ssh/using-ssh-over-the-https-port),
/// [GitLab](https://docs.gitlab.com/user/gitlab_com/#alternative-ssh-port),
/// [Bitbucket](https://support.atlassian.com/bitbucket-cloud/docs/troubleshoot-ssh-issues).
const OTHER_HOSTS: [(&str, &str); 3] =
    [("ssh.github.com", "github.com"), ("altssh.gitlab.com", "gitlab.com"), ("altssh.bitbucket.org", "bitbucket.org")];

/// The host and the path of a repository on a server, as all its URLs have them in common: without scheme, user, port and `.git`, and
/// in small letters. `None` for a repository on a disk.
pub fn repository_name(url: &str) -> Option<String> {
    if is_local(url) {
        return None;
    }
    let (authority, path) = match url.split_once("://") {
        // The host ends before each of these: what follows is no part of it, whatever it looks like.
        Some((_, rest)) => {
            let end = rest.find(['/', '?', '#', '\\'])?;
            (&rest[..end], rest[end..].strip_prefix('/')?)
        }
        // As in `user@host:path`.
        None => url.split_once(':')?,
    };
    let host = authority.rsplit('@').next()?;
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let path = path.split(['?', '#']).next()?.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let host = host.to_lowercase();
    let host = OTHER_HOSTS.iter().find(|(other, _)| *other == host).map_or(host.as_str(), |(_, host)| host);
    (!host.is_empty() && !path.is_empty()).then(|| format!("{host}/{}", path.to_lowercase()))
}

/// A message with each URL in it as [`shown`] shows it.
pub fn shown_in(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let start = rest[..at]
            .rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c))
            .map_or(0, |i| i + rest[i..].chars().next().map_or(1, char::len_utf8));
        let after = at + "://".len();
        let end =
            rest[after..].find(|c: char| c.is_whitespace() || "\"'`<>".contains(c)).map_or(rest.len(), |i| after + i);
        out.push_str(&rest[..start]);
        out.push_str(&shown(&rest[start..end]));
        rest = &rest[end..];
    }
    if out.is_empty() && rest.len() == text.len() {
        return Cow::Borrowed(text);
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The number of bytes after `://` that are credentials, with the `@` that ends them.
fn hidden(scheme: &str, rest: &str) -> usize {
    let authority = rest.find(['/', '?', '#']).map_or(rest, |end| &rest[..end]);
    if let Some((user, _)) = authority.rsplit_once('@') {
        let ssh = scheme.to_ascii_lowercase().contains("ssh");
        return if ssh && !user.contains(':') { 0 } else { user.len() + 1 };
    }
    // A password with a slash that is not encoded: what follows the colon is no port.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) || port.ends_with(']');
    match authority.rsplit_once(':') {
        Some((_, port)) if !is_port(port) => rest.rfind('@').map_or(0, |at| at + 1),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_urls_of_a_repository_have_one_name() {
        for url in [
            "https://git.example/Team/shop.git",
            "HTTPS://user:t0ken@Git.Example:8443/team/shop/?private_token=t0ken#a",
            "ssh://git@git.example:2222/team/shop.git",
            "git@git.example:team/shop.git",
            "git.example:/team/shop",
        ] {
            assert_eq!(repository_name(url).as_deref(), Some("git.example/team/shop"), "{url}");
        }
        for (url, name) in [
            ("ssh://git@ssh.github.com:443/Team/shop.git", "github.com/team/shop"),
            ("ssh://git@altssh.gitlab.com:443/team/shop.git", "gitlab.com/team/shop"),
            ("ssh://git@altssh.bitbucket.org:443/team/shop.git", "bitbucket.org/team/shop"),
        ] {
            assert_eq!(repository_name(url).as_deref(), Some(name), "{url}");
        }
        assert_eq!(repository_name("ssh://git@[::1]:22/x").as_deref(), Some("[::1]/x"));
        for url in
            ["", "/srv/team/shop", "file:///srv/team/shop", "https://git.example", "https://git.example/", ":", "://"]
        {
            assert_eq!(repository_name(url), None, "{url}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        for (url, without) in [
            ("https://git.example/x", "https://git.example/x"),
            ("https://git.example:8443/x@v1?a=b@c", "https://git.example:8443/x@v1?..."),
            ("https://git.example/x?private_token=t0ken", "https://git.example/x?..."),
            ("https://user:pass@git.example/x?private_token=t0ken#t0ken", "https://git.example/x?..."),
            ("https://git.example#t0ken", "https://git.example#..."),
            ("https://git.example/x?", "https://git.example/x?"),
            ("https://t0ken@git.example/x", "https://git.example/x"),
            ("HTTPS://user:t0ken@git.example/x", "HTTPS://git.example/x"),
            ("https://user:t@0ken@git.example/x", "https://git.example/x"),
            ("https://user:t/0ken@git.example/x", "https://git.example/x"),
            ("https://user:t#0k?en@git.example/x", "https://git.example/x"),
            ("https://user:t 0ken@git.example/x", "https://git.example/x"),
            ("http://[::1]:80/x", "http://[::1]:80/x"),
            ("http://[::1]/x@y", "http://[::1]/x@y"),
            ("ssh://git@git.example/x", "ssh://git@git.example/x"),
            ("ssh://git:t0ken@git.example/x", "ssh://git.example/x"),
            ("git@git.example:x/y", "git@git.example:x/y"),
            ("user:t0ken@git.example:x/y", "git.example:x/y"),
            ("/tmp/a@b:c/d", "/tmp/a@b:c/d"),
            ("", ""),
        ] {
            assert_eq!(shown(url), without, "{url}");
        }
    }

    #[test]
    fn paths_and_file_urls_are_local() {
        for url in ["/srv/x", "x", "../x", "file:///srv/x", "FILE:///srv/x", ""] {
            assert!(is_local(url), "{url}");
        }
        for url in ["https://git.example/x", "git@git.example:x", "ssh://git.example/x", "file:/srv/x"] {
            assert!(!is_local(url), "{url}");
        }
    }

    #[test]
    fn urls_in_messages_lose_their_credentials_too() {
        for (text, without) in [
            ("nothing here", "nothing here"),
            ("failed: \"https://u:t0ken@git.example/x\": 403", "failed: \"https://git.example/x\": 403"),
            ("ü→https://t0ken@a/b and http://t0ken@c\nmail a@b", "ü→https://a/b and http://c\nmail a@b"),
            ("https://a/b ://@x", "https://a/b ://x"),
            ("no answer from \"https://a/b?key=t0ken\": 403", "no answer from \"https://a/b?...\": 403"),
        ] {
            assert_eq!(shown_in(text), without);
        }
    }
}
