//! Files that are looked at from time to time, without being read.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

/// How often they are looked at.
const GLANCE: Duration = Duration::from_millis(250);

/// What tells one state of a file from another; symbolic links are followed, as Kubernetes mounts need it.
type State = Vec<Option<(u64, u64, i64, i64)>>;

/// Some files that belong together.
#[derive(Debug)]
pub(super) struct Watched {
    files: Vec<PathBuf>,
    seen: State,
    before: State,
}

impl Watched {
    /// Begins to look. Made before the files are read, so that no change is missed.
    pub(super) fn new(files: Vec<PathBuf>) -> Watched {
        let mut watched = Watched { files, seen: State::new(), before: State::new() };
        watched.seen = watched.look();
        watched.before = watched.seen.clone();
        watched
    }

    /// Waits until they have changed. What changes between two looks is still being written.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(GLANCE).await;
            let now = self.look();
            let settled = now == self.before;
            self.before.clone_from(&now);
            if settled && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }

    /// Counts them as changed: what was wrong with them may not be of their own doing.
    pub(super) fn again(&mut self) {
        self.seen.clear();
    }

    fn look(&self) -> State {
        let of = |file: &PathBuf| {
            let meta = std::fs::metadata(file).ok()?;
            Some((meta.len(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
        };
        self.files.iter().map(of).collect()
    }
}
