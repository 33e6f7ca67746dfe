//! What carries the operations out: reads what is asked for, calls [`crate::operations`], shows what came of it.

pub(super) mod access;
pub(super) mod asset;
pub(super) mod batch_deployment;
pub(super) mod batch_endpoint;
pub(super) mod datastore;
pub(super) mod deployment;
pub(super) mod endpoint;
pub(super) mod job;
pub(super) mod meta;
pub(super) mod noun;
pub(super) mod role;
pub(super) mod workspace;

use http::StatusCode;

use super::Control;
use super::answer::Reply;
use super::serve::Failed;
use crate::arm::deployment::Place;
use crate::forms::Form;
use crate::model::scope::WorkspaceRef;
use crate::operations::Written;

type Outcome = Result<Reply, Failed>;

/// The status of a write.
fn status(written: &Written) -> StatusCode {
    if written.created { StatusCode::CREATED } else { StatusCode::OK }
}

/// Names for readers that are to describe themselves and have no path.
fn placeholder() -> Option<Place> {
    let word = || "name".to_owned();
    let workspace = WorkspaceRef { subscription: word(), resource_group: word(), name: word() };
    Some(Place { workspace, endpoint: "name".parse().ok()?, name: "name".parse().ok()? })
}

/// Describes the labels of a PATCH.
fn describe_tags(form: &Form<'_>) {
    form.pairs::<String>("tags", "The user's labels; they replace those there are.");
}

/// The status of a removal.
fn removed(was_there: bool) -> Reply {
    Reply::empty(if was_there { StatusCode::OK } else { StatusCode::NO_CONTENT })
}

impl Control {
    /// The region of a workspace, as what is in it shows it.
    fn location(&self, workspace: &WorkspaceRef) -> String {
        let workspace = self.operations.workspace_of(workspace);
        workspace.map_or_else(|_| "local".to_owned(), |workspace| workspace.location)
    }
}
