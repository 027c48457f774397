//! A host outside the cluster is reached as an address of our external CIDR, and known by it.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab,
    demo::{Connection, Network, direct_pair},
    node::Programs,
    traffic::{self, echo, echo::Fragmentation},
};

use crate::{PATIENCE, PAUSE, called, clusters, given, host, ip_object, pair, ruleset};

const EXTERNAL: &str = "10.70.0.0/16";
const LENGTHS: [usize; 3] = [1, 64, 1_200];

/// What the first cluster dials for the host of the second, once that has a name.
fn dial(network: &Network) -> Result<IpAddr> {
    let address: IpAddr = given(&network.clusters[1].node, "ips", "db", "ip")?.parse()?;
    called(&network.clusters[0].node, "cl02", EXTERNAL, address)
}

/// LQ-25, LQ-13: without state; the host sees the pod as its cluster calls it, and is recognised when it speaks first.
#[test]
fn a_host_is_reached_and_recognised() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab, "[remap]\nunknown_source = false\n")?;
    let outside = host(&lab, network.clusters[1].gateway(), true)?;
    network.clusters[1].node.put_manifest("db", &ip_object("db", crate::HOST, false))?;
    let dial = dial(&network)?;
    let direction = network.direction(0, 1, false)?;
    let pod = direction.from.pod(false, &mut 7);
    let seen = echo::udp(&pod, &outside, dial, &LENGTHS, Fragmentation::Allowed, 1)?;
    ensure!(seen == direction.seen(pod.address)?, "the host saw {seen}");
    let seen = echo::tcp(&pod, &outside, dial, 200_000, 2)?;
    ensure!(seen == direction.seen(pod.address)?, "the host saw {seen}");
    // Where the second cluster reaches the pod, the host may begin.
    let seen = echo::tcp(&outside, &pod, direction.seen(pod.address)?, 200_000, 3)?;
    ensure!(seen == dial, "the pod saw {seen}, and calls the host {dial}");
    // An error by the host is about the packet that the pod sent.
    let answer = traffic::path::probe_ttl(&pod, dial, 16)?;
    ensure!(answer.errno == libc::ECONNREFUSED && answer.offender == Some(dial), "{answer:?}");
    let rules = ruleset(network.clusters[1].gateway())?;
    ensure!(rules.is_empty(), "no connection is tracked for it:\n{rules}");
    ensure!(given(&network.clusters[1].node, "ips", "db", "cidr")? == EXTERNAL);
    // Its address goes with it.
    network.clusters[1].node.remove_manifest("db")?;
    mesh_lab::interrupt::wait_for("the host to be gone", PATIENCE, PAUSE, || {
        Ok((!traffic::answers_ping(&pod, dial, 1)?).then_some(()))
    })
}

/// LQ-25: the host has no way back but to the gateway.
#[test]
fn a_masqueraded_host_answers_without_a_way_back() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab, "")?;
    let outside = host(&lab, network.clusters[1].gateway(), false)?;
    network.clusters[1].node.put_manifest("db", &ip_object("db", crate::HOST, true))?;
    let dial = dial(&network)?;
    let pod = network.clusters[0].pod(false, &mut 8);
    let seen = echo::tcp(&pod, &outside, dial, 200_000, 2)?;
    ensure!(seen == "192.0.2.1".parse::<IpAddr>()?, "the host saw {seen}");
    echo::udp(&pod, &outside, dial, &LENGTHS, Fragmentation::Allowed, 1)?;
    traffic::ping(&pod, dial)?;
    // With a way, it may begin, and is recognised.
    outside.namespace.ip(&["route", "add", "default", "via", "192.0.2.1"])?;
    let there = network.direction(0, 1, false)?.seen(pod.address)?;
    let seen = echo::tcp(&outside, &pod, there, 20_000, 3)?;
    ensure!(seen == dial, "the pod saw {seen}, and calls the host {dial}");
    Ok(())
}

/// LQ-25: over the underlay, where a kernel hook rewrites; the remote calls the host by its mesh-wide address.
#[test]
fn a_host_is_reached_without_a_tunnel() -> Result<()> {
    for masquerade in [false, true] {
        let lab = Lab::new()?;
        let mut network = direct_pair(&lab, &Programs::beside(env!("CARGO_BIN_EXE_meshd"))?)?;
        network.start()?;
        let outside = host(&lab, network.clusters[1].gateway(), !masquerade)?;
        network.clusters[1].node.put_manifest("db", &ip_object("db", crate::HOST, masquerade))?;
        let address: IpAddr = given(&network.clusters[1].node, "ips", "db", "ip")?.parse()?;
        let presented = mesh_lab::status::Prefix::parse(&network.clusters[1].site.presented_external[0])?;
        let dial = presented.of(address).expect("both are of IPv4");
        let direction = network.direction(0, 1, false)?;
        let pod = direction.from.pod(false, &mut 7);
        let seen = echo::tcp(&pod, &outside, dial, 100_000, 2)?;
        let expected = if masquerade { "192.0.2.1".parse()? } else { direction.seen(pod.address)? };
        ensure!(seen == expected, "masquerade {masquerade}: the host saw {seen}");
        echo::udp(&pod, &outside, dial, &[1, 1_200, 4_000], Fragmentation::Allowed, 1)?;
    }
    Ok(())
}

/// LQ-79, LQ-25: through the cluster in the middle, if that allows it.
#[test]
fn a_leaf_reaches_another_through_the_middle() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = clusters(&lab, 3, "[remap]\ndeny_direct_connections = false\n")?;
    network.connect(0, 1, Connection::Wireguard)?;
    network.connect(2, 1, Connection::Wireguard)?;
    network.start()?;
    let leaf = network.direction(1, 2, false)?;
    let server = leaf.to.pod(false, &mut 5);
    let as_the_middle_says = leaf.dial(server.address)?;
    network.clusters[1].node.put_manifest("db", &ip_object("db", &as_the_middle_says.to_string(), false))?;
    let dial = dial(&network)?;
    let pod = network.clusters[0].pod(false, &mut 6);
    let seen = echo::tcp(&pod, &server, dial, 100_000, 4)?;
    let unknown = called(&network.clusters[2].node, "cl02", EXTERNAL, "10.70.0.1".parse()?)?;
    ensure!(seen == unknown, "the leaf saw {seen}, and calls the middle's unknown source {unknown}");
    Ok(())
}

/// LQ-79: nobody asked for it.
#[test]
fn a_leaf_does_not_reach_another_unless_that_is_allowed() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab, "")?;
    let direction = network.direction(1, 0, false)?;
    let remote = direction.dial(direction.to.pod(false, &mut 5).address)?;
    let node = &network.clusters[1].node;
    node.put_manifest("db", &ip_object("db", &remote.to_string(), false))?;
    mesh_lab::interrupt::wait_for("the refusal", PATIENCE, PAUSE, || {
        let problems = node.status()?.problems;
        Ok(problems.iter().any(|problem| problem.contains("deny_direct_connections")).then_some(()))
    })
}
