//! Connections to instances.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::identity::fetch;
use crate::model::deployment::{Backend, HttpVersion, InstanceUrl};

/// Why there is no connection. Nothing of the request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    /// Refused, unresolvable, or no trust.
    Failed,
    /// Not in time.
    TimedOut,
}

/// A connection, clear or encrypted.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Makes connections to one instance.
#[derive(Debug, Clone)]
pub struct Connector {
    host: Arc<str>,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    time: Duration,
}

impl Connector {
    /// A connector; the roots to trust are read now, so that a mistake shows before any request.
    pub fn new(url: &InstanceUrl, backend: &Backend, time: Duration) -> Result<Connector, String> {
        let tls = if url.tls { Some(tls(url, backend)?) } else { None };
        Ok(Connector { host: url.host.as_str().into(), port: url.port, tls, time })
    }

    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        tokio::time::timeout(self.time, self.open()).await.unwrap_or(Err(ConnectError::TimedOut))
    }

    async fn open(&self) -> Result<Stream, ConnectError> {
        let stream =
            TcpStream::connect((&*self.host, self.port)).await.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => ConnectError::TimedOut,
                _ => ConnectError::Failed,
            })?;
        stream.set_nodelay(true).map_err(|_| ConnectError::Failed)?;
        let Some((config, name)) = &self.tls else {
            return Ok(Stream::Plain(stream));
        };
        let stream = TlsConnector::from(config.clone())
            .connect(name.clone(), stream)
            .await
            .map_err(|_| ConnectError::Failed)?;
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn tls(url: &InstanceUrl, backend: &Backend) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let config = match &backend.ca_file {
        Some(file) => fetch::client_config(file).map_err(|error| error.to_string())?,
        None => system_roots()?,
    };
    let mut config = config;
    config.alpn_protocols = match backend.http_version {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
    };
    let name =
        ServerName::try_from(url.host.clone()).map_err(|_| format!("`{}` is no host name", url.host))?;
    Ok((Arc::new(config), name))
}

/// The bundle of Debian, Red Hat, Alpine or what `SSL_CERT_FILE` names.
fn system_roots() -> Result<ClientConfig, String> {
    const BUNDLES: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let named = std::env::var("SSL_CERT_FILE").ok();
    let bundle = named.as_deref().into_iter().chain(BUNDLES).find(|path| Path::new(path).exists());
    let bundle = bundle.ok_or("there is no bundle of trusted roots; set `ca_file` or SSL_CERT_FILE")?;
    fetch::client_config(Path::new(bundle)).map_err(|error| error.to_string())
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
