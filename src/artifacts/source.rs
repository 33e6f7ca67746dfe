//! Where bytes come from: a data store, or a host.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use object_store::path::Path as Name;
use object_store::{ObjectStore, ObjectStoreExt};
use reqwest::Url;
use tokio::sync::Semaphore;

use super::client::{Ask, Client};
use super::error::ArtifactError;
use super::location::Address;

/// A place that is read. Its `Debug` shows no credential.
#[derive(Clone)]
pub(super) enum Source {
    /// A data store.
    Objects(Arc<dyn ObjectStore>),
    /// One file behind an address.
    File { client: Client, address: Address },
    /// Files below an address.
    Below { client: Client, base: Url },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Objects(store) => write!(f, "Objects({store})"),
            Source::File { address, .. } => write!(f, "File({address})"),
            Source::Below { base, .. } => write!(f, "Below({})", base.host_str().unwrap_or_default()),
        }
    }
}

/// What a file gives, as it comes.
pub(super) struct Chunks {
    bytes: BoxStream<'static, Result<Bytes, ArtifactError>>,
    fetches: Arc<Semaphore>,
}

impl Chunks {
    /// The next bytes; none at the end. At most so many reads of a job wait for their source at once.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        let _turn = self.fetches.acquire().await;
        self.bytes.next().await.transpose()
    }
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chunks")
    }
}

impl Source {
    /// A file's size in bytes; 0 if nobody says.
    pub async fn size(&self, path: &str) -> Result<u64, ArtifactError> {
        match self {
            Source::Objects(store) => {
                let head = store.head(&name(path)?).await;
                Ok(head.map_err(|error| ArtifactError::of_store(path, &error))?.size)
            }
            // Many signatures are good for GET and not for HEAD.
            _ => Ok(self.ask(path, None).await?.content_length().unwrap_or(0)),
        }
    }

    /// A file's bytes.
    pub async fn read(&self, path: &str, fetches: &Arc<Semaphore>) -> Result<Chunks, ArtifactError> {
        let _turn = fetches.acquire().await;
        let place = path.to_owned();
        let bytes = if let Source::Objects(store) = self {
            let got = store.get(&name(path)?).await;
            let got = got.map_err(|error| ArtifactError::of_store(path, &error))?;
            let each = move |chunk: object_store::Result<Bytes>| {
                chunk.map_err(|error| ArtifactError::of_store(&place, &error))
            };
            got.into_stream().map(each).boxed()
        } else {
            let answer = self.ask(path, None).await?;
            let each = move |chunk: reqwest::Result<Bytes>| {
                chunk.map_err(|error| ArtifactError::of_client(&place, &error.without_url()))
            };
            answer.bytes_stream().map(each).boxed()
        };
        Ok(Chunks { bytes, fetches: fetches.clone() })
    }

    /// A part of a file, all of it.
    pub async fn range(
        &self,
        path: &str,
        range: Range<u64>,
        fetches: &Arc<Semaphore>,
    ) -> Result<Bytes, ArtifactError> {
        let _turn = fetches.acquire().await;
        let wanted = range.end.saturating_sub(range.start);
        let short = || ArtifactError::Failed {
            place: path.to_owned(),
            why: "it is shorter than it was said to be".to_owned(),
        };
        let bytes = if let Source::Objects(store) = self {
            let got = store.get_range(&name(path)?, range).await;
            got.map_err(|error| ArtifactError::of_store(path, &error))?
        } else {
            let mut answer = self.ask(path, Some(range)).await?;
            let mut bytes = Vec::new();
            let broken = |error: reqwest::Error| ArtifactError::of_client(path, &error.without_url());
            while let Some(chunk) = answer.chunk().await.map_err(broken)? {
                if (bytes.len() + chunk.len()) as u64 > wanted {
                    return Err(short());
                }
                bytes.extend_from_slice(&chunk);
            }
            bytes.into()
        };
        if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(short()) }
    }

    async fn ask(&self, path: &str, range: Option<Range<u64>>) -> Result<reqwest::Response, ArtifactError> {
        match self {
            Source::File { client, address } => {
                client.get(Ask { url: address.url(), store: None, place: path, range }).await
            }
            Source::Below { client, base } => {
                let mut url = base.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop_if_empty().extend(path.split('/'));
                }
                client.get(Ask { url: &url, store: base.host_str(), place: path, range }).await
            }
            Source::Objects(_) => Err(ArtifactError::NotFound(path.to_owned(), None)),
        }
    }
}

/// A path as the stores' library has it.
pub(super) fn name(path: &str) -> Result<Name, ArtifactError> {
    Name::parse(path).map_err(|error| ArtifactError::of_store(path, &error.into()))
}
