//! Whom a client calls: one address after the other, and what a name stands for now.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use anyhow::{Result, ensure};
use mesh_lab::{Lab, node::Programs};

use crate::site::{carry, carry_within, client, pair, programs, server, wait_for};

#[test]
fn a_dead_candidate_is_passed_over() -> Result<()> {
    let (lab, programs) = (Lab::new()?, programs()?);
    let mut network = pair(&lab, [&programs, &programs])?;
    network.clusters[1].node.put_manifest("gateway", &server(&["port: 51840"], &[]))?;
    let to = client(&["addresses: [172.31.0.77, \"2001:db8:31::77\", 172.31.0.2]", "port: 51840"], &[]);
    network.clusters[0].node.put_manifest("gateway", &to)?;
    network.clusters[1].node.start()?;
    network.clusters[0].node.start()?;
    carry_within(&network, Duration::from_secs(60))?;
    wait_for(&network.clusters[0], "gatewayclient", "the candidate in use", |status| {
        (status["endpoint"]["addresses"][0] == "172.31.0.2").then_some(())
    })
}

/// A `meshd` that reads `hosts` where others read `/etc/hosts`.
fn with_hosts(lab: &Lab, programs: &Programs, hosts: &Path) -> Result<Programs> {
    let script = lab.directory().join("meshd-with-hosts");
    let (meshd, hosts) = (programs.meshd.display(), hosts.display());
    let text = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount --bind {hosts} /etc/hosts && exec {meshd} \"$@\"' meshd \"$@\"\n"
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(Programs { meshd: script, meshctl: programs.meshctl.clone() })
}

#[test]
fn a_name_is_resolved_again() -> Result<()> {
    let (lab, programs) = (Lab::new()?, programs()?);
    let hosts = lab.directory().join("hosts");
    fs::write(&hosts, "172.31.0.2 gw.cl02.example\n")?;
    let mut network = pair(&lab, [&with_hosts(&lab, &programs, &hosts)?, &programs])?;
    network.clusters[1].node.put_manifest("gateway", &server(&["port: 51840"], &[]))?;
    network.clusters[0].node.put_manifest("gateway", &client(&["addresses: [gw.cl02.example]", "port: 51840"], &[]))?;
    network.clusters[1].node.start()?;
    network.clusters[0].node.start()?;
    carry(&network)?;

    // The server moves, and does not know any more where its client is.
    network.clusters[1].node.terminate()?;
    network.clusters[1].node.cleanup()?;
    let gateway = network.clusters[1].gateway();
    // In this order: the second address of a prefix goes along with the first.
    gateway.ip(&["address", "delete", "172.31.0.2/24", "dev", "und0"])?;
    gateway.ip(&["address", "add", "172.31.0.12/24", "dev", "und0"])?;
    fs::write(&hosts, "172.31.0.12 gw.cl02.example\n")?;
    network.clusters[1].node.start()?;
    carry_within(&network, Duration::from_secs(90))?;
    let status = network.clusters[0].node.status()?;
    let endpoint = status.connection("cl02")?.endpoint.clone().unwrap_or_default();
    ensure!(endpoint == "172.31.0.12:51840", "{endpoint}");
    Ok(())
}
