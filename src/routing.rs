//! Where requests go: the immutable view of all resources that the data plane reads, compiled from the store's
//! contents and swapped whole.

mod budget;
mod changed;
mod compile;
mod pick;
mod snapshot;
mod split;

pub use changed::Changed;
pub use compile::{CompileError, Compiler};
pub use pick::least_loaded;
pub use snapshot::{AuthRoute, DeploymentRoute, EndpointRoute, Snapshot, SnapshotCell};
pub use split::{Split, Turns};
