//! The configuration file, read strictly into typed values: every mistake is told at once, with its place.

mod batch;
mod control_plane;
mod data_plane;
mod identity;
mod limits;
mod on_behalf_of;
mod restart;
mod store;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::forms::{Form, Mistakes, Reading, parse_all};
use crate::model::role::PrincipalId;
use crate::model::scope::{Scope, WorkspaceRef};
use crate::model::workspace::Workspace;
use crate::rbac::ManagementGroups;

pub use batch::{Batch, HostPattern};
pub use control_plane::ControlPlane;
pub use data_plane::{ClientCertificates, DataPlane, Layout, ModelErrors, TlsFiles, Unauthorized};
pub use identity::{Entra, Identity, OidcIssuer};
pub use limits::Limits;
pub use on_behalf_of::OnBehalfOf;
pub use store::{PostgresUrl, StoreUrl};

/// Variables with this prefix override fields: `SCOREGATE__DATA_PLANE__LISTEN`.
const ENV_PREFIX: &str = "SCOREGATE";

/// Everything an operator can set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener that clients call.
    pub data_plane: DataPlane,
    /// The listener on which resources are managed.
    pub control_plane: ControlPlane,
    /// The listener for operators: health and metrics.
    pub admin: SocketAddr,
    /// Where resources and jobs are kept.
    pub store: StoreUrl,
    /// Where a gateway with a PostgreSQL store keeps what is its own; see [`Settings::directory`].
    pub data_directory: PathBuf,
    /// The key that endpoint keys are encrypted with; beside the store if not set.
    pub master_key: Option<PathBuf>,
    /// Whose tokens are accepted.
    pub identity: Identity,
    /// The workspaces there are; the first is the default.
    pub workspaces: Vec<Workspace>,
    /// The tree above subscriptions.
    pub management_groups: ManagementGroups,
    /// Principals that hold Owner at `/`.
    pub owners: Vec<PrincipalId>,
    /// A directory of resources that is converged at start and on change.
    pub resources: Option<PathBuf>,
    /// What deployments made through the API may use of this machine.
    pub instances: Instances,
    /// What batch jobs may reach.
    pub batch: Batch,
    /// Bounds on everything.
    pub limits: Limits,
    /// What is logged.
    pub logs: Logs,
}

/// What deployments made through the API may use of the gateway's machine: nothing, unless it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instances {
    /// PEM files that they may name.
    pub files: Vec<PathBuf>,
    /// Programs that they may run; `*` for any.
    pub programs: Vec<String>,
    /// The binary that becomes local instances. Not for operators: it is this one, whatever became of its file.
    pub helper: PathBuf,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Level or filter of the log, such as `info`.
    pub level: String,
    /// One record for each scoring request.
    pub access: bool,
}

impl Settings {
    /// Where the gateway keeps what is its own: the master key, its authority, the issuers' last good keys. Beside a
    /// SQLite file; nowhere with a store in memory.
    pub fn directory(&self) -> Option<&Path> {
        match &self.store {
            StoreUrl::Sqlite(file) => file.parent(),
            StoreUrl::Postgres(_) => Some(&self.data_directory),
            StoreUrl::Memory => None,
        }
    }

