//! 43 datagrams to one address: one call each, one call for all, segments, parts, io_uring; and a copy beside them.

use std::{hint::black_box, time::Instant};

use anyhow::{Result, ensure};

use super::{DATAGRAMS, TRAIN, Way, fastest, messages::Messages, ring::Ring, wire::Wire};
use crate::report::{Report, Rival};

pub(super) fn run(runs: usize, wire: &Wire, place: &str, report: &mut Report) -> Result<()> {
    let bytes = vec![0x5a; TRAIN];
    let (to, socket) = (wire.joining_address(), wire.sender()?);
    let (one_by_one, parts) = (Messages::of_each(&bytes, to), Messages::of_parts(&bytes, to));
    let [gso, sendmmsg, sendmsg, gso_parts] = fastest(
        runs,
        [
            gso_way(wire, &bytes),
            sendmmsg_way(wire, &bytes)?,
            Box::new(|| wire.time(|| Ok(one_by_one.send_each(socket)?))),
            Box::new(|| wire.time(|| Ok(parts.send_each(socket)?))),
        ],
    )?;
    let calls = vec![Rival::new("sendmmsg", sendmmsg), Rival::new("sendmsg each", sendmsg)];
    report.versus(format!("send, gso{place}"), "ns", gso, calls);
    report.versus(format!("send, gso of 43 parts{place}"), "ns", gso_parts, vec![Rival::new("gso", gso)]);
    through_rings(runs, wire, &bytes, place, report)
}

/// What it costs to lay the datagrams out one after the other before they are sent with one call.
pub(super) fn copy(runs: usize, wire: &Wire, report: &mut Report) -> Result<()> {
    let bytes = vec![0x5a; TRAIN];
    let mut copied = vec![0; TRAIN];
    let [copy, gso] = fastest(
        runs,
        [
            Box::new(|| {
                let start = Instant::now();
                copied.copy_from_slice(black_box(&bytes));
                black_box(&copied);
                Ok(start.elapsed())
            }),
            gso_way(wire, &bytes),
        ],
    )?;
    report.versus("copy of the datagrams", "ns", copy, vec![Rival::new("gso", gso)]);
    Ok(())
}

fn through_rings(runs: usize, wire: &Wire, bytes: &[u8], place: &str, report: &mut Report) -> Result<()> {
    let (mut ring, mut gso_ring) = match (Ring::new(), Ring::new()) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(error), _) | (_, Err(error)) => {
            println!("SKIPPED: io_uring: this machine does not permit it: {error}");
            report.is_partial();
            return Ok(());
        }
    };
    let (to, socket) = (wire.joining_address(), wire.sender()?);
    let (one_by_one, whole) = (Messages::of_each(bytes, to), Messages::of_parts(bytes, to));
    let [uring, sendmmsg, uring_gso, gso] = fastest(
        runs,
        [
            Box::new(|| wire.time(|| ring.send(socket, &one_by_one))),
            sendmmsg_way(wire, bytes)?,
            Box::new(|| wire.time(|| gso_ring.send(socket, &whole))),
            Box::new(|| wire.time(|| Ok(whole.send_each(socket)?))),
        ],
    )?;
    let rival = vec![Rival::new("sendmmsg", sendmmsg)];
    report.versus(format!("send, io_uring, 43 sends{place}"), "ns", uring, rival);
    let rival = vec![Rival::new("sendmsg", gso)];
    report.versus(format!("send, io_uring, gso of 43 parts{place}"), "ns", uring_gso, rival);
    Ok(())
}

fn gso_way<'a>(wire: &'a Wire, bytes: &'a [u8]) -> Way<'a> {
    Box::new(|| wire.time(|| wire.send(bytes, wire.joining_address())))
}

fn sendmmsg_way<'a>(wire: &'a Wire, bytes: &'a [u8]) -> Result<Way<'a>> {
    let mut messages = Messages::of_each(bytes, wire.joining_address());
    let socket = wire.sender()?;
    Ok(Box::new(move || {
        wire.time(|| {
            let sent = messages.send_all(socket)?;
            ensure!(sent == DATAGRAMS, "{sent} of {DATAGRAMS} messages left");
            Ok(())
        })
    }))
}
