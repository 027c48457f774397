//! Sources that are no workloads: what remotes see of them, and that answers come back.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab, interrupt,
    traffic::{self, End, echo, echo::Fragmentation},
};

use crate::{PATIENCE, PAUSE, called, host, pair, ruleset};

const EXTERNAL: &str = "10.70.0.0/16";

/// LQ-26: a host that this node knows the way to, the node by its underlay address, and the client of a port that the node
/// hands on; but nobody who only claims an address.
#[test]
fn a_source_that_is_no_workload_is_the_unknown_source() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab, "")?;
    let gateway = network.clusters[0].gateway();
    let outside = host(&lab, gateway, true)?;
    let direction = network.direction(0, 1, false)?;
    let server = direction.to.pod(false, &mut 3);
    let dial = direction.dial(server.address)?;
    let unknown = called(&network.clusters[1].node, "cl01", EXTERNAL, "10.70.0.1".parse()?)?;
    // The network of the host came after the plan.
    interrupt::wait_for("the host to be known", PATIENCE, PAUSE, || {
        Ok(ruleset(gateway)?.contains("192.0.2.0/24").then_some(()))
    })?;
    for source in [outside.clone(), End::new(gateway, network.clusters[0].site.underlay)] {
        let seen = echo::tcp(&source, &server, dial, 100_000, 4)?;
        ensure!(seen == unknown, "{} arrived as {seen}, not as {unknown}", source.address);
        echo::udp(&source, &server, dial, &[1, 1_200], Fragmentation::Allowed, 5)?;
        traffic::ping(&source, dial)?;
    }
    // The other way nothing changed.
    let pod = direction.from.pod(false, &mut 9);
    ensure!(echo::tcp(&pod, &server, dial, 20_000, 6)? == direction.seen(pod.address)?);
    let liar = End::new(&outside.namespace, "203.0.113.9".parse::<IpAddr>()?);
    outside.namespace.ip(&["address", "add", "203.0.113.9/32", "dev", "lo"])?;
    ensure!(!traffic::answers_ping(&liar, dial, 2)?, "a source that nobody knows was believed");
    Ok(())
}

/// LQ-26: no remote sees which workload it talks to, and the probes of the connection go on.
#[test]
fn every_source_is_the_unknown_source_where_that_is_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let network = pair(&lab, "[remap]\nfull_masquerade = true\n")?;
    let direction = network.direction(0, 1, false)?;
    let (pod, server) = (direction.from.pod(false, &mut 1), direction.to.pod(false, &mut 2));
    let unknown = called(&network.clusters[1].node, "cl01", EXTERNAL, "10.70.0.1".parse()?)?;
    let seen = echo::tcp(&pod, &server, direction.dial(server.address)?, 100_000, 4)?;
    ensure!(seen == unknown, "a workload arrived as {seen}, not as {unknown}");
    // Answers to who begins on the other side are for that one, and not translated again.
    let back = network.direction(1, 0, false)?;
    echo::udp(&server, &pod, back.dial(pod.address)?, &[1, 1_200], Fragmentation::Allowed, 5)?;
    network.wait_connected(PATIENCE)
}

/// LQ-77: with `notrack`, the kernel keeps no record of what workloads say to remotes.
#[test]
fn workloads_are_not_tracked_where_that_is_asked_for() -> Result<()> {
    let tracked = |settings: &str| -> Result<bool> {
        let lab = Lab::new()?;
        let network = pair(&lab, settings)?;
        let direction = network.direction(0, 1, false)?;
        let (pod, server) = (direction.from.pod(false, &mut 1), direction.to.pod(false, &mut 2));
        echo::tcp(&pod, &server, direction.dial(server.address)?, 10_000, 4)?;
        network.clusters[0]
            .gateway()
            .enter(|| Ok(crate::read("/proc/thread-self/net/nf_conntrack".as_ref()).contains(&pod.address.to_string())))
    };
    if !std::path::Path::new("/proc/net/nf_conntrack").exists() {
        // A kernel without that file keeps the record as well, and tells nobody who reads files.
        return Ok(());
    }
    ensure!(tracked("")?, "nothing would be found anyway");
    ensure!(!tracked("[remap]\nnotrack = true\n")?);
    Ok(())
}
