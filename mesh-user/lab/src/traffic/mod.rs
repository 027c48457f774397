//! Traffic between two ends, checked byte by byte. Every function is bounded in time.

pub mod echo;
pub mod flow;
pub mod http;
pub mod path;
pub mod spoof;
pub mod stream;

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{Namespace, process};

/// The longest that a single receive, connect or accept waits.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// An address in a namespace, which sockets made there are bound to.
#[derive(Clone, Debug)]
pub struct End {
    pub namespace: Namespace,
    pub address: IpAddr,
}

impl End {
    pub fn new(namespace: &Namespace, address: impl Into<IpAddr>) -> End {
        End { namespace: namespace.clone(), address: address.into() }
    }

    /// A UDP socket on any free port of this address.
    pub fn udp(&self) -> Result<UdpSocket> {
        self.namespace.enter(|| {
            let socket = UdpSocket::bind(SocketAddr::new(self.address, 0))
                .with_context(|| format!("cannot bind a UDP socket to {}", self.address))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })
    }

    /// A listening TCP socket on any free port of this address.
    pub fn listen(&self) -> Result<TcpListener> {
        self.namespace.enter(|| {
            TcpListener::bind(SocketAddr::new(self.address, 0))
                .with_context(|| format!("cannot listen on {}", self.address))
        })
    }

    /// A TCP connection from this address.
    pub fn connect(&self, to: SocketAddr) -> Result<std::net::TcpStream> {
        use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
        self.namespace.enter(|| {
            let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            // The send timeout bounds connect(2) too: socket(7).
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
            net::bind(&socket, &SocketAddr::new(self.address, 0))?;
            net::connect(&socket, &to).with_context(|| format!("{} cannot connect to {to}", self.address))?;
            Ok(socket.into())
        })
    }
}

/// Three ICMP echoes, each answered. One call each: of several in one call, ping(8) waits for the last no longer than twice
/// the round trip of the others, which a busy machine exceeds.
pub fn ping(from: &End, dial: IpAddr) -> Result<()> {
    let (source, target) = (from.address.to_string(), dial.to_string());
    let patience = PATIENCE.as_secs().to_string();
    for _ in 0..3 {
        from.namespace
            .run("ping", &["-c", "1", "-W", &patience, "-n", "-I", &source, &target])
            .with_context(|| format!("a ping from {source} to {target} was lost"))?;
    }
    Ok(())
}

/// Like [`ping`], as a question: does at least one of `count` echoes come back within a second each?
pub fn answers_ping(from: &End, dial: IpAddr, count: u32) -> Result<bool> {
    let mut command = from.namespace.command("ping");
    command.args(["-c", &count.to_string(), "-i", "0.2", "-W", "1", "-n", "-I"]);
    command.args([from.address.to_string(), dial.to_string()]);
    Ok(process::finish(&mut command, Duration::from_secs(2 + u64::from(count) * 2))?.status.success())
}

/// `length` bytes that depend on the seed and nothing else (splitmix64).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
    let mut state = seed;
    while bytes.len() < length {
        bytes.extend_from_slice(&random(&mut state).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The next number of a splitmix64 sequence.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Compares what came with what was sent and says where they part.
pub fn expect_same(what: &str, sent: &[u8], came: &[u8]) -> Result<()> {
    if let Some(at) = sent.iter().zip(came).position(|(a, b)| a != b) {
        bail!("{what}: byte {at} of {} differs: {:#04x} was sent, {:#04x} came", sent.len(), sent[at], came[at]);
    }
    if sent.len() != came.len() {
        bail!("{what}: {} bytes were sent, {} came", sent.len(), came.len());
    }
    Ok(())
}

/// setsockopt(2) for options that have no safe wrapper. `value` must be the C type that the option takes.
pub(crate) fn option<T: Copy>(socket: impl AsFd, level: i32, name: i32, value: T) -> Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value outlives the call and the length is its own; the kernel refuses a length that the option does not take.
    if unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), length) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("socket option {name} of level {level}"));
    }
    Ok(())
}
