//! What `/readyz` tells: each part of the gateway says how it is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use parking_lot::Mutex;

/// How one part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good(String),
    /// Not as it should be; requests are served all the same.
    Degraded(String),
    /// Requests cannot be served.
    Failing(String),
}

/// How every part is; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, State>>>);

impl Health {
    /// Says how a part is.
    pub fn set(&self, part: &str, state: State) {
        self.0.lock().insert(part.to_owned(), state);
    }

    /// Says that a part is there no more.
    pub fn remove(&self, part: &str) {
        self.0.lock().remove(part);
    }

    /// How a part is.
    pub fn of(&self, part: &str) -> Option<State> {
        self.0.lock().get(part).cloned()
    }

    /// Whether requests can be served.
    pub fn is_ready(&self) -> bool {
        let parts = self.0.lock();
        !parts.is_empty() && !parts.values().any(|state| matches!(state, State::Failing(_)))
    }

    /// A line for each part, in the manner of kubectl's `/readyz?verbose`.
    pub fn verbose(&self) -> String {
        let mut text = String::new();
        for (part, state) in &*self.0.lock() {
            let (sign, word, detail) = match state {
                State::Good(detail) => ('+', "ok", detail),
                State::Degraded(detail) => ('!', "degraded", detail),
                State::Failing(detail) => ('-', "failed", detail),
            };
            let _ = writeln!(text, "[{sign}]{part} {word}: {detail}");
        }
        text
    }
}
