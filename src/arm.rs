//! The shapes of Azure Resource Manager: nouns to and from the JSON of its REST API. No I/O, no decisions.
//!
//! Bodies are read by the same forms as YAML, in any case and with unknown names let stand, because that is how
//! Microsoft's own scripts talk to Azure. Views are typed, and OpenAPI's schemas are derived from them.

pub mod access;
pub mod asset;
pub mod batch_deployment;
pub mod batch_endpoint;
pub mod datastore;
pub mod deployment;
pub mod endpoint;
pub mod envelope;
pub mod extension;
pub mod invocation;
pub mod job;
pub mod mirror;
pub mod resource;
pub mod role;
#[cfg(test)]
mod testing;
pub mod workspace;

/// The `api-version`s that are served; the shapes are the same in all of them. Azure's own, as its clients send them.
pub const API_VERSIONS: &[&str] = &[
    "2019-05-01",
    "2020-08-01",
    "2020-09-01-dataplanepreview",
    "2021-04-01",
    "2022-02-01-preview",
    "2022-04-01",
    "2022-05-01",
    "2022-05-01-preview",
    "2022-09-01",
    "2022-10-01",
    "2022-12-01",
    "2023-02-01-preview",
    "2023-04-01",
    "2023-04-01-preview",
    "2023-08-01-preview",
    "2023-10-01",
    "2024-01-01-preview",
    "2024-04-01",
    "2024-10-01",
    "2024-10-01-preview",
    "2024-11-01",
    "2025-04-01",
    "2025-06-01",
    "2025-09-01",
];

/// The version that new clients should send.
pub const API_VERSION: &str = "2024-10-01";

/// The provider of workspaces, endpoints and deployments.
pub const PROVIDER: &str = "Microsoft.MachineLearningServices";
