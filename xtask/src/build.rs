//! `cargo xtask build`: the daemon with its BPF programs and its other name `mesh-wg`, and the command line.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    place::Place,
    process,
    setup::{self, Purpose},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Without optimisation: quick to build
    #[arg(long)]
    debug: bool,
}

impl Arguments {
    /// What is measured and shown.
    pub(crate) fn optimised() -> Self {
        Self { debug: false }
    }
}

pub(crate) fn run(place: &Place, arguments: &Arguments) -> Result<()> {
    setup::ensure(place, Purpose::Build)?;
    let mut cargo = place.cargo();
    cargo.args(["build", "--package", "meshd", "--package", "meshctl"]);
    if !arguments.debug {
        cargo.arg("--release");
    }
    process::run(&mut cargo)?;
    let directory = place.target_dir.join(if arguments.debug { "debug" } else { "release" });
    link(&directory.join("mesh-wg"))?;
    for program in ["meshd", "mesh-wg", "meshctl"] {
        println!("{}", directory.join(program).display());
    }
    Ok(())
}

/// The daemon is a WireGuard device when it is called by this name.
fn link(path: &Path) -> Result<()> {
    match symlink("meshd", path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot link {}", path.display()))
        }
        Err(_) if fs::read_link(path).is_ok_and(|to| to == Path::new("meshd")) => Ok(()),
        Err(_) => anyhow::bail!("{} is not the link that this makes: remove it", path.display()),
        Ok(()) => Ok(()),
    }
}
