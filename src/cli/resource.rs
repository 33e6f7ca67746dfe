//! What commands do with a resource of any kind: show it, list, make, change and delete it.

use std::path::Path;

use serde_json::Value;

use super::context::{Context, confirm};
use super::edit;
use super::failure::Failure;
use super::file;
use super::output::Columns;
use super::shape::{Noun, is_made};
use crate::forms::Node;
use crate::model::workspace::Workspace;

/// Prints a view of the server's.
pub fn print<T: Noun>(context: &Context, view: &Value, columns: Columns) -> Result<(), Failure> {
    context.printer.print(&T::shown(view)?, columns)
}

/// Shows the resource at a path.
pub async fn show<T: Noun>(context: &Context, path: &str, columns: Columns) -> Result<(), Failure> {
    print::<T>(context, &context.client.get(path).await?, columns)
}

/// Lists the resources at a path.
pub async fn list<T: Noun>(context: &Context, path: &str, columns: Columns) -> Result<(), Failure> {
    let found = context.client.list(path).await?;
    let shown = found.iter().map(T::shown).collect::<Result<Vec<Value>, _>>()?;
    context.printer.print(&Value::from(shown), columns)
}

/// Makes a resource; `already` is told of one that is there.
pub async fn make<T: Noun>(
    context: &Context,
    path: &str,
    wanted: &T,
    location: &str,
    already: String,
) -> Result<Value, Failure> {
    let there =
        async || Ok::<_, Failure>(context.client.find(path).await?.is_some_and(|found| is_made(&found)));
    if there().await? {
        return Err(Failure::Failed(already));
    }
    match context.client.put_new(path, &wanted.body(location)).await {
        // Somebody else made it meanwhile, or took away what it needs.
        Err(error) if error.status() == Some(412) && there().await? => Err(Failure::Failed(already)),
        made => Ok(made?),
    }
}

/// Changes a resource: `edit` is given its document, and the file that it lays over that, if any, is told in mistakes.
/// `missing` is told of one that is not there. What others write meanwhile is not overwritten.
pub async fn change<T: Noun>(
    context: &Context,
    path: &str,
    workspace: &Workspace,
    file: Option<&Path>,
    missing: String,
    edit: impl FnOnce(&mut Node) -> Result<(), Failure>,
) -> Result<Value, Failure> {
    let found = context.client.find_tagged(path).await?;
    let (view, tag) = found.ok_or(Failure::NotFound(missing))?;
    let mut node = edit::node(&T::seen(&view)?.written())?;
    edit(&mut node)?;
    let wanted: T = file::noun(file, node, workspace)?;
    let location = view.get("location").and_then(Value::as_str).unwrap_or(&workspace.location);
    Ok(context.client.put_over(path, &wanted.body(location), tag.as_deref()).await?)
}

/// Deletes a resource, asking before if a person can be asked; `missing` is told of one that is not there.
pub async fn delete(
    context: &Context,
    path: &str,
    yes: bool,
    what: &str,
    missing: String,
) -> Result<(), Failure> {
    confirm(yes, what)?;
    context.client.delete(path).await?.map(drop).ok_or(Failure::NotFound(missing))
}
