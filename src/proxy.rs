//! The data plane: a request's whole way, from its head to the last byte of its answer.
//!
//! `pipeline.rs` reads from top to bottom like the table in ARCHITECTURE.md.

mod aim;
mod dispatch;
pub mod headers;
mod pipeline;
pub mod receive;
mod relay;
mod respond;
pub mod worker;

pub use pipeline::{Pipeline, Rules};
