//! How a kernel setting of one interface is read and written, under `/proc/sys/net`.

use std::{fs, io, path::PathBuf};

use anyhow::{Context as _, Result};
use mesh_core::plan::{DeviceName, Sysctl, SysctlKey};

/// The value without its newline; `None`: no such device.
pub fn read(sysctl: &Sysctl) -> Result<Option<String>> {
    match fs::read_to_string(path(sysctl)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path(sysctl).display())),
    }
}

pub fn write(sysctl: &Sysctl, value: &str) -> Result<()> {
    let path = path(sysctl);
    fs::write(&path, value).with_context(|| {
        format!("cannot write {value} to {}: is /proc/sys writable, and does the device exist?", path.display())
    })
}

/// The settings that the kernel overwrites when this one is written, and that differ from each other before: IPv6
/// forwarding of `all` is copied to each interface and to `default`.
pub fn followers(sysctl: &Sysctl, devices: impl Iterator<Item = DeviceName>) -> Result<Vec<(Sysctl, String)>> {
    if sysctl.key != SysctlKey::ForwardingV6 || sysctl.device.0 != "all" {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for device in devices.chain([DeviceName("default".to_owned())]) {
        let follower = Sysctl { device, key: sysctl.key };
        found.extend(read(&follower)?.map(|value| (follower, value)));
    }
    Ok(found)
}

/// Keeps the kernel from giving the device a link-local address: a tunnel has no link, and its packets would only count
/// as dropped. Without IPv6 there is nothing to do.
pub fn without_link_local(device: &DeviceName) -> Result<()> {
    const NONE: &str = "1"; // IN6_ADDR_GEN_MODE_NONE
    let path = PathBuf::from("/proc/sys/net/ipv6/conf").join(&device.0).join("addr_gen_mode");
    match fs::write(&path, NONE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot write {NONE} to {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn path(sysctl: &Sysctl) -> PathBuf {
    let of_device = |family: &str, key| format!("{family}/conf/{}/{key}", sysctl.device.0);
    PathBuf::from("/proc/sys/net").join(match sysctl.key {
        SysctlKey::ForwardingV4 => of_device("ipv4", "forwarding"),
        SysctlKey::ForwardingV6 => of_device("ipv6", "forwarding"),
        SysctlKey::RpFilter => of_device("ipv4", "rp_filter"),
        SysctlKey::MultipathHashV4 => "ipv4/fib_multipath_hash_policy".to_owned(),
        SysctlKey::MultipathHashV6 => "ipv6/fib_multipath_hash_policy".to_owned(),
    })
}
