//! What do two lanes on two cores carry, beside one lane? And does a connection grow with the cores?
//!
//! Both ends are shards of this process, with real TUN devices in two namespaces; 16 TCP streams go through.

use std::{
    collections::BTreeMap, fs, net::SocketAddr, num::NonZeroUsize, process::Stdio, sync::Arc, thread, time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use mesh_common::ids::ConnectionId;
use mesh_core::{
    plan::{DeviceName, Peer},
    tunnel::{AllowedIps, MAX_LANES, StaticSecret, lane::Condition},
};
use mesh_lab::{Lab, Namespace, interrupt, link, process};
use meshd::{
    kernel::{
        tun::{GSO_MAX_SIZE, Tun},
        udp::UdpSockets,
    },
    shard::{Admission, Command, Queue, Routing, Shards, Spread},
};

use crate::{
    processors::TICK,
    report::{Report, Sampled},
};

pub(crate) const PAIRS: usize = 5;
const STREAMS: u32 = 16;
/// Fewer cores do not show whether a connection grows with them.
const CORES_TO_SCALE: usize = 8;
/// The figure that takes that many: what a core adds, of what one lane carries alone.
const SCALING: &str = "gain of a lane per core, all cores";
const MTU: u16 = 1_420;
const DEVICE: &str = "mesh-bench";
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Runs of each number of lanes, in turn
    #[arg(long, default_value_t = PAIRS)]
    pub(crate) pairs: usize,
    /// How long one takes
    #[arg(long, default_value_t = 4)]
    seconds: u32,
}

/// What one run showed.
struct Run {
    gigabits_per_second: f64,
    /// Seconds of all shards of both ends for a gigabyte.
    cpu_per_gigabyte: f64,
    /// Part of the bytes that the shard with the least carried.
    least_share: f64,
}

struct End {
    namespace: Namespace,
    shards: Shards,
    number: u8,
}

pub(crate) fn run(asked: &Arguments, report: &mut Report) -> Result<()> {
    compare(asked, report, 2)?;
    let cores = thread::available_parallelism().map_or(1, usize::from).min(MAX_LANES);
    if cores < CORES_TO_SCALE {
        println!(
            "SKIPPED: whether a connection grows with the cores: this machine has {cores}, that takes {CORES_TO_SCALE}"
        );
        report.excuse(SCALING);
        return Ok(());
    }
    let gain = compare(asked, report, cores as u8)?;
    report.figure(SCALING, "ratio", gain / cores as f64);
    Ok(())
}

/// Gives how many times as much as one lane they carry, in the median.
fn compare(asked: &Arguments, report: &mut Report, lanes: u8) -> Result<f64> {
    let (mut one, mut several) = (Vec::new(), Vec::new());
    for pair in 0..asked.pairs {
        // Each goes first as often as the other.
        let order = if pair.is_multiple_of(2) { [1, lanes] } else { [lanes, 1] };
        for count in order {
            interrupt::check()?;
            let run = measure(count, asked.seconds).with_context(|| format!("{count} lanes"))?;
            if count == 1 {
                one.push(run);
            } else {
                several.push(run);
            };
        }
    }
    let both = |figure: fn(&Run) -> f64| {
        let samples = |runs: &[Run]| runs.iter().map(figure).collect();
        vec![Sampled::new(format!("{lanes} lanes"), samples(&several)), Sampled::new("one lane", samples(&one))]
    };
    report.compare(format!("{lanes} lanes, {STREAMS} tcp streams"), "Gbit/s", both(|run| run.gigabits_per_second));
    report.compare(format!("{lanes} lanes, cpu of both ends"), "s/GB", both(|run| run.cpu_per_gigabyte));
    let shares: Vec<_> = several.iter().map(|run| run.least_share).collect();
    report.figure(format!("{lanes} lanes, least share of a shard"), "", crate::statistics::median(&shares));
    let gains: Vec<_> =
        several.iter().zip(&one).map(|(several, one)| several.gigabits_per_second / one.gigabits_per_second).collect();
    Ok(crate::statistics::median(&gains))
}

fn measure(lanes: u8, seconds: u32) -> Result<Run> {
    let lab = Lab::new()?;
    let namespaces = [lab.namespace("a")?, lab.namespace("b")?];
    let [port_a, port_b] = [&namespaces[0], &namespaces[1]].map(|namespace| link::Port::new(namespace, "eth0"));
    link::veth(port_a, port_b)?;
    for (port, address) in [(port_a, "192.0.2.1/24"), (port_b, "192.0.2.2/24")] {
        link::address(port, &[address])?;
    }
    let [a, b] = namespaces;
    let (b, a) = (End::start(b, 2, lanes)?, End::start(a, 1, lanes)?);
    for end in [&a, &b] {
        interrupt::wait_for("all lanes to have a session", PATIENCE, Duration::from_millis(20), || {
            let peers = end.shards.statistics().peers;
            Ok(peers[0].lanes.iter().all(|lane| lane.condition == Condition::Live).then_some(()))
        })?;
    }
    let (before, spent) = (a.carried(), shard_time()?);
    let (gigabits_per_second, bytes) = transfer(&a, &b, seconds)?;
    let spent = shard_time()? - spent;
    let carried: Vec<_> = a.carried().iter().map(|(shard, bytes)| bytes - before[shard]).collect();
    let least = carried.iter().min().copied().unwrap_or(0) as f64;
    Ok(Run {
        gigabits_per_second,
        cpu_per_gigabyte: spent.as_secs_f64() / (bytes / 1e9),
        least_share: least / carried.iter().sum::<u64>().max(1) as f64,
    })
}

