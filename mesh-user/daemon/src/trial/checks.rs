//! What is tried from a trial, or from the node: each check in the network namespace of the calling thread, bounded in time.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use mesh_core::api::{
    group::SCHEMA,
    trial::{CheckKind, CheckReply, RoundTrips, TrialCheck},
};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};

use super::responder::{HEAD, MARK};

/// Datagrams of an echo. Without any answer, half of them say enough.
const ECHOES: u32 = 10;
const ECHO_BYTES: usize = 64;
const ECHO_PATIENCE: Duration = Duration::from_secs(1);
const BURST: u32 = 200;
const BURST_PACE: Duration = Duration::from_millis(1);
const CONNECTS: u32 = 3;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const STREAM: Duration = Duration::from_secs(2);
const STREAM_PATIENCE: Duration = Duration::from_secs(5);
const STREAM_BLOCK: usize = 1 << 16;
/// A datagram of one length gets lost so often before the length is too much.
const TRIES: u32 = 2;
const MTU_PATIENCE: Duration = Duration::from_millis(500);
const SMALLEST_MTU: u16 = 576;
const LARGEST_MTU: u16 = 9_000;
const ETHERNET_MTU: u16 = 1_500;

pub(super) fn validate(check: &TrialCheck) -> Result<(), String> {
    if check.port == 0 {
        return Err("port is from 1 to 65535".to_owned());
    }
    let (to, range) = (check.to, SMALLEST_MTU..=LARGEST_MTU);
    let is_everybody = |v4: Ipv4Addr| v4.is_broadcast() || v4.is_multicast();
    if to.is_unspecified() || to.is_multicast() || matches!(to, IpAddr::V4(v4) if is_everybody(v4)) {
        return Err(format!("{to} is no address of one host"));
    }
    match check.mtu {
        Some(mtu) if !range.contains(&mtu) => Err(format!("mtu is from {SMALLEST_MTU} to {LARGEST_MTU}")),
        _ => Ok(()),
    }
}

pub(super) fn run(check: &TrialCheck) -> CheckReply {
    let to = SocketAddr::new(check.to, check.port);
    let reply = match check.kind {
        CheckKind::Echo => echo(to),
        CheckKind::Burst => burst(to),
        CheckKind::Connect => Ok(connect(to)),
        CheckKind::Stream => stream(to),
        CheckKind::Mtu => mtu(to, check.mtu.unwrap_or(ETHERNET_MTU)),
    };
    let failed = |error: io::Error| CheckReply { attempts: 1, failure: Some(why(&error)), ..CheckReply::default() };
    CheckReply { schema: SCHEMA, ..reply.unwrap_or_else(failed) }
}

fn echo(to: SocketAddr) -> io::Result<CheckReply> {
    let socket = dial(to)?;
    let (mut reply, mut micros, mut last) = (CheckReply::default(), Vec::new(), None);
    for number in 0..ECHOES {
        if reply.answered == 0 && number >= ECHOES / 2 {
            break;
        }
        reply.attempts += 1;
        match exchange(&socket, number, ECHO_BYTES, ECHO_PATIENCE) {
            Ok(Some(time)) => {
                reply.answered += 1;
                micros.push(time.as_micros() as u64);
            }
            Ok(None) => {}
            Err(error) => last = Some(why(&error)),
        }
    }
    reply.latency = RoundTrips::of(&micros);
    if reply.answered == 0 {
        let silent = || format!("no reply from {to} (UDP) within {} s", ECHO_PATIENCE.as_secs());
        reply.failure = Some(last.unwrap_or_else(silent));
    } else if reply.answered < reply.attempts {
        let lost = reply.attempts - reply.answered;
        reply.failure = Some(format!("{lost} of {} datagrams were lost", reply.attempts));
    }
    Ok(reply)
}

/// Answers are only counted.
fn burst(to: SocketAddr) -> io::Result<CheckReply> {
    let socket = dial(to)?;
    socket.set_nonblocking(true)?;
    let (mut reply, mut answer) = (CheckReply { attempts: BURST, ..CheckReply::default() }, [0; HEAD]);
    let mut count = |until: Instant| {
        loop {
            match socket.recv(&mut answer) {
                Ok(_) => reply.answered += 1,
                // What the network says of earlier ones does not matter here.
                Err(_) if Instant::now() < until => thread::sleep(BURST_PACE),
                Err(_) => return,
            }
        }
    };
    for number in 0..BURST {
        // One that is not sent is one that is not answered.
        let _ = socket.send(&datagram(number, ECHO_BYTES));
        count(Instant::now() + BURST_PACE);
    }
    count(Instant::now() + ECHO_PATIENCE);
    Ok(reply)
}

fn connect(to: SocketAddr) -> CheckReply {
    let (mut reply, mut micros, mut last) = (CheckReply::default(), Vec::new(), None);
    for _ in 0..CONNECTS {
        reply.attempts += 1;
        let begun = Instant::now();
        match TcpStream::connect_timeout(&to, CONNECT_PATIENCE) {
            Ok(_) => {
                reply.answered += 1;
                micros.push(begun.elapsed().as_micros() as u64);
            }
            Err(error) => {
                last = Some(format!("no TCP connection to {to}: {}", why(&error)));
                if reply.answered == 0 {
                    break;
                }
            }
        }
    }
    CheckReply { latency: RoundTrips::of(&micros), failure: last, ..reply }
}

