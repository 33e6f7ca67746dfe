//! Bytes between a client and an instance once both have left HTTP: under the clocks of a stream, for as long as the
//! caller has the right that it began with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::pipeline::Pipeline;
use super::websocket::{Frames, POLICY};
use crate::gate::admit::Pass;
use crate::net::conn::Note;
use crate::telemetry::record::Record;

/// Bytes that are under way in each direction.
const BUFFER: usize = 16 * 1024;
/// Time for the other end to finish once one has.
const LEAVE: Duration = Duration::from_secs(2);
/// Time for a last word.
const LAST_WORD: Duration = Duration::from_secs(1);
/// The longest sleep until a token ends: clocks may be set.
const LOOK: Duration = Duration::from_secs(60);

/// What a tunnel holds until it ends.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) instance: OnUpgrade,
    pub(super) pipeline: Arc<Pipeline>,
    /// The place at the instance, and the right.
    pub(super) pass: Pass,
    /// Written when it ends.
    pub(super) record: Box<Record>,
    pub(super) note: Note,
    /// Time without a byte.
    pub(super) idle: Duration,
    /// The end of the whole request.
    pub(super) deadline: Instant,
}

/// What passed in one direction.
#[derive(Debug, Default)]
struct Flow(AtomicU64);

/// How a direction ended.
enum End {
    /// Whoever sends has finished.
    Finished,
    /// Whoever sends broke off.
    Reading,
    /// Whoever is sent to takes nothing more.
    Writing,
}

impl Tunnel {
    /// Relays until either side ends it, a clock runs out, or the caller loses the right.
    pub(super) async fn run(mut self) {
        // Whoever drops this does so because the client takes nothing, or because the gateway ends.
        self.record.reason = Some("client_gone");
        let (Ok(client), Ok(instance)) = (self.client.await, self.instance.await) else { return };
        let (mut client_from, mut client_to) = tokio::io::split(TokioIo::new(client));
        let (mut instance_from, mut instance_to) = tokio::io::split(TokioIo::new(instance));
        let (up, down) = (Flow::default(), Flow::default());
        let moved = Mutex::new(Instant::now());
        let mut frames = Frames::default();
        let counted = Counted { record: &mut self.record, up: &up, down: &down };
        let reason = {
            let up = carry(&mut client_from, &mut instance_to, &up, &moved, |_| ());
            let down = carry(&mut instance_from, &mut client_to, &down, &moved, |bytes| frames.sent(bytes));
            tokio::select! {
                reason = both(up, down) => reason,
                clock = overdue(&moved, self.idle, self.deadline) => Some(clock),
                lost = lost(&self.pipeline, &self.pass) => Some(lost),
            }
        };
        counted.record.reason = reason;
        if matches!(reason, Some("not_authorized" | "token_expired")) && frames.between() {
            let word = async {
                client_to.write_all(&POLICY).await?;
                client_to.flush().await
            };
            let _ = tokio::time::timeout(LAST_WORD, word).await;
        }
        if reason == Some("response_broken") {
            counted.record.response_broken();
            self.pass.deployment().fleet.failed(self.pass.instance());
        }
        let _ = tokio::time::timeout(LAST_WORD, client_to.shutdown()).await;
        drop(counted);
        drop(self.note);
    }
}

/// Puts into a record what passed, on every way out.
struct Counted<'a> {
    record: &'a mut Record,
    up: &'a Flow,
    down: &'a Flow,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.record.request_bytes = self.up.0.load(Ordering::Relaxed);
        self.record.response_bytes = self.down.0.load(Ordering::Relaxed);
    }
}

/// Carries bytes until there are no more, and tells the other end that there are none.
async fn carry<R, W>(
    from: &mut R,
    to: &mut W,
    flow: &Flow,
    moved: &Mutex<Instant>,
    mut sent: impl FnMut(&[u8]),
) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let Ok(count) = from.read(&mut buffer).await else { return End::Reading };
        if count == 0 {
            return if to.shutdown().await.is_ok() { End::Finished } else { End::Writing };
        }
        *moved.lock() = Instant::now();
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let Ok(written @ 1..) = to.write(rest).await else { return End::Writing };
            let (done, left) = rest.split_at_checked(written).unwrap_or((rest, &[]));
            sent(done);
            flow.0.fetch_add(done.len() as u64, Ordering::Relaxed);
            rest = left;
        }
        if to.flush().await.is_err() {
            return End::Writing;
        }
    }
}

/// Both directions; why they ended, if not by themselves. Once one end has finished, nobody is blamed for what the other
/// still does.
async fn both(up: impl Future<Output = End>, down: impl Future<Output = End>) -> Option<&'static str> {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        ended = up.as_mut() => match ended {
            End::Finished => {
                let _ = tokio::time::timeout(LEAVE, down).await;
                None
            }
            End::Reading => Some("client_gone"),
            End::Writing => Some("response_broken"),
        },
        ended = down.as_mut() => match ended {
            End::Finished => {
                let _ = tokio::time::timeout(LEAVE, up).await;
                None
            }
            End::Reading => Some("response_broken"),
            End::Writing => Some("client_gone"),
        },
    }
}

/// Returns once a clock has run out, with its name.
async fn overdue(moved: &Mutex<Instant>, idle: Duration, deadline: Instant) -> &'static str {
    loop {
        let due = (*moved.lock() + idle).min(deadline);
        if Instant::now() >= due {
            return if due == deadline { "total_timeout" } else { "idle_timeout" };
        }
        tokio::time::sleep_until(due.into()).await;
    }
}

/// Returns once the caller may no longer score: its token has ended, or the resources say so.
async fn lost(pipeline: &Pipeline, pass: &Pass) -> &'static str {
    let mut changes = pipeline.snapshot.changes();
    loop {
        // What changed before this began to listen is judged, too.
        let snapshot = pipeline.snapshot.load().clone();
        if !pipeline.gate.still_permits(&snapshot, pass.permit()).await {
            return "not_authorized";
        }
        loop {
            let left = pass.caller().map_or(i64::MAX, |caller| caller.expires - pipeline.sink.clock.unix());
            let Ok(left @ 1..) = u64::try_from(left) else { return "token_expired" };
            let wait = Duration::from_secs(left).min(LOOK);
            match tokio::time::timeout(wait, changes.changed()).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => tokio::time::sleep(wait).await,
                Err(_) => {}
            }
        }
    }
}
