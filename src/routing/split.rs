//! The split of an endpoint's traffic: exactly proportional, by turns, not by chance.

use std::sync::atomic::{AtomicU32, Ordering};

/// A hundred turns, shared out among deployments so that each gets its percentage, spread as evenly as can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split(Box<[u16]>);

/// Whose turn it is, counted by each worker for itself; survives changes of the split.
#[derive(Debug)]
pub struct Turns(Box<[AtomicU32]>);

impl Split {
    /// Whether no deployment has traffic.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The turns for these percentages (which sum to 0 or 100); the numbers are those of the list.
    ///
    /// At every turn the deployment goes that is furthest behind its share and soonest due (the chairman
    /// assignment of Tijdeman), so that no run of turns is off by as much as one for two deployments.
    pub fn new(percentages: &[u8]) -> Split {
        let mut given = vec![0_i64; percentages.len()];
        let mut turns = Vec::with_capacity(100);
        if percentages.iter().map(|p| u32::from(*p)).sum::<u32>() != 100 {
            return Split(Box::default());
        }
        for turn in 1..=100_i64 {
            // Among those that may go now without getting ahead, the one that must go soonest.
            let due = |share: i64, given: i64| (100 * (given + 1) + share - 1) / share.max(1);
            let next = percentages
                .iter()
                .zip(&given)
                .enumerate()
                .filter(|(_, (share, given))| **share > 0 && i64::from(**share) * turn > 100 * **given)
                .min_by_key(|(_, (share, given))| due(i64::from(**share), **given))
                .map(|(index, _)| index);
            let Some(index) = next else { break };
            if let Some(count) = given.get_mut(index) {
                *count += 1;
            }
            turns.push(u16::try_from(index).unwrap_or(u16::MAX));
        }
        Split(turns.into())
    }

    /// The deployment whose turn it is at this worker; `None` if none has traffic.
    pub fn next(&self, turns: &Turns, worker: usize) -> Option<usize> {
        let count = turns.0.get(worker % turns.0.len().max(1))?;
        // One worker writes its own count, so nothing has to be exclusive.
        let turn = count.load(Ordering::Relaxed);
        count.store(if turn >= 99 { 0 } else { turn + 1 }, Ordering::Relaxed);
        self.0.get(turn as usize).map(|index| usize::from(*index))
    }
}

impl Turns {
    /// Turns for this many workers, which begin at different places, so that
    /// the first requests of several workers do not all go to the same deployment.
    pub fn new(workers: usize) -> Turns {
        let workers = workers.max(1);
        let start = |worker: usize| AtomicU32::new(u32::try_from(worker * 100 / workers % 100).unwrap_or(0));
        Turns((0..workers).map(start).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(cuts: &[u8]) -> Vec<u8> {
        let mut cuts: Vec<u8> = cuts.iter().map(|c| c % 101).chain([0, 100]).collect();
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn a_hundred_thousand_requests_are_split_to_the_request() {
        for workers in [1, 2, 4] {
            let (split, turns) = (Split::new(&[90, 10]), Turns::new(workers));
            let mut got = [0_u32; 2];
            for request in 0..100_000 {
                got[split.next(&turns, request % workers).unwrap()] += 1;
            }
            assert_eq!(got, [90_000, 10_000], "{workers} workers");
        }
    }

    #[test]
    fn no_traffic_goes_nowhere() {
        assert_eq!(Split::new(&[0, 0]).next(&Turns::new(1), 0), None);
        assert_eq!(Split::new(&[]).next(&Turns::new(1), 0), None);
    }

    #[test]
    fn a_new_split_holds_from_the_next_turn_on() {
        let turns = Turns::new(1);
        let (before, after) = (Split::new(&[100, 0]), Split::new(&[0, 100]));
        assert_eq!((0..37).map(|_| before.next(&turns, 0)).collect::<Vec<_>>(), vec![Some(0); 37]);
        assert_eq!((0..200).map(|_| after.next(&turns, 0)).collect::<Vec<_>>(), vec![Some(1); 200]);
    }

    proptest! {
        #[test]
        fn any_window_of_a_hundred_is_exact(cuts in proptest::collection::vec(any::<u8>(), 0..6), skip in 0_usize..300) {
            let shares = shares(&cuts);
            let (split, turns) = (Split::new(&shares), Turns::new(1));
            for _ in 0..skip { split.next(&turns, 0); }
            let mut got = vec![0_u8; shares.len()];
            for _ in 0..100 { got[split.next(&turns, 0).unwrap()] += 1; }
            prop_assert_eq!(got, shares);
        }

        #[test]
        fn every_run_of_turns_of_two_deployments_is_within_one(share in 0_u8..=100, start in 0_usize..100, length in 1_usize..100) {
            let (split, turns) = (Split::new(&[share, 100 - share]), Turns::new(1));
            for _ in 0..start { split.next(&turns, 0); }
            let got = (0..length).filter(|_| split.next(&turns, 0) == Some(0)).count();
            let exact = length as f64 * f64::from(share) / 100.0;
            prop_assert!((got as f64 - exact).abs() < 1.0 + 1e-9, "{} of {}, exactly {}", got, length, exact);
        }
    }
}
