//! An instance of which each connection is played by a function: for answers that come piece by piece, and for
//! ends of connections that a test waits for.

use std::future::Future;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::instance::{Seen, read, take};

/// One connection from the gateway.
pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Which connection this is, from 1.
    pub number: usize,
}

impl Link {
    /// The next request; `None` at the end of the connection.
    pub async fn request(&mut self) -> Option<Seen> {
        let mut seen = read(&mut self.stream, &mut self.buffer).await?;
        seen.connection = self.number;
        Some(seen)
    }

    /// So many bytes, whatever they are; `None` at the end of the connection.
    pub async fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        take(&mut self.stream, &mut self.buffer, count).await
    }

    /// Writes; false once the gateway is gone.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Returns once the gateway has closed the connection.
    pub async fn closed(&mut self) {
        let mut scratch = [0; 1024];
        while matches!(self.stream.read(&mut scratch).await, Ok(1..)) {}
    }
}

/// Starts an instance and gives its address as `backend.urls` wants it.
pub async fn play<P, F>(play: P) -> String
where
    P: Fn(Link) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let play = Arc::new(play);
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            number += 1;
            tokio::spawn(play(Link { stream, buffer: Vec::new(), number }));
        }
    });
    url
}
