//! Numbered datagrams at a steady rate in the background: how many were lost?

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{End, option};

/// Sends until it is stopped or dropped.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<u64>>>,
    receiver: Option<JoinHandle<Result<Received>>>,
}

/// What a stream came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    pub sent: u64,
    pub lost: u64,
    pub duplicates: u64,
    /// The longest time without a datagram.
    pub longest_gap: Duration,
}

#[derive(Debug)]
struct Received {
    seen: Vec<bool>,
    duplicates: u64,
    longest_gap: Duration,
}

impl Stream {
    /// `rate` datagrams a second of 64 payload bytes from `client` to `dial`, which must lead to `server`.
    pub fn start(client: &End, server: &End, dial: IpAddr, rate: u32) -> Result<Stream> {
        let (here, there) = (client.udp()?, server.udp()?);
        option(&there, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 8 << 20)?;
        there.set_read_timeout(Some(Duration::from_millis(300)))?;
        here.connect(SocketAddr::new(dial, there.local_addr()?.port()))?;
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop_sender, stop_receiver, count) = (stop.clone(), stop.clone(), received.clone());
        let sender = std::thread::spawn(move || Ok(send(&here, rate, &stop_sender)));
        let receiver = std::thread::spawn(move || receive(&there, &stop_receiver, &count));
        Ok(Stream { stop, received, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Datagrams that have arrived so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for the last datagrams, and counts.
    pub fn stop(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let sent = join(self.sender.take())?.unwrap_or(0);
        let received = join(self.receiver.take())?;
        let (arrived, duplicates, longest_gap) = received.map_or((0, 0, Duration::ZERO), |received| {
            let arrived = received.seen.iter().filter(|seen| **seen).count() as u64;
            (arrived, received.duplicates, received.longest_gap)
        });
        Ok(Tally { sent, lost: sent - arrived.min(sent), duplicates, longest_gap })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Nobody asks for the outcome; both end within their receive timeout.
        let _ = join(self.sender.take());
        let _ = join(self.receiver.take());
    }
}

/// Sends by the clock: what a late wake-up missed is sent at once. A refused datagram counts as sent, and lost.
fn send(socket: &UdpSocket, rate: u32, stop: &AtomicBool) -> u64 {
    let start = Instant::now();
    let mut sent = 0u64;
    let mut payload = [0x5a; 64];
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while sent < due {
            payload[..8].copy_from_slice(&sent.to_be_bytes());
            let _ = socket.send(&payload);
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    sent
}

/// Receives until the sender was told to stop and nothing came for the receive timeout.
fn receive(socket: &UdpSocket, stop: &AtomicBool, count: &AtomicU64) -> Result<Received> {
    let mut received = Received { seen: Vec::new(), duplicates: 0, longest_gap: Duration::ZERO };
    let mut last: Option<Instant> = None;
    let mut buffer = [0; 128];
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) if length >= 8 => {
                let number = buffer[..8].iter().fold(0usize, |number, byte| number << 8 | usize::from(*byte));
                note(&mut received, number);
                let now = Instant::now();
                received.longest_gap = received.longest_gap.max(last.map_or(Duration::ZERO, |last| now - last));
                last = Some(now);
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(_) if stop.load(Ordering::Relaxed) => return Ok(received),
            // A pause, or an ICMP error that ended up on this socket: the sender decides when it is over.
            Err(_) => {}
        }
    }
}

fn note(received: &mut Received, number: usize) {
    if number >= received.seen.len() {
        received.seen.resize(number + 1, false);
    }
    if std::mem::replace(&mut received.seen[number], true) {
        received.duplicates += 1;
    }
}

fn join<T>(thread: Option<JoinHandle<Result<T>>>) -> Result<Option<T>> {
    thread.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).transpose()
}
