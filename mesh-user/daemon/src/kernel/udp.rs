//! UDP sockets of one listen port that send and receive batches of equal datagrams in one call.
//!
//! A reply leaves from the address that the remote last hit. The two ECN bits of the outer header go with each batch.

use std::{
    io,
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use anyhow::{Context, bail};

use super::{
    gso,
    socket_names::{decode, encode},
    tun::retry_in_use,
};

/// Datagrams of one batch that every kernel takes (`UDP_MAX_SEGMENTS` before Linux 6.9).
pub const MAX_SEGMENTS: usize = 64;
/// Bytes of one batch: an IPv4 datagram without its headers.
pub const MAX_BATCH: usize = 65_507;

/// Big enough for a round trip of 5 ms at 10 Gbit/s.
const SOCKET_BUFFER: libc::c_int = 8 << 20;
/// Ports tried until one is free in both families.
const PORT_ATTEMPTS: usize = 16;

/// One socket for each family that the kernel has, on one port.
#[derive(Debug)]
pub struct UdpSockets {
    v4: UdpSocket,
    v6: Option<UdpSocket>,
    port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Whether a socket has its port for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Alone,
    Shared,
}

#[derive(Debug)]
pub struct UdpSocket {
    socket: OwnedFd,
}

/// Datagrams to send with one call.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    pub to: SocketAddr,
    /// Our address; `None` leaves it to the routing table.
    pub from: Option<IpAddr>,
    /// TOS or traffic class of the outer header.
    pub tos: u8,
    /// Bytes of each datagram but the last. `None`: `payload` is one datagram.
    pub segment: Option<u16>,
    pub payload: &'a [u8],
}

/// Datagrams that came with one call.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub len: usize,
    /// Bytes of each datagram but the last.
    pub segment: usize,
    pub from: SocketAddr,
    /// The address of ours that was hit.
    pub to: Option<IpAddr>,
    pub tos: u8,
}

impl UdpSockets {
    /// Binds all addresses of this thread's network namespace. Port 0: any that is free in both families.
    pub fn bind(port: u16) -> anyhow::Result<UdpSockets> {
        UdpSockets::bind_as(port, &[], Sharing::Alone)
    }

    /// Binds these addresses alone, at most one of each family; none: all. Without an IPv4 address the IPv4 socket is on the
    /// loopback, where nobody calls.
    pub fn bind_to(port: u16, addresses: &[IpAddr]) -> anyhow::Result<UdpSockets> {
        UdpSockets::bind_as(port, addresses, Sharing::Alone)
    }

    /// Several sockets of one port; which of them gets a message is for a program to choose
    /// ([`super::steering::Steering::attach_sockets`]). The first is bound alone and shared afterwards: else another process
    /// of the same user could have the port as well.
    pub fn bind_shared(port: u16, count: usize) -> anyhow::Result<Vec<UdpSockets>> {
        let first = UdpSockets::bind(port)?;
        for socket in std::iter::once(&first.v4).chain(&first.v6) {
            socket.share().context("share a bound UDP port")?;
        }
        let port = first.port;
        let others = (1..count).map(|_| UdpSockets::bind_as(port, &[], Sharing::Shared));
        std::iter::once(Ok(first)).chain(others).collect()
    }

