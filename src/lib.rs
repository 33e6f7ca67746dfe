//! scoregate: an authorizing gateway in front of model servers.
//!
//! The modules are ranked, and each uses only those of a lower rank (`tests/architecture.rs` holds them to it):
//!
//! | rank | modules | |
//! |---|---|---|
//! | 0 | [`model`], [`clock`] | nouns and time: no I/O, no async |
//! | 1 | [`rbac`], [`forms`] | rules: who may do what; documents with places |
//! | 2 | [`settings`] | what an operator can set |
//! | 3 | [`identity`], [`store`] | who calls; what is kept |
//! | 4 | [`telemetry`], [`arm`] | what the gateway says about itself; the shapes of Azure Resource Manager |
//! | 5 | [`mirror`] | what copies of requests need: bodies kept, answers compared, counts |
//! | 6 | [`net`], [`upstream`], [`resources`], [`artifacts`] | the way in; the way to instances; resources as files; what batch jobs read and write |
//! | 7 | [`routing`] | the snapshot: everything that a request needs, in tables |
//! | 8 | [`gate`], [`publish`] | the decision about a request; from the store to the snapshot |
//! | 9 | [`proxy`], [`operations`] | a scoring request's whole way; what can be done to resources |
//! | 10 | [`batch`] | jobs: taken in, led, scored, put together |
//! | 11 | [`control`] | the REST API over the operations |
//! | 12 | [`app`] | the composition |
//! | 13 | [`dev`] | a gateway with all its surroundings, for trying |
//! | 14 | [`cli`] | the command line |
//!
//! To follow a scoring request, begin at [`proxy`]; ARCHITECTURE.md walks through it file by file.

#![cfg_attr(
    test,
    allow(
        clippy::string_slice,
        clippy::cast_precision_loss,
        clippy::format_push_string,
        reason = "tests may fail"
    )
)]

pub mod app;
pub mod arm;
pub mod artifacts;
pub mod batch;
pub mod cli;
pub mod clock;
pub mod control;
pub mod dev;
pub mod forms;
pub mod gate;
pub mod identity;
pub mod instances;
pub mod mirror;
pub mod model;
pub mod net;
pub mod operations;
pub mod proxy;
pub mod publish;
pub mod rbac;
pub mod resources;
pub mod routing;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod upstream;
