//! What a process wrote of late: whole lines, so many bytes of them.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The longest line that is kept, in bytes; the rest of it is left out.
const LINE: usize = 8 * 1024;

/// The last lines of one process.
#[derive(Debug)]
pub(super) struct Output {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Output {
    /// Keeps this many bytes.
    pub(super) fn new(most: usize) -> Output {
        Output { most, kept: Mutex::default() }
    }

    /// Keeps a line; the oldest ones go.
    pub(super) fn push(&self, line: String) {
        let mut kept = self.kept.lock();
        kept.bytes += line.len() + 1;
        kept.lines.push_back(line);
        while kept.bytes > self.most {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len() + 1;
        }
    }

    /// The last lines, at most this many.
    pub(super) fn tail(&self, most: usize) -> Vec<String> {
        let kept = self.kept.lock();
        kept.lines.iter().skip(kept.lines.len().saturating_sub(most)).cloned().collect()
    }

    /// Keeps what is read, until its end.
    pub(super) async fn follow(&self, source: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(source);
        let mut line: Vec<u8> = Vec::new();
        loop {
            let Ok(bytes) = reader.fill_buf().await else { return };
            if bytes.is_empty() {
                if !line.is_empty() {
                    self.push(text(&line));
                }
                return;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            let room = LINE.saturating_sub(line.len()).min(taken.len());
            line.extend_from_slice(taken.get(..room).unwrap_or_default());
            let used = taken.len() + usize::from(end.is_some());
            reader.consume(used);
            if end.is_some() {
                self.push(text(&line));
                line.clear();
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches('\r').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_lines_are_kept_and_long_ones_are_cut() {
        let output = Output::new(20);
        output.follow(&b"one\r\ntwo\nthree\n\nfour\nhalf"[..]).await;
        assert_eq!(output.tail(100), ["three", "", "four", "half"]);
        assert_eq!(output.tail(2), ["four", "half"]);
        let output = Output::new(1 << 20);
        output.follow(format!("{}\nnext\n", "x".repeat(3 * LINE)).as_bytes()).await;
        let tail = output.tail(9);
        assert_eq!((tail[0].len(), tail[1].as_str()), (LINE, "next"));
    }
}
