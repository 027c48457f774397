//! What do peers cost that are configured and never heard of: memory, processor time, throughput of the one that talks?

use std::{
    fmt::Write,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mesh_lab::{
    traffic,
    wireguard::{Program, Wireguard},
};

use super::{
    connection::{Cable, Pair},
    cost,
    rounds::{Rounds, USUAL},
    samples::Samples,
    stream,
};
use crate::report::{Report, Rival};

/// How many peers a device has.
pub(super) const COUNTS: [usize; 3] = [1, 1_000, 10_000];
const MANY: usize = COUNTS[2];
/// What stands for them in a comparison.
pub(super) const NAMES: [&str; 3] = ["1 peer", "1000 peers", MANY_PEERS];
pub(super) const MANY_PEERS: &str = "10000 peers";
/// What was allocated while the peers were added is given back, or collected.
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(4);

/// `wg addconf` for peers that nobody plays.
fn configuration(peers: std::ops::Range<usize>) -> Result<String> {
    let mut text = String::new();
    for peer in peers {
        let key = STANDARD.encode(traffic::noise(peer as u64, 32));
        let [.., high, low] = peer.to_be_bytes();
        writeln!(text, "[Peer]\nPublicKey = {key}\nAllowedIPs = 10.96.{high}.{low}/32")?;
    }
    Ok(text)
}

/// Memory and processor time of an idle device.
pub(super) fn idle(rounds: &Rounds<'_>, report: &mut Report) -> Result<()> {
    let cable = Cable::lay(rounds.lab, "idle", USUAL.cable)?;
    let start = |program: &Program| {
        let device = Wireguard::start(rounds.lab, rounds.installed, *program, &cable.hosts[0])?;
        device.configure(&["listen-port", "0"])?;
        device.up("10.95.0.1/32", USUAL.tunnel)?;
        Ok(device)
    };
    let devices = rounds.programs.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut there = 0;
    let mut resident = Vec::new();
    for (count, name) in COUNTS.into_iter().zip(NAMES) {
        let text = configuration(there..count)?;
        let mut took = Vec::new();
        for device in &devices {
            let begin = Instant::now();
            device.add_configuration(&text)?;
            took.push(begin.elapsed().as_secs_f64());
        }
        thread::sleep(SETTLE);
        let memory = devices.iter().map(|device| resident_bytes(device.pid())).collect::<Result<Vec<_>>>()?;
        versus(report, &devices, &format!("resident, {name}"), "B", &memory);
        if count == MANY {
            versus(report, &devices, &format!("time to configure {} peers more", count - there), "s", &took);
        }
        there = count;
        resident.push(memory);
    }
    let each = |at: usize| (resident[2][at] - resident[0][at]).max(0.0) / (MANY - COUNTS[0]) as f64;
    let each: Vec<_> = (0..devices.len()).map(each).collect();
    report.figure("resident per idle peer", "B", each[0]);
    versus(report, &devices, "resident per idle peer, beside others", "B", &each);

    let times = || devices.iter().map(|device| cost::of_process(device.pid())).collect::<Result<Vec<_>>>();
    let before = times()?;
    thread::sleep(IDLE);
    let spent = times()?.into_iter().zip(before).map(|(after, before)| after.saturating_sub(before));
    let shares: Vec<_> = spent.map(|spent| spent.as_secs_f64() / IDLE.as_secs_f64() * 100.0).collect();
    report.figure(format!("cpu of an idle device, {MANY_PEERS}"), "%", shares[0]);
    versus(report, &devices, &format!("cpu of an idle device, {MANY_PEERS}, beside others"), "%", &shares);
    Ok(())
}

fn versus(report: &mut Report, devices: &[Wireguard], name: &str, unit: &'static str, figures: &[f64]) {
    let rivals = devices.iter().zip(figures).skip(1);
    let rivals = rivals.map(|(device, figure)| Rival::new(device.program().name(), *figure)).collect();
    report.versus(name, unit, figures[0], rivals);
}

fn resident_bytes(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? * 1024.0)
}

/// One stream of ours beside so many idle peers.
pub(super) fn streams(rounds: &Rounds<'_>, samples: &mut Samples) -> Result<()> {
    let cable = Cable::lay(rounds.lab, "crowd", USUAL.cable)?;
    let start = |(count, number): (usize, u8)| {
        let numbered = (number, USUAL.tunnel);
        let pair = Pair::start(rounds.lab, rounds.installed, rounds.programs[0], &cable, numbered)?;
        for end in &pair.ends {
            end.add_configuration(&configuration(1..count)?)?;
        }
        Ok(pair)
    };
    let pairs = COUNTS.into_iter().zip(1_u8..).map(start).collect::<Result<Vec<_>>>()?;
    let connections = pairs.iter().map(Pair::connection).collect::<Result<Vec<_>>>()?;
    for round in 0..rounds.rounds {
        let mut order: Vec<_> = NAMES.into_iter().zip(&connections).collect();
        order.rotate_left(round % NAMES.len());
        for (name, connection) in order {
            rounds.patience.wait()?;
            let measured = stream::measure(connection, 1, rounds.seconds)?;
            samples.add("1 tcp stream beside idle peers", "Gbit/s", name, measured.gigabits_per_second());
            samples.add("1 tcp stream beside idle peers, cpu", "s/GB", name, measured.daemons_per_gigabyte());
        }
    }
    println!("idle peers: {} rounds done", rounds.rounds);
    Ok(())
}
