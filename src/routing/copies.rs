//! Which requests of an endpoint are copied for its shadow: as exactly as traffic is split, by turns.

use std::sync::Arc;

use super::snapshot::DeploymentRoute;
use super::split::{Split, Turns};
use crate::mirror::Tally;

/// An endpoint's copies.
#[derive(Debug)]
pub struct Copies {
    /// Where they go.
    pub shadow: Arc<DeploymentRoute>,
    /// How many of a hundred requests are copied.
    pub percent: u8,
    /// What is known of them.
    pub tally: Arc<Tally>,
    split: Split,
    turns: Arc<Turns>,
}

impl Copies {
    /// Copies for this shadow. `before` hands on whose turn it is, and what is known if the shadow is the same.
    pub fn new(
        shadow: Arc<DeploymentRoute>,
        percent: u8,
        workers: usize,
        before: Option<&Copies>,
        tally: impl FnOnce() -> Tally,
    ) -> Copies {
        let known = before.filter(|before| before.shadow.key == shadow.key);
        Copies {
            percent,
            tally: known.map_or_else(|| Arc::new(tally()), |known| known.tally.clone()),
            split: Split::new(&[percent, 100_u8.saturating_sub(percent)]),
            turns: before.map_or_else(|| Arc::new(Turns::new(workers)), |before| before.turns.clone()),
            shadow,
        }
    }

    /// Whether this worker's next request is copied.
    pub fn is_next(&self, worker: usize) -> bool {
        self.split.next(&self.turns, worker) == Some(0)
    }
}
