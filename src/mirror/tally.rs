//! What is known of an endpoint's copies: counts, times, and the last differences.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter};

use super::compare::Difference;
use crate::telemetry::metrics::Metrics;

/// How many of the last times the quantiles are of.
const TIMES: usize = 512;

/// How many of the last differences are kept.
const DIFFERENCES: usize = 20;

/// The most characters of a pointer that are kept.
const POINTER: usize = 200;

/// What became of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was sent and answered.
    Sent,
    /// It was sent, or should have been, and the shadow's instance did not answer soundly and in time.
    Failed,
    /// It was not sent.
    Dropped(Dropped),
}

/// Why a copy was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// The request's body is larger than copies may be.
    Body,
    /// All memory for copies is taken.
    Memory,
    /// As many copies are at work as may be.
    Busy,
    /// No instance of the shadow has a free place.
    NoPlace,
    /// The shadow has no instance that gets requests.
    NoInstance,
    /// The shadow does not let the path be called.
    Path,
    /// The request's own body did not come to its end.
    Unfinished,
    /// The gateway ends.
    Drain,
}

/// How a shadow's answer compares with the live one.
#[derive(Debug, Clone, PartialEq)]
pub enum Compared {
    /// Status and answer are the same.
    Same,
    /// The statuses differ.
    Status,
    /// The answers differ, here first.
    Answer(Difference),
    /// The statuses are the same; the answers are not both JSON that is short enough and whole.
    NotCompared,
    /// No instance answered the live request.
    NoLive,
}

const OUTCOMES: [Outcome; 10] = [
    Outcome::Sent,
    Outcome::Failed,
    Outcome::Dropped(Dropped::Body),
    Outcome::Dropped(Dropped::Memory),
    Outcome::Dropped(Dropped::Busy),
    Outcome::Dropped(Dropped::NoPlace),
    Outcome::Dropped(Dropped::NoInstance),
    Outcome::Dropped(Dropped::Path),
    Outcome::Dropped(Dropped::Unfinished),
    Outcome::Dropped(Dropped::Drain),
];

const COMPARED: [&str; 5] = ["same", "status", "answer", "not_compared", "no_live"];

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Outcome::Sent => "sent",
            Outcome::Failed => "failed",
            Outcome::Dropped(Dropped::Body) => "dropped_body",
            Outcome::Dropped(Dropped::Memory) => "dropped_memory",
            Outcome::Dropped(Dropped::Busy) => "dropped_busy",
            Outcome::Dropped(Dropped::NoPlace) => "dropped_no_place",
            Outcome::Dropped(Dropped::NoInstance) => "dropped_no_instance",
            Outcome::Dropped(Dropped::Path) => "dropped_path",
            Outcome::Dropped(Dropped::Unfinished) => "dropped_unfinished",
            Outcome::Dropped(Dropped::Drain) => "dropped_drain",
        }
    }
}

impl Compared {
    fn label(&self) -> &'static str {
        match self {
            Compared::Same => "same",
            Compared::Status => "status",
            Compared::Answer(_) => "answer",
            Compared::NotCompared => "not_compared",
            Compared::NoLive => "no_live",
        }
    }
}

/// A copy whose status or answer was another than the live one's. No value of either answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// When, Unix seconds.
    pub time: i64,
    /// The request's id, which both answers and the access record have.
    pub request_id: String,
    /// Both statuses: the live one, the shadow's.
    pub statuses: (u16, u16),
    /// Where the answers differ, if the statuses do not.
    pub difference: Option<Difference>,
}

#[derive(Debug, Default)]
struct Last {
    /// Times of both: the live one's, the shadow's.
    times: VecDeque<(Duration, Duration)>,
    noted: VecDeque<Noted>,
}

/// What is known of the copies of one endpoint for one shadow, since the gateway started.
///
/// Copies are counted here and nowhere else: `scoregate_requests_total`, the durations and the requests in flight of a
/// shadow are of requests that were sent to it by name, so that no copy passes for somebody's request.
#[derive(Debug)]
pub struct Tally {
    outcomes: [IntCounter; OUTCOMES.len()],
    compared: [IntCounter; COMPARED.len()],
    times: [Histogram; 2],
    last: Mutex<Last>,
}

/// Times of half and of nearly all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half were this quick.
    pub p50: Duration,
    /// 95 of a hundred were.
    pub p95: Duration,
}

/// What a tally says.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Copies by what became of them.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Answered copies by how they compare.
    pub compared: Vec<(&'static str, u64)>,
    /// Times of both for the last copies that were compared: the live one's, the shadow's.
    pub times: Option<(Quantiles, Quantiles)>,
    /// The last differences, the latest first.
    pub noted: Vec<Noted>,
}

