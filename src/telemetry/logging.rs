//! The log: JSON lines on standard output.

use tracing_subscriber::EnvFilter;

/// A filter that is none.
#[derive(Debug, thiserror::Error)]
#[error("logs.level `{0}` is neither a level nor a filter; write error, warn, info or debug")]
pub struct BadFilter(String);

/// Starts the log. A second call changes nothing, so that tests may start many gateways.
pub fn start(filter: &str) -> Result<(), BadFilter> {
    let parsed = EnvFilter::try_new(filter).map_err(|_| BadFilter(filter.to_owned()))?;
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(parsed);
    let _ = subscriber.with_writer(std::io::stdout).try_init();
    Ok(())
}
