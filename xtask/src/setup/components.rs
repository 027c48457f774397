//! Does the toolchain have the parts that `cargo xtask check` runs?

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Result, bail};

use super::step;
use crate::process;

/// A server that does not answer must not hold up what comes next.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// A program of the toolchain, and the component that has it.
const PROGRAMS: [(&str, &str); 2] = [("rustfmt", "rustfmt"), ("cargo-clippy", "clippy")];

pub(super) fn ensure(sysroot: &Path) -> Result<()> {
    for (program, component) in PROGRAMS {
        // Not `PATH`: rustup puts a proxy there for components that are not installed, too.
        if sysroot.join("bin").join(program).is_file() {
            continue;
        }
        let added = process::find("rustup").is_some() && add(component)?;
        if !added || !sysroot.join("bin").join(program).is_file() {
            bail!("{program} is missing in {}; run: rustup component add {component}", sysroot.display());
        }
    }
    Ok(())
}

/// Whether rustup could add it; it cannot where there is no toolchain server.
pub(super) fn add(component: &str) -> Result<bool> {
    step(&format!("rustup component add {component}"), || {
        process::succeeds_within(Command::new("rustup").args(["component", "add", component]), RUSTUP_LIMIT)
    })
}
