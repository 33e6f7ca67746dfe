//! What one client connection knows of itself, shared by its socket, its requests and its clocks.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::framing::Violation;
use super::switch::Switch;

/// A client connection.
#[derive(Debug)]
pub struct Conn {
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Encrypted.
    pub tls: bool,
    opened: Instant,
    phase: AtomicU8,
    /// Milliseconds since `opened` at which the phase began.
    since: AtomicU64,
    /// Milliseconds since `opened` since which the client takes nothing, plus one; 0 if it does.
    stalled: AtomicU64,
    /// Requests that were begun to be answered.
    begun: AtomicU64,
    /// Requests that are being answered.
    busy: AtomicU64,
    /// Their ends at the latest, in milliseconds since `opened`; 0 for a slot that is free.
    latest: Mutex<Vec<u64>>,
    /// Milliseconds since `opened` since which an HTTP/2 client owes settings or the rest of a head, plus one; 0 if it does not.
    heading: AtomicU64,
    /// The client was asked to leave.
    leaving: AtomicBool,
    refused: Mutex<Option<(u64, Violation)>>,
    /// Whether it leaves HTTP.
    pub(super) switch: Switch,
    server_name: OnceLock<String>,
}

/// What a connection is doing, as far as its clocks are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: between two requests.
    Idle = 0,
    /// A head is on its way.
    Head = 1,
    /// A request is being worked on; its own clocks run.
    Busy = 2,
}

/// Why a connection is ended by its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// Idle for too long.
    Idle,
    /// The head was not complete in time.
    Head,
    /// The client takes nothing of what is sent to it.
    Stalled,
}

/// The clocks of a connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnTimes {
    /// For a whole head.
    pub header: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Without a byte being taken.
    pub stall: Duration,
}

/// When a request has to be over. Dropping it ends the request.
#[derive(Debug)]
pub struct Note {
    conn: Arc<Conn>,
    number: usize,
    begun: u64,
}

impl Note {
    /// Moves the end to this long after the beginning.
    pub fn extend(&self, time: Duration) {
        let end = Conn::end_after(self.begun, time);
        if let Some(slot) = self.conn.latest.lock().get_mut(self.number) {
            *slot = end;
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        let conn = &self.conn;
        if let Some(slot) = conn.latest.lock().get_mut(self.number) {
            *slot = 0;
        }
        conn.busy.fetch_sub(1, Ordering::Relaxed);
        conn.since.store(conn.now(), Ordering::Relaxed);
    }
}

impl Conn {
    /// A connection that was just accepted and is expected to send a head.
    pub fn new(peer: SocketAddr, tls: bool) -> Conn {
        // An IPv4 client of an IPv6 socket is an IPv4 client.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Conn {
            peer,
            tls,
            opened: Instant::now(),
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            busy: AtomicU64::new(0),
            latest: Mutex::default(),
            heading: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            refused: Mutex::new(None),
            switch: Switch::default(),
            server_name: OnceLock::new(),
        }
    }

    pub(super) fn name(&self, server_name: &str) {
        let _ = self.server_name.set(server_name.to_ascii_lowercase());
    }

    /// The host that the TLS handshake was for, in lower case.
    pub fn server_name(&self) -> Option<&String> {
        self.server_name.get()
    }

    /// Milliseconds since the connection was opened.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn enter(&self, phase: Phase) {
        let before = self.phase.swap(phase as u8, Ordering::Relaxed);
        // A head that arrives in pieces does not start its clock anew.
        if before != phase as u8 {
            self.since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Streams come one beside the other: a head may be on its way while requests are worked on. The first thing that is
    /// owed counts from accept.
    pub(super) fn multiplex(&self) {
        self.enter(Phase::Idle);
        self.heading.store(1, Ordering::Relaxed);
    }

    /// Whether an HTTP/2 client owes settings or the rest of a head.
    pub(super) fn heading(&self, owes: bool) {
        self.mark(&self.heading, owes);
    }

    pub(super) fn stall(&self, stalled: bool) {
        self.mark(&self.stalled, stalled);
    }

    /// Notes since when something is so.
    fn mark(&self, since: &AtomicU64, is: bool) {
        let was = since.load(Ordering::Relaxed) != 0;
        if is != was {
            since.store(if is { self.now() + 1 } else { 0 }, Ordering::Relaxed);
        }
    }

    /// Notes that the client is asked to leave.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Whether requests are being answered.
    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// Something of an answer was sent. The last of it may be on its way long after the request is over.
    pub(super) fn moved(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// Whether it has been between two requests for so long.
    pub(super) fn idles(&self, time: Duration) -> bool {
        let idle = self.phase.load(Ordering::Relaxed) == Phase::Idle as u8 && !self.is_busy();
        let idle = idle && self.heading.load(Ordering::Relaxed) == 0;
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        idle && self.opened.elapsed().saturating_sub(since) >= time
    }

    pub(super) fn refuse(&self, number: u64, violation: Violation) {
        *self.refused.lock() = Some((number, violation));
    }

    /// Begins a request. Gives the violation that stands in its place, if one does.
    pub fn begin(&self) -> Option<Violation> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.refused.lock().filter(|(refused, _)| *refused == number).map(|(_, violation)| violation)
    }

    /// Notes when a request has to be over, whatever its client and its instance do. The request ends with the note.
    pub fn limit(self: &Arc<Self>, time: Duration) -> Note {
        let end = Conn::end_after(self.now(), time);
        let mut latest = self.latest.lock();
        let free = latest.iter().position(|end| *end == 0);
        let number = free.unwrap_or(latest.len());
        match latest.get_mut(number) {
            Some(slot) => *slot = end,
            None => latest.push(end),
        }
        Note { conn: self.clone(), number, begun: self.now() }
    }

    fn end_after(begun: u64, time: Duration) -> u64 {
        begun.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)).max(1)
    }

    /// A violation in the body of the request that was begun last.
    pub fn broken(&self) -> Option<Violation> {
        let begun = self.begun.load(Ordering::Relaxed);
        self.refused.lock().filter(|(refused, _)| *refused == begun).map(|(_, violation)| violation)
    }

    /// Whether the connection has to end, or when to look again.
    pub fn overdue(&self, times: ConnTimes) -> Result<Duration, Overdue> {
        let now = self.now();
        let left = |since: u64, time: Duration| {
            let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let left = since.saturating_add(time).saturating_sub(now);
            (left > 0).then(|| Duration::from_millis(left))
        };
        let stalled = match self.stalled.load(Ordering::Relaxed) {
            0 => times.stall,
            since => left(since - 1, times.stall).ok_or(Overdue::Stalled)?,
        };
        // A client that takes nothing of a stream keeps its answer from being looked at, but not from ending here.
        if self.latest.lock().iter().any(|end| (1..=now).contains(end)) {
            return Err(Overdue::Stalled);
        }
        let heading = match self.heading.load(Ordering::Relaxed) {
            0 => times.header,
            since => left(since - 1, times.header).ok_or(Overdue::Head)?,
        };
        let since = self.since.load(Ordering::Relaxed);
        let phase = match self.phase.load(Ordering::Relaxed) {
            _ if self.is_busy() => times.header.min(times.idle),
            1 => left(since, times.header).ok_or(Overdue::Head)?,
            // The request is over and the rest of its body is nobody's.
            2 => left(since, times.header.min(times.idle)).ok_or(Overdue::Idle)?,
            _ => left(since, times.idle).ok_or(Overdue::Idle)?,
        };
        // A head may begin at any time, so that nobody sleeps for longer than one may take.
        Ok(stalled.min(phase).min(heading).max(Duration::from_millis(5)))
    }
}
