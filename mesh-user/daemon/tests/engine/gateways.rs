//! Several gateway nodes of one remote: flows are shared among them, and one that fails is left and taken again.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mesh_core::{plan::Peer, tunnel::lane::Condition};
use mesh_lab::{Lab, Namespace, link};
use meshd::shard::{Command, LaneStatistics};

use super::{
    lanes::{Flows, cut, mend},
    site::{A, B, CONNECTION, HOST, Side, Site},
};

/// The other gateway node of the remote: all but its own place is as at the first.
const C: Side = Side { name: "c", underlay: "192.0.2.3", port: 51_823, ..B };

/// One end, and the two gateway nodes of the other, with sessions, and the wire between them. `reserved` is an address of the second node alone.
fn fork(lab: &Lab, lanes: u8, reserved: Option<IpAddr>) -> Result<([Site; 3], Namespace)> {
    let wire = lab.namespace("wire")?;
    let switch = link::Port::new(&wire, "switch");
    link::switch(&wire, "switch")?;
    let namespaces = [A, B, C].map(|side| -> Result<_> {
        let namespace = lab.namespace(side.name)?;
        link::plug(link::Port::new(&namespace, "eth0"), switch, side.name)?;
        link::address(link::Port::new(&namespace, "eth0"), &[&format!("{}/24", side.underlay)])?;
        Ok(namespace)
    });
    let [a, b, c] = namespaces;
    let (b, c) = (Site::start_lanes(B, &b?, A, Vec::new(), lanes)?, Site::start_lanes(C, &c?, A, Vec::new(), lanes)?);
    let a = Site::start_lanes(A, &a?, B, vec![B.endpoint()], lanes)?;
    let second = Peer {
        connection: CONNECTION,
        endpoints: vec![C.endpoint()],
        lane_ports: C.ports(lanes),
        keepalive_seconds: Some(25),
        preshared_key: None,
        reserved: reserved.into_iter().collect(),
        announced: BTreeMap::new(),
    };
    a.shards.apply(Command::AddPeer(A.device(), C.key(), second))?;
    let sites = [a, b, c];
    for side in [B, C] {
        await_condition(&sites[0], side, Condition::Live, Duration::from_secs(8))?;
    }
    Ok((sites, wire))
}

fn lanes(site: &Site, to: Side) -> Vec<LaneStatistics> {
    let peers = site.shards.statistics().peers;
    peers.into_iter().find(|peer| peer.peer == to.key()).map(|peer| peer.lanes).unwrap_or_default()
}

fn sent(site: &Site, to: Side) -> u64 {
    lanes(site, to).iter().map(|lane| lane.sent.packets).sum()
}

fn await_condition(site: &Site, to: Side, expected: Condition, patience: Duration) -> Result<()> {
    let start = Instant::now();
    while lanes(site, to).iter().any(|lane| lane.condition != expected) {
        ensure!(start.elapsed() < patience, "{} to {}: {:?}", site.side.name, to.name, lanes(site, to));
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// LQ-74
#[test]
fn flows_are_shared_by_gateways_and_leave_one_that_fails_within_a_second() {
    for count in [1, 2] {
        let lab = Lab::new().unwrap();
        let ([a, b, c], _wire) = fork(&lab, count, None).unwrap();
        let mut flows = Flows::new(&a, &[&b, &c], 24).unwrap();
        let before = [B, C].map(|side| sent(&a, side));
        flows.run(Duration::from_secs(1)).unwrap();
        let carried = [sent(&a, B) - before[0], sent(&a, C) - before[1]];
        assert!(carried.iter().all(|one| one * 5 > carried[0] + carried[1]), "{count} lanes: {carried:?}");
        for came in &flows.came {
            assert!(came.is_sorted() && came.len() == flows.sent as usize, "a flow has one gateway, in order");
        }

        cut_all(&c, count).unwrap();
        let silence = flows.run(Duration::from_millis(2_500)).unwrap();
        assert!(silence.iter().any(|silence| *silence > Duration::from_millis(300)), "{silence:?}");
        assert!(silence.iter().all(|silence| *silence < Duration::from_millis(1_200)), "{silence:?}");
        await_condition(&a, C, Condition::Dead, Duration::ZERO).unwrap();

        mend(&c).unwrap();
        await_condition(&a, C, Condition::Live, Duration::from_secs(2)).unwrap();
        let before = sent(&a, C);
        flows.run(Duration::from_millis(300)).unwrap();
        assert!(sent(&a, C) > before + 50, "{:?}", lanes(&a, C));
    }
}

/// An address that only one gateway node has is reached through that one, whatever the flow.
#[test]
fn what_is_for_one_gateway_node_goes_there() {
    let lab = Lab::new().unwrap();
    let ([a, b, c], _wire) = fork(&lab, 1, Some(HOST[0].parse().unwrap())).unwrap();
    let mut flows = Flows::new(&a, &[&b, &c], 16).unwrap();
    let before = sent(&a, B);
    flows.run(Duration::from_millis(300)).unwrap();
    assert!(flows.came.iter().all(|came| came.len() == flows.sent as usize), "{:?}", flows.came);
    assert!(sent(&a, B) < before + 5 && sent(&a, C) > 16 * 20, "{:?}", a.shards.statistics().peers);
}

/// A gateway node that is taken away leaves its flows to the other, without a loss.
#[test]
fn gateways_come_and_go_by_command() {
    let lab = Lab::new().unwrap();
    let ([a, b, c], _wire) = fork(&lab, 1, None).unwrap();
    let mut flows = Flows::new(&a, &[&b, &c], 8).unwrap();
    flows.run(Duration::from_millis(200)).unwrap();
    a.shards.apply(Command::RemovePeer(A.device(), C.key())).unwrap();
    flows.run(Duration::from_millis(300)).unwrap();
    for came in &flows.came {
        assert_eq!(came.len(), flows.sent as usize);
    }
    assert!(lanes(&a, C).is_empty());
}

fn cut_all(site: &Site, lanes: u8) -> Result<()> {
    cut(site, site.side.port)?;
    for port in site.side.ports(lanes).into_iter().skip(1) {
        let rule = format!("add rule inet cut input udp dport {port} drop");
        site.namespace.run("nft", &rule.split(' ').collect::<Vec<_>>())?;
    }
    Ok(())
}
