//! What was counted, per CPU, and the limit for ICMP errors.

use aya_ebpf::{Global, helpers::bpf_ktime_get_ns, macros::map, maps::PerCpuArray};
use mesh_common::{
    datapath::DropReason,
    ids::RemapId,
    maps::{Counter, INTERFACE_SLOTS, IcmpTokens, InterfaceCounter, REMAPS},
};

/// ICMP errors per second and CPU that the data path may make.
#[unsafe(no_mangle)]
static ICMP_RATE: Global<u32> = Global::new(1_000);

#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DropReason::ALL.len() as u32, 0);
#[map]
static REMAP_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(REMAPS, 0);
#[map]
static INTERFACE_COUNTERS: PerCpuArray<InterfaceCounter> = PerCpuArray::with_max_entries(INTERFACE_SLOTS as u32, 0);
#[map]
static ICMP_TOKENS: PerCpuArray<IcmpTokens> = PerCpuArray::with_max_entries(1, 0);

/// By the index of a [`DropReason`].
pub(crate) fn count_drop(reason: u8) {
    if let Some(count) = slot(&DROPS, reason.into()) {
        *count += 1;
    }
}

pub(crate) fn count_remap(id: RemapId, len: usize) {
    if let Some(counter) = slot(&REMAP_COUNTERS, id.0.into()) {
        counter.packets += 1;
        counter.bytes += len as u64;
    }
}

pub(crate) fn count_received(ifindex: u32, len: usize, is_tagged: bool) {
    let index = if ifindex < INTERFACE_SLOTS as u32 { ifindex } else { 0 };
    if let Some(counter) = slot(&INTERFACE_COUNTERS, index) {
        counter.packets += 1;
        counter.bytes += len as u64;
        if is_tagged {
            counter.tagged += 1;
        }
    }
}

/// Takes the right to send one more ICMP error. The clock is read only here, far from the fast path.
pub(crate) fn may_send_icmp() -> bool {
    // SAFETY: the helper has no preconditions.
    slot(&ICMP_TOKENS, 0).is_some_and(|bucket| bucket.take(unsafe { bpf_ktime_get_ns() }, ICMP_RATE.load()))
}

fn slot<T>(map: &PerCpuArray<T>, index: u32) -> Option<&mut T> {
    // SAFETY: a live map value of this CPU, which programs of ours alone use while they run on it, each reference for the
    // length of one statement.
    map.get_ptr_mut(index).map(|value| unsafe { &mut *value })
}
