//! Tables that a packet can be sent through again and again.
//!
//! `BPF_PROG_TEST_RUN` hands the program the same buffer each time, as the program left it. So our prefixes form a cycle of at
//! least two, each rewritten to another one: the packet stays ours, and its destination walks through all of them.

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, Pod,
    maps::{Array, HashMap, MapData},
};
use mesh_common::{
    ids::IfIndex,
    maps::{CHUNK_SLOTS, Entry, Entry4, Entry6, Prefix6, Remap, Role, V6_LENGTHS, interface_slot, link_address, name},
};

/// As many /24 as one /8 holds.
pub(super) const MOST: u32 = 65_536;

/// A workload of the remote, as the mesh calls it.
pub(super) const REMOTE_V4: [u8; 4] = [198, 18, 0, 7];
pub(super) const REMOTE_V6: [u8; 16] = [0xfd, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
/// One of ours, in the first prefix of the cycle.
pub(super) const OURS_V4: [u8; 4] = [10, 0, 0, 9];
pub(super) const OURS_V6: [u8; 16] = [0xfd, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// What the first becomes in the smallest cycle.
pub(super) const NEXT_V4: [u8; 4] = [10, 0, 1, 9];
pub(super) const NEXT_V6: [u8; 16] = [0xfd, 0x10, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];

pub(super) const REMAP_ID: u16 = 1;
/// A prime that divides no size in use: neighbours in the cycle are far apart in the table.
const STRIDE: u32 = 7_919;

/// The smallest cycle: of a single prefix, nothing would be rewritten.
pub(super) const LEAST: u32 = 2;

/// `prefixes` of ours, the /24 of 10.0.0.0/8 in order, and the remote's 198.18.0.0/16. `role` says whose names the cycle is
/// made of: what the remote may reach, or what our workloads send from.
pub(super) fn fill_v4(bpf: &mut Ebpf, prefixes: u32, role: Role) -> Result<()> {
    ensure!(prefixes >= LEAST && !prefixes.is_multiple_of(STRIDE), "{prefixes} prefixes make no cycle");
    let chunks = prefixes.div_ceil(CHUNK_SLOTS as u32);
    let mut top = array::<u64>(bpf, name::TOP_V4)?;
    let [a, b, ..] = REMOTE_V4;
    let remote = Entry4 { to: [a, b, 0, 0], remap: REMAP_ID, len: 16, role: Role::DIRECT };
    top.set(u32::from(u16::from_be_bytes([a, b])), remote.to_word(), 0)?;
    for chunk in 0..chunks {
        let pointer = Entry { to: chunk.to_be_bytes(), remap: 0, len: 0, role: Role::CHUNK };
        top.set(u32::from(OURS_V4[0]) << 8 | chunk, pointer.to_word(), 0)?;
    }
    let mut slots = array::<u64>(bpf, name::CHUNKS_V4)?;
    for prefix in 0..prefixes {
        let next = (prefix + STRIDE) % prefixes;
        let to = (u32::from(OURS_V4[0]) << 24 | next << 8).to_be_bytes();
        slots.set(prefix, Entry { to, remap: REMAP_ID, len: 24, role }.to_word(), 0)?;
    }
    array::<Remap>(bpf, name::REMAPS)?.set(REMAP_ID.into(), Remap::default(), 0)?;
    Ok(())
}

/// Tells XDP the Ethernet address of the interface that frames come in by.
pub(super) fn fill_link_address(bpf: &mut Ebpf, interface: IfIndex, [a, b, c, d, e, f]: [u8; 6]) -> Result<()> {
    let own = link_address(interface, [a, b, c, d, e, f, 0, 0]);
    Ok(array::<u64>(bpf, name::LINK_ADDRESSES)?.set(interface_slot(interface), own, 0)?)
}

/// Two /64 of ours, each rewritten to the other, and one of the remote's.
pub(super) fn fill_v6(bpf: &mut Ebpf, role: Role) -> Result<()> {
    let mut lengths = [0; V6_LENGTHS];
    lengths[0] = 64;
    array::<u64>(bpf, name::LENGTHS_V6)?.set(0, u64::from_ne_bytes(lengths), 0)?;
    let map = bpf.map_mut(name::TABLE_V6).context("the object has no map TABLE_V6")?;
    let mut table = HashMap::<_, Prefix6, Entry6>::try_from(map)?;
    let network = |address: [u8; 16], last: u8| {
        let mut network = address;
        network[7..].fill(0);
        network[7] = last;
        network
    };
    for (network, to, role) in [
        (network(REMOTE_V6, 0), network(REMOTE_V6, 0), Role::DIRECT),
        (network(OURS_V6, 0), network(OURS_V6, 1), role),
        (network(OURS_V6, 1), network(OURS_V6, 0), role),
    ] {
        let entry = Entry6 { to, remap: REMAP_ID, len: 64, role };
        table.insert(Prefix6 { network, len: 64 }, entry, 0)?;
    }
    Ok(())
}

fn array<'a, V: Pod>(bpf: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, V>> {
    let map = bpf.map_mut(name).with_context(|| format!("the object has no map {name}"))?;
    Array::try_from(map).with_context(|| format!("the map {name}"))
}
