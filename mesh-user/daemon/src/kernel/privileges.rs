//! May this process do what a daemon must do? Asked once, before anything is done.

use anyhow::{Context as _, Result, bail};
use rustix::thread::{CapabilitySet, capabilities};

/// `programs`: BPF programs will be loaded.
pub fn check(programs: bool) -> Result<()> {
    let effective = effective()?;
    if !effective.contains(CapabilitySet::NET_ADMIN) {
        bail!("meshd needs CAP_NET_ADMIN for devices, addresses and routes: run it as root");
    }
    if programs && !may_load(effective) {
        bail!("meshd needs CAP_BPF to load its programs: run it as root, or set every hook to \"off\"");
    }
    Ok(())
}

pub fn may_load_programs() -> Result<bool> {
    effective().map(may_load)
}

fn effective() -> Result<CapabilitySet> {
    Ok(capabilities(None).context("cannot read the capabilities of this process")?.effective)
}

fn may_load(effective: CapabilitySet) -> bool {
    effective.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN)
}
