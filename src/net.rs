//! The way in: sockets, TLS, and HTTP connections that are strict, bounded and end in time.
//!
//! [`guard`] stands between the socket and hyper's parser and lets through only what [`framing`] (HTTP/1) and
//! [`frames`] (HTTP/2) find beyond doubt.

pub mod address;
mod burst;
pub mod conn;
pub mod frames;
pub mod framing;
pub mod guard;
pub mod listener;
pub mod own_ca;
mod pace;
pub mod proxy_protocol;
pub mod serve;
pub mod switch;
pub mod tls;
