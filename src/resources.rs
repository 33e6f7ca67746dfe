//! Resources as YAML files: `az ml`'s own form for endpoints and deployments, read strictly, converged whole.

mod converge;
mod deployment;
mod directory;
mod document;
pub mod written;

pub use converge::{ConvergeError, Converged, converge};
pub use directory::{Directory, Fingerprint};
pub use document::{AssignmentDocument, Document};