    fn bind_as(port: u16, addresses: &[IpAddr], sharing: Sharing) -> anyhow::Result<UdpSockets> {
        let first = |v4: bool| addresses.iter().find(|address| address.is_ipv4() == v4).copied();
        let nowhere = IpAddr::V4(if addresses.is_empty() { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST });
        let here = first(true).unwrap_or(nowhere);
        let here_v6 = first(false).or(addresses.is_empty().then_some(Ipv6Addr::UNSPECIFIED.into()));
        for _ in 0..PORT_ATTEMPTS {
            let v4 = retry_in_use(|| UdpSocket::bind(SocketAddr::new(here, port), sharing))
                .with_context(|| format!("bind UDP port {port} of {here}: is another process using it?"))?;
            let bound = v4.local_port().context("read the bound UDP port")?;
            let Some(here) = here_v6 else { return Ok(UdpSockets { v4, v6: None, port: bound }) };
            match UdpSocket::bind(SocketAddr::new(here, bound), sharing) {
                Ok(v6) => return Ok(UdpSockets { v4, v6: Some(v6), port: bound }),
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) if here.is_unspecified() && is_without_ipv6(&error) => {
                    return Ok(UdpSockets { v4, v6: None, port: bound });
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("bind UDP port {bound} for IPv6: is another process using it?"));
                }
            }
        }
        bail!("no UDP port is free in both IPv4 and IPv6; set a listen port")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn of(&self, family: Family) -> Option<&UdpSocket> {
        match family {
            Family::V4 => Some(&self.v4),
            Family::V6 => self.v6.as_ref(),
        }
    }

    /// Marks what leaves, so that rules of routing and of the firewall know it. 0: no mark.
    pub fn set_mark(&self, mark: u32) -> anyhow::Result<()> {
        for socket in [Some(&self.v4), self.v6.as_ref()].into_iter().flatten() {
            let mark = libc::c_int::from_ne_bytes(mark.to_ne_bytes());
            socket.set(libc::SOL_SOCKET, libc::SO_MARK, mark).context("mark a UDP socket: CAP_NET_ADMIN is needed")?;
        }
        Ok(())
    }

    /// The socket that reaches `to`.
    pub fn towards(&self, to: &SocketAddr) -> Option<&UdpSocket> {
        self.of(if to.is_ipv4() { Family::V4 } else { Family::V6 })
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

impl UdpSocket {
    fn bind(address: SocketAddr, sharing: Sharing) -> io::Result<UdpSocket> {
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor, and nothing else owns it.
        let socket = UdpSocket { socket: unsafe { OwnedFd::from_raw_fd(fd) } };
        socket.set_options(address.is_ipv4())?;
        if sharing == Sharing::Shared {
            socket.share()?;
        }
        let (name, len) = encode(&address);
        // SAFETY: `name` is a socket address of `len` bytes that outlives the call.
        match unsafe { libc::bind(fd, name.as_ptr().cast(), len) } {
            0 => Ok(socket),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn share(&self) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)
    }

    fn set_options(&self, v4: bool) -> io::Result<()> {
        for (name, fallback) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
            // Without CAP_NET_ADMIN the sysctl limits the size.
            self.set(libc::SOL_SOCKET, name, SOCKET_BUFFER)
                .or_else(|_| self.set(libc::SOL_SOCKET, fallback, SOCKET_BUFFER))?;
        }
        self.set(libc::SOL_UDP, libc::UDP_GRO, 1)?;
        if v4 {
            self.set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            self.set(libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
            // As in the kernel's WireGuard: the outer packet may be fragmented, the inner MTU is what counts.
            self.set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)
        } else {
            self.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
            self.set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)
        }
    }

    fn set(&self, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
        let len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option value is one `int` on this stack frame.
        match unsafe { libc::setsockopt(self.socket.as_raw_fd(), level, name, (&raw const value).cast(), len) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn local_port(&self) -> io::Result<u16> {
        let address = rustix::net::getsockname(&self.socket)?;
        let address = SocketAddr::try_from(address).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(address.port())
    }

    /// Sends one batch. The errors are the kernel's: `EIO` and `EINVAL` may mean that the way out cannot segment.
    pub fn send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let (mut name, name_len) = encode(&transmit.to);
        let tail = gso::tail(transmit.payload.len(), transmit.segment);
        let part = |part: &[u8]| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() };
        let mut payload = [part(transmit.payload), part(tail)];
        let mut control = ControlWriter::new();
        if transmit.to.is_ipv4() {
            control.push(libc::IPPROTO_IP, libc::IP_TOS, libc::c_int::from(transmit.tos));
        } else {
            control.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, libc::c_int::from(transmit.tos));
        }
        match transmit.from {
            Some(IpAddr::V4(from)) => control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, pktinfo_v4(from)),
            Some(IpAddr::V6(from)) => control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, pktinfo_v6(from)),
            None => {}
        }
        if let Some(segment) = transmit.segment {
            control.push(libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        let mut message = empty_message();
        message.msg_name = name.as_mut_ptr().cast();
        message.msg_namelen = name_len;
        message.msg_iov = payload.as_mut_ptr();
        message.msg_iovlen = 1 + tail.len();
        message.msg_control = control.bytes.0.as_mut_ptr().cast();
        message.msg_controllen = control.len;
        // SAFETY: every pointer in `message` is to a live local of the length beside it, and the kernel only reads.
        match unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const message, 0) } {
            0.. => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Receives one batch into `buffer`, which should hold 65,535 bytes.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
        let mut payload = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = ControlBytes::new();
        let mut message = empty_message();
        message.msg_name = name.as_mut_ptr().cast();
        message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        message.msg_iov = &raw mut payload;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len();
        // SAFETY: every pointer in `message` is to a live local or `buffer`, of the length beside it.
        let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: all bytes were zeroed, and a zeroed `sockaddr_storage` is a valid one.
        let from = decode(&unsafe { name.assume_init() }).ok_or(io::ErrorKind::InvalidData)?;
        let mut received = Received { len, segment: len, from, to: None, tos: 0 };
        read_control(&message, &mut received);
        Ok(received)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for the control messages of one call: TOS, address, segment size.
const CONTROL_LEN: usize = 128;

/// Aligned as `cmsghdr` wants it.
#[repr(align(8))]
pub(super) struct ControlBytes(pub(super) [u8; CONTROL_LEN]);

impl ControlBytes {
    pub(super) fn new() -> Self {
        ControlBytes([0; CONTROL_LEN])
    }
}

pub(super) struct ControlWriter {
    pub(super) bytes: ControlBytes,
    pub(super) len: usize,
}

impl ControlWriter {
    pub(super) fn new() -> Self {
        ControlWriter { bytes: ControlBytes::new(), len: 0 }
    }

    pub(super) fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        let size = size_of::<T>() as libc::c_uint;
        // SAFETY: pure arithmetic.
        let (space, len) = unsafe { (libc::CMSG_SPACE(size) as usize, libc::CMSG_LEN(size) as usize) };
        assert!(self.len + space <= CONTROL_LEN, "the control messages of one send fit");
        // SAFETY: `space` bytes from `len` lie in the buffer, which is aligned for `cmsghdr`, as `space` is a multiple of
        // its alignment; the value is written unaligned into the data part.
        unsafe {
            let header = self.bytes.0.as_mut_ptr().add(self.len).cast::<libc::cmsghdr>();
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            (*header).cmsg_len = len;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast::<T>(), value);
        }
        self.len += space;
    }
}

