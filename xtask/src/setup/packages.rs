//! Are the programs there that the tests run against?

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use super::step;
use crate::process;

/// A program that tests start, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 14] = [
    ("curl", "curl"),
    ("dig", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("nft", "nftables"),
    ("nginx", "nginx"),
    ("nsd", "nsd"),
    ("ping", "iputils-ping"),
    ("ps", "procps"),
    ("socat", "socat"),
    ("tcpdump", "tcpdump"),
    ("wg", "wireguard-tools"),
];

/// Debian starts the servers that it installs unless this file says no; a test machine has no use for a web or name server.
const POLICY: &str = "/usr/sbin/policy-rc.d";

pub(crate) fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    install_all(&missing)?;
    let still = self::missing();
    if !still.is_empty() {
        bail!("apt-get installed {}, and yet the programs of {} are not there", missing.join(" "), still.join(" "));
    }
    Ok(())
}

/// Installs Debian packages, or says who can.
pub(super) fn install_all(missing: &[&str]) -> Result<()> {
    let packages = missing.join(" ");
    if process::find("apt-get").is_none() {
        bail!("tests need the programs of these Debian packages, and this machine has no apt-get: {packages}");
    }
    if !is_root()? {
        bail!("tests need packages that only root can install; run:\n  sudo apt-get install --yes {packages}");
    }
    step(&format!("apt-get install {packages}"), || install(missing))
}

/// The packages whose program is not found.
fn missing() -> Vec<&'static str> {
    let missing = PROGRAMS.iter().filter(|(program, _)| process::find(program).is_none());
    missing.map(|&(_, package)| package).collect()
}

/// Whether this process may install packages and make namespaces.
pub(crate) fn is_root() -> Result<bool> {
    Ok(process::output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn install(packages: &[&str]) -> Result<()> {
    // A third party's source that does not answer is no reason to stop: the packages are Debian's.
    if let Err(error) = process::output(Command::new("apt-get").args(["-qq", "update"])) {
        eprintln!("setup: apt-get update: {error:#}");
    }
    let _policy = StartNothing::begin()?;
    let mut command = Command::new("apt-get");
    command.args(["-qq", "install", "--yes", "--no-install-recommends"]).args(packages);
    process::output(command.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// Forbids the start of installed services until dropped.
#[derive(Debug)]
struct StartNothing {
    ours: bool,
}

impl StartNothing {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false });
        }
        // Exit code 101: action forbidden by policy.
        fs::write(POLICY, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        let guard = Self { ours: true };
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)).with_context(|| format!("chmod {POLICY}"))?;
        Ok(guard)
    }
}

impl Drop for StartNothing {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("setup: remove {POLICY}: {error}");
        }
    }
}
