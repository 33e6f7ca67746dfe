//! The rows of tables, as JSON: from CSV, JSON lines and Parquet, a few at a time.

mod csv;
mod jsonl;
mod parquet;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Semaphore;

use self::csv::CsvRows;
use self::jsonl::JsonRows;
use self::parquet::ParquetRows;
use super::error::FileError;
use super::source::Source;
use crate::settings::Limits;
use crate::store::jobs::FileRef;

/// What a row becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// An array with a value for each column.
    Array,
    /// An object with a member for each column.
    Object,
}

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// Its JSON.
    pub json: Vec<u8>,
    /// Its line, where there are lines.
    pub line: Option<u64>,
}

/// A file that is read by rows, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub source: Source,
    pub file: FileRef,
    pub shape: Shape,
    pub limits: Arc<Limits>,
    pub fetches: Arc<Semaphore>,
    /// Rows that are worth reading at once.
    pub batch: usize,
}

impl Table {
    /// A file that is not what its name says.
    pub fn wrong(&self, line: Option<u64>, row: Option<u64>, what: impl Into<String>) -> FileError {
        FileError::NotThatFormat { file: self.file.name.clone(), line, row, what: what.into() }
    }

    /// Whether so many bytes of a file may have been read.
    fn may_have(&self, read: u64) -> Result<(), FileError> {
        let most = self.limits.batch_bytes as u64;
        if read <= most {
            return Ok(());
        }
        let (file, limit, remedy) = (self.file.name.clone(), "limits.batch_bytes", "split it");
        Err(FileError::TooLarge { file, most, limit, remedy })
    }

    /// Whether the row in this line may have so many bytes.
    fn row_may_have(&self, bytes: usize, line: impl FnOnce() -> u64) -> Result<(), FileError> {
        let most = self.limits.batch_row_bytes;
        if bytes <= most {
            return Ok(());
        }
        let (file, line, limit) = (self.file.name.clone(), Some(line()), "limits.batch_row_bytes");
        Err(FileError::RowTooLarge { file, line, row: None, most: most as u64, limit })
    }
}

/// The rows of a file.
#[derive(Debug)]
pub(super) enum Rows {
    Csv(CsvRows),
    Json(JsonRows),
    Parquet(Box<ParquetRows>),
}

impl Rows {
    /// Begins to read the rows of a file, by what its name says it is.
    pub async fn open(table: Table) -> Result<Rows, FileError> {
        let extension = table.file.path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        match extension.as_deref() {
            Some("csv") => Ok(Rows::Csv(CsvRows::open(table, b',').await?)),
            Some("tsv") => Ok(Rows::Csv(CsvRows::open(table, b'\t').await?)),
            Some("jsonl" | "ndjson") => Ok(Rows::Json(JsonRows::open(table).await?)),
            Some("parquet") => Ok(Rows::Parquet(Box::new(ParquetRows::open(table).await?))),
            _ => Err(FileError::NotATable(table.file.name)),
        }
    }

    /// Reads some more rows; `false` at the end.
    pub async fn more(&mut self, into: &mut VecDeque<Row>) -> Result<bool, FileError> {
        match self {
            Rows::Csv(rows) => rows.more(into).await,
            Rows::Json(rows) => rows.more(into).await,
            Rows::Parquet(rows) => rows.more(into).await,
        }
    }

    /// The columns' names; known once there is a row.
    pub fn columns(&self) -> &[String] {
        match self {
            Rows::Csv(rows) => rows.columns(),
            Rows::Json(rows) => rows.columns(),
            Rows::Parquet(rows) => rows.columns(),
        }
    }

    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        match self {
            Rows::Csv(rows) => rows.read(),
            Rows::Json(rows) => rows.read(),
            Rows::Parquet(rows) => rows.read(),
        }
    }
}

/// A JSON string.
fn string(text: &str, out: &mut Vec<u8>) {
    // Memory takes everything.
    let _ = serde_json::to_writer(out, text);
}

/// A row, from what writes the value of each column.
fn row(shape: Shape, names: &[Vec<u8>], mut value: impl FnMut(usize, &mut Vec<u8>)) -> Vec<u8> {
    let mut json = vec![if shape == Shape::Array { b'[' } else { b'{' }];
    for (at, name) in names.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        if shape == Shape::Object {
            json.extend_from_slice(name);
            json.push(b':');
        }
        value(at, &mut json);
    }
    json.push(if shape == Shape::Array { b']' } else { b'}' });
    json
}

/// The columns' names as JSON strings; a name that stands there twice is an error that names it.
fn names(columns: &[String]) -> Result<Vec<Vec<u8>>, String> {
    let mut seen = std::collections::HashSet::new();
    let json = |name: &String| {
        if !seen.insert(name.clone()) {
            let name: String = name.chars().take(80).collect();
            return Err(format!("the column `{name}` stands there twice; give it another name"));
        }
        let mut out = Vec::new();
        string(name, &mut out);
        Ok(out)
    };
    columns.iter().map(json).collect()
}
