//! Cookies for git servers, from a file in the format that git and curl read.

use reqwest::Url;

/// One cookie of a file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie {
    /// The host in lower case, without a dot before it.
    host: String,
    /// `true` if hosts below it get the cookie too.
    with_subdomains: bool,
    path: String,
    /// `true` if it is sent over TLS only.
    over_tls: bool,
    /// Seconds since 1970; 0 for a cookie that does not expire.
    expires: u64,
    name: String,
    value: String,
}

/// The cookies of a file: lines with a domain, `TRUE` for hosts below it, a path, `TRUE` for TLS only, the time of expiry, the
/// name and the value, separated by tabs. Empty lines and comments are left out.
///
/// # Errors
/// The number of a line that has another form, from 1.
pub fn cookies(text: &str) -> Result<Vec<Cookie>, usize> {
    let lines = text.lines().map(|line| line.strip_prefix("#HttpOnly_").unwrap_or(line)).enumerate();
    let told = lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    told.map(|(number, line)| cookie(line).ok_or(number + 1)).collect()
}

fn cookie(line: &str) -> Option<Cookie> {
    // An empty value may be left out together with its tab.
    let mut fields = line.trim_end_matches(['\r', '\n']).splitn(7, '\t');
    let domain = fields.next()?.trim().to_ascii_lowercase();
    let with_subdomains = flag(fields.next()?)?;
    let path = fields.next()?.to_owned();
    let over_tls = flag(fields.next()?)?;
    let expires = fields.next()?.trim().parse().ok()?;
    let name = fields.next()?.to_owned();
    let value = fields.next().unwrap_or_default().trim_end().to_owned();
    let host = domain.strip_prefix('.').unwrap_or(&domain).to_owned();
    let is_text = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b';');
    let valid = !host.is_empty() && path.starts_with('/') && !name.is_empty() && is_text(&name) && is_text(&value);
    valid.then_some(Cookie { host, with_subdomains, path, over_tls, expires, name, value })
}

fn flag(text: &str) -> Option<bool> {
    match text.trim() {
        text if text.eq_ignore_ascii_case("true") => Some(true),
        text if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

impl Cookie {
    /// `true` if the host of the URL gets it at some time and some path.
    pub fn is_for_host(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let below = || host.strip_suffix(self.host.as_str()).is_some_and(|rest| rest.ends_with('.'));
        (!self.over_tls || url.scheme() == "https") && (host == self.host || self.with_subdomains && below())
    }

    fn is_for(&self, url: &Url, now: u64) -> bool {
        let below = url.path().strip_prefix(self.path.as_str());
        let at_path = below.is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'));
        self.is_for_host(url) && at_path && (self.expires == 0 || self.expires > now)
    }
}

/// The header `Cookie` of a request to `url` at `now`, in seconds since 1970; `None` if no cookie is for it.
pub(super) fn header(cookies: &[Cookie], url: &Url, now: u64) -> Option<String> {
    let own = cookies.iter().filter(|cookie| cookie.is_for(url, now));
    let pairs: Vec<String> = own.map(|Cookie { name, value, .. }| format!("{name}={value}")).collect();
    (!pairs.is_empty()).then(|| pairs.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# Netscape HTTP Cookie File\r\n\r\n\
        git.example\tFALSE\t/\tTRUE\t2147483647\to\tgit-user=1//token\r\n\
        #HttpOnly_.googlesource.example\tTRUE\t/a/b\tFALSE\t0\tsession\t\r\n\
        old.example\tFALSE\t/\tFALSE\t1000\to\tx";

    fn sent(url: &str, now: u64) -> Option<String> {
        header(&cookies(FILE).ok().unwrap(), &Url::parse(url).unwrap(), now)
    }

    #[test]
    fn a_cookie_is_sent_to_its_host_and_path_until_it_expires() {
        for (url, expected) in [
            ("https://git.example/x", Some("o=git-user=1//token")),
            ("http://git.example/x", None),
            ("https://a.git.example/x", None),
            ("https://notgit.example/x", None),
            ("http://googlesource.example/a/b", Some("session=")),
            ("https://x.googlesource.example/a/b/c", Some("session=")),
            ("https://xgooglesource.example/a/b/c", None),
            ("https://x.googlesource.example/a/bc", None),
            ("https://other.example/", None),
        ] {
            assert_eq!(sent(url, 2000).as_deref(), expected, "{url}");
        }
        assert_eq!(sent("http://old.example/", 999).as_deref(), Some("o=x"));
        assert_eq!(sent("http://old.example/", 1000), None);
    }

    #[test]
    fn a_line_of_another_form_is_named_by_its_number() {
        assert_eq!(cookies("").ok().unwrap().len(), 0);
        assert_eq!(cookies(FILE).ok().unwrap().len(), 3);
        for (text, line) in [
            ("\ngit.example TRUE / TRUE 0 o x", 2),
            ("git.example\tmaybe\t/\tTRUE\t0\to\tx", 1),
            ("git.example\tTRUE\t/\tTRUE\tsoon\to\tx", 1),
            ("git.example\tTRUE\t/\tTRUE\t0\to\tx; y=z", 1),
            ("git.example\tTRUE\t/\tTRUE\t0\to\tx\u{1}", 1),
        ] {
            assert_eq!(cookies(text).err(), Some(line), "{text}");
        }
    }
}
