//! The data plane: a request's whole way, from its head to the last byte of its answer.
//!
//! `pipeline.rs` reads from top to bottom like the table in ARCHITECTURE.md.

mod aim;
mod cors;
mod dispatch;
mod grpc;
pub mod headers;
pub mod jobs;
mod mirror;
mod pipeline;
pub mod receive;
mod relay;
mod respond;
mod tunnel;
mod websocket;
mod work;
pub mod worker;

pub use mirror::Mirroring;
pub use pipeline::{Pipeline, Rules};
pub use work::{Work, Worked};
