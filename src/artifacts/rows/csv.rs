//! Rows of CSV (RFC 4180) and of tables whose cells are parted by tabs. The first row names the columns.
//!
//! The `csv` crate splits records into cells, and takes anything for CSV. What is strict is the scanner before it, which
//! follows quotes and line ends byte by byte, finds the end of each record, and refuses what has two readings.

use std::collections::VecDeque;

use super::super::error::FileError;
use super::super::source::Chunks;
use super::{Row, Table, names, row, string};

/// What comes before the text of some files.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// The rows of a file.
#[derive(Debug)]
pub(in super::super) struct CsvRows {
    table: Table,
    delimiter: u8,
    bytes: Chunks,
    /// What was read and not yet taken apart. Begins with a record.
    held: Vec<u8>,
    /// Whether the beginning of the file was seen.
    begun: bool,
    /// How much of that was scanned, and up to where there are whole records.
    scanned: usize,
    whole: usize,
    scan: Scan,
    /// The line that `held` begins with.
    line: u64,
    columns: Vec<String>,
    names: Vec<Vec<u8>>,
    read: u64,
    ended: bool,
}

impl CsvRows {
    pub async fn open(table: Table, delimiter: u8) -> Result<CsvRows, FileError> {
        let bytes = table.source.read(&table.file.path, &table.fetches).await?;
        let (held, columns, names) = Default::default();
        let scan = Scan::new(delimiter);
        Ok(CsvRows {
            table,
            delimiter,
            bytes,
            held,
            begun: false,
            scanned: 0,
            whole: 0,
            scan,
            line: 1,
            columns,
            names,
            read: 0,
            ended: false,
        })
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
            if self.whole > 0 {
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
                self.skip_mark();
            } else {
                self.ended = true;
                self.skip_mark();
            }
            if !self.begun {
                continue;
            }
            self.scan()?;
            if let Some(wrong) = self.scan.end().filter(|_| self.ended) {
                return Err(self.table.wrong(Some(wrong.line), None, wrong.what));
            }
            self.take(into)?;
            if self.ended && self.names.is_empty() {
                return Err(self.table.wrong(
                    None,
                    None,
                    "it is empty; its first row has to name the columns",
                ));
            }
        }
        Ok(true)
    }

    /// Leaves out the mark at the beginning of some files, as soon as there is enough to see it.
    fn skip_mark(&mut self) {
        if !self.begun && (self.ended || self.held.len() >= MARK.len()) {
            self.begun = true;
            if self.held.starts_with(MARK) {
                self.held.drain(..MARK.len());
            }
        }
    }

    /// Finds the whole records among what is held.
    fn scan(&mut self) -> Result<(), FileError> {
        let fresh = self.held.get(self.scanned..).unwrap_or_default();
        for (at, byte) in fresh.iter().enumerate() {
            match self.scan.take(*byte) {
                Ok(false) => {}
                Ok(true) => self.whole = self.scanned + at + 1,
                Err(what) => return Err(self.table.wrong(Some(self.scan.line), None, what)),
            }
        }
        self.scanned = self.held.len();
        if self.ended {
            self.whole = self.held.len();
        }
        let line = || self.line + newlines(self.held.get(..self.whole).unwrap_or_default());
        self.table.row_may_have(self.held.len() - self.whole, line)
    }

    /// Takes whole records apart, until their JSON is as much as a row may be: names make it larger than the file is.
    fn take(&mut self, into: &mut VecDeque<Row>) -> Result<(), FileError> {
        let records = self.held.get(..self.whole).unwrap_or_default();
        let mut reader = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .buffer_capacity(64 * 1024)
            .from_reader(records);
        let mut record = ::csv::ByteRecord::new();
        let (mut taken, mut made) = (self.whole, 0);
        let (mut line, mut counted) = (self.line, 0);
        // A slice gives no error, and a record of bytes has none of its own.
        while let Ok(true) = reader.read_byte_record(&mut record) {
            let start = record.position().map_or(0, |position| after(records, position.byte()));
            line += newlines(records.get(counted..start).unwrap_or_default());
            counted = start;
            let wrong = |what: String| self.table.wrong(Some(line), None, what);
            let cells: Result<Vec<&str>, _> = record.iter().map(std::str::from_utf8).collect();
            let cells =
                cells.map_err(|_| wrong("it is not UTF-8; save the file in that encoding".to_owned()))?;
            if self.columns.is_empty() {
                let columns: Vec<String> = cells.into_iter().map(str::to_owned).collect();
                self.names = names(&columns).map_err(wrong)?;
                self.columns = columns;
                continue;
            }
            if cells.len() != self.columns.len() {
                let what = format!(
                    "it has {} cells, and the first row names {} columns",
                    cells.len(),
                    self.columns.len()
                );
                return Err(wrong(what));
            }
            let json = row(self.table.shape, &self.names, |at, out| cell(cells.get(at).unwrap_or(&""), out));
            made += json.len();
            into.push_back(Row { json, line: Some(line) });
            if made > self.table.limits.batch_row_bytes {
                taken = after(records, reader.position().byte());
                break;
            }
        }
        self.line += newlines(records.get(..taken).unwrap_or_default());
        self.held.drain(..taken);
        self.scanned -= taken;
        self.whole -= taken;
        Ok(())
    }
}

