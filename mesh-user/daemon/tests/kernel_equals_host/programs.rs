//! The programs that the daemon carries, loaded, their maps filled, and run on one frame.

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader, TestRunOptions,
    maps::{Array, HashMap, MapData, xdp::DevMapHash},
    programs::{SchedClassifier, TcAttachType, TestRun, Xdp},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mesh_common::{
    datapath::{Ingress, forward::KernelVerdict, route::Onward},
    ids::{IfIndex, RemapId},
    maps::{CHUNK_SLOTS, Entry, Entry6, Node, Prefix6, Remap, interface_slot, link_address, name},
    testkit::{MemoryTables, World},
};
use mesh_core::plan::{
    TableEntry,
    slots::{MapWrite, Slots},
};

use super::LOOPBACK;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mesh.o"));
const CHUNKS: u32 = 64;

pub(crate) struct Programs(Ebpf);

/// A program's action, by what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RanAs {
    Pass,
    Redirect,
    Reply,
    Drop,
}

pub(crate) struct Ran {
    pub(crate) ran_as: RanAs,
    pub(crate) bytes: Vec<u8>,
}

impl From<KernelVerdict> for RanAs {
    fn from(verdict: KernelVerdict) -> RanAs {
        match verdict {
            KernelVerdict::Pass | KernelVerdict::PassRewritten { .. } => RanAs::Pass,
            KernelVerdict::Redirect { .. } => RanAs::Redirect,
            KernelVerdict::Reply(_) => RanAs::Reply,
            KernelVerdict::Drop(_) => RanAs::Drop,
        }
    }
}

impl Programs {
    /// Loads all programs, which by XDP are on the loopback device with the address of the world. `redirects`: the interface
    /// that takes frames from XDP.
    pub(crate) fn load(tables: &MemoryTables, onward: Onward, redirects: Option<IfIndex>) -> Result<Programs> {
        let mut ebpf = EbpfLoader::new()
            .override_global(aya_log::LEVEL, &0_u8, true)
            .override_global("REDIRECT", &u8::from(onward == Onward::Redirect), true)
            .override_global("ICMP_RATE", &1_000_000_u32, true)
            .map_max_entries(name::CHUNKS_V4, CHUNKS * CHUNK_SLOTS as u32)
            .load(OBJECT)
            .context("load the BPF object")?;
        fill(&mut ebpf, tables)?;
        let [a, b, c, d, e, f] = World::MAC;
        let own = link_address(LOOPBACK, [a, b, c, d, e, f, 0, 0]);
        fill_slots(&mut ebpf, name::LINK_ADDRESSES, interface_slot(LOOPBACK), 1, own)?;
        if let Some(interface) = redirects {
            let mut map: DevMapHash<&mut MapData> = map(&mut ebpf, name::REDIRECTS)?.try_into()?;
            map.insert(interface.0, interface.0, None, 0)?;
        }
        for program in ["xdp_workload", "xdp_underlay"] {
            let program: &mut Xdp = ebpf.program_mut(program).context("no such program")?.try_into()?;
            program.load()?;
        }
        for program in ["tc_workload", "tc_underlay"] {
            let program: &mut SchedClassifier = ebpf.program_mut(program).context("no such program")?.try_into()?;
            program.load()?;
        }
        Ok(Programs(ebpf))
    }

    /// Attaches a tc program to what comes in by a device of this namespace, for as long as the programs live.
    pub(crate) fn attach(&mut self, program: &str, device: &str) -> Result<()> {
        let program: &mut SchedClassifier = self.0.program_mut(program).context("no such program")?.try_into()?;
        program.attach(device, TcAttachType::Ingress).with_context(|| format!("attach to {device}"))?;
        Ok(())
    }

    /// Runs one frame. `None`: the kernel does not take a frame of that size.
    pub(crate) fn run(&self, hook: &str, door: Ingress, frame: &[u8], room: usize) -> Result<Option<Ran>> {
        let side = match door {
            Ingress::Workload => "workload",
            Ingress::Underlay(_) => "underlay",
            Ingress::Tun | Ingress::Tunnel(_) => bail!("no program has the door {door:?}"),
        };
        let program = self.0.program(&format!("{hook}_{side}")).context("no such program")?;
        let mut bytes = vec![0; room];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut bytes), ..TestRunOptions::default() };
        let result = match hook {
            "xdp" => <&Xdp>::try_from(program)?.test_run(options),
            _ => <&SchedClassifier>::try_from(program)?.test_run(options),
        };
        let result = match result {
            Ok(result) => result,
            // No whole IP header for tc, more than a page for XDP.
            Err(_) if frame.len() < 54 || frame.len() > 3_000 => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{hook}: a frame of {} bytes", frame.len())),
        };
        bytes.truncate(result.data_size_out as usize);
        let ran_as = if hook == "xdp" { xdp(result.return_value)? } else { tc(result.return_value, frame, &bytes)? };
        Ok(Some(Ran { ran_as, bytes }))
    }
}

