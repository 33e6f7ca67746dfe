//! Addresses that fail to authenticate, or principals that are refused, too often.

use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// The time over which failures are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// The most of them that are kept in mind.
const MOST: usize = 10_000;

/// Failures by who makes them.
#[derive(Debug)]
pub struct Failures<K: Eq + Hash = IpAddr> {
    most: u32,
    seen: DashMap<K, (Instant, u32)>,
}

impl<K: Eq + Hash> Failures<K> {
    /// Lets this many pass within ten seconds.
    pub fn new(most: u32) -> Failures<K> {
        Failures { most, seen: DashMap::new() }
    }

    /// Notes a failure; true if it is one too many. What succeeds is not touched.
    pub fn one_too_many(&self, who: K) -> bool {
        let now = Instant::now();
        let recent = |since: Instant| now.duration_since(since) < WINDOW;
        if self.seen.len() >= MOST {
            self.seen.retain(|_, (since, _)| recent(*since));
            if self.seen.len() >= MOST && !self.seen.contains_key(&who) {
                return false;
            }
        }
        let mut entry = self.seen.entry(who).or_insert((now, 0));
        if !recent(entry.0) {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::network;

    #[test]
    fn only_the_address_that_fails_is_held_back() {
        let failures = Failures::new(2);
        let (bad, good) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!([0; 4].map(|_| failures.one_too_many(bad)), [false, false, true, true]);
        assert!(!failures.one_too_many(good));
    }

    #[test]
    fn an_ipv6_client_is_its_network_of_64_bits() {
        let failures = Failures::new(1);
        let fails = |text: &str| failures.one_too_many(network(text.parse().unwrap()));
        assert!(!fails("2001:db8:0:1::1"));
        assert!(fails("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert!(!fails("2001:db8:0:2::1") && !fails("192.0.2.1") && !fails("192.0.2.2"));
    }
}
