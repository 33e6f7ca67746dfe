//! The gate: endpoint, caller, right to score — decided from the head of a request and one snapshot.
//!
//! The steps are [`matching`], [`authenticate`], [`authorize`] and [`admit`]; each takes what the one before gave, and
//! only the last gives a [`Pass`](admit::Pass), without which nothing can be sent to an instance.

pub mod admit;
pub mod authenticate;
pub mod authorize;
pub mod failures;
pub mod fault;
pub mod jobs;
pub mod matching;

use std::sync::Arc;

use prometheus::IntCounter;

use crate::identity::directory::Directory;
use crate::identity::token::TokenVerifier;
use crate::identity::vault::Vault;
use crate::settings::Unauthorized;
use crate::telemetry::metrics::Metrics;

/// What the gate decides with, besides the snapshot.
#[derive(Debug)]
pub struct Gate {
    /// Judges tokens.
    pub tokens: Arc<TokenVerifier>,
    /// Compares keys.
    pub vault: Arc<Vault>,
    /// Knows groups that do not fit into a token.
    pub directory: Option<Arc<Directory>>,
    /// Addresses that fail too often.
    pub failures: failures::Failures,
    /// Counts decisions.
    pub metrics: Metrics,
    /// Counters of the common case, looked up once.
    pub counts: Counts,
    /// Which endpoint an address means.
    pub addresses: matching::Addresses,
    /// How a caller without the right to score is answered.
    pub unauthorized: Unauthorized,
    /// `WWW-Authenticate` of endpoints that take Entra tokens.
    pub challenge: String,
}

/// Counters of the common case.
#[derive(Debug)]
pub struct Counts {
    /// Decisions to allow.
    pub allowed: IntCounter,
}
