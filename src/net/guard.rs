//! The guard between a socket and hyper's parser: bytes pass only once they are beyond doubt.
//!
//! When a message breaks a rule, a harmless request takes its place, so that the refusal is answered, recorded and
//! counted by the ordinary way, after the answers to whatever came before; then the connection ends. Of HTTP/2 only the
//! frames' heads are followed; when there are too many, a header block without an end takes their place, to which the
//! parser's answer is GOAWAY.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::conn::{Conn, Phase};
use super::frames::{Abuse, Answers, Frames, Refusal, Told};
use super::framing::{Framing, Place};

/// What stands in for a message that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";
/// What stands in for frames that were refused: a header block begins, and goes on for as long as the parser reads.
const BLOCK: [u8; 9] = [0, 0, 0, 1, 0, 0, 0, 0, 1];
const BLOCK_STREAM: u32 = 1;
const MORE: [u8; 5] = [0, 0, 0, 9, 0];
/// What a list of fields that is too large is called, whoever finds it so.
const HEADERS_TOO_LARGE: &str = "headers_too_large";
/// How many pieces of it are made at a time.
const PIECES: usize = 16;
/// What is still taken from a client that goes on sending after its answer, and for how long.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(2);
/// What is taken of a client that goes on before it knows whether it got the protocol it asked for.
const EAGER_BYTES: usize = 16 * 1024;

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
    /// HTTP/2: frames are counted.
    Frames(Box<Exchange>),
    /// No HTTP any more: every byte passes.
    Tunnel,
    /// A head broke a rule: nothing more is read.
    Refused,
    /// A body broke a rule: reading on is an error.
    Broken,
}

/// Counts what HTTP/2 clients do.
#[derive(Debug, Clone)]
pub struct FrameCounts {
    /// What they may not do so often.
    pub abuse: IntCounterVec,
    /// What is not sound.
    pub malformed: IntCounterVec,
    /// What is too large.
    pub limit: IntCounterVec,
}

/// Both directions of an HTTP/2 connection.
#[derive(Debug)]
pub struct Exchange {
    frames: Frames,
    answers: Answers,
    counts: FrameCounts,
    /// What was refused: the parser is to take its leave.
    refused: Option<Refusal>,
}

impl Exchange {
    /// At the start of a connection.
    pub fn new(frames: Frames, counts: FrameCounts) -> Exchange {
        Exchange { frames, answers: Answers::default(), counts, refused: None }
    }

    /// Follows what the client sends; gives how many bytes may pass.
    fn came(&mut self, bytes: &[u8], now: u64) -> usize {
        let mut passed = 0;
        if self.refused.is_none()
            && let Err(refusal) = self.frames.advance(bytes, now, &mut passed)
        {
            self.refused = Some(refusal);
            if let Refusal::Abuse(abuse) = refusal {
                self.counts.abuse.with_label_values(&[abuse.label()]).inc();
            }
        }
        passed
    }

    /// Follows what was sent to the client.
    fn went(&mut self, bytes: &[u8], conn: &Conn) {
        let Exchange { frames, answers, counts, refused } = self;
        answers.advance(bytes, |told| match told {
            Told::Moved(length) => {
                frames.moved(length);
                conn.moved();
            }
            Told::Malformed => counts.malformed.with_label_values(&["h2"]).inc(),
            Told::TooLarge => {
                frames.too_large();
                counts.abuse.with_label_values(&[Abuse::HeaderList.label()]).inc();
                counts.limit.with_label_values(&[HEADERS_TOO_LARGE]).inc();
            }
            // The parser's leave is our doing.
            Told::Abused(_) if refused.is_some() => {}
            Told::Abused(abuse) => counts.abuse.with_label_values(&[abuse.label()]).inc(),
        });
    }

    /// What the parser reads instead of what was refused, until it has had enough. A block that was never begun is
    /// an error of the protocol, and one without an end is too much.
    fn stand_in(&mut self, held: &mut BytesMut) {
        let stream = self.frames.block().unwrap_or(BLOCK_STREAM);
        if self.frames.block().is_none() && self.refused != Some(Refusal::NoSettings) {
            held.extend_from_slice(&BLOCK);
            self.frames.begin_block(BLOCK_STREAM);
        }
        for _ in 0..PIECES {
            held.extend_from_slice(&MORE);
            held.extend_from_slice(&stream.to_be_bytes());
        }
    }
}

