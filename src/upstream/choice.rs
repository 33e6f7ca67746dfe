//! The choice among the instances of a deployment. Pure.

use std::time::Duration;

/// What is known of an instance when the choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Requests that it is working on.
    pub(super) in_flight: u32,
    /// The most that it works on at once.
    pub(super) most: u32,
    /// Microseconds until its answers began of late; 0 if unknown.
    pub(super) latency: u64,
    /// How long it has been back, if it was away.
    pub(super) back_for: Option<Duration>,
}

impl Candidate {
    pub(super) fn has_room(&self) -> bool {
        self.in_flight < self.most
    }

    /// What one more request costs: as many shares as there are then requests, each as long as its answers take.
    /// Speed counts only beyond half as much again as the fastest, so that equals stay equal; one that came back
    /// costs more until it is warm.
    fn cost(&self, fastest: u64, warm_up: Duration) -> u64 {
        let alike = (fastest + fastest / 2).max(1);
        let each = self.latency.max(alike);
        let share = u64::from(self.in_flight) + 1;
        let cold = match self.back_for {
            Some(time) if time < warm_up => {
                let (warm_up, time) = (warm_up.as_millis().max(1), time.as_millis());
                u64::try_from(warm_up.saturating_mul(10) / (time + warm_up / 10).max(1)).unwrap_or(u64::MAX)
            }
            _ => 10,
        };
        share.saturating_mul(each).saturating_mul(cold.max(10))
    }
}

/// The one of `count` candidates to which the next request goes: the one that costs least; equals take turns, beginning
/// with `turn`. `candidate` gives none for an instance that is not to be chosen.
pub(super) fn choose(
    count: usize,
    candidate: impl Fn(usize) -> Option<Candidate>,
    turn: usize,
    warm_up: Duration,
) -> Option<usize> {
    let open = |at: usize| candidate(at).filter(Candidate::has_room);
    let fastest = (0..count).filter_map(open).map(|one| one.latency).filter(|time| *time > 0).min();
    let fastest = fastest.unwrap_or(0);
    let order = (0..count).map(|step| (turn.wrapping_add(step)) % count);
    let priced = order.filter_map(|at| Some((open(at)?.cost(fastest, warm_up), at)));
    // The first of equals wins, and the turn says which is first.
    priced.min_by_key(|(cost, _)| *cost).map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WARM_UP: Duration = Duration::from_secs(10);

    fn choose(candidates: &[Option<Candidate>], turn: usize, warm_up: Duration) -> Option<usize> {
        super::choose(candidates.len(), |at| candidates[at], turn, warm_up)
    }

    const WELL: Candidate = Candidate { in_flight: 0, most: 4, latency: 1000, back_for: None };

    #[expect(clippy::unnecessary_wraps, reason = "as the choice takes them")]
    fn at(in_flight: u32, latency: u64) -> Option<Candidate> {
        Some(Candidate { in_flight, latency, ..WELL })
    }

    #[test]
    fn the_least_loaded_goes_first_and_equals_take_turns() {
        assert_eq!(choose(&[at(2, 0), at(1, 0), at(3, 0)], 0, WARM_UP), Some(1));
        let equals = [at(0, 0), at(0, 0), at(0, 0)];
        assert_eq!(
            (0..6).map(|turn| choose(&equals, turn, WARM_UP).unwrap()).collect::<Vec<_>>(),
            [0, 1, 2, 0, 1, 2]
        );
        assert_eq!(choose(&[], 5, WARM_UP), None);
    }

    #[test]
    fn an_instance_that_is_full_or_out_gets_nothing() {
        assert_eq!(choose(&[at(4, 0), None, at(3, 0)], 0, WARM_UP), Some(2));
        assert_eq!(choose(&[at(4, 0), None], 0, WARM_UP), None);
    }

    #[test]
    fn a_slow_instance_gets_less_but_small_differences_do_not_count() {
        let alike = [at(0, 1000), at(0, 1400)];
        assert_eq!(choose(&alike, 1, WARM_UP), Some(1));
        let slow = [at(0, 1000), at(0, 4000)];
        assert_eq!(choose(&slow, 1, WARM_UP), Some(0));
        assert_eq!(choose(&[at(3, 1000), at(0, 4000)], 0, WARM_UP), Some(1), "until the fast one is busy");
    }

    #[test]
    fn one_that_came_back_is_warmed_up() {
        let back = |ms| Some(Candidate { back_for: Some(Duration::from_millis(ms)), ..WELL });
        assert_eq!(
            choose(&[back(0), at(2, 1000)], 0, WARM_UP),
            Some(1),
            "cold: the other first, though busier"
        );
        assert_eq!(choose(&[back(9_900), at(1, 1000)], 0, WARM_UP), Some(0), "warm");
        assert_eq!(choose(&[back(60_000), at(1, 1000)], 0, WARM_UP), Some(0));
    }

    #[test]
    fn work_settles_in_proportion_to_speed() {
        // Each request in flight is as long as the latency; a step finishes the shorter ones more often.
        let (mut busy, latency, mut got) = ([0_u32; 2], [1_000_u64, 3_000], [0_u32; 2]);
        let mut ends: Vec<(u64, usize)> = Vec::new();
        for now in (0..3_000_000_u64).step_by(250) {
            ends.retain(|(end, at)| {
                let done = *end <= now;
                busy[*at] -= u32::from(done);
                !done
            });
            let candidates = [0, 1].map(|n| {
                Some(Candidate { in_flight: busy[n], most: 64, latency: latency[n], back_for: None })
            });
            let chosen = choose(&candidates, got.iter().sum::<u32>() as usize, WARM_UP).unwrap();
            busy[chosen] += 1;
            got[chosen] += 1;
            ends.push((now + latency[chosen], chosen));
        }
        let share = f64::from(got[1]) / f64::from(got[0] + got[1]);
        assert!((0.1..0.35).contains(&share), "{got:?}");
    }
}
