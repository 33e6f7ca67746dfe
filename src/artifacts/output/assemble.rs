//! Parts become the file: one after the other, never whole in memory.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::builder::StringBuilder;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use object_store::buffered::BufWriter;
use object_store::{GetResult, ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::error::ArtifactError;
use super::super::form::{OutputForm, RowCounter};
use super::super::source::name;
use super::{Written, end};
use crate::store::chain::hex;

/// A part up to this size is fetched before its turn.
const SMALL: u64 = 1 << 20;
/// Rows of Parquet that are handed to its writer at once, and bytes of them. The pages of a file depend on both.
const BATCH: (usize, usize) = (1024, 4 << 20);
/// Rows and bytes of a row group.
const GROUP: (usize, usize) = (100_000, 64 << 20);

/// Puts the parts into the sink, each as it was written.
pub(super) async fn join(
    store: &Arc<dyn ObjectStore>,
    parts: &[Written],
    fetches: usize,
    sink: &mut Sink,
) -> Result<(), ArtifactError> {
    let fetched = stream::iter(parts.iter().cloned()).map(|part| {
        let store = store.clone();
        async move {
            let small = if part.bytes <= SMALL { Some(whole(&store, &part).await?) } else { None };
            Ok::<_, ArtifactError>((part, small))
        }
    });
    let mut fetched = std::pin::pin!(fetched.buffered(fetches));
    while let Some(part) = fetched.next().await {
        let (part, small) = part?;
        if let Some(bytes) = small {
            sink.add(&part.object, bytes).await?;
        } else {
            let mut chunks = get(store, &part).await?.into_stream();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|error| ArtifactError::of_store(&part.object, &error))?;
                sink.add(&part.object, chunk).await?;
            }
        }
        sink.end_part(&part.object)?;
    }
    Ok(())
}

/// Begins to read a part, if it has the size that it was written with.
async fn get(store: &Arc<dyn ObjectStore>, part: &Written) -> Result<GetResult, ArtifactError> {
    let got = store.get(&name(&part.object)?).await;
    let got = got.map_err(|error| ArtifactError::of_store(&part.object, &error))?;
    if got.meta.size == part.bytes { Ok(got) } else { Err(broken(&part.object)) }
}

async fn whole(store: &Arc<dyn ObjectStore>, part: &Written) -> Result<Bytes, ArtifactError> {
    let bytes = get(store, part).await?.bytes().await;
    bytes.map_err(|error| ArtifactError::of_store(&part.object, &error))
}

/// Where the file goes: hashed, counted, written.
pub(super) struct Sink {
    writer: BufWriter,
    place: String,
    form: OutputForm,
    hash: Context,
    bytes: u64,
    rows: RowCounter,
    table: Option<Table>,
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sink({})", self.place)
    }
}

impl Sink {
    pub fn new(writer: BufWriter, place: &str, form: OutputForm) -> Result<Sink, ArtifactError> {
        let table = match form {
            OutputForm::Parquet => Some(Table::new().map_err(|error| unpacked(place, &error))?),
            OutputForm::Csv | OutputForm::Jsonl => None,
        };
        let (place, hash) = (place.to_owned(), Context::new(&SHA256));
        Ok(Sink { writer, place, form, hash, bytes: 0, rows: RowCounter::default(), table })
    }

    /// Takes what a part holds.
    async fn add(&mut self, part: &str, bytes: Bytes) -> Result<(), ArtifactError> {
        self.rows.take(self.form, &bytes);
        let out = match &mut self.table {
            None => bytes,
            Some(table) => table.add(part, &bytes)?.into(),
        };
        self.write(out).await
    }

    fn end_part(&mut self, part: &str) -> Result<(), ArtifactError> {
        match &self.table {
            Some(table) if !table.rest.is_empty() => Err(broken(part)),
            _ => Ok(()),
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), ArtifactError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.hash.update(&bytes);
        self.bytes += bytes.len() as u64;
        self.writer.put(bytes).await.map_err(|error| ArtifactError::of_store(&self.place, &error))
    }

    /// Ends the file: its bytes, its rows, its hash.
    pub async fn finish(mut self) -> Result<(u64, u64, String), ArtifactError> {
        if let Some(table) = self.table.take() {
            let rest = table.finish().map_err(|error| unpacked(&self.place, &error))?;
            self.write(rest.into()).await?;
        }
        end(self.writer, &self.place).await?;
        Ok((self.bytes, self.rows.rows(), hex(self.hash.finish().as_ref())))
    }

    /// Leaves nothing behind.
    pub async fn abandon(mut self) {
        // It was to be given up anyway.
        let _ = self.writer.abort().await;
    }
}

fn broken(part: &str) -> ArtifactError {
    let why = "it is not what was written; score its mini-batch again";
    ArtifactError::BrokenPart { place: part.to_owned(), why: why.to_owned() }
}

fn unpacked(place: &str, error: &ParquetError) -> ArtifactError {
    ArtifactError::Failed { place: place.to_owned(), why: format!("Parquet cannot be written: {error}") }
}

/// JSON lines become Parquet.
struct Table {
    writer: ArrowWriter<Vec<u8>>,
    schema: Arc<Schema>,
    files: StringBuilder,
    predictions: StringBuilder,
    /// Rows and bytes in the builders, and in the row group besides.
    batch: (usize, usize),
    group: (usize, usize),
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

#[derive(Deserialize)]
struct Line<'a> {
    file: String,
    #[serde(borrow)]
    prediction: &'a RawValue,
}

impl Table {
    fn new() -> Result<Table, ParquetError> {
        let column = |name: &str| Field::new(name, DataType::Utf8, false);
        let schema = Arc::new(Schema::new(vec![column("file"), column("prediction")]));
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        let (files, predictions) = (StringBuilder::new(), StringBuilder::new());
        Ok(Table { writer, schema, files, predictions, batch: (0, 0), group: (0, 0), rest: Vec::new() })
    }

    /// Takes lines, and gives what the file gains by them.
    fn add(&mut self, part: &str, bytes: &[u8]) -> Result<Vec<u8>, ArtifactError> {
        let mut held = std::mem::take(&mut self.rest);
        held.extend_from_slice(bytes);
        let whole = memchr::memrchr(b'\n', &held).map_or(0, |at| at + 1);
        self.rest = held.split_off(whole);
        for line in held.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line<'_> = serde_json::from_slice(line).map_err(|_| broken(part))?;
            let prediction = line.prediction.get();
            self.files.append_value(&line.file);
            self.predictions.append_value(prediction);
            self.batch = (self.batch.0 + 1, self.batch.1 + line.file.len() + prediction.len());
            if self.batch.0 >= BATCH.0 || self.batch.1 >= BATCH.1 {
                self.flush().map_err(|error| unpacked(part, &error))?;
            }
        }
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.batch.0 > 0 {
            let columns: Vec<arrow_array::ArrayRef> =
                vec![Arc::new(self.files.finish()), Arc::new(self.predictions.finish())];
            let rows = RecordBatch::try_new(self.schema.clone(), columns)
                .map_err(|error: ArrowError| ParquetError::from(error))?;
            self.writer.write(&rows)?;
            self.group = (self.group.0 + self.batch.0, self.group.1 + self.batch.1);
            self.batch = (0, 0);
        }
        if self.group.0 >= GROUP.0 || self.group.1 >= GROUP.1 {
            self.writer.flush()?;
            self.group = (0, 0);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, ParquetError> {
        self.flush()?;
        self.writer.into_inner()
    }
}
