//! Which slots of the data path's tables hold the plan's prefixes, and which writes lead from one table to the next.
//!
//! The same [`Slots`] are the tables of the daemon's shards and of `explain`; the writes bring the BPF maps to the same
//! state. After each single write a look-up gives what it gave before the change or what it gives after it.

mod v4;
mod v6;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use ipnet::IpNet;
use mesh_common::{
    datapath::Tables,
    ids::{ConnectionId, RemapId},
    maps::{Entry, Entry4, Entry6, Node, Prefix6, Remap, V6_LENGTHS},
};
use thiserror::Error;

use super::TableEntry;

/// Chunks of 256 slots for IPv4 prefixes longer than 16 bits, unless told otherwise: 2 MB.
pub const CHUNKS: u32 = 1_024;
/// ICMP errors that the readers of one table and its successors may make between two [`Slots::refill_icmp`].
pub const ICMP_BURST: u32 = 1_000;

/// The look-up tables of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    v4: v4::Slots,
    v6: v6::Slots,
    remaps: BTreeMap<RemapId, Remap>,
    announced: BTreeMap<ConnectionId, Announced>,
    wireguard_ports: BTreeSet<u16>,
    node: Node,
    icmp_tokens: IcmpTokens,
}

/// Shared by a table and its successors.
#[derive(Clone, Debug)]
struct IcmpTokens(Arc<AtomicU32>);

/// One change of a BPF map. Applied in order, a table is never seen half-way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapWrite {
    /// `count` slots of the top table from `first` on become `entry`, 8 bytes at a time.
    Top {
        first: u32,
        count: u32,
        entry: Entry4,
    },
    /// The same in the chunks; a slot is chunk index * 256 + byte.
    Chunks {
        first: u32,
        count: u32,
        entry: Entry4,
    },
    SetPrefix6(Prefix6, Entry6),
    RemovePrefix6(Prefix6),
    /// IPv6 prefix lengths in use, longest first, ended by 0; one write of 8 bytes.
    Lengths6([u8; V6_LENGTHS]),
    Remap(RemapId, Remap),
    Node(Node),
    AddWireguardPort(u16),
    RemoveWireguardPort(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SlotsError {
    #[error(
        "{prefix} needs one more of the {capacity} chunks for prefixes longer than 16 bits; use fewer or shorter ones"
    )]
    ChunksUsedUp { prefix: IpNet, capacity: u32 },
    #[error(
        "{prefix} has one more prefix length than the {V6_LENGTHS} different ones that IPv6 prefixes may have at once"
    )]
    TooManyLengths { prefix: IpNet },
    #[error("{prefix} holds every IPv6 address and cannot be remapped")]
    WholeFamily { prefix: IpNet },
    #[error("{prefix} cannot become {to}: both must be of one family and length")]
    Mismatch { prefix: IpNet, to: IpNet },
}

/// What one remote announced, longest prefix first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Announced {
    v4: Vec<(u32, Entry4)>,
    v6: Vec<(u128, Entry6)>,
}

impl Default for Slots {
    fn default() -> Slots {
        Slots::with_chunks(CHUNKS)
    }
}

impl Slots {
    /// Empty tables with room for that many chunks.
    pub fn with_chunks(capacity: u32) -> Slots {
        Slots {
            v4: v4::Slots::new(capacity),
            v6: v6::Slots::default(),
            remaps: BTreeMap::new(),
            announced: BTreeMap::new(),
            wireguard_ports: BTreeSet::new(),
            node: Node::default(),
            icmp_tokens: IcmpTokens(Arc::new(AtomicU32::new(ICMP_BURST))),
        }
    }

    /// What the BPF maps hold, as they were read back. `None`: they contradict themselves and must be filled anew.
    pub fn adopt(top: Vec<Entry4>, chunks: Vec<Entry4>, v6: BTreeMap<Prefix6, Entry6>) -> Option<Slots> {
        let capacity = u32::try_from(chunks.len() / mesh_common::maps::CHUNK_SLOTS).ok()?;
        let mut slots = Slots::with_chunks(0);
        slots.v4 = v4::Slots::adopt(top, chunks, capacity)?;
        slots.v6 = v6::Slots::adopt(v6)?;
        Some(slots)
    }

    /// Every prefix that can be looked up. A prefix that longer ones hide completely is missing after [`Slots::adopt`].
    pub fn table(&self) -> BTreeMap<IpNet, TableEntry> {
        self.v4.table().chain(self.v6.table()).collect()
    }

    /// The tables that hold exactly `table`, and the writes that lead there; nothing else changes.
    pub fn transition(&self, table: &BTreeMap<IpNet, TableEntry>) -> Result<(Slots, Vec<MapWrite>), SlotsError> {
        let mut next = self.clone();
        let mut writes = Vec::new();
        // New ones longest first, old ones shortest first: no address ever falls to a prefix in between.
        let mut wanted: Vec<_> = table.iter().collect();
        wanted.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
        for (prefix, entry) in wanted {
            writes.extend(next.set(*prefix, *entry)?);
        }
        let mut unwanted: Vec<IpNet> = next.table().into_keys().filter(|prefix| !table.contains_key(prefix)).collect();
        unwanted.sort_by_key(IpNet::prefix_len);
        for prefix in unwanted {
            writes.extend(next.remove(prefix));
        }
        Ok((next, writes))
    }

    /// One prefix more, or another entry for it. On an error nothing has changed.
    pub fn set(&mut self, prefix: IpNet, entry: TableEntry) -> Result<Vec<MapWrite>, SlotsError> {
        match (prefix, pack(prefix, entry)?) {
            (IpNet::V4(net), Packed::V4(entry)) => self.v4.set(net, entry),
            (IpNet::V6(net), Packed::V6(entry)) => self.v6.set(net, entry),
            _ => Err(SlotsError::Mismatch { prefix, to: entry.to }),
        }
    }

