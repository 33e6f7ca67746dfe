//! Requests in a second: by everybody together, and by one caller.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::identity::endpoint_key::KeySlot;
use crate::model::role::PrincipalId;

/// Nanoseconds in a second: what a rate is counted over, and how much of it may come at once.
const SECOND: u64 = 1_000_000_000;
/// The most callers that are kept in mind.
const MOST: usize = 10_000;

/// One rate, by the generic cell rate algorithm: an even flow, of which a second's worth may come at once.
#[derive(Debug, Default)]
struct Rate(
    /// When everything that came would have come in an even flow, in nanoseconds.
    AtomicU64,
);

impl Rate {
    /// Lets one more pass, or says how long to wait. `now` is nanoseconds since whenever.
    fn admit(&self, per_second: u32, now: u64) -> Result<(), Duration> {
        let each = SECOND / u64::from(per_second.max(1));
        let one_more = |due: u64| {
            let due = due.max(now) + each;
            (due - now <= SECOND.max(each)).then_some(due)
        };
        let passed = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        passed
            .map(drop)
            .map_err(|due| Duration::from_nanos((due + each).saturating_sub(now + SECOND.max(each))))
    }

    /// Whether nothing has come for so long that it makes no difference.
    fn is_idle(&self, now: u64) -> bool {
        self.0.load(Ordering::Relaxed) <= now
    }
}

/// Who uses up a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payer {
    /// A principal.
    Principal(PrincipalId),
    /// Whoever has this key.
    Key(KeySlot),
}

/// How often an endpoint may be called.
#[derive(Debug)]
pub struct EndpointRates {
    /// Requests in a second, by everybody together.
    pub all: u32,
    /// Requests in a second, by one caller.
    pub each: u32,
    counts: Arc<Counts>,
}

/// What came of late; outlives changes of the rates.
#[derive(Debug)]
struct Counts {
    since: Instant,
    all: Rate,
    each: Rates<Payer>,
}

/// Which rate is used up, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedUp {
    /// Everybody's.
    All(Duration),
    /// This caller's.
    Each(Duration),
}

impl EndpointRates {
    /// The rates of an endpoint; `before` hands on what came of late.
    pub fn new(all: u32, each: u32, before: Option<&EndpointRates>) -> EndpointRates {
        let counts = || Counts { since: Instant::now(), all: Rate::default(), each: Rates::default() };
        let counts = before.map_or_else(|| Arc::new(counts()), |before| before.counts.clone());
        EndpointRates { all, each, counts }
    }

    /// Lets one more request of this caller pass.
    pub fn admit(&self, payer: Payer) -> Result<(), UsedUp> {
        let now = u64::try_from(self.counts.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Who may send as much as all together needs no count of its own.
        if self.each < self.all {
            self.counts.each.admit(payer, self.each, now).map_err(UsedUp::Each)?;
        }
        self.counts.all.admit(self.all, now).map_err(UsedUp::All)
    }
}

/// Rates by caller.
#[derive(Debug)]
struct Rates<K: Eq + Hash>(DashMap<K, Rate>);

impl<K: Eq + Hash> Default for Rates<K> {
    fn default() -> Self {
        Rates(DashMap::new())
    }
}

impl<K: Eq + Hash> Rates<K> {
    /// Lets one more of this caller's pass, or says how long to wait.
    fn admit(&self, who: K, per_second: u32, now: u64) -> Result<(), Duration> {
        if let Some(rate) = self.0.get(&who) {
            return rate.admit(per_second, now);
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, rate| !rate.is_idle(now));
        }
        if self.0.len() >= MOST {
            // More callers at once than are kept in mind: those that are not share what one may.
            return Err(Duration::from_secs(1));
        }
        self.0.entry(who).or_default().admit(per_second, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_worth_may_come_at_once_and_then_an_even_flow() {
        let rate = Rate::default();
        let start = 5 * SECOND;
        assert_eq!((0..20).filter(|_| rate.admit(10, start).is_ok()).count(), 10);
        assert_eq!(rate.admit(10, start), Err(Duration::from_millis(100)));
        assert!(rate.admit(10, start + SECOND / 10).is_ok());
        assert!(rate.admit(10, start + SECOND / 10).is_err());
        let steady = (1..=100).filter(|step| rate.admit(10, start + SECOND + step * SECOND / 20).is_ok());
        assert!((50..=60).contains(&steady.count()), "twice as much as may: a half passes");
    }

    #[test]
    fn a_rate_that_changes_holds_from_the_next_request_on() {
        let rate = Rate::default();
        assert!((0..1000).all(|_| rate.admit(1000, SECOND).is_ok()));
        assert!(rate.admit(1, SECOND).is_err());
        assert!(rate.admit(1, 3 * SECOND).is_ok() && rate.admit(1, 3 * SECOND).is_err());
    }

    #[test]
    fn callers_do_not_use_up_each_other_s_and_are_bounded() {
        let rates = Rates::default();
        assert!(rates.admit(1, 1, SECOND).is_ok() && rates.admit(1, 1, SECOND).is_err());
        assert!(rates.admit(2, 1, SECOND).is_ok());
        for who in 3..=MOST {
            assert!(rates.admit(who, 1, SECOND).is_ok());
        }
        assert!(rates.admit(MOST + 1, 1, SECOND).is_err(), "full");
        assert!(rates.admit(MOST + 1, 1, 9 * SECOND).is_ok(), "the idle ones went");
    }
}
