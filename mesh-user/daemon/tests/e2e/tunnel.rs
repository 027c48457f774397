//! Connections through WireGuard tunnels: promises, death and rebirth of a daemon, reload, changes of the underlay.

use std::{
    net::{IpAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mesh_lab::{
    Lab,
    demo::{
        Cables, Connection, Network, Site, UNDERLAY_MTU,
        check::{MARK, plain_text, pods},
        wireguard_pair,
    },
    interrupt, pins,
    sniff::Sniffer,
    status::{Remap, Status},
    traffic::{self, flow::Flow, stream::Stream},
};

use crate::{gateway::host_state, keep_all_promises, programs};

const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// Datagrams a second of a stream.
const RATE: u32 = 1_000;

/// Clusters 1 to `count`, all with the same CIDRs of both families, not connected yet.
fn clusters(lab: &Lab, count: u8, cables: Cables) -> Result<Network> {
    let mut network = Network::new(lab, "wire", UNDERLAY_MTU)?;
    for number in 1..=count {
        network.add(lab, Site::new(number).dual_stack(), cables, UNDERLAY_MTU, &programs()?)?;
    }
    Ok(network)
}

/// The same as on real cables: no offload hides a checksum that is wrong.
#[test]
fn a_pair_on_real_cables_keeps_its_promises() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = clusters(&lab, 2, Cables::Real)?;
    network.connect(0, 1, Connection::Wireguard)?;
    network.start()?;
    keep_all_promises(&network)
}

#[test]
fn a_triangle_of_equal_cidrs_keeps_its_promises() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = clusters(&lab, 3, Cables::Virtual)?;
    for (client, server) in [(0, 1), (1, 2), (2, 0)] {
        network.connect(client, server, Connection::Wireguard)?;
    }
    network.start()?;
    keep_all_promises(&network)
}

/// The names that the whole mesh uses, inside tunnels too.
#[test]
fn mesh_wide_prefixes_keep_their_promises() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    for (local, remote) in [(0, 1), (1, 0)] {
        let (local, remote) = (&network.clusters[local], &network.clusters[remote]);
        // The form that `direct` needs, which names the prefixes of both.
        let configuration = local.site.configuration(&remote.site, Connection::Direct);
        local.node.put_manifest(&format!("configuration-{}", remote.id()), &configuration)?;
    }
    network.start()?;
    let direction = network.direction(0, 1, false)?;
    let pod = "10.243.1.130".parse()?;
    ensure!(direction.dial(pod)? == "10.102.1.130".parse::<IpAddr>()?, "{:?}", direction.there);
    keep_all_promises(&network)
}

/// A killed daemon leaks nothing, although its gateway has a default route; what was under way goes on after its restart.
#[test]
fn a_killed_daemon_fails_closed_and_its_flows_continue() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let (flow, leak, before) = {
        let direction = network.direction(0, 1, false)?;
        let (from, to, dial) = pods(&direction, &mut 7)?;
        let leak = plain_text(&network)?;
        let flow = Flow::start(&from, &to, dial, Duration::from_secs(40))?;
        interrupt::wait_for("the flow to run", PATIENCE, PAUSE, || Ok((flow.received() > 1 << 20).then_some(())))?;
        (flow, leak, direction)
    };
    let (from, _, dial) = pods(&before, &mut 8)?;
    network.clusters[0].node.kill()?;
    ensure!(!traffic::answers_ping(&from, dial, 8)?, "a pod was reached through a daemon that is dead");
    std::thread::sleep(Duration::from_millis(500));
    let stalled = flow.received();
    let shown = leak.matched()?;
    ensure!(shown == 0, "{shown} packets showed what is inside");
    let shown_by_us = show_mark(&network, &leak)?;
    network.clusters[0].node.start()?;
    network.wait_connected(PATIENCE)?;
    interrupt::wait_for("the flow to go on", PATIENCE, PAUSE, || {
        Ok((flow.received() > stalled + (1 << 20)).then_some(()))
    })?;
    flow.stop()?;
    let shown = leak.matched()? - shown_by_us;
    ensure!(shown == 0, "{shown} packets showed what is inside");
    Ok(())
}

