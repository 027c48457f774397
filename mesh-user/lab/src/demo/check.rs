//! The promises of a connection, one function each. They are what `cargo xtask run` shows and what the end-to-end tests ask.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    network::{Direction, Network},
    site::Connection,
};
use crate::{
    interrupt,
    link::Port,
    sniff::{self, Sniffer},
    status::{Prefix, Status},
    traffic::{self, End, echo, echo::Fragmentation, http, path},
};

/// One promise: what it is called in the table, and the function that tells what it saw.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub name: &'static str,
    pub run: fn(&Direction, &mut u64) -> Result<String>,
}

pub const CHECKS: &[Check] = &[
    Check { name: "ping", run: ping },
    Check { name: "TCP, byte by byte", run: tcp },
    Check { name: "UDP, byte by byte", run: udp },
    Check { name: "10 MB over HTTP", run: http },
    Check { name: "TTL exceeded", run: ttl_exceeded },
    Check { name: "UDP of the MTU", run: mtu_fits },
    Check { name: "too big with DF", run: too_big },
    Check { name: "fragments", run: fragments },
    Check { name: "addresses on the way", run: addresses },
    Check { name: "spoofed source", run: spoofed },
];

/// What [`plain_text`] looks for.
pub const MARK: &[u8] = b"this text is not encrypted";

pub fn ping(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    traffic::ping(&from, dial)?;
    Ok(format!("{} reached {} as {dial}", from.address, to.address))
}

pub fn tcp(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    let length = 2_000_000;
    let seen = echo::tcp(&from, &to, dial, length, *random)?;
    expect_seen(direction, &from, seen)?;
    Ok(format!("{length} bytes there and back, from {seen}"))
}

pub fn udp(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    let lengths = [0, 1, 2, 64, 511, 1_200];
    let seen = echo::udp(&from, &to, dial, &lengths, Fragmentation::Allowed, *random)?;
    expect_seen(direction, &from, seen)?;
    Ok(format!("{lengths:?} bytes there and back, from {seen}"))
}

pub fn http(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    let hash = http::fetch(&from, &to, dial, 10_000_000, direction.to.node.directory(), traffic::random(random))?;
    Ok(format!("SHA-256 {}... at both ends", hash.get(..16).unwrap_or(&hash)))
}

/// A traceroute: every hop must answer with an address that the sender can place, one at least must be the remote's.
pub fn ttl_exceeded(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, _, dial) = pods(direction, random)?;
    let (local, remote) = known_prefixes(direction)?;
    let mut presented = Vec::new();
    for ttl in 1..=8 {
        let answer = patient_probe(&from, dial, ttl)?;
        let offender = answer.offender.context("an ICMP error without a sender")?;
        // The port is closed: it has arrived. The host speaks for an IPv6 pod, whose address is not assigned.
        if answer.errno == libc::ECONNREFUSED {
            ensure!(!presented.is_empty(), "no hop on the way to {dial} answered with a presented address");
            return Ok(format!("hops of {}: {presented:?}", direction.to.id()));
        }
        if remote.iter().any(|prefix| prefix.contains(offender)) {
            presented.push(offender);
        } else if !local.iter().any(|prefix| prefix.contains(offender)) {
            bail!("hop {ttl} answered as {offender}, which is neither ours nor what we call {}", direction.to.id());
        }
    }
    bail!("{dial} is more than eight hops away")
}

pub fn mtu_fits(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    let fragments = at_destination(&to, &from, direction)?;
    let length = direction.mtu() - direction.headers();
    echo::udp(&from, &to, dial, &[length], Fragmentation::Forbidden, *random)?;
    let arrived = fragments.matched()?;
    ensure!(arrived == 0, "{arrived} fragments arrived");
    Ok(format!("{length} bytes in one piece, DF set"))
}

pub fn too_big(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, _, dial) = pods(direction, random)?;
    flush_path_mtu(&from)?;
    let length = direction.mtu() - direction.headers() + 1;
    let answer = path::probe_mtu(&from, dial, length)?;
    ensure!(!answer.error.local, "the sender's own kernel refused, nobody was asked: {:?}", answer.error);
    ensure!(answer.error.errno == libc::EMSGSIZE, "{:?}", answer.error);
    ensure!(
        usize::try_from(answer.path_mtu) == Ok(direction.mtu()),
        "the path MTU is now {}, not {}",
        answer.path_mtu,
        direction.mtu()
    );
    flush_path_mtu(&from)?;
    let offender = answer.error.offender.map_or_else(|| "nobody".to_owned(), |offender| offender.to_string());
    Ok(format!("{length} bytes: {offender} said {}, the kernel took it", answer.error.mtu))
}

