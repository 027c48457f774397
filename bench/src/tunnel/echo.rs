//! Round trips of small datagrams, one at a time: how long does a tunnel make one wait?

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::connection::Connection;

/// Payload of each datagram.
const LENGTH: usize = 64;
/// Before a datagram counts as lost.
const TIMEOUT: Duration = Duration::from_millis(200);

/// Sorted round trips.
#[derive(Debug)]
pub(super) struct Trips(Vec<Duration>);

impl Trips {
    /// The round trip that this share of all does not exceed, in microseconds.
    pub(super) fn percentile(&self, share: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * share).round() as usize].as_secs_f64() * 1e6
    }
}

/// One datagram after the other for that long.
pub(super) fn measure(through: &Connection, time: Duration) -> Result<Trips> {
    let server = through.server.enter(|| Ok(UdpSocket::bind(("0.0.0.0", 0))?)).context("bind the echo server")?;
    let there = SocketAddr::new(through.to, server.local_addr()?.port());
    let client = through.client.enter(|| {
        let client = UdpSocket::bind(("0.0.0.0", 0))?;
        client.connect(there)?;
        Ok(client)
    })?;
    client.set_read_timeout(Some(TIMEOUT))?;
    std::thread::scope(|scope| {
        scope.spawn(|| echo(&server));
        let trips = exchange(&client, time);
        // A datagram without bytes ends the server, wherever it comes from.
        let here = (Ipv4Addr::LOCALHOST, there.port());
        let ended = through.server.enter(|| Ok(UdpSocket::bind(("0.0.0.0", 0))?.send_to(&[], here)?));
        ended.context("end the echo server")?;
        trips.with_context(|| format!("round trips through {}", through.name))
    })
}

fn echo(server: &UdpSocket) {
    let mut buffer = [0; 2 * LENGTH];
    while let Ok((length @ 1.., from)) = server.recv_from(&mut buffer) {
        // What cannot be sent is lost, and the client knows.
        let _ = server.send_to(&buffer[..length], from);
    }
}

fn exchange(client: &UdpSocket, time: Duration) -> Result<Trips> {
    let mut trips = Vec::with_capacity(1 << 16);
    let mut buffer = [0; 2 * LENGTH];
    let end = Instant::now() + time;
    let mut number = 0_u64;
    while Instant::now() < end {
        number += 1;
        let mut message = [0; LENGTH];
        message[..8].copy_from_slice(&number.to_be_bytes());
        let begin = Instant::now();
        client.send(&message)?;
        // What comes late belongs to an earlier one.
        while let Ok(length) = client.recv(&mut buffer) {
            if buffer[..length] == message {
                trips.push(begin.elapsed());
                break;
            }
        }
    }
    ensure!(trips.len() >= 10, "of {number} datagrams only {} came back", trips.len());
    trips.sort_unstable();
    Ok(Trips(trips))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_sorted_trips() {
        let trips = Trips((0..=100).map(Duration::from_micros).collect());
        assert_eq!([0.0, 0.5, 0.99].map(|share| trips.percentile(share).round()), [0.0, 50.0, 99.0]);
    }
}
