//! Where the gateway may connect for a batch job: rules over URLs and addresses, without a socket.
//!
//! A URL is judged before anything is done with it, and every address that its host's name leads to before one of them
//! is connected to; `client.rs` sees to both.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use reqwest::Url;

use crate::settings::{Batch, HostPattern};

/// Networks into which nobody's URI leads, unless an operator lists them: the machine itself, private and link-local
/// networks, metadata services, multicast, and every form of IPv6 in which an IPv4 address is hidden.
const BLOCKED: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "168.63.129.16/32",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    // Unspecified, loopback, and addresses compatible with IPv4.
    "::/96",
    // Mapped, translated.
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    // Teredo, 6to4.
    "2001::/32",
    "2002::/16",
    // Discard, unique local, link-local, site-local, multicast.
    "100::/64",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// The rules, made from the settings.
#[derive(Debug, Clone)]
pub struct EgressRules {
    https: Vec<HostPattern>,
    http: Vec<HostPattern>,
    ports: Vec<u16>,
    allowed: Vec<IpNet>,
    blocked: Vec<IpNet>,
    tokens: Vec<HostPattern>,
}

/// What a refusal is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Neither https, nor http to a host that may be spoken to so.
    Scheme,
    /// A user name or password in the URL.
    Userinfo,
    /// A host that nobody listed.
    Host,
    /// An address instead of a name.
    Literal,
    /// A port that nobody listed.
    Port,
    /// A name that leads to a blocked address.
    Address,
    /// An answer that leads elsewhere.
    Redirect,
}

impl Reason {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Scheme => "scheme",
            Reason::Userinfo => "userinfo",
            Reason::Host => "host",
            Reason::Literal => "literal",
            Reason::Port => "port",
            Reason::Address => "address",
            Reason::Redirect => "redirect",
        }
    }
}

/// A connection that is not made. Names the host, not what its name leads to: that may be nobody's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub reason: Reason,
    /// The host.
    pub host: String,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { reason, host } = self;
        match reason {
            Reason::Scheme => write!(
                f,
                "`{host}` is not spoken to in clear text: use https, or have the operator list it under batch.http_hosts"
            ),
            Reason::Userinfo => write!(
                f,
                "the address of `{host}` holds a user name or password: give the data store a credential instead"
            ),
            Reason::Host => write!(
                f,
                "`{host}` is not a host that jobs may read from: use a data store, or have the operator list it under batch.https_hosts"
            ),
            Reason::Literal => write!(
                f,
                "`{host}` is an address and not a name: use the host's name, or have the operator list the address under batch.address_ranges"
            ),
            Reason::Port => write!(
                f,
                "`{host}` is asked on a port that is not listed: have the operator list it under batch.ports"
            ),
            Reason::Address => write!(
                f,
                "`{host}` leads to an address that jobs may not reach: have the operator list its network under batch.address_ranges"
            ),
            Reason::Redirect => write!(
                f,
                "`{host}` answered with another address, which is not followed: write the address at which the data is"
            ),
        }
    }
}

impl std::error::Error for Denied {}

impl EgressRules {
    /// The rules of these settings.
    pub fn new(settings: &Batch) -> EgressRules {
        EgressRules {
            https: settings.https_hosts.clone(),
            http: settings.http_hosts.clone(),
            ports: settings.ports.clone(),
            allowed: settings.address_ranges.clone(),
            blocked: BLOCKED.iter().filter_map(|network| network.parse().ok()).collect(),
            tokens: settings.token_hosts.clone(),
        }
    }

    /// Judges a URL before anything is done with it. `store` is the host of the data store that it belongs to, which
    /// counts as listed.
    pub fn judge(&self, url: &Url, store: Option<&str>) -> Result<(), Denied> {
        let host = url.host_str().unwrap_or_default();
        let denied = |reason| Err(Denied { reason, host: host.chars().take(253).collect() });
        let listed = |patterns: &[HostPattern]| patterns.iter().any(|pattern| pattern.matches(host));
        if !url.username().is_empty() || url.password().is_some() {
            return denied(Reason::Userinfo);
        }
        let clear = match url.scheme() {
            "https" => false,
            "http" if listed(&self.http) => true,
            _ => return denied(Reason::Scheme),
        };
        if host.is_empty() || host.ends_with('.') || !(store == Some(host) || clear || listed(&self.https)) {
            return denied(Reason::Host);
        }
        // The library that also connects has written every notation of an address the plain way.
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
        if literal.is_ok_and(|address| !self.is_listed(address)) {
            return denied(Reason::Literal);
        }
        let usual = if clear { 80 } else { 443 };
        let port = url.port_or_known_default().unwrap_or_default();
        if port != usual && !self.ports.contains(&port) {
            return denied(Reason::Port);
        }
        Ok(())
    }

    /// Judges an address that a host's name leads to.
    pub fn judge_address(&self, address: IpAddr) -> bool {
        self.is_listed(address) || !self.blocked.iter().any(|network| network.contains(&address))
    }

    /// Whether a caller's token for Azure Storage may be sent there: over TLS, to a host that knows what to do with it.
    pub fn may_have_token(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        url.scheme() == "https" && self.tokens.iter().any(|pattern| pattern.matches(host))
    }

