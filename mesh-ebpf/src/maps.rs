//! The BPF maps: what packets are judged by ([`Tables`]), what was counted, and the limit for ICMP errors.

use aya_ebpf::{
    Global,
    bindings::*,
    helpers::bpf_ktime_get_ns,
    macros::map,
    maps::{lpm_trie::LpmTrie, *},
};
use mesh_common::{
    datapath::{DropReason, Tables, hook::Counters},
    ids::{IfIndex, RemapId},
    locate::{locate_v4, locate_v6},
    maps::{self, Counter, Entry4, Entry6, INTERFACE_SLOTS, IcmpTokens, InterfaceCounter, Node, Prefix6, Remap},
    spread,
};

/// Whether rewritten frames are sent on by redirect. If not, the kernel forwards them.
#[unsafe(no_mangle)]
pub(crate) static REDIRECT: Global<u8> = Global::new(1);
/// ICMP errors per second and CPU that the data path may make.
#[unsafe(no_mangle)]
static ICMP_RATE: Global<u32> = Global::new(1_000);

macro_rules! maps {
    ($($(#[$doc:meta])* $name:ident: $kind:ty = $entries:expr, $flags:expr;)*) => {$(
        $(#[$doc])* #[map] pub(crate) static $name: $kind = <$kind>::with_max_entries($entries, $flags);
    )*};
}
maps! {
    /// Slots are words of 64 bits: no entry is ever seen half-way. `meshd` writes them through a mapping of its own.
    TOP_V4: Array<u64> = maps::TOP_SLOTS as u32, BPF_F_MMAPABLE;
    /// `max_entries` is set at load.
    CHUNKS_V4: Array<u64> = maps::CHUNK_SLOTS as u32, BPF_F_MMAPABLE;
    /// Not preallocated: a removed element is not given to another key while a program still reads it.
    TABLE_V6: HashMap<Prefix6, Entry6> = maps::REMAPS, BPF_F_NO_PREALLOC;
    /// [`maps::V6_LENGTHS`] bytes.
    LENGTHS_V6: Array<u64> = 1, 0;
    REMAPS: Array<Remap> = maps::REMAPS, 0;
    NODE: Array<Node> = 1, 0;
    WIREGUARD_PORTS: Array<u64> = maps::PORT_WORDS, 0;
    /// Of interfaces with an XDP program, by [`maps::interface_slot`].
    LINK_ADDRESSES: Array<u64> = INTERFACE_SLOTS as u32, 0;
    /// Interfaces that were found to take redirected frames, by their index.
    REDIRECTS: DevMapHash = INTERFACE_SLOTS as u32, 0;
    DROPS: PerCpuArray<u64> = DropReason::ALL.len() as u32, 0;
    REMAP_COUNTERS: PerCpuArray<Counter> = maps::REMAPS, 0;
    INTERFACE_COUNTERS: PerCpuArray<InterfaceCounter> = INTERFACE_SLOTS as u32, 0;
    ICMP_TOKENS: PerCpuArray<IcmpTokens> = 1, 0;
    /// The queue of each slot that flows fall into.
    QUEUES: Array<u32> = spread::FLOW_SLOTS, 0;
    /// The queue of a destination whose peer belongs to one.
    OWNERS: LpmTrie<[u64; 2], u32> = spread::OWNERS, BPF_F_NO_PREALLOC;
    SOCKETS: ReusePortSockArray = 2 * spread::MAX_QUEUES, 0;
}

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
    // SAFETY: a live map value of this CPU, which only programs of ours use while they run on it, each for one statement.
    map.get_ptr_mut(index).map(|value| unsafe { &mut *value })
}
