//! The control plane: Azure Resource Manager's REST API over [`crate::operations`].
//!
//! `table` lists every operation with the right that it needs; `route` finds the one that a request means;
//! `serve` takes a request through authentication, authorization and its handler. A handler that touches a resource
//! takes a [`crate::operations::Granted`], so that an operation without a right in the table cannot be written.

mod answer;
mod authenticate;
mod call;
mod etag;
mod openapi;
mod paging;
mod places;
mod resources;
mod route;
mod serve;
mod table;

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::batch::Desk;
use crate::gate::failures::Failures;
use crate::identity::token::TokenVerifier;
use crate::operations::Operations;
use crate::telemetry::metrics::Metrics;

pub use places::Places;

/// Addresses by which clients reach the gateway, and where they get tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The control plane's, without a slash at the end.
    pub control: String,
    /// The data plane's, without a slash at the end.
    pub data: String,
    /// The authority's, and the tenant there, if there is one.
    pub authority: Option<(String, String)>,
    /// The audience that clients should ask for.
    pub audience: String,
}

/// The control plane.
#[derive(Debug)]
pub struct Control {
    /// What can be done.
    pub operations: Arc<Operations>,
    /// Keeps batch jobs.
    pub desk: Arc<Desk>,
    /// Judges tokens for managing.
    pub tokens: TokenVerifier,
    /// Addresses that fail too often.
    pub failures: Failures,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Where it is counted.
    pub metrics: Metrics,
    /// Bounds of heads and bodies.
    pub bounds: Bounds,
    /// Places for operations that are being worked on.
    pub places: Places,
}

/// Bounds of a request to the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a body.
    pub body: usize,
    /// Time for a body.
    pub time: std::time::Duration,
    /// Time for a whole request with its answer.
    pub total: std::time::Duration,
}

/// The OpenAPI document, generated from the table of operations once.
pub fn openapi() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);
    &DOCUMENT
}
