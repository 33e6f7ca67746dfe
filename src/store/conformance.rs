//! What every store promises, as suites that each of them has to pass.

mod jobs;
mod resources;

use super::chain::Chain;

pub(crate) use jobs::run as run_jobs;
pub(crate) use resources::{commit, put, run, survives_reopening};

/// The chain of every store here.
pub(crate) fn chain() -> Chain {
    Chain::new(&[7; 32])
}
