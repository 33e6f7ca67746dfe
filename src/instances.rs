//! The upkeep of instances: finding them, running them, asking how they are, letting them come back.
//!
//! [`Keeper`] follows the snapshot and keeps one ward for each deployment that needs more than requests; what the
//! data plane reads of all this is each instance's standing and each fleet's members.

mod keeper;
mod names;
mod output;
mod probe;
mod process;
mod roster;
mod ward;

pub use keeper::Keeper;
pub use process::become_program;
pub use roster::{InstanceState, Roster};
