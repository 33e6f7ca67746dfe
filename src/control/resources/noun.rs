//! What endpoints and deployments of either kind have in common: one is found, shown and listed like another.

use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;
use uuid::Uuid;

use super::{Outcome, status};
use crate::arm::resource::About;
use crate::control::Control;
use crate::control::answer::Reply;
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::model::resource::Resource;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::operations::{Granted, Refusal, Written};
use crate::store::Stored;

/// A kind of what is kept in a workspace, has its region and carries who made it.
pub(in crate::control) trait Noun: Sized {
    /// How ARM shows it.
    type View: Serialize;

    /// What a resource is, if it is of this kind.
    fn of(resource: &Resource) -> Option<&Self>;

    /// The workspace it belongs to.
    fn workspace(&self) -> &WorkspaceRef;

    /// As ARM shows it; `operation` is the one that has just made it so.
    fn view(&self, control: &Control, about: About<'_>, operation: Option<Uuid>) -> Self::View;
}

impl Control {
    /// What is there under an id, which has to be of this kind.
    pub(super) async fn known<N: Noun>(&self, id: &Scope) -> Result<Arc<Stored>, Refusal> {
        let stored = self.operations.stored(id).await?.filter(|stored| N::of(&stored.resource).is_some());
        stored.ok_or_else(|| Refusal::NotFound(id.clone()))
    }

    /// One as it is stored, under the id by which it was asked for.
    pub(super) fn show<N: Noun>(
        &self,
        id: &Scope,
        (stored, noun): (&Stored, &N),
        operation: Option<Uuid>,
    ) -> N::View {
        let location = self.location(noun.workspace());
        noun.view(self, About { id, location: &location, system: &stored.system }, operation)
    }

    /// The answer to a write.
    pub(super) fn written<N: Noun>(&self, id: &Scope, written: &Written) -> Outcome {
        let stored = &written.stored;
        let noun = N::of(&stored.resource).ok_or(Refusal::Defect)?;
        let view = self.show(id, (stored, noun), Some(written.operation));
        Ok(Reply::with(status(written), view)?.tagged(stored.revision))
    }

    /// A page of those below a scope, each under the id that `id` makes of it; `sizes` are the parameters that say how
    /// many there are on it.
    pub(super) fn page_below<N: Noun>(
        &self,
        call: &Call,
        above: &Scope,
        sizes: &[&str],
        id: impl Fn(&N) -> Scope,
    ) -> Outcome {
        let contents = self.operations.publisher.contents();
        let each = contents
            .below(above)
            .filter_map(|(key, stored)| Some((key.to_owned(), (&**stored, N::of(&stored.resource)?))));
        let size = size(call, sizes, 100)?;
        let page = self.page(call, each.collect(), Order::Ascending, size, |(stored, noun)| {
            self.show(&id(noun), (stored, noun), None)
        })?;
        Ok(Reply::ok(page)?)
    }
}

pub(in crate::control) async fn get<N: Noun>(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let stored = control.known::<N>(&granted.scope).await?;
    let noun = N::of(&stored.resource).ok_or(Refusal::Defect)?;
    let view = control.show(&granted.scope, (&stored, noun), None);
    Ok(Reply::with(StatusCode::OK, view)?.tagged(stored.revision))
}
