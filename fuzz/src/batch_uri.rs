//! URIs of batch jobs: whatever is written, no blocked address is ever allowed, and a path stays in its store.

use std::net::{IpAddr, Ipv6Addr};

use reqwest::Url;
use scoregate::artifacts::{EgressRules, Location};
use scoregate::forms::Scalar;
use scoregate::model::scope::WorkspaceRef;
use scoregate::settings::{Batch, HostPattern};

use super::input::Input;

/// Hosts that are listed; the operator of the test is not careful about addresses among them.
const HOSTS: &[&str] = &["data.example.com", "*.data.example.com", "localhost", "127.0.0.1", "[::1]", "127.0.0.100"];
/// The network that is listed, if one is.
const LISTED: &str = "127.0.0.100";

/// The first byte says what is listed; the rest is a URI, and an address.
pub fn check(input: &[u8]) {
    let mut input = Input(input);
    let bits = input.byte();
    let (clear, listed) = (bits & 1 == 1, bits & 2 == 2);
    let hosts = || HOSTS.iter().map(|host| HostPattern::read(host).unwrap()).collect::<Vec<_>>();
    let rules = EgressRules::new(&Batch {
        https_hosts: hosts(),
        http_hosts: if clear { hosts() } else { Vec::new() },
        ports: vec![8443],
        address_ranges: if listed { vec![format!("{LISTED}/32").parse().unwrap()] } else { Vec::new() },
        ..Batch::default()
    });
    let text = String::from_utf8_lossy(input.0).into_owned();
    addresses(input.0, &text, &rules, listed);
    // As it is, by whoever configures a data store.
    if let Ok(url) = text.parse::<Url>() {
        judged(&url, &rules, clear, listed);
    }
    let workspace =
        WorkspaceRef { subscription: "s".to_owned(), resource_group: "g".to_owned(), name: "w".to_owned() };
    match Location::parse(&text, &workspace) {
        Err(_) => {}
        Ok(Location::Store { path, .. }) => {
            let plain = |part: &str| !["", ".", ".."].contains(&part) && !part.chars().any(|c| c.is_control() || c == '\\');
            assert!(path.is_empty() || path.split('/').all(plain), "{path:?}");
            let shown = Location::parse(&text, &workspace).unwrap().to_string();
            let Ok(Location::Store { path: again, .. }) = Location::parse(&shown, &workspace) else {
                panic!("{shown:?} reads otherwise")
            };
            assert_eq!(path, again, "{shown:?}");
        }
        Ok(Location::Https(address)) => {
            judged(address.url(), &rules, clear, listed);
            // Whoever reads the text by hand finds the same host.
            let rest = text.split_once("://").unwrap().1;
            let authority = rest.split(['/', '?', '#']).next().unwrap().to_ascii_lowercase();
            let host = address.url().host_str().unwrap();
            assert!(authority == host || authority.strip_prefix(host).is_some_and(|port| port.starts_with(':')), "{text:?}");
            assert!(!address.to_string().contains('?') && !format!("{address:?}").contains('?'), "{address}");
        }
    }
}

/// What may be connected to is listed, letter by letter.
fn judged(url: &Url, rules: &EgressRules, clear: bool, listed: bool) {
    if rules.judge(url, None).is_err() {
        return;
    }
    let host = url.host_str().unwrap();
    assert!(url.username().is_empty() && url.password().is_none(), "{url}");
    assert!(HOSTS.contains(&host) || host.ends_with(".data.example.com"), "{url}");
    assert!(url.scheme() == "https" || (clear && url.scheme() == "http"), "{url}");
    assert!([8443, if url.scheme() == "http" { 80 } else { 443 }].contains(&url.port_or_known_default().unwrap()), "{url}");
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        assert!(listed && host == LISTED, "{url}");
    }
}

/// Addresses of the input's bytes and of its text, against prefixes written in bits.
fn addresses(bytes: &[u8], text: &str, rules: &EgressRules, listed: bool) {
    let mut found: Vec<IpAddr> = text.parse().into_iter().collect();
    found.extend(bytes.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)));
    found.extend(bytes.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)));
    for address in found {
        let own = listed && address == LISTED.parse::<IpAddr>().unwrap();
        assert_eq!(rules.judge_address(address), own || !blocked(address), "{address}");
    }
}

/// The networks of the threat model, and what hides an IPv4 address, one condition after the other.
fn blocked(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            matches!(a, 0 | 10 | 127 | 224..)
                || (a == 100 && b >> 6 == 1)
                || (a == 169 && b == 254)
                || (a == 172 && b >> 4 == 1)
                || (a == 192 && (b == 168 || (b == 0 && c == 0) || (b == 88 && c == 99)))
                || (a == 198 && b >> 1 == 9)
                || [a, b, c, d] == [168, 63, 129, 16]
        }
        IpAddr::V6(v6) => six(v6),
    }
}

fn six(v6: Ipv6Addr) -> bool {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 0, 0, 0, 0, ..]
        | [0x64, 0xff9b, 1, ..]
        | [0x2001, 0, ..]
        | [0x2002, ..]
        | [0x100, 0, 0, 0, ..] => true,
        [first, ..] => {
            first >> 9 == 0xfc >> 1 || first >> 6 == 0xfe80 >> 6 || first >> 6 == 0xfec0 >> 6 || first >> 8 == 0xff
        }
    }
}