pub fn fragments(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    flush_path_mtu(&from)?;
    let fragments = at_destination(&to, &from, direction)?;
    let length = direction.mtu() - direction.headers() + 1;
    if direction.v6 {
        // Both senders must have learned the path MTU.
        path::probe_mtu(&from, dial, length)?;
        path::probe_mtu(&to, direction.seen(from.address)?, length)?;
    }
    echo::udp(&from, &to, dial, &[length, 4_000], Fragmentation::Allowed, *random)?;
    let arrived = interrupt::wait_for("fragments", Duration::from_secs(2), Duration::from_millis(5), || {
        Ok(Some(fragments.matched()?).filter(|matched| *matched >= 2))
    })?;
    Ok(format!("{length} and 4000 bytes arrived in {arrived} fragments"))
}

/// A marked datagram there and back: where may its text and which addresses be seen?
pub fn addresses(direction: &Direction, random: &mut u64) -> Result<String> {
    match direction.connection {
        Connection::Wireguard => encrypted(direction, random),
        Connection::Direct => presented_on_the_wire(direction, random),
    }
}

fn encrypted(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    let seen = direction.seen(from.address)?;
    let plain = plain_text(direction.network)?;
    let enters = on_tunnel(direction.from, direction.to, from.address, dial)?;
    let leaves = on_tunnel(direction.to, direction.from, seen, to.address)?;
    exchange_mark(&from, &to, dial)?;
    interrupt::wait_for("the datagram in both tunnels", Duration::from_secs(2), Duration::from_millis(5), || {
        Ok((enters.matched()? > 0 && leaves.matched()? > 0).then_some(()))
    })?;
    ensure!(plain.seen()? > 0, "nothing was seen on the underlay");
    let shown = plain.matched()?;
    ensure!(shown == 0, "{shown} packets on the underlay show what is inside");
    Ok(format!("{} -> {dial} enters, {seen} -> {} leaves; nothing of it on the underlay", from.address, to.address))
}

/// Counts the packets on the underlay that have an address of a pod, real or presented, or the text of [`addresses`].
pub fn plain_text(network: &Network) -> Result<Sniffer> {
    // All of the demo's CIDRs lie in these; the underlay does not.
    let overlay = [Prefix::parse("10.0.0.0/8")?, Prefix::parse("fd00::/8")?];
    Sniffer::everywhere(&network.wire, move |packet| {
        let is_inner = |address| overlay.iter().any(|prefix| prefix.contains(address));
        sniff::contains(packet, MARK) || sniff::addresses(packet).is_some_and(|(a, b)| is_inner(a) || is_inner(b))
    })
}

fn presented_on_the_wire(direction: &Direction, random: &mut u64) -> Result<String> {
    let (from, to, dial) = pods(direction, random)?;
    let seen = direction.seen(from.address)?;
    let port = Port::new(&direction.network.wire, direction.from.id());
    let right = Sniffer::on(port, move |packet| {
        sniff::contains(packet, MARK)
            && sniff::addresses(packet).is_some_and(|pair| pair == (seen, dial) || pair == (dial, seen))
    })?;
    let marked = Sniffer::on(port, |packet| sniff::contains(packet, MARK))?;
    exchange_mark(&from, &to, dial)?;
    interrupt::wait_for("the datagram on the underlay", Duration::from_secs(2), Duration::from_millis(5), || {
        Ok((right.matched()? >= 2).then_some(()))
    })?;
    let wrong = marked.matched()?.saturating_sub(right.matched()?);
    ensure!(wrong == 0, "{wrong} packets carried other addresses");
    Ok(format!("{seen} -> {dial} on the underlay, {} -> {} at the ends", from.address, to.address))
}

/// Packets from an address that is not the pod's: none may arrive, and all must be counted.
pub fn spoofed(direction: &Direction, random: &mut u64) -> Result<String> {
    const COUNT: usize = 7;
    let (from, to, dial) = pods(direction, random)?;
    let liar: IpAddr = if direction.v6 { "2001:db8::bad".parse()? } else { "198.51.100.77".parse()? };
    let arrived = Sniffer::everywhere(&to.namespace, |packet| sniff::contains(packet, MARK))?;
    let before = direction.from.node.status()?.dropped("spoofed-source");
    let port = 4_242;
    traffic::spoof::udp(&from.namespace, SocketAddr::new(liar, port), SocketAddr::new(dial, port), MARK, COUNT)?;
    let counted =
        interrupt::wait_for("the drops to be counted", Duration::from_secs(3), Duration::from_millis(30), || {
            let now = direction.from.node.status()?.dropped("spoofed-source");
            Ok(Some(now - before).filter(|count| *count >= COUNT as u64))
        })?;
    let arrived = arrived.matched()?;
    ensure!(arrived == 0, "{arrived} of {COUNT} packets from {liar} arrived");
    Ok(format!("{COUNT} packets from {liar}: none arrived, {counted} counted as spoofed-source"))
}

