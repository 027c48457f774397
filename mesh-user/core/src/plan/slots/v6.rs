//! IPv6: a hash of prefixes, tried by the lengths in use, longest first.

use std::{cmp::Reverse, collections::BTreeMap, net::Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};
use mesh_common::{
    ids::RemapId,
    locate::locate_v6,
    maps::{Entry6, Prefix6, Role, V6_LENGTHS},
};

use super::{MapWrite, SlotsError};
use crate::plan::TableEntry;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    prefixes: BTreeMap<Prefix6, Entry6>,
    /// How many prefixes have that length.
    used: BTreeMap<Reverse<u8>, usize>,
    /// The keys of `used`, as the data path reads them.
    lengths: [u8; V6_LENGTHS],
}

impl Slots {
    /// `None`: not what [`Slots::set`] makes.
    pub(super) fn adopt(prefixes: BTreeMap<Prefix6, Entry6>) -> Option<Slots> {
        let mut slots = Slots::default();
        for (prefix, entry) in prefixes {
            let net = net(&prefix).filter(|net| net.prefix_len() == entry.len)?;
            slots.set(net, entry).ok()?;
        }
        Some(slots)
    }

    pub(super) fn table(&self) -> impl Iterator<Item = (IpNet, TableEntry)> + '_ {
        self.prefixes.iter().filter_map(|(prefix, entry)| {
            let to = Ipv6Net::new(Ipv6Addr::from(entry.to), entry.len).ok()?;
            Some((net(prefix)?.into(), TableEntry { to: to.into(), remap: RemapId(entry.remap), role: entry.role }))
        })
    }

    pub(super) fn locate(&self, address: [u8; 16]) -> Option<Entry6> {
        let entry = locate_v6(address, self.lengths, |prefix| self.prefixes.get(prefix).copied());
        (entry.role != Role::NONE).then_some(entry)
    }

    pub(super) fn set(&mut self, net: Ipv6Net, entry: Entry6) -> Result<Vec<MapWrite>, SlotsError> {
        let (prefix, length) = (key(net), Reverse(net.prefix_len()));
        if length.0 == 0 {
            return Err(SlotsError::WholeFamily { prefix: net.into() });
        }
        if !self.used.contains_key(&length) && self.used.len() == V6_LENGTHS {
            return Err(SlotsError::TooManyLengths { prefix: net.into() });
        }
        let old = self.prefixes.insert(prefix, entry);
        if old == Some(entry) {
            return Ok(Vec::new());
        }
        if old.is_none() {
            *self.used.entry(length).or_default() += 1;
        }
        let mut writes = vec![MapWrite::SetPrefix6(prefix, entry)];
        writes.extend(self.write_lengths());
        Ok(writes)
    }

    pub(super) fn remove(&mut self, net: Ipv6Net) -> Vec<MapWrite> {
        let (prefix, length) = (key(net), Reverse(net.prefix_len()));
        if self.prefixes.remove(&prefix).is_none() {
            return Vec::new();
        }
        if let Some(count) = self.used.get_mut(&length) {
            *count -= 1;
        }
        self.used.retain(|_, count| *count > 0);
        let mut writes = vec![MapWrite::RemovePrefix6(prefix)];
        writes.extend(self.write_lengths());
        writes
    }

    fn write_lengths(&mut self) -> Option<MapWrite> {
        let mut lengths = [0; V6_LENGTHS];
        for (slot, length) in lengths.iter_mut().zip(self.used.keys()) {
            *slot = length.0;
        }
        let changed = std::mem::replace(&mut self.lengths, lengths) != lengths;
        changed.then_some(MapWrite::Lengths6(lengths))
    }
}

fn key(net: Ipv6Net) -> Prefix6 {
    Prefix6 { network: net.network().octets(), len: u32::from(net.prefix_len()) }
}

/// `None` for what [`key`] cannot have made.
fn net(prefix: &Prefix6) -> Option<Ipv6Net> {
    let net = Ipv6Net::new(Ipv6Addr::from(prefix.network), u8::try_from(prefix.len).ok()?).ok()?;
    (net.prefix_len() > 0 && net.network() == net.addr()).then_some(net)
}