impl Report {
    /// How many copies were compared to this result, or ended so.
    pub fn count(counts: &[(&'static str, u64)], label: &str) -> u64 {
        counts.iter().filter(|(name, _)| *name == label).map(|(_, count)| count).sum()
    }
}

impl Tally {
    /// The tally of an endpoint for a shadow.
    pub fn new(metrics: &Metrics, endpoint: &str, shadow: &str) -> Tally {
        let outcome =
            |outcome: Outcome| metrics.mirror.with_label_values(&[endpoint, shadow, outcome.label()]);
        let compared = |label| metrics.mirror_compared.with_label_values(&[endpoint, shadow, label]);
        let times = |side| metrics.mirror_time.with_label_values(&[endpoint, shadow, side]);
        Tally {
            outcomes: OUTCOMES.map(outcome),
            compared: COMPARED.map(compared),
            times: ["live", "shadow"].map(times),
            last: Mutex::default(),
        }
    }

    /// Counts a copy.
    pub fn count(&self, outcome: Outcome) {
        let found = OUTCOMES.iter().zip(&self.outcomes).find(|(known, _)| **known == outcome);
        if let Some((_, counter)) = found {
            counter.inc();
        }
    }

    /// Keeps the times of an answered copy: the live one's, the shadow's.
    pub fn took(&self, live: Duration, shadow: Duration) {
        let [of_live, of_shadow] = &self.times;
        of_live.observe(live.as_secs_f64());
        of_shadow.observe(shadow.as_secs_f64());
        let times = &mut self.last.lock().times;
        if times.len() >= TIMES {
            times.pop_front();
        }
        times.push_back((live, shadow));
    }

    /// Counts a comparison, and keeps what there is to look into.
    pub fn compared(&self, compared: Compared, noted: impl FnOnce(Option<Difference>) -> Noted) {
        let found = COMPARED.iter().zip(&self.compared).find(|(label, _)| **label == compared.label());
        if let Some((_, counter)) = found {
            counter.inc();
        }
        let mut noted = match compared {
            Compared::Status => noted(None),
            Compared::Answer(difference) => noted(Some(difference)),
            Compared::Same | Compared::NotCompared | Compared::NoLive => return,
        };
        if let Some(difference) = &mut noted.difference {
            difference.pointer = difference.pointer.chars().take(POINTER).collect();
        }
        let kept = &mut self.last.lock().noted;
        if kept.len() >= DIFFERENCES {
            kept.pop_front();
        }
        kept.push_back(noted);
    }

    /// What it says now.
    pub fn report(&self) -> Report {
        let last = self.last.lock();
        let (live, shadow): (Vec<_>, Vec<_>) = last.times.iter().copied().unzip();
        Report {
            outcomes: OUTCOMES.iter().zip(&self.outcomes).map(|(o, c)| (o.label(), c.get())).collect(),
            compared: COMPARED.iter().zip(&self.compared).map(|(label, c)| (*label, c.get())).collect(),
            times: quantiles(live).zip(quantiles(shadow)),
            noted: last.noted.iter().rev().cloned().collect(),
        }
    }
}

/// Quantiles by the nearest rank.
fn quantiles(mut times: Vec<Duration>) -> Option<Quantiles> {
    times.sort_unstable();
    let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).saturating_sub(1)).copied();
    Some(Quantiles { p50: rank(50)?, p95: rank(95)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::compare::Kind;

    fn tally() -> Tally {
        Tally::new(&Metrics::new().unwrap(), "ep", "green")
    }

    fn noted(number: i64) -> impl FnOnce(Option<Difference>) -> Noted {
        move |difference| Noted {
            time: number,
            request_id: number.to_string(),
            statuses: (200, 200),
            difference,
        }
    }

    #[test]
    fn every_outcome_and_result_has_a_counter_of_its_own() {
        let tally = tally();
        let difference = Difference { pointer: "/a".to_owned(), kind: Kind::Value };
        for outcome in OUTCOMES {
            tally.count(outcome);
        }
        let results = [Compared::Same, Compared::Status, Compared::Answer(difference), Compared::NotCompared];
        for compared in results.into_iter().chain([Compared::NoLive]) {
            tally.compared(compared, noted(1));
        }
        let report = tally.report();
        assert!(report.outcomes.iter().chain(&report.compared).all(|(_, count)| *count == 1), "{report:?}");
        assert_eq!(report.noted.len(), 2, "what is the same is not noted");
    }

    #[test]
    fn the_last_are_kept_and_no_more() {
        let tally = tally();
        for number in 0..100 {
            tally.compared(Compared::Status, noted(number));
        }
        let times: Vec<i64> = tally.report().noted.iter().map(|noted| noted.time).collect();
        assert_eq!(times, (80..100).rev().collect::<Vec<_>>());
        let pointer = "/a".repeat(1_000);
        tally.compared(Compared::Answer(Difference { pointer, kind: Kind::Value }), noted(1));
        let report = tally.report();
        assert_eq!(report.noted[0].difference.as_ref().unwrap().pointer.len(), POINTER);
        for _ in 0..TIMES * 2 {
            tally.took(Duration::from_secs(1), Duration::from_secs(1));
        }
        assert_eq!(tally.last.lock().times.len(), TIMES);
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let of = |millis: &[u64]| quantiles(millis.iter().copied().map(Duration::from_millis).collect());
        let ms = Duration::from_millis;
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some(Quantiles { p50: ms(7), p95: ms(7) }));
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(of(&hundred), Some(Quantiles { p50: ms(50), p95: ms(95) }));
    }
}
