//! Resources as YAML files: `az ml`'s own form for endpoints and deployments, read strictly, converged whole.

mod converge;
mod directory;
mod document;

pub use converge::{ConvergeError, Converged, converge};
pub use directory::{Directory, Fingerprint};
pub use document::Document;
