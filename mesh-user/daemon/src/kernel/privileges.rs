//! May this process do what a daemon must do? Asked once, before anything is done.

use anyhow::{Context as _, Result, bail};
use rustix::thread::{CapabilitySet, capabilities};

/// `programs`: BPF programs will be loaded.
pub fn check(programs: bool) -> Result<()> {
    let effective = capabilities(None).context("cannot read the capabilities of this process")?.effective;
    if !effective.contains(CapabilitySet::NET_ADMIN) {
        bail!("meshd needs CAP_NET_ADMIN for devices, addresses and routes: run it as root");
    }
    let may_load = effective.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
    if programs && !may_load {
        bail!("meshd needs CAP_BPF to load its programs: run it as root, or set every hook to \"off\"");
    }
    Ok(())
}
