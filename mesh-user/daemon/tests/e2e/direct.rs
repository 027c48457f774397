//! `direct` connections: rewritten and forwarded in the kernel, which goes on without the daemon.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Cables, Connection, DIRECT_MTU, Network, Site, check::pods, direct_pair},
    interrupt,
    link::{self, Port},
    pins,
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
    let pinned = pins::identities(node.pins())?;
    for kind in ["map_id=", "link_id=", "prog_id="] {
        ensure!(pinned.iter().any(|pin| pin.contains(kind)), "no pin has a {kind}: {pinned:?}");
    }
    node.kill()?;
    std::thread::sleep(Duration::from_secs(1));
    let before = node.log()?.len();
    node.start()?;
    // Long enough for a second look at the kernel.
    std::thread::sleep(Duration::from_secs(2));
    ensure!(pins::identities(node.pins())? == pinned, "{:?} instead of {pinned:?}", pins::identities(node.pins())?);
    for stream in streams {
        let tally = stream?.stop()?;
        ensure!(tally.sent > 3_000 && tally.lost == 0 && tally.duplicates == 0, "{tally:?}\n{}", network.tails());
    }
    let log = network.clusters[0].node.log()?;
    let told: Vec<_> = log[before..].lines().filter(|line| line.contains("the plan takes")).collect();
    ensure!(told.len() == 1 && told[0].contains("the plan takes 0 steps"), "a change:\n{}", &log[before..]);
    Ok(())
}

#[test]
fn a_next_hop_that_changes_its_mac_is_found_again() -> Result<()> {
    let lab = Lab::new()?;
    let network = started(&lab)?;
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 13)?;
    traffic::ping(&from, dial)?;
    let pair = (direction.seen(from.address)?, dial);
    let [former, new] = [link::mac(Port::new(direction.to.gateway(), "und0"))?, "02:00:00:00:be:ef".to_owned()];
    ensure!(former != new);
    let [to_former, to_new] = [&former, &new].map(|mac| frames_to(&network, direction.from.id(), mac, pair));
    let (to_former, to_new) = (to_former?, to_new?);
    traffic::ping(&from, dial)?;
    ensure!(to_former.matched()? > 0 && to_new.matched()? == 0, "the sniffers do not see what leaves");
    direction.to.gateway().ip(&["link", "set", "dev", "und0", "address", &new])?;
    let changed = Instant::now();
    interrupt::wait_for("frames to the new MAC and an answer", Duration::from_secs(5), PAUSE, || {
        Ok((traffic::answers_ping(&from, dial, 1)? && to_new.matched()? > 0).then_some(()))
    })
    .with_context(|| network.tails())?;
    ensure!(changed.elapsed() < Duration::from_secs(5), "it took {:?}", changed.elapsed());
    let late = to_former.matched()?;
    traffic::ping(&from, dial)?;
    ensure!(to_former.matched()? == late, "frames still leave to the former MAC");
    Ok(())
}

/// Counts, at the far end of a cluster's cable, the IPv4 frames of a pair of addresses that it sends to a MAC.
fn frames_to(network: &Network, cluster: &str, mac: &str, pair: (IpAddr, IpAddr)) -> Result<Sniffer> {
    let octets = mac.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<Vec<_>, _>>()?;
    let octets: [u8; 6] = octets.try_into().ok().with_context(|| format!("`{mac}` is no MAC"))?;
    Sniffer::frames(Port::new(&network.wire, cluster), move |frame| {
        frame.len() > 14 && frame[..6] == octets && sniff::addresses(&frame[14..]) == Some(pair)
    })
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

/// A switch that does not know a host floods what is sent to it. Only the host itself may judge it.
#[test]
fn what_is_flooded_is_left_to_its_receiver() -> Result<()> {
    const COUNT: u64 = 5;
    let lab = Lab::new()?;
    let network = started(&lab)?;
    let direction = network.direction(0, 1, false)?;
    let (_, _, dial) = pods(&direction, &mut 23)?;
    let (node, gateway) = (&direction.to.node, direction.to.gateway());
    let next_hop = direction.to.site.underlay.to_string();
    network.wire.ip(&["route", "add", "10.0.0.0/8", "via", &next_hop])?;
    let send = |mac: &str| {
        network.wire.ip(&["neighbour", "replace", &next_hop, "lladdr", mac, "dev", "wire", "nud", "permanent"])?;
        spoof::udp(&network.wire, "198.51.100.77:9".parse()?, SocketAddr::new(dial, 9), b"flooded", COUNT as usize)
    };
    let before = node.status()?.dropped("spoofed-source");
    let passed = Sniffer::on(Port::new(gateway, "und0"), |packet| sniff::contains(packet, b"flooded"))?;
    send("02:00:00:00:0b:ad")?;
    interrupt::wait_for("the flooded frames to pass", PATIENCE, PAUSE, || {
        Ok((passed.matched()? == COUNT).then_some(()))
    })?;
    send(&link::mac(Port::new(gateway, "und0"))?)?;
    let dropped = interrupt::wait_for("the others to be dropped", PATIENCE, PAUSE, || {
        Ok(Some(node.status()?.dropped("spoofed-source")).filter(|dropped| *dropped >= before + COUNT))
    })?;
    ensure!(
        dropped == before + COUNT && passed.matched()? == COUNT,
        "{dropped} packets were dropped, not {COUNT} more"
    );
    Ok(())
}

/// A pod that dials its own cluster's presented prefix is told so, and nothing circles.
#[test]
fn a_hairpin_is_unreachable() -> Result<()> {
    // Destination unreachable: RFC 792, RFC 4443.
    const UNREACHABLE: [(bool, u8); 2] = [(false, 3), (true, 1)];
    let lab = Lab::new()?;
    let network = started(&lab)?;
    for (v6, unreachable) in UNREACHABLE {
        let direction = network.direction(0, 1, v6)?;
        let (from, _, dial) = pods(&direction, &mut 17)?;
        let neighbour = direction.from.pod(v6, &mut 18);
        let own = direction.here.of(neighbour.address).context("one family")?;
        let to = |wanted| move |packet: &[u8]| sniff::addresses(packet).is_some_and(|(_, to)| to == wanted);
        let underlay = Port::new(&network.wire, direction.from.id());
        let (leak, control) = (Sniffer::on(underlay, to(own))?, Sniffer::on(underlay, to(dial))?);
        let answer = path::probe_ttl(&from, own, 64)?;
        ensure!(answer.icmp_type == unreachable, "{}: {answer:?}", direction.name());
        traffic::ping(&from, dial)?;
        ensure!(control.matched()? > 0, "the underlay was not heard");
        ensure!(leak.matched()? == 0, "{} packets went out to the underlay", leak.matched()?);
    }
    Ok(())
}