    /// Reads a configuration file and this process's overrides.
    pub fn of_process(file: &Path) -> Result<Settings, Mistakes> {
        let mut env = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => env.push((name, value)),
                Err(_) if name.starts_with(ENV_PREFIX) => {
                    return Err(Mistakes::of_file(&name, "is no text".to_owned()));
                }
                Err(_) => {}
            }
        }
        Settings::load(file, env.into_iter())
    }

    /// Reads a configuration file and the environment's overrides.
    pub fn load(file: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Settings, Mistakes> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Mistakes::of_file(&name, format!("cannot be read: {error}")))?;
        let base = file.parent().unwrap_or(Path::new("."));
        Settings::parse(&name, &text, base, env)
    }

    /// Reads a configuration; relative paths start at `base`.
    pub fn parse(
        name: &str,
        text: &str,
        base: &Path,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Settings, Mistakes> {
        let documents = parse_all(name, text)?;
        if documents.len() > 1 {
            return Err(Mistakes::of_file(name, "holds more than one YAML document".to_owned()));
        }
        let reading = Reading::with_env(name, ENV_PREFIX, env);
        let form = reading.form(documents.first());
        let settings = Settings::read(&form, base);
        form.close();
        Mistakes::check(reading.finish())?;
        Ok(settings)
    }

    /// The JSON Schema of the configuration file.
    pub fn schema() -> serde_json::Value {
        let reading = Reading::describe();
        let form = reading.form(None);
        Settings::read(&form, Path::new("."));
        let mut schema = form.close();
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
            fields.insert("title".into(), "scoregate configuration".into());
        }
        schema
    }

    fn read(form: &Form<'_>, base: &Path) -> Settings {
        let control_plane =
            form.section("control_plane", "The ARM-shaped REST API.", |f| ControlPlane::read(f, base));
        let data_plane =
            form.section("data_plane", "The listener that clients call.", |f| DataPlane::read(f, base));
        let admin =
            form.section("admin", "The listener for operators: health and metrics; nothing secret.", |f| {
                f.value("listen", "Address and port; port 0 takes any free one. Needs a restart.")
                    .or(SocketAddr::from(([127, 0, 0, 1], 9090)))
            });
        let store = StoreUrl::read(form, base);
        let data_directory = Self::read_directory(form, base, &store);
        let master_key = form.section("master_key", "The key that encrypts endpoint keys at rest.", |f| {
            let file = f.value::<PathBuf>(
                "file",
                "32 bytes as base64, mode 0600. Made beside a SQLite file if it is not set; gateways that share a PostgreSQL store share this key too. Needs a restart.",
            );
            let file = match &store {
                StoreUrl::Postgres(_) => {
                    file.required("head -c 32 /dev/urandom | base64 > master.key; chmod 600 master.key; every gateway of this PostgreSQL store needs the same one")
                }
                StoreUrl::Sqlite(_) | StoreUrl::Memory => file.optional(),
            };
            file.map(|file| base.join(file))
        });
        let identity = form.section("identity", "Whose tokens are accepted.", |f| Identity::read(f, base));
        let workspaces = Self::read_workspaces(form);
        let management_groups = Self::read_management_groups(form);
        let owners =
            form.values::<uuid::Uuid>("owners", "Object ids that hold Owner at /.").unwrap_or_default();
        let resources = form.value::<PathBuf>(
            "resources",
            "A directory of YAML resources, converged at start and on change.",
        );
        let resources = resources.optional().map(|directory| base.join(directory));
        let doc = "What deployments made through the API may use of this machine; those of files may use everything.";
        let instances = form.section("instances", doc, |f| {
            let files =
                f.values::<PathBuf>("files", "PEM files that they may name: roots, certificates, keys.");
            let programs = f.values(
                "programs",
                "Programs that they may run, as `backend.command` names them; * for any.",
            );
            Instances {
                files: files.unwrap_or_default().into_iter().map(|file| base.join(file)).collect(),
                programs: programs.unwrap_or_default(),
                helper: PathBuf::from("/proc/self/exe"),
            }
        });
        let doc = "What batch jobs may reach besides the data stores of their workspace: nothing, unless it is listed.";
        let batch = form.section("batch", doc, |f| Batch::read(f, base));
        let limits = form.section("limits", "Bounds; none can be switched off.", Limits::read);
        let logs = form.section("logs", "What is logged, as JSON lines on standard output.", |f| Logs {
            level: f
                .value("level", "error, warn, info, debug or a tracing filter.")
                .or_else(|| "info".to_owned()),
            access: f.value("access", "One record for each scoring request.").or(true),
        });
        let owners = owners.into_iter().map(PrincipalId).collect();
        Settings {
            data_plane,
            control_plane,
            admin,
            store,
            data_directory,
            master_key,
            identity,
            workspaces,
            management_groups,
            owners,
            resources,
            instances,
            batch,
            limits,
            logs,
        }
    }

    /// Reads where the gateway keeps what is its own. With a file that is the file's directory.
    fn read_directory(form: &Form<'_>, base: &Path, store: &StoreUrl) -> PathBuf {
        let doc = "Where a gateway keeps what is its own: its control plane's authority, its issuers' last good keys. \
                   Only with a PostgreSQL store; a SQLite file's directory serves that too. Needs a restart.";
        let directory = form.value::<PathBuf>("data_directory", doc).optional();
        if directory.is_some() && !matches!(store, StoreUrl::Postgres(_)) {
            let problem =
                "is only for a PostgreSQL store; a gateway keeps what is its own beside a SQLite file";
            form.wrong("data_directory", problem, Some("take it out"));
        }
        directory.map_or_else(|| store::DIRECTORY.into(), |directory| base.join(directory))
    }

    fn read_workspaces(form: &Form<'_>) -> Vec<Workspace> {
        let listed = form.list("workspaces", "The workspaces there are; the first is the default.", |f| {
            let subscription =
                f.value::<uuid::Uuid>("subscription", "Subscription id.").required("give a GUID");
            let resource_group =
                f.value("resource_group", "Resource group.").or_else(|| "default".to_owned());
            let name = f.value("name", "Workspace name.").or_else(|| "default".to_owned());
            let location = f.value("location", "Region; free text.").or_else(|| "local".to_owned());
            let place = WorkspaceRef { subscription: subscription?.to_string(), resource_group, name };
            if let Err(error) = place.scope() {
                f.wrong("name", error.to_string(), None);
            }
            Some(named(place, location))
        });
        let mut workspaces: Vec<Workspace> = listed.into_iter().flatten().collect();
        if workspaces.is_empty() {
            let place = WorkspaceRef {
                subscription: uuid::Uuid::nil().to_string(),
                resource_group: "default".to_owned(),
                name: "default".to_owned(),
            };
            workspaces.push(named(place, "local".to_owned()));
        }
        workspaces
    }

    fn read_management_groups(form: &Form<'_>) -> ManagementGroups {
        let mut tree = ManagementGroups::default();
        let group =
            |name: &str| format!("/providers/Microsoft.Management/managementGroups/{name}").parse::<Scope>();
        let listed = form.list("management_groups", "The tree above the subscriptions.", |f| {
            let name = f.value::<String>("name", "The group's id.").required("give the group a name");
            let parent = f.value::<String>("parent", "The group above it.").optional();
            let subscriptions =
                f.values::<uuid::Uuid>("subscriptions", "Subscriptions right under it.").unwrap_or_default();
            let own = group(&name?).map_err(|error| f.wrong("name", error.to_string(), None)).ok()?;
            let parent =
                parent.and_then(|p| group(&p).map_err(|e| f.wrong("parent", e.to_string(), None)).ok());
            Some((own, parent, subscriptions))
        });
        for (own, parent, subscriptions) in listed.into_iter().flatten() {
            if let Some(parent) = parent {
                tree.place(&own, &parent);
            }
            for subscription in subscriptions {
                if let Ok(child) = format!("/subscriptions/{subscription}").parse() {
                    tree.place(&child, &own);
                }
            }
        }
        tree
    }
}

/// A workspace that the settings make.
fn named(place: WorkspaceRef, location: String) -> Workspace {
    let (friendly_name, description, tags) = Default::default();
    Workspace { place, location, friendly_name, description, tags }
}

#[cfg(test)]
mod tests;
