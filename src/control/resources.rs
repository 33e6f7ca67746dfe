//! What carries the operations out: reads what is asked for, calls [`crate::operations`], shows what came of it.

pub(super) mod access;
pub(super) mod asset;
pub(super) mod deployment;
pub(super) mod endpoint;
pub(super) mod job;
pub(super) mod meta;
pub(super) mod role;
pub(super) mod workspace;

use http::StatusCode;

use super::answer::Reply;
use super::serve::Failed;
use crate::operations::Written;

type Outcome = Result<Reply, Failed>;

/// The status of a write.
fn status(written: &Written) -> StatusCode {
    if written.created { StatusCode::CREATED } else { StatusCode::OK }
}

/// The status of a removal.
fn removed(was_there: bool) -> Reply {
    Reply::empty(if was_there { StatusCode::OK } else { StatusCode::NO_CONTENT })
}
