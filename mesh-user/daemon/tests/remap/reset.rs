//! Without the objects of a remote, a gateway is what it was before.

use anyhow::{Result, ensure};
use mesh_lab::{
    Lab, Namespace,
    demo::{Connection, check::pods},
    interrupt, pins,
    traffic::echo,
};

use crate::{HOST, PATIENCE, PAUSE, clusters, given, host, ip_object, ruleset};

/// Links with their programs, addresses, routes, rules, neighbours, queueing disciplines and filters, nftables, and what is
/// pinned.
fn state(gateway: &Namespace, pins: &std::path::Path) -> Result<String> {
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
    ] {
        let printed = gateway.ip(arguments)?;
        // The kernel's own come when it likes.
        let lines = printed.lines().filter(|line| !line.contains("fe80::") && !line.starts_with("multicast ff00::"));
        lines.for_each(|line| all.extend([line.trim(), "\n"]));
    }
    all += &gateway.run("tc", &["-d", "qdisc", "show"])?;
    all += &ruleset(gateway)?;
    for key in ["all/forwarding", "all/rp_filter", "pods1/forwarding", "pods1/rp_filter", "und0/forwarding"] {
        all += &format!("{key} {}\n", gateway.read_sysctl(&format!("net/ipv4/conf/{key}"))?);
    }
    if pins.exists() {
        pins::identities(pins)?.iter().for_each(|pin| all.extend([pin, "\n"]));
    }
    Ok(all)
}

/// LQ-53 (the part of a node): the daemon runs on, and nothing of the remote is left.
#[test]
fn reset_leaves_the_gateway_as_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = clusters(&lab, 2, "")?;
    let outside = host(&lab, network.clusters[1].gateway(), false)?;
    for cluster in [1, 0] {
        network.clusters[cluster].node.start()?;
    }
    let look = |network: &mesh_lab::demo::Network| -> Result<Vec<String>> {
        network.clusters.iter().map(|cluster| state(cluster.gateway(), cluster.node.pins())).collect()
    };
    let before = look(&network)?;
    network.connect(0, 1, Connection::Wireguard)?;
    network.wait_connected(PATIENCE)?;
    network.clusters[1].node.put_manifest("db", &ip_object("db", HOST, true))?;
    let address = given(&network.clusters[1].node, "ips", "db", "ip")?;
    let dial = crate::called(&network.clusters[0].node, "cl02", "10.70.0.0/16", address.parse()?)?;
    {
        let direction = network.direction(0, 1, false)?;
        let (from, to, there) = pods(&direction, &mut 4)?;
        echo::tcp(&from, &to, there, 100_000, 1)?;
        echo::tcp(&from, &outside, dial, 10_000, 1)?;
    }
    let during = look(&network)?;
    ensure!(during.iter().zip(&before).all(|(now, then)| now != then && now.contains("table inet mesh")), "{during:?}");
    network.clusters[1].node.remove_manifest("db")?;
    for (cluster, remote) in [(0, "cl02"), (1, "cl01")] {
        for manifest in ["gateway", "key", "configuration"] {
            network.clusters[cluster].node.remove_manifest(&format!("{manifest}-{remote}"))?;
        }
    }
    let mut after = Vec::new();
    let gone = interrupt::wait_for("everything to be gone", PATIENCE, PAUSE, || {
        after = look(&network)?;
        Ok((after == before).then_some(()))
    });
    for (now, then) in after.iter().zip(&before) {
        ensure!(now == then, "before:\n{then}\nafter:\n{now}\n{}", network.tails());
    }
    gone
}

/// Somebody flushes the table: it is made again, and one that a killed daemon left is taken over as it is.
#[test]
fn the_table_is_kept_and_goes_with_cleanup() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = crate::pair(&lab, "")?;
    let made = ruleset(network.clusters[0].gateway())?;
    ensure!(made.contains("table inet mesh"), "{made}");
    network.clusters[0].node.kill()?;
    network.clusters[0].node.start()?;
    network.wait_connected(PATIENCE)?;
    ensure!(ruleset(network.clusters[0].gateway())? == made, "a restart changed the table");
    network.clusters[0].gateway().run("nft", &["flush", "chain", "inet", "mesh", "leaving"])?;
    // The next look is when the kernel says that something changed.
    network.clusters[0].gateway().ip(&["link", "add", "other0", "type", "bridge"])?;
    interrupt::wait_for("the table to be as it was", PATIENCE, PAUSE, || {
        Ok((ruleset(network.clusters[0].gateway())? == made).then_some(()))
    })?;
    network.clusters[0].gateway().run("nft", &["add", "table", "inet", "theirs"])?;
    network.clusters[0].node.terminate()?;
    network.clusters[0].node.cleanup()?;
    let left = ruleset(network.clusters[0].gateway())?;
    ensure!(left.trim() == "table inet theirs {\n}", "{left}");
    Ok(())
}
