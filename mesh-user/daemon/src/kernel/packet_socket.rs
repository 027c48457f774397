//! A packet socket on one device: packets and super-packets, each with a `virtio_net_hdr` before it, as on a TUN queue.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use mesh_common::ids::IfIndex;
use mesh_core::tunnel::vnet;

const V4: u16 = libc::ETH_P_IP as u16;
const V6: u16 = libc::ETH_P_IPV6 as u16;

/// Sees what comes in by the device before the kernel does, and nothing of what leaves by it.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    index: IfIndex,
}

impl PacketSocket {
    /// In this thread's network namespace (Linux 4.20).
    pub fn open(index: IfIndex) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers; a protocol of 0 receives nothing until the socket is bound.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor, and nothing else owns it.
        let socket = PacketSocket { socket: unsafe { OwnedFd::from_raw_fd(fd) }, index };
        socket.set(libc::PACKET_VNET_HDR)?;
        socket.set(libc::PACKET_IGNORE_OUTGOING)?;
        let name = socket.name(libc::ETH_P_ALL as u16);
        // SAFETY: the kernel reads as many bytes of `name` as it is told there are, and `name` lives on this stack frame.
        let bound = unsafe {
            let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            libc::bind(socket.socket.as_raw_fd(), (&raw const name).cast(), length)
        };
        if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
    }

    /// One packet or super-packet, the header of [`vnet`] first.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.socket, buffer)?)
    }

    /// Sends the packet behind the header of [`vnet`].
    pub fn send(&self, message: &[u8]) -> io::Result<usize> {
        let is_v6 = message.get(vnet::LEN).is_some_and(|first| first >> 4 == 6);
        let name = self.name(if is_v6 { V6 } else { V4 });
        // SAFETY: the kernel reads the message and the name, which both outlive the call, within the lengths given.
        let sent = unsafe {
            let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            let (from, bytes) = (message.as_ptr().cast(), message.len());
            libc::sendto(self.socket.as_raw_fd(), from, bytes, 0, (&raw const name).cast(), length)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn set(&self, option: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the option is one `int`, which lives on this stack frame.
        let done = unsafe {
            let length = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(self.socket.as_raw_fd(), libc::SOL_PACKET, option, (&raw const on).cast(), length)
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn name(&self, protocol: u16) -> libc::sockaddr_ll {
        // SAFETY: all zeros are a `sockaddr_ll`.
        let mut name: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        name.sll_family = libc::AF_PACKET as u16;
        name.sll_protocol = protocol.to_be();
        name.sll_ifindex = self.index.0 as libc::c_int;
        name
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