    /// One prefix less. Chunks that fall free stay untouched until [`Slots::barrier`].
    pub fn remove(&mut self, prefix: IpNet) -> Vec<MapWrite> {
        match prefix {
            IpNet::V4(net) => self.v4.remove(net),
            IpNet::V6(net) => self.v6.remove(net),
        }
    }

    /// Every reader has begun anew since the last change: what it could still have pointed to may be used again.
    pub fn barrier(&mut self) {
        self.v4.barrier();
    }

    pub fn set_remap(&mut self, id: RemapId, remap: Remap) -> Vec<MapWrite> {
        match self.remaps.insert(id, remap) {
            Some(old) if old == remap => Vec::new(),
            _ => vec![MapWrite::Remap(id, remap)],
        }
    }

    pub fn remove_remap(&mut self, id: RemapId) -> Vec<MapWrite> {
        self.remaps.remove(&id).map(|_| MapWrite::Remap(id, Remap::default())).into_iter().collect()
    }

    pub fn set_node(&mut self, node: Node) -> Vec<MapWrite> {
        let changed = std::mem::replace(&mut self.node, node) != node;
        changed.then_some(MapWrite::Node(node)).into_iter().collect()
    }

    /// The UDP ports on which our addresses speak WireGuard.
    pub fn set_wireguard_ports(&mut self, ports: BTreeSet<u16>) -> Vec<MapWrite> {
        let writes = (ports.difference(&self.wireguard_ports).map(|port| MapWrite::AddWireguardPort(*port)))
            .chain(self.wireguard_ports.difference(&ports).map(|port| MapWrite::RemoveWireguardPort(*port)))
            .collect();
        self.wireguard_ports = ports;
        writes
    }

    /// What the remote of a connection may use as source. Only the daemon's shards ask; no BPF map has it.
    pub fn set_announced(
        &mut self,
        connection: ConnectionId,
        prefixes: &BTreeMap<IpNet, TableEntry>,
    ) -> Result<(), SlotsError> {
        let mut announced = Announced::default();
        let mut sorted: Vec<_> = prefixes.iter().collect();
        sorted.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
        for (prefix, entry) in sorted {
            match (prefix.network(), pack(*prefix, *entry)?) {
                (IpAddr::V4(network), Packed::V4(entry)) => announced.v4.push((network.to_bits(), entry)),
                (IpAddr::V6(network), Packed::V6(entry)) => announced.v6.push((network.to_bits(), entry)),
                _ => return Err(SlotsError::Mismatch { prefix: *prefix, to: entry.to }),
            }
        }
        self.announced.insert(connection, announced);
        Ok(())
    }

    /// Once a second: the tables have no clock.
    pub fn refill_icmp(&self) {
        self.icmp_tokens.0.store(ICMP_BURST, Ordering::Relaxed);
    }

    pub fn remove_announced(&mut self, connection: ConnectionId) {
        self.announced.remove(&connection);
    }
}

impl Tables for Slots {
    fn node(&self) -> Option<Node> {
        Some(self.node)
    }

    fn locate_v4(&self, address: [u8; 4]) -> Option<Entry4> {
        self.v4.locate(address)
    }

    fn locate_v6(&self, address: [u8; 16]) -> Option<Entry6> {
        self.v6.locate(address)
    }

    fn announced_v4(&self, connection: ConnectionId, address: [u8; 4]) -> Option<Entry4> {
        let address = u32::from_be_bytes(address);
        let holds = |network: u32, len: u8| (address ^ network).checked_shr(32 - u32::from(len)).unwrap_or(0) == 0;
        let of_connection = self.announced.get(&connection)?;
        of_connection.v4.iter().find(|(network, entry)| holds(*network, entry.len)).map(|(_, entry)| *entry)
    }

    fn announced_v6(&self, connection: ConnectionId, address: [u8; 16]) -> Option<Entry6> {
        let address = u128::from_be_bytes(address);
        let holds = |network: u128, len: u8| (address ^ network).checked_shr(128 - u32::from(len)).unwrap_or(0) == 0;
        let of_connection = self.announced.get(&connection)?;
        of_connection.v6.iter().find(|(network, entry)| holds(*network, entry.len)).map(|(_, entry)| *entry)
    }

    fn remap(&self, id: RemapId) -> Option<Remap> {
        self.remaps.get(&id).copied()
    }

    fn is_wireguard_port(&self, port: u16) -> bool {
        self.wireguard_ports.contains(&port)
    }

    fn icmp_token(&self) -> bool {
        let take = |tokens: u32| tokens.checked_sub(1);
        self.icmp_tokens.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// Tokens are no part of what a table says.
impl PartialEq for IcmpTokens {
    fn eq(&self, _: &IcmpTokens) -> bool {
        true
    }
}

impl Eq for IcmpTokens {}

/// An entry in the form of its family.
enum Packed {
    V4(Entry4),
    V6(Entry6),
}

fn pack(prefix: IpNet, entry: TableEntry) -> Result<Packed, SlotsError> {
    if prefix.prefix_len() != entry.to.prefix_len() || prefix.addr().is_ipv4() != entry.to.addr().is_ipv4() {
        return Err(SlotsError::Mismatch { prefix, to: entry.to });
    }
    let (remap, len, role) = (entry.remap.0, prefix.prefix_len(), entry.role);
    Ok(match entry.to.network() {
        IpAddr::V4(to) => Packed::V4(Entry { to: to.octets(), remap, len, role }),
        IpAddr::V6(to) => Packed::V6(Entry { to: to.octets(), remap, len, role }),
    })
}

#[cfg(test)]
mod tests;
