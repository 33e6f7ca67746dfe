//! The guard between a socket and hyper's parser: bytes pass only once they are beyond doubt.
//!
//! When a message breaks a rule, a harmless request takes its place, so that the refusal is answered, recorded and
//! counted by the ordinary way, after the answers to whatever came before; then the connection ends.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::conn::{Conn, Phase};
use super::framing::{Framing, Place};

/// What stands in for a message that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// What is still taken from a client that goes on sending after its answer, and for how long.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);

/// A socket under guard.
#[derive(Debug)]
pub struct Guard<I> {
    io: I,
    conn: Arc<Conn>,
    mode: Mode,
    /// Bytes that were read and have not passed.
    held: BytesMut,
    /// How many of them may pass.
    free: usize,
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

#[derive(Debug)]
enum Mode {
    /// HTTP/1: every byte is followed.
    Strict(Framing),
    /// HTTP/2, which has frames of its own.
    Open,
    /// A head broke a rule: nothing more is read.
    Refused,
    /// A body broke a rule: reading on is an error.
    Broken,
}

impl<I> Guard<I> {
    /// Follows an HTTP/1 connection of which these bytes were read already.
    pub fn strict(io: I, conn: Arc<Conn>, framing: Framing, first: BytesMut) -> Guard<I> {
        let mut guard = Guard { io, conn, mode: Mode::Strict(framing), held: first, free: 0, linger: None };
        guard.follow_held();
        guard
    }

    /// Lets everything pass, first these bytes.
    pub fn open(io: I, conn: Arc<Conn>, first: BytesMut) -> Guard<I> {
        let free = first.len();
        conn.multiplex();
        Guard { io, conn, mode: Mode::Open, held: first, free, linger: None }
    }

    /// Follows bytes; gives how many of them may pass.
    fn follow(mode: &mut Mode, conn: &Conn, bytes: &[u8]) -> usize {
        let framing = match mode {
            Mode::Strict(framing) => framing,
            Mode::Open => return bytes.len(),
            Mode::Refused | Mode::Broken => return 0,
        };
        let mut passed = 0;
        let violation = framing.advance(bytes, &mut passed).err();
        let (place, heads) = (framing.place(), framing.heads());
        if let Some(violation) = violation {
            let (number, next) = match place {
                Place::Body => (heads, Mode::Broken),
                Place::Head => (heads + 1, Mode::Refused),
            };
            conn.refuse(number, violation);
            *mode = next;
        } else {
            conn.enter(match place {
                Place::Body => Phase::Busy,
                Place::Head if passed == bytes.len() && heads > 0 => Phase::Idle,
                Place::Head => Phase::Head,
            });
        }
        passed
    }

    fn follow_held(&mut self) {
        self.free = Self::follow(&mut self.mode, &self.conn, &self.held);
        self.stand_in();
    }

    /// Once a head was refused, what follows it is replaced.
    fn stand_in(&mut self) {
        if matches!(self.mode, Mode::Refused) {
            self.held.truncate(self.free);
            self.held.extend_from_slice(STAND_IN);
            self.free = self.held.len();
        }
    }

    fn release(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.free.min(buf.remaining());
        if let Some(bytes) = self.held.get(..count) {
            buf.put_slice(bytes);
        }
        self.held.advance(count);
        self.free -= count;
    }
}

impl<I: AsyncRead + Unpin> Guard<I> {
    /// Reads with nothing held: what may pass stays where it was read, without a copy.
    fn read_through(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<Progress>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if fresh.is_empty() {
            return Poll::Ready(Ok(Progress::Done));
        }
        let passed = Self::follow(&mut self.mode, &self.conn, fresh);
        if passed == fresh.len() {
            return Poll::Ready(Ok(Progress::Done));
        }
        if matches!(self.mode, Mode::Strict(_)) {
            self.held.extend_from_slice(fresh.get(passed..).unwrap_or_default());
        }
        buf.set_filled(before + passed);
        self.stand_in();
        Poll::Ready(Ok(if passed > 0 { Progress::Done } else { Progress::Again }))
    }

    /// Reads behind the beginning of a head that is held.
    fn read_on(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Progress>> {
        if ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.held))? == 0 {
            return Poll::Ready(Ok(Progress::Done));
        }
        self.follow_held();
        Poll::Ready(Ok(Progress::Again))
    }
}

enum Progress {
    /// The reader has what there is, be it the end.
    Done,
    /// Look again.
    Again,
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        loop {
            if guard.free > 0 {
                guard.release(buf);
                return Poll::Ready(Ok(()));
            }
            match guard.mode {
                // The answer to the stand-in ends the connection.
                Mode::Refused => return Poll::Pending,
                Mode::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Mode::Strict(_) | Mode::Open => {}
            }
            let progress =
                if guard.held.is_empty() { guard.read_through(cx, buf) } else { guard.read_on(cx) };
            if let Progress::Done = ready!(progress)? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Guard<I> {
    fn written<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.conn.stall(result.is_pending());
        result
    }

    /// Takes what the client still sends, within bounds: closing over unread bytes would make the
    /// kernel reset the connection and with it the answer that is under way.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (sleep, taken) =
            self.linger.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER_TIME)), 0));
        let mut scratch = [0_u8; 4096];
        while *taken < LINGER_BYTES {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => *taken += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return sleep.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.written(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
        }
        let unread = match &self.mode {
            Mode::Strict(framing) => framing.place() == Place::Body || !self.held.is_empty(),
            Mode::Open => false,
            Mode::Refused | Mode::Broken => true,
        };
        if unread {
            ready!(self.linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
