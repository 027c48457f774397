//! IPv6: one hash table of networks per prefix length in use, tried longest first.

use std::{cmp::Reverse, collections::BTreeMap};

use ipnet::Ipv6Net;

use super::Mark;

#[derive(Clone, Default)]
pub(super) struct Tables {
    longest_first: Vec<Table>,
}

/// Open addressing with linear probing, at most three quarters full. Keys come from the configuration, so nobody on the
/// wire can make them collide.
#[derive(Clone)]
struct Table {
    mask: u128,
    networks: Vec<u128>,
    /// Beside each network. `None`: the slot is empty.
    owners: Vec<Option<Mark>>,
}

impl Tables {
    pub(super) fn new(prefixes: &[(Ipv6Net, Mark)]) -> Tables {
        let mut by_length: BTreeMap<Reverse<u8>, Vec<(u128, Mark)>> = BTreeMap::new();
        for (net, mark) in prefixes {
            by_length.entry(Reverse(net.prefix_len())).or_default().push((net.network().to_bits(), *mark));
        }
        Tables { longest_first: by_length.into_iter().map(|(Reverse(len), nets)| Table::new(len, &nets)).collect() }
    }

    #[inline]
    pub(super) fn lookup(&self, address: [u8; 16]) -> Mark {
        let address = u128::from_be_bytes(address);
        self.longest_first.iter().find_map(|table| table.lookup(address & table.mask)).unwrap_or_default()
    }
}

impl Table {
    fn new(len: u8, networks: &[(u128, Mark)]) -> Table {
        let slots = (networks.len() * 4 / 3 + 1).next_power_of_two();
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let mut table = Table { mask, networks: vec![0; slots], owners: vec![None; slots] };
        for (network, mark) in networks {
            let mut at = table.home(*network);
            while table.owners[at].is_some() {
                at = table.after(at);
            }
            table.networks[at] = *network;
            table.owners[at] = Some(*mark);
        }
        table
    }

    #[inline]
    fn lookup(&self, network: u128) -> Option<Mark> {
        let mut at = self.home(network);
        loop {
            let mark = self.owners[at]?;
            if self.networks[at] == network {
                return Some(mark);
            }
            at = self.after(at);
        }
    }

    /// Multiplies by odd constants (the golden ratio and the square root of two, as fractions of 2^64), so that neighbours
    /// in either half are spread over the high bits.
    #[inline]
    fn home(&self, network: u128) -> usize {
        let (high, low) = ((network >> 64) as u64, network as u64);
        let mixed = (high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low).wrapping_mul(0x6a09_e667_f3bc_c909);
        (mixed ^ mixed >> 32) as usize & (self.owners.len() - 1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.owners.len() - 1)
    }
}
