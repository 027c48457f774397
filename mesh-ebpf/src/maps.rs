//! The BPF maps: what packets are judged by ([`Tables`]), what was counted, and the limit for ICMP errors.

use aya_ebpf::{Global, bindings::*, helpers::bpf_ktime_get_ns, macros::map, maps::*};
use mesh_common::{
    datapath::{DropReason, Tables, hook::Counters},
    ids::{IfIndex, RemapId},
    locate::{locate_v4, locate_v6},
    maps::{self, Counter, Entry4, Entry6, INTERFACE_SLOTS, IcmpTokens, InterfaceCounter, Node, Prefix6, Remap},
};

/// Whether rewritten frames are sent on by redirect. If not, the kernel forwards them.
#[unsafe(no_mangle)]
pub(crate) static REDIRECT: Global<u8> = Global::new(1);
/// ICMP errors per second and CPU that the data path may make.
#[unsafe(no_mangle)]
static ICMP_RATE: Global<u32> = Global::new(1_000);

/// Slots are words of 64 bits: no entry is ever seen half-way. `meshd` writes them through a mapping of its own.
#[map]
static TOP_V4: Array<u64> = Array::with_max_entries(maps::TOP_SLOTS as u32, BPF_F_MMAPABLE);
/// `max_entries` is set at load.
#[map]
static CHUNKS_V4: Array<u64> = Array::with_max_entries(maps::CHUNK_SLOTS as u32, BPF_F_MMAPABLE);
/// Not preallocated: a removed element is not given to another key while a program still reads it.
#[map]
static TABLE_V6: HashMap<Prefix6, Entry6> = HashMap::with_max_entries(maps::REMAPS, BPF_F_NO_PREALLOC);
/// [`maps::V6_LENGTHS`] bytes.
#[map]
static LENGTHS_V6: Array<u64> = Array::with_max_entries(1, 0);
#[map]
static REMAPS: Array<Remap> = Array::with_max_entries(maps::REMAPS, 0);
#[map]
static NODE: Array<Node> = Array::with_max_entries(1, 0);
#[map]
static WIREGUARD_PORTS: Array<u64> = Array::with_max_entries(maps::PORT_WORDS, 0);
/// Of interfaces with an XDP program, by [`maps::interface_slot`].
#[map]
pub(crate) static LINK_ADDRESSES: Array<u64> = Array::with_max_entries(INTERFACE_SLOTS as u32, 0);
/// Interfaces that were found to take redirected frames, by their index.
#[map]
pub(crate) static REDIRECTS: DevMapHash = DevMapHash::with_max_entries(INTERFACE_SLOTS as u32, 0);
#[map]
static DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DropReason::ALL.len() as u32, 0);
#[map]
static REMAP_COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(maps::REMAPS, 0);
#[map]
static INTERFACE_COUNTERS: PerCpuArray<InterfaceCounter> = PerCpuArray::with_max_entries(INTERFACE_SLOTS as u32, 0);
#[map]
static ICMP_TOKENS: PerCpuArray<IcmpTokens> = PerCpuArray::with_max_entries(1, 0);

pub(crate) struct Maps;

impl Tables for Maps {
    fn node(&self) -> Option<Node> {
        NODE.get(0).copied()
    }

    fn locate_v4(&self, address: [u8; 4]) -> Option<Entry4> {
        // SAFETY: the pointer is to a live map value. Volatile: one load of 8 bytes.
        let entry = |slots: &Array<u64>, slot| Some(Entry4::from_word(unsafe { slots.get_ptr(slot)?.read_volatile() }));
        // Never `None`: an entry that may be undefined costs more than one without a role.
        Some(locate_v4(address, |slot| entry(&TOP_V4, slot), |slot| entry(&CHUNKS_V4, slot)))
    }

    fn locate_v6(&self, address: [u8; 16]) -> Option<Entry6> {
        Some(entry_v6(&address))
    }

    fn remap(&self, id: RemapId) -> Option<Remap> {
        REMAPS.get(u32::from(id.0)).copied()
    }

    fn is_wireguard_port(&self, port: u16) -> bool {
        WIREGUARD_PORTS.get(u32::from(port >> 6)).is_some_and(|word| word >> (port & 63) & 1 != 0)
    }

    fn icmp_token(&self) -> bool {
        // SAFETY: the helper has no preconditions.
        slot(&ICMP_TOKENS, 0).is_some_and(|bucket| bucket.take(unsafe { bpf_ktime_get_ns() }, ICMP_RATE.load()))
    }
}

impl Counters for Maps {
    fn interface(&mut self, interface: IfIndex) -> Option<&mut InterfaceCounter> {
        slot(&INTERFACE_COUNTERS, maps::interface_slot(interface))
    }

    fn remap(&mut self, id: RemapId) -> Option<&mut Counter> {
        slot(&REMAP_COUNTERS, id.0.into())
    }

    fn drops(&mut self, reason: u8) -> Option<&mut u64> {
        slot(&DROPS, reason.into())
    }
}

/// A function of its own: the loop is long, and used for every address of a packet.
#[inline(never)]
fn entry_v6(address: &[u8; 16]) -> Entry6 {
    let lengths = LENGTHS_V6.get(0).copied().unwrap_or(0).to_ne_bytes();
    // SAFETY: the map is not preallocated, so the element stays what it is until this program has ended (RCU).
    locate_v6(*address, lengths, |prefix| unsafe { TABLE_V6.get(prefix) }.copied())
}

#[expect(clippy::mut_from_ref, reason = "the map is the kernel's memory")]
fn slot<T>(map: &'static PerCpuArray<T>, index: u32) -> Option<&'static mut T> {
    // SAFETY: a live map value of this CPU, which programs of ours alone use while they run on it, each reference for the
    // length of one statement.
    map.get_ptr_mut(index).map(|value| unsafe { &mut *value })
}
