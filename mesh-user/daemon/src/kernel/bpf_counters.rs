//! What the BPF programs counted, summed over the CPUs. Readable at any time by any thread.

use std::fmt;

use anyhow::Result;
use aya::{
    Pod,
    maps::{MapData, PerCpuArray},
};
use mesh_common::{
    datapath::DropReason,
    ids::{IfIndex, RemapId},
    maps::{Counter, InterfaceCounter, interface_slot, name},
};

use super::bpf::{Pins, open};

pub struct Counters {
    drops: PerCpuArray<MapData, u64>,
    remaps: PerCpuArray<MapData, Counter>,
    interfaces: PerCpuArray<MapData, InterfaceCounter>,
}

impl Counters {
    pub(super) fn open(pins: &Pins) -> Result<Counters> {
        Ok(Counters {
            drops: open(pins, name::DROPS)?,
            remaps: open(pins, name::REMAP_COUNTERS)?,
            interfaces: open(pins, name::INTERFACE_COUNTERS)?,
        })
    }

    /// Packets dropped, by reason; reasons without a drop are left out.
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        let count = |reason: DropReason| (reason, sum(&self.drops, reason as u32).into_iter().sum());
        DropReason::ALL.into_iter().map(count).filter(|(_, packets)| *packets > 0).collect()
    }

    pub fn remap(&self, id: RemapId) -> Counter {
        let add =
            |sum: Counter, one: Counter| Counter { packets: sum.packets + one.packets, bytes: sum.bytes + one.bytes };
        sum(&self.remaps, u32::from(id.0)).into_iter().fold(Counter::default(), add)
    }

    /// What came in by an interface, and by those that share its slot.
    pub fn interface(&self, index: IfIndex) -> InterfaceCounter {
        let add = |sum: InterfaceCounter, one: InterfaceCounter| InterfaceCounter {
            packets: sum.packets + one.packets,
            bytes: sum.bytes + one.bytes,
            tagged: sum.tagged + one.tagged,
        };
        sum(&self.interfaces, interface_slot(index)).into_iter().fold(InterfaceCounter::default(), add)
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}

/// The values of all CPUs; none where the map has no such slot.
fn sum<V: Pod>(map: &PerCpuArray<MapData, V>, slot: u32) -> Vec<V> {
    map.get(&slot, 0).map(|values| values.to_vec()).unwrap_or_default()
}