impl<I> Guard<I> {
    /// Follows an HTTP/1 connection of which these bytes were read already.
    pub fn strict(io: I, conn: Arc<Conn>, framing: Framing, first: BytesMut) -> Guard<I> {
        let mut guard = Guard { io, conn, mode: Mode::Strict(framing), held: first, free: 0, linger: None };
        guard.follow_held();
        guard
    }

    /// Follows an HTTP/2 connection of which these bytes were read already.
    pub fn frames(io: I, conn: Arc<Conn>, exchange: Exchange, first: BytesMut) -> Guard<I> {
        conn.multiplex();
        let mode = Mode::Frames(Box::new(exchange));
        let mut guard = Guard { io, conn, mode, held: first, free: 0, linger: None };
        guard.follow_held();
        guard
    }

    /// Follows bytes; gives how many of them may pass.
    fn follow(mode: &mut Mode, conn: &Conn, bytes: &[u8]) -> usize {
        let framing = match mode {
            Mode::Strict(framing) => framing,
            Mode::Frames(exchange) => {
                let passed = exchange.came(bytes, conn.now());
                conn.heading(exchange.frames.in_head());
                return passed;
            }
            Mode::Tunnel => return bytes.len(),
            Mode::Refused | Mode::Broken => return 0,
        };
        if framing.is_timed() {
            framing.at(conn.now());
        }
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

    /// Once something was refused, what follows is replaced.
    fn stand_in(&mut self) {
        match &mut self.mode {
            Mode::Refused => {
                self.held.truncate(self.free);
                self.held.extend_from_slice(STAND_IN);
            }
            Mode::Frames(exchange) if exchange.refused.is_some() => {
                self.held.truncate(self.free);
                exchange.stand_in(&mut self.held);
            }
            Mode::Strict(_) | Mode::Frames(_) | Mode::Tunnel | Mode::Broken => return,
        }
        self.free = self.held.len();
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
        if matches!(self.mode, Mode::Strict(_) | Mode::Frames(_)) {
            self.held.extend_from_slice(fresh.get(passed..).unwrap_or_default());
        }
        buf.set_filled(before + passed);
        self.stand_in();
        Poll::Ready(Ok(if passed > 0 { Progress::Done } else { Progress::Again }))
    }

    /// After a head that asks for another protocol: goes on as was decided. Until then what comes is held, within bounds.
    fn switched(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Mode::Strict(framing) = &mut self.mode else { return Poll::Ready(()) };
        if !framing.asks() {
            return Poll::Ready(());
        }
        match self.conn.switch.decided(framing.heads(), cx.waker()) {
            Some(true) => {
                self.mode = Mode::Tunnel;
                self.free = self.held.len();
            }
            Some(false) => {
                framing.stay();
                self.follow_held();
            }
            None if self.held.len() >= EAGER_BYTES => return Poll::Pending,
            None => {}
        }
        Poll::Ready(())
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
            if guard.free == 0 {
                ready!(guard.switched(cx));
            }
            if guard.free > 0 {
                guard.release(buf);
                return Poll::Ready(Ok(()));
            }
            match guard.mode {
                // The answer to the stand-in ends the connection.
                Mode::Refused => return Poll::Pending,
                Mode::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Mode::Frames(ref exchange) if exchange.refused.is_some() => {
                    guard.stand_in();
                    continue;
                }
                Mode::Strict(_) | Mode::Frames(_) | Mode::Tunnel => {}
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

    /// Follows the first so many bytes of what was to be sent.
    fn sent<'a>(&mut self, count: &Poll<io::Result<usize>>, bufs: impl Iterator<Item = &'a [u8]>) {
        let (Mode::Frames(exchange), Poll::Ready(Ok(count))) = (&mut self.mode, count) else { return };
        let mut left = *count;
        for buf in bufs {
            let taken = left.min(buf.len());
            exchange.went(buf.get(..taken).unwrap_or_default(), &self.conn);
            left -= taken;
        }
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
        self.sent(&result, std::iter::once(buf));
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.sent(&result, bufs.iter().map(|buf| &**buf));
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
            // Whoever was not asked to leave may still be sending.
            Mode::Frames(_) => !self.conn.is_leaving(),
            Mode::Tunnel => false,
            Mode::Refused | Mode::Broken => true,
        };
        if unread {
            ready!(self.linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}
