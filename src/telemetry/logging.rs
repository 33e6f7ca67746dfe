//! The log: JSON lines on standard output.

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("logs.level `{0}` is neither a level nor a filter; write error, warn, info or debug")]
pub struct BadFilter(String);

type Change = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// Changes the filter of the log, once that was started.
static CHANGE: OnceLock<Change> = OnceLock::new();

/// Reads a level or filter.
pub fn filter(text: &str) -> Result<EnvFilter, BadFilter> {
    EnvFilter::try_new(text).map_err(|_| BadFilter(text.to_owned()))
}

/// Starts the log. A second call changes nothing, so that tests may start many gateways.
pub fn start(level: &str) -> Result<(), BadFilter> {
    let builder = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter(level)?);
    let builder = builder.with_writer(std::io::stdout).with_filter_reloading();
    let handle = builder.reload_handle();
    if builder.try_init().is_ok() {
        // It fails only when the log is gone.
        let _ = CHANGE.set(Box::new(move |filter| drop(handle.reload(filter))));
    }
    Ok(())
}

/// Logs by another filter from now on, if the log was started.
pub fn change(filter: EnvFilter) {
    if let Some(change) = CHANGE.get() {
        change(filter);
    }
}
