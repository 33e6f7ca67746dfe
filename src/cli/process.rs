//! What the kernel allows this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Files that are open besides connections.
const OTHER_FILES: u64 = 128;

/// No core dumps, which would hold keys and tokens, and as many open files as there may be.
pub(super) fn limit(connections: usize) {
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warn!(%error, "core dumps could not be switched off");
    }
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit { current: files.maximum, maximum: files.maximum };
    let now = if setrlimit(Resource::Nofile, most).is_ok() { files.maximum } else { files.current };
    let wanted = needed(connections);
    // No limit is more than any.
    if let Some(files) = now.filter(|files| *files < wanted) {
        warn!(
            files,
            wanted,
            "the limit of open files is lower than `limits.connections` needs; raise it or connections will not be accepted"
        );
    }
}

/// Each client's connection may need one to an instance.
fn needed(connections: usize) -> u64 {
    (connections as u64).saturating_mul(2).saturating_add(OTHER_FILES)
}