fn stream(to: SocketAddr) -> io::Result<CheckReply> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECT_PATIENCE)?;
    stream.set_write_timeout(Some(STREAM_PATIENCE))?;
    stream.set_read_timeout(Some(STREAM_PATIENCE))?;
    let block = vec![0x5a; STREAM_BLOCK];
    let begun = Instant::now();
    while begun.elapsed() < STREAM {
        stream.write_all(&block)?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut came = [0; 8];
    stream.read_exact(&mut came)?;
    let bits = u64::from_be_bytes(came) as f64 * 8.0 / begun.elapsed().as_secs_f64();
    Ok(CheckReply { attempts: 1, answered: 1, bits_per_second: Some(bits as u64), ..CheckReply::default() })
}

/// The longest packet up to `mtu` bytes that is answered: first that of the MTU itself, then by halving.
fn mtu(to: SocketAddr, mtu: u16) -> io::Result<CheckReply> {
    let socket = dial(to)?;
    // Sent whatever the kernel has heard of the path, and never in pieces.
    match to {
        SocketAddr::V4(_) => sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::PROBE)?,
    }
    let mut reply = CheckReply::default();
    let mut fits = |length: u16| {
        reply.attempts += 1;
        let payload = usize::from(length) - headers(to);
        let passed = (0..TRIES).any(|attempt| {
            let number = u32::from(length) << 8 | attempt;
            matches!(exchange(&socket, number, payload, MTU_PATIENCE), Ok(Some(_)))
        });
        reply.answered += u32::from(passed);
        passed
    };
    let largest = if fits(mtu) { Some(mtu) } else { largest(SMALLEST_MTU, mtu, &mut fits) };
    let failure = match largest {
        Some(largest) if largest == mtu => None,
        Some(largest) => Some(format!("the longest packet that arrived has {largest} bytes, the MTU is {mtu}")),
        None => Some(format!("not even a packet of {SMALLEST_MTU} bytes was answered by {to}")),
    };
    Ok(CheckReply { largest, failure, ..reply })
}

/// The largest of `low..high` that fits, if any does.
fn largest(low: u16, high: u16, fits: &mut impl FnMut(u16) -> bool) -> Option<u16> {
    if low >= high || !fits(low) {
        return None;
    }
    let (mut good, mut bad) = (low, high);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Some(good)
}

/// Of IP and UDP.
fn headers(to: SocketAddr) -> usize {
    if to.is_ipv4() { 28 } else { 48 }
}

fn dial(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(to)?;
    Ok(socket)
}

/// How long the answer to a datagram took; `None`: none came.
fn exchange(socket: &UdpSocket, number: u32, length: usize, patience: Duration) -> io::Result<Option<Duration>> {
    let datagram = datagram(number, length);
    let begun = Instant::now();
    socket.send(&datagram)?;
    let mut answer = [0; HEAD];
    loop {
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut answer) {
            // An answer that came late is to an earlier one.
            Ok(length) if length == HEAD && answer == datagram[..HEAD] => return Ok(Some(begun.elapsed())),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
}

fn datagram(number: u32, length: usize) -> Vec<u8> {
    let mut datagram = vec![0; length.max(HEAD)];
    datagram[..MARK.len()].copy_from_slice(MARK);
    datagram[MARK.len()..HEAD].copy_from_slice(&u64::from(number).to_be_bytes());
    datagram
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no answer within {} s", CONNECT_PATIENCE.as_secs())
        }
        io::ErrorKind::ConnectionRefused => "refused: the host is there, and nothing listens at that port".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_finds_the_edge() {
        for edge in [576, 577, 1_000, 1_339] {
            let mut asked = 0;
            let mut fits = |length: u16| {
                asked += 1;
                length <= edge
            };
            assert_eq!(largest(576, 1_340, &mut fits), Some(edge));
            assert!(asked <= 12, "{asked}");
        }
        assert_eq!(largest(576, 1_340, &mut |_| false), None);
        assert_eq!(largest(576, 576, &mut |_| true), None);
    }

    #[test]
    fn what_is_no_host_or_no_length_is_refused() {
        let check = |to: &str, port, mtu| {
            let from = mesh_core::api::trial::CheckFrom::Node;
            validate(&TrialCheck { from, kind: CheckKind::Mtu, to: to.parse().unwrap(), port, mtu })
        };
        assert_eq!(check("10.1.1.1", 7, Some(1_340)), Ok(()));
        assert_eq!(check("10.1.1.1", 7, None), Ok(()));
        for (to, port, mtu) in
            [("10.1.1.1", 0, None), ("224.0.0.1", 7, None), ("255.255.255.255", 7, None), ("::", 7, None)]
        {
            assert!(check(to, port, mtu).is_err(), "{to} {port}");
        }
        assert!(check("10.1.1.1", 7, Some(575)).is_err());
        assert!(check("10.1.1.1", 7, Some(9_001)).is_err());
    }
}
