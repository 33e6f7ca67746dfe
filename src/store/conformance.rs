//! What every store promises, as suites that each of them has to pass.

mod items;
mod jobs;
mod resources;

use std::sync::Arc;

use super::chain::Chain;
use super::jobs::JobStore;

pub(crate) use resources::{commit, put, run, survives_reopening};

/// The suites of a store of jobs, as two processes have it; `fresh` makes one in which nothing is.
pub(crate) async fn run_jobs(fresh: impl AsyncFn() -> [Arc<dyn JobStore>; 2]) {
    jobs::run(&fresh).await;
    items::run(&fresh).await;
}

/// The chain of every store here.
pub(crate) fn chain() -> Chain {
    Chain::new(&[7; 32])
}
