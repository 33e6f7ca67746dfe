//! How often something happened of late. Pure: time is handed in.

/// Time over which is counted, in milliseconds.
pub(super) const WINDOW: u64 = 10_000;

/// Counts what happens within ten seconds.
#[derive(Debug, Default)]
pub(super) struct Burst {
    since: u64,
    count: u32,
}

impl Burst {
    /// Counts so many more, at a time in milliseconds; false beyond the limit.
    pub(super) fn add(&mut self, more: u32, now: u64, limit: u32) -> bool {
        if self.count == 0 || now.saturating_sub(self.since) >= WINDOW {
            *self = Burst { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(more);
        self.count <= limit
    }

    /// How many more may happen.
    pub(super) fn left(&self, now: u64, limit: u32) -> u32 {
        let is_over = now.saturating_sub(self.since) >= WINDOW;
        if is_over { limit } else { limit.saturating_sub(self.count) }
    }

    /// Takes so many back.
    pub(super) fn earn(&mut self, less: u32) {
        self.count = self.count.saturating_sub(less);
    }
}
