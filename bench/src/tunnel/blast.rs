//! UDP packets as fast as a tunnel carries them: how many arrive a second?
//!
//! The sender never has more on the way than the queue of a TUN device holds. So a program is not measured by how it
//! throws packets away, and the sender takes no processor time from the tunnel for packets that nobody will see.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    batch::{Receiver, Sender},
    connection::Connection,
    cost::Spent,
};

/// How the sender hands packets to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    /// Each is a packet from the beginning: `sendmmsg(2)`.
    OneByOne,
    /// Many in one buffer, cut as late as possible: `UDP_SEGMENT`, as QUIC libraries do.
    Segmented,
}

/// Packets on the way: fewer than the 500 that a TUN device queues.
const WINDOW: u64 = 448;
/// Packets handed over at once.
const BATCH: usize = 32;
/// When nothing arrives for so long, what was on the way is lost.
const LOST: Duration = Duration::from_millis(3);
/// IPv4 and UDP headers.
const HEADERS: usize = 28;

#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    packets: u64,
    time: Duration,
    spent: Spent,
}

impl Measured {
    pub(super) fn packets_per_second(&self) -> f64 {
        self.packets as f64 / self.time.as_secs_f64()
    }

    /// Microseconds of both daemons for a packet that arrived.
    pub(super) fn daemons_per_packet(&self) -> f64 {
        self.spent.daemons.as_secs_f64() * 1e6 / self.packets as f64
    }
}

/// Packets of this length, IP header included, for that long.
pub(super) fn measure(through: &Connection, length: usize, sending: Sending, time: Duration) -> Result<Measured> {
    let payload = length - HEADERS;
    let server = through.server.enter(|| Ok(UdpSocket::bind(("0.0.0.0", 0))?)).context("bind the receiver")?;
    let there = SocketAddr::new(through.to, server.local_addr()?.port());
    let client = through.client.enter(|| {
        let client = UdpSocket::bind(("0.0.0.0", 0))?;
        client.connect(there)?;
        Ok(client)
    })?;
    let receiver = Receiver::new(server, payload, sending == Sending::Segmented)?;
    let sender = Sender::new(client, payload, sending == Sending::Segmented, BATCH)?;
    let (stop, arrived) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let receiving = scope.spawn(|| receive(receiver, &stop, &arrived));
        let sending = scope.spawn(|| send(sender, &stop, &arrived));
        let measured = watch(through, time, &arrived);
        stop.store(true, Ordering::Relaxed);
        let joined = [receiving.join(), sending.join()];
        for end in joined {
            end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        measured
    })
    .with_context(|| format!("UDP packets of {length} bytes through {}", through.name))
}

/// The beginning, while everything warms up, does not count.
fn watch(through: &Connection, time: Duration, arrived: &AtomicU64) -> Result<Measured> {
    thread::sleep(time / 5);
    let (begin, first, before) = (Instant::now(), arrived.load(Ordering::Relaxed), Spent::now(&through.daemons)?);
    thread::sleep(time);
    let (packets, time) = (arrived.load(Ordering::Relaxed) - first, begin.elapsed());
    ensure!(packets > 0, "nothing arrived");
    Ok(Measured { packets, time, spent: Spent::now(&through.daemons)?.since(before) })
}

fn send(mut sender: Sender, stop: &AtomicBool, arrived: &AtomicU64) -> Result<()> {
    let (mut sent, mut lost) = (0_u64, 0_u64);
    let (mut seen, mut moved) = (0, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let now = arrived.load(Ordering::Relaxed);
        if now != seen {
            (seen, moved) = (now, Instant::now());
        }
        // What was given up may arrive after all.
        let on_the_way = sent.saturating_sub(lost + seen);
        if on_the_way + BATCH as u64 <= WINDOW {
            sent += sender.send()?;
        } else if moved.elapsed() > LOST {
            (lost, moved) = (lost + on_the_way, Instant::now());
        } else {
            thread::sleep(Duration::from_micros(20));
        }
    }
    Ok(())
}

fn receive(mut receiver: Receiver, stop: &AtomicBool, arrived: &AtomicU64) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        arrived.fetch_add(receiver.receive()?, Ordering::Relaxed);
    }
    Ok(())
}
