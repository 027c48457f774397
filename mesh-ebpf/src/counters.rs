//! What was counted, per CPU, and the limit for ICMP errors.

use aya_ebpf::{Global, helpers::bpf_ktime_get_ns, macros::map, maps::PerCpuArray};
use mesh_common::{
    datapath::DropReason,
    frame::Frame,
    ids::RemapId,
    maps::{self, Counter, IcmpTokens, InterfaceCounter},
    wire::ethernet,
};

/// ICMP errors per second and CPU that the data path may make.
#[unsafe(no_mangle)]
static ICMP_RATE: Global<u32> = Global::new(1_000);

#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DropReason::ALL.len() as u32, 0);
#[map]
static REMAP_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(maps::REMAPS, 0);
#[map]
static INTERFACE_COUNTERS: PerCpuArray<InterfaceCounter> =
    PerCpuArray::with_max_entries(maps::INTERFACE_SLOTS as u32, 0);
#[map]
static ICMP_TOKENS: PerCpuArray<IcmpTokens> = PerCpuArray::with_max_entries(1, 0);

/// By the index of a [`DropReason`].
#[inline(always)]
pub(crate) fn count_drop(reason: u8) {
    if let Some(count) = DROPS.get_ptr_mut(u32::from(reason)) {
        // SAFETY: a live map value of this CPU; nothing else runs on it meanwhile but other programs of ours.
        unsafe { *count += 1 };
    }
}

#[inline(always)]
pub(crate) fn count_remap(id: RemapId, len: usize) {
    if let Some(counter) = REMAP_COUNTERS.get_ptr_mut(u32::from(id.0)) {
        // SAFETY: see `count_drop`.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += len as u64;
        }
    }
}

#[inline(always)]
pub(crate) fn count_received(ifindex: u32, len: usize) {
    if let Some(counter) = interface(ifindex) {
        // SAFETY: see `count_drop`.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += len as u64;
        }
    }
}

/// Frames with a VLAN tag pass unread.
#[inline(always)]
pub(crate) fn count_tagged<F: Frame>(frame: &F, ifindex: u32) {
    if let Some(ethernet::VLAN | ethernet::SERVICE_VLAN) = frame.load(ethernet::ETHERTYPE_AT) {
        count_tag(ifindex);
    }
}

#[inline(always)]
pub(crate) fn count_tag(ifindex: u32) {
    if let Some(counter) = interface(ifindex) {
        // SAFETY: see `count_drop`.
        unsafe { (*counter).tagged += 1 };
    }
}

/// Takes the right to send one more ICMP error. The clock is read only here, far from the fast path.
#[inline(always)]
pub(crate) fn may_send_icmp() -> bool {
    let Some(bucket) = ICMP_TOKENS.get_ptr_mut(0) else { return false };
    // SAFETY: the helper has no preconditions; the bucket is a live map value of this CPU.
    unsafe { (*bucket).take(bpf_ktime_get_ns(), ICMP_RATE.load()) }
}

#[inline(always)]
fn interface(ifindex: u32) -> Option<*mut InterfaceCounter> {
    let slot = if ifindex < maps::INTERFACE_SLOTS as u32 { ifindex } else { 0 };
    INTERFACE_COUNTERS.get_ptr_mut(slot)
}
