//! The rounds in which all tunnels are compared: every figure of one tunnel, then the same of the next, with fresh processes
//! each round.

use std::time::Duration;

use anyhow::{Context, Result};
use mesh_lab::{
    Lab,
    wireguard::{Installed, Program},
};

use super::{
    blast::{self, Sending},
    connection::{Cable, Connection, Pair},
    echo,
    quiet::Patience,
    samples::Samples,
    stream,
};

/// What is compared in every round, over cables of one MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Streams(u32),
    Packets(usize, Sending),
    RoundTrips,
}

impl Load {
    fn fits(self, through: &Connection) -> bool {
        match self {
            Load::Packets(length, _) => length <= usize::from(through.mtu),
            Load::Streams(_) | Load::RoundTrips => true,
        }
    }
}

/// MTU of the cable and of the tunnels through it: the tunnel's headers are 60 bytes with IPv4, 80 with IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mtu {
    pub(super) cable: u16,
    pub(super) tunnel: u16,
}

pub(super) const USUAL: Mtu = Mtu { cable: 1_500, tunnel: 1_420 };
pub(super) const JUMBO: Mtu = Mtu { cable: 9_000, tunnel: 8_920 };

/// What all rounds share.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    pub(super) lab: &'a Lab,
    pub(super) installed: &'a Installed,
    /// Ours first.
    pub(super) programs: &'a [Program],
    /// Measured beside the programs, where the cable is the usual one.
    pub(super) also: Option<&'a Connection>,
    pub(super) patience: &'a Patience,
    pub(super) rounds: usize,
    pub(super) seconds: u32,
}

impl Rounds<'_> {
    pub(super) fn run(&self, mtu: Mtu, loads: &[Load], samples: &mut Samples) -> Result<()> {
        let cable = Cable::lay(self.lab, &format!("mtu{}-", mtu.tunnel), mtu.cable)?;
        for round in 0..self.rounds {
            let numbers = 1_u8..;
            let start = |(program, number): (&Program, u8)| {
                Pair::start(self.lab, self.installed, *program, &cable, (number, mtu.tunnel))
            };
            let pairs = self.programs.iter().zip(numbers).map(start).collect::<Result<Vec<_>>>()?;
            let mut connections = pairs.iter().map(Pair::connection).collect::<Result<Vec<_>>>()?;
            connections.extend(self.also.filter(|_| mtu == USUAL).cloned());
            // Nobody is always the first, when the machine has just rested.
            let places = connections.len();
            connections.rotate_left(round % places);
            for load in loads {
                for connection in connections.iter().filter(|connection| load.fits(connection)) {
                    self.patience.wait()?;
                    self.one(*load, mtu, connection, samples).with_context(|| format!("round {}", round + 1))?;
                }
            }
            println!("MTU {}: round {} of {} done", mtu.tunnel, round + 1, self.rounds);
        }
        Ok(())
    }

    fn one(&self, load: Load, mtu: Mtu, through: &Connection, samples: &mut Samples) -> Result<()> {
        let mut add = |figure: &str, unit, sample| samples.add(figure, unit, through.name, sample);
        let time = Duration::from_secs(u64::from(self.seconds));
        match load {
            Load::Streams(count) => {
                let measured = stream::measure(through, count, self.seconds)?;
                let name = stream_name(count, mtu);
                add(&name, "Gbit/s", measured.gigabits_per_second());
                // gotatun 0.10.2 carries next to nothing at MTU 8920.
                if measured.gigabits_per_second() > 0.01 {
                    add(&format!("{name}, cpu of both daemons"), "s/GB", measured.daemons_per_gigabyte());
                    add(&format!("{name}, cpu of the machine"), "s/GB", measured.machine_per_gigabyte());
                }
            }
            Load::Packets(length, sending) => {
                let measured = blast::measure(through, length, sending, time / 2)?;
                let how = if sending == Sending::Segmented { " segmented" } else { "" };
                let name = format!("udp{how} {length} B");
                add(&name, "1/s", measured.packets_per_second());
                add(&format!("{name}, cpu of both daemons"), "us", measured.daemons_per_packet());
            }
            Load::RoundTrips => {
                let trips = echo::measure(through, time / 2)?;
                for (name, share) in [("minimum", 0.0), ("p50", 0.5), ("p99", 0.99)] {
                    add(&format!("round trip 64 B, {name}"), "us", trips.percentile(share));
                }
            }
        }
        Ok(())
    }
}

fn stream_name(count: u32, mtu: Mtu) -> String {
    let streams = if count == 1 { "1 tcp stream".to_owned() } else { format!("{count} tcp streams") };
    if mtu == USUAL { streams } else { format!("{streams}, mtu {}", mtu.tunnel) }
}
