//! Strict YAML: a tree in which every value knows its line, and a form that reads typed values from it
//! and collects every mistake with its place instead of stopping at the first.

mod form;
mod mistake;
mod node;
mod scalar;

pub use form::{Entry, Form, Reading};
pub use mistake::{Mistake, Mistakes};
pub use node::{Kind, Node, parse_all};
pub use scalar::{Millis, Scalar, Seconds};