    fn is_listed(&self, address: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::Scalar;

    fn rules(set: impl FnOnce(&mut Batch)) -> EgressRules {
        let host = |text| HostPattern::read(text).unwrap();
        let mut batch = Batch {
            https_hosts: vec![
                host("data.example.com"),
                host("*.data.example.com"),
                host("127.0.0.1"),
                host("10.0.0.1"),
            ],
            http_hosts: vec![host("plain.example.com")],
            ..Batch::default()
        };
        set(&mut batch);
        EgressRules::new(&batch)
    }

    fn judge(rules: &EgressRules, url: &str) -> Result<(), Reason> {
        rules.judge(&url.parse().unwrap(), Some("store.example.net")).map_err(|denied| denied.reason)
    }

    #[test]
    fn nothing_is_reached_that_is_not_listed() {
        let rules = rules(|_| ());
        for good in [
            "https://data.example.com/a",
            "https://DATA.example.com:443/a",
            "https://x.y.data.example.com/a",
            "https://store.example.net/a",
            "http://plain.example.com/a",
            "http://plain.example.com:80/a",
        ] {
            assert_eq!(judge(&rules, good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("https://example.com/", Reason::Host),
            ("https://evildata.example.com.evil.net/", Reason::Host),
            ("https://plain.example.com/", Reason::Host),
            ("https://data.example.com./", Reason::Host),
            ("https://dаta.example.com/", Reason::Host),
            ("http://data.example.com/", Reason::Scheme),
            ("http://store.example.net/", Reason::Scheme),
            ("ftp://data.example.com/", Reason::Scheme),
            ("file:///etc/passwd", Reason::Scheme),
            ("data:text/plain,a", Reason::Scheme),
            ("https://u@data.example.com/", Reason::Userinfo),
            ("https://:p@data.example.com/", Reason::Userinfo),
            ("https://data.example.com:8443/", Reason::Port),
            ("https://data.example.com:80/", Reason::Port),
            ("http://plain.example.com:443/", Reason::Port),
            ("https://127.0.0.1/", Reason::Literal),
            ("https://2130706433/", Reason::Literal),
            ("https://0x7f.1/", Reason::Literal),
            ("https://017700000001/", Reason::Literal),
            ("https://１２７.0.0.1/", Reason::Literal),
            ("https://1.1.1.1/", Reason::Host),
            ("https://[::1]/", Reason::Host),
        ] {
            assert_eq!(judge(&rules, bad), Err(reason), "{bad}");
        }
    }

    #[test]
    fn an_operator_lists_addresses_and_ports() {
        let rules = rules(|batch| {
            batch.address_ranges = vec!["127.0.0.0/8".parse().unwrap()];
            batch.ports = vec![8443];
        });
        assert_eq!(judge(&rules, "https://127.0.0.1:8443/"), Ok(()));
        assert_eq!(judge(&rules, "https://10.0.0.1/"), Err(Reason::Literal));
        assert!(rules.judge_address([127, 9, 9, 9].into()) && !rules.judge_address([10, 0, 0, 1].into()));
        assert!(!rules.judge_address("::ffff:127.0.0.1".parse().unwrap()), "only the form that is listed");
    }

    #[test]
    fn the_blocked_networks_are_those_of_the_threat_model() {
        assert_eq!(rules(|_| ()).blocked.len(), BLOCKED.len(), "each is a network");
        let open = |text: &str| rules(|_| ()).judge_address(text.parse().unwrap());
        for blocked in [
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.168.0.0",
            "192.168.255.255",
            "168.63.129.16",
            "198.18.0.0",
            "198.19.255.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::7f00:1",
            "2001::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "fc00::1",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
        ] {
            assert!(!open(blocked), "{blocked}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "168.63.129.15",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
        ] {
            assert!(open(public), "{public}");
        }
    }

    #[test]
    fn a_callers_token_goes_to_azure_alone() {
        let rules = rules(|_| ());
        let may = |url: &str| rules.may_have_token(&url.parse().unwrap());
        assert!(may("https://account.blob.core.windows.net/c/b"));
        for not in [
            "http://account.blob.core.windows.net/c",
            "https://data.example.com/c",
            "https://account.blob.core.windows.net.example.com/c",
        ] {
            assert!(!may(not), "{not}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(20_000))]

        #[test]
        fn pieces_of_urls_in_any_order_lead_to_listed_names_alone(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 1..12)
        ) {
            let text = format!("https://{}", pieces.concat());
            let workspace = crate::model::scope::WorkspaceRef {
                subscription: "s".to_owned(),
                resource_group: "g".to_owned(),
                name: "w".to_owned(),
            };
            let rules = rules(|_| ());
            let plain = text.parse::<Url>().ok();
            let strict = match super::super::location::Location::parse(&text, &workspace) {
                Ok(super::super::location::Location::Https(address)) => Some(address.url().clone()),
                _ => None,
            };
            for url in plain.into_iter().chain(strict) {
                if rules.judge(&url, None).is_ok() {
                    let host = url.host_str().unwrap();
                    proptest::prop_assert!(
                        host == "data.example.com" || host.ends_with(".data.example.com"),
                        "{} {}", text, url
                    );
                }
            }
        }
    }

    const PIECES: &[&str] = &[
        "data.example.com",
        "127.0.0.1",
        "10.0.0.1",
        "localhost",
        "[::1]",
        "[",
        "]",
        "::1",
        "::ffff:",
        "0x7f",
        "0177",
        "2130706433",
        "1",
        ".",
        "..",
        "/",
        "//",
        "\\",
        "@",
        "#",
        "?",
        ":",
        ":443",
        "%",
        "%2f",
        "%2e",
        "%00",
        "%40",
        "\t",
        "\n",
        "\0",
        " ",
        "１",
        "。",
        "①",
        "xn--",
        "а",
        "\u{ad}",
        "a",
        "-",
        "_",
        "evil.net",
    ];
}
