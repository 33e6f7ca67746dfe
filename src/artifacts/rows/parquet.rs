//! Rows of Parquet: one row group at a time, fetched by parts. Unpacking is done on the blocking pool, where a file that
//! brings the library to a panic ends nothing but itself.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::writer::{EncoderOptions, NullableEncoder, make_encoder};
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataPushDecoder};

use super::super::error::FileError;
use super::{Row, Shape, Table, names, row};

/// The rows of a file.
#[derive(Debug)]
pub(in super::super) struct ParquetRows {
    table: Table,
    decoder: Option<ParquetPushDecoder>,
    columns: Vec<String>,
    names: Arc<[Vec<u8>]>,
    row: u64,
    read: u64,
}

/// Rows unpacked in one step: a value that is kept once in the file may stand in every row.
const STEP: usize = 16;

const BROKEN: &str = "it is no sound Parquet file; write it anew";

impl ParquetRows {
    pub async fn open(table: Table) -> Result<ParquetRows, FileError> {
        let broken = |_: ParquetError| table.wrong(None, None, BROKEN);
        let size = match table.file.size {
            0 => table.source.size(&table.file.path).await?,
            size => size,
        };
        if size < 12 {
            return Err(table.wrong(None, None, BROKEN));
        }
        let mut footer = ParquetMetaDataPushDecoder::try_new(size).map_err(broken)?;
        let mut read = 0;
        let metadata: ParquetMetaData = loop {
            let (next, result) = on_pool(footer, ParquetMetaDataPushDecoder::try_decode, &table).await?;
            footer = next;
            match result.map_err(broken)? {
                DecodeResult::Data(metadata) => break metadata,
                DecodeResult::NeedsData(ranges) => {
                    let bytes = fetch(&table, &ranges, size, &mut read).await?;
                    footer.push_ranges(ranges, bytes).map_err(broken)?;
                }
                DecodeResult::Finished => return Err(table.wrong(None, None, BROKEN)),
            }
        };
        let most = table.limits.batch_row_group_bytes as u64;
        for group in metadata.row_groups() {
            let sizes = [group.total_byte_size(), group.compressed_size()];
            if sizes.iter().any(|size| u64::try_from(*size).map_or(true, |size| size > most)) {
                return Err(FileError::TooLarge {
                    file: table.file.name.clone(),
                    most,
                    limit: "limits.batch_row_group_bytes",
                    remedy: "a row group of it is larger; write it with smaller ones",
                });
            }
        }
        let step = table.batch.clamp(1, STEP);
        let builder = ParquetPushDecoderBuilder::try_new_decoder(Arc::new(metadata)).map_err(broken)?;
        let columns: Vec<String> =
            builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let names = names(&columns).map_err(|what| table.wrong(None, None, what))?;
        let decoder = builder.with_batch_size(step).build().map_err(broken)?;
        let file = crate::store::jobs::FileRef { size, ..table.file.clone() };
        let table = Table { file, ..table };
        Ok(ParquetRows { table, decoder: Some(decoder), columns, names: names.into(), row: 1, read })
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    pub fn read(&self) -> u64 {
        self.read
    }

    /// Reads until there is at least one more row.
    pub async fn more(&mut self, into: &mut VecDeque<Row>) -> Result<bool, FileError> {
        while let Some(decoder) = self.decoder.take() {
            let (shape, names) = (self.table.shape, self.names.clone());
            let (wanted, most) = (self.table.batch.clamp(1, 1024), self.table.limits.batch_row_bytes);
            let decode = move |decoder: &mut ParquetPushDecoder| {
                let (mut found, mut made) = (Vec::new(), 0);
                while found.len() < wanted && made <= most {
                    match decoder.try_decode()? {
                        DecodeResult::Data(batch) => {
                            let more = rows(&batch, shape, &names)?;
                            made += more.iter().map(Vec::len).sum::<usize>();
                            found.extend(more);
                        }
                        // What it asks for, it asks for again.
                        _ if !found.is_empty() => break,
                        DecodeResult::NeedsData(ranges) => return Ok(Next::Needs(ranges)),
                        DecodeResult::Finished => return Ok(Next::End),
                    }
                }
                Ok(Next::Rows(found))
            };
            let (mut decoder, next) = on_pool(decoder, decode, &self.table).await?;
            let broken = |_: ParquetError| self.table.wrong(None, Some(self.row), BROKEN);
            match next.map_err(broken)? {
                Next::End => break,
                Next::Needs(ranges) => {
                    let bytes = fetch(&self.table, &ranges, self.table.file.size, &mut self.read).await?;
                    decoder.push_ranges(ranges, bytes).map_err(broken)?;
                    self.decoder = Some(decoder);
                }
                Next::Rows(rows) => {
                    self.row += rows.len() as u64;
                    self.decoder = Some(decoder);
                    if rows.is_empty() {
                        continue;
                    }
                    into.extend(rows.into_iter().map(|json| Row { json, line: None }));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

enum Next {
    Rows(Vec<Vec<u8>>),
    Needs(Vec<Range<u64>>),
    End,
}

/// Does something with a decoder on the blocking pool.
async fn on_pool<D: Send + 'static, T: Send + 'static>(
    mut decoder: D,
    work: impl FnOnce(&mut D) -> Result<T, ParquetError> + Send + 'static,
    table: &Table,
) -> Result<(D, Result<T, ParquetError>), FileError> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work(&mut decoder);
        (decoder, result)
    });
    done.await.map_err(|_| table.wrong(None, None, BROKEN))
}

/// Fetches parts of the file, not more than a row group may have.
async fn fetch(
    table: &Table,
    ranges: &[Range<u64>],
    size: u64,
    read: &mut u64,
) -> Result<Vec<Bytes>, FileError> {
    let most = table.limits.batch_row_group_bytes as u64;
    let wanted =
        ranges.iter().map(|range| range.end.saturating_sub(range.start)).fold(0, u64::saturating_add);
    if wanted > most || ranges.iter().any(|range| range.start > range.end || range.end > size) {
        return Err(table.wrong(None, None, BROKEN));
    }
    let mut bytes = Vec::with_capacity(ranges.len());
    for range in ranges {
        bytes.push(table.source.range(&table.file.path, range.clone(), &table.fetches).await?);
    }
    *read += wanted;
    Ok(bytes)
}

/// The rows of a batch, each value as Arrow writes it in JSON.
fn rows(batch: &RecordBatch, shape: Shape, names: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, ParquetError> {
    let options = EncoderOptions::default().with_explicit_nulls(true);
    let schema = batch.schema();
    let encoders: Result<Vec<NullableEncoder<'_>>, _> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| make_encoder(field, column.as_ref(), &options))
        .collect();
    let mut encoders = encoders?;
    let each = (0..batch.num_rows()).map(|at| {
        row(shape, names, |column, out| match encoders.get_mut(column) {
            Some(encoder) if !encoder.is_null(at) => encoder.encode(at, out),
            _ => out.extend_from_slice(b"null"),
        })
    });
    Ok(each.collect())
}
