//! Which way to move the same bytes costs least: calls, batches, segments, rings, parts, pages?
//!
//! Nanoseconds per datagram, of the calling thread alone. On a veth pair a send does all that its datagrams need as far as
//! the receiving socket's queue. The ways take turns, and the fastest of many short runs counts.

mod messages;
mod pages;
mod receive;
mod ring;
mod send;
mod tun;
mod wire;

use std::time::Duration;

use anyhow::Result;
use mesh_lab::{Lab, interrupt};

use crate::report::Report;
use wire::Wire;

/// So many runs are promised.
pub(crate) const RUNS: usize = 60;
/// Calls of a run.
const CALLS: u32 = 16;
/// Datagrams of a call: those of a super-packet of a TUN device.
const DATAGRAMS: usize = 43;
/// Bytes of a datagram: a message that carries a packet of 1,420 bytes.
const DATAGRAM: usize = 1_452;
const TRAIN: usize = DATAGRAMS * DATAGRAM;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each way is timed; the fastest run counts
    #[arg(long, default_value_t = RUNS)]
    pub(crate) runs: usize,
}

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let lab = Lab::new()?;
    let wire = Wire::lay(&lab)?;
    send::run(arguments.runs, &wire, "", report)?;
    send::copy(arguments.runs, &wire, report)?;
    receive::run(arguments.runs, &wire, report)?;
    pages::run(arguments.runs, &wire, report)?;
    tun::run(arguments.runs, &lab, report)?;
    wire.leave_segmentation_to_the_stack()?;
    send::run(arguments.runs, &wire, ", cut by the stack", report)
}

/// Does it once, and gives how long the part took that counts.
type Way<'a> = Box<dyn FnMut() -> Result<Duration> + 'a>;

/// Nanoseconds per datagram of each way, which all move as many.
fn fastest<const N: usize>(runs: usize, mut ways: [Way<'_>; N]) -> Result<[f64; N]> {
    let mut fastest = [f64::INFINITY; N];
    for _ in 0..runs {
        interrupt::check()?;
        for (way, fastest) in ways.iter_mut().zip(&mut fastest) {
            let mut took = Duration::ZERO;
            for _ in 0..CALLS {
                took += way()?;
            }
            *fastest = fastest.min(took.as_secs_f64() * 1e9 / (f64::from(CALLS) * DATAGRAMS as f64));
        }
    }
    Ok(fastest)
}
