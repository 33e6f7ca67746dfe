//! `scoregate dev`: a gateway with everything around it that it needs — an issuer like Entra's, two small real models,
//! resources — in one process on loopback, in a directory that is thrown away. For trying and for testing clients;
//! nothing of it can be reached from `serve`.

mod device_flow;
pub mod issuer;
pub mod model;
pub mod server;
mod tour;
mod world;

use std::future::Future;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use self::world::World;

/// Options of `scoregate dev`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Run the tour of what the gateway decides, print it as a table, and exit 0 only if every line held
    #[arg(long)]
    pub demo: bool,
    /// First port: data N, control N+1, issuer N+2, models N+3 and N+4, admin N+10; 0 takes any free ones
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port_base: u16,
    /// Write addresses, ids and secrets to this file as JSON once everything serves
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Keep everything in this directory instead of a throw-away one
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Runs until `stop`, or through the tour.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let throw_away = tempfile::Builder::new().prefix("scoregate-dev-").tempdir()?;
    let directory = options.data_dir.clone().unwrap_or_else(|| throw_away.path().to_owned());
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    // The demonstration is for itself alone and must not fail over somebody's port 8080.
    let port_base = if options.demo { 0 } else { options.port_base };
    let world = World::start(&directory, port_base, !options.demo).await?;
    if let Some(file) = &options.ready_file {
        let text = format!("{:#}\n", world.ready());
        world::write_secret(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let result = if options.demo {
        tour::run(&world).await
    } else {
        // A closed pipe is no reason to stop.
        let _ = writeln!(std::io::stdout(), "{}", world.table());
        stop.await;
        Ok(())
    };
    world.stop().await;
    result
}
