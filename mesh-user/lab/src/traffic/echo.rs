//! TCP and UDP there and back: does every byte come home, and whom does the server see?

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{End, PATIENCE, expect_same, noise};

/// Sends `length` bytes over TCP to `dial`, where `server` echoes them, and compares. Returns the client's address as the
/// server saw it.
pub fn tcp(client: &End, server: &End, dial: IpAddr, length: usize, seed: u64) -> Result<IpAddr> {
    let listener = server.listen()?;
    let port = listener.local_addr()?.port();
    let echo = std::thread::spawn(move || echo_once(&listener));
    let exchanged = client.connect(SocketAddr::new(dial, port)).and_then(|stream| exchange(&stream, length, seed));
    let seen = join(echo);
    exchanged.with_context(|| format!("TCP from {} to {dial}", client.address))?;
    seen.with_context(|| format!("TCP server on {}", server.address))
}

/// How a datagram is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragmentation {
    /// DF is set and the kernel refuses what is longer than the path takes.
    Forbidden,
    /// DF is clear; with IPv6 the sender fragments to the path MTU that it knows.
    Allowed,
}

/// Sends one datagram of each length (payload bytes) to `dial`, where `server` echoes it, and compares. Returns the client's
/// address as the server saw it.
pub fn udp(
    client: &End,
    server: &End,
    dial: IpAddr,
    lengths: &[usize],
    fragmentation: Fragmentation,
    seed: u64,
) -> Result<IpAddr> {
    let (here, there) = (client.udp()?, server.udp()?);
    set_fragmentation(&here, client.address, fragmentation)?;
    set_fragmentation(&there, server.address, Fragmentation::Allowed)?;
    here.connect(SocketAddr::new(dial, there.local_addr()?.port()))?;
    let mut seen = server.address;
    let (mut sent, mut buffer) = (Vec::new(), vec![0; 65_536]);
    for (index, length) in lengths.iter().enumerate() {
        sent.clear();
        sent.extend(noise(seed ^ index as u64, *length));
        let what = || format!("UDP of {length} bytes from {} to {dial}", client.address);
        here.send(&sent).with_context(what)?;
        let (came, from) = there.recv_from(&mut buffer).with_context(|| format!("{}: did not arrive", what()))?;
        expect_same(&what(), &sent, &buffer[..came])?;
        seen = from.ip();
        there.send_to(&buffer[..came], from)?;
        let came = here.recv(&mut buffer).with_context(|| format!("{}: the echo did not arrive", what()))?;
        expect_same(&format!("echo of {}", what()), &sent, &buffer[..came])?;
    }
    Ok(seen)
}

pub(crate) fn set_fragmentation(
    socket: impl std::os::fd::AsFd,
    address: IpAddr,
    fragmentation: Fragmentation,
) -> Result<()> {
    let (level, name) = match address {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER),
    };
    let value = match (fragmentation, address) {
        (Fragmentation::Forbidden, _) => libc::IP_PMTUDISC_DO,
        (Fragmentation::Allowed, IpAddr::V4(_)) => libc::IP_PMTUDISC_DONT,
        // Only the sender fragments IPv6, to the path MTU that it has learned.
        (Fragmentation::Allowed, IpAddr::V6(_)) => libc::IP_PMTUDISC_WANT,
    };
    super::option(socket, level, name, value)
}

/// Takes one connection, sends back what comes until its end.
fn echo_once(listener: &TcpListener) -> Result<IpAddr> {
    let (mut stream, peer) = accept(listener)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            length => stream.write_all(&buffer[..length])?,
        }
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(peer.ip())
}

/// accept(2) within [`PATIENCE`]. The receive timeout of a listening socket bounds it: socket(7).
pub(crate) fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    bound(listener, PATIENCE)?;
    let (stream, peer) = listener.accept().context("nobody connected")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok((stream, peer))
}

fn bound(listener: &TcpListener, patience: Duration) -> Result<()> {
    use rustix::net::sockopt;
    Ok(sockopt::set_socket_timeout(listener, sockopt::Timeout::Recv, Some(patience))?)
}

fn exchange(stream: &TcpStream, length: usize, seed: u64) -> Result<()> {
    let sent = noise(seed, length);
    let came = std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            (&*stream).write_all(&sent).context("sending")?;
            Ok(stream.shutdown(Shutdown::Write)?)
        });
        let mut came = Vec::with_capacity(length);
        let read = { stream }.read_to_end(&mut came).context("receiving");
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        read.map(|_| came)
    })?;
    expect_same("echo", &sent, &came)
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
