//! The addresses at which a repository may be. A sync of a tenant could read what only the agent reaches: the metadata server of its node,
//! other Pods, servers of the company.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// A network, such as `10.20.0.0/16`.
pub use ipnet::IpNet as Network;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::error::{FailureClass, GitError};

/// The addresses at which a repository may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// All.
    #[default]
    Everywhere,
    /// Those of the internet, and those of these networks.
    Public(Arc<[Network]>),
}

impl Reach {
    /// `true` if a repository may be at this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        let Self::Public(networks) = self else { return true };
        let address = address.to_canonical();
        networks.iter().any(|network| network.contains(&address)) || is_public(address)
    }

    /// Refuses a URL whose host is such an address. A name is looked at when its addresses are known.
    ///
    /// # Errors
    /// With what helps.
    pub(super) fn check(&self, url: &Url) -> Result<(), GitError> {
        // Whatever way an address was written in, here it has its usual form.
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        match host.parse() {
            Ok(address) if !self.allows(address) => Err(GitError::new(FailureClass::Broken, refusal(host)).hint(HINT)),
            _ => Ok(()),
        }
    }

    /// As [`Self::check`], for a URL that may lack its scheme, as that of a proxy may.
    ///
    /// # Errors
    /// Also when it is no URL.
    pub(super) fn check_named(&self, url: &str) -> Result<(), GitError> {
        if *self == Self::Everywhere {
            return Ok(());
        }
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        match Url::parse(&url).ok().filter(Url::has_host) {
            Some(url) => self.check(&url),
            None => Err(GitError::new(FailureClass::Broken, "the URL of a proxy or of GitHub is not valid").hint(HINT)),
        }
    }

    /// The addresses of a server at which a repository may be.
    ///
    /// # Errors
    /// When the name has none, or none of them is allowed.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((host, port)).await;
        if *self == Self::Everywhere {
            return found.map(Iterator::collect);
        }
        // A tenant does not learn from the answer which inner names there are.
        let found = found.into_iter().flatten();
        let allowed: Vec<SocketAddr> = found.filter(|address| self.allows(address.ip())).collect();
        match allowed.is_empty() {
            true => Err(std::io::Error::other(format!("{}; {HINT}", refusal(host)))),
            false => Ok(allowed),
        }
    }

    /// The resolver of an HTTP client; `None` for the usual one.
    pub(super) fn resolver(&self) -> Option<Arc<ReachResolver>> {
        (*self != Self::Everywhere).then(|| Arc::new(ReachResolver(self.clone())))
    }
}

const HINT: &str = "A RepoSync reads repositories on the internet. For one of another network, start the agent with \
                    --tenant-networks and that network, or use a RootSync.";

fn refusal(host: &str) -> String {
    format!("{host} has no address that the syncs of tenants may reach")
}

/// Looks names up, and leaves out addresses at which no repository may be.
pub(super) struct ReachResolver(Reach);

impl Resolve for ReachResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            // The port of the URL takes the place of 0.
            let found = reach.resolve(name.as_str(), 0).await?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// `true` for an address of the internet: <https://www.iana.org/assignments/iana-ipv4-special-registry> and its sibling for IPv6 have those
/// that are not.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

/// Only what is assigned: 2000::/3.
fn is_public_v6(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000
}

/// The IPv4 address that one of IPv6 leads to: by NAT64, 6to4, or as an IPv4 address in the old form.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] | [0, 0, 0, 0, 0, 0 | 0xffff] => Some(of(g, h)),
        [0x2002, ..] => Some(of(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn tenants_reach_the_internet_and_the_networks_that_they_were_given() {
        let public = Reach::Public(Arc::default());
        for text in ["1.1.1.1", "140.82.121.4", "2606:4700::1111", "64:ff9b::1.1.1.1", "100.128.0.1"] {
            assert!(public.allows(address(text)), "{text}");
        }
        for text in [
            "127.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00:ec2::254",
            "fec0::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:a00:1::",
        ] {
            assert!(!public.allows(address(text)), "{text}");
            assert!(Reach::Everywhere.allows(address(text)), "{text}");
        }
        let more = Reach::Public(["10.1.0.0/16".parse().expect("a network")].into());
        assert!(more.allows(address("10.1.2.3")) && more.allows(address("::ffff:10.1.2.3")));
        assert!(!more.allows(address("10.2.0.1")));
    }

    #[test]
    fn a_url_with_an_address_is_looked_at_however_it_is_written() {
        let public = Reach::Public(Arc::default());
        for url in [
            "http://127.0.0.1/x",
            "http://2130706433/x",
            "http://0x7f.1/x",
            "http://0177.0.0.1/x",
            "http://[::1]/x",
            "http://[::ffff:169.254.169.254]/x",
        ] {
            let error = public.check(&url.parse().expect("a URL")).expect_err(url);
            assert!(error.finding().hint.is_some_and(|hint| hint.contains("--tenant-networks")), "{url}");
        }
        assert!(public.check(&"https://git.example/x".parse().expect("a URL")).is_ok());
        for proxy in ["10.0.0.1:3128", "localhost@169.254.169.254:80", "http://user:p@127.0.0.1", "http://", "//"] {
            assert!(public.check_named(proxy).is_err(), "{proxy}");
            assert!(Reach::Everywhere.check_named(proxy).is_ok(), "{proxy}");
        }
        assert!(public.check_named("proxy.example:3128").is_ok());
    }

    #[tokio::test]
    async fn a_name_with_an_inner_address_is_refused() {
        let error = Reach::Public(Arc::default()).resolve("localhost", 80).await.expect_err("an inner address");
        assert!(error.to_string().starts_with("localhost has no address"), "{error}");
        let absent = Reach::Public(Arc::default()).resolve("absent.invalid", 80).await.expect_err("no address");
        assert_eq!(absent.to_string().replace("absent.invalid", "localhost"), error.to_string());
        assert!(Reach::Everywhere.resolve("localhost", 80).await.is_ok());
    }
}
