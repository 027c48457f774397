//! The smallest wrappers over the operating system; all unsafe code of this crate lives here.

pub mod bpf;
pub mod bpf_counters;
pub mod bpf_links;
pub mod bpf_log;
pub mod datagrams;
pub mod gso;
pub mod link_watch;
pub mod links;
pub mod netlink;
pub mod netlink_address;
pub mod netlink_cable;
pub mod netlink_neighbour;
pub mod netlink_route;
pub mod netns;
pub mod nft;
pub mod packet_socket;
pub mod privileges;
pub mod probe_device;
pub mod readiness;
pub mod slot_map;
mod socket_names;
pub mod steering;
pub mod sysctl;
pub mod tun;
pub mod tun_device;
pub mod udp;
pub mod udp_ports;
pub mod xdp_features;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd as _},
};

/// Lets a socket be bound to an address that is not there yet: that of an interface that comes up later.
pub(crate) fn free_bind(socket: impl AsFd, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => rustix::net::sockopt::set_ip_freebind(socket, true)?,
        SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_freebind(socket, true)?,
    }
    Ok(())
}

/// What the socket sends is never fragmented, whatever the kernel believes of the path; longer than the device's MTU it is
/// refused.
pub(crate) fn never_fragment(socket: impl AsFd, v4: bool) -> io::Result<()> {
    let (level, name, value) = match v4 {
        true => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        false => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
    };
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option value is one `int` on this stack frame.
    match unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
