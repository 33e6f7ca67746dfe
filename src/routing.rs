//! Where requests go: the immutable view of all resources that the data plane reads, compiled from the store's
//! contents and swapped whole.

mod batch;
mod budget;
mod changed;
mod compile;
mod copies;
mod rate;
mod snapshot;
mod split;
mod upkeep;

pub use batch::BatchRoute;
pub use changed::Changed;
pub use compile::{CompileError, Compiler};
pub use copies::Copies;
pub use rate::{EndpointRates, Payer, UsedUp};
pub use snapshot::{AuthRoute, Clocks, DeploymentRoute, EndpointRoute, Snapshot, SnapshotCell};
pub use split::{Split, Turns};
pub use upkeep::{Check, Upkeep};
