//! A veth pair with sockets of a shard at both ends, and a socket that does not join what it receives.

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket as PlainSocket},
    os::fd::{AsFd, AsRawFd, RawFd},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mesh_lab::{Lab, Namespace, link};
use meshd::kernel::udp::{Family, Received, Transmit, UdpSocket, UdpSockets};

use super::{DATAGRAM, TRAIN};

const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const DEVICE: &str = "eth0";
/// What does not arrive within this is lost.
const PATIENCE: Duration = Duration::from_secs(1);
const RECEIVE_BUFFER: libc::c_int = 8 << 20;

pub(super) struct Wire {
    near: Namespace,
    sender: UdpSockets,
    joining: UdpSockets,
    plain: PlainSocket,
    sink: RefCell<Box<[u8]>>,
}

impl Wire {
    pub(super) fn lay(lab: &Lab) -> Result<Wire> {
        let (near, far) = (lab.namespace("a")?, lab.namespace("b")?);
        let [port_a, port_b] = [&near, &far].map(|namespace| link::Port::new(namespace, DEVICE));
        link::veth(port_a, port_b)?;
        link::address(port_a, &["192.0.2.1/24"])?;
        link::address(port_b, &[&format!("{FAR}/24")])?;
        let sender = near.enter(|| UdpSockets::bind(0))?;
        let joining = far.enter(|| UdpSockets::bind(0))?;
        let plain = far.enter(|| Ok(PlainSocket::bind((FAR, 0))?))?;
        enlarge(&plain).context("make room for what is received")?;
        let wire = Wire { near, sender, joining, plain, sink: RefCell::new(vec![0; 1 << 16].into()) };
        // The first datagram finds the neighbour.
        wire.send(&[0; DATAGRAM], wire.joining_address())?;
        wire.drain(DATAGRAM)?;
        Ok(wire)
    }

    /// From here on the device cuts nothing, as one without UDP segmentation.
    pub(super) fn leave_segmentation_to_the_stack(&self) -> Result<()> {
        link::offload(link::Port::new(&self.near, DEVICE), &[("tx-udp-segmentation", false)])
    }

    pub(super) fn joining_address(&self) -> SocketAddrV4 {
        SocketAddrV4::new(FAR, self.joining.port())
    }

    pub(super) fn plain_address(&self) -> Result<SocketAddrV4> {
        match self.plain.local_addr()? {
            SocketAddr::V4(address) => Ok(address),
            SocketAddr::V6(address) => bail!("{address} was bound as IPv4"),
        }
    }

    pub(super) fn plain(&self) -> RawFd {
        self.plain.as_raw_fd()
    }

    pub(super) fn sender(&self) -> Result<RawFd> {
        Ok(self.v4(&self.sender)?.as_fd().as_raw_fd())
    }

    /// As a shard sends: one call, datagrams one after the other.
    pub(super) fn send(&self, payload: &[u8], to: SocketAddrV4) -> Result<()> {
        let segment = (payload.len() > DATAGRAM).then_some(DATAGRAM as u16);
        let transmit = Transmit { to: to.into(), from: None, tos: 0, segment, payload };
        self.v4(&self.sender)?.send(&transmit).context("send a train")
    }

    /// As a shard receives.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Option<Received>> {
        match self.v4(&self.joining)?.receive(buffer) {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("receive a train"),
        }
    }

    /// How long it takes to send a train in this way. All of it must arrive.
    pub(super) fn time(&self, send: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let start = Instant::now();
        send()?;
        let took = start.elapsed();
        self.drain(TRAIN)?;
        Ok(took)
    }

    /// Takes so many bytes from the socket that joins.
    fn drain(&self, expected: usize) -> Result<()> {
        let mut sink = self.sink.borrow_mut();
        let (start, mut bytes) = (Instant::now(), 0);
        while bytes < expected {
            ensure!(start.elapsed() < PATIENCE, "{bytes} of {expected} bytes arrived");
            bytes += self.receive(&mut sink)?.map_or(0, |received| received.len);
        }
        ensure!(bytes == expected, "{bytes} bytes arrived where {expected} were sent");
        Ok(())
    }

    fn v4<'a>(&self, sockets: &'a UdpSockets) -> Result<&'a UdpSocket> {
        sockets.of(Family::V4).context("every kernel has IPv4")
    }
}

/// Calls until all datagrams of a train came, and gives the time from the first call to the last.
pub(super) fn until_all(mut receive: impl FnMut() -> Result<usize>) -> Result<Duration> {
    let (start, mut bytes) = (Instant::now(), 0);
    while bytes < TRAIN {
        bytes += receive()?;
        ensure!(start.elapsed() < PATIENCE, "{bytes} of {TRAIN} bytes arrived");
    }
    Ok(start.elapsed())
}

fn enlarge(socket: &PlainSocket) -> io::Result<()> {
    let (value, len) = (RECEIVE_BUFFER, size_of::<libc::c_int>() as libc::socklen_t);
    let (level, name) = (libc::SOL_SOCKET, libc::SO_RCVBUFFORCE);
    // SAFETY: the option value is one `int` on this stack frame.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
