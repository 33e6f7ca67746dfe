//! The nouns: names, scopes, endpoints, deployments, traffic, roles, data stores, jobs. Valid by construction, no I/O.

pub mod asset;
pub mod audit;
pub mod backend;
pub mod batch;
pub mod datastore;
pub mod deployment;
pub mod endpoint;
pub mod job;
pub mod names;
pub mod paths;
pub mod resource;
pub mod role;
pub mod scope;
pub mod token_key;
pub mod traffic;
pub mod workspace;
