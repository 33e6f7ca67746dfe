//! Addresses that fail to authenticate too often.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dashmap::DashMap;

/// The time over which failures are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// The most addresses that are kept in mind.
const MOST: usize = 10_000;

/// Failures by address.
#[derive(Debug)]
pub struct Failures {
    most: u32,
    seen: DashMap<IpAddr, (Instant, u32)>,
}

impl Failures {
    /// Lets this many pass within ten seconds.
    pub fn new(most: u32) -> Failures {
        Failures { most, seen: DashMap::new() }
    }

    /// Notes a failure; true if it is one too many. A valid credential from the same address is not touched.
    pub fn one_too_many(&self, address: IpAddr) -> bool {
        let address = network(address);
        let now = Instant::now();
        let recent = |since: Instant| now.duration_since(since) < WINDOW;
        if self.seen.len() >= MOST {
            self.seen.retain(|_, (since, _)| recent(*since));
            if self.seen.len() >= MOST && !self.seen.contains_key(&address) {
                return false;
            }
        }
        let mut entry = self.seen.entry(address).or_insert((now, 0));
        if !recent(entry.0) {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 > self.most
    }
}

/// An IPv6 client has a whole /64 to itself (RFC 6177), so that is what counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_that_fails_is_held_back() {
        let failures = Failures::new(2);
        let (bad, good) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        assert_eq!([0; 4].map(|_| failures.one_too_many(bad)), [false, false, true, true]);
        assert!(!failures.one_too_many(good));
    }
}
