//! What batch jobs read and write: files in data stores and behind https, rows as requests, predictions as files.
//!
//! A job's URI becomes a [`Location`], which the [`Opener`] turns into an [`Input`] or an [`Output`] if the rules of
//! [`egress`] let it. An input lists its files and packs them into requests; an output keeps the predictions of every
//! mini-batch as a part and puts them together, in order, whatever was retried on the way.

mod client;
mod directory;
pub mod egress;
mod error;
mod form;
mod input;
mod location;
mod opener;
mod output;
mod packing;
mod predictions;
mod rows;
mod source;

pub use client::{Lookup, SystemLookup};
pub use egress::{Denied, EgressRules, Reason};
pub use error::{ArtifactError, FileError};
pub use form::OutputForm;
pub use input::Input;
pub use location::{Address, Location, LocationError};
pub use opener::{Opener, StorageTokens};
pub use output::{Assembled, Output, PartWriter, Written};
pub use packing::{Packed, Packing};
pub use predictions::{Prediction, PredictionError, predictions};
