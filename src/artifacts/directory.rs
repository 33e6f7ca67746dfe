//! A directory as a data store. Names in it never lead out of it: not by links, not by being swapped in between.

use std::collections::VecDeque;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Name;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

/// Entries that one turn on the blocking pool reads.
const TURN: usize = 1024;

/// A file that is not in the store, although its name is, or has a name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{place}` {why}")]
pub(super) struct Outside {
    pub place: String,
    pub why: &'static str,
}

const LEADS_OUT: &str = "is a link that leads out of its data store; put the file itself there";
const NO_FILE: &str = "is no ordinary file";
const NO_TEXT: &str = "holds a name that is not UTF-8 or has control characters; rename it";
const LOOPS: &str = "is a link to a directory that it is in; remove it";

/// A directory, looked for when it is first used.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    root: Arc<Path>,
    make: bool,
}

/// A directory that is there.
struct Opened {
    files: LocalFileSystem,
    root: PathBuf,
}

impl Directory {
    /// The directory; `make` makes it when it is first used.
    pub fn new(root: &Path, make: bool) -> Directory {
        Directory { root: root.into(), make }
    }

    fn open(&self) -> object_store::Result<Opened> {
        if self.make && !self.root.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root).map_err(wrapped)?;
        }
        let root = self.root.canonicalize().map_err(wrapped)?;
        // What was written is there after a crash, whatever the store of jobs says of it.
        let files = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true).with_automatic_cleanup(true);
        Ok(Opened { files, root })
    }

    /// The directory, if the name in it can be written to: the nearest directory above that exists lies in it.
    async fn to_write(&self, name: &Name) -> object_store::Result<LocalFileSystem> {
        let (own, name) = (self.clone(), name.clone());
        blocking(move || {
            let opened = own.open()?;
            let path = opened.files.path_to_filesystem(&name)?;
            for above in path.ancestors().skip(1) {
                match above.canonicalize() {
                    Ok(real) if real.starts_with(&opened.root) => return Ok(opened.files),
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound && above.symlink_metadata().is_err() => {}
                    _ => break,
                }
            }
            Err(outside(name.as_ref(), LEADS_OUT))
        })
        .await
    }

    /// Removes everything below a name.
    pub async fn remove_all(&self, name: &Name) -> object_store::Result<()> {
        self.to_write(name).await?;
        let (own, name) = (self.clone(), name.clone());
        blocking(move || {
            let path = own.open()?.files.path_to_filesystem(&name)?;
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrapped(error)),
                _ => {}
            }
            // The folder of all jobs' parts goes with the last of them.
            let _ = path.parent().map(fs::remove_dir);
            Ok(())
        })
        .await
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({})", self.root.display())
    }
}

fn wrapped(error: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "directory", source: Box::new(error) }
}

