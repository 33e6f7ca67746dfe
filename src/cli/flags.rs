//! Flags of online and batch commands alike: which endpoint or deployment, and what files and edits say of it.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::edit::{self, Edits};
use super::failure::Failure;
use super::file;
use crate::forms::Node;

/// Which endpoint.
#[derive(Debug, Args)]
pub struct Endpoint {
    /// The endpoint's name
    #[arg(short, long)]
    pub name: String,
}

/// Which deployment.
#[derive(Debug, Args)]
pub struct Deployment {
    /// The deployment's name
    #[arg(short, long)]
    pub name: String,
    /// The endpoint that it stands behind
    #[arg(short, long)]
    pub endpoint_name: String,
}

/// A deletion of one of these.
#[derive(Debug, Args)]
pub struct Delete<T: Args> {
    #[command(flatten)]
    pub which: T,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
}

/// What is changed in a document on the command line.
#[derive(Debug, Args)]
pub struct Changes {
    #[command(flatten)]
    pub edits: Edits,
    /// Accepted; everything is done when the command returns
    #[arg(long)]
    no_wait: bool,
}

/// An endpoint by name, by a file, or by both.
#[derive(Debug, Args)]
pub struct EndpointFile {
    /// The endpoint's name; goes before the file's
    #[arg(short, long, required_unless_present = "file")]
    name: Option<String>,
    /// An endpoint in the form of `az ml`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl EndpointFile {
    /// The document of a new endpoint.
    pub fn document(&self) -> Result<Node, Failure> {
        let mut node = self.over()?.unwrap_or_else(edit::empty);
        if let Some(name) = &self.name {
            edit::put(&mut node, "name", &json!(name))?;
        }
        Ok(node)
    }

    /// What the file says, to be laid over what is there.
    pub fn over(&self) -> Result<Option<Node>, Failure> {
        self.file.as_ref().map(|file| file::one(file)).transpose()
    }

    /// The name that the flag or the file gives.
    pub fn named(&self, over: Option<&Node>) -> Result<String, Failure> {
        let name = self.name.as_deref().or_else(|| edit::field(over?, "name"));
        name.map(str::to_owned).ok_or_else(|| Failure::usage("which endpoint? -n names it"))
    }
}

/// A new deployment.
#[derive(Debug, Args)]
pub struct NewDeployment {
    /// A deployment in the form of `az ml`, with `backend`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// The deployment's name; goes before the file's
    #[arg(short, long)]
    name: Option<String>,
    /// The endpoint that it stands behind; goes before the file's
    #[arg(short, long)]
    endpoint_name: Option<String>,
}

impl NewDeployment {
    /// Its document.
    pub fn document(&self) -> Result<Node, Failure> {
        let mut node = file::one(&self.file)?;
        for (key, value) in [("name", &self.name), ("endpoint_name", &self.endpoint_name)] {
            if let Some(value) = value {
                edit::put(&mut node, key, &json!(value))?;
            }
        }
        Ok(node)
    }
}

/// A changed deployment.
#[derive(Debug, Args)]
pub struct ChangedDeployment {
    /// A deployment in the form of `az ml`, with `backend`; - for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The deployment's name; goes before the file's
    #[arg(short, long, required_unless_present = "file")]
    name: Option<String>,
    /// The endpoint that it stands behind; goes before the file's
    #[arg(short, long, required_unless_present = "file")]
    endpoint_name: Option<String>,
    #[command(flatten)]
    changes: Changes,
    #[arg(long, hide = true)]
    skip_script_validation: bool,
}

impl ChangedDeployment {
    /// What the file says, and which deployment of which endpoint flags or the file name.
    pub fn read(&self) -> Result<(Option<Node>, Deployment), Failure> {
        let over = self.file.as_ref().map(|file| file::one(file)).transpose()?;
        let given = |flag: &Option<String>, key: &str| {
            let found = flag.as_deref().or_else(|| edit::field(over.as_ref()?, key)).map(str::to_owned);
            found.ok_or_else(|| Failure::usage(format!("the file has no `{key}`; give -n and -e")))
        };
        let name = given(&self.name, "name")?;
        let endpoint_name = given(&self.endpoint_name, "endpoint_name")?;
        if over.is_none() && self.changes.edits.is_empty() {
            return Err(Failure::usage("nothing to change; give --set, --add, --remove or -f"));
        }
        Ok((over, Deployment { name, endpoint_name }))
    }

    /// Names the deployment in its document, and edits it.
    pub fn apply(&self, which: &Deployment, node: &mut Node) -> Result<(), Failure> {
        edit::put(node, "name", &json!(which.name))?;
        edit::put(node, "endpoint_name", &json!(which.endpoint_name))?;
        self.changes.edits.apply(node)
    }
}
