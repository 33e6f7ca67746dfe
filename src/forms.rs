//! Documents: a tree in which every value knows its place, read from strict YAML or from the JSON that clients send,
//! and a form that reads typed values from it and collects every mistake instead of stopping at the first.

mod form;
mod json;
mod mistake;
mod node;
mod scalar;

pub use form::{Entry, Form, Reading};
pub use json::{JsonError, parse_json};
pub use mistake::{Mistake, Mistakes};
pub use node::{Kind, Node, parse_all};
pub use scalar::{IsoDuration, Millis, Percent, Scalar, Seconds};
