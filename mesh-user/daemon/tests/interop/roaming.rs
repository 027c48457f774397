//! One end is elsewhere all of a sudden, under traffic: the other follows.

use std::time::Duration;

use anyhow::{Result, ensure};
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
    theirs.wireguard.set(&["listen-port", "42000"])?;
    goes_on(&stream)?;
    sees(&ours, "192.0.2.2:42000")?;
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
