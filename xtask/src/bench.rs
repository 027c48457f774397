//! `cargo xtask bench NAME`: builds everything that a bench runs, with optimisation, then runs it.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{
    place::Place,
    process,
    setup::{self, Purpose},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which bench, and what it takes: `--check` holds bench/budgets.toml, `--json FILE` writes the figures; `--help` names
    /// the benches
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "NAME")]
    bench: Vec<String>,
}

pub(crate) fn run(place: &Place, arguments: &Arguments) -> Result<ExitCode> {
    start(place, &arguments.bench)
}

/// Runs `mesh-bench` with these arguments; its exit code says whether what it holds is held.
pub(crate) fn start(place: &Place, arguments: &[String]) -> Result<ExitCode> {
    if !setup::is_root()? {
        bail!("benches make network namespaces and load BPF programs: run them as root");
    }
    setup::ensure(place, Purpose::Test)?;
    let packages = ["--package", "meshd", "--package", "meshctl", "--package", "mesh-bench"];
    process::run(place.cargo().args(["build", "--release"]).args(packages))?;

    let program = place.target_dir.join("release/mesh-bench");
    let status = Command::new(&program)
        .args(arguments)
        .env("MESH_TOOLS", place.tools.dir())
        .status()
        .with_context(|| format!("cannot start {}", program.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
