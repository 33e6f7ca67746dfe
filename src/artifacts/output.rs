//! The output of a job: a part for each try of a mini-batch, and the file that they become.
//!
//! Parts are objects in a folder `.parts/{job}` beside the file, named by mini-batch and try, so that a try that lost
//! never touches what another has written. The file is put together from the parts that won, in order: its bytes depend
//! on their contents and on nothing else.

mod assemble;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;

use super::directory::Directory;
use super::error::ArtifactError;
use super::form::OutputForm;
use super::location::Location;
use super::predictions::Prediction;
use super::source::name;
use crate::model::datastore::DatastoreName;
use crate::model::job::JobName;
use crate::model::scope::WorkspaceRef;

/// Bytes of a part that are held before they are sent; S3 takes ten thousand such.
const PART_BUFFER: usize = 8 << 20;
/// Bytes of the file that are held before they are sent: files of up to 320 GB.
const FILE_BUFFER: usize = 32 << 20;
/// Buffers of one writer that are on their way at once.
const IN_FLIGHT: usize = 2;

/// What an output is made of.
pub(super) struct Target {
    pub objects: Arc<dyn ObjectStore>,
    /// The directory, if the store is one.
    pub directory: Option<Directory>,
    pub store: DatastoreName,
    pub workspace: WorkspaceRef,
    /// The folder of the file, without slashes at its ends.
    pub folder: String,
    /// The file's name.
    pub file: String,
    pub form: OutputForm,
    pub job: JobName,
}

/// An output.
#[derive(Clone)]
pub struct Output {
    target: Arc<Target>,
    fetches: usize,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({})", self.uri(&self.target.file))
    }
}

/// The file of a job that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// Where it is.
    pub uri: String,
    /// Its size.
    pub bytes: u64,
    /// Its predictions.
    pub rows: u64,
    /// SHA-256 of its bytes, in lower-case hexadecimal.
    pub sha256: String,
}

/// A part that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The mini-batch that it is of.
    pub index: u64,
    /// The object.
    pub object: String,
    /// Its size.
    pub bytes: u64,
}

impl Output {
    pub(super) fn new(target: Target, fetches: usize) -> Output {
        Output { target: Arc::new(target), fetches }
    }

    /// Where the file will be.
    pub fn file_uri(&self) -> String {
        self.uri(&self.target.file)
    }

    /// Begins a part. Nothing of it is there before [`finish`](PartWriter::finish).
    pub fn part(&self, index: u64, attempt: u32) -> Result<PartWriter, ArtifactError> {
        let object = format!("{}/{index}.{attempt}", self.parts());
        let writer = Some(self.writer(name(&object)?, PART_BUFFER));
        Ok(PartWriter { form: self.target.form, object, writer, bytes: 0 })
    }

    /// Puts the parts together, in the order of their mini-batches, and gives the file that they became. Parts that are
    /// not named stay out of it.
    pub async fn assemble(&self, parts: &[Written]) -> Result<Assembled, ArtifactError> {
        let (file, prefix) = (self.path(&self.target.file), format!("{}/", self.parts()));
        let broken = |place: &str, why: &str| {
            Err(ArtifactError::BrokenPart { place: place.to_owned(), why: why.to_owned() })
        };
        // Whoever names the parts read it in a store of jobs; it is still no way to another object.
        if let Some(alien) = parts.iter().find(|part| !part.object.starts_with(&prefix)) {
            return broken(&alien.object, "it is not one of this job");
        }
        if !parts.is_sorted_by(|one, next| one.index < next.index) {
            return broken(&prefix, "its parts do not come in the order of the mini-batches");
        }
        let mut sink = assemble::Sink::new(self.writer(name(&file)?, FILE_BUFFER), &file, self.target.form)?;
        let result = assemble::join(&self.target.objects, parts, self.fetches, &mut sink).await;
        match result {
            Ok(()) => {
                let (bytes, rows, sha256) = sink.finish().await?;
                Ok(Assembled { uri: self.file_uri(), bytes, rows, sha256 })
            }
            Err(error) => {
                sink.abandon().await;
                Err(error)
            }
        }
    }

    /// Writes a small file beside the output's, such as its manifest, and gives its place.
    pub async fn put(&self, file: &str, bytes: Bytes) -> Result<String, ArtifactError> {
        let path = self.path(file);
        let put = self.target.objects.put(&name(&path)?, bytes.into()).await;
        put.map_err(|error| ArtifactError::of_store(&path, &error))?;
        Ok(self.uri(file))
    }

    /// Removes every part of the job, those of tries that lost among them.
    pub async fn clear(&self) -> Result<(), ArtifactError> {
        let parts = self.parts();
        let (folder, failed) =
            (name(&parts)?, |error: object_store::Error| ArtifactError::of_store(&parts, &error));
        if let Some(directory) = &self.target.directory {
            return directory.remove_all(&folder).await.map_err(failed);
        }
        let listed = self.target.objects.list(Some(&folder)).map_ok(|object| object.location).boxed();
        let mut removed = self.target.objects.delete_stream(listed);
        while let Some(result) = removed.next().await {
            match result {
                // Somebody else removed it meanwhile.
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn writer(&self, path: object_store::path::Path, buffer: usize) -> BufWriter {
        BufWriter::with_capacity(self.target.objects.clone(), path, buffer).with_max_concurrency(IN_FLIGHT)
    }

    fn path(&self, file: &str) -> String {
        match self.target.folder.as_str() {
            "" => file.to_owned(),
            folder => format!("{folder}/{file}"),
        }
    }

    fn parts(&self) -> String {
        self.path(&format!(".parts/{}", self.target.job))
    }

    fn uri(&self, file: &str) -> String {
        let (workspace, name) = (self.target.workspace.clone(), self.target.store.clone());
        Location::Store { workspace, name, path: self.path(file) }.to_string()
    }
}

/// Writes a part, a buffer at a time. Dropped before it is finished, it leaves nothing behind.
pub struct PartWriter {
    form: OutputForm,
    object: String,
    /// There until it is finished.
    writer: Option<BufWriter>,
    bytes: u64,
}

impl fmt::Debug for PartWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartWriter({})", self.object)
    }
}

impl PartWriter {
    /// Adds the predictions of a file, or of some of its rows.
    pub async fn add(&mut self, file: &str, predictions: &[Prediction]) -> Result<(), ArtifactError> {
        let mut out = Vec::new();
        self.form.write(file, predictions, &mut out);
        self.bytes += out.len() as u64;
        let failed = |error: object_store::Error| ArtifactError::of_store(&self.object, &error);
        match &mut self.writer {
            Some(writer) => writer.put(out.into()).await.map_err(failed),
            None => Ok(()),
        }
    }

    /// Writes it down for good: the object's name and its size in bytes.
    pub async fn finish(mut self) -> Result<(String, u64), ArtifactError> {
        if let Some(writer) = self.writer.take() {
            end(writer, &self.object).await?;
        }
        Ok((std::mem::take(&mut self.object), self.bytes))
    }
}

impl Drop for PartWriter {
    fn drop(&mut self) {
        if let Some(mut writer) = self.writer.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { writer.abort().await });
        }
    }
}

/// Ends a writer; what it wrote is there then.
async fn end(mut writer: BufWriter, place: &str) -> Result<(), ArtifactError> {
    writer.shutdown().await.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(inner) => ArtifactError::of_store(place, inner),
        None => ArtifactError::of_io(place, &error),
    })
}
