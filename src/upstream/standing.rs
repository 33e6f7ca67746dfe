//! Whether an instance gets requests, and how fast it was of late. Read for every request, so atomics only.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Why an instance gets no requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Out {
    /// It has not been ready since it was started.
    Starting = 1,
    /// It says that it is not ready.
    Unready = 2,
    /// It failed too often while others did not.
    Ejected = 4,
    /// It is being stopped.
    Leaving = 8,
    /// It does not live.
    Dead = 16,
}

/// How strongly the past counts in an instance's latency: a half of it is forgotten in two seconds.
const MEMORY: f64 = 3.0;

/// The standing of one instance.
#[derive(Debug)]
pub struct Standing {
    made: Instant,
    /// Bits of [`Out`]; none if it gets requests.
    out: AtomicU8,
    /// Milliseconds since `made` at which it came back, plus one; 0 if it was never away.
    back: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
    /// Answers and failures since they were last compared.
    answered: AtomicU32,
    failed: AtomicU32,
    /// Upper half: microseconds until an answer began, averaged. Lower half: milliseconds since `made` at which that was so.
    latency: AtomicU64,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            made: Instant::now(),
            out: AtomicU8::new(0),
            back: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            failed: AtomicU32::new(0),
            latency: AtomicU64::new(0),
        }
    }
}

impl Standing {
    /// Whether it gets requests.
    pub fn is_in(&self) -> bool {
        self.out.load(Ordering::Relaxed) == 0
    }

    /// Whether this is why it gets none, perhaps among others.
    pub fn is(&self, why: Out) -> bool {
        self.out.load(Ordering::Relaxed) & why as u8 != 0
    }

    /// Whether nothing but failures keeps it from getting requests, so that it is better than none.
    pub fn is_only_ejected(&self) -> bool {
        self.out.load(Ordering::Relaxed) == Out::Ejected as u8
    }

    /// How it is doing, in a word.
    pub fn word(&self) -> &'static str {
        let states = [
            (Out::Leaving, "stopping"),
            (Out::Starting, "starting"),
            (Out::Dead, "dead"),
            (Out::Unready, "unready"),
            (Out::Ejected, "ejected"),
        ];
        states.iter().find(|(why, _)| self.is(*why)).map_or("healthy", |(_, word)| word)
    }

    /// Takes it out for a reason. True if that was not so before.
    pub fn take_out(&self, why: Out) -> bool {
        self.out.fetch_or(why as u8, Ordering::Relaxed) & why as u8 == 0
    }

    /// Withdraws a reason. True if it gets requests again; it then begins anew, and slowly.
    pub fn withdraw(&self, why: Out) -> bool {
        let before = self.out.fetch_and(!(why as u8), Ordering::Relaxed);
        let back = before != 0 && before & !(why as u8) == 0;
        if back {
            for count in [&self.failures, &self.answered, &self.failed] {
                count.store(0, Ordering::Relaxed);
            }
            self.back.store(self.now() + 1, Ordering::Relaxed);
        }
        back
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long it has been back; `None` if it was never away.
    pub fn back_for(&self) -> Option<Duration> {
        let back = self.back.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.now().saturating_sub(back)))
    }

    /// An answer of its came to its end.
    pub fn finished(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// It began to answer, after this long.
    pub fn answered(&self, after: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let now = self.now() & u64::from(u32::MAX);
        let known = self.latency.load(Ordering::Relaxed);
        let after = u64::try_from(after.as_micros()).unwrap_or(u64::MAX).clamp(1, u64::from(u32::MAX));
        let latency = if known == 0 { after } else { blend(known >> 32, after, seconds(known, now)) };
        // An update that is lost to another worker's is made up for by the next.
        self.latency.store((latency << 32) | now, Ordering::Relaxed);
    }

    /// It answered that it could not (5xx), which counts only in comparison with others: the request may be to blame.
    pub fn declined(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// It could not be reached, broke off or did not answer in time. Gives the failures in a row.
    pub fn failed(&self) -> u32 {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Requests and failures since this was asked last, and half as many of those before, a quarter, and so on.
    pub fn take_counts(&self) -> (u32, u32) {
        let halve = |count: &AtomicU32| {
            let before = count.load(Ordering::Relaxed);
            // What is lost to a request in between does not matter.
            count.store(before / 2, Ordering::Relaxed);
            before
        };
        (halve(&self.answered), halve(&self.failed))
    }

    /// Microseconds until its answers began of late; what was long ago fades, so that it is tried again. 0 if unknown.
    pub fn latency(&self) -> u64 {
        let known = self.latency.load(Ordering::Relaxed);
        if known == 0 {
            return 0;
        }
        let now = self.now() & u64::from(u32::MAX);
        blend(known >> 32, 0, seconds(known, now))
    }
}

fn seconds(known: u64, now: u64) -> f64 {
    let then = known & u64::from(u32::MAX);
    Duration::from_millis(now.saturating_sub(then)).as_secs_f64()
}

/// An exponentially weighted average over time: the older the known value, the more the new one counts, and a
/// twentieth at least.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate"
)]
fn blend(known: u64, new: u64, seconds: f64) -> u64 {
    let kept = (-seconds / MEMORY).exp();
    let kept = if new == 0 { kept } else { kept.min(0.95) };
    (known as f64 * kept + new as f64 * (1.0 - kept)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_in_once_every_reason_is_withdrawn() {
        let standing = Standing::default();
        assert!(standing.is_in() && standing.back_for().is_none());
        assert!(standing.take_out(Out::Unready) && !standing.take_out(Out::Unready));
        assert!(standing.take_out(Out::Ejected) && !standing.is_only_ejected());
        assert!(!standing.withdraw(Out::Unready));
        assert!(standing.is_only_ejected() && standing.is(Out::Ejected));
        assert!(standing.withdraw(Out::Ejected) && standing.is_in() && standing.back_for().is_some());
        assert!(!standing.withdraw(Out::Ejected), "it was in already");
    }

    #[test]
    fn failures_in_a_row_end_with_a_whole_answer_and_are_counted_beside() {
        let standing = Standing::default();
        assert_eq!((standing.failed(), standing.failed()), (1, 2));
        standing.answered(Duration::from_millis(1));
        standing.finished();
        standing.declined();
        assert_eq!(standing.failed(), 1);
        assert_eq!(standing.take_counts(), (4, 4));
        assert_eq!(standing.take_counts(), (2, 2), "the past fades");
        standing.take_out(Out::Ejected);
        standing.withdraw(Out::Ejected);
        assert_eq!(standing.take_counts(), (0, 0), "and is forgotten by one that comes back");
    }

    #[test]
    fn latency_follows_and_fades() {
        assert_eq!(blend(1000, 2000, 0.0), 1050, "a twentieth at once");
        assert!(blend(1000, 2000, 30.0) > 1990, "after long, the new one alone");
        assert_eq!(blend(1000, 0, 0.0), 1000);
        assert!((495..505).contains(&blend(1000, 0, 2.08)), "a half in two seconds");
    }
}