pub(super) fn read_control(message: &libc::msghdr, received: &mut Received) {
    // SAFETY: `message` was filled by recvmsg; the macros stay within `msg_controllen`, and each kind of message has the
    // type that it is read as.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let value = libc::CMSG_DATA(header);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let segment = ptr::read_unaligned(value.cast::<libc::c_int>());
                    received.segment = usize::try_from(segment).unwrap_or(0).max(1);
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => received.tos = *value,
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    received.tos = ptr::read_unaligned(value.cast::<libc::c_int>()) as u8;
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let address = ptr::read_unaligned(value.cast::<libc::in_pktinfo>()).ipi_addr;
                    received.to = Some(IpAddr::V4(Ipv4Addr::from(address.s_addr.to_ne_bytes())));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let address = ptr::read_unaligned(value.cast::<libc::in6_pktinfo>()).ipi6_addr;
                    received.to = Some(IpAddr::V6(Ipv6Addr::from(address.s6_addr)));
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

pub(super) fn pktinfo_v4(from: Ipv4Addr) -> libc::in_pktinfo {
    let address = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
    libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: libc::in_addr { s_addr: 0 } }
}

pub(super) fn pktinfo_v6(from: Ipv6Addr) -> libc::in6_pktinfo {
    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 }
}

pub(super) fn empty_message() -> libc::msghdr {
    // SAFETY: all-zero is the empty `msghdr`.
    unsafe { mem::zeroed() }
}

#[cfg(test)]
mod tests;
