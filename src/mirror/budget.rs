//! What copies may use in all. Whatever does not fit is not copied: nobody waits for a share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory and places for all copies of a gateway.
#[derive(Debug, Clone)]
pub struct Budget {
    bytes: Bound,
    copies: Bound,
}

#[derive(Debug, Clone)]
struct Bound {
    used: Arc<AtomicUsize>,
    most: usize,
}

/// A part of a bound; dropping it gives it back.
#[derive(Debug)]
pub struct Share {
    bound: Bound,
    taken: usize,
}

impl Budget {
    /// Bounds, under which counts what is still used of those `before`.
    pub fn new(bytes: usize, copies: usize, before: Option<&Budget>) -> Budget {
        let bound = |most, before: Option<&Bound>| Bound {
            used: before.map_or_else(Arc::default, |before| before.used.clone()),
            most,
        };
        Budget {
            bytes: bound(bytes, before.map(|before| &before.bytes)),
            copies: bound(copies, before.map(|before| &before.copies)),
        }
    }

    /// A share of the memory, with nothing taken yet.
    pub fn memory(&self) -> Share {
        Share { bound: self.bytes.clone(), taken: 0 }
    }

    /// A place for one more copy.
    pub fn place(&self) -> Option<Share> {
        let mut share = Share { bound: self.copies.clone(), taken: 0 };
        share.grow(1).then_some(share)
    }
}

impl Share {
    /// Takes more, if there is as much left.
    pub fn grow(&mut self, by: usize) -> bool {
        let most = self.bound.most;
        let more = |used: usize| used.checked_add(by).filter(|sum| *sum <= most);
        let grown = self.bound.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if grown {
            self.taken += by;
        }
        grown
    }
}

impl Share {
    /// All that was taken, with nothing left behind.
    pub(super) fn take(&mut self) -> Share {
        Share { bound: self.bound.clone(), taken: std::mem::take(&mut self.taken) }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bound.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back_and_nothing_goes_beyond() {
        let budget = Budget::new(10, 2, None);
        let (mut one, mut two) = (budget.memory(), budget.memory());
        assert!(one.grow(6) && two.grow(4));
        assert!(!one.grow(1) && !two.grow(usize::MAX));
        drop(one);
        assert!(two.grow(6) && !two.grow(1));
        let places = (budget.place(), budget.place());
        assert!(places.0.is_some() && places.1.is_some() && budget.place().is_none());
        drop(places);
        assert!(budget.place().is_some());
    }

    #[test]
    fn other_bounds_count_what_is_used_already() {
        let budget = Budget::new(10, 1, None);
        let mut held = budget.memory();
        assert!(held.grow(8));
        let next = Budget::new(9, 1, Some(&budget));
        assert!(!next.memory().grow(2) && next.memory().grow(1));
    }
}
