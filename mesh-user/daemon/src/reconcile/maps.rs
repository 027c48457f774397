//! How the BPF maps hold what the tables say: each change is written as it is made, and read back by the next run.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use mesh_common::{
    ids::RemapId,
    maps::{CHUNK_SLOTS, Entry4, PORT_WORDS, V6_LENGTHS},
};
use mesh_core::plan::slots::{MapWrite, Slots};

use crate::kernel::{bpf, slot_map::SlotMap};

/// Applies changes in their order.
pub(super) fn write(maps: &mut bpf::Tables, writes: &[MapWrite]) -> Result<()> {
    for write in writes {
        write_one(maps, write).with_context(|| format!("cannot write the BPF maps: {write:?}"))?;
    }
    Ok(())
}

fn write_one(maps: &mut bpf::Tables, write: &MapWrite) -> Result<()> {
    match *write {
        MapWrite::Top { first, count, entry } => fill(&maps.top, first, count, entry),
        MapWrite::Chunks { first, count, entry } => fill(&maps.chunks, first, count, entry),
        MapWrite::SetPrefix6(prefix, entry) => maps.v6.insert(prefix, entry, 0)?,
        MapWrite::RemovePrefix6(prefix) => maps.v6.remove(&prefix)?,
        MapWrite::Lengths6(lengths) => maps.lengths.set(0, u64::from_ne_bytes(lengths), 0)?,
        MapWrite::Remap(id, remap) => maps.remaps.set(u32::from(id.0), remap, 0)?,
        MapWrite::Node(node) => maps.node.set(0, node, 0)?,
        MapWrite::AddWireguardPort(port) => {
            let (word, bit) = port_bit(port);
            maps.ports.set(word, maps.ports.get(&word, 0)? | bit, 0)?;
        }
        MapWrite::RemoveWireguardPort(port) => {
            let (word, bit) = port_bit(port);
            maps.ports.set(word, maps.ports.get(&word, 0)? & !bit, 0)?;
        }
    }
    Ok(())
}

/// The tables that the maps hold. Maps that contradict themselves are emptied, and the steps fill them again.
pub(super) fn read(maps: &mut bpf::Tables, remaps: impl Iterator<Item = RemapId>) -> Result<Slots> {
    let entries = |slots: &SlotMap| slots.iter().map(Entry4::from_word).collect::<Vec<_>>();
    let v6: BTreeMap<_, _> = maps.v6.iter().collect::<Result<_, _>>().context("cannot read the IPv6 table")?;
    let mut slots = match Slots::adopt(entries(&maps.top), entries(&maps.chunks), v6) {
        Some(slots) => slots,
        None => {
            tracing::warn!("the pinned BPF maps contradict themselves and are filled anew");
            empty(maps)?;
            Slots::with_chunks((maps.chunks.iter().count() / CHUNK_SLOTS) as u32)
        }
    };
    slots.set_node(maps.node.get(&0, 0).context("cannot read the reserved addresses")?);
    slots.set_wireguard_ports(ports(maps)?);
    for id in remaps {
        slots.set_remap(id, maps.remaps.get(&u32::from(id.0), 0).context("cannot read a remap")?);
    }
    Ok(slots)
}

fn empty(maps: &mut bpf::Tables) -> Result<()> {
    let none = Entry4::default();
    fill(&maps.top, 0, maps.top.iter().count() as u32, none);
    fill(&maps.chunks, 0, maps.chunks.iter().count() as u32, none);
    maps.lengths.set(0, u64::from_ne_bytes([0; V6_LENGTHS]), 0)?;
    let prefixes: Vec<_> = maps.v6.keys().collect::<Result<_, _>>()?;
    prefixes.iter().try_for_each(|prefix| maps.v6.remove(prefix))?;
    Ok(())
}

fn fill(slots: &SlotMap, first: u32, count: u32, entry: Entry4) {
    for slot in first..first + count {
        slots.store(slot as usize, entry.to_word());
    }
}

fn ports(maps: &bpf::Tables) -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for word in 0..PORT_WORDS {
        let bits = maps.ports.get(&word, 0).context("cannot read the WireGuard ports")?;
        let set = (0..u64::BITS).filter(|bit| bits >> bit & 1 != 0);
        ports.extend(set.map(|bit| (word * u64::BITS + bit) as u16));
    }
    Ok(ports)
}

fn port_bit(port: u16) -> (u32, u64) {
    (u32::from(port) / u64::BITS, 1 << (u32::from(port) % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_has_a_bit_of_its_own() {
        assert_eq!(port_bit(0), (0, 1));
        assert_eq!(port_bit(63), (0, 1 << 63));
        assert_eq!(port_bit(64), (1, 1));
        assert_eq!(port_bit(u16::MAX), (PORT_WORDS - 1, 1 << 63));
    }
}