/// Where the record behind a position begins: the reader stops within a line end, and passes over empty lines.
fn after(records: &[u8], position: u64) -> usize {
    let at = usize::try_from(position).unwrap_or(usize::MAX).min(records.len());
    let ends = records.get(at..).unwrap_or_default().iter();
    at + ends.take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// A cell as JSON, decided by nothing but itself: a number in the very spelling of JSON, a truth value, nothing, or text.
fn cell(text: &str, out: &mut Vec<u8>) {
    match text {
        "" => out.extend_from_slice(b"null"),
        "true" | "True" => out.extend_from_slice(b"true"),
        "false" | "False" => out.extend_from_slice(b"false"),
        number if is_number(number.as_bytes()) => out.extend_from_slice(number.as_bytes()),
        text => string(text, out),
    }
}

/// Whether a text is a JSON number (RFC 8259, section 6).
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest.first() == Some(&b'0')) {
        return false;
    }
    let mut rest = rest.get(whole..).unwrap_or_default();
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = digits(fraction);
        if count == 0 {
            return false;
        }
        rest = fraction.get(count..).unwrap_or_default();
    }
    if let Some(power) = rest.strip_prefix(b"e").or_else(|| rest.strip_prefix(b"E")) {
        let power = power.strip_prefix(b"+").or_else(|| power.strip_prefix(b"-")).unwrap_or(power);
        return !power.is_empty() && digits(power) == power.len();
    }
    rest.is_empty()
}

/// Where in a record the scanner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    CellStart,
    Plain,
    Quoted,
    /// Behind a quote in a quoted cell: its end, or half of a quote.
    Closed,
    Return,
}

/// Follows the records of a file.
#[derive(Debug)]
struct Scan {
    delimiter: u8,
    at: At,
    line: u64,
    opened: u64,
}

/// What is wrong, and in which line.
struct Wrong {
    line: u64,
    what: &'static str,
}

impl Scan {
    fn new(delimiter: u8) -> Scan {
        Scan { delimiter, at: At::CellStart, line: 1, opened: 1 }
    }

    /// Takes a byte; `true` if a record ends with it.
    fn take(&mut self, byte: u8) -> Result<bool, &'static str> {
        self.at = match (self.at, byte) {
            (At::Quoted, b'"') => At::Closed,
            (At::Quoted, b'\n') => {
                self.line += 1;
                At::Quoted
            }
            (At::Quoted, _) | (At::Closed, b'"') => At::Quoted,
            (_, b'\n') => {
                self.line += 1;
                self.at = At::CellStart;
                return Ok(true);
            }
            (At::Return, _) => {
                return Err(
                    "a carriage return without a line feed; write the file with one kind of line end",
                );
            }
            (_, b'\r') => At::Return,
            (_, byte) if byte == self.delimiter => At::CellStart,
            (At::Closed, _) => {
                return Err(
                    "something follows the quote that ends a cell; a quote in a cell is written twice",
                );
            }
            (At::CellStart, b'"') => {
                self.opened = self.line;
                At::Quoted
            }
            (At::Plain, b'"') => {
                return Err(
                    "a quote in the middle of a cell; quote the whole cell, and write the quote twice",
                );
            }
            (At::CellStart | At::Plain, _) => At::Plain,
        };
        Ok(false)
    }

    /// What is wrong with the end of the file.
    fn end(&self) -> Option<Wrong> {
        match self.at {
            At::Quoted => Some(Wrong { line: self.opened, what: "a quote begins here and never ends" }),
            At::Return => Some(Wrong { line: self.line, what: "a carriage return without a line feed" }),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_decided_by_itself() {
        for (text, json) in [
            ("", "null"),
            ("1", "1"),
            ("-0", "-0"),
            ("1.50", "1.50"),
            ("1e5", "1e5"),
            ("1E+5", "1E+5"),
            ("-1.5e-10", "-1.5e-10"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("true", "true"),
            ("True", "true"),
            ("false", "false"),
            ("False", "false"),
            ("TRUE", "\"TRUE\""),
            ("01", "\"01\""),
            ("+1", "\"+1\""),
            ("1.", "\"1.\""),
            (".5", "\".5\""),
            ("1e", "\"1e\""),
            ("1e+", "\"1e+\""),
            ("-", "\"-\""),
            (" 1", "\" 1\""),
            ("0x10", "\"0x10\""),
            ("NaN", "\"NaN\""),
            ("null", "\"null\""),
            ("a \"b\"\n", "\"a \\\"b\\\"\\n\""),
        ] {
            let mut out = Vec::new();
            cell(text, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), json, "{text:?}");
            let parsed = serde_json::from_str::<serde_json::Value>(json);
            assert!(parsed.is_ok(), "{json}");
        }
    }

    /// Records, or the line and the words of what is wrong.
    fn records(text: &str) -> Result<usize, (u64, String)> {
        let mut scan = Scan::new(b',');
        let mut count = 0;
        for byte in text.bytes() {
            count += usize::from(scan.take(byte).map_err(|what| (scan.line, what.to_owned()))?);
        }
        scan.end().map_or(Ok(count), |wrong| Err((wrong.line, wrong.what.to_owned())))
    }

    #[test]
    fn records_end_outside_of_quotes() {
        assert_eq!(records("a,b\r\n\"x\ny\",\"\"\"q\"\"\"\n\"\",1\n"), Ok(3));
        for (text, line, what) in [
            ("a\nb\"c\n", 2, "middle"),
            ("a\n\"b\"c\n", 2, "follows"),
            ("a\n\"b\n\nc", 2, "never ends"),
            ("a\rb\n", 1, "carriage return"),
            ("a\n\"b\" ,c\n", 2, "follows"),
            ("a\r", 1, "carriage return"),
        ] {
            let (at, words) = records(text).unwrap_err();
            assert!(at == line && words.contains(what), "{text:?}: {at} {words}");
        }
    }
}