fn xdp(action: u32) -> Result<RanAs> {
    Ok(match action {
        1 => RanAs::Drop,
        2 => RanAs::Pass,
        3 => RanAs::Reply,
        4 => RanAs::Redirect,
        other => bail!("XDP action {other}"),
    })
}

/// tc redirects a reply as well; a reply goes back to whom the frame came from.
fn tc(action: u32, before: &[u8], after: &[u8]) -> Result<RanAs> {
    Ok(match action as i32 {
        -1 => RanAs::Pass,
        2 => RanAs::Drop,
        7 if before[6..12] == after[..6] => RanAs::Reply,
        7 => RanAs::Redirect,
        other => bail!("tc action {other}"),
    })
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map> {
    ebpf.map_mut(name).ok_or_else(|| anyhow!("the object has no map {name}"))
}

/// Brings the world into the maps by the same writes that the daemon makes.
fn fill(ebpf: &mut Ebpf, tables: &MemoryTables) -> Result<()> {
    let mut slots = Slots::with_chunks(CHUNKS);
    for (network, len, entry) in tables.prefixes_v4() {
        let prefix = IpNet::from(Ipv4Net::new((*network).into(), *len)?);
        let to = IpNet::from(Ipv4Net::new(entry.to.into(), entry.len)?);
        write(ebpf, slots.set(prefix, table_entry(to, entry))?)?;
    }
    for (network, len, entry) in tables.prefixes_v6() {
        let prefix = IpNet::from(Ipv6Net::new((*network).into(), *len)?);
        let to = IpNet::from(Ipv6Net::new(entry.to.into(), entry.len)?);
        write(ebpf, slots.set(prefix, table_entry(to, entry))?)?;
    }
    for (id, remap) in &tables.remaps {
        write(ebpf, slots.set_remap(RemapId(*id), *remap))?;
    }
    write(ebpf, slots.set_node(tables.node))?;
    write(ebpf, slots.set_wireguard_ports(tables.wireguard_ports.clone()))
}

fn table_entry<const N: usize>(to: IpNet, entry: &Entry<N>) -> TableEntry {
    TableEntry { to, remap: RemapId(entry.remap), role: entry.role }
}

fn write(ebpf: &mut Ebpf, writes: Vec<MapWrite>) -> Result<()> {
    for write in writes {
        match write {
            MapWrite::Top { first, count, entry } => fill_slots(ebpf, name::TOP_V4, first, count, entry.to_word())?,
            MapWrite::Chunks { first, count, entry } => {
                fill_slots(ebpf, name::CHUNKS_V4, first, count, entry.to_word())?;
            }
            MapWrite::SetPrefix6(prefix, entry) => {
                let mut map: HashMap<&mut MapData, Prefix6, Entry6> = map(ebpf, name::TABLE_V6)?.try_into()?;
                map.insert(prefix, entry, 0)?;
            }
            MapWrite::RemovePrefix6(prefix) => {
                let mut map: HashMap<&mut MapData, Prefix6, Entry6> = map(ebpf, name::TABLE_V6)?.try_into()?;
                map.remove(&prefix)?;
            }
            MapWrite::Lengths6(lengths) => fill_slots(ebpf, name::LENGTHS_V6, 0, 1, u64::from_ne_bytes(lengths))?,
            MapWrite::Remap(id, remap) => {
                let mut map: Array<&mut MapData, Remap> = map(ebpf, name::REMAPS)?.try_into()?;
                map.set(u32::from(id.0), remap, 0)?;
            }
            MapWrite::Node(node) => {
                let mut map: Array<&mut MapData, Node> = map(ebpf, name::NODE)?.try_into()?;
                map.set(0, node, 0)?;
            }
            MapWrite::AddWireguardPort(port) => {
                fill_slots(ebpf, name::WIREGUARD_PORTS, u32::from(port >> 6), 1, 1 << (port & 63))?;
            }
            MapWrite::RemoveWireguardPort(port) => bail!("port {port} is removed from nowhere"),
        }
    }
    Ok(())
}

fn fill_slots(ebpf: &mut Ebpf, name: &str, first: u32, count: u32, word: u64) -> Result<()> {
    let mut map: Array<&mut MapData, u64> = map(ebpf, name)?.try_into()?;
    for slot in first..first + count {
        map.set(slot, word, 0)?;
    }
    Ok(())
}
