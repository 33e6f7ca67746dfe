//! Resource files of the command line: one document for a command, many for `apply`.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::edit::{drop_field, told};
use super::failure::Failure;
use super::shape::Noun;
use crate::forms::{Mistakes, Node, Reading, parse_all};
use crate::model::workspace::Workspace;
use crate::resources::{Directory, Document};

/// Standard input, written as a file.
const STDIN: &str = "-";

fn read(path: &Path) -> Result<String, Failure> {
    let wrong = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    if path == Path::new(STDIN) {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(wrong)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(wrong)
}

/// The only document of a file.
pub fn one(path: &Path) -> Result<Node, Failure> {
    let mut nodes = parse_all(&path.display().to_string(), &read(path)?).map_err(told)?;
    nodes.retain(|node| !node.is_null());
    match (nodes.pop(), nodes.is_empty()) {
        (Some(node), true) => Ok(node),
        (None, _) => Err(Failure::usage(format!("{} is empty", path.display()))),
        (Some(_), false) => Err(Failure::usage(format!(
            "{} holds several documents; `scoregate apply -f` takes them all",
            path.display()
        ))),
    }
}

/// What a document of a file describes, of which the command knows the kind.
pub fn noun<T: Noun>(file: Option<&Path>, mut node: Node, workspace: &Workspace) -> Result<T, Failure> {
    // Shown by `az`, read by nobody.
    drop_field(&mut node, "resourceGroup");
    let reading =
        Reading::of(&file.map_or_else(|| "command line".to_owned(), |file| file.display().to_string()));
    let base = base(file)?;
    let found = Document::read_as(Some(T::KIND), &reading, &node, &base, std::slice::from_ref(workspace));
    Mistakes::check(reading.finish()).map_err(told)?;
    found.and_then(T::described).ok_or_else(|| Failure::usage("the document describes nothing"))
}

/// Where relative paths of a file begin.
fn base(file: Option<&Path>) -> Result<PathBuf, Failure> {
    let parent = file.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    std::path::absolute(parent.unwrap_or(Path::new("."))).map_err(|error| Failure::failed(error.to_string()))
}

/// Every document of a file or of a directory's files, with where it stands. All that is wrong is told at once.
pub fn all(path: &Path, workspaces: &[Workspace]) -> Result<Vec<(String, Document)>, Failure> {
    if path.is_dir() {
        let path = std::path::absolute(path).map_err(|error| Failure::failed(error.to_string()))?;
        return Directory::new(path, workspaces.to_vec()).read().map_err(told);
    }
    let name = path.display().to_string();
    let reading = Reading::of(&name);
    let base = base(Some(path))?;
    let mut documents = Vec::new();
    for mut node in parse_all(&name, &read(path)?).map_err(told)? {
        drop_field(&mut node, "resourceGroup");
        if !node.is_null()
            && let Some(document) = Document::read(&reading, &node, &base, workspaces)
        {
            documents.push((format!("{name}:{}", node.at.0), document));
        }
    }
    Mistakes::check(reading.finish()).map_err(told)?;
    Ok(documents)
}
