//! A client that says exactly what it is told to say.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// The head, as it was written.
    pub head: String,
    /// The body, without its chunk framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `error.code` of the body.
    pub fn code(&self) -> String {
        self.json().pointer("/error/code").and_then(|code| code.as_str()).unwrap_or_default().to_owned()
    }

    /// The gateway's own reason.
    pub fn reason(&self) -> Option<&str> {
        self.field("ms-azureml-model-error-reason")
    }
}

/// A connection.
pub struct Raw {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Raw {
        Raw::of(TcpStream::connect(address).await.unwrap())
    }

    /// A connection that is there already.
    pub fn of(stream: TcpStream) -> Raw {
        stream.set_nodelay(true).unwrap();
        Raw { stream, buffer: Vec::new() }
    }

    /// Writes; a connection that is closed already is no error here, the answer tells.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads one answer; `None` if the connection ended before there was one.
    pub async fn hear(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("no answer in time")
    }

    /// Whether the other side closes without a further byte.
    pub async fn closes(&mut self) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        let read = self.stream.read_buf(&mut self.buffer);
        !matches!(tokio::time::timeout(PATIENCE, read).await.expect("not closed in time"), Ok(1..))
    }

    /// So many bytes, whatever they are; `None` at the end of the connection.
    pub async fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        tokio::time::timeout(PATIENCE, self.take(count)).await.expect("nothing in time")
    }

    async fn more(&mut self) -> Option<()> {
        matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)).then_some(())
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Some(line);
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            self.more().await?;
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// Reads the next head, however long it takes.
    pub async fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(head);
            }
            head.push_str(&line);
            head.push('\n');
        }
    }

    async fn read(&mut self) -> Option<Answer> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let mut answer = Answer { status, head, body: Vec::new() };
        if let Some(length) = answer.field("content-length").and_then(|text| text.parse().ok()) {
            answer.body = self.take(length).await?;
        } else if answer.field("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line().await?, 16).ok()?;
                let chunk = self.take(size + 2).await?;
                if size == 0 {
                    break;
                }
                answer.body.extend_from_slice(&chunk[..size]);
            }
        }
        Some(answer)
    }
}

/// One connection, one message, one answer.
pub async fn ask(address: SocketAddr, message: impl AsRef<[u8]>) -> Option<Answer> {
    let mut raw = Raw::connect(address).await;
    raw.say(message).await;
    raw.hear().await
}
