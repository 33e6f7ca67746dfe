//! The composition: the one place where the parts are built and joined, started and stopped.

mod admin;
mod control_plane;
mod gateway;
mod serving;
mod tasks;

pub use gateway::{Gateway, StartError, open_store, open_vault};