/// Is the sniffer alive? The first gateway itself sends what must be noticed to the switch. Returns how often it was.
fn show_mark(network: &Network, leak: &Sniffer) -> Result<u64> {
    let switch = network.wire.enter(|| Ok(UdpSocket::bind("172.31.0.254:0")?))?;
    switch.set_read_timeout(Some(Duration::from_secs(2)))?;
    let gateway = network.clusters[0].gateway().enter(|| Ok(UdpSocket::bind("172.31.0.1:0")?))?;
    gateway.send_to(MARK, switch.local_addr()?)?;
    let mut buffer = [0; 64];
    let length = switch.recv(&mut buffer).context("the switch got nothing")?;
    ensure!(&buffer[..length] == MARK);
    let noticed = leak.matched()?;
    ensure!(noticed > 0, "the sniffer saw nothing of what was sent during the outage");
    Ok(noticed)
}

/// A killed server calls its client again; it does not wait until the client notices.
#[test]
fn a_killed_server_is_back_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 12)?;
    traffic::ping(&from, dial)?;
    network.clusters[1].node.kill()?;
    network.clusters[1].node.start()?;
    let begun = Instant::now();
    interrupt::wait_for("pods to reach each other again", PATIENCE, PAUSE, || {
        Ok(traffic::answers_ping(&from, dial, 1)?.then_some(()))
    })
    .with_context(|| network.tails())?;
    ensure!(begun.elapsed() < Duration::from_secs(8), "it took {:?}", begun.elapsed());
    Ok(())
}

/// A manifest that adds and removes another connection does not cost this one a datagram.
#[test]
fn a_reload_leaves_other_connections_alone() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = clusters(&lab, 3, Cables::Virtual)?;
    network.connect(0, 1, Connection::Wireguard)?;
    network.start()?;
    // Old enough to be told from one that was made anew.
    interrupt::wait_for("a handshake of some age", PATIENCE, PAUSE, || {
        Ok(network.clusters[0].node.status()?.connection("cl02")?.handshake_age_s.filter(|age| *age >= 5))
    })?;
    let (pair, stream) = {
        let direction = network.direction(0, 1, false)?;
        let (from, to, dial) = pods(&direction, &mut 9)?;
        traffic::ping(&from, dial)?;
        ((from.address, dial), Stream::start(&from, &to, dial, RATE)?)
    };
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(1));
    let log = network.clusters[0].node.log()?.len();
    let (at, received) = (Instant::now(), stream.received());
    let untouched = Untouched::observe(&network, pair)?;
    network.connect(0, 2, Connection::Wireguard)?;
    network.wait_connected(PATIENCE)?;
    for manifest in ["gateway-cl03", "key-cl03", "configuration-cl03"] {
        network.clusters[0].node.remove_manifest(manifest)?;
    }
    interrupt::wait_for("the connection to be gone", PATIENCE, PAUSE, || {
        Ok(network.clusters[0].node.status()?.connection("cl03").is_err().then_some(()))
    })?;
    std::thread::sleep(Duration::from_secs(1));
    // The stream goes one way: what comes back is a probe and an answer in two seconds.
    let heard = untouched.status.connection("cl02")?.rx_packets;
    interrupt::wait_for("the next probe to be heard", Duration::from_secs(5), PAUSE, || {
        let now = network.clusters[0].node.status()?.connection("cl02")?.rx_packets;
        ensure!(now >= heard, "the counters began anew: {heard} packets became {now}");
        Ok((now > heard).then_some(()))
    })?;
    let (passed, came) = (at.elapsed(), stream.received() - received);
    Untouched::observe(&network, pair)?.expect_same_as(&untouched, passed, came)?;
    let due = begun.elapsed().as_secs_f64() * f64::from(RATE);
    let tally = stream.stop()?;
    ensure!(tally.lost == 0 && tally.duplicates == 0, "{tally:?}\n{}", network.tails());
    ensure!((0.9 * due..1.1 * due).contains(&(tally.sent as f64)), "{} of {due} datagrams were sent", tally.sent);
    let log = network.clusters[0].node.log()?[log..].to_owned();
    ensure!(log.contains("mesh-cl03") && !log.contains("cl02"), "the log names what was not touched:\n{log}");
    Ok(())
}

/// What the first cluster holds for its connection to cl02.
#[derive(Debug)]
struct Untouched {
    status: Status,
    /// Link, addresses and routes of the device.
    device: String,
    sockets: Vec<String>,
    pins: Vec<String>,
    /// The table entries that a packet meets, there and back.
    entries: [String; 2],
}

