//! Which peer of a device owns an address: the longest match over the allowed IPs of all its peers.
//!
//! An immutable snapshot; the control thread makes a new one for each change and the shards swap it. A look-up runs the
//! same instructions with one peer and with 10,000: IPv4 is direct-indexed by 16, 8 and 8 bits, IPv6 is one hash table per
//! prefix length in use.

mod v4;
mod v6;

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_common::ids::ConnectionId;

/// The allowed IPs of all peers of one device.
#[derive(Clone, Default)]
pub struct AllowedIps {
    prefixes: Vec<(IpNet, ConnectionId)>,
    v4: v4::Table,
    v6: v6::Tables,
}

/// An owner as the tables hold it; 0 is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark(u16);

impl AllowedIps {
    /// Of two owners of the same prefix the later one has it. Host bits do not count. `ConnectionId(u16::MAX)` stands for
    /// nobody: what it owns is blocked out of shorter prefixes.
    pub fn new(prefixes: impl IntoIterator<Item = (IpNet, ConnectionId)>) -> AllowedIps {
        let mut prefixes: Vec<_> = prefixes.into_iter().map(|(prefix, owner)| (prefix.trunc(), owner)).collect();
        prefixes.sort_by_key(|(prefix, _)| *prefix);
        // Of equal prefixes, the one that came last.
        prefixes.reverse();
        prefixes.dedup_by_key(|(prefix, _)| *prefix);
        prefixes.reverse();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, owner) in &prefixes {
            match prefix {
                IpNet::V4(net) => v4.push((*net, Mark::of(*owner))),
                IpNet::V6(net) => v6.push((*net, Mark::of(*owner))),
            }
        }
        AllowedIps { prefixes, v4: v4::Table::new(v4), v6: v6::Tables::new(&v6) }
    }

    pub fn lookup(&self, address: IpAddr) -> Option<ConnectionId> {
        match address {
            IpAddr::V4(address) => self.lookup_v4(address.octets()),
            IpAddr::V6(address) => self.lookup_v6(address.octets()),
        }
    }

    #[inline]
    pub fn lookup_v4(&self, address: [u8; 4]) -> Option<ConnectionId> {
        self.v4.lookup(address).owner()
    }

    #[inline]
    pub fn lookup_v6(&self, address: [u8; 16]) -> Option<ConnectionId> {
        self.v6.lookup(address).owner()
    }

    /// Every prefix once with its owner, in the order of addresses.
    pub fn iter(&self) -> impl Iterator<Item = (IpNet, ConnectionId)> + '_ {
        self.prefixes.iter().copied()
    }
}

/// Equal where every look-up is.
impl PartialEq for AllowedIps {
    fn eq(&self, other: &AllowedIps) -> bool {
        self.prefixes == other.prefixes
    }
}

impl Eq for AllowedIps {}

impl std::fmt::Debug for AllowedIps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.prefixes.iter().map(|(prefix, owner)| (prefix, owner.0))).finish()
    }
}

impl Mark {
    fn of(owner: ConnectionId) -> Mark {
        Mark(owner.0.wrapping_add(1))
    }

    fn owner(self) -> Option<ConnectionId> {
        self.0.checked_sub(1).map(ConnectionId)
    }
}

#[cfg(test)]
mod tests;
