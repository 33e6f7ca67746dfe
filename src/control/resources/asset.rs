//! Models and environments by reference.

use super::{Outcome, status};
use crate::arm::asset;
use crate::arm::resource::agrees;
use crate::control::Control;
use crate::control::answer::Reply;
use crate::control::call::Call;
use crate::control::paging::{Order, size};
use crate::forms::Form;
use crate::model::asset::AssetKind;
use crate::operations::{Granted, Refusal};

pub(in crate::control) fn describe(form: &Form<'_>) {
    form.needs("properties");
    form.carried("properties");
}

pub(in crate::control) async fn get(control: &Control, _call: &Call, granted: Granted) -> Outcome {
    let stored = control.operations.stored(&granted.scope).await?;
    let stored = stored.ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
    let shown = stored.resource.asset().ok_or_else(|| Refusal::NotFound(granted.scope.clone()))?;
    let view = asset::view(shown, &granted.scope, &stored.system);
    Ok(Reply::ok(view)?.tagged(stored.revision))
}

pub(in crate::control) async fn list(control: &Control, call: &Call, granted: Granted) -> Outcome {
    // Azure's client leaves the prefix of a short reference in the name.
    let plain = granted.scope.to_string().replace("/azureml:", "/");
    let scope = plain.parse().map_err(|_| Refusal::NotFound(granted.scope.clone()))?;
    let items = control.operations.assets_below(&scope);
    let size = size(call, &["$top"], 100)?;
    let newest = call.query("$orderBy").is_some_and(|order| order.to_ascii_lowercase().contains("desc"));
    let by_time = items.into_iter().map(|(key, stored)| {
        let key = if newest { format!("{} {key}", stored.system.created_at) } else { key };
        (key, stored)
    });
    let order = if newest { Order::Descending } else { Order::Ascending };
    let page = control.page(call, by_time.collect(), order, size, |stored| {
        stored.resource.asset().map(|shown| asset::view(shown, &shown.id, &stored.system))
    })?;
    Ok(Reply::ok(page)?)
}

pub(in crate::control) async fn put_model(control: &Control, call: &Call, granted: Granted) -> Outcome {
    put(control, call, granted, AssetKind::Model).await
}

pub(in crate::control) async fn put_environment(control: &Control, call: &Call, granted: Granted) -> Outcome {
    put(control, call, granted, AssetKind::Environment).await
}

async fn put(control: &Control, call: &Call, granted: Granted, kind: AssetKind) -> Outcome {
    let described = call.read(|form| {
        agrees(form, &granted.scope);
        asset::read(form, &granted.scope, kind)
    })?;
    let operations = &control.operations;
    let written = operations.put_asset(&granted, &call.workspace(), described, &call.precondition).await?;
    let shown = written.stored.resource.asset().ok_or(Refusal::Defect)?;
    let view = asset::view(shown, &granted.scope, &written.stored.system);
    Ok(Reply::with(status(&written), view)?.tagged(written.stored.revision))
}
