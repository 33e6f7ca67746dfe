//! The composition: the one place where the parts are built and joined, started and stopped.

mod admin;
mod batch;
mod certificate;
mod control_plane;
mod data_plane;
mod files;
mod gateway;
mod generation;
mod issuers;
mod reload;
mod serving;
mod state;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;

use self::serving::End;
use self::tasks::Tasks;
use crate::clock::Clock;
use crate::net::listener;
use crate::settings::Settings;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;

pub use gateway::Gateway;
pub use reload::Configuration;
pub use state::{open_store, open_vault};

/// Why a gateway did not start: what could not be done, and why.
pub type StartError = anyhow::Error;

/// What every part of a gateway stands on.
#[derive(Debug, Clone)]
struct Base {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    health: Health,
    metrics: Metrics,
    tasks: Tasks,
    end: End,
}

fn bind(
    what: &str,
    address: SocketAddr,
    sockets: usize,
) -> Result<(SocketAddr, Vec<std::net::TcpListener>), StartError> {
    listener::bind(address, sockets)
        .with_context(|| format!("the {what} cannot listen on {address}; free the port or choose another"))
}
