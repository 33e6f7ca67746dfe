//! A good client: sends requests at a fixed rate on connections that it keeps, whatever else goes on, and counts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::Raw;

/// What became of its requests.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests that were sent.
    pub sent: usize,
    /// Those that were not answered 200, by what came instead.
    pub failed: BTreeMap<String, usize>,
    /// The longest that an answer took.
    pub slowest: Duration,
}

impl Tally {
    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} requests, {} failed, slowest {} ms",
            self.sent,
            self.failures(),
            self.slowest.as_millis()
        )?;
        if self.failed.is_empty() { Ok(()) } else { write!(f, ": {:?}", self.failed) }
    }
}

/// A good client at work.
pub struct Steady {
    tally: Arc<Mutex<Tally>>,
    work: Vec<JoinHandle<()>>,
}

impl Steady {
    /// Sends this message again and again, so many times a second on each of so many connections.
    pub fn start(address: SocketAddr, message: &str, connections: usize, per_second: u32) -> Steady {
        let tally = Arc::<Mutex<Tally>>::default();
        let work = (0..connections).map(|_| {
            let (tally, message) = (tally.clone(), message.to_owned());
            tokio::spawn(async move {
                let mut kept = None;
                let mut pace = tokio::time::interval(Duration::from_secs(1) / per_second);
                loop {
                    pace.tick().await;
                    let mut raw = match kept.take() {
                        Some(raw) => raw,
                        None => Raw::connect(address).await,
                    };
                    let began = Instant::now();
                    raw.say(&message).await;
                    let answer = raw.hear().await;
                    let mut tally = tally.lock();
                    tally.sent += 1;
                    tally.slowest = tally.slowest.max(began.elapsed());
                    match answer {
                        Some(answer) if answer.status == 200 => {
                            kept = answer.field("connection").is_none().then_some(raw);
                        }
                        Some(answer) => {
                            let what = format!("{} {}", answer.status, answer.reason().unwrap_or("-"));
                            *tally.failed.entry(what).or_default() += 1;
                        }
                        None => *tally.failed.entry("no answer".to_owned()).or_default() += 1,
                    }
                }
            })
        });
        Steady { work: work.collect(), tally }
    }

    /// What became of its requests since this was asked last.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock())
    }

    /// What became of its requests so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.work.iter().for_each(JoinHandle::abort);
    }
}
