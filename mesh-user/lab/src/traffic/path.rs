//! What the path tells a sender: ICMP errors as the sender's own kernel accepts them.
//!
//! The kernel queues an error on a socket only if the quoted packet is one that this socket sent, so whatever is read here
//! came with addresses and ports that the sender knows.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{End, echo::Fragmentation, echo::set_fragmentation, option};
use crate::interrupt;

/// An error that was queued on the sending socket (`IP_RECVERR`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathError {
    pub errno: i32,
    /// Made by this kernel itself and not by an ICMP message.
    pub local: bool,
    pub icmp_type: u8,
    pub icmp_code: u8,
    /// With `EMSGSIZE`: the MTU of the path, in bytes of the IP packet.
    pub mtu: u32,
    /// Who sent the ICMP message, as the sender sees it.
    pub offender: Option<IpAddr>,
}

/// Sends one datagram with this TTL (hop limit) to `dial` and returns the error that comes back.
pub fn probe_ttl(from: &End, dial: IpAddr, ttl: u8) -> Result<PathError> {
    let socket = socket(from, dial)?;
    match dial {
        IpAddr::V4(_) => option(&socket, libc::IPPROTO_IP, libc::IP_TTL, libc::c_int::from(ttl))?,
        IpAddr::V6(_) => option(&socket, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, libc::c_int::from(ttl))?,
    }
    socket.send(b"how far does this go?")?;
    await_error(&socket, &format!("an ICMP error about TTL {ttl} to {dial}"))
}

/// What became of a datagram that may not be fragmented.
#[derive(Clone, Copy, Debug)]
pub struct TooBig {
    pub error: PathError,
    /// The path MTU that the kernel holds for the destination afterwards.
    pub path_mtu: u32,
}

/// Sends one datagram of `length` payload bytes with DF to `dial`, expecting "too big"; then the kernel must refuse to send
/// another one of the same length.
pub fn probe_mtu(from: &End, dial: IpAddr, length: usize) -> Result<TooBig> {
    let socket = socket(from, dial)?;
    set_fragmentation(&socket, from.address, Fragmentation::Forbidden)?;
    let payload = super::noise(1, length);
    socket.send(&payload).with_context(|| format!("cannot send {length} bytes to {dial}"))?;
    let error = await_error(&socket, &format!("\"too big\" about {length} bytes to {dial}"))?;
    let path_mtu = path_mtu(&socket, dial)?;
    match socket.send(&payload) {
        Err(refused) if refused.raw_os_error() == Some(libc::EMSGSIZE) => Ok(TooBig { error, path_mtu }),
        Err(other) => bail!("sending again failed with {other} instead of EMSGSIZE"),
        Ok(_) => bail!("the kernel sent {length} bytes again: it did not take {error:?} for the path"),
    }
}

fn socket(from: &End, dial: IpAddr) -> Result<UdpSocket> {
    let socket = from.udp()?;
    match dial {
        IpAddr::V4(_) => option(&socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?,
        IpAddr::V6(_) => option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?,
    }
    // The traceroute range: nobody listens there.
    socket.connect(SocketAddr::new(dial, 33_434))?;
    Ok(socket)
}

fn await_error(socket: &UdpSocket, what: &str) -> Result<PathError> {
    interrupt::wait_for(what, Duration::from_secs(3), Duration::from_millis(2), || read_error(socket))
}

fn path_mtu(socket: &UdpSocket, dial: IpAddr) -> Result<u32> {
    let (level, name) = match dial {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_MTU),
        IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_MTU),
    };
    let (mut mtu, mut length) = (0u32, size_of::<u32>() as libc::socklen_t);
    // SAFETY: value and length outlive the call and the length is that of the value.
    let done = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut mtu).cast(), &raw mut length) };
    if done != 0 {
        return Err(io::Error::last_os_error()).context("cannot ask for the path MTU");
    }
    Ok(mtu)
}

/// One entry of the error queue, if there is one.
fn read_error(socket: &UdpSocket) -> Result<Option<PathError>> {
    let (mut payload, mut control) = ([0u8; 64], [0u64; 64]);
    let mut piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: zero is a valid value of every field.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: every buffer that the header points to is alive and as long as it says.
    if unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) } < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::WouldBlock => Ok(None),
            _ => Err(error).context("cannot read the error queue"),
        };
    }
    // SAFETY: the kernel filled the header; the macros stay within its control length.
    let mut entry = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !entry.is_null() {
        // SAFETY: not null, so a whole control header inside `control`.
        let head = unsafe { &*entry };
        let is_error = matches!(
            (head.cmsg_level, head.cmsg_type),
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        );
        if is_error {
            // SAFETY: the data of these two kinds is a sock_extended_err and the offender's address.
            return Ok(Some(unsafe { parse_error(libc::CMSG_DATA(entry)) }));
        }
        // SAFETY: as for the first.
        entry = unsafe { libc::CMSG_NXTHDR(&raw const message, entry) };
    }
    bail!("the error queue held a message without an error")
}

/// # Safety
/// `data` points to a `sock_extended_err` that is followed by a socket address of either family (or `AF_UNSPEC`).
unsafe fn parse_error(data: *const u8) -> PathError {
    // SAFETY: see above; unaligned reads copy.
    let (error, family) = unsafe {
        let error = data.cast::<libc::sock_extended_err>().read_unaligned();
        let family = data.add(size_of::<libc::sock_extended_err>()).cast::<libc::sa_family_t>().read_unaligned();
        (error, family)
    };
    // SAFETY: see above.
    let address = unsafe { data.add(size_of::<libc::sock_extended_err>()) };
    let offender = match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the family says which address this is.
            let address = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says which address this is.
            let address = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)))
        }
        _ => None,
    };
    PathError {
        errno: i32::try_from(error.ee_errno).unwrap_or(i32::MAX),
        local: error.ee_origin == libc::SO_EE_ORIGIN_LOCAL,
        icmp_type: error.ee_type,
        icmp_code: error.ee_code,
        mtu: error.ee_info,
        offender,
    }
}
