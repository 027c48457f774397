//! What of a gateway may a daemon change? As text that can be compared before and after.

use std::{fs, path::Path};

use anyhow::Result;
use mesh_lab::{Namespace, node::Node, pins};

/// The device of the daemon's responder comes and goes with each run.
const RESPONDER: &str = "mesh-probe";

/// Links with their XDP programs, addresses, routes, rules, neighbours and settings. The kernel's own IPv6 addresses and
/// routes come when it likes.
pub(crate) fn host_state(gateway: &Namespace) -> Result<String> {
    let mut all = String::new();
    for arguments in [
        &["-d", "-o", "link", "show"][..],
        &["-4", "-o", "address", "show"],
        &["-6", "-o", "address", "show"],
        &["-4", "route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
        &["-4", "rule"],
        &["-6", "rule"],
        &["-4", "neighbour", "show", "nud", "permanent"],
        &["-6", "neighbour", "show", "nud", "permanent"],
    ] {
        let printed = gateway.ip(arguments)?;
        let is_stable = |line: &&str| !line.contains("fe80::") && !line.starts_with("multicast ff00::");
        let lines = printed.lines().filter(is_stable).filter(|line| !line.contains(RESPONDER));
        lines.for_each(|line| all.extend([line.trim(), "\n"]));
    }
    all += &sysctls(gateway)?;
    Ok(all)
}

/// The same, with what is pinned (maps, and programs at the interfaces) and the files that a daemon keeps; but for the store,
/// which each start opens, as others may ask for what is in it.
pub(crate) fn applied(node: &Node) -> Result<String> {
    let mut all = host_state(node.namespace())?;
    for directory in ["state", "wireguard"] {
        let mut files = Vec::new();
        for entry in fs::read_dir(node.directory().join(directory))? {
            let path = entry?.path();
            if path.ends_with("store.redb") {
                continue;
            }
            files.push(format!("{} {:?}\n", path.display(), fs::read(&path).ok()));
        }
        files.sort();
        all.extend(files);
    }
    if node.pins().exists() {
        pins::identities(node.pins())?.iter().for_each(|pin| all.extend([pin, "\n"]));
    }
    Ok(all)
}

/// All settings of the kernel for the interfaces of a gateway, and for those that come.
fn sysctls(gateway: &Namespace) -> Result<String> {
    gateway.enter(|| {
        let mut lines = Vec::new();
        for family in ["ipv4", "ipv6"] {
            for device in fs::read_dir(Path::new("/proc/sys/net").join(family).join("conf"))? {
                let device = device?.path();
                if device.ends_with(RESPONDER) {
                    continue;
                }
                for setting in fs::read_dir(device)? {
                    let path = setting?.path();
                    // One can only be read once it was set.
                    let value = fs::read_to_string(&path).unwrap_or_else(|error| error.kind().to_string());
                    lines.push(format!("{} {}\n", path.display(), value.trim()));
                }
            }
        }
        lines.sort();
        Ok(lines.concat())
    })
}
