//! Resources as YAML files: `az ml`'s own form for endpoints and deployments, read strictly, converged whole.

mod batch;
mod converge;
mod datastore;
mod deployment;
mod directory;
mod document;
mod kind;
pub mod written;

pub use batch::RULES as BATCH_RULES;
pub use converge::{ConvergeError, Converged, converge};
pub use datastore::DatastoreDocument;
pub use directory::{Directory, Fingerprint};
pub use document::{AssignmentDocument, Document};
pub use kind::DocumentKind;
