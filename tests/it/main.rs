//! Black-box tests of the gateway: real sockets, real TLS, real servers, each on a free port.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "tests may fail"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod front_door;
<<<<<<< ours
mod real_servers;
=======
mod limits;
mod messages;
>>>>>>> theirs
