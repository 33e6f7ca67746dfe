//! Data stores and their secrets.

use super::{Outcome, placeholder, removed, status};
use crate::arm::datastore::{self, DatastoreView, SecretsView};
use crate::arm::resource::agrees;
use crate::control::Control;
use crate::control::answer::{ApiError, Reply};
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::datastore::{DEFAULT_STORE, Datastore};
use crate::model::scope::Scope;
use crate::operations::{Granted, Refusal};
use crate::store::Stored;

pub(in crate::control) fn describe(form: &Form<'_>) {
    if let (Some(place), Ok(name)) = (placeholder(), "name".parse()) {
        datastore::read(form, &name, &place.workspace, None);
    }
}

pub(in crate::control) fn describe_secrets(form: &Form<'_>) {
    // Azure's secrets may end by themselves; these do not.
    form.carried("expirableSecret");
    form.carried("expireAfterHours");
}

impl Control {
    fn show_datastore(
        &self,
        id: &Scope,
        shown: &Datastore,
        stored: Option<&Stored>,
    ) -> Result<DatastoreView, Refusal> {
        let kind = self.operations.credential_kind(id, shown)?;
        Ok(datastore::view(shown, id, kind, stored.map(|stored| &stored.system)))
    }
}

pub(in crate::control) async fn get(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let found = control.operations.datastore(&granted.scope).await?;
    let found = found.ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
    let view = control.show_datastore(&granted.scope, &found.store, found.stored.as_deref())?;
    Ok(Reply::ok(view)?.tagged(found.stored.map(|stored| stored.revision)))
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let workspace = &granted.scope;
    control.operations.workspace(workspace).ok_or_else(|| Refusal::NotFound(workspace.clone()))?;
    let default = match call.query("isDefault").map(str::to_ascii_lowercase).as_deref() {
        None | Some("") => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => {
            let message = "`isDefault` is true or false";
            return Err(ApiError::bad("BadArgument", message, Some("isDefault")).into());
        }
    };
    let names: Option<Vec<&str>> = call.query("names").map(|names| names.split(',').map(str::trim).collect());
    let wanted = |store: &Datastore| {
        let name = store.name.to_string();
        default.is_none_or(|default| default == (name == DEFAULT_STORE))
            && names
                .as_ref()
                .is_none_or(|names| names.iter().any(|wanted| wanted.eq_ignore_ascii_case(&name)))
    };
    let mut items = control.operations.datastores_of(workspace);
    items.retain(|(_, found)| wanted(&found.store));
    let size = size(call, &["count"], 100)?;
    let page = control.page(call, items, Order::Ascending, size, |found| {
        let id = workspace.datastore(&found.store.name);
        control.show_datastore(&id, &found.store, found.stored.as_deref())
    })?;
    let value = page.value.into_iter().collect::<Result<Vec<DatastoreView>, Refusal>>()?;
    Ok(Reply::ok(crate::arm::envelope::Page { value, next_link: page.next_link })?)
}

pub(in crate::control) async fn put(control: &Control, call: &Call, granted: Granted) -> Outcome {
    let operations = &control.operations;
    let workspace = operations.workspace_of(&call.workspace())?;
    let before = operations.datastore(&granted.scope).await?.and_then(|found| found.stored);
    let known = before.as_deref().and_then(|stored| stored.resource.datastore());
    let name = match known {
        Some(known) => known.name.clone(),
        None => call.name("datastore")?,
    };
    let described = call.read(|form| {
        agrees(form, &granted.scope);
        datastore::read(form, &name, &workspace.place, known)
    })?;
    let written = operations.put_datastore(&granted, before.clone(), described, &call.precondition).await?;
    let stored = &written.stored;
    let shown = stored.resource.datastore().ok_or(Refusal::Defect)?;
    let view = control.show_datastore(&granted.scope, shown, Some(stored))?;
    Ok(Reply::with(status(&written), view)?.tagged(stored.revision))
}

pub(in crate::control) async fn delete(control: &Control, call: &Call, granted: Granted) -> Outcome {
    Ok(removed(control.operations.delete_datastore(&granted, &call.precondition).await?))
}

pub(in crate::control) async fn secrets(control: &Control, call: &Call, granted: Granted) -> Outcome {
    if call.has_body() {
        call.read(|form| {
            describe_secrets(form);
            Some(())
        })?;
    }
    let credential = control.operations.datastore_secrets(&granted).await?;
    Ok(Reply::ok(SecretsView::of(&credential))?)
}