impl Untouched {
    /// `pair`: a pod and what it dials.
    fn observe(network: &Network, (pod, dial): (IpAddr, IpAddr)) -> Result<Untouched> {
        let node = &network.clusters[0].node;
        let status = node.status()?;
        let connection = status.connection("cl02")?;
        let name = connection.device.as_deref().context("a tunnel has a device")?;
        let mut device = node.namespace().ip(&["-d", "-o", "link", "show", "dev", name])?;
        for family in ["-4", "-6"] {
            device += &node.namespace().ip(&[family, "-o", "address", "show", "dev", name])?;
            device += &node.namespace().ip(&[family, "route", "show", "table", "all", "dev", name])?;
        }
        let mut entries = [String::new(), String::new()];
        for (entry, (source, destination)) in entries.iter_mut().zip([(pod, dial), (dial, pod)]) {
            let explained = node.meshctl(&["explain", &source.to_string(), &destination.to_string()])?;
            ensure!(explained.status.success() && !explained.stdout.is_empty(), "{explained:?}");
            *entry = explained.stdout;
        }
        let (sockets, pins) = (sockets(network, connection.listen_port)?, pins::identities(node.pins())?);
        Ok(Untouched { device, sockets, pins, entries, status })
    }

    /// Is it the same after this time, in which so many datagrams of a stream `arrived`?
    fn expect_same_as(&self, before: &Untouched, passed: Duration, arrived: u64) -> Result<()> {
        ensure!(self.device == before.device, "the device was changed: {before:?} became {self:?}");
        ensure!(self.sockets == before.sockets, "the sockets were made anew");
        ensure!(self.pins == before.pins, "pins were made anew: {before:?} became {self:?}");
        ensure!(self.entries == before.entries, "the entries were changed: {before:?} became {self:?}");
        let (then, now) = (before.status.connection("cl02")?, self.status.connection("cl02")?);
        ensure!((&then.listen_port, &then.endpoint) == (&now.listen_port, &now.endpoint), "{then:?} became {now:?}");
        // A session that was made anew would be younger. Both ages are rounded, and the status is a little older.
        let (age, due) = (now.handshake_age_s.unwrap_or(0), then.handshake_age_s.unwrap_or(0) + passed.as_secs());
        ensure!(age + 1 >= due, "the handshake is {age} s old, not {due} s");
        // Counters go on from where they were. The status may lag behind by half a second of the stream.
        let sent = now.tx_packets.checked_sub(then.tx_packets).context("the counters began anew")?;
        ensure!(sent + u64::from(RATE) / 2 >= arrived, "{sent} packets were counted of {arrived}");
        ensure!(now.rx_packets > then.rx_packets, "{then:?} became {now:?}");
        for remap in before.status.remaps.iter().filter(|remap| remap.connection == then.name) {
            let same = |other: &&Remap| {
                (&other.connection, &other.real, &other.presented) == (&remap.connection, &remap.real, &remap.presented)
            };
            let found = self.status.remaps.iter().find(same).with_context(|| format!("{remap:?} is gone"))?;
            ensure!(found.packets >= remap.packets, "{remap:?} became {found:?}");
        }
        Ok(())
    }
}

#[test]
fn an_invalid_manifest_is_refused_and_what_runs_stays() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let node = &network.clusters[0].node;
    let good = network.clusters[0].site.configuration(&network.clusters[1].site, Connection::Wireguard);
    node.put_manifest("configuration-cl02", &good.replace("10.243.0.0/16", "10.243.0.0/33"))?;
    let problems = interrupt::wait_for("the problem to be told", PATIENCE, PAUSE, || {
        Ok(Some(node.status()?.problems).filter(|problems| !problems.is_empty()))
    })?;
    ensure!(problems.iter().any(|problem| problem.contains("10.243.0.0/33")), "{problems:?}");
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 3)?;
    traffic::ping(&from, dial)?;
    node.put_manifest("configuration-cl02", &good)?;
    interrupt::wait_for("the problem to be gone", PATIENCE, PAUSE, || {
        Ok(node.status()?.problems.is_empty().then_some(()))
    })?;
    traffic::ping(&from, dial)
}

