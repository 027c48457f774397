//! One end is elsewhere all of a sudden, under traffic: the other follows.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab, interrupt, traffic,
    traffic::stream::Stream,
    wireguard::{Program, Wireguard},
};

use super::{
    ends::{Tunnel, hosts, join},
    for_each_rival,
};

for_each_rival!(they_follow_us, we_follow_them);

/// Datagrams a second.
const RATE: u32 = 200;
/// Datagrams of the second host come from another address and port, as by a router on its side: not every program lives
/// through a change of its own. Without state, so that it holds from one datagram to the next.
const ELSEWHERE: &str = "table ip roam {
    chain out { type filter hook postrouting priority 0; udp sport 51822 ip saddr set 192.0.2.7 udp sport set 42000; }
    chain in { type filter hook prerouting priority 0;
        ip daddr 192.0.2.7 udp dport 42000 ip daddr set 192.0.2.2 udp dport set 51822; }
}";
/// How soon traffic goes on.
const SOON: Duration = Duration::from_secs(5);

fn they_follow_us(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let [a, b] = hosts(&lab)?;
    let (ours, theirs) = (Tunnel::start(&lab, Program::MeshWg, &a, 1)?, Tunnel::start(&lab, rival, &b, 2)?);
    join(&ours, &theirs, "192.0.2.2", &[])?;
    traffic::ping(&ours.end(), theirs.inner.into())?;
    let stream = Stream::start(&ours.end(), &theirs.end(), theirs.inner.into(), RATE)?;
    ours.wireguard.set(&["listen-port", "41000"])?;
    goes_on(&stream)?;
    sees(&theirs, "192.0.2.1:41000")?;

    a.ip(&["address", "add", "192.0.2.7/24", "dev", "eth0"])?;
    a.ip(&["address", "delete", "192.0.2.1/24", "dev", "eth0"])?;
    a.ip(&["address", "replace", "192.0.2.7/24", "dev", "eth0"])?;
    goes_on(&stream)?;
    sees(&theirs, "192.0.2.7:41000")?;
    stream.stop()?;
    traffic::ping(&theirs.end(), ours.inner.into())
}

fn we_follow_them(rival: Program) -> Result<()> {
    let lab = Lab::new()?;
    let [a, b] = hosts(&lab)?;
    let (ours, theirs) = (Tunnel::start(&lab, Program::MeshWg, &a, 1)?, Tunnel::start(&lab, rival, &b, 2)?);
    join(&theirs, &ours, "192.0.2.1", &[])?;
    traffic::ping(&theirs.end(), ours.inner.into())?;
    let stream = Stream::start(&theirs.end(), &ours.end(), ours.inner.into(), RATE)?;
    b.ip(&["address", "add", "192.0.2.7/24", "dev", "eth0"])?;
    b.run("nft", &[ELSEWHERE])?;
    goes_on(&stream).with_context(|| format!("{}\n{}", theirs.wireguard.tail(), ours.wireguard.tail()))?;
    sees(&ours, "192.0.2.7:42000")?;
    stream.stop()?;
    traffic::ping(&ours.end(), theirs.inner.into())
}

/// Datagrams arrive that were sent from now on.
fn goes_on(stream: &Stream) -> Result<()> {
    let enough = stream.received() + u64::from(RATE) / 2;
    interrupt::wait_for("the stream to go on", SOON, Duration::from_millis(10), || {
        Ok((stream.received() > enough).then_some(()))
    })
}

fn sees(end: &Tunnel, endpoint: &str) -> Result<()> {
    let program = Wireguard::program(&end.wireguard).name();
    let seen = end.peer("endpoints")?;
    ensure!(seen == endpoint, "{program} sees its peer at {seen}, and not at {endpoint}");
    Ok(())
}
