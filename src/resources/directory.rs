//! The directory of resource files.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::document::Document;
use crate::forms::{Mistake, Mistakes, Reading, parse_all};
use crate::model::workspace::Workspace;

/// The deepest directory that is looked into, and the most files that are read.
const MAX_DEPTH: usize = 8;
const MAX_FILES: usize = 20_000;

/// A directory of resource files.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    workspaces: Vec<Workspace>,
}

/// What tells one state of a directory from another without reading its files: their places, sizes and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(Vec<(PathBuf, u64, u64, (i64, i64))>);

impl Directory {
    /// A directory whose resources belong to these workspaces.
    pub fn new(path: PathBuf, workspaces: Vec<Workspace>) -> Directory {
        Directory { path, workspaces }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its present state; symbolic links are followed, so that a mounted Kubernetes ConfigMap is seen to change.
    pub fn fingerprint(&self) -> Result<Fingerprint, Mistakes> {
        let mut files = Vec::new();
        self.list(&self.path, 0, &mut files)?;
        let each = files.into_iter().map(|file| {
            let meta = std::fs::metadata(&file).map_err(|error| unreadable(&file, &error))?;
            Ok((file, meta.len(), meta.ino(), (meta.mtime(), meta.mtime_nsec())))
        });
        each.collect::<Result<_, Mistakes>>().map(Fingerprint)
    }

    /// Reads every file. All that is wrong in any of them is told.
    pub fn read(&self) -> Result<Vec<(String, Document)>, Mistakes> {
        let mut files = Vec::new();
        self.list(&self.path, 0, &mut files)?;
        let (mut documents, mut mistakes) = (Vec::new(), Vec::<Mistake>::new());
        for file in files {
            match self.read_file(&file) {
                Ok(found) => documents.extend(found),
                Err(wrong) => mistakes.extend(wrong.into_vec()),
            }
        }
        Mistakes::check(mistakes)?;
        Ok(documents)
    }

    fn read_file(&self, file: &Path) -> Result<Vec<(String, Document)>, Mistakes> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| unreadable(file, &error))?;
        let reading = Reading::of(&name);
        let base = file.parent().unwrap_or(Path::new("."));
        let mut documents = Vec::new();
        // An editor may empty a file before it fills it; taking that at its word would delete endpoints and their keys.
        if text.trim().is_empty() {
            return Err(Mistakes::of_file(&name, "is empty; delete it to remove its resources".to_owned()));
        }
        for node in parse_all(&name, &text)? {
            if !node.is_null()
                && let Some(document) = Document::read(&reading, &node, base, &self.workspaces)
            {
                documents.push((format!("{name}:{}", node.at.0), document));
            }
        }
        Mistakes::check(reading.finish())?;
        Ok(documents)
    }

    fn list(&self, directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Mistakes> {
        let entries = std::fs::read_dir(directory).map_err(|error| unreadable(directory, &error))?;
        let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths.map_err(|error| unreadable(directory, &error))?;
        paths.sort();
        for path in paths {
            let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            if path.is_dir() {
                if depth < MAX_DEPTH {
                    self.list(&path, depth + 1, files)?;
                }
            } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                files.push(path);
                if files.len() > MAX_FILES {
                    return Err(Mistakes::of_file(
                        &self.path.display().to_string(),
                        format!("holds more than {MAX_FILES} files"),
                    ));
                }
            }
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Mistakes {
    Mistakes::of_file(&path.display().to_string(), format!("cannot be read: {error}"))
}
