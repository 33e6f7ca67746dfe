//! The composition: the one place where the parts are built and joined, started and stopped.

mod admin;
mod data_plane;
mod gateway;
mod tasks;

pub use gateway::{Gateway, StartError};