/// A pod of each side and what the first dials to reach the second.
pub fn pods(direction: &Direction, random: &mut u64) -> Result<(End, End, IpAddr)> {
    let (from, to) = (direction.from.pod(direction.v6, random), direction.to.pod(direction.v6, random));
    let dial = direction.dial(to.address)?;
    Ok((from, to, dial))
}

fn expect_seen(direction: &Direction, from: &End, seen: IpAddr) -> Result<()> {
    let expected = direction.seen(from.address)?;
    ensure!(seen == expected, "{} arrived as {seen}, not as {expected}", from.address);
    Ok(())
}

/// Prefixes that a pod of `from` can place: those of its own cluster, and what its cluster calls those of the remote.
fn known_prefixes(direction: &Direction) -> Result<(Vec<Prefix>, Vec<Prefix>)> {
    let site = &direction.from.site;
    let local = site.pods.iter().chain(&site.external).map(|prefix| Prefix::parse(prefix)).collect::<Result<_>>()?;
    let remote = match direction.connection {
        Connection::Wireguard => presented_of(&direction.from.node.status()?, direction.to.id())?,
        Connection::Direct => {
            let site = &direction.to.site;
            let presented = site.presented_pods.iter().chain(&site.presented_external);
            presented.map(|prefix| Prefix::parse(prefix)).collect::<Result<_>>()?
        }
    };
    Ok((local, remote))
}

fn presented_of(status: &Status, remote: &str) -> Result<Vec<Prefix>> {
    let connection = &status.connection(remote)?.name;
    let remaps = status.remaps.iter().filter(|remap| remap.connection == *connection);
    remaps.map(|remap| Prefix::parse(&remap.presented)).collect()
}

/// Routers limit the rate of their errors: one of three must come.
fn patient_probe(from: &End, dial: IpAddr, ttl: u8) -> Result<path::PathError> {
    let mut answer = path::probe_ttl(from, dial, ttl);
    for _ in 0..2 {
        if answer.is_err() && !interrupt::requested() {
            answer = path::probe_ttl(from, dial, ttl);
        }
    }
    answer
}

/// Forgets what ICMP taught the sender's kernel.
fn flush_path_mtu(from: &End) -> Result<()> {
    let family = if from.address.is_ipv4() { "-4" } else { "-6" };
    from.namespace.ip(&[family, "route", "flush", "cache"])?;
    Ok(())
}

/// Counts the fragments from one pod that reach the host of another.
fn at_destination(to: &End, from: &End, direction: &Direction) -> Result<Sniffer> {
    let pair = (direction.seen(from.address)?, to.address);
    Sniffer::on(Port::new(&to.namespace, "eth0"), move |packet| {
        sniff::addresses(packet) == Some(pair) && sniff::is_fragment(packet)
    })
}

/// Counts the marked packets with these addresses on the TUN device of `local` towards `remote`.
fn on_tunnel(
    local: &super::cluster::Cluster,
    remote: &super::cluster::Cluster,
    source: IpAddr,
    destination: IpAddr,
) -> Result<Sniffer> {
    let status = local.node.status()?;
    let device = status.connection(remote.id())?.device.clone().context("a tunnelled connection has a device")?;
    Sniffer::on(Port::new(local.gateway(), &device), move |packet| {
        sniff::contains(packet, MARK) && sniff::addresses(packet) == Some((source, destination))
    })
}

fn exchange_mark(from: &End, to: &End, dial: IpAddr) -> Result<()> {
    let (here, there) = (from.udp()?, to.udp()?);
    here.connect(SocketAddr::new(dial, there.local_addr()?.port()))?;
    here.send(MARK)?;
    let mut buffer = [0; 64];
    let (length, peer) = there.recv_from(&mut buffer).context("the marked datagram did not arrive")?;
    there.send_to(&buffer[..length], peer)?;
    let length = here.recv(&mut buffer).context("its echo did not arrive")?;
    traffic::expect_same("the marked datagram", MARK, &buffer[..length])
}
