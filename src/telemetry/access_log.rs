//! The access log: records go through a bounded queue to a thread that writes them; when it is full they are
//! dropped and counted, because a slow disk must not slow requests.

use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use serde::Serialize;
use tokio::sync::oneshot;

/// The most records that wait to be written.
const QUEUE: usize = 8_192;
/// The longest that a record stays unwritten while others come.
const FLUSH: Duration = Duration::from_millis(200);

/// The sending end of the access log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: Option<SyncSender<Entry>>,
    dropped: IntCounter,
}

#[allow(clippy::large_enum_variant, reason = "nearly every one is a line")]
#[derive(Debug)]
enum Entry {
    Line(Line),
    /// Asks to be told when everything before it is written.
    Flush(oneshot::Sender<()>),
}

impl AccessLog {
    /// A log that writes nothing.
    pub fn off(dropped: IntCounter) -> AccessLog {
        AccessLog { queue: None, dropped }
    }

    /// A log that writes JSON lines to `out` until every clone of it is gone.
    pub fn start(out: Box<dyn Write + Send>, dropped: IntCounter) -> std::io::Result<AccessLog> {
        let (queue, lines) = sync_channel(QUEUE);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(out, &lines))?;
        Ok(AccessLog { queue: Some(queue), dropped })
    }

    /// Whether records are written at all.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Waits until everything that was sent is written, or cannot be.
    pub async fn flush(&self) {
        let Some(queue) = self.queue.clone() else { return };
        let (done, written) = oneshot::channel();
        // The queue may be full, and its reader slow.
        let sending = tokio::task::spawn_blocking(move || drop(queue.send(Entry::Flush(done))));
        let _ = sending.await;
        let _ = written.await;
    }

    pub(super) fn send(&self, line: Line) {
        if let Some(queue) = &self.queue
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                queue.try_send(Entry::Line(line))
        {
            self.dropped.inc();
        }
    }
}

fn write_all(out: Box<dyn Write + Send>, lines: &Receiver<Entry>) {
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    let mut flushed = Instant::now();
    loop {
        let written = match lines.recv_timeout(FLUSH) {
            Ok(Entry::Line(line)) => serde_json::to_writer(&mut out, &line)
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n")),
            Ok(Entry::Flush(done)) => {
                let flushed = out.flush();
                // Whoever asked may have gone.
                let _ = done.send(());
                flushed
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => {
                let _ = out.flush();
                return;
            }
        };
        let due = flushed.elapsed() >= FLUSH;
        if due {
            flushed = Instant::now();
        }
        // Nobody reads any more; records are then dropped and counted.
        if written.and_then(|()| if due { out.flush() } else { Ok(()) }).is_err() {
            return;
        }
    }
}

/// A record as it is written; the names are those of Azure's AmlOnlineEndpointTrafficLog, then our own.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Line {
    #[serde(rename = "time")]
    pub(super) time: String,
    #[serde(rename = "log")]
    pub(super) log: &'static str,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) subscription_id: Option<String>,
    #[serde(rename = "AzureMLWorkspaceName")]
    pub(super) workspace_name: Option<String>,
    pub(super) endpoint_name: Option<String>,
    pub(super) deployment_name: Option<String>,
    pub(super) protocol: String,
    pub(super) response_code: u16,
    pub(super) response_code_reason: Option<&'static str>,
    pub(super) detail: Option<&'static str>,
    pub(super) model_status_code: Option<u16>,
    pub(super) request_payload_size: u64,
    pub(super) response_payload_size: u64,
    pub(super) user_agent: Option<String>,
    #[serde(rename = "XRequestId")]
    pub(super) x_request_id: String,
    #[serde(rename = "XMSClientRequestId")]
    pub(super) client_request_id: Option<String>,
    pub(super) total_duration_ms: f64,
    pub(super) request_duration_ms: Option<f64>,
    pub(super) response_duration_ms: Option<f64>,
    pub(super) auth_mode: Option<&'static str>,
    pub(super) key_slot: Option<&'static str>,
    pub(super) principal_id: Option<String>,
    pub(super) tenant_id: Option<String>,
    pub(super) app_id: Option<String>,
    pub(super) token_id: Option<String>,
    pub(super) claimed_issuer_hash: Option<String>,
    pub(super) claimed_key_hash: Option<String>,
    pub(super) client_address: IpAddr,
}
