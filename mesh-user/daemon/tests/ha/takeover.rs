//! A gateway node dies while traffic runs, on either side and in either direction; and it comes back.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mesh_lab::{Lab, interrupt, traffic};

use crate::{
    iperf::{Iperf, Stream},
    site::{Cluster, PATIENCE, PAUSE, Pair},
};

/// How soon traffic is promised to go on.
const TAKEOVER: Duration = Duration::from_secs(3);
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// While data goes from one side's pod to the other's, a gateway node of `side` dies. Every stream goes on in time.
fn survive(pair: &mut Pair, from: usize, side: usize, index: usize) -> Result<()> {
    let (sender, receiver) = (pair.clusters[from].pod_namespace(), pair.clusters[1 - from].pod_namespace());
    let iperf = Iperf::start(receiver, sender, Cluster::dial()?, 9)?;
    thread::sleep(Duration::from_secs(2));
    pair.clusters[side].kill(index)?;
    let killed = Instant::now();
    let streams = iperf.finish()?;
    println!("from {from}, node {index} of {side} killed: {streams:?}");
    let moved = |stream: &Stream| stream.longest_silence > Duration::from_millis(300);
    ensure!(streams.iter().any(moved), "nothing went through the node that died: {streams:?}");
    for stream in &streams {
        ensure!(stream.longest_silence < TAKEOVER, "{streams:?}\n{}", pair.tails());
        ensure!(stream.bytes > 0 && stream.last_bytes > 0, "a stream did not go on: {streams:?}\n{}", pair.tails());
    }
    ensure!(killed.elapsed() > TAKEOVER, "iperf3 ended too early to tell");
    Ok(())
}

/// Both workers and all sessions know the node again, and flows take it.
fn come_back(pair: &mut Pair, side: usize, index: usize) -> Result<()> {
    pair.clusters[side].revive(index)?;
    pair.wait_connected()?;
    let other = 1 - side;
    let sent = |pair: &Pair| -> Result<u64> {
        let node = &pair.clusters[side].gateways[index];
        pair.clusters[other].gateways.iter().map(|gateway| gateway.sent(node)).sum()
    };
    let before = sent(pair)?;
    interrupt::wait_for("flows through the node that came back", PATIENCE, PAUSE, || {
        let (sender, receiver) = (&pair.clusters[other], &pair.clusters[side]);
        Iperf::start(receiver.pod_namespace(), sender.pod_namespace(), Cluster::dial()?, 1)?.finish()?;
        Ok((sent(pair)? > before + 200).then_some(()))
    })
}

/// LQ-74
#[test]
fn a_server_node_dies_and_comes_back_in_both_directions() -> Result<()> {
    let lab = Lab::new()?;
    let mut pair = Pair::start(&lab, [1, 2])?;
    traffic::ping(&pair.clusters[CLIENT].pod()?, Cluster::dial()?)?;
    survive(&mut pair, CLIENT, SERVER, 1)?;
    come_back(&mut pair, SERVER, 1)?;
    survive(&mut pair, SERVER, SERVER, 0)?;
    come_back(&mut pair, SERVER, 0)
}

/// LQ-74
#[test]
fn a_client_node_dies_and_comes_back_in_both_directions() -> Result<()> {
    let lab = Lab::new()?;
    let mut pair = Pair::start(&lab, [2, 2])?;
    traffic::ping(&pair.clusters[SERVER].pod()?, Cluster::dial()?)?;
    survive(&mut pair, SERVER, CLIENT, 1)?;
    come_back(&mut pair, CLIENT, 1)?;
    survive(&mut pair, CLIENT, CLIENT, 0)
}
