//! Where are we: which checkout, which target folder, which tools?

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::bpf_build::{self, Tools};

/// The checkout that a verb works on.
#[derive(Debug)]
pub(crate) struct Place {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) workspace: PathBuf,
    pub(crate) target_dir: PathBuf,
    pub(crate) tools: Tools,
}

impl Place {
    pub(crate) fn find() -> Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no folder above it: it must lie in the workspace")?
            .to_path_buf();
        let program = env::current_exe().context("where this program lies")?;
        let target_dir = bpf_build::target_dir(&program).to_path_buf();
        let tools = Tools::locate(&target_dir);
        Ok(Self { workspace, target_dir, tools })
    }

    /// The cargo that runs us, in this workspace. It gets no environment of its own: build scripts would run again when a
    /// person types plain `cargo` in between.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.workspace);
        command
    }
}