impl End {
    fn start(namespace: Namespace, number: u8, lanes: u8) -> Result<End> {
        let count = NonZeroUsize::new(lanes.into()).context("there is a lane")?;
        let device = DeviceName(DEVICE.to_owned());
        let (shards, _events) = Shards::start(count)?;
        let queues = namespace.enter(|| {
            let queue = |(lane, tun): (u16, Tun)| Ok(Queue { tun, sockets: UdpSockets::bind(51_900 + lane)? });
            (0..).zip(Tun::open(&device, count)?).map(queue).collect::<Result<Vec<_>>>()
        })?;
        let (gso, mtu) = (GSO_MAX_SIZE.to_string(), MTU.to_string());
        namespace.ip(&["link", "set", DEVICE, "mtu", &mtu, "gso_max_size", &gso, "up"])?;
        namespace.ip(&["address", "add", &format!("10.9.0.{number}/24"), "dev", DEVICE])?;
        let allowed = AllowedIps::new([("10.9.0.0/24".parse()?, ConnectionId(0))]);
        shards.apply(Command::AddTunnel {
            device: device.clone(),
            mtu: MTU,
            secret: Some(secret(number)),
            spread: Spread::Lanes,
            queues,
            routing: Routing::AllowedIps(Arc::new(allowed), Admission::default()),
        })?;
        let calls = number == 1;
        let to: SocketAddr = "192.0.2.2:51900".parse()?;
        let peer = Peer {
            connection: ConnectionId(0),
            endpoints: if calls { vec![to] } else { Vec::new() },
            lane_ports: (0..u16::from(lanes)).map(|lane| 51_900 + lane).collect(),
            keepalive_seconds: calls.then_some(25),
            preshared_key: None,
            reserved: Vec::new(),
            announced: BTreeMap::new(),
        };
        shards.apply(Command::AddPeer(device, secret(3 - number).public_key(), peer))?;
        Ok(End { namespace, shards, number })
    }

    /// Bytes that left, by shard.
    fn carried(&self) -> BTreeMap<usize, u64> {
        let peers = self.shards.statistics().peers;
        peers.iter().flat_map(|peer| &peer.lanes).map(|lane| (lane.shard, lane.sent.bytes)).collect()
    }
}

fn secret(number: u8) -> StaticSecret {
    StaticSecret::from_bytes([number; 32])
}

/// Bits per second, in thousand millions, and bytes that arrived.
fn transfer(a: &End, b: &End, seconds: u32) -> Result<(f64, f64)> {
    let mut serve = b.namespace.command("iperf3");
    let mut server = serve.args(["-s", "-1"]).stdout(Stdio::null()).spawn().context("start iperf3 -s")?;
    let json = interrupt::wait_for("iperf3 to listen", PATIENCE, Duration::from_millis(20), || {
        Ok((!b.namespace.run("ss", &["-Hltn", "sport", "=", ":5201"])?.is_empty()).then_some(()))
    })
    .and_then(|()| {
        let mut client = a.namespace.command("iperf3");
        client.args(["-c", &format!("10.9.0.{}", b.number), "-C", "cubic", "-J"]);
        client.args(["-t", &seconds.to_string(), "-P", &STREAMS.to_string()]);
        process::output(&mut client, Duration::from_secs(u64::from(seconds) + 20))
    });
    // A server that got its one client has ended.
    let _ = server.kill();
    server.wait().context("end iperf3 -s")?;
    let json: serde_json::Value = serde_json::from_str(&json?).context("what iperf3 -J printed")?;
    let received = &json["end"]["sum_received"];
    let figure = |name: &str| received[name].as_f64().with_context(|| format!("iperf3 did not say {name}"));
    Ok((figure("bits_per_second")? / 1e9, figure("bytes")?))
}

/// What all shards of this process used so far.
fn shard_time() -> Result<Duration> {
    let mut ticks = 0;
    for task in fs::read_dir("/proc/self/task").context("read /proc/self/task")? {
        let Ok(stat) = fs::read_to_string(task?.path().join("stat")) else { continue };
        let Some((name, fields)) = stat.rsplit_once(')') else { continue };
        if name.contains("(shard-") {
            // The 14th and 15th of all fields, the 12th and 13th behind the name: user and system time.
            ticks +=
                fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum::<u32>();
        }
    }
    Ok(TICK * ticks)
}
