//! The BPF maps that a packet is judged by, and how [`Tables`] reads them.

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    macros::map,
    maps::{Array, DevMapHash, HashMap},
};
use mesh_common::{
    datapath::{Tables, route::Onward},
    ids::{ConnectionId, IfIndex, RemapId},
    locate::{locate_v4, locate_v6},
    maps::{self, Entry4, Entry6, Node, Prefix6, Remap},
};

use crate::counters::may_send_icmp;

/// Whether rewritten frames are sent on by redirect. If not, the kernel forwards them.
#[unsafe(no_mangle)]
static REDIRECT: Global<u8> = Global::new(1);

/// Slots are read and written as one 64-bit word, so that no entry is ever seen half-way. `meshd` writes them through a
/// mapping of its own.
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
/// A bit for each UDP port.
#[map]
static WIREGUARD_PORTS: Array<u64> = Array::with_max_entries(maps::PORT_WORDS, 0);
/// Interfaces that were found to take redirected frames, by their index.
#[map]
static REDIRECTS: DevMapHash = DevMapHash::with_max_entries(maps::INTERFACE_SLOTS as u32, 0);

pub(crate) struct Maps;

impl Tables for Maps {
    fn node(&self) -> Option<Node> {
        NODE.get(0).copied()
    }

    fn locate_v4(&self, address: [u8; 4]) -> Option<Entry4> {
        // Never `None`: an entry that may be undefined costs more than one without a role.
        Some(locate_v4(address, |slot| entry(&TOP_V4, slot), |slot| entry(&CHUNKS_V4, slot)))
    }

    fn locate_v6(&self, address: [u8; 16]) -> Option<Entry6> {
        let bits = u128::from_ne_bytes(address);
        Some(entry_v6((bits >> 64) as u64, bits as u64))
    }

    fn announced_v4(&self, _: ConnectionId, _: [u8; 4]) -> Option<Entry4> {
        None
    }

    fn announced_v6(&self, _: ConnectionId, _: [u8; 16]) -> Option<Entry6> {
        None
    }

    fn remap(&self, id: RemapId) -> Option<Remap> {
        REMAPS.get(u32::from(id.0)).copied()
    }

    fn is_wireguard_port(&self, port: u16) -> bool {
        let word = WIREGUARD_PORTS.get(u32::from(port >> 6)).copied().unwrap_or(0);
        word >> (port & 63) & 1 != 0
    }

    fn icmp_token(&self) -> bool {
        may_send_icmp()
    }
}

/// How rewritten frames leave.
pub(crate) fn onward() -> Onward {
    if REDIRECT.load() != 0 { Onward::Redirect } else { Onward::PassUp }
}

/// Whether that interface takes frames redirected by XDP.
pub(crate) fn takes_redirects(interface: IfIndex) -> bool {
    REDIRECTS.get_ifindex(interface.0).is_some()
}

/// Sends the frame out by an interface that [`takes_redirects`]; gives the XDP action.
pub(crate) fn redirect(interface: IfIndex) -> u32 {
    REDIRECTS.redirect(interface.0, 0).unwrap_or_else(|action| action)
}

/// A function of its own: the loop is long, and used for every address of a packet.
#[inline(never)]
fn entry_v6(high: u64, low: u64) -> Entry6 {
    let address = (u128::from(high) << 64 | u128::from(low)).to_ne_bytes();
    let lengths = LENGTHS_V6.get(0).copied().unwrap_or(0).to_ne_bytes();
    // SAFETY: the map is not preallocated, so the element stays what it is until this program has ended (RCU).
    locate_v6(address, lengths, |prefix| unsafe { TABLE_V6.get(prefix) }.copied())
}

fn entry(slots: &Array<u64>, slot: u32) -> Option<Entry4> {
    let word = slots.get_ptr(slot)?;
    // SAFETY: the pointer is to a live map value. Volatile: one load of 8 bytes.
    let word = unsafe { word.read_volatile() };
    Some(Entry4::from_word(word))
}
