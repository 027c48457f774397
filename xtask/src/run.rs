//! `cargo xtask run`: two clusters with the same pod CIDR talk, in network namespaces of this machine.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use mesh_lab::{
    demo::{self, show::Outcome},
    node::Programs,
};

use crate::{
    build,
    place::Place,
    setup::{self, Purpose},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ends after the checks; the exit code tells whether all were kept
    #[arg(long)]
    once: bool,
    /// Runs the meshd and meshctl of this directory instead of building them
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
    /// Only the scene of this name
    #[arg(long, value_name = "NAME")]
    scene: Option<String>,
}

/// Exit code of a program that SIGINT ended, as shells count it.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(place: &Place, arguments: &Arguments) -> Result<ExitCode> {
    if !setup::is_root()? {
        bail!(
            "the demo makes network namespaces: run it as root, for example\n  \
             sudo --preserve-env=PATH,HOME cargo xtask run"
        );
    }
    let programs = match &arguments.programs {
        Some(directory) => Programs::in_directory(directory)?,
        None => {
            setup::ensure(place, Purpose::Show)?;
            build::run(place, &build::Arguments::optimised())?;
            Programs::in_directory(&place.target_dir.join("release"))?
        }
    };
    Ok(match demo::show::run(&scenes(arguments)?, &programs, arguments.once)? {
        Outcome::Kept => ExitCode::SUCCESS,
        Outcome::Broken => ExitCode::FAILURE,
        Outcome::Interrupted => ExitCode::from(INTERRUPTED),
    })
}

fn scenes(arguments: &Arguments) -> Result<Vec<demo::Scene>> {
    let all = demo::SCENES.iter().copied();
    let Some(wanted) = &arguments.scene else { return Ok(all.collect()) };
    let found: Vec<_> = all.filter(|scene| scene.name == *wanted).collect();
    if found.is_empty() {
        let names: Vec<_> = demo::SCENES.iter().map(|scene| scene.name).collect();
        bail!("there is no scene `{wanted}`; there are: {}", names.join(", "));
    }
    Ok(found)
}
