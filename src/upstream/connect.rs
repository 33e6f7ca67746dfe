//! Connections to instances.

use std::io;
use std::net::{IpAddr, SocketAddr};
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

use super::reach::Reach;
use crate::model::backend::{InstanceUrl, is_off_limits};

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
pub(super) struct Connector {
    target: Target,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    time: Duration,
}

/// Where an instance listens.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// At a name, which is looked up for every connection.
    Name(Arc<str>, u16),
    /// At an address.
    Address(SocketAddr),
}

impl Connector {
    /// A connector; `host` is the name that the instance's certificate has to be for.
    pub(super) fn new(
        url: &InstanceUrl,
        address: Option<SocketAddr>,
        reach: &Reach,
    ) -> Result<Connector, String> {
        let tls = if url.tls {
            let name = ServerName::try_from(url.host.clone());
            Some((reach.tls()?, name.map_err(|_| format!("`{}` is no host name", url.host))?))
        } else {
            None
        };
        let literal = url.host.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, url.port));
        let target = match address.or(literal) {
            Some(address) => Target::Address(address),
            None => Target::Name(url.host.as_str().into(), url.port),
        };
        Ok(Connector { target, tls, time: reach.connect() })
    }

    /// The same server, at another port if one is given.
    pub(super) fn at(&self, port: Option<u16>) -> Connector {
        let Some(port) = port else { return self.clone() };
        let target = match &self.target {
            Target::Name(name, _) => Target::Name(name.clone(), port),
            Target::Address(address) => Target::Address(SocketAddr::new(address.ip(), port)),
        };
        Connector { target, ..self.clone() }
    }

    /// Connects, with TLS if that is spoken.
    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        tokio::time::timeout(self.time, self.open()).await.unwrap_or(Err(ConnectError::TimedOut))
    }

    async fn open(&self) -> Result<Stream, ConnectError> {
        let stream = self.target.open().await.map_err(|error| match error.kind() {
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

impl Target {
    async fn open(&self) -> io::Result<TcpStream> {
        let (name, port) = match self {
            Target::Address(address) => return TcpStream::connect(address).await,
            Target::Name(name, port) => (name, *port),
        };
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in addresses(name, port).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The addresses of a name that a model server may have. A name that leads to a cloud's metadata service is a trick.
pub async fn addresses(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = tokio::net::lookup_host((name, port)).await?;
    Ok(found.filter(|address| !is_off_limits(address.ip())).collect())
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
