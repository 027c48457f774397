//! Does the toolchain have the parts that `cargo xtask check` runs?

use anyhow::{Result, bail};

use crate::process;

pub(crate) fn ensure() -> Result<()> {
    for (program, component) in [("rustfmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if process::find(program).is_none() {
            bail!("{program} is not installed; run: rustup component add {component}");
        }
    }
    Ok(())
}
