//! Which settings does the daemon run with. What they mean is for `mesh_core::model` to say.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use mesh_core::model::{Settings, group::NodeId};

pub fn read(path: &Path) -> Result<Settings> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the settings {}: name the file with --config", path.display()))?;
    Ok(Settings::parse(&path.display().to_string(), &text)?.on_host(&host_name()))
}

/// What this node is called in network groups.
pub fn node_id(settings: &Settings) -> NodeId {
    settings.node_id.clone().unwrap_or_else(|| NodeId::of_host(&host_name()))
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
