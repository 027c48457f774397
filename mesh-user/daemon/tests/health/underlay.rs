//! LQ-09, LQ-72: what an outage of the underlay, a restart of the remote and a path that is too narrow are told as.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{self, Cables, TUNNEL_MTU, UNDERLAY_MTU},
    interrupt,
    link::{self, Port},
};
use serde_json::Value;

use crate::{
    programs,
    seen::{condition, connection, expect, history, wait_for},
};

const SOON: Duration = Duration::from_secs(20);
/// For the search of a length.
const SEARCHED: Duration = Duration::from_secs(60);

/// The lines stand in this order, others may be between them.
fn in_order(history: &[String], lines: &[&str]) -> Result<()> {
    let mut rest = history.iter();
    for line in lines {
        ensure!(rest.any(|change| change == line), "no {line:?} where it should be: {history:?}");
    }
    Ok(())
}

#[test]
fn the_history_tells_why_a_connection_was_lost() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = demo::wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    wait_for(&network.clusters[0].node, "cl02", "DataPath", "True", SOON)?;
    network.unplug(1)?;
    wait_for(&network.clusters[0].node, "cl02", "TunnelProbe", "False", SOON)?;
    let cut = connection(&network.clusters[0].node, "cl02")?;
    expect(&cut, "TunnelProbe", "False", "NoReply", &["12345", "session is live"])?;
    expect(&cut, "DataPath", "Unknown", "TunnelDown", &[])?;
    ensure!(cut["state"] == "Error" && cut["latency_us"].is_null(), "{cut}");
    network.plug(1, Cables::Virtual, UNDERLAY_MTU)?;
    wait_for(&network.clusters[0].node, "cl02", "DataPath", "True", SOON)?;
    network.clusters[1].node.kill()?;
    network.clusters[1].node.start()?;
    let node = &network.clusters[0].node;
    interrupt::wait_for("the next probe to be answered", SOON, Duration::from_millis(100), || {
        let told = history(&connection(node, "cl02")?)?;
        Ok(told.iter().any(|change| change.ends_with("RemoteRestarted")).then_some(()))
    })?;
    wait_for(node, "cl02", "DataPath", "True", SOON)?;
    let told = connection(node, "cl02")?;
    let lines = [
        "TunnelProbe True Answered",
        "DataPath True Forwarded",
        "TunnelProbe False NoReply",
        "DataPath Unknown TunnelDown",
        "TunnelProbe True Answered",
        "TunnelProbe True RemoteRestarted",
    ];
    in_order(&history(&told)?, &lines)?;
    let lacks_time = |change: &Value| change["time"].as_str().is_none_or(|time| !time.ends_with('Z'));
    ensure!(!told["history"].as_array().context("no history")?.iter().any(lacks_time), "{told}");
    Ok(())
}

/// LQ-44: nobody says that the underlay became narrow; long packets just vanish.
#[test]
fn a_narrow_underlay_is_measured() -> Result<()> {
    /// What WireGuard adds to a packet over IPv4, with its padding to 16 bytes.
    const ADDED: u16 = 20 + 8 + 32;
    const NARROW: u16 = 1_300;
    let lab = Lab::new()?;
    let mut network = demo::wireguard_pair(&lab, &programs()?)?;
    link::mtu(Port::new(&network.wire, "cl01"), NARROW)?;
    network.clusters.iter_mut().rev().try_for_each(|cluster| cluster.node.start())?;
    let node = &network.clusters[0].node;
    wait_for(node, "cl02", "MTU", "False", SEARCHED)?;
    let seen = connection(node, "cl02")?;
    let found = seen["path_mtu"].as_u64().and_then(|mtu| u16::try_from(mtu).ok()).context("not measured")?;
    // The outer packet may be fragmented by nobody here, and its link header counts in some kernels.
    ensure!((NARROW - ADDED - 32..=NARROW - ADDED + 32).contains(&found), "{found}: {seen}");
    expect(&seen, "MTU", "False", "PathTooNarrow", &[&format!("spec.mtu: {found}"), &TUNNEL_MTU.to_string()])?;
    expect(&seen, "DataPath", "True", "Forwarded", &[])?;
    ensure!(seen["state"] == "Error" && seen["mtu"] == TUNNEL_MTU, "{seen}");
    Ok(())
}

/// LQ-44: each end was given another MTU, which no exchange of keys could notice.
#[test]
fn two_mtus_are_told_at_both_ends() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = demo::wireguard_pair(&lab, &programs()?)?;
    let node = &network.clusters[1].node;
    let manifest = network.clusters[1].site.gateway_server(&network.clusters[0].site, 51_840);
    let other = manifest.replace(&format!("mtu: {TUNNEL_MTU}"), "mtu: 1300");
    ensure!(other != manifest, "{manifest}");
    node.put_manifest("gateway-cl01", &other)?;
    network.clusters.iter_mut().rev().try_for_each(|cluster| cluster.node.start())?;
    for (cluster, remote) in [(0, "cl02"), (1, "cl01")] {
        let node = &network.clusters[cluster].node;
        wait_for(node, remote, "MTU", "False", SOON)?;
        let seen = connection(node, remote)?;
        let [_, reason, message] = condition(&seen, "MTU")?;
        ensure!(reason == "MtuMismatch" && message.contains("1300") && message.contains("1340"), "{message}");
        ensure!(seen["state"] == "Error", "{seen}");
    }
    Ok(())
}
