//! What is known of local processes, for whoever asks: their state and their output.

use std::collections::BTreeMap;
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;

use super::output::Output;

/// Endpoint and deployment, in lower case.
pub(super) type Key = (String, String);

/// How a local process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceState {
    /// Where it listens; none while it does not run.
    pub address: Option<String>,
    /// `starting`, `running`, `crash_looping` or `stopping`.
    pub state: &'static str,
    /// How often it was started again since it was well.
    pub restarts: u32,
    /// How it ended last.
    pub last_end: Option<String>,
}

/// One place for a process of a deployment.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: Mutex<InstanceState>,
    pub(super) output: Output,
}

/// The processes of all deployments.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<DashMap<Key, BTreeMap<u64, Arc<Slot>>>>);

impl Roster {
    pub(super) fn enter(&self, key: &Key, number: u64, slot: Arc<Slot>) {
        self.0.entry(key.clone()).or_default().insert(number, slot);
    }

    pub(super) fn leave(&self, key: &Key, number: u64) {
        self.0.remove_if_mut(key, |_, slots| {
            slots.remove(&number);
            slots.is_empty()
        });
    }

    fn slots(&self, endpoint: &str, deployment: &str) -> Vec<(u64, Arc<Slot>)> {
        let found = self.0.get(&(endpoint.to_owned(), deployment.to_owned()));
        let each = found.iter().flat_map(|slots| slots.iter().map(|(number, slot)| (*number, slot.clone())));
        each.collect()
    }

    /// How the processes of a deployment are doing, by their numbers; none if it has no processes.
    pub fn states(&self, endpoint: &str, deployment: &str) -> Vec<(u64, InstanceState)> {
        let slots = self.slots(endpoint, deployment);
        slots.into_iter().map(|(number, slot)| (number, slot.state.lock().clone())).collect()
    }

    /// The last lines that the processes of a deployment wrote, each with its process's number if there are several.
    pub fn output(&self, endpoint: &str, deployment: &str, most: usize) -> Option<String> {
        let slots = self.slots(endpoint, deployment);
        let several = slots.len() > 1;
        let lines = slots.iter().flat_map(|(number, slot)| {
            let whose = if several { format!("[{number}] ") } else { String::new() };
            slot.output.tail(most).into_iter().map(move |line| format!("{whose}{line}\n"))
        });
        (!slots.is_empty()).then(|| lines.collect())
    }
}
