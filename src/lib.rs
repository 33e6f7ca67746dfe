//! map
pub mod clock;
pub mod identity;
pub mod model;
pub mod net;
pub mod rbac;
pub mod routing;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod yaml;
