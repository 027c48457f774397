//! How many questions about members of a group does one core answer, and how many does it lose?
//!
//! Our server, dnsmasq and nsd hold the same names and are asked the same questions in turn, all in one network namespace.
//! The server has the first core for itself as far as this machine allows, whoever asks has the second.
//!
//! Each round asks at a fixed pace, where what gets no answer is lost, and then as fast as answers come.

mod load;
mod programs;
pub(crate) mod server;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use mesh_lab::{Lab, interrupt, process::Daemon};

use crate::report::{Report, Sampled};
use load::{Load, Passed};
use programs::Program;

pub(crate) const ROUNDS: usize = 5;
/// Each with [`PEERS`] peers.
const MEMBERS: usize = 1_000;
const PEERS: usize = 4;
/// Questions a second that must all be answered.
const PACE: u32 = 50_000;
/// Questions that wait for their answer when there is no pace.
const WINDOW: usize = 256;
const PATIENCE: Duration = Duration::from_secs(15);
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Rounds over all programs
    #[arg(long, default_value_t = ROUNDS)]
    pub(crate) rounds: usize,
    /// How long each of the two parts of a round takes
    #[arg(long, default_value_t = 2)]
    seconds: u64,
}

/// What one program did in all rounds.
#[derive(Default)]
struct Samples {
    lost: Vec<f64>,
    latency: Vec<f64>,
    rate: Vec<f64>,
    cpu: Vec<f64>,
}

pub(crate) fn run(asked: &Arguments, report: &mut Report) -> Result<()> {
    let lab = Lab::new()?;
    let namespace = lab.namespace("names")?;
    let mut servers = Vec::new();
    for (program, port) in Program::ALL.into_iter().zip(5_301..) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let daemon = program.start(&lab, &namespace, address)?;
        servers.push((program, address, daemon, Samples::default()));
    }
    for (program, address, ..) in &servers {
        namespace.enter(|| Load::new(*address)?.wait(PATIENCE)).with_context(|| program.name())?;
    }
    for round in 0..asked.rounds {
        let count = servers.len();
        for turn in 0..count {
            interrupt::check()?;
            let (program, address, daemon, samples) = &mut servers[(round + turn) % count];
            let part = Duration::from_secs(asked.seconds);
            namespace.enter(|| measure(*address, daemon, part, samples)).with_context(|| program.name())?;
        }
    }
    tell(servers.into_iter().map(|(program, _, _, samples)| (program, samples)).collect(), report);
    Ok(())
}

fn measure(address: SocketAddr, daemon: &Daemon, part: Duration, samples: &mut Samples) -> Result<()> {
    programs::pin(LOAD_CORE)?;
    let mut load = Load::new(address)?;
    let paced = load.paced(PACE, part)?;
    let before = programs::spent(daemon.pid())?;
    let fast = load.as_fast_as_answered(WINDOW, part)?;
    let spent = programs::spent(daemon.pid())?.saturating_sub(before);
    for passed in [&paced, &fast] {
        ensure!(passed.wrong == 0, "{} of {} answers were wrong", passed.wrong, passed.answered);
    }
    ensure!(fast.answered > 0, "no answer at all");
    samples.lost.push((paced.asked - paced.answered) as f64);
    samples.latency.push(paced.median_latency().as_secs_f64() * 1e6);
    samples.rate.push(fast.answered as f64 / fast.took.as_secs_f64());
    samples.cpu.push(spent.as_secs_f64() * 1e9 / fast.answered as f64);
    Ok(())
}

fn tell(all: Vec<(Program, Samples)>, report: &mut Report) {
    let sampled = |figure: fn(&Samples) -> &Vec<f64>| {
        all.iter().map(|(program, samples)| Sampled::new(program.name(), figure(samples).clone())).collect()
    };
    report.compare("questions per second, one core", "1/s", sampled(|samples| &samples.rate));
    report.compare("processor time of an answer", "ns", sampled(|samples| &samples.cpu));
    report.compare(format!("median latency at {PACE} a second"), "us", sampled(|samples| &samples.latency));
    for (program, samples) in &all {
        let lost = samples.lost.iter().sum();
        report.figure(format!("lost at {PACE} a second, {}", program.name()), "answers", lost);
    }
}

impl Passed {
    fn median_latency(&self) -> Duration {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied().unwrap_or_default()
    }
}

/// The name of a member, as all servers know it.
fn member_name(index: usize) -> String {
    format!("{}.m.{}.{}", member_id(index), server::GROUP, server::SUFFIX)
}

/// As long as the ids of a platform are.
fn member_id(index: usize) -> String {
    format!("app_{index:08x}-7f6e-4d5c-8b4a-393827161504")
}

fn address(member: usize, peer: usize) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from(0x0a69_0005 + (member * PEERS + peer) as u32)
}
