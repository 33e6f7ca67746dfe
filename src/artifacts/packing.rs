//! From a file to requests: the whole file, or its rows, so many to a request.

use std::collections::VecDeque;

use bytes::Bytes;

use super::error::FileError;
use super::rows::{Row, Rows, Shape, Table};
use crate::model::batch::RequestFormat;

/// How files become requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// Their format.
    pub format: RequestFormat,
    /// Rows of a table in one request.
    pub rows_per_request: u32,
    /// Bytes of a request's body.
    pub most: u64,
}

/// A request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Its media type.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// The predictions that its answer has to hold; `None` for any number.
    pub rows: Option<u32>,
    /// Bytes read for it; those of a file's requests add up to what was read of the file.
    pub read: u64,
}

/// Media types by extension, of files that are requests by themselves.
const TYPES: &[(&[&str], &str)] = &[
    (&["json"], "application/json"),
    (&["jsonl", "ndjson"], "application/x-ndjson"),
    (&["csv"], "text/csv"),
    (&["tsv"], "text/tab-separated-values"),
    (&["txt", "text", "log"], "text/plain; charset=utf-8"),
    (&["md"], "text/markdown; charset=utf-8"),
    (&["html", "htm"], "text/html; charset=utf-8"),
    (&["xml"], "application/xml"),
    (&["parquet"], "application/vnd.apache.parquet"),
    (&["pdf"], "application/pdf"),
    (&["png"], "image/png"),
    (&["jpg", "jpeg"], "image/jpeg"),
    (&["gif"], "image/gif"),
    (&["webp"], "image/webp"),
    (&["bmp"], "image/bmp"),
    (&["tif", "tiff"], "image/tiff"),
    (&["svg"], "image/svg+xml"),
    (&["wav"], "audio/wav"),
    (&["mp3"], "audio/mpeg"),
    (&["flac"], "audio/flac"),
    (&["ogg", "oga"], "audio/ogg"),
    (&["mp4"], "video/mp4"),
];

/// The media type of a file, by its extension.
fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let found = extension.and_then(|extension| {
        TYPES.iter().find(|(extensions, _)| extensions.contains(&extension.as_str())).map(|(_, media)| *media)
    });
    found.unwrap_or("application/octet-stream")
}

/// A file as one request.
pub(super) async fn whole(table: &Table, most: u64) -> Result<Packed, FileError> {
    let own = table.limits.batch_file_bytes as u64;
    let remedy = "split it, or use rows of a table";
    let too_large = || {
        let file = table.file.name.clone();
        if own <= most {
            FileError::TooLarge { file, most: own, limit: "limits.batch_file_bytes", remedy }
        } else {
            FileError::TooLarge { file, most, limit: "limits.request_body", remedy }
        }
    };
    let most = own.min(most);
    if table.file.size > most {
        return Err(too_large());
    }
    let mut chunks = table.source.read(&table.file.path, &table.fetches).await?;
    let mut body = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        if (body.len() + chunk.len()) as u64 > most {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    let read = body.len() as u64;
    Ok(Packed { content_type: media_type(&table.file.path), body: body.into(), rows: None, read })
}

/// What the rows of a format are.
pub(super) fn shape(format: RequestFormat) -> Shape {
    match format {
        RequestFormat::DataframeSplit | RequestFormat::InputData => Shape::Array,
        RequestFormat::Raw | RequestFormat::Instances | RequestFormat::Jsonl => Shape::Object,
    }
}

/// Packs rows into requests.
#[derive(Debug)]
pub(super) struct Packer {
    rows: Rows,
    table: Table,
    how: Packing,
    waiting: VecDeque<Row>,
    ended: bool,
    /// The row, from 0, that the next request begins with.
    next: u64,
    /// Bytes that earlier requests were read with.
    told: u64,
}

impl Packer {
    pub async fn open(table: Table, how: Packing) -> Result<Packer, FileError> {
        let rows = Rows::open(table.clone()).await?;
        Ok(Packer { rows, table, how, waiting: VecDeque::new(), ended: false, next: 0, told: 0 })
    }

    /// The next request; none at the end.
    pub async fn next(&mut self) -> Result<Option<Packed>, FileError> {
        let wanted = usize::try_from(self.how.rows_per_request.max(1)).unwrap_or(usize::MAX);
        let most = usize::try_from(self.how.most).unwrap_or(usize::MAX);
        let mut bytes: usize = self.waiting.iter().map(|row| row.json.len()).sum();
        while !self.ended && self.waiting.len() < wanted && bytes < most {
            let before = self.waiting.len();
            self.ended = !self.rows.more(&mut self.waiting).await?;
            bytes += self.waiting.iter().skip(before).map(|row| row.json.len()).sum::<usize>();
        }
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let mut body = self.opening();
        let mut index = Vec::new();
        let mut count: u32 = 0;
        while (count as usize) < wanted {
            let Some(row) = self.waiting.front() else { break };
            let number = (self.next + u64::from(count)).to_string();
            // The separators, and the row's number with its own.
            let more = row.json.len() + number.len() + 2;
            if body.len() + index.len() + more + CLOSING > most {
                break;
            }
            if count > 0 {
                body.push(if self.how.format == RequestFormat::Jsonl { b'\n' } else { b',' });
                index.push(b',');
            }
            body.extend_from_slice(&row.json);
            index.extend_from_slice(number.as_bytes());
            count += 1;
            self.waiting.pop_front();
        }
        if count == 0 {
            let line = self.waiting.front().and_then(|row| row.line);
            let row = line.is_none().then_some(self.next + 1);
            let (file, limit) = (self.table.file.name.clone(), "limits.request_body");
            return Err(FileError::RowTooLarge { file, line, row, most: self.how.most, limit });
        }
        self.close(&mut body, &index);
        self.next += u64::from(count);
        let read = self.rows.read() - self.told;
        self.told = self.rows.read();
        let lines = self.how.format == RequestFormat::Jsonl;
        let content_type = if lines { "application/x-ndjson" } else { "application/json" };
        Ok(Some(Packed { content_type, body: body.into(), rows: Some(count), read }))
    }

    fn opening(&self) -> Vec<u8> {
        let key = match self.how.format {
            RequestFormat::DataframeSplit => "dataframe_split",
            RequestFormat::InputData => "input_data",
            RequestFormat::Instances => return b"{\"instances\":[".to_vec(),
            RequestFormat::Raw | RequestFormat::Jsonl => return Vec::new(),
        };
        let columns = serde_json::to_string(self.rows.columns()).unwrap_or_default();
        format!("{{\"{key}\":{{\"columns\":{columns},\"data\":[").into_bytes()
    }

    fn close(&self, body: &mut Vec<u8>, index: &[u8]) {
        match self.how.format {
            RequestFormat::DataframeSplit => body.extend_from_slice(b"]}}"),
            RequestFormat::InputData => {
                body.extend_from_slice(b"],\"index\":[");
                body.extend_from_slice(index);
                body.extend_from_slice(b"]}}");
            }
            RequestFormat::Instances => body.extend_from_slice(b"]}"),
            RequestFormat::Raw | RequestFormat::Jsonl => body.push(b'\n'),
        }
    }
}

/// The most bytes that follow the rows, besides their numbers.
const CLOSING: usize = 16;

#[cfg(test)]
mod tests;
