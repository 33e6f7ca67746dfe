//! map
pub mod clock;
pub mod identity;
pub mod model;
pub mod rbac;
pub mod settings;
pub mod yaml;
