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
pub mod netlink_neighbour;
pub mod netlink_route;
pub mod netns;
pub mod nft;
pub mod privileges;
pub mod slot_map;
mod socket_names;
pub mod steering;
pub mod sysctl;
pub mod tun;
pub mod tun_device;
pub mod udp;
pub mod udp_ports;
pub mod xdp_features;

use std::{io, net::SocketAddr, os::fd::AsFd};

/// Lets a socket be bound to an address that is not there yet: that of an interface that comes up later.
pub(crate) fn free_bind(socket: impl AsFd, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => rustix::net::sockopt::set_ip_freebind(socket, true)?,
        SocketAddr::V6(_) => rustix::net::sockopt::set_ipv6_freebind(socket, true)?,
    }
    Ok(())
}
