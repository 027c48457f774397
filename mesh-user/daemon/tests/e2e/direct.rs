//! `direct` connections: rewritten and forwarded in the kernel, which goes on without the daemon.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Cables, Connection, DIRECT_MTU, Network, Site, check::pods, direct_pair},
    interrupt,
    link::Port,
    sniff::{self, Sniffer},
    traffic::{self, path, spoof, stream::Stream},
};

use crate::{keep_all_promises, programs};

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

fn started(lab: &Lab) -> Result<Network> {
    let mut network = direct_pair(lab, &programs()?)?;
    network.start().with_context(|| network.tails())?;
    Ok(network)
}

#[test]
fn a_pair_through_native_xdp_keeps_its_promises() -> Result<()> {
    let lab = Lab::new()?;
    let network = started(&lab)?;
    for cluster in &network.clusters {
        let status = cluster.node.status()?;
        ensure!(status.interfaces.iter().all(|interface| interface.hook == "xdp"), "{:?}", status.interfaces);
    }
    keep_all_promises(&network)
}

/// On cables that leave checksums and segmentation to the far end, and on those that do not.
#[test]
fn pairs_through_tcx_keep_their_promises() -> Result<()> {
    for cables in [Cables::Virtual, Cables::Real] {
        let lab = Lab::new()?;
        let mut network = Network::new(&lab, "wire", DIRECT_MTU)?;
        for number in [3, 4] {
            let site = Site::new(number).dual_stack().with_hook("tcx");
            network.add(&lab, site, cables, DIRECT_MTU, &programs()?)?;
        }
        network.connect(0, 1, Connection::Direct)?;
        network.start()?;
        let status = network.clusters[0].node.status()?;
        ensure!(status.interfaces.iter().all(|interface| interface.hook == "tcx"), "{:?}", status.interfaces);
        keep_all_promises(&network)?;
    }
    Ok(())
}

/// What is pinned carries on while the daemon is dead, and the next one adopts it as it is.
#[test]
fn a_killed_daemon_costs_no_datagram() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = started(&lab)?;
    let streams = [(0, 1), (1, 0)].map(|(from, to)| {
        let direction = network.direction(from, to, false)?;
        let (from, to, dial) = pods(&direction, &mut 11)?;
        traffic::ping(&from, dial)?;
        Stream::start(&from, &to, dial, 2_000)
    });
    std::thread::sleep(Duration::from_millis(500));
    let node = &mut network.clusters[0].node;
    node.kill()?;
    std::thread::sleep(Duration::from_secs(1));
    let before = node.log()?.len();
    node.start()?;
    std::thread::sleep(Duration::from_millis(500));
    for stream in streams {
        let tally = stream?.stop()?;
        ensure!(tally.sent > 3_000 && tally.lost == 0 && tally.duplicates == 0, "{tally:?}\n{}", network.tails());
    }
    let log = network.clusters[0].node.log()?;
    ensure!(log[before..].contains("0 steps"), "the restart changed something:\n{}", &log[before..]);
    Ok(())
}

#[test]
fn a_next_hop_that_changes_its_mac_is_found_again() -> Result<()> {
    let lab = Lab::new()?;
    let network = started(&lab)?;
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 13)?;
    traffic::ping(&from, dial)?;
    direction.to.gateway().ip(&["link", "set", "dev", "und0", "address", "02:00:00:00:be:ef"])?;
    interrupt::wait_for("pods to reach each other again", Duration::from_secs(5), PAUSE, || {
        Ok(traffic::answers_ping(&from, dial, 1)?.then_some(()))
    })
    .with_context(|| network.tails())
}

#[test]
fn an_underlay_that_is_cut_and_made_again_recovers() -> Result<()> {
    let lab = Lab::new()?;
    let network = started(&lab)?;
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 5)?;
    for cluster in [0, 1] {
        network.unplug(cluster)?;
        ensure!(!traffic::answers_ping(&from, dial, 2)?, "a pod was reached without an underlay");
        network.plug(cluster, Cables::Real, DIRECT_MTU)?;
        interrupt::wait_for("pods to reach each other again", PATIENCE, PAUSE, || {
            Ok(traffic::answers_ping(&from, dial, 1)?.then_some(()))
        })
        .with_context(|| network.tails())?;
    }
    Ok(())
}

/// A stranger on the underlay: neither into the cluster nor through it to another.
#[test]
fn a_stranger_on_the_underlay_is_dropped() -> Result<()> {
    const COUNT: u64 = 5;
    let lab = Lab::new()?;
    let network = started(&lab)?;
    let direction = network.direction(0, 1, false)?;
    let (_, to, dial) = pods(&direction, &mut 19)?;
    let arrived = Sniffer::everywhere(&to.namespace, |packet| sniff::contains(packet, b"stranger"))?;
    let next_hop = direction.to.site.underlay.to_string();
    network.wire.ip(&["route", "add", "10.0.0.0/8", "via", &next_hop])?;
    let elsewhere = "10.243.9.9".parse()?;
    for (source, destination, reason) in
        [("198.51.100.77:9", dial, "spoofed-source"), ("198.51.100.77:9", elsewhere, "not-our-destination")]
    {
        let before = direction.to.node.status()?.dropped(reason);
        spoof::udp(&network.wire, source.parse()?, SocketAddr::new(destination, 9), b"stranger", COUNT as usize)?;
        interrupt::wait_for(reason, PATIENCE, PAUSE, || {
            Ok((direction.to.node.status()?.dropped(reason) >= before + COUNT).then_some(()))
        })?;
    }
    ensure!(arrived.matched()? == 0, "{} packets of a stranger arrived", arrived.matched()?);
    Ok(())
}

/// A pod that dials its own cluster's presented prefix is told so, and nothing circles.
#[test]
fn a_hairpin_is_unreachable() -> Result<()> {
    const UNREACHABLE: u8 = 3;
    let lab = Lab::new()?;
    let network = started(&lab)?;
    let direction = network.direction(0, 1, false)?;
    let (from, ..) = pods(&direction, &mut 17)?;
    let neighbour = direction.from.pod(false, &mut 18);
    let own = direction.here.of(neighbour.address).context("one family")?;
    let underlay = Port::new(&network.wire, direction.from.id());
    let leak = Sniffer::on(underlay, move |packet| {
        sniff::addresses(packet).is_some_and(|(_, destination)| destination == own)
    })?;
    let answer = path::probe_ttl(&from, own, 64)?;
    ensure!(answer.icmp_type == UNREACHABLE, "{answer:?}");
    ensure!(leak.matched()? == 0, "{} packets went out to the underlay", leak.matched()?);
    Ok(())
}
