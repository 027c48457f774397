//! Our programs with a small `direct` world in their tables: 10.243.0.0/16 here, which the mesh calls 10.101.0.0/16, and a
//! remote that is 10.102.0.0/16.

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, xdp::DevMapHash},
};
use mesh_common::{
    ids::IfIndex,
    maps::{Entry4, Remap, Role, interface_slot, link_address, name},
};

const OURS: [u8; 2] = [10, 243];
const PRESENTED: [u8; 2] = [10, 101];
const REMOTE: [u8; 2] = [10, 102];
const OUR_REMAP: u16 = 1;
const REMOTE_REMAP: u16 = 2;

/// The object with its tables filled; nothing is loaded yet. `redirects`: interfaces that take frames from XDP.
/// `own`: an interface whose frames XDP shall judge, and its Ethernet address.
pub(super) fn open(object: &[u8], redirects: &[u32], own: Option<(IfIndex, [u8; 6])>) -> Result<Ebpf> {
    let mut bpf = EbpfLoader::new()
        .override_global("AYA_LOG_LEVEL", &0_u8, true)
        .load(object)
        .context("load the BPF object, as root")?;
    let entry = |[a, b]: [u8; 2], remap, role| Entry4 { to: [a, b, 0, 0], remap, len: 16, role };
    {
        let mut top: Array<&mut MapData, u64> = bpf.map_mut(name::TOP_V4).context("no map TOP_V4")?.try_into()?;
        for ([a, b], entry) in [
            (OURS, entry(PRESENTED, OUR_REMAP, Role::LOCAL)),
            (PRESENTED, entry(OURS, OUR_REMAP, Role::PRESENTED)),
            (REMOTE, entry(REMOTE, REMOTE_REMAP, Role::DIRECT)),
        ] {
            top.set(u32::from(u16::from_be_bytes([a, b])), entry.to_word(), 0)?;
        }
    }
    {
        let mut remaps: Array<&mut MapData, Remap> = bpf.map_mut(name::REMAPS).context("no map REMAPS")?.try_into()?;
        remaps.set(REMOTE_REMAP.into(), Remap::default(), 0)?;
    }
    if let Some((interface, [a, b, c, d, e, f])) = own {
        let map = bpf.map_mut(name::LINK_ADDRESSES).context("no map LINK_ADDRESSES")?;
        let word = link_address(interface, [a, b, c, d, e, f, 0, 0]);
        Array::<&mut MapData, u64>::try_from(map)?.set(interface_slot(interface), word, 0)?;
    }
    let mut map: DevMapHash<&mut MapData> = bpf.map_mut(name::REDIRECTS).context("no map REDIRECTS")?.try_into()?;
    for interface in redirects {
        map.insert(*interface, *interface, None, 0)?;
    }
    Ok(bpf)
}
