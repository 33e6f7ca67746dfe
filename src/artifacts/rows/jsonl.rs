//! Rows of JSON lines: an object a line, its values sent as they came.

use std::collections::{HashMap, VecDeque};

use serde_json::value::RawValue;

use super::super::error::FileError;
use super::super::predictions::fields;
use super::super::source::Chunks;
use super::{Row, Shape, Table, names, row};

/// The rows of a file.
#[derive(Debug)]
pub(in super::super) struct JsonRows {
    table: Table,
    bytes: Chunks,
    held: Vec<u8>,
    line: u64,
    columns: Vec<String>,
    names: Vec<Vec<u8>>,
    read: u64,
    ended: bool,
}

impl JsonRows {
    pub async fn open(table: Table) -> Result<JsonRows, FileError> {
        let bytes = table.source.read(&table.file.path, &table.fetches).await?;
        let (held, columns, names) = Default::default();
        Ok(JsonRows { table, bytes, held, line: 1, columns, names, read: 0, ended: false })
    }

    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    pub fn read(&self) -> u64 {
        self.read
    }

    /// Reads until there is at least one more row.
    pub async fn more(&mut self, into: &mut VecDeque<Row>) -> Result<bool, FileError> {
        let before = into.len();
        while into.len() == before {
            if memchr::memchr(b'\n', &self.held).is_some() {
                self.take(into)?;
                continue;
            }
            if self.ended {
                return Ok(false);
            }
            if let Some(chunk) = self.bytes.next().await? {
                self.read += chunk.len() as u64;
                self.table.may_have(self.read)?;
                self.held.extend_from_slice(&chunk);
            } else {
                self.ended = true;
                if !self.held.is_empty() {
                    self.held.push(b'\n');
                }
            }
            self.take(into)?;
        }
        Ok(true)
    }

    /// Takes whole lines, until their JSON is as much as a row may be: columns that a line leaves out make it larger.
    fn take(&mut self, into: &mut VecDeque<Row>) -> Result<(), FileError> {
        let held = std::mem::take(&mut self.held);
        let whole = memchr::memrchr(b'\n', &held).map_or(0, |at| at + 1);
        let (lines, rest) = held.split_at_checked(whole).unwrap_or((&held, &[]));
        let (mut taken, mut made) = (0, 0);
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.table.row_may_have(line.len(), || self.line)?;
            let text = std::str::from_utf8(line)
                .map_err(|_| self.wrong("it is not UTF-8; save the file in that encoding"))?;
            let text = if self.line == 1 { text.trim_start_matches('\u{feff}') } else { text }.trim();
            if !text.is_empty() {
                let json = self.row(text)?;
                made += json.len();
                into.push_back(Row { json, line: Some(self.line) });
            }
            self.line += 1;
            taken += line.len();
            if made > self.table.limits.batch_row_bytes {
                self.held = held.get(taken..).unwrap_or_default().to_vec();
                return Ok(());
            }
        }
        self.table.row_may_have(rest.len(), || self.line)?;
        self.held = rest.to_vec();
        Ok(())
    }

    fn wrong(&self, what: impl Into<String>) -> FileError {
        self.table.wrong(Some(self.line), None, what)
    }

    fn row(&mut self, text: &str) -> Result<Vec<u8>, FileError> {
        let not_an_object = "it is not a JSON object; each line has to be one";
        let raw: &RawValue = serde_json::from_str(text).map_err(|_| self.wrong(not_an_object))?;
        if !raw.get().starts_with('{') {
            return Err(self.wrong(not_an_object));
        }
        if self.table.shape == Shape::Object {
            return Ok(raw.get().as_bytes().to_vec());
        }
        let fields = fields(raw).ok_or_else(|| self.wrong(not_an_object))?;
        if self.columns.is_empty() {
            let columns: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
            self.names = names(&columns).map_err(|what| self.wrong(what))?;
            self.columns = columns;
        }
        let count = fields.len();
        let values: HashMap<String, &RawValue> = fields.into_iter().collect();
        if values.len() != count {
            return Err(self.wrong("a name stands there twice"));
        }
        let known = self.columns.iter().filter(|name| values.contains_key(*name)).count();
        if known != count {
            let what = "it has a name that the first line has not; name every column in the first line, with null where there is nothing";
            return Err(self.wrong(what));
        }
        Ok(row(Shape::Array, &self.names, |at, out| {
            let value = self.columns.get(at).and_then(|name| values.get(name));
            out.extend_from_slice(value.map_or("null", |value| value.get()).as_bytes());
        }))
    }
}
