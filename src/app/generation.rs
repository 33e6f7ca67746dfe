//! What one configuration makes of the gateway. Another configuration makes another, whole or not at all.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use super::data_plane::Made;
use super::issuers::Issuers;
use super::state::State;
use super::tasks::Group;
use super::{Base, StartError, batch, control_plane};
use crate::control::Control;
use crate::model::workspace::Workspace;
use crate::settings::Settings;

/// Everything that is made from the settings and replaced with them.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) settings: Arc<Settings>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) batch: batch::Made,
    pub(super) data: Made,
    pub(super) control: Arc<Control>,
    /// Follows the resources directory.
    resources: Option<Arc<Group>>,
    tasks: Option<Group>,
}

/// Where the listeners are, which no configuration changes.
#[derive(Debug, Clone)]
pub(super) struct Listening {
    pub(super) data: SocketAddr,
    /// What clients call the control plane by.
    pub(super) control_url: String,
}

impl Generation {
    /// Makes it, with no effect yet on what is in force. What does not change is taken over from the one `before`.
    pub(super) fn of(
        base: &Base,
        state: &State,
        issuers: Arc<Issuers>,
        listening: &Listening,
        before: Option<&Generation>,
    ) -> Result<Generation, StartError> {
        let settings = base.settings.clone();
        let batch = batch::Made::of(base, state, &issuers)?;
        let known = before.map(|generation| &generation.data);
        let data = Made::of(base, state, &issuers, &batch, known)?;
        let addresses = control_plane::addresses(&settings, listening.control_url.clone(), listening.data);
        let known = before.map(|generation| &*generation.control);
        let control = control_plane::make(base, state, &issuers, (&batch, &data), addresses, known);
        let same = before.filter(|generation| followed(&generation.settings) == followed(&settings));
        let resources = same.and_then(|generation| generation.resources.clone());
        Ok(Generation { settings, issuers, batch, data, control, resources, tasks: None })
    }

    /// Begins its own tasks.
    pub(super) fn begin(&mut self, base: &Base, state: &State) {
        self.resources.get_or_insert_with(|| Arc::new(state.follow(base)));
        let tasks = base.tasks.group();
        tasks.spawn("token keys", self.control.operations.clone().rotate_token_keys());
        self.tasks = Some(tasks);
    }
}

/// What the resources directory is followed by.
fn followed(settings: &Settings) -> (&Option<PathBuf>, &[Workspace]) {
    (&settings.resources, &settings.workspaces)
}
