//! The nouns: names, scopes, endpoints, deployments, traffic, roles. Valid by construction, no I/O.

pub mod deployment;
pub mod endpoint;
pub mod names;
pub mod resource;
pub mod role;
pub mod scope;
pub mod traffic;
