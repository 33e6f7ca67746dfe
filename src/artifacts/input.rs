//! The input of a job: its files, and the requests that they become.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;

use super::error::{ArtifactError, FileError};
use super::location::Location;
use super::packing::{Packed, Packer, Packing, shape, whole};
use super::rows::Table;
use super::source::{Source, name};
use crate::model::batch::RequestFormat;
use crate::model::job::DataKind;
use crate::settings::Limits;
use crate::store::jobs::FileRef;

/// An input. One for each job: its reads are bounded together.
#[derive(Debug, Clone)]
pub struct Input {
    source: Source,
    /// The path in the store, or the address without its query.
    path: String,
    at: Location,
    limits: Arc<Limits>,
    fetches: Arc<Semaphore>,
}

impl Input {
    pub(super) fn new(source: Source, path: String, at: Location, limits: Arc<Limits>) -> Input {
        let fetches = Arc::new(Semaphore::new(limits.batch_fetches));
        Input { source, path, at, limits, fetches }
    }

    /// Its files, by the bytes of their paths. Below a folder, names that begin with `.` or `_` are left out, with
    /// everything below them.
    pub async fn list(&self, kind: DataKind) -> Result<Vec<FileRef>, ArtifactError> {
        match kind {
            DataKind::UriFile => self.one().await,
            DataKind::UriFolder => self.below().await,
        }
    }

    async fn one(&self) -> Result<Vec<FileRef>, ArtifactError> {
        let name = match &self.at {
            Location::Https(address) => address.file_name(),
            Location::Store { path, .. } => path.rsplit('/').next().unwrap_or_default().to_owned(),
        };
        if self.path.is_empty() {
            let hint = ", or say uri_folder for all files of a data store";
            return Err(ArtifactError::NotFound(self.at.to_string(), Some(hint)));
        }
        let size = match self.source.size(&self.path).await {
            Ok(size) => size,
            Err(ArtifactError::NotFound(path, None)) => {
                let is_folder = match &self.source {
                    Source::Objects(store) => store
                        .list(Some(&super::source::name(&self.path)?))
                        .next()
                        .await
                        .is_some_and(|found| found.is_ok()),
                    _ => false,
                };
                let hint = is_folder.then_some("; there are files below it: say uri_folder for them");
                return Err(ArtifactError::NotFound(path, hint));
            }
            Err(error) => return Err(error),
        };
        if size > self.limits.batch_bytes as u64 {
            return Err(ArtifactError::TooManyBytes(self.limits.batch_bytes));
        }
        Ok(vec![FileRef { path: self.path.clone(), name, size }])
    }

    async fn below(&self) -> Result<Vec<FileRef>, ArtifactError> {
        let Source::Objects(store) = &self.source else {
            return Err(ArtifactError::NotListable(self.at.to_string()));
        };
        let prefix = name(&self.path)?;
        let unlisted = |error: object_store::Error| ArtifactError::of_store(&self.path, &error);
        let (mut files, mut bytes) = (Vec::new(), 0_u64);
        let mut listing = store.list((!self.path.is_empty()).then_some(&prefix)).map_err(unlisted);
        while let Some(object) = listing.try_next().await? {
            let path = object.location.as_ref();
            let below = match self.path.as_str() {
                "" => Some(path),
                folder => path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')),
            };
            let Some(name) = below.filter(|name| !name.split('/').any(|part| part.starts_with(['.', '_'])))
            else {
                continue;
            };
            if files.len() >= self.limits.batch_files {
                return Err(ArtifactError::TooManyFiles(self.limits.batch_files));
            }
            bytes = bytes.saturating_add(object.size);
            if bytes > self.limits.batch_bytes as u64 {
                return Err(ArtifactError::TooManyBytes(self.limits.batch_bytes));
            }
            files.push(FileRef { path: path.to_owned(), name: name.to_owned(), size: object.size });
        }
        files.sort_unstable_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
        // An object that only marks a folder has its name and nothing in it.
        let marks: Vec<bool> = (0..files.len()).map(|at| marks_a_folder(&files, at)).collect();
        let mut marks = marks.into_iter();
        files.retain(|_| !marks.next().unwrap_or(false));
        if files.is_empty() {
            let is_file = !self.path.is_empty() && self.source.size(&self.path).await.is_ok();
            let hint = is_file.then_some("; it is a file: say uri_file for it");
            return Err(ArtifactError::EmptyInput(self.at.to_string(), hint));
        }
        Ok(files)
    }

    /// A file's requests, made while they are taken. Never more of it in memory than one request needs, a row group of
    /// Parquet, or a file that is a request.
    pub fn requests(&self, file: &FileRef, how: Packing) -> BoxStream<'static, Result<Packed, FileError>> {
        let table = Table {
            source: self.source.clone(),
            file: file.clone(),
            shape: shape(how.format),
            limits: self.limits.clone(),
            fetches: self.fetches.clone(),
            batch: usize::try_from(how.rows_per_request).unwrap_or(usize::MAX),
        };
        if how.format == RequestFormat::Raw {
            return stream::once(async move { whole(&table, how.most).await }).boxed();
        }
        let opened = stream::once(Packer::open(table, how));
        opened
            .map_ok(|packer| {
                stream::try_unfold(packer, |mut packer| async move {
                    Ok(packer.next().await?.map(|packed| (packed, packer)))
                })
            })
            .try_flatten()
            .boxed()
    }
}

/// Whether the file at this place in a sorted list is empty and a folder's name.
fn marks_a_folder(files: &[FileRef], at: usize) -> bool {
    let Some(file) = files.get(at).filter(|file| file.size == 0) else { return false };
    let folder = format!("{}/", file.path);
    let after = files.partition_point(|other| other.path.as_bytes() < folder.as_bytes());
    files.get(after).is_some_and(|other| other.path.starts_with(&folder))
}
