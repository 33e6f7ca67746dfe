//! Batch: the invocation of a batch endpoint becomes a job, which runs as whoever invoked it.
//!
//! The [`Desk`] takes jobs in: it reads what is asked for, judges all the rights that it needs in one decision, and
//! keeps it. The [`Runner`] carries jobs out, on as many gateways as share the store: one leads a job (`lead`) - lists
//! its files, cuts them into mini-batches, puts the output together - and all of them take up mini-batches
//! (`mini_batch`), which are judged again and go through the data plane like any request. What both work with are the
//! [`Services`].

mod authority;
mod context;
mod desk;
mod lead;
mod manifest;
mod mini_batch;
mod places;
mod runner;
mod secrets;
mod services;
mod tokens;

pub use desk::Desk;
pub use runner::Runner;
pub use services::{Services, Tools};
