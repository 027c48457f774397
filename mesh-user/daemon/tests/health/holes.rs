//! LQ-72: packets vanish behind a tunnel that is healthy. Which hop loses them is told within ten seconds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    demo::{self, Network},
};

use crate::{
    programs,
    seen::{condition, connection, expect, history, wait_for},
};

const NAMED_WITHIN: Duration = Duration::from_secs(10);
const MENDED_WITHIN: Duration = Duration::from_secs(10);

/// Both clusters have it.
const POD: &str = "10.243.1.130";

/// What is broken, and what it is told as at the other side.
struct Hole {
    dig: fn(&Namespace) -> Result<()>,
    fill: fn(&Namespace) -> Result<()>,
    there: &'static [&'static str],
    here: &'static [&'static str],
}

const HOLES: [Hole; 4] = [
    Hole {
        dig: |gateway| firewall(gateway, "inet"),
        fill: |gateway| no_firewall(gateway, "inet"),
        there: &["gateway of cl02", "behind it does not answer", "nft list ruleset"],
        here: &["forwarding is cut here", "nft list ruleset"],
    },
    Hole {
        dig: |gateway| firewall(gateway, "ip6"),
        fill: |gateway| no_firewall(gateway, "ip6"),
        there: &["gateway of cl02", "net.ipv6.conf.all.forwarding"],
        here: &["forwarding is cut here", "net.ipv6.conf.all.forwarding"],
    },
    Hole {
        dig: |gateway| gateway.sysctl("net/ipv4/ip_forward", "0"),
        fill: |gateway| gateway.sysctl("net/ipv4/ip_forward", "1"),
        there: &["gateway of cl02 does not forward IPv4", "sysctl -w net.ipv4.ip_forward=1"],
        here: &["does not forward", "forwarding is 0", "sysctl -w net.ipv4.conf."],
    },
    Hole {
        dig: |gateway| gateway.ip(&["link", "set", "pods1", "down"]).map(|_| ()),
        fill: |gateway| gateway.ip(&["link", "set", "pods1", "up"]).map(|_| ()),
        there: &["towards the pods of cl02 is down"],
        here: &["pods1 towards pods is down", "ip link set pods1 up"],
    },
];

/// A firewall that lets nothing of a family through; what is for the gateway itself passes.
fn firewall(gateway: &Namespace, family: &str) -> Result<()> {
    let chain = "{ type filter hook forward priority 0; policy drop; }";
    let rules = format!("add table {family} hole; add chain {family} hole forward {chain}");
    gateway.run("nft", &[&rules])?;
    Ok(())
}

/// Takes away ours alone: the daemon has a table of its own.
fn no_firewall(gateway: &Namespace, family: &str) -> Result<()> {
    gateway.run("nft", &[&format!("delete table {family} hole")])?;
    Ok(())
}

fn pair(lab: &Lab) -> Result<Network> {
    let mut network = demo::wireguard_pair(lab, &programs()?)?;
    network.start()?;
    for (here, there) in [(0, 1), (1, 0)] {
        let (node, remote) = (&network.clusters[here].node, network.clusters[there].id());
        for kind in ["Handshake", "TunnelProbe", "DataPath", "MTU"] {
            wait_for(node, remote, kind, "True", Duration::from_secs(15))?;
        }
    }
    Ok(network)
}

#[test]
fn a_black_hole_behind_a_healthy_tunnel_is_named_at_both_ends() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab)?;
    let (near, far) = (&network.clusters[0], &network.clusters[1]);
    let dial = network.direction(0, 1, false)?.dial(POD.parse()?)?;
    for hole in &HOLES {
        (hole.dig)(far.gateway())?;
        let took = wait_for(&near.node, "cl02", "DataPath", "False", NAMED_WITHIN)?;
        wait_for(&far.node, "cl01", "DataPath", "False", NAMED_WITHIN.saturating_sub(took))?;
        let (seen, own) = (connection(&near.node, "cl02")?, connection(&far.node, "cl01")?);
        expect(&seen, "DataPath", "False", "NotForwardedThere", hole.there)?;
        expect(&own, "DataPath", "False", "NotForwardedHere", hole.here)?;
        expect(&seen, "Handshake", "True", "SessionLive", &[])?;
        expect(&seen, "TunnelProbe", "True", "Answered", &[])?;
        ensure!(seen["state"] == "Error", "{seen}");
        ensure!(seen["detail"] == condition(&seen, "DataPath")?[2].as_str(), "{seen}");
        let explained = near.node.meshctl(&["explain", POD, &dial.to_string()])?.stdout;
        ensure!(hole.there.iter().all(|words| explained.contains(words)), "{explained}");
        (hole.fill)(far.gateway())?;
        for (node, remote) in [(&near.node, "cl02"), (&far.node, "cl01")] {
            wait_for(node, remote, "DataPath", "True", MENDED_WITHIN)?;
        }
    }
    let told = history(&connection(&near.node, "cl02")?)?;
    let times = told.iter().filter(|change| *change == "DataPath False NotForwardedThere").count();
    ensure!(times == HOLES.len(), "{told:?}");
    Ok(())
}

/// The responder is a thing of the daemon: nothing of it stays when the daemon or the connection ends, and what others take
/// away comes back.
#[test]
fn the_responder_comes_and_goes_with_its_connection() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = pair(&lab)?;
    let device = |network: &Network| network.clusters[1].gateway().ip(&["link", "show", "dev", "mesh-probe"]);
    let routes = network.clusters[1].gateway().ip(&["route", "show", "dev", "mesh-probe"])?;
    ensure!(routes.contains("proto 177") && routes.lines().count() == 1, "{routes}");
    network.clusters[1].gateway().ip(&["link", "delete", "dev", "mesh-probe"])?;
    mesh_lab::interrupt::wait_for("the device to be back", NAMED_WITHIN, Duration::from_millis(50), || {
        Ok(device(&network).ok())
    })?;
    wait_for(&network.clusters[0].node, "cl02", "DataPath", "True", NAMED_WITHIN)?;
    for manifest in ["gateway-cl01", "key-cl01", "configuration-cl01"] {
        network.clusters[1].node.remove_manifest(manifest)?;
    }
    mesh_lab::interrupt::wait_for("the device to be gone", NAMED_WITHIN, Duration::from_millis(50), || {
        Ok(device(&network).is_err().then_some(()))
    })
    .context("after its last connection")?;
    network.clusters[0].node.kill()?;
    mesh_lab::interrupt::wait_for("the device to be gone", NAMED_WITHIN, Duration::from_millis(50), || {
        Ok(network.clusters[0].gateway().ip(&["link", "show", "dev", "mesh-probe"]).is_err().then_some(()))
    })
    .context("after its daemon")
}
