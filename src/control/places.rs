//! Places for operations: so many in all, and so many for one principal, so that nobody keeps the others out.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::role::PrincipalId;

/// How many principals share all places at the least.
const SHARES: usize = 4;

/// Places for operations.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    each: usize,
    taken: DashMap<PrincipalId, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    places: &'a Places,
    who: PrincipalId,
    _one: OwnedSemaphorePermit,
}

impl Places {
    /// This many places in all.
    pub fn new(most: usize) -> Places {
        let all = Arc::new(Semaphore::new(most));
        Places { all, each: most.div_ceil(SHARES), taken: DashMap::new() }
    }

    /// A place for somebody, if there is one and he has not his share already.
    pub(super) fn take(&self, who: PrincipalId) -> Option<Place<'_>> {
        let one = self.all.clone().try_acquire_owned().ok()?;
        let mut taken = self.taken.entry(who).or_insert(0);
        if *taken >= self.each {
            return None;
        }
        *taken += 1;
        drop(taken);
        Some(Place { places: self, who, _one: one })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let dashmap::Entry::Occupied(mut taken) = self.places.taken.entry(self.who) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn nobody_takes_more_than_his_share() {
        let places = Places::new(8);
        let [a, b] = [1, 2].map(|id| PrincipalId(Uuid::from_u128(id)));
        let own: Vec<_> = (0..2).map(|_| places.take(a).unwrap()).collect();
        assert!(places.take(a).is_none() && places.take(b).is_some());
        drop(own);
        assert!(places.take(a).is_some());
        assert!(places.taken.is_empty(), "who has no place is not remembered");
    }
}
