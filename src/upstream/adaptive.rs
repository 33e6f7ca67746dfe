//! How many requests an instance can work on at once before they only wait for each other. Pure but for its lock.
//!
//! Answers of an instance that has little to do show how long one takes by itself. While answers take about as long,
//! more are let in; once they take longer, fewer (a gradient controller, as in Envoy's "Adaptive Concurrency").

use std::time::Duration;

use parking_lot::Mutex;

/// Answers that make a sample.
const SAMPLE: u32 = 20;
/// The fewest requests at once.
const LEAST: f64 = 1.0;
/// Samples after which it is measured anew how long an answer takes by itself.
const ANEW: u32 = 50;
/// How much longer than by itself an answer may take.
const LEEWAY: f64 = 1.25;

/// What was found out about one instance.
#[derive(Debug)]
pub(super) struct Adaptive(Mutex<State>);

#[derive(Debug)]
struct State {
    limit: f64,
    /// Seconds that an answer takes by itself; none while that is measured.
    alone: Option<f64>,
    sum: f64,
    count: u32,
    /// Answers that came while as many were worked on as may be.
    full: u32,
    samples: u32,
    /// What the limit was before it was measured anew.
    before: f64,
}

impl Default for Adaptive {
    fn default() -> Adaptive {
        Adaptive(Mutex::new(State {
            limit: LEAST,
            alone: None,
            sum: 0.0,
            count: 0,
            full: 0,
            samples: 0,
            before: 4.0,
        }))
    }
}

impl Adaptive {
    /// An answer came after this long, with so many requests at work. Gives the limit.
    pub(super) fn answered(&self, after: Duration, in_flight: u32) -> u32 {
        let mut state = self.0.lock();
        state.sum += after.as_secs_f64();
        state.count += 1;
        state.full += u32::from(in_flight >= state.rounded());
        if state.count >= SAMPLE {
            state.conclude();
        }
        state.rounded()
    }
}

impl State {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between one and a million")]
    fn rounded(&self) -> u32 {
        self.limit.clamp(LEAST, 1e6) as u32
    }

    fn conclude(&mut self) {
        let mean = (self.sum / f64::from(self.count)).max(1e-6);
        let was_full = self.full * 2 >= self.count;
        (self.sum, self.count, self.full) = (0.0, 0, 0);
        self.samples += 1;
        let Some(alone) = self.alone else {
            self.alone = Some(mean);
            self.limit = self.before;
            return;
        };
        if self.samples.is_multiple_of(ANEW) {
            self.before = (self.limit * 0.75).max(LEAST);
            (self.alone, self.limit) = (None, LEAST);
            return;
        }
        // An answer that is quicker than was thought possible is the better measure.
        let alone = alone.min(mean);
        self.alone = Some(alone);
        let gradient = (alone * LEEWAY / mean).clamp(0.5, 1.0);
        if gradient < 1.0 {
            self.limit = (self.limit * gradient + self.limit.sqrt() * 0.5).min(self.limit).max(LEAST);
        } else if was_full {
            // What nobody asked for proves nothing.
            self.limit += self.limit.sqrt().max(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server with so many workers, each of which takes `alone` for a request, under as much load as is let in.
    fn run(adaptive: &Adaptive, workers: u32, alone: f64, answers: u32) -> Vec<u32> {
        let mut limit = 1;
        let mut limits = Vec::new();
        for _ in 0..answers {
            let time = alone * (f64::from(limit) / f64::from(workers)).max(1.0);
            limit = adaptive.answered(Duration::from_secs_f64(time), limit);
            limits.push(limit);
        }
        limits
    }

    fn settled(limits: &[u32]) -> f64 {
        let last = &limits[limits.len() / 2..];
        f64::from(last.iter().sum::<u32>()) / f64::from(u32::try_from(last.len()).unwrap())
    }

    #[test]
    fn the_knee_is_found_for_small_and_large_servers_and_found_again() {
        for (workers, alone) in [(1, 0.05), (4, 0.01), (16, 0.2), (100, 0.005)] {
            let adaptive = Adaptive::default();
            let found = settled(&run(&adaptive, workers, alone, 8_000));
            let knee = f64::from(workers);
            assert!(found > knee * 0.7 && found < knee * 2.2 + 2.0, "{workers} workers: {found}");
            let slower = settled(&run(&adaptive, workers, alone * 10.0, 8_000));
            assert!(slower > knee * 0.7 && slower < knee * 2.2 + 2.0, "{workers} slower workers: {slower}");
        }
    }

    #[test]
    fn a_limit_that_is_not_used_does_not_grow() {
        let adaptive = Adaptive::default();
        let last = (0..2_000).map(|_| adaptive.answered(Duration::from_millis(10), 1)).max().unwrap();
        assert!(last <= 6, "{last}");
    }
}