#[test]
fn an_underlay_that_is_cut_and_made_again_recovers() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 5)?;
    for cluster in [0, 1] {
        network.unplug(cluster)?;
        ensure!(!traffic::answers_ping(&from, dial, 3)?, "a pod was reached without an underlay");
        network.plug(cluster, Cables::Virtual, UNDERLAY_MTU)?;
        let begun = Instant::now();
        interrupt::wait_for("pods to reach each other again", PATIENCE, PAUSE, || {
            Ok(traffic::answers_ping(&from, dial, 1)?.then_some(()))
        })
        .with_context(|| network.tails())?;
        ensure!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    }
    Ok(())
}

/// The client moves to another address: the server learns it from the next packet.
#[test]
fn a_client_with_another_address_is_found_again() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let direction = network.direction(0, 1, false)?;
    let (from, to, dial) = pods(&direction, &mut 21)?;
    let flow = Flow::start(&from, &to, dial, Duration::from_secs(30))?;
    let gateway = direction.from.gateway();
    gateway.ip(&["address", "add", "172.31.0.77/24", "dev", "und0"])?;
    gateway.ip(&["address", "del", "172.31.0.1/24", "dev", "und0"])?;
    // The kernel takes the second address away with the first one, whose secondary it was.
    gateway.ip(&["address", "replace", "172.31.0.77/24", "dev", "und0"])?;
    let moved = flow.received();
    interrupt::wait_for("the flow to go on", PATIENCE, PAUSE, || {
        Ok((flow.received() > moved + (1 << 20)).then_some(()))
    })
    .with_context(|| network.tails())?;
    flow.stop()?;
    // The status is a little older than the session.
    interrupt::wait_for("the server to name the new address", PATIENCE, PAUSE, || {
        let endpoint = direction.to.node.status()?.connection("cl01")?.endpoint.clone();
        Ok(endpoint.filter(|endpoint| endpoint.starts_with("172.31.0.77:")))
    })?;
    Ok(())
}

/// New link-layer addresses, and an underlay interface with another name.
#[test]
fn a_changed_underlay_interface_is_found_again() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    network.start()?;
    let direction = network.direction(0, 1, false)?;
    let (from, _, dial) = pods(&direction, &mut 23)?;
    let reached_within = |seconds| {
        interrupt::wait_for("pods to reach each other again", Duration::from_secs(seconds), PAUSE, || {
            Ok(traffic::answers_ping(&from, dial, 1)?.then_some(()))
        })
        .with_context(|| network.tails())
    };
    let gateway = direction.to.gateway();
    gateway.ip(&["link", "set", "dev", "und0", "address", "02:00:00:00:be:ef"])?;
    reached_within(5)?;
    for change in [&["down"][..], &["name", "und7"]] {
        gateway.ip(&[&["link", "set", "dev", "und0"], change].concat())?;
    }
    gateway.ip(&["link", "set", "dev", "und7", "up"])?;
    reached_within(10)
}

/// `cleanup` removes all that is ours and nothing else.
#[test]
fn cleanup_leaves_the_gateway_as_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let mut network = wireguard_pair(&lab, &programs()?)?;
    // What the daemon has to change, it has to put back.
    for (key, value) in [("forwarding", "0"), ("rp_filter", "2")] {
        network.clusters[0].gateway().sysctl(&format!("net/ipv4/conf/pods1/{key}"), value)?;
    }
    let before = host_state(network.clusters[0].gateway())?;
    network.start()?;
    ensure!(host_state(network.clusters[0].gateway())? != before);
    network.clusters[0].node.terminate()?;
    network.clusters[0].node.cleanup()?;
    let after = host_state(network.clusters[0].gateway())?;
    ensure!(after == before, "before:\n{before}\nafter:\n{after}");
    let pins = network.clusters[0].node.pins();
    let left: Vec<_> = std::fs::read_dir(pins).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    ensure!(left.is_empty(), "{left:?} are still pinned");
    Ok(())
}

/// Inodes of the UDP sockets of the first gateway that listen on this port.
fn sockets(network: &Network, port: Option<u16>) -> Result<Vec<String>> {
    let port = format!(":{:04X}", port.context("no port")?);
    let files = ["/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"];
    let table = network.clusters[0].gateway().enter(|| Ok(files.map(std::fs::read_to_string)))?;
    let mut inodes = Vec::new();
    for table in table {
        let table = table?;
        // proc(5): the local address is the second word, the inode the tenth.
        let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        inodes.extend(lines.filter(|words| words[1].ends_with(&port)).map(|words| words[9].to_owned()));
    }
    ensure!(!inodes.is_empty(), "nothing listens on {port}");
    Ok(inodes)
}
