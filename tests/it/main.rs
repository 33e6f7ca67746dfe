//! Black-box tests of the gateway: real sockets, real TLS, real servers, each on a free port.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::print_stdout,
    reason = "tests may fail"
)]

#[path = "../support/mod.rs"]
mod support;

mod adaptive;
mod answers;
mod artifacts;
mod auth_matrix;
mod batch;
mod chaos;
mod cli;

mod cli_client;
mod control;
mod cors;
mod durability;

mod frames;
mod front_door;
mod fuzz;
mod grpc;
mod instances;
mod lifecycle;
mod limits;
mod messages;
mod mirror;
mod mlflow;
mod multiplexed;
mod openai;
mod openapi;
mod processes;
mod proxy_protocol;
mod rates;
mod real_servers;
mod refused;
mod reload;
mod sdk;
mod shared_store;
mod split;
mod supervised;
mod tls;
mod tokens;
mod websocket;
