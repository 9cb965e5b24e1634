//! The proxy for a URL, by the environment variables of other programs, as kubectl and all programs in Go read them:
//! <https://pkg.go.dev/golang.org/x/net/http/httpproxy>.

use std::net::IpAddr;

/// The values of the variables; empty where one is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyVariables {
    /// `HTTPS_PROXY`, else `https_proxy`: the proxy for `https` URLs.
    pub https: String,
    /// `HTTP_PROXY`, else `http_proxy`: the proxy for `http` URLs.
    pub http: String,
    /// `NO_PROXY`, else `no_proxy`: hosts, domains, addresses and networks that are reached without a proxy.
    pub none: String,
}

impl ProxyVariables {
    /// Reads the variables, each in capitals before the one in small letters.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| {
            let names = [name.to_owned(), name.to_lowercase()];
            names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty()).unwrap_or_default()
        };
        Self { https: value("HTTPS_PROXY"), http: value("HTTP_PROXY"), none: value("NO_PROXY") }
    }

    /// The URL of the proxy for a host. This machine itself is never reached by a proxy.
    pub fn proxy(&self, scheme: &str, host: &str, port: u16) -> Option<String> {
        let proxy = if scheme.eq_ignore_ascii_case("https") { &self.https } else { &self.http };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        let is_here = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let direct = || self.none.split(',').any(|entry| covers(&entry.trim().to_lowercase(), &host, address, port));
        if proxy.is_empty() || is_here || direct() {
            return None;
        }
        Some(if proxy.contains("://") { proxy.clone() } else { format!("http://{proxy}") })
    }
}

/// `true` if an entry of `NO_PROXY` is about the host.
fn covers(entry: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if entry.is_empty() || entry == "*" {
        return entry == "*";
    }
    if let Some((network, bits)) = entry.split_once('/')
        && let (Ok(network), Ok(bits)) = (network.parse(), bits.parse())
    {
        return address.is_some_and(|address| is_within(address, network, bits));
    }
    let (name, of_port) = match entry.rsplit_once(':') {
        // Without brackets, several colons are those of an IPv6 address.
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => (name, digits),
        _ => (entry, ""),
    };
    if !of_port.is_empty() && of_port != port.to_string() {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(named) = name.parse::<IpAddr>() {
        return address == Some(named);
    }
    let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
    match name.strip_prefix('.') {
        Some("") => false,
        Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
        None => !name.is_empty() && host.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |a: u128, b: u128, width: u32| bits <= width && (bits == 0 || (a ^ b) >> (width - bits) == 0);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_direct(none: &str, host: &str) -> bool {
        let variables = ProxyVariables { https: "proxy:3128".into(), http: String::new(), none: none.into() };
        variables.proxy("https", host, 6443).is_none()
    }

    #[test]
    fn no_proxy_is_read_as_by_programs_in_go() {
        for (none, host, expected) in [
            ("", "prod.example", false),
            ("*", "prod.example", true),
            ("localhost, prod.example", "prod.example", true),
            ("prod.example,", "PROD.example", true),
            (",", "prod.example", false),
            ("example", "prod.example", true),
            ("ample", "prod.example", false),
            (".example", "prod.example", true),
            ("*.example", "prod.example", true),
            (".prod.example", "prod.example", false),
            ("prod.example:6443", "prod.example", true),
            ("prod.example:443", "prod.example", false),
            (".svc,10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3:443", "10.1.2.3", false),
            ("fd00::/8", "[fd00::1]", true),
            ("[fd00::1]:6443", "fd00::1", true),
            ("fd00::1", "fd00::2", false),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("", "localhost", true),
            ("", "127.0.0.1", true),
            ("", "[::1]", true),
        ] {
            assert_eq!(is_direct(none, host), expected, "NO_PROXY={none:?} and {host}");
        }
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        let variables = ProxyVariables::read(|name| match name {
            "https_proxy" => Some("https://user:word@a:1".to_owned()),
            "HTTP_PROXY" => Some("b:2".to_owned()),
            "http_proxy" => Some("c:3".to_owned()),
            _ => None,
        });
        assert_eq!(variables.proxy("https", "x", 443).as_deref(), Some("https://user:word@a:1"));
        assert_eq!(variables.proxy("http", "x", 80).as_deref(), Some("http://b:2"));
    }
}
