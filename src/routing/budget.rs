//! A budget of retries: at most a fifth of the traffic, so that retries never make a failure worse.

use std::sync::atomic::{AtomicU32, Ordering};

/// What a request earns and a retry costs.
const EARNED: u32 = 2;
const COST: u32 = 10;
/// The most that is saved: ten retries.
const MOST: u32 = 100;

/// A deployment's budget.
#[derive(Debug)]
pub struct RetryBudget(AtomicU32);

impl Default for RetryBudget {
    fn default() -> Self {
        RetryBudget(AtomicU32::new(MOST))
    }
}

impl RetryBudget {
    /// A request was sent for the first time.
    pub fn earn(&self) {
        let saved = self.0.load(Ordering::Relaxed);
        if saved < MOST {
            // A lost update costs a fifth of a retry.
            self.0.store((saved + EARNED).min(MOST), Ordering::Relaxed);
        }
    }

    /// Whether it may be sent once more; if so, it is paid for.
    pub fn spend(&self) -> bool {
        let pay = |saved: u32| saved.checked_sub(COST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_at_most_a_fifth_once_the_savings_are_gone() {
        let budget = RetryBudget::default();
        let retries = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        let count = retries.count();
        assert!((200..=211).contains(&count), "{count}");
    }
}
