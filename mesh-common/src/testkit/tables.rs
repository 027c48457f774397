//! The tables of the data path in ordered maps: slow, and simple enough to believe.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    datapath::Tables,
    ids::{ConnectionId, RemapId},
    maps::{Entry, Entry4, Entry6, Node, Remap},
};

/// Prefixes and what they become, longest first.
type Prefixes<const N: usize> = Vec<([u8; N], u8, Entry<N>)>;

/// A reference implementation of [`Tables`], filled by hand.
#[derive(Clone, Debug, Default)]
pub struct MemoryTables {
    pub node: Node,
    pub remaps: BTreeMap<u16, Remap>,
    pub wireguard_ports: BTreeSet<u16>,
    /// ICMP errors that may still be made; counts down.
    pub icmp_tokens: Cell<u32>,
    v4: Prefixes<4>,
    v6: Prefixes<16>,
    announced_v4: BTreeMap<u16, Prefixes<4>>,
    announced_v6: BTreeMap<u16, Prefixes<16>>,
}

impl MemoryTables {
    pub fn insert_v4(&mut self, network: [u8; 4], len: u8, entry: Entry4) {
        insert(&mut self.v4, network, len, entry);
    }

    pub fn insert_v6(&mut self, network: [u8; 16], len: u8, entry: Entry6) {
        insert(&mut self.v6, network, len, entry);
    }

    /// The remote of this connection announced the prefix.
    pub fn announce_v4(&mut self, connection: ConnectionId, network: [u8; 4], len: u8, entry: Entry4) {
        insert(self.announced_v4.entry(connection.0).or_default(), network, len, entry);
    }

    /// As [`MemoryTables::announce_v4`].
    pub fn announce_v6(&mut self, connection: ConnectionId, network: [u8; 16], len: u8, entry: Entry6) {
        insert(self.announced_v6.entry(connection.0).or_default(), network, len, entry);
    }

    pub fn insert_remap(&mut self, id: RemapId, connection: ConnectionId, ingress: u32) {
        self.remaps.insert(id.0, Remap { ingress, connection: connection.0, mtu: 0 });
    }

    /// Every prefix of the plan with its length, longest first: to fill other tables with.
    pub fn prefixes_v4(&self) -> &[([u8; 4], u8, Entry4)] {
        &self.v4
    }

    /// As [`MemoryTables::prefixes_v4`].
    pub fn prefixes_v6(&self) -> &[([u8; 16], u8, Entry6)] {
        &self.v6
    }
}

impl Tables for MemoryTables {
    fn node(&self) -> Option<Node> {
        Some(self.node)
    }

    fn locate_v4(&self, address: [u8; 4]) -> Option<Entry4> {
        find(&self.v4, address)
    }

    fn locate_v6(&self, address: [u8; 16]) -> Option<Entry6> {
        find(&self.v6, address)
    }

    fn announced_v4(&self, connection: ConnectionId, address: [u8; 4]) -> Option<Entry4> {
        find(self.announced_v4.get(&connection.0)?, address)
    }

    fn announced_v6(&self, connection: ConnectionId, address: [u8; 16]) -> Option<Entry6> {
        find(self.announced_v6.get(&connection.0)?, address)
    }

    fn remap(&self, id: RemapId) -> Option<Remap> {
        self.remaps.get(&id.0).copied()
    }

    fn is_wireguard_port(&self, port: u16) -> bool {
        self.wireguard_ports.contains(&port)
    }

    fn icmp_token(&self) -> bool {
        let left = self.icmp_tokens.get();
        self.icmp_tokens.set(left.saturating_sub(1));
        left > 0
    }
}

fn insert<const N: usize>(prefixes: &mut Prefixes<N>, network: [u8; N], len: u8, entry: Entry<N>) {
    prefixes.retain(|(other, other_len, _)| (*other, *other_len) != (network, len));
    let at = prefixes.partition_point(|(_, other_len, _)| *other_len > len);
    prefixes.insert(at, (network, len, entry));
}

fn find<const N: usize>(prefixes: &Prefixes<N>, address: [u8; N]) -> Option<Entry<N>> {
    prefixes.iter().find(|(network, len, _)| holds(network, *len, &address)).map(|(.., entry)| *entry)
}

/// Whether the prefix holds the address.
pub(super) fn holds<const N: usize>(network: &[u8; N], len: u8, address: &[u8; N]) -> bool {
    network.iter().zip(address).enumerate().all(|(i, (a, b))| {
        let bits = usize::from(len).saturating_sub(i * 8).min(8);
        let mask = if bits == 0 { 0 } else { 0xff_u8 << (8 - bits) };
        a & mask == b & mask
    })
}