fn outside(place: &str, why: &'static str) -> object_store::Error {
    object_store::Error::Generic {
        store: "directory",
        source: Box::new(Outside { place: place.to_owned(), why }),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> object_store::Result<T> + Send + 'static,
) -> object_store::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Where a name really is, if that is an ordinary file in the store.
fn real_file(root: &Path, path: &Path, name: &str) -> object_store::Result<(PathBuf, fs::Metadata)> {
    let real = path.canonicalize().map_err(wrapped)?;
    if !real.starts_with(root) {
        return Err(outside(name, LEADS_OUT));
    }
    let metadata = real.symlink_metadata().map_err(wrapped)?;
    if metadata.is_dir() {
        return Err(wrapped(io::ErrorKind::NotFound.into()));
    }
    // A pipe or a device would never end.
    if metadata.is_file() { Ok((real, metadata)) } else { Err(outside(name, NO_FILE)) }
}

#[async_trait]
impl ObjectStore for Directory {
    async fn put_opts(
        &self,
        name: &Name,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.to_write(name).await?.put_opts(name, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        name: &Name,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.to_write(name).await?.put_multipart_opts(name, options).await
    }

    async fn get_opts(&self, name: &Name, options: GetOptions) -> object_store::Result<GetResult> {
        let (own, at) = (self.clone(), name.clone());
        let files = blocking(move || {
            let opened = own.open()?;
            let path = opened.files.path_to_filesystem(&at)?;
            real_file(&opened.root, &path, at.as_ref()).map(|_| opened)
        });
        let opened = files.await?;
        let got = opened.files.get_opts(name, options).await?;
        let GetResultPayload::File(file, path) = got.payload else { return Ok(got) };
        let at = name.clone();
        // What was opened is what lies in the store, even if somebody swapped a link meanwhile.
        let file = blocking(move || -> object_store::Result<File> {
            let (_, real) = real_file(&opened.root, &path, at.as_ref())?;
            let held = file.metadata().map_err(wrapped)?;
            if (held.dev(), held.ino()) == (real.dev(), real.ino()) {
                Ok(file)
            } else {
                Err(outside(at.as_ref(), "was exchanged while it was opened; start again"))
            }
        });
        let payload = GetResultPayload::File(file.await?, PathBuf::new());
        Ok(GetResult { payload, ..got })
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, object_store::Result<Name>>,
    ) -> BoxStream<'static, object_store::Result<Name>> {
        stream::iter([Err(unused("delete_stream"))]).boxed()
    }

    fn list(&self, prefix: Option<&Name>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let (own, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let walk = blocking(move || Walk::new(&own.open()?.root, &prefix));
        stream::once(walk)
            .flat_map(|walk| match walk {
                Ok(walk) => stream::unfold(Some(walk), |walk| async move {
                    let mut walk = walk?;
                    let turn = tokio::task::spawn_blocking(move || {
                        let found = walk.turn();
                        (found, walk)
                    });
                    match turn.await {
                        Ok((Ok(found), _)) if found.is_empty() => None,
                        Ok((Ok(found), walk)) => {
                            Some((stream::iter(found.into_iter().map(Ok)).boxed(), Some(walk)))
                        }
                        Ok((Err(error), _)) => Some((stream::iter([Err(error)]).boxed(), None)),
                        Err(error) => Some((stream::iter([Err(error.into())]).boxed(), None)),
                    }
                })
                .flatten()
                .boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Name>) -> object_store::Result<ListResult> {
        Err(unused("list_with_delimiter"))
    }

    async fn copy_opts(&self, _: &Name, _: &Name, _: CopyOptions) -> object_store::Result<()> {
        Err(unused("copy_opts"))
    }
}

fn unused(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "a directory as a data store".to_owned(),
    }
}

/// A directory on the way: its name in the store, and which directories it is in, itself among them once it is read.
#[derive(Clone)]
struct Inside {
    name: String,
    within: Vec<(u64, u64)>,
}

/// A walk over every file below a place.
struct Walk {
    root: PathBuf,
    /// What is still to be looked at.
    open: VecDeque<(PathBuf, Inside)>,
    /// The directory that is being read.
    reading: Option<(fs::ReadDir, Inside)>,
}

impl Walk {
    fn new(root: &Path, prefix: &Name) -> object_store::Result<Walk> {
        let mut walk = Walk { root: root.to_owned(), open: VecDeque::new(), reading: None };
        let path = prefix.parts().fold(root.to_owned(), |path, part| path.join(part.as_ref()));
        match path.canonicalize() {
            Ok(real) if !real.starts_with(root) => return Err(outside(prefix.as_ref(), LEADS_OUT)),
            Ok(real) if real.is_dir() => {
                walk.open.push_back((real, Inside { name: prefix.as_ref().to_owned(), within: Vec::new() }));
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(wrapped(error)),
        }
        Ok(walk)
    }

    /// The next files; none at the end.
    fn turn(&mut self) -> object_store::Result<Vec<ObjectMeta>> {
        let mut found = Vec::new();
        while found.len() < TURN {
            let Some((entries, above)) = &mut self.reading else {
                let Some((path, mut inside)) = self.open.pop_front() else { break };
                let metadata = path.symlink_metadata().map_err(wrapped)?;
                let own = (metadata.dev(), metadata.ino());
                if inside.within.contains(&own) {
                    return Err(outside(&inside.name, LOOPS));
                }
                inside.within.push(own);
                self.reading = Some((fs::read_dir(&path).map_err(wrapped)?, inside));
                continue;
            };
            let Some(entry) = entries.next() else {
                self.reading = None;
                continue;
            };
            let entry = entry.map_err(wrapped)?;
            let name = entry.file_name();
            let name = name.to_str().filter(|name| !name.chars().any(char::is_control));
            let name = name.ok_or_else(|| outside(&above.name, NO_TEXT))?;
            let name = if above.name.is_empty() { name.to_owned() } else { format!("{}/{name}", above.name) };
            let Ok(real) = entry.path().canonicalize() else { continue };
            if !real.starts_with(&self.root) {
                return Err(outside(&name, LEADS_OUT));
            }
            let Ok(metadata) = real.symlink_metadata() else { continue };
            if metadata.is_dir() {
                self.open.push_back((real, Inside { name, within: above.within.clone() }));
            } else if metadata.is_file() && !is_staged(&name) {
                found.push(ObjectMeta {
                    location: Name::parse(&name)?,
                    last_modified: metadata.modified().map_err(wrapped)?.into(),
                    size: metadata.len(),
                    e_tag: None,
                    version: None,
                });
            }
        }
        Ok(found)
    }
}

/// Whether a name is that of a file that is still being written, as the library names them.
fn is_staged(name: &str) -> bool {
    let number = name.rsplit('/').next().and_then(|last| last.split_once('#')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}
